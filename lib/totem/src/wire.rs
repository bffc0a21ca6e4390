//! Bodies of packets: data, token and control, as they stand between the header and the tag.
//!
//! All integers are little-endian. A body is parsed whole or refused; parsing allocates no more
//! than the datagram is long.

mod control;

use bytes::{Buf, BufMut, Bytes};

use crate::view::{Incarnation, MemberId, RingId, ViewMember};

pub(crate) use control::{Control, Form, Heard, Held, Hello, OldRing};

/// The body ended early, is too long, or holds a value that no member sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<bytes::TryGetError> for Malformed {
    fn from(_: bytes::TryGetError) -> Malformed {
        Malformed
    }
}

/// Reads a number that only ever grows, by little. No member can have come to 2^63, so what is
/// reckoned with it does not overflow, whoever made the packet.
fn get_growing(body: &mut &[u8]) -> Result<u64, Malformed> {
    let number = body.try_get_u64_le()?;
    if number >> 63 == 0 {
        Ok(number)
    } else {
        Err(Malformed)
    }
}

/// Bytes of a data body before its chunks: see [`DataHeader`].
pub(crate) const DATA_HEADER_BYTES: usize = 16;

/// What precedes the chunks of a data packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataHeader {
    /// Place in the total order of its ring.
    pub(crate) seq: u64,
    /// Low bits of the hop count of the token under which it was first sent.
    pub(crate) hop: u32,
    /// Position of the originator in its ring, whoever transmits it now.
    pub(crate) origin: u16,
    /// 0: of the ring that the packet header names. Otherwise one more than the index of the old
    /// ring, in the formation, whose message is recovered here.
    pub(crate) old_ring: u16,
}

impl DataHeader {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.seq);
        out.put_u32_le(self.hop);
        out.put_u16_le(self.origin);
        out.put_u16_le(self.old_ring);
    }

    pub(crate) fn get(body: &mut &[u8]) -> Result<DataHeader, Malformed> {
        Ok(DataHeader {
            seq: get_growing(body)?,
            hop: body.try_get_u32_le()?,
            origin: body.try_get_u16_le()?,
            old_ring: body.try_get_u16_le()?,
        })
    }
}

/// A run of packets that somebody misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// As [`DataHeader::old_ring`].
    pub(crate) old_ring: u16,
    pub(crate) first: u64,
    pub(crate) count: u16,
}

/// Requests in a token: with this many it still fits an unfragmented datagram of 1200 bytes.
pub(crate) const REQUESTS_MAX: usize = 80;

/// Nobody, where a token names a position.
pub(crate) const NOBODY: u16 = u16::MAX;

/// The token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Token {
    /// Grows with every hop; a token that is not newer than the last one handled is a duplicate.
    pub(crate) hop: u64,
    /// Highest sequence number assigned.
    pub(crate) seq: u64,
    /// Candidate for "everybody has everything up to here".
    pub(crate) aru: u64,
    /// Position of the member that lowered `aru` last, or [`NOBODY`].
    pub(crate) aru_by: u16,
    /// Whether everyone so far has all it needs of its old ring.
    pub(crate) recovered: bool,
    /// Position of the member that cleared `recovered`, or [`NOBODY`].
    pub(crate) recovered_by: u16,
    /// Position of a member whose clients cannot keep up, or [`NOBODY`].
    pub(crate) congested_by: u16,
    /// Packets sent in the last rotation, repeated ones too.
    pub(crate) rotation_packets: u32,
    /// Bytes queued at all members when they last had the token.
    pub(crate) backlog_bytes: u64,
    /// Who misses what.
    pub(crate) requests: Vec<Request>,
}

impl Token {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.hop);
        out.put_u64_le(self.seq);
        out.put_u64_le(self.aru);
        out.put_u16_le(self.aru_by);
        out.put_u8(u8::from(self.recovered));
        out.put_u16_le(self.recovered_by);
        out.put_u16_le(self.congested_by);
        out.put_u32_le(self.rotation_packets);
        out.put_u64_le(self.backlog_bytes);
        out.put_u16_le(self.requests.len() as u16);
        for request in &self.requests {
            out.put_u16_le(request.old_ring);
            out.put_u64_le(request.first);
            out.put_u16_le(request.count);
        }
    }

    pub(crate) fn get(mut body: &[u8]) -> Result<Token, Malformed> {
        let body = &mut body;
        let mut token = Token {
            hop: get_growing(body)?,
            seq: get_growing(body)?,
            aru: get_growing(body)?,
            aru_by: body.try_get_u16_le()?,
            recovered: get_bool(body)?,
            recovered_by: body.try_get_u16_le()?,
            congested_by: body.try_get_u16_le()?,
            rotation_packets: body.try_get_u32_le()?,
            backlog_bytes: body.try_get_u64_le()?,
            requests: Vec::new(),
        };
        let count = usize::from(body.try_get_u16_le()?);
        if count > REQUESTS_MAX {
            return Err(Malformed);
        }
        for _ in 0..count {
            token.requests.push(Request {
                old_ring: body.try_get_u16_le()?,
                first: get_growing(body)?,
                count: body.try_get_u16_le()?,
            });
        }
        finished(body)?;
        Ok(token)
    }
}

fn put_ring(ring: &RingId, out: &mut Vec<u8>) {
    out.put_u64_le(ring.counter);
    out.put_u32_le(ring.representative.0);
    out.put_u64_le(ring.incarnation.0);
}

fn get_ring(body: &mut &[u8]) -> Result<RingId, Malformed> {
    Ok(RingId {
        counter: get_growing(body)?,
        representative: MemberId(body.try_get_u32_le()?),
        incarnation: Incarnation(body.try_get_u64_le()?),
    })
}

fn put_member(member: &ViewMember, out: &mut Vec<u8>) {
    out.put_u32_le(member.id.0);
    out.put_u64_le(member.incarnation.0);
}

fn get_member(body: &mut &[u8]) -> Result<ViewMember, Malformed> {
    Ok(ViewMember {
        id: MemberId(body.try_get_u32_le()?),
        incarnation: Incarnation(body.try_get_u64_le()?),
    })
}

fn get_bool(body: &mut &[u8]) -> Result<bool, Malformed> {
    match body.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

fn finished(body: &[u8]) -> Result<(), Malformed> {
    if body.is_empty() {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// Splits the chunks off a received data body without copying the rest.
pub(crate) fn split_data(body: &Bytes) -> Result<(DataHeader, Bytes), Malformed> {
    let header = DataHeader::get(&mut body.as_ref())?;
    Ok((header, body.slice(DATA_HEADER_BYTES..)))
}

#[cfg(test)]
mod tests;
