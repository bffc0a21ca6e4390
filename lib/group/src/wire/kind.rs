//! Type bits and services. Names and values of the bits are those of Spread's headers, because
//! every client library has compiled them in.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

use super::ENDIAN_MARKER;

/// The type bits of a message, without the byte order marker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kind(u32);

impl Kind {
    /// Data that may be lost.
    pub const UNRELIABLE_MESS: Kind = Kind(0x0000_0001);
    /// Data that is not lost, in any order.
    pub const RELIABLE_MESS: Kind = Kind(0x0000_0002);
    /// Data in the order of its sender.
    pub const FIFO_MESS: Kind = Kind(0x0000_0004);
    /// Data after everything its sender had seen.
    pub const CAUSAL_MESS: Kind = Kind(0x0000_0008);
    /// Data in one total order.
    pub const AGREED_MESS: Kind = Kind(0x0000_0010);
    /// Data in the total order that every daemon of the view has.
    pub const SAFE_MESS: Kind = Kind(0x0000_0020);
    /// All services.
    pub const REGULAR_MESS: Kind = Kind(0x0000_003f);
    /// Option on data: not delivered back to the sending connection.
    pub const SELF_DISCARD: Kind = Kind(0x0000_0040);
    /// Membership caused by a join.
    pub const CAUSED_BY_JOIN: Kind = Kind(0x0000_0100);
    /// Membership caused by a leave; alone, the notice to the leaver.
    pub const CAUSED_BY_LEAVE: Kind = Kind(0x0000_0200);
    /// Membership caused by the end of a connection.
    pub const CAUSED_BY_DISCONNECT: Kind = Kind(0x0000_0400);
    /// Membership caused by daemons that were lost or found.
    pub const CAUSED_BY_NETWORK: Kind = Kind(0x0000_0800);
    /// A regular membership.
    pub const REG_MEMB_MESS: Kind = Kind(0x0000_1000);
    /// The transitional signal.
    pub const TRANSITION_MESS: Kind = Kind(0x0000_2000);
    /// All membership bits.
    pub const MEMBERSHIP_MESS: Kind = Kind(0x0000_3f00);
    /// Request to join a group.
    pub const JOIN_MESS: Kind = Kind(0x0001_0000);
    /// Request to leave a group.
    pub const LEAVE_MESS: Kind = Kind(0x0002_0000);
    /// Request to end the session.
    pub const KILL_MESS: Kind = Kind(0x0004_0000);
    /// A request that an access policy refused.
    pub const REJECT_MESS: Kind = Kind(0x0040_0000);

    /// Makes a type from bits as they stand in a message; the marker is dropped.
    pub fn from_bits(bits: u32) -> Kind {
        Kind(bits & !ENDIAN_MARKER)
    }

    /// The bits, without the marker.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The bits that say what a client asks for; exactly one must be set.
    pub(super) fn request_bits(self) -> Kind {
        Kind(self.0 & 0x0007_003f)
    }

    /// Whether any bit of `mask` is set.
    pub fn intersects(self, mask: Kind) -> bool {
        self.0 & mask.0 != 0
    }
}

impl BitOr for Kind {
    type Output = Kind;

    fn bitor(self, other: Kind) -> Kind {
        Kind(self.0 | other.0)
    }
}

/// Delivery guarantee of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// May be lost.
    Unreliable,
    /// Not lost in a stable configuration, in any order.
    Reliable,
    /// In the order of the sender.
    Fifo,
    /// After everything its sender had seen.
    Causal,
    /// In one total order at all members, across groups.
    Agreed,
    /// Agreed, and only once every daemon of the view has it.
    Safe,
}

impl Service {
    /// All services, weakest first.
    pub const ALL: [Service; 6] = [
        Service::Unreliable,
        Service::Reliable,
        Service::Fifo,
        Service::Causal,
        Service::Agreed,
        Service::Safe,
    ];

    /// The type bit of the service.
    pub fn kind(self) -> Kind {
        match self {
            Service::Unreliable => Kind::UNRELIABLE_MESS,
            Service::Reliable => Kind::RELIABLE_MESS,
            Service::Fifo => Kind::FIFO_MESS,
            Service::Causal => Kind::CAUSAL_MESS,
            Service::Agreed => Kind::AGREED_MESS,
            Service::Safe => Kind::SAFE_MESS,
        }
    }

    /// The service whose bit is set in `kind`; the weakest if there are several.
    pub fn from_kind(kind: Kind) -> Option<Service> {
        Service::ALL
            .into_iter()
            .find(|service| kind.intersects(service.kind()))
    }

    /// This service, without a copy for the sending session.
    pub fn self_discard(self) -> Delivery {
        Delivery {
            service: self,
            self_discard: true,
        }
    }

    /// The word for the service on command lines and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Service::Unreliable => "unreliable",
            Service::Reliable => "reliable",
            Service::Fifo => "fifo",
            Service::Causal => "causal",
            Service::Agreed => "agreed",
            Service::Safe => "safe",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceError;

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("service must be unreliable, reliable, fifo, causal, agreed or safe")
    }
}

impl std::error::Error for ServiceError {}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(word: &str) -> Result<Service, ServiceError> {
        Service::ALL
            .into_iter()
            .find(|service| service.as_str() == word)
            .ok_or(ServiceError)
    }
}

/// How a message is to be delivered: what SP_multicast takes as service type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// The guarantee.
    pub service: Service,
    /// Whether the sending session gets no copy, even as a member.
    pub self_discard: bool,
}

impl Delivery {
    /// The type bits.
    pub fn kind(self) -> Kind {
        match self.self_discard {
            true => self.service.kind() | Kind::SELF_DISCARD,
            false => self.service.kind(),
        }
    }
}

impl From<Service> for Delivery {
    fn from(service: Service) -> Delivery {
        Delivery {
            service,
            self_discard: false,
        }
    }
}
