//! What to do when somebody else removes an address: bring it back at once, then ever more slowly,
//! and give the set up when that does not end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long after each removal within a window the address is brought back.
const DELAYS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(1),
];

/// Removals further apart than this have nothing to do with each other.
const WINDOW: Duration = Duration::from_secs(60);

/// The sets that somebody removes addresses of.
#[derive(Debug, Default)]
pub struct Removals {
    sets: BTreeMap<usize, Removal>,
}

#[derive(Clone, Copy, Debug)]
struct Removal {
    count: usize,
    last: Instant,
    restore_at: Option<Instant>,
    /// Until when this host does not take the set.
    yielded_until: Option<Instant>,
}

/// What is to be done about a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Bring it back now.
    Restore,
    /// Bring it back when [`Removals::next_due`] says.
    Wait,
    /// Give the set to another host, and do not take it for a minute.
    Yield,
}

impl Removals {
    /// Addresses of a set are found missing.
    pub fn missing(&mut self, set: usize, now: Instant) -> Remedy {
        let removal = self.sets.entry(set).or_insert(Removal {
            count: 0,
            last: now,
            restore_at: None,
            yielded_until: None,
        });
        if let Some(at) = removal.restore_at {
            if at > now {
                return Remedy::Wait;
            }
            removal.restore_at = None;
            return Remedy::Restore;
        }
        if now.duration_since(removal.last) > WINDOW {
            removal.count = 0;
        }
        removal.last = now;
        removal.count += 1;
        match DELAYS.get(removal.count - 1) {
            Some(&Duration::ZERO) => Remedy::Restore,
            Some(&delay) => {
                removal.restore_at = Some(now + delay);
                Remedy::Wait
            }
            None => {
                removal.count = 0;
                removal.yielded_until = Some(now + WINDOW);
                Remedy::Yield
            }
        }
    }

    /// Whether the set was given up, and the minute is not over.
    pub fn is_yielded(&self, set: usize, now: Instant) -> bool {
        let until = self
            .sets
            .get(&set)
            .and_then(|removal| removal.yielded_until);
        until.is_some_and(|until| now < until)
    }

    /// When something has to be brought back.
    pub fn next_due(&self) -> Option<Instant> {
        self.sets
            .values()
            .filter_map(|removal| removal.restore_at)
            .min()
    }

    /// The set is not held any more: nothing is to be brought back.
    pub fn released(&mut self, set: usize) {
        if let Some(removal) = self.sets.get_mut(&set) {
            removal.restore_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_then_slower_then_never() {
        let begin = Instant::now();
        let mut removals = Removals::default();
        let mut now = begin;
        let mut restored = 0;
        loop {
            match removals.missing(7, now) {
                Remedy::Restore => restored += 1,
                Remedy::Wait => now = removals.next_due().unwrap(),
                Remedy::Yield => break,
            }
        }
        assert_eq!(restored, DELAYS.len());
        assert_eq!(now - begin, DELAYS.iter().sum());
        assert!(removals.is_yielded(7, now));
        assert!(!removals.is_yielded(7, now + WINDOW));
        assert!(!removals.is_yielded(8, now));
        assert_eq!(removals.next_due(), None);
    }

    #[test]
    fn one_removal_a_day_is_no_war() {
        let mut now = Instant::now();
        let mut removals = Removals::default();
        for _ in 0..20 {
            assert_eq!(removals.missing(0, now), Remedy::Restore);
            now += WINDOW + Duration::from_secs(1);
        }
    }

    #[test]
    fn what_was_released_is_not_brought_back() {
        let now = Instant::now();
        let mut removals = Removals::default();
        removals.missing(0, now);
        assert_eq!(removals.missing(0, now), Remedy::Wait);
        removals.released(0);
        assert_eq!(removals.next_due(), None);
    }
}
