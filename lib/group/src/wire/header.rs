//! The 48 bytes before names and data, in either byte order.

use super::{Delivery, ENDIAN_MARKER, HEADER_LENGTH, Kind, Service};
use crate::name::{NAME_LENGTH, Name};

/// The bits of a hint that a client may set: the message type and the marker.
///
/// The mask reads the same in both byte orders, so it needs no guess of the order.
const HINT_BITS: u32 = 0x80ff_ff80;

/// The order in which the writer of a message stores integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first; both bits of the marker are set.
    Little,
    /// Most significant byte first; both bits of the marker are clear.
    Big,
}

impl ByteOrder {
    /// The order of this machine.
    pub const NATIVE: ByteOrder = if cfg!(target_endian = "little") {
        ByteOrder::Little
    } else {
        ByteOrder::Big
    };

    pub(crate) fn read(self, bytes: [u8; 4]) -> u32 {
        match self {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(crate) fn write(self, value: u32) -> [u8; 4] {
        match self {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }

    /// The order that a marked integer was written in.
    fn of_marked(bytes: [u8; 4]) -> ByteOrder {
        if bytes[0] & 0x80 != 0 {
            ByteOrder::Little
        } else {
            ByteOrder::Big
        }
    }

    fn marker(self) -> u32 {
        match self {
            ByteOrder::Little => ENDIAN_MARKER,
            ByteOrder::Big => 0,
        }
    }
}

/// The hint of a message: 16 bits chosen by the sending program, in the sender's byte order.
///
/// Daemons pass its four bytes on as they are, whatever they do with the rest of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hint(pub [u8; 4]);

impl Hint {
    /// The hint that carries `mess_type`, written in `order`.
    pub fn new(mess_type: u16, order: ByteOrder) -> Hint {
        Hint(order.write(u32::from(mess_type) << 8 | order.marker()))
    }

    /// The program's 16 bits, as `mess_type` of SP_receive.
    pub fn mess_type(self) -> u16 {
        let value = self.order().read(self.0) & !ENDIAN_MARKER;
        (value >> 8) as u16
    }

    /// The byte order of the program that sent the message, and so of integers in its data.
    pub fn order(self) -> ByteOrder {
        ByteOrder::of_marked(self.0)
    }

    fn is_valid(self) -> bool {
        u32::from_le_bytes(self.0) & !HINT_BITS == 0
    }
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type bits without the marker.
    pub kind: Kind,
    /// The order in which the header was written.
    pub order: ByteOrder,
    /// To a daemon: the sender. From a daemon: the sender, or the group of a membership message.
    pub name: Name,
    /// How many names follow.
    pub group_count: u32,
    /// Passed on as it is.
    pub hint: Hint,
    /// Bytes of data after the names.
    pub data_length: u32,
}

impl Header {
    /// Reads a header in the order that its marker tells.
    ///
    /// A negative count or length reads as more than 2^31, which is beyond every limit.
    pub fn decode(bytes: &[u8; HEADER_LENGTH]) -> Header {
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let order = ByteOrder::of_marked(word(0));
        Header {
            kind: Kind::from_bits(order.read(word(0))),
            order,
            name: Name::from_field(&bytes[4..4 + NAME_LENGTH]),
            group_count: order.read(word(36)),
            hint: Hint(word(40)),
            data_length: order.read(word(44)),
        }
    }

    /// Writes the header in the order that it names, the hint as it is.
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[0..4].copy_from_slice(&self.order.write(self.kind.bits() | self.order.marker()));
        bytes[4..36].copy_from_slice(&self.name.to_field());
        bytes[36..40].copy_from_slice(&self.order.write(self.group_count));
        bytes[40..44].copy_from_slice(&self.hint.0);
        bytes[44..48].copy_from_slice(&self.order.write(self.data_length));
        bytes
    }

    /// What a client asks for with this header; none if the reference closes on it.
    ///
    /// Exactly one service or request bit must be set, and no foreign bit in the hint. Other type
    /// bits pass but mean nothing: relaying them would let a client forge memberships.
    pub fn request(&self) -> Option<Request> {
        if !self.hint.is_valid() {
            return None;
        }
        match self.kind.request_bits() {
            Kind::JOIN_MESS => Some(Request::Join),
            Kind::LEAVE_MESS => Some(Request::Leave),
            Kind::KILL_MESS => Some(Request::Kill),
            service => Service::ALL
                .into_iter()
                .find(|s| s.kind() == service)
                .map(|service| {
                    let self_discard = self.kind.intersects(Kind::SELF_DISCARD);
                    Request::Multicast(Delivery {
                        service,
                        self_discard,
                    })
                }),
        }
    }
}

/// What a client asks of its daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Join all of the groups; Spread's daemon takes the first only.
    Join,
    /// Leave all of the groups; Spread's daemon takes the first only.
    Leave,
    /// End the session; the groups mean nothing.
    Kill,
    /// Send the data to the groups and private groups.
    Multicast(Delivery),
}
