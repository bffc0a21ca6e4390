//! How fast lines are sent.
//!
//! A publisher hears from its own daemon how far its lines have come, not from the loggers. One
//! that empties a long backlog as fast as the bus can order would overrun them, and a logger that
//! reads too slowly is disconnected. So it keeps to a rate that loggers can hold.

use std::time::{Duration, Instant};

/// What may be sent at once after a pause, as a part of a second.
const BURST: Duration = Duration::from_millis(50);

/// A rate in bytes per second, and what of it has been used.
#[derive(Debug)]
pub(crate) struct Pace {
    /// 0 for no limit.
    bytes_per_second: u64,
    /// When what was sent so far is paid for.
    paid_at: Instant,
}

impl Pace {
    /// A rate of which nothing has been used; 0 for no limit.
    pub(crate) fn new(bytes_per_second: u64, now: Instant) -> Pace {
        Pace {
            bytes_per_second,
            paid_at: now,
        }
    }

    /// When more may be sent; none for at once.
    pub(crate) fn ready_at(&self, now: Instant) -> Option<Instant> {
        Some(self.paid_at)
            .filter(|&at| at > now + BURST)
            .map(|at| at - BURST)
    }

    /// So many bytes are sent.
    pub(crate) fn spend(&mut self, bytes: usize, now: Instant) {
        if let Some(nanoseconds) = (bytes as u64 * 1_000_000_000).checked_div(self.bytes_per_second)
        {
            self.paid_at = self.paid_at.max(now) + Duration::from_nanos(nanoseconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_pauses_are_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000_000, start);
        for begin in [start, start + Duration::from_secs(3600)] {
            let (mut now, mut sent) = (begin, 0);
            while now < begin + Duration::from_secs(10) {
                match pace.ready_at(now) {
                    Some(at) => now = at,
                    None => {
                        pace.spend(1000, now);
                        sent += 1000;
                    }
                }
            }
            assert!((10_000_000..10_100_000).contains(&sent), "{sent}");
        }
    }

    #[test]
    fn without_a_limit_it_never_waits() {
        let now = Instant::now();
        let mut pace = Pace::new(0, now);
        pace.spend(usize::MAX >> 32, now);
        assert_eq!(pace.ready_at(now), None);
    }
}
