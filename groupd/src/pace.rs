//! Sessions that lag behind, and whether the ring should slow down for them.
//!
//! A session whose queue is half full is lagging until it is nearly empty again. While it reads at
//! a fair rate all senders wait for it: that is how a burst of log lines does not throw out the
//! logger that writes them down. One that reads more slowly than that, or not at all, is worth
//! nobody's time: its queue fills up and it is disconnected, and the ring never waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use totem::groups::SessionId;
use totem::time::Time;

/// How often a lagging session's rate is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// What it must have read by then: 8 MiB a second.
const FAIR_BYTES: u64 = 2 << 20;

/// How a lagging session reads.
#[derive(Debug)]
struct Pace {
    since: Time,
    /// Bytes that it had read then.
    written_bytes: u64,
    is_fair: bool,
}

/// The sessions that lag behind.
#[derive(Debug, Default)]
pub(crate) struct Laggards {
    // Bound: the table of sessions.
    paces: BTreeMap<SessionId, Option<Pace>>,
}

impl Laggards {
    /// This session's queue is half full.
    pub(crate) fn insert(&mut self, id: SessionId) {
        self.paces.entry(id).or_insert(None);
    }

    /// Whether one of them is worth waiting for. `queue` tells the bytes that wait for a session
    /// and those that it has read so far, or nothing if it is gone or lags no longer.
    pub(crate) fn is_worth_waiting(
        &mut self,
        now: Time,
        mut queue: impl FnMut(SessionId) -> Option<u64>,
    ) -> bool {
        let mut any = false;
        self.paces.retain(|&id, pace| {
            let Some(written_bytes) = queue(id) else {
                return false;
            };
            let pace = pace.get_or_insert(Pace {
                since: now,
                written_bytes,
                is_fair: true,
            });
            if now.since(pace.since) >= INTERVAL {
                let read = written_bytes - pace.written_bytes;
                *pace = Pace {
                    since: now,
                    written_bytes,
                    is_fair: read >= FAIR_BYTES,
                };
            }
            any |= pace.is_fair;
            true
        });
        any
    }

    /// When to look again, if any session lags.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.paces
            .values()
            .flatten()
            .map(|pace| pace.since + INTERVAL)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    #[test]
    fn a_session_that_reads_fairly_is_waited_for_until_it_has_caught_up() {
        let mut laggards = Laggards::default();
        assert!(!laggards.is_worth_waiting(at(0), |_| Some(0)));
        laggards.insert(SessionId(1));
        for step in 0..20 {
            assert!(
                laggards.is_worth_waiting(at(step * 100), |_| Some(step << 20)),
                "{step}"
            );
        }
        assert!(!laggards.is_worth_waiting(at(2000), |_| None));
        assert_eq!(laggards.poll_timeout(), None);
    }

    #[test]
    fn a_session_that_stands_still_is_waited_for_a_quarter_of_a_second_only() {
        let mut laggards = Laggards::default();
        laggards.insert(SessionId(1));
        assert!(laggards.is_worth_waiting(at(0), |_| Some(7)));
        assert_eq!(laggards.poll_timeout(), Some(at(250)));
        assert!(laggards.is_worth_waiting(at(249), |_| Some(7)));
        for step in 0..20 {
            assert!(!laggards.is_worth_waiting(at(250 + step * 50), |_| Some(7 + step)));
        }
    }
}
