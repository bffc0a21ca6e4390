//! Sessions that are not told of memberships: what they must be given all the same.

use std::collections::BTreeSet;

use super::{GroupOracle, LetterId, Verdict, broken};
use crate::groups::{GroupName, SessionId};
use crate::sim::trace::ProcessId;

impl GroupOracle {
    /// G2 and G7 of the sessions of a process that want no memberships: a message goes to those
    /// that are in the group, as far as a session beside them was told who is.
    pub(super) fn check_unaware(
        &self,
        p: ProcessId,
        to: &[SessionId],
        letter: Option<LetterId>,
        destinations: &[GroupName],
    ) -> Verdict {
        let sessions = || {
            self.sessions
                .range((p, SessionId(0))..=(p, SessionId(u32::MAX)))
        };
        let sent = letter.and_then(|letter| self.letters.get(&letter));
        let sent = sent.expect("checked to be sent");
        let told: Vec<Option<BTreeSet<GroupName>>> = destinations
            .iter()
            .map(|group| {
                let seat = sessions().find_map(|(_, session)| session.seats.get(group))?;
                let members = &self.views[&seat.view].members;
                Some(members.iter().copied().collect())
            })
            .collect();
        for (key, session) in sessions().filter(|(_, session)| !session.aware) {
            let private = session.private;
            let given = to.contains(&key.1);
            let discarded = sent.self_discard && sent.from == *key;
            let named = destinations.contains(&private);
            let is_in = |members: &BTreeSet<GroupName>| members.contains(&private);
            if !given && !discarded && (named || told.iter().flatten().any(is_in)) {
                return broken("G2", format!("does not give {letter:?} to {private}"));
            }
            let known = told.iter().all(Option::is_some);
            if given && !named && known && !told.iter().flatten().any(is_in) {
                return broken(
                    "G7",
                    format!("gives {letter:?} to {private}, a member of none"),
                );
            }
        }
        Ok(())
    }
}
