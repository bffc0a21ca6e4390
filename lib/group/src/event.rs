//! What a session receives.

use bytes::Bytes;

use crate::name::Name;
use crate::wire::{
    ByteOrder, Frame, GroupId, Groups, Kind, Membership, MembershipError, Service,
    decode_transition,
};

/// What a session receives, in the order that all members share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Data for a group that the session is in, or for the session.
    Message(Message),
    /// A group that the session is in has a new membership.
    Membership(Membership),
    /// The membership `gid` of the group ends: what follows until its next membership is promised
    /// only together with the members that come along.
    Transition {
        /// Whose membership.
        group: Name,
        /// The membership that ends.
        gid: GroupId,
    },
    /// The session has left the group; nothing for it follows.
    SelfLeave {
        /// The group that was left.
        group: Name,
    },
    /// A request of this session is refused: groupd has no room for another membership, or an
    /// access policy of a Spread daemon forbids it.
    Refused {
        /// What was asked for, as a type of the answer: a join is `CAUSED_BY_JOIN`.
        request: Kind,
        /// The request's groups, and the session's private group.
        groups: Groups,
    },
}

/// Data from a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Private group of the sender.
    pub sender: Name,
    /// The guarantee that it was sent with.
    pub service: Service,
    /// The destinations as the sender gave them, its own mistakes included.
    pub groups: Groups,
    /// Sixteen bits that mean what the sender and the receiver agreed on.
    pub mess_type: u16,
    /// Byte order of the sender's machine.
    pub order: ByteOrder,
    /// The data, not copied from the read that brought it.
    pub data: Bytes,
}

impl Event {
    /// Reads a message from a daemon.
    ///
    /// A type with a service bit is data, whatever else it says: on a Spread daemon a client can
    /// send membership bits to others, but never without a service.
    ///
    /// Errors: no known type, or a membership body that makes no sense.
    pub fn from_frame(frame: Frame) -> Result<Event, MembershipError> {
        let kind = frame.header.kind;
        let group = frame.header.name;
        if let Some(request) = frame.rejected {
            return Ok(Event::Refused {
                request,
                groups: frame.groups,
            });
        }
        if let Some(service) = Service::from_kind(kind) {
            return Ok(Event::Message(Message {
                sender: frame.header.name,
                service,
                groups: frame.groups,
                mess_type: frame.header.hint.mess_type(),
                order: frame.header.hint.order(),
                data: frame.data,
            }));
        }
        if kind.intersects(Kind::REG_MEMB_MESS) {
            Membership::decode(&frame).map(Event::Membership)
        } else if kind.intersects(Kind::TRANSITION_MESS) {
            decode_transition(&frame).map(|gid| Event::Transition { group, gid })
        } else if kind.intersects(Kind::CAUSED_BY_LEAVE) {
            Ok(Event::SelfLeave { group })
        } else {
            Err(MembershipError)
        }
    }
}
