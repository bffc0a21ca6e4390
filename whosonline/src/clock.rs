//! What time it is, told by the ordered stream alone, so that replicas agree.
//!
//! Loggers tell their clocks once a second (ticks). While one of them is there the time is that
//! of their last ticks in the middle, of two the earlier, as the loggers themselves have it for
//! the names of their files; so one clock that is far off does not count. Where no logger tells
//! anything the time is the latest stamp of a line, but for single ones from a broken clock.
//!
//! Time does not go back: lines are written when a request ends and stamped when it began, and
//! clocks differ a little. Only where one source takes the other's place it goes to what that one
//! says.

use std::collections::BTreeMap;

use group::Name;

/// A stamp further ahead than this is not believed at once.
const LEAP_SECONDS: u64 = 86_400;

/// So many stamps in succession that are all that far ahead are believed.
const WITNESSES: u32 = 16;

/// Bound: loggers whose clocks count.
pub(crate) const LOGGERS_MAX: usize = 64;

/// The time of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamClock {
    pub(crate) now: u64,
    pub(crate) stamps: Stamps,
    /// The last tick of each logger.
    pub(crate) ticks: BTreeMap<Name, u64>,
}

/// The latest stamp, and how many in succession were too far ahead to be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) latest: u64,
    pub(crate) ahead: u32,
}

impl StreamClock {
    /// The time, in seconds since 1970; 0 before the first stamp or tick.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The time as the table counts it.
    #[inline]
    pub(crate) fn seconds(&self) -> u32 {
        u32::try_from(self.now).unwrap_or(u32::MAX)
    }

    /// Whether a logger tells the time.
    pub(crate) fn is_ticking(&self) -> bool {
        !self.ticks.is_empty()
    }

    /// Takes the stamp of the next line.
    #[inline]
    pub fn see(&mut self, stamp: u64) {
        self.stamps.see(stamp);
        if self.ticks.is_empty() {
            self.now = self.now.max(self.stamps.latest);
        }
    }

    /// Takes a logger's tick, in seconds since 1970.
    pub fn tick(&mut self, logger: Name, second: u64) {
        let by_stamps = self.ticks.is_empty();
        if self.ticks.len() < LOGGERS_MAX || self.ticks.contains_key(&logger) {
            self.ticks.insert(logger, second);
        }
        let time = self.middle_tick().unwrap_or(second);
        self.now = if by_stamps { time } else { self.now.max(time) };
    }

    /// Forgets the loggers that are no members of the control group any more.
    pub fn keep_loggers(&mut self, members: &[Name]) {
        if self.ticks.is_empty() {
            return;
        }
        self.ticks.retain(|logger, _| members.contains(logger));
        match self.middle_tick() {
            Some(time) => self.now = self.now.max(time),
            // Without a stamp nobody knows better.
            None if self.stamps.latest > 0 => self.now = self.stamps.latest,
            None => {}
        }
    }

    fn middle_tick(&self) -> Option<u64> {
        let mut seconds: Vec<u64> = self.ticks.values().copied().collect();
        seconds.sort_unstable();
        seconds.get(seconds.len().saturating_sub(1) / 2).copied()
    }
}

impl Stamps {
    #[inline]
    fn see(&mut self, stamp: u64) {
        if self.latest == 0 || stamp <= self.latest.saturating_add(LEAP_SECONDS) {
            self.latest = self.latest.max(stamp);
            self.ahead = 0;
        } else {
            self.ahead = self.ahead.saturating_add(1);
            if self.ahead >= WITNESSES {
                self.latest = stamp;
                self.ahead = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(clock: &mut StreamClock, stamp: u64) -> u64 {
        clock.see(stamp);
        clock.now()
    }

    fn tick(clock: &mut StreamClock, logger: &str, second: u64) -> u64 {
        clock.tick(Name::new(logger.as_bytes()).unwrap(), second);
        clock.now()
    }

    #[test]
    fn it_goes_forward_only() {
        let mut clock = StreamClock::default();
        assert_eq!(
            [100, 90, 101, 0].map(|stamp| see(&mut clock, stamp)),
            [100, 100, 101, 101]
        );
        assert_eq!(see(&mut clock, 101 + LEAP_SECONDS), 101 + LEAP_SECONDS);
    }

    #[test]
    fn a_broken_clock_among_others_is_not_believed() {
        let mut clock = StreamClock::default();
        see(&mut clock, 1000);
        for second in 0..100 {
            assert_eq!(see(&mut clock, 4_000_000_000), 1000 + second);
            assert_eq!(see(&mut clock, 1001 + second), 1001 + second);
        }
        for _ in 1..WITNESSES {
            assert_eq!(see(&mut clock, 2_000_000), 1100);
        }
        assert_eq!(see(&mut clock, 2_000_001), 2_000_001);
    }

    #[test]
    fn ticks_count_more_than_stamps() {
        let mut clock = StreamClock::default();
        see(&mut clock, 9000);
        assert_eq!(tick(&mut clock, "#a#h", 5000), 5000);
        assert_eq!(see(&mut clock, 9001), 5000);
        assert_eq!(tick(&mut clock, "#a#h", 5001), 5001);
        assert_eq!(tick(&mut clock, "#a#h", 4000), 5001);
    }

    #[test]
    fn the_clock_in_the_middle_counts() {
        let mut clock = StreamClock::default();
        assert_eq!(tick(&mut clock, "#a#h", 100), 100);
        assert_eq!(tick(&mut clock, "#b#h", 999_999), 100);
        assert_eq!(tick(&mut clock, "#c#h", 102), 102);
        assert_eq!(tick(&mut clock, "#a#h", 103), 103);
    }

    #[test]
    fn without_loggers_stamps_count_again() {
        let mut clock = StreamClock::default();
        tick(&mut clock, "#a#h", 100);
        tick(&mut clock, "#b#h", 200);
        see(&mut clock, 150);
        let b = Name::new(b"#b#h").unwrap();
        clock.keep_loggers(&[b]);
        assert_eq!(clock.now(), 200);
        clock.keep_loggers(&[]);
        assert_eq!(clock.now(), 150);
        assert_eq!(see(&mut clock, 151), 151);
    }

    #[test]
    fn so_many_loggers_and_no_more() {
        let mut clock = StreamClock::default();
        for number in 0..2 * LOGGERS_MAX {
            tick(&mut clock, &format!("#{number}#h"), 7);
        }
        assert_eq!(clock.ticks.len(), LOGGERS_MAX);
    }
}
