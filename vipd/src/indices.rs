//! Sets of small numbers, and their compact text: which sets a message speaks of.
//!
//! In text, runs in ascending order, each as the gap behind the run before and, if it is longer
//! than one, `x` and its length: `0x3,97` is 0, 1, 2, 100. Where that is shorter, `#` and four of
//! them in each hexadecimal digit, the least first: `#72` is 0, 1, 2, 5. So 10,000 take 2.5 kB at
//! most.

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

    /// The text of runs; none if it is longer than so many bytes.
    fn runs(&self, limit: usize) -> Option<String> {
        let mut text = String::new();
        let mut indices = self.iter().peekable();
        let mut next = 0;
        while let Some(first) = indices.next() {
            let mut end = first + 1;
            while indices.next_if_eq(&end).is_some() {
                end += 1;
            }
            let comma = if next == 0 { "" } else { "," };
            text += &format!("{comma}{}", first - next);
            if end - first > 1 {
                text += &format!("x{}", end - first);
            }
            if text.len() > limit {
                return None;
            }
            next = end;
        }
        Some(text)
    }

    /// Four indices in each digit, up to the last one.
    fn digits(&self) -> impl Iterator<Item = char> {
        let digits = self
            .words
            .iter()
            .flat_map(|word| (0..16).map(move |at| (word >> (4 * at) & 0xf) as u32));
        let last = self.words.last().map_or(0, |word| word.leading_zeros() / 4);
        let count = self.words.len() * 16 - last as usize;
        digits
            .take(count)
            .filter_map(|digit| char::from_digit(digit, 16))
    }

    fn parse_digits(digits: &str) -> Option<Indices> {
        // Bound: checked before anything is stored.
        if digits.len() > INDEX_LIMIT / 4 {
            return None;
        }
        let mut indices = Indices::default();
        for (at, digit) in digits.chars().enumerate() {
            let digit = digit.to_digit(16)?;
            let set = (0..4).filter(|bit| digit >> bit & 1 == 1);
            set.for_each(|bit| indices.insert(4 * at + bit));
        }
        Some(indices)
    }

    fn parse(text: &str) -> Option<Indices> {
        if let Some(digits) = text.strip_prefix('#') {
            return Indices::parse_digits(digits);
        }
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
        let digits: String = self.digits().collect();
        match self.runs(digits.len() + 1) {
            Some(runs) => f.write_str(&runs),
            None => write!(f, "#{digits}"),
        }
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
        let far: Indices = [0, 1, 2, 100].into_iter().collect();
        assert_eq!(far.to_string(), "0x3,97");
        let near: Indices = [0, 1, 2, 5].into_iter().collect();
        assert_eq!(near.to_string(), "#72");
        assert_eq!(Indices::default().to_string(), "");
        let every_other: Indices = (0..10_000).step_by(2).collect();
        assert_eq!(every_other.to_string(), format!("#{}", "5".repeat(2500)));
        assert_eq!(Indices::parse("0x3,2"), Some(near));
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
            "#g",
            "#é",
            &format!("#{}1", "0".repeat(INDEX_LIMIT / 4)),
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
            let (runs, digits) = (set.runs(usize::MAX), set.digits().collect::<String>());
            prop_assert_eq!(runs.and_then(|text| Indices::parse(&text)), Some(set.clone()));
            prop_assert_eq!(Indices::parse(&format!("#{digits}")), Some(set.clone()));
            prop_assert!(set.to_string().len() <= 1 + 300 / 4);
            prop_assert!(set.iter().eq(indices.iter().copied()));
            prop_assert_eq!(set.count(), indices.len());
            let mut emptied = set;
            indices.into_iter().for_each(|index| emptied.remove(index));
            prop_assert_eq!(emptied, Indices::default());
        }
    }
}
