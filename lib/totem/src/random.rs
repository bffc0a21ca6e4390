//! Jitter from a seed: splitmix64 (Steele, Lea, Flood, OOPSLA 2014). Not for secrets.

use std::time::Duration;

/// A stream of numbers that a seed determines.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

/// The finaliser of splitmix64: spreads the bits of a word.
pub(crate) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// `span` changed by up to a quarter either way, so that members do not act in step.
    pub(crate) fn jitter(&mut self, span: Duration) -> Duration {
        let span = span.as_nanos() as u64;
        Duration::from_nanos(span - span / 4 + self.next() % (span / 2 + 1))
    }
}
