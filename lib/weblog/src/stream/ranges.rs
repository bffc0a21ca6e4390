//! Which bytes of a stream a logger has.

use std::collections::BTreeMap;

/// A set of offsets, as ranges that neither overlap nor touch.
///
/// With a publisher that repairs from its first unacknowledged byte there is one range, and one
/// more for each partition whose other side has not been met since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Start to end.
    spans: BTreeMap<u64, u64>,
}

impl Ranges {
    /// The parts of `start..end` that are not in the set, in order.
    pub(super) fn missing(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        if start >= end {
            return missing;
        }
        let mut from = start;
        let before = self.spans.range(..=start).next_back();
        for (&low, &high) in before.into_iter().chain(self.spans.range(start + 1..)) {
            if low >= end {
                break;
            }
            if low > from {
                missing.push((from, low));
            }
            from = from.max(high);
        }
        if from < end {
            missing.push((from, end));
        }
        missing
    }

    /// Adds `start..end`.
    pub(super) fn insert(&mut self, mut start: u64, mut end: u64) {
        while let Some((&low, &high)) = self.spans.range(..=end).next_back() {
            if high < start {
                break;
            }
            start = start.min(low);
            end = end.max(high);
            self.spans.remove(&low);
        }
        if start < end {
            self.spans.insert(start, end);
        }
    }

    /// Takes `start..end` out.
    pub(super) fn remove(&mut self, start: u64, end: u64) {
        while let Some((&low, &high)) = self.spans.range(..end).next_back() {
            if high <= start {
                break;
            }
            self.spans.remove(&low);
            if low < start {
                self.spans.insert(low, start);
            }
            if high > end {
                self.spans.insert(end, high);
            }
            if low <= start {
                break;
            }
        }
    }

    /// The ranges, in order, start and end.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.spans.iter().map(|(&start, &end)| (start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_set_of_numbers() {
        let mut state = 7_u64;
        let mut random = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % bound
        };
        let mut ranges = Ranges::default();
        let mut model = [false; 40];
        for step in 0..5000 {
            let (start, length) = (random(30), 1 + random(10));
            let end = start + length;
            let expected: Vec<u64> = (start..end).filter(|&at| !model[at as usize]).collect();
            let missing = ranges.missing(start, end);
            let listed: Vec<u64> = missing.iter().flat_map(|&(low, high)| low..high).collect();
            assert_eq!(listed, expected, "step {step}: {ranges:?} {start}..{end}");
            assert!(missing.windows(2).all(|pair| pair[0].1 < pair[1].0));
            let add = random(2) == 0;
            model[start as usize..end as usize].fill(add);
            match add {
                true => ranges.insert(start, end),
                false => ranges.remove(start, end),
            }
            assert_eq!(ranges.iter().next().is_none(), !model.contains(&true));
        }
    }
}
