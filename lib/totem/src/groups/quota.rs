//! How many memberships the sessions of this daemon hold, and how many more each may have.

use std::collections::BTreeMap;

use super::name::PrivateName;

/// Memberships of all sessions of one daemon together, joins on their way included.
///
/// All daemons hold them in memory and tell each other when they meet.
pub(crate) const MEMBERSHIPS_MAX: usize = 131_072;

/// Of them, what one session may hold.
pub(crate) const MEMBERSHIPS_OF_SESSION_MAX: usize = 8192;

/// What one session may hold while half of all are taken: a few sessions that want everything
/// leave the other half to all the others.
pub(crate) const MEMBERSHIPS_OF_SESSION_WHEN_SCARCE: usize = 8;

/// There is no room for another membership of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyGroups;

/// The memberships of this daemon's sessions.
///
/// A join counts from the moment it is submitted: until it is delivered, the table does not know
/// of it.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    /// By session. A name stays taken until the KILL of its session is delivered, and no join of
    /// that session comes after it.
    // Invariant: never zero.
    held: BTreeMap<PrivateName, usize>,
    /// The sum of `held`.
    total: usize,
}

impl Quota {
    /// Counts a join that is about to be submitted.
    pub(crate) fn take(&mut self, who: PrivateName) -> Result<(), TooManyGroups> {
        let held = self.held.get(&who).copied().unwrap_or(0);
        let held_max = if self.total < MEMBERSHIPS_MAX / 2 {
            MEMBERSHIPS_OF_SESSION_MAX
        } else {
            MEMBERSHIPS_OF_SESSION_WHEN_SCARCE
        };
        if held >= held_max || self.total >= MEMBERSHIPS_MAX {
            return Err(TooManyGroups);
        }
        self.held.insert(who, held + 1);
        self.total += 1;
        Ok(())
    }

    /// A membership has ended, or a join was delivered to who is a member already.
    pub(crate) fn give_back(&mut self, who: PrivateName) {
        if let Some(held) = self.held.get_mut(&who) {
            *held -= 1;
            self.total -= 1;
            if *held == 0 {
                self.held.remove(&who);
            }
        }
    }

    /// The session is gone from everywhere.
    pub(crate) fn forget(&mut self, who: PrivateName) {
        self.total -= self.held.remove(&who).unwrap_or(0);
    }

    /// Memberships and joins of all sessions.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> PrivateName {
        PrivateName::new(format!("s{number}").as_bytes()).unwrap()
    }

    /// Takes all that a session can have.
    fn fill(quota: &mut Quota, who: PrivateName) -> usize {
        (0..).find(|_| quota.take(who).is_err()).unwrap()
    }

    #[test]
    fn sessions_that_take_all_they_can_leave_room_for_the_others() {
        let mut quota = Quota::default();
        assert_eq!(fill(&mut quota, name(0)), MEMBERSHIPS_OF_SESSION_MAX);
        for greedy in 1..100 {
            fill(&mut quota, name(greedy));
        }
        for modest in 100..7000 {
            assert_eq!(
                fill(&mut quota, name(modest)),
                MEMBERSHIPS_OF_SESSION_WHEN_SCARCE,
                "{modest}"
            );
        }
        let rest: usize = (7000..10_000)
            .map(|late| fill(&mut quota, name(late)))
            .sum();
        assert!(rest > 0);
        assert_eq!(quota.total(), MEMBERSHIPS_MAX);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut quota = Quota::default();
        let all = fill(&mut quota, name(0));
        quota.give_back(name(0));
        assert_eq!(quota.take(name(0)), Ok(()));
        assert_eq!(quota.take(name(0)), Err(TooManyGroups));
        quota.give_back(name(1));
        assert_eq!(quota.total(), all);
        quota.forget(name(0));
        assert_eq!((quota.total(), quota.held.len()), (0, 0));
    }
}
