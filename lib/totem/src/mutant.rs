//! Bugs that can be planted into the real code, to see that the simulator catches each of them.
//!
//! Only the feature `mutants` builds them in. Elsewhere `planted` is false when the crate is
//! compiled, and nothing of them is left.

/// A planted bug: one that real implementations had, or that undoes one rule of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A Safe message is delivered at the aru of a single token.
    SafeByOneVisit,
    /// Packets count as stable at the aru of a single token.
    StableByOneVisit,
    /// The second pass of an earlier formation is taken for that of the present one (case 5).
    StaleForm2,
    /// A ring gets the counter of the one before (case 1).
    ReusedRingId,
    /// Ring counters do not reach the disk (case 1).
    UnpersistedCounter,
    /// A repeated token is handled again (cases 4, 6, 43).
    DuplicateToken,
    /// Packets are asked for in the round that promises them (case 15).
    RequestPromised,
    /// A failed recovery leaves no obligations (cases 17, 44).
    DropObligations,
    /// A member goes on to take packets of its old ring after it told what it holds (case 22).
    SnapshotNotFrozen,
    /// Half a message is delivered in one view and half in the next (case 18).
    HalfMessage,
    /// A message that was partly sent when the view ended is not sent again (case 18).
    LostOwnMessage,
    /// A view is installed before its old messages are recovered.
    SkipRecovery,
    /// A view is installed when a single token said that everybody has everything.
    InstallByOneVisit,
    /// Behind a gap, messages of members that are gone are delivered, too.
    ForeignAfterGap,
    /// At the end of a view, Safe messages are delivered in it that nobody knows to be stable.
    SafeWithoutStability,
    /// Packets are forgotten when they are delivered here, not when everybody has them.
    ForgetUnstable,
    /// A clean leave does not wait for what is queued.
    LeaveUndrained,
    /// A table of groups that was told for another view is taken (case 25).
    StaleGroupState,
    /// Group members stand in the order in which they joined.
    MemberOrderByJoin,
    /// Daemons that went another way still count as having seen the same.
    SyncedSetKept,
}

#[cfg(not(feature = "mutants"))]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use self::planting::plant;
#[cfg(feature = "mutants")]
pub(crate) use self::planting::planted;

#[cfg(feature = "mutants")]
mod planting {
    use std::cell::Cell;
    use std::fmt;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Members that run in this thread have this bug from now on, or none.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }

    pub(crate) fn planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }

    impl Mutant {
        /// All of them.
        pub const ALL: [Mutant; 20] = [
            Mutant::SafeByOneVisit,
            Mutant::StableByOneVisit,
            Mutant::StaleForm2,
            Mutant::ReusedRingId,
            Mutant::UnpersistedCounter,
            Mutant::DuplicateToken,
            Mutant::RequestPromised,
            Mutant::DropObligations,
            Mutant::SnapshotNotFrozen,
            Mutant::HalfMessage,
            Mutant::LostOwnMessage,
            Mutant::SkipRecovery,
            Mutant::InstallByOneVisit,
            Mutant::ForeignAfterGap,
            Mutant::SafeWithoutStability,
            Mutant::ForgetUnstable,
            Mutant::LeaveUndrained,
            Mutant::StaleGroupState,
            Mutant::MemberOrderByJoin,
            Mutant::SyncedSetKept,
        ];
    }

    impl fmt::Display for Mutant {
        /// Its name in lower case with hyphens, as in `safe-by-one-visit`.
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut name = String::new();
            for letter in format!("{self:?}").chars() {
                if letter.is_uppercase() && !name.is_empty() {
                    name.push('-');
                }
                name.push(letter.to_ascii_lowercase());
            }
            f.pad(&name)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_bug_is_planted_in_its_thread_only() {
            plant(Some(Mutant::StaleForm2));
            assert!(planted(Mutant::StaleForm2) && !planted(Mutant::HalfMessage));
            let elsewhere = std::thread::spawn(|| planted(Mutant::StaleForm2));
            assert!(!elsewhere.join().unwrap());
            plant(None);
            assert!(!planted(Mutant::StaleForm2));
        }

        #[test]
        fn names_have_hyphens() {
            assert_eq!(Mutant::SafeByOneVisit.to_string(), "safe-by-one-visit");
            assert_eq!(Mutant::StaleForm2.to_string(), "stale-form2");
        }
    }
}
