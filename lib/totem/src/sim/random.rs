//! The simulator's own random numbers: one seed, a stream for each purpose.
//!
//! xoshiro256** seeded by splitmix64 (Blackman and Vigna). A stream is forked by name, so that one
//! more draw for the network does not shift what the clients do.

use std::time::Duration;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Random {
        let mut mixer = seed;
        Random {
            state: std::array::from_fn(|_| splitmix(&mut mixer)),
        }
    }

    /// A stream of its own for `purpose`; this one does not advance.
    pub fn fork(&self, purpose: &str) -> Random {
        let name = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
        Random::new(self.state[0] ^ self.state[2].rotate_left(17) ^ name)
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`, which is not 0. The bias of a multiplication is far below what a
    /// simulation could notice.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// An index into something of this length, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number of the range, both ends included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A fraction, 0 included, 1 not.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.fraction() < probability
    }

    /// A span of the range, both ends included.
    pub fn span(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(low.as_nanos() as u64, high.as_nanos() as u64))
    }

    /// A span with this mean, distributed exponentially and cut at 20 means.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let draw = -(1.0 - self.fraction()).ln();
        mean.mul_f64(draw.min(20.0))
    }

    /// Puts the items into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// One of the items, which are not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_neither_advances_its_parent_nor_repeats_it() {
        let mut parent = Random::new(7);
        let mut network = parent.fork("network");
        let mut clients = parent.fork("clients");
        assert_eq!(Random::new(7).bits(), parent.bits());
        assert_ne!(network.bits(), clients.bits());
        assert_eq!(
            Random::new(7).fork("network").bits(),
            Random::new(7).fork("network").bits()
        );
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut random = Random::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| random.between(3, 6)).collect();
        assert_eq!(drawn.iter().min(), Some(&3));
        assert_eq!(drawn.iter().max(), Some(&6));
        assert!((0..1000).all(|_| random.fraction() < 1.0));
        let mean: f64 = (0..10_000)
            .map(|_| random.exponential(Duration::from_secs(1)).as_secs_f64())
            .sum::<f64>()
            / 10_000.0;
        assert!((0.95..1.05).contains(&mean), "{mean}");
    }

    #[test]
    fn chances_have_their_probability() {
        let mut random = Random::new(2);
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert!(!(0..1000).any(|_| random.chance(0.0)));
    }
}
