//! A membership of a group, as all who were told of it showed it.

use std::sync::Arc;

use super::{Broken, LetterId, Verdict, broken};
use crate::groups::{Cause, GroupId, GroupName};

/// A membership of a group, as all that were told of it showed it.
pub(super) struct GroupView {
    pub(super) members: Arc<[GroupName]>,
    /// Messages before the notice of a change.
    pub(super) order: Vec<LetterId>,
    pub(super) arrivals: Vec<Arrival>,
}

/// How a session came into a membership.
pub(super) struct Arrival {
    /// Its vs set, if the network made the membership.
    pub(super) set: Option<Arc<[GroupName]>>,
    /// The membership it was in before.
    pub(super) previous: Option<Past>,
}

/// A membership: the group, its id, and how often the member that names it had lost its disk. A
/// client's group id has no room for a life, so it may come again when a ring counter does.
pub(super) type ViewKey = (GroupName, GroupId, u32);

/// What a session saw of a membership.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) gid: GroupId,
    pub(super) letters: u64,
    pub(super) digest: u64,
    /// Digest of the ways that its member of the ring went since.
    pub(super) travel: u64,
}

impl GroupView {
    /// G2: one order up to the notice of a change.
    pub(super) fn extend(&mut self, at: u64, letter: LetterId) -> Verdict {
        match self.order.get(at as usize) {
            Some(expected) if *expected == letter => Ok(()),
            Some(expected) => broken(
                "G2",
                format!("gives {letter:?} where others are given {expected:?}"),
            ),
            None => {
                self.order.push(letter);
                Ok(())
            }
        }
    }

    /// G2, G3 and G4.
    pub(super) fn arrive(&mut self, private: GroupName, arrival: Arrival) -> Verdict {
        for other in &self.arrivals {
            let seen = |past: Option<Past>| past.map(|past| (past.gid, past.letters, past.digest));
            let same = seen(other.previous) == seen(arrival.previous);
            let together = other.previous == arrival.previous && arrival.previous.is_some();
            match (&other.set, &arrival.set) {
                (Some(there), Some(here)) if there == here && !same => {
                    return broken(
                        "G3",
                        format!(
                            "{private} does not come from where others of its vs set come from"
                        ),
                    );
                }
                (Some(there), Some(here)) if there != here && together => {
                    return broken(
                        "G4",
                        format!("{private} comes with others, but not in their vs set"),
                    );
                }
                (None, None) if !same && other.previous.is_some() && arrival.previous.is_some() => {
                    return broken("G2", format!("{private} saw other messages before"));
                }
                _ => {}
            }
        }
        self.arrivals.push(arrival);
        Ok(())
    }
}

/// The vs sets of a membership are its members, each once, and one of them is that of `private`.
pub(super) fn check_sets(
    private: GroupName,
    members: &[GroupName],
    vs_sets: &[Arc<[GroupName]>],
    own_set: usize,
) -> Result<Arc<[GroupName]>, Broken> {
    let own = vs_sets.get(own_set).filter(|set| set.contains(&private));
    let Some(own) = own else {
        return Err(Broken("G3", format!("{private} is not in its own vs set")));
    };
    let mut listed: Vec<GroupName> = vs_sets.iter().flat_map(|set| set.iter().copied()).collect();
    let mut members = members.to_vec();
    listed.sort_unstable();
    members.sort_unstable();
    if listed != members {
        return Err(Broken(
            "G3",
            format!("vs sets {vs_sets:?} of the members {members:?}"),
        ));
    }
    Ok(own.clone())
}

/// A join, leave or disconnection has one vs set, of who it is about.
pub(super) fn check_single(
    cause: &Cause,
    who: GroupName,
    members: &[GroupName],
    vs_sets: &[Arc<[GroupName]>],
) -> Verdict {
    let joins = matches!(cause, Cause::Join(_));
    if members.contains(&who) != joins || vs_sets.len() != 1 || *vs_sets[0] != [who] {
        return broken(
            "G3",
            format!("{cause:?} with members {members:?} and vs sets {vs_sets:?}"),
        );
    }
    Ok(())
}

/// G5: the first membership that a session sees is that of its join, and no other one is.
pub(super) fn check_first(
    private: GroupName,
    first: bool,
    cause: &Cause,
    set: Option<&[GroupName]>,
) -> Verdict {
    let joins = match cause {
        Cause::Join(who) => *who == private,
        Cause::Network => first && set == Some(&[private]),
        Cause::Leave(_) | Cause::Disconnect(_) => false,
    };
    if joins == first {
        return Ok(());
    }
    broken(
        "G5",
        format!("{private} sees {cause:?}, as its first membership: {first}"),
    )
}
