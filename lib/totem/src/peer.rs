//! What is remembered of another member, and what that means for taking it in again.

use std::time::Duration;

use crate::event::Notice;
use crate::node::Totem;
use crate::time::Time;
use crate::view::{Incarnation, MemberId, ViewMember};
use crate::wire::Hello;

/// A member that was lost more often than this lately has to be heard steadily before it is taken
/// back: for so many beacon intervals, with no pause as long as that.
const LOSSES_FREE: u32 = 4;
pub(crate) const STEADY_BEACONS: u32 = 2;
/// A loss is forgotten after this time without another.
const LOSS_MEMORY: Duration = Duration::from_secs(60);
/// Who was shut out waits this long, and twice as long each time that it happens again.
const SHUT_OUT_WAIT: Duration = Duration::from_secs(2);
const SHUT_OUT_WAIT_MAX: Duration = Duration::from_secs(30);

/// What is known of a configured member, in the life that was heard last.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) incarnation: Incarnation,
    /// Its last HELLO.
    pub(crate) heard_at: Time,
    /// Its last fresh HELLO, and when.
    pub(crate) hello: Option<(Time, Hello)>,
    pub(crate) answered_at: Time,
    /// Since when it has been heard without a pause.
    steady_since: Time,
    /// How often it was lost lately, and when last.
    losses: u32,
    lost_at: Time,
    /// How often it was shut out lately, and when last.
    shut_outs: u32,
    shut_out_at: Time,
}

impl Peer {
    pub(crate) fn new(incarnation: Incarnation, now: Time) -> Peer {
        let never = Time(0);
        Peer {
            incarnation,
            heard_at: now,
            hello: None,
            answered_at: never,
            steady_since: now,
            losses: 0,
            lost_at: never,
            shut_outs: 0,
            shut_out_at: never,
        }
    }

    /// Notes a HELLO; after this long a silence it is no longer heard steadily.
    pub(crate) fn hear(&mut self, now: Time, pause: Duration) {
        if now.since(self.heard_at) > pause {
            self.steady_since = now;
        }
        self.heard_at = now;
    }

    /// Its last fresh HELLO, if not older than `since`.
    pub(crate) fn hello(&self, since: Time) -> Option<&Hello> {
        self.hello
            .as_ref()
            .filter(|(at, _)| *at >= since)
            .map(|(_, hello)| hello)
    }

    /// Whether it comes and goes. One that was only cut off is heard steadily from the moment when
    /// the cut is healed, so this costs a merge less than a second.
    pub(crate) fn is_flapping(&self, now: Time, steady: Duration) -> bool {
        self.losses > LOSSES_FREE
            && now.since(self.lost_at) < LOSS_MEMORY
            && self.heard_at.since(self.steady_since) < steady
    }

    /// Whether it was shut out and has to wait: it hears the ring and cannot get its data, which
    /// does not show before it is in a ring again.
    pub(crate) fn is_shut_out(&self, now: Time) -> bool {
        let Some(again) = self.shut_outs.checked_sub(1) else {
            return false;
        };
        let wait = SHUT_OUT_WAIT * (1 << again.min(10));
        now.since(self.shut_out_at) < wait.min(SHUT_OUT_WAIT_MAX)
    }
}

impl Totem {
    /// Leaves a member that still speaks out of the next view, and of merges for a while.
    pub(crate) fn shut_out(&mut self, now: Time, member: ViewMember) {
        self.shut_out.insert(member);
        if let Some(peer) = self.peers.get_mut(&member.id) {
            let recent = now.since(peer.shut_out_at) < SHUT_OUT_WAIT_MAX * 2;
            peer.shut_outs = if recent { peer.shut_outs + 1 } else { 1 };
            peer.shut_out_at = now;
        }
    }

    /// Members that have to wait for having been shut out.
    pub(crate) fn shut_out_members(&self, now: Time) -> impl Iterator<Item = MemberId> {
        let waiting = self.peers.iter();
        let waiting = waiting.filter(move |(_, peer)| peer.is_shut_out(now));
        waiting.map(|(id, _)| *id)
    }

    /// Whether some host gets no beacons, as it refused one.
    pub(crate) fn is_refused(&self, now: Time) -> bool {
        self.refused_at.keys().any(|&id| self.refuses(now, id))
    }

    /// Notes who was lost with the last view without leaving.
    pub(crate) fn note_lost(&mut self, now: Time, member: ViewMember) {
        self.notice(Notice::Evicted {
            member: member.id,
            incarnation: member.incarnation,
        });
        // Who left or died does not come and go.
        if !self.is_out(&member)
            && let Some(peer) = self.peers.get_mut(&member.id)
        {
            let recent = now.since(peer.lost_at) < LOSS_MEMORY;
            peer.losses = if recent { peer.losses + 1 } else { 1 };
            peer.lost_at = now;
        }
    }
}
