//! Messages as bytes, shared by clients and groupd: type bits, header, whole frames, memberships.
//!
//! A message is a header of 48 bytes, 32 bytes for each group name, and data. Each writer uses its
//! own byte order and marks it; only the hint keeps the order of the first sender all the way.
//!
//! Source: Spread's client protocol as spoken by 4.x, observed on the wire.

mod frame;
mod header;
mod kind;
mod membership;

pub use frame::{
    Frame, FrameDecoder, FrameError, Groups, Limits, encode_message, encode_refused_join,
};
pub use header::{ByteOrder, Header, Hint, Request};
pub use kind::{Delivery, Kind, Service, ServiceError};
pub(crate) use membership::decode_transition;
pub use membership::{
    Cause, GroupId, Membership, MembershipError, encode_membership, encode_self_leave,
    encode_transition,
};

/// Bytes of a message header.
pub const HEADER_LENGTH: usize = 48;

/// Most destination groups in one client message, as in Spread.
pub const GROUPS_MAX: usize = 100;

/// Most bytes of data plus 32 per group in a client message.
///
/// Spread's message limit of 144,000 less the header; a message beyond it ends the session.
pub const PAYLOAD_MAX: usize = 143_952;

/// Most bytes of data in a message that our own tools send.
///
/// Unpatched Spread daemons abort on messages that near their limit; this keeps away from it.
pub const TOOL_DATA_MAX: usize = 131_072;

/// Marks the writer of an integer as little-endian; the same bytes read in either order.
const ENDIAN_MARKER: u32 = 0x8000_0080;
