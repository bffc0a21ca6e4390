//! When purges may be missed, and what may be used meanwhile.

use crate::config::OnIsolation;

/// How long an object is used after the origin was asked about it.
const USE_MS: i64 = 10_000;

/// What is known of purges that did not come. All times are milliseconds since 1970.
#[derive(Debug)]
pub(crate) struct Isolation {
    policy: OnIsolation,
    /// Since when it is known that purges may be missed; none if none are.
    since: Option<i64>,
    /// Purges may have been missed up to this time.
    missed_until: i64,
}

/// When the origin was asked about an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// And answered.
    pub(crate) at: i64,
    /// And did not answer, if that was later.
    pub(crate) in_vain: i64,
}

impl Isolation {
    pub(crate) fn new(policy: OnIsolation) -> Isolation {
        Isolation {
            policy,
            since: None,
            missed_until: 0,
        }
    }

    /// Purges may be missed from `now` on.
    pub(crate) fn begin(&mut self, now: i64) {
        self.since.get_or_insert(now);
    }

    /// From now on no purge is missed any more; what was asked for before `missed_until` may be older
    /// than one that was.
    pub(crate) fn end(&mut self, missed_until: i64) {
        self.since = None;
        self.missed_until = self.missed_until.max(missed_until);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    pub(crate) fn set_policy(&mut self, policy: OnIsolation) {
        self.policy = policy;
    }

    /// Whether the origin is to be asked before an object is used.
    pub(crate) fn must_ask(&self, asked: Asked, now: i64) -> bool {
        let missed = asked.at < self.missed_until;
        match self.policy {
            OnIsolation::Serve => false,
            OnIsolation::Pass => missed || self.is_on(),
            OnIsolation::Revalidate => {
                let last = asked.at.max(asked.in_vain);
                // Once after this time, and then now and then.
                let due = |since| last <= since || last + USE_MS < now;
                missed && due(self.missed_until) || self.since.is_some_and(due)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT_OFF: i64 = 1_000_000;

    /// The times at which the origin is asked about an object that is wanted every 100 ms for a
    /// minute; it was asked last at the first of them, less a second.
    fn asks(isolation: &Isolation, from: i64, answers: bool) -> Vec<i64> {
        let mut asked = Asked {
            at: from - 1000,
            in_vain: 0,
        };
        let mut times = Vec::new();
        for now in (from..from + 60_000).step_by(100) {
            if isolation.must_ask(asked, now) {
                times.push(now - from);
                match answers {
                    true => asked.at = now,
                    false => asked.in_vain = now,
                }
            }
        }
        times
    }

    #[test]
    fn each_object_is_asked_about_once_and_then_every_ten_seconds() {
        let mut isolation = Isolation::new(OnIsolation::Revalidate);
        assert!(asks(&isolation, CUT_OFF, true).is_empty());
        isolation.begin(CUT_OFF - 1);
        isolation.begin(CUT_OFF + 5000); // it is since the first
        for answers in [true, false] {
            let times = asks(&isolation, CUT_OFF, answers);
            assert_eq!(times, [0, 10_100, 20_200, 30_300, 40_400, 50_500]);
        }
    }

    #[test]
    fn what_is_older_than_a_purge_that_was_missed_is_asked_about_once_it_is_over() {
        let mut isolation = Isolation::new(OnIsolation::Revalidate);
        isolation.begin(CUT_OFF);
        isolation.end(CUT_OFF + 7);
        let from = CUT_OFF + 8;
        assert_eq!(asks(&isolation, from, true), [0]);
        // An origin that is silent is not asked for each request either.
        assert_eq!(asks(&isolation, from, false).len(), 6);
        // All is caught up.
        isolation.begin(CUT_OFF + 100_000);
        isolation.end(0);
        assert!(asks(&isolation, CUT_OFF + 200_000, true).is_empty());
    }

    #[test]
    fn serve_never_asks_and_pass_always() {
        for (policy, count) in [(OnIsolation::Serve, 0), (OnIsolation::Pass, 600)] {
            let mut isolation = Isolation::new(policy);
            isolation.begin(CUT_OFF - 1);
            assert_eq!(asks(&isolation, CUT_OFF, true).len(), count);
        }
    }
}
