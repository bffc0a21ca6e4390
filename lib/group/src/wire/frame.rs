//! Whole messages: taking them out of a byte stream, and writing them.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use super::{ByteOrder, GROUPS_MAX, HEADER_LENGTH, Header, Kind, PAYLOAD_MAX};
use crate::name::{NAME_LENGTH, Name};

/// Bytes after the header of a refused request, counted by no length: the original type.
const REJECT_EXTRA: usize = 4;

/// A message as it stands on the wire, without copies of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The fixed part.
    pub header: Header,
    /// Destinations of data, or members in a membership message.
    pub groups: Groups,
    /// The data, opaque but for membership messages.
    pub data: Bytes,
    /// The type of the refused request, in a message of kind `REJECT_MESS` from a daemon.
    pub rejected: Option<Kind>,
}

/// Appends a message to `output`: the header, names as fields, data.
///
/// How many names and bytes of data there are is counted here, whatever the header says.
pub fn encode_message(
    output: &mut Vec<u8>,
    header: &Header,
    groups: impl IntoIterator<Item = [u8; NAME_LENGTH]>,
    data: &[u8],
) {
    let start = output.len();
    output.extend_from_slice(&[0; HEADER_LENGTH]);
    let mut group_count = 0;
    for group in groups {
        output.extend_from_slice(&group);
        group_count += 1;
    }
    output.extend_from_slice(data);
    let header = Header {
        group_count,
        data_length: data.len() as u32,
        ..*header
    };
    output[start..start + HEADER_LENGTH].copy_from_slice(&header.encode());
}

/// Writes the refusal of a join: `request` is its header, `groups` are those of its groups that it
/// is refused for.
///
/// The requester's private group follows the groups, in the place of the hundredth if need be.
///
/// Source: what Spread's daemon answers where it has no room for another member.
pub fn encode_refused_join(request: &Header, groups: &[Name]) -> Bytes {
    let mut kind = Kind::REJECT_MESS;
    if request.kind.intersects(Kind::SELF_DISCARD) {
        kind = kind | Kind::SELF_DISCARD;
    }
    let groups = &groups[..groups.len().min(GROUPS_MAX - 1)];
    let header = Header {
        kind,
        order: ByteOrder::NATIVE,
        group_count: groups.len() as u32 + 1,
        data_length: 0,
        ..*request
    };
    let mut message = header.encode().to_vec();
    message.extend_from_slice(&ByteOrder::NATIVE.write(Kind::CAUSED_BY_JOIN.bits()));
    for group in groups.iter().chain([&request.name]) {
        message.extend_from_slice(&group.to_field());
    }
    message.into()
}

/// A list of names as 32-byte fields.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// Invariant: a multiple of 32 bytes.
    fields: Bytes,
}

impl Groups {
    /// Makes a list of names.
    pub fn new(names: &[impl AsRef<Name>]) -> Groups {
        let mut fields = Vec::with_capacity(names.len() * NAME_LENGTH);
        for name in names {
            fields.extend_from_slice(&name.as_ref().to_field());
        }
        Groups {
            fields: fields.into(),
        }
    }

    /// The names, in the order of the message.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Name> + '_ {
        self.fields.chunks_exact(NAME_LENGTH).map(Name::from_field)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.fields.len() / NAME_LENGTH
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields exactly as they were received, 32 bytes each.
    pub fn as_bytes(&self) -> &[u8] {
        &self.fields
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What a decoder accepts before it gives the stream up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most names in one message.
    pub groups_max: usize,
    /// Most bytes of data plus 32 per name in one message.
    pub payload_bytes_max: usize,
}

impl Limits {
    /// What Spread's daemon accepts of a client.
    pub const DAEMON: Limits = Limits {
        groups_max: GROUPS_MAX,
        payload_bytes_max: PAYLOAD_MAX,
    };

    /// What a client accepts of its daemon.
    ///
    /// Room for a membership of 65,536 sessions, each in a list and in a vs set, and for the
    /// 14,400,000 bytes of Spread daemons built for large messages.
    pub const CLIENT: Limits = Limits {
        groups_max: 65_536,
        payload_bytes_max: 16 << 20,
    };
}

/// Takes messages out of a stream of bytes.
///
/// Feed what was read, then take frames until there is none. It never holds more than one
/// incomplete message and what was fed last, and nothing once all was taken: memory follows the
/// bytes that arrived, not the lengths that a header claims.
#[derive(Debug)]
pub struct FrameDecoder {
    limits: Limits,
    /// Whether each header must be a client's request.
    requests: bool,
    buffer: BytesMut,
    /// The header at the front of `buffer`, once it was found good.
    header: Option<Header>,
}

impl FrameDecoder {
    /// Makes the decoder of a daemon, which checks each header as soon as it is there.
    pub fn for_requests(limits: Limits) -> FrameDecoder {
        FrameDecoder {
            limits,
            requests: true,
            buffer: BytesMut::new(),
            header: None,
        }
    }

    /// Makes the decoder of a client.
    pub fn for_deliveries(limits: Limits) -> FrameDecoder {
        FrameDecoder {
            limits,
            requests: false,
            buffer: BytesMut::new(),
            header: None,
        }
    }

    /// Appends bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes wait for the rest of their message.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the next complete message; none until more bytes were fed.
    ///
    /// Errors: the stream cannot be read any further; close it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.peek_header()? else {
            if self.buffer.is_empty() {
                // Frames that were handed out keep the memory as long as they need it.
                self.buffer = BytesMut::new();
            }
            return Ok(None);
        };
        let rejects = !self.requests && header.kind.intersects(Kind::REJECT_MESS);
        let names_at = HEADER_LENGTH + if rejects { REJECT_EXTRA } else { 0 };
        let data_at = names_at + NAME_LENGTH * header.group_count as usize;
        let length = data_at + header.data_length as usize;
        if self.buffer.len() < length {
            return Ok(None);
        }
        self.header = None;
        let mut rest = self.buffer.split_to(length).freeze();
        rest.advance(HEADER_LENGTH);
        let rejected = rejects.then(|| {
            let mut kind = [0; REJECT_EXTRA];
            rest.copy_to_slice(&mut kind);
            Kind::from_bits(header.order.read(kind))
        });
        let fields = rest.split_to(data_at - names_at);
        Ok(Some(Frame {
            header,
            groups: Groups { fields },
            data: rest,
            rejected,
        }))
    }

    /// The header of the message at the front, checked.
    fn peek_header(&mut self) -> Result<Option<Header>, FrameError> {
        if self.header.is_none()
            && let Some(bytes) = self.buffer.first_chunk::<HEADER_LENGTH>()
        {
            let header = Header::decode(bytes);
            self.check(&header)?;
            self.header = Some(header);
        }
        Ok(self.header)
    }

    fn check(&self, header: &Header) -> Result<(), FrameError> {
        if header.group_count as usize > self.limits.groups_max {
            return Err(FrameError::Groups);
        }
        let names = NAME_LENGTH * header.group_count as usize;
        if header.data_length as usize + names > self.limits.payload_bytes_max {
            return Err(FrameError::Length);
        }
        if self.requests && header.request().is_none() {
            return Err(FrameError::Request);
        }
        Ok(())
    }
}

/// Why a stream of messages cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The number of groups is negative or above the limit.
    Groups,
    /// The data's length is negative, or it is too long together with the groups.
    Length,
    /// The type is not one request, or the hint has foreign bits.
    Request,
}

impl FrameError {
    /// The code of the C library: SP_ILLEGAL_MESSAGE.
    pub fn code(self) -> i32 {
        -13
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FrameError::Groups => "a message names a negative number of groups or too many",
            FrameError::Length => "a message has a negative length or is too long",
            FrameError::Request => "a message is not exactly one request",
        })
    }
}

impl std::error::Error for FrameError {}
