//! Sets of small numbers, and their compact text: which sets a message speaks of.
//!
//! In text, runs in ascending order, each as the gap behind the run before and, if it is longer
//! than one, `x` and its length: `0x3,2` is 0, 1, 2, 5. Every other one of 10,000 takes 10 kB.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bound: no index is this great, whatever a message says.
pub const INDEX_LIMIT: usize = 16_384;

/// A set of indices below [`INDEX_LIMIT`]: at most 2 kB, whatever text it is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    /// A bit for each, the least first. Invariant: the last word is not zero.
    words: Vec<u64>,
}

impl Indices {
    /// All below `count`.
    pub fn all(count: usize) -> Indices {
        (0..count).collect()
    }

    /// Whether it is among them.
    pub fn contains(&self, index: usize) -> bool {
        let word = self.words.get(index / 64);
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Adds one.
    ///
    /// # Panics
    /// It is not below [`INDEX_LIMIT`].
    pub fn insert(&mut self, index: usize) {
        assert!(index < INDEX_LIMIT, "an index is below {INDEX_LIMIT}");
        if self.words.len() <= index / 64 {
            self.words.resize(index / 64 + 1, 0);
        }
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Takes one out.
    pub fn remove(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.words.len() * 64).filter(|&index| self.contains(index))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    fn parse(text: &str) -> Option<Indices> {
        let mut indices = Indices::default();
        let mut next = 0usize;
        for run in text.split(',').filter(|_| !text.is_empty()) {
            let (gap, length) = run.split_once('x').unwrap_or((run, "1"));
            let first = next.checked_add(gap.parse().ok()?)?;
            next = first.checked_add(length.parse().ok()?)?;
            // Bound: checked before anything is stored.
            if next > INDEX_LIMIT {
                return None;
            }
            (first..next).for_each(|index| indices.insert(index));
        }
        Some(indices)
    }
}

impl FromIterator<usize> for Indices {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Indices {
        let mut set = Indices::default();
        indices.into_iter().for_each(|index| set.insert(index));
        set
    }
}

impl fmt::Display for Indices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut indices = self.iter().peekable();
        let mut next = 0;
        while let Some(first) = indices.next() {
            let mut end = first + 1;
            while indices.next_if_eq(&end).is_some() {
                end += 1;
            }
            let comma = if next == 0 { "" } else { "," };
            write!(f, "{comma}{}", first - next)?;
            if end - first > 1 {
                write!(f, "x{}", end - first)?;
            }
            next = end;
        }
        Ok(())
    }
}

impl Serialize for Indices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Indices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Indices, D::Error> {
        let text = String::deserialize(deserializer)?;
        Indices::parse(&text).ok_or_else(|| de::Error::custom("not a list of runs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_and_gaps() {
        let indices: Indices = [0, 1, 2, 5].into_iter().collect();
        assert_eq!(indices.to_string(), "0x3,2");
        assert_eq!(Indices::default().to_string(), "");
        let every_other: Indices = (0..10_000).step_by(2).collect();
        assert!(every_other.to_string().len() <= 10_000);
    }

    #[test]
    fn nonsense_is_refused_without_taking_memory() {
        for text in [
            "x",
            "1,",
            "-1",
            "0x16385",
            "16384",
            "0x18446744073709551615",
            "9,9999999999999999999",
        ] {
            assert_eq!(Indices::parse(text), None, "{text}");
        }
        assert_eq!(Indices::parse("0x16384").unwrap().count(), INDEX_LIMIT);
    }

    proptest! {
        #[test]
        fn text_reads_back(indices in prop::collection::btree_set(0usize..300, 0..200)) {
            let set: Indices = indices.iter().copied().collect();
            prop_assert_eq!(Indices::parse(&set.to_string()), Some(set.clone()));
            prop_assert!(set.iter().eq(indices.iter().copied()));
            prop_assert_eq!(set.count(), indices.len());
            let mut emptied = set;
            indices.into_iter().for_each(|index| emptied.remove(index));
            prop_assert_eq!(emptied, Indices::default());
        }
    }
}
