//! The complaint about a ring that anybody can read: at the start, and every hour.

use std::time::Duration;

use totem::time::Time;
use unixproc::log;

/// How often it is repeated.
const INTERVAL: Duration = Duration::from_secs(3600);

/// When the next complaint is due; never for a ring with a key, or on the loopback.
pub(crate) struct OpenRing {
    due: Option<Time>,
}

impl OpenRing {
    /// The first one is due at once.
    pub(crate) fn new(is_open: bool, now: Time) -> OpenRing {
        OpenRing {
            due: is_open.then_some(now),
        }
    }

    /// When [`complain`](Self::complain) has something to say.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// Complains if it is time for that; whether it was.
    pub(crate) fn complain(&mut self, now: Time) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            let reason = "there is no key: anybody on the network can read and send";
            log::warning("ring-open", &[("reason", &reason)]);
            self.due = Some(now + INTERVAL);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_ring_is_complained_about_at_the_start_and_every_hour() {
        let mut ring = OpenRing::new(true, Time(5));
        for hour in 0..3 {
            let due = Time(5) + INTERVAL * hour;
            assert_eq!(ring.poll_timeout(), Some(due));
            if hour > 0 {
                let just_before = Time(due.0 - 1);
                assert!(!ring.complain(just_before), "hour {hour}");
            }
            assert!(ring.complain(due), "hour {hour}");
            assert!(!ring.complain(due), "hour {hour}, again");
        }
        assert_eq!(INTERVAL.as_secs(), 60 * 60);
    }

    #[test]
    fn a_sealed_ring_is_not() {
        let mut ring = OpenRing::new(false, Time(5));
        assert_eq!(ring.poll_timeout(), None);
        assert!(!ring.complain(Time(5) + INTERVAL * 10));
    }
}
