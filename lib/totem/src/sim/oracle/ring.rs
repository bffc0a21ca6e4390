//! A regular configuration as all of its members showed it, with the ways out of it.
//!
//! What members deliver in the regular configuration is a prefix of one order (E9 and E10), so
//! that order grows with whoever is ahead, and all others are compared with it. What they deliver
//! in the transitional configuration has one order for each transition. How these orders fit
//! together is judged once, when all members are gone.

use std::sync::Arc;

use super::{Broken, Messages, Verdict, broken};
use crate::sim::trace::MessageId;
use crate::view::{RingId, Transition, View, ViewMember};

/// Where a member of the ring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// It has not installed the ring and still may.
    Pending,
    /// It is in the ring.
    Inside,
    /// It left by this transition.
    Gone(usize),
    /// It crashed or left cleanly before it was gone.
    Ended,
    /// It lives, never installed the ring and never will.
    Skipped,
}

/// A way out of the ring: the transitional configuration between it and `to`.
pub(super) struct WayOut {
    pub(super) to: RingId,
    pub(super) members: Arc<[ViewMember]>,
    /// How much of the ring's order its members delivered before.
    pub(super) prefix: u32,
    /// What they delivered in it.
    pub(super) order: Vec<MessageId>,
    /// One of them is through, so `order` is final.
    complete: bool,
}

pub(super) struct Ring {
    pub(super) id: RingId,
    pub(super) members: Arc<[ViewMember]>,
    pub(super) seats: Vec<Seat>,
    /// Where each member came from, once it has installed the ring.
    origins: Vec<Option<Option<RingId>>>,
    /// What was delivered in the regular configuration.
    pub(super) order: Vec<MessageId>,
    /// Invariant: no two lead to the same ring.
    pub(super) transitions: Vec<WayOut>,
}

impl Ring {
    pub(super) fn new(view: &View, seats: Vec<Seat>) -> Ring {
        Ring {
            id: view.ring,
            members: view.members.clone(),
            origins: vec![None; seats.len()],
            seats,
            order: Vec::new(),
            transitions: Vec::new(),
        }
    }

    pub(super) fn position(&self, member: ViewMember) -> Option<usize> {
        self.members.iter().position(|&other| other == member)
    }

    /// A member installs the ring, coming from a transition of another one.
    pub(super) fn install(
        &mut self,
        member: ViewMember,
        from: Option<(RingId, usize)>,
        view: &View,
    ) -> Verdict {
        let seat = self.position(member).expect("checked to be a member");
        if self.seats[seat] != Seat::Pending {
            return broken(
                "E6",
                format!(
                    "installs {} but was {:?} in it",
                    view.ring, self.seats[seat]
                ),
            );
        }
        self.seats[seat] = Seat::Inside;
        self.origins[seat] = Some(from.map(|(ring, _)| ring));
        Ok(())
    }

    /// Those who have installed the ring, and where each came from.
    pub(super) fn origins(&self) -> impl Iterator<Item = (ViewMember, Option<RingId>)> {
        self.members
            .iter()
            .zip(&self.origins)
            .filter_map(|(&member, &origin)| origin.map(|origin| (member, origin)))
    }

    /// The member is awaited no more.
    pub(super) fn give_up(&mut self, member: ViewMember, seat: Seat) {
        if let Some(index) = self.position(member)
            && self.seats[index] == Seat::Pending
        {
            self.seats[index] = seat;
        }
    }

    /// The member crashed, or left cleanly.
    pub(super) fn end(&mut self, member: ViewMember) {
        if let Some(index) = self.position(member)
            && matches!(self.seats[index], Seat::Pending | Seat::Inside)
        {
            self.seats[index] = Seat::Ended;
        }
    }

    /// E9 and E10: delivers at `cursor` of the ring's order.
    pub(super) fn deliver_regular(
        &mut self,
        cursor: u32,
        id: MessageId,
        messages: &mut Messages,
    ) -> Verdict {
        let position = messages.position(id);
        match self.order.get(cursor as usize) {
            Some(&expected) if expected == id => Ok(()),
            Some(&expected) => match position {
                Some(position) if position > cursor => {
                    broken("E10", format!("delivers {id} but not {expected} before it"))
                }
                _ => broken(
                    "E9",
                    format!("delivers {id} where others deliver {expected}"),
                ),
            },
            None if position.is_some() => {
                broken("E9", format!("delivers {id} again at the end of the order"))
            }
            None => {
                messages.get_mut(id).position = Some(cursor);
                self.order.push(id);
                Ok(())
            }
        }
    }

    /// E13: delivers at `cursor` of the order of a transition.
    pub(super) fn deliver_transitional(
        &mut self,
        transition: usize,
        cursor: usize,
        id: MessageId,
    ) -> Verdict {
        let way = &mut self.transitions[transition];
        match way.order.get(cursor) {
            Some(&expected) if expected == id => Ok(()),
            Some(&expected) => broken(
                "E13",
                format!("delivers {id} on the way to {}, others {expected}", way.to),
            ),
            None if way.complete => broken(
                "E13",
                format!(
                    "delivers {id} on the way to {}, others nothing more",
                    way.to
                ),
            ),
            None => {
                way.order.push(id);
                Ok(())
            }
        }
    }

    /// Whether a process has the message among the first `cursor` of the order, or among the
    /// first so many of a transition.
    pub(super) fn has_delivered(
        &self,
        cursor: u32,
        transition: Option<(usize, usize)>,
        id: MessageId,
        messages: &Messages,
    ) -> bool {
        messages
            .position(id)
            .is_some_and(|position| position < cursor)
            || transition
                .is_some_and(|(way, count)| self.transitions[way].order[..count].contains(&id))
    }

    /// E8 and E13: a process that delivered `cursor` messages enters a transitional configuration.
    pub(super) fn enter_transition(
        &mut self,
        cursor: u32,
        transition: &Transition,
    ) -> Result<usize, Broken> {
        let mut order = self.members.iter();
        if !transition
            .members
            .iter()
            .all(|member| order.any(|other| other == member))
        {
            broken(
                "E8",
                format!(
                    "{:?} do not all come from {}, or not in its order",
                    transition.members, self.id
                ),
            )?;
        }
        if let Some(index) = self
            .transitions
            .iter()
            .position(|way| way.to == transition.to)
        {
            let way = &self.transitions[index];
            if way.members != transition.members {
                let (here, there) = (&transition.members, &way.members);
                broken(
                    "E8",
                    format!("goes to {} with {here:?}, others with {there:?}", way.to),
                )?;
            }
            if way.prefix != cursor {
                broken(
                    "E13",
                    format!(
                        "delivered {cursor} messages in {}, others {}",
                        self.id, way.prefix
                    ),
                )?;
            }
            return Ok(index);
        }
        self.transitions.push(WayOut {
            to: transition.to,
            members: transition.members.clone(),
            prefix: cursor,
            order: Vec::new(),
            complete: false,
        });
        Ok(self.transitions.len() - 1)
    }

    /// E13: a member that delivered `cursor` messages on the way is through.
    pub(super) fn leave(
        &mut self,
        member: ViewMember,
        transition: usize,
        cursor: usize,
    ) -> Verdict {
        let way = &mut self.transitions[transition];
        if way.complete && way.order.len() != cursor {
            return broken(
                "E13",
                format!(
                    "delivered {cursor} messages on the way to {}, others {}",
                    way.to,
                    way.order.len()
                ),
            );
        }
        way.complete = true;
        let seat = self
            .position(member)
            .expect("delivers in a ring of which it is a member");
        self.seats[seat] = Seat::Gone(transition);
        Ok(())
    }

    pub(super) fn is_finished(&self) -> bool {
        !self
            .seats
            .iter()
            .any(|seat| matches!(seat, Seat::Pending | Seat::Inside))
    }

    /// Forgets what only [`judge`](Ring::judge) needed.
    pub(super) fn drop_contents(&mut self) {
        self.order = Vec::new();
        for way in &mut self.transitions {
            way.order = Vec::new();
        }
    }
}
