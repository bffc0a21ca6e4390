//! How much of the bus live lines take, and what is left for catching up.

use std::time::Duration;

/// The rate is that of a stretch of time of this length.
const WINDOW: Duration = Duration::from_secs(1);

/// Lines that come at less than this rate, in bytes per second, need no consideration.
const QUIET: u64 = 1 << 20;

/// Catching up may always take so much of the bus, in bytes per second.
const CATCHUP_MIN: u64 = 1 << 20;

/// The first window counts when so much of it is over.
const FIRST_GLANCE: Duration = Duration::from_millis(100);

/// Counts live lines.
#[derive(Debug, Default)]
pub(super) struct LiveRate {
    /// When the present window began.
    since: Option<Duration>,
    bytes: u64,
    /// Bytes per second in the last whole window, once there was one.
    rate: Option<u64>,
}

impl LiveRate {
    /// So many bytes of lines have come.
    pub(super) fn count(&mut self, now: Duration, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) >= WINDOW {
            self.rate = Some(self.in_this_window(now));
            self.bytes = 0;
            self.since = Some(now);
        }
        self.bytes += bytes as u64;
    }

    fn in_this_window(&self, now: Duration) -> u64 {
        let since = self.since.unwrap_or(now);
        let passed = now.saturating_sub(since).max(FIRST_GLANCE);
        (u128::from(self.bytes) * 1000 / passed.as_millis()) as u64
    }

    /// How long not to ask for more after so many bytes of catching up, if that is to have this
    /// share of the bus.
    pub(super) fn pause_after(&self, now: Duration, bytes: u64, percent: u64) -> Duration {
        // Of lines that have stopped nobody counts the last window.
        let stopped = self
            .since
            .is_none_or(|since| now.saturating_sub(since) >= 2 * WINDOW);
        let rate = self.rate.unwrap_or_else(|| self.in_this_window(now));
        if stopped || rate < QUIET || percent >= 100 {
            return Duration::ZERO;
        }
        let allowed = (rate * percent / (100 - percent)).max(CATCHUP_MIN);
        Duration::from_micros(bytes * 1_000_000 / allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catching_up_has_its_share_and_all_of_a_quiet_bus() {
        let second = Duration::from_secs;
        let mut live = LiveRate::default();
        assert_eq!(live.pause_after(second(0), 1 << 20, 25), Duration::ZERO);
        for now in 1..5 {
            live.count(second(now), 96_000_000);
        }
        // 96 MB/s are three quarters: 32 MB/s are the fourth one.
        assert_eq!(live.pause_after(second(5), 32_000_000, 25), second(1));
        assert_eq!(live.pause_after(second(5), 32_000_000, 100), Duration::ZERO);
        assert_eq!(live.pause_after(second(6), 32_000_000, 25), Duration::ZERO);
        for now in 6..9 {
            live.count(second(now), 2_000_000);
        }
        assert_eq!(live.pause_after(second(9), 1 << 20, 25), second(1));
    }

    #[test]
    fn a_logger_that_has_just_come_does_not_take_the_bus_for_quiet() {
        let milliseconds = Duration::from_millis;
        let mut live = LiveRate::default();
        for now in 60_000..60_200 {
            live.count(milliseconds(now), 96_000);
        }
        let pause = live.pause_after(milliseconds(60_200), 32_000_000, 25);
        assert!(
            pause.abs_diff(milliseconds(1000)) < milliseconds(10),
            "{pause:?}"
        );
    }
}
