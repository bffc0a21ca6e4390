//! What comes out of the ring: deliveries, views, notices for the log, and packets to send.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::view::{Incarnation, MemberId, RingId, Transition, View};

/// Delivery guarantee of a message, in the terms of Spread.
///
/// Everything below `Safe` comes out in one total order: what that gives beyond the promise of
/// the lower services costs nothing on a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Exactly once within a view.
    Reliable,
    /// In the order of the sender.
    Fifo,
    /// After everything its sender had seen.
    Causal,
    /// In one total order.
    Agreed,
    /// Agreed, and only once every member of the view has it.
    Safe,
}

/// A message, at its place in the total order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The member that submitted it.
    pub sender: MemberId,
    /// The service it asked for.
    pub service: Service,
    /// The bytes submitted, never copied if they fitted one datagram.
    pub data: Bytes,
}

/// What happened, in the order in which the application must see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message is delivered in the configuration announced last.
    Deliver(Delivery),
    /// A transitional configuration begins: what follows is known to its members only.
    Transitional(Transition),
    /// A regular configuration begins.
    Regular(View),
    /// A clean leave is done; nothing follows.
    Left,
    /// Something an administrator may want to know.
    Notice(Notice),
}

/// Something worth a line in the log. Repeated ones are limited in rate by the receiver of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Packets from here do not open with our key, or are plain where we seal.
    ForeignKey { from: SocketAddr },
    /// This member runs with another configuration.
    ForeignConfig {
        member: MemberId,
        difference: Difference,
    },
    /// Who is not in our configuration sends packets that open with our key.
    Stranger { from: SocketAddr },
    /// Another process runs under our own identity; `ours_is_newer` says who must go.
    DuplicateMember {
        from: SocketAddr,
        ours_is_newer: bool,
    },
    /// The token did not come back: a new membership is gathered.
    TokenLost { ring: RingId },
    /// A member is no longer answering and is left out.
    Evicted {
        member: MemberId,
        incarnation: Incarnation,
    },
    /// A formation failed and is tried again.
    FormationFailed { ring: RingId },
}

/// What another member's configuration has that ours does not, or has otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another version of the protocol: that member is not talked to.
    Protocol,
    /// It calls itself so.
    Name(String),
    /// Its packets come from this address.
    Address(IpAddr),
    /// It is in the segment of this address.
    Segment(SocketAddrV4),
    /// It waits so long for the token.
    TokenLoss(Duration),
    /// Its packets are so long.
    DatagramBytes(u32),
}

/// Which traffic a packet is: the token travels on a socket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Ordered messages.
    Data,
    /// The token.
    Token,
    /// Membership; travels on the token's socket.
    Control,
}

/// Where a batch of datagrams goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To one member.
    Member(MemberId),
    /// To every other live member of my segment: one multicast, or a unicast to each of them
    /// where the segment cannot multicast.
    Segment(Arc<[MemberId]>),
    /// As `Segment` to the first list, and one unicast copy to each member of the second, who
    /// represent the other segments and pass it on in theirs.
    Set(Arc<[MemberId]>, Arc<[MemberId]>),
}

/// Equal datagrams for one destination, as they stand in the buffer given to
/// [`poll_transmit`](crate::Totem::poll_transmit).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: Destination,
    /// On which socket.
    pub class: Class,
    /// Length of each datagram; only the last one may be shorter.
    pub segment_size: usize,
}
