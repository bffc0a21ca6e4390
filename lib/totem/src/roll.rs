//! A late token: is somebody gone, or is the ring only slow?
//!
//! A rotation takes as long as all members together keep the token, so on busy hosts it may take
//! longer than any one of them is silent. Half of its timeout before the token counts as lost, the
//! others are asked whether they are there. As long as all of them answer, the token is awaited
//! further: whoever sent it last repeats it until it has gone on. One that is silent is left out
//! as soon as without the question.

use std::collections::BTreeSet;

use crate::node::Totem;
use crate::time::Time;
use crate::view::ViewMember;
use crate::wire::Control;

/// A question to all members of the ring.
#[derive(Debug)]
pub(crate) struct RollCall {
    nonce: u64,
    answered: BTreeSet<ViewMember>,
}

impl Totem {
    /// Asks the members of the present ring whether they are there.
    pub(crate) fn call_roll(&mut self, now: Time) {
        let nonce = self.random.next();
        self.roll = Some(RollCall {
            nonce,
            answered: BTreeSet::from([self.me]),
        });
        self.stats.roll_calls += 1;
        for member in self.current_ring().view.members.clone().iter() {
            // A host that refuses is being probed anyway.
            if *member != self.me && !self.refuses(now, member.id) {
                self.send(member.id, Control::Probe { nonce });
            }
        }
    }

    /// Takes an answer; one from a newer life is none of the member's.
    pub(crate) fn note_answer(&mut self, sender: ViewMember, nonce: u64) {
        if let Some(roll) = self.roll.as_mut().filter(|roll| roll.nonce == nonce) {
            roll.answered.insert(sender);
        }
    }

    /// Whether every member of the present ring has answered the last question.
    pub(crate) fn all_answered(&self) -> bool {
        let members = &self.current_ring().view.members;
        self.roll
            .as_ref()
            .is_some_and(|roll| members.iter().all(|member| roll.answered.contains(member)))
    }
}
