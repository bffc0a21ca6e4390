//! What the process-group layer tells the sessions of this daemon.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::name::GroupName;
use crate::view::MemberId;

/// A session of this daemon, numbered by the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// Identity of a membership of a group.
///
/// With the group's name it is unique: `index` grows with every change in the same view, in all
/// groups together, so a group that empties and comes back does not repeat an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    /// Who formed the ring; within a ring change, the first of those that go on together.
    pub representative: MemberId,
    /// Low bits of the ring's counter, which is the time in seconds or more.
    pub time: u32,
    /// Which change since.
    pub index: u32,
}

/// What a client gave with a message and its receivers get back; nothing here interprets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The service and option bits.
    pub type_bits: u32,
    /// The hint, whose bytes are never swapped.
    pub hint: [u8; 4],
}

/// The destinations of a message, exactly as its sender named them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations {
    // Invariant: `count` names of at most 32 bytes, each behind its length.
    pub(crate) names: Bytes,
    pub(crate) count: u8,
}

impl Destinations {
    /// How many there are, repeated ones counted.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether the message went to nobody.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names in the order of the sender.
    pub fn iter(&self) -> impl Iterator<Item = GroupName> {
        let mut rest = &self.names[..];
        std::iter::from_fn(move || {
            let length = usize::from(rest.try_get_u8().ok()?);
            let (name, behind) = rest.split_at_checked(length)?;
            rest = behind;
            GroupName::new(name)
        })
    }
}

/// Why a membership changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This private group joined.
    Join(GroupName),
    /// This private group left.
    Leave(GroupName),
    /// This private group's session ended.
    Disconnect(GroupName),
    /// The ring changed, or somebody came or went while it did.
    Network,
}

/// A new membership of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: GroupName,
    /// Its identity.
    pub gid: GroupId,
    /// Why it changed.
    pub cause: Cause,
    /// Private groups of all members, by position of their daemon in the view, then bytewise.
    pub members: Arc<[GroupName]>,
    /// For [`Cause::Network`]: the members, by the previous membership that they come from
    /// together. Otherwise one set of one: who joined, left or disconnected.
    pub vs_sets: Arc<[Arc<[GroupName]>]>,
    /// Which of `vs_sets` holds the receivers; 0 if the cause is not [`Cause::Network`].
    pub own_set: usize,
}

/// Something for sessions of this daemon, in the order in which each must see it.
///
/// A list of receivers is never empty and names no session twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// A message.
    Message {
        /// Every session that a destination matches, once.
        to: Arc<[SessionId]>,
        /// The private group of the sender.
        sender: GroupName,
        /// As sent.
        attributes: Attributes,
        /// As sent.
        destinations: Destinations,
        /// As sent; a slice of the delivery.
        payload: Bytes,
    },
    /// A membership, for members that want to know.
    Membership {
        /// The members here that want to know.
        to: Arc<[SessionId]>,
        /// What they are told.
        membership: Membership,
    },
    /// What follows, until the next membership, is certain only among those that go on together.
    Transition {
        /// The members here that want to know.
        to: Arc<[SessionId]>,
        /// The group.
        group: GroupName,
        /// The membership that ends.
        gid: GroupId,
    },
    /// A session has left a group; it wanted to know. Nothing of the group follows.
    SelfLeave {
        /// Who left.
        to: SessionId,
        /// The group.
        group: GroupName,
    },
}
