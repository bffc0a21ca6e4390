//! What time it is, told by the lines alone, so that replicas agree.

/// A stamp further ahead than this is not believed at once.
const LEAP_SECONDS: u64 = 86_400;

/// So many stamps in succession that are all that far ahead are believed.
const WITNESSES: u32 = 16;

/// The time of the stream: the latest stamp so far, but for single ones from a broken clock.
///
/// Lines are written when a request ends and stamped when it began, so stamps step back all the
/// time; time does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamClock {
    now: u64,
    ahead: u32,
}

impl StreamClock {
    /// The time, in seconds since 1970; 0 before the first stamp.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// How many stamps in succession were too far ahead to be believed.
    pub fn ahead(&self) -> u32 {
        self.ahead
    }

    /// Goes on from what another clock was at.
    pub fn resume(now: u64, ahead: u32) -> StreamClock {
        StreamClock { now, ahead }
    }

    /// Takes the stamp of the next line; gives the time.
    pub fn see(&mut self, stamp: u64) -> u64 {
        if self.now == 0 || stamp <= self.now.saturating_add(LEAP_SECONDS) {
            self.now = self.now.max(stamp);
            self.ahead = 0;
        } else {
            self.ahead = self.ahead.saturating_add(1);
            if self.ahead >= WITNESSES {
                self.now = stamp;
                self.ahead = 0;
            }
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_only() {
        let mut clock = StreamClock::default();
        assert_eq!(
            [100, 90, 101, 0].map(|stamp| clock.see(stamp)),
            [100, 100, 101, 101]
        );
        assert_eq!(clock.see(101 + LEAP_SECONDS), 101 + LEAP_SECONDS);
    }

    #[test]
    fn a_broken_clock_among_others_is_not_believed() {
        let mut clock = StreamClock::default();
        clock.see(1000);
        for second in 0..100 {
            assert_eq!(clock.see(4_000_000_000), 1000 + second);
            assert_eq!(clock.see(1001 + second), 1001 + second);
        }
        for _ in 1..WITNESSES {
            assert_eq!(clock.see(2_000_000), 1100);
        }
        assert_eq!(clock.see(2_000_001), 2_000_001);
    }
}
