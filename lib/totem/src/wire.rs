//! Bodies of packets: data, token and control, as they stand between the header and the tag.
//!
//! All integers are little-endian. A body is parsed whole or refused; parsing allocates no more
//! than the datagram is long.

use std::net::SocketAddrV4;

use bytes::{Buf, BufMut, Bytes};

use crate::outline::{NAME_BYTES_MAX, Outline};
use crate::view::{Incarnation, MemberId, RingId, ViewMember};

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

/// What a member says of itself to everybody it may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// See [`Config::compatibility`](crate::config::Config::compatibility).
    pub(crate) compatibility: u64,
    /// The ring it is in, or was in while it gathers.
    pub(crate) ring: RingId,
    /// Whether that ring is lost and a new one is wanted.
    pub(crate) gathering: bool,
    /// The greatest formation it has promised to, or its ring.
    pub(crate) promised: RingId,
    /// The greatest ring counter it knows of.
    pub(crate) counter: u64,
    /// The members of `ring`.
    pub(crate) members: Vec<ViewMember>,
    /// Whom it hears; the entry for the receiver is the echo that proves freshness.
    pub(crate) heard: Vec<Heard>,
    /// Members of `ring` that it knows to be gone.
    pub(crate) gone: Vec<ViewMember>,
    /// What the receiver is told of its configuration.
    pub(crate) outline: Outline,
}

/// A row entry of the reachability matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) member: ViewMember,
    /// Whether that member has shown that it hears the speaker.
    pub(crate) mutual: bool,
}

/// One formation of a ring, handed from member to member twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// 1 collects and freezes, 2 commits.
    pub(crate) pass: u8,
    /// The ring to be: the ballot of this formation.
    pub(crate) ring: RingId,
    /// Its members in ring order.
    pub(crate) members: Vec<ViewMember>,
    /// Smallest receive buffer of the members, in packets.
    pub(crate) window: u32,
    /// What is known of each old ring whose members are among the new ones.
    pub(crate) old_rings: Vec<OldRing>,
}

/// The exchanged state of one old ring, merged over those of its members that were visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldRing {
    pub(crate) ring: RingId,
    /// Positions, in the new ring, of the members that come from it: the transitional set.
    pub(crate) members: Vec<u16>,
    /// Greatest safe line: a Safe message up to here was deliverable to somebody.
    pub(crate) stable: u64,
    /// Greatest all-received-up-to: up to here somebody has everything.
    pub(crate) aru: u64,
    /// Which packets beyond `aru` somebody has; bit 0 is `aru + 1`.
    pub(crate) held: Held,
    /// Members that completed an earlier recovery of this ring with one of us, which may have
    /// installed it: their messages are delivered even behind a gap (case 44).
    pub(crate) obligations: Vec<ViewMember>,
}

/// A set of sequence numbers just above a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    bits: Vec<u8>,
}

impl Held {
    pub(crate) fn insert(&mut self, index: usize) {
        let byte = index / 8;
        if self.bits.len() <= byte {
            self.bits.resize(byte + 1, 0);
        }
        self.bits[byte] |= 1 << (index % 8);
    }

    pub(crate) fn contains(&self, index: usize) -> bool {
        self.bits
            .get(index / 8)
            .is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// The members of the set, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.bits.len() * 8).filter(|&index| self.contains(index))
    }
}

impl OldRing {
    /// Whether some member of the transitional set has packet `seq`.
    pub(crate) fn holds(&self, seq: u64) -> bool {
        seq <= self.aru || self.held.contains((seq - self.aru - 1) as usize)
    }

    /// Highest packet that some member of the transitional set has.
    pub(crate) fn high(&self) -> u64 {
        self.aru + self.held.iter().last().map_or(0, |index| index as u64 + 1)
    }
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Hello(Hello),
    Form(Form),
    /// This pass of that formation has arrived.
    FormAck {
        ring: RingId,
        pass: u8,
    },
    /// The sender leaves `ring` for good.
    Leave {
        ring: RingId,
    },
    /// The host of a member of `ring` refuses packets: probe it.
    Suspect {
        ring: RingId,
        member: ViewMember,
    },
    /// Are you there?
    Probe {
        nonce: u64,
    },
    /// I am; the incarnation stands in the packet header.
    ProbeAnswer {
        nonce: u64,
    },
    /// Somebody has something to send: let the token of `ring` go.
    Kick {
        ring: RingId,
    },
}

/// Lists in control messages are no longer than a view can be.
pub(crate) const MEMBERS_MAX: usize = 1024;

impl Control {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Control::Hello(hello) => {
                out.put_u8(1);
                put_hello(hello, out);
            }
            Control::Form(form) => {
                out.put_u8(2);
                put_form(form, out);
            }
            Control::FormAck { ring, pass } => {
                out.put_u8(3);
                put_ring(ring, out);
                out.put_u8(*pass);
            }
            Control::Leave { ring } => {
                out.put_u8(4);
                put_ring(ring, out);
            }
            Control::Suspect { ring, member } => {
                out.put_u8(5);
                put_ring(ring, out);
                put_member(member, out);
            }
            Control::Probe { nonce } => {
                out.put_u8(6);
                out.put_u64_le(*nonce);
            }
            Control::ProbeAnswer { nonce } => {
                out.put_u8(7);
                out.put_u64_le(*nonce);
            }
            Control::Kick { ring } => {
                out.put_u8(8);
                put_ring(ring, out);
            }
        }
    }

    pub(crate) fn get(mut body: &[u8]) -> Result<Control, Malformed> {
        let body = &mut body;
        let control = match body.try_get_u8()? {
            1 => Control::Hello(get_hello(body)?),
            2 => Control::Form(get_form(body)?),
            3 => Control::FormAck {
                ring: get_ring(body)?,
                pass: body.try_get_u8()?,
            },
            4 => Control::Leave {
                ring: get_ring(body)?,
            },
            5 => Control::Suspect {
                ring: get_ring(body)?,
                member: get_member(body)?,
            },
            6 => Control::Probe {
                nonce: body.try_get_u64_le()?,
            },
            7 => Control::ProbeAnswer {
                nonce: body.try_get_u64_le()?,
            },
            8 => Control::Kick {
                ring: get_ring(body)?,
            },
            _ => return Err(Malformed),
        };
        finished(body)?;
        Ok(control)
    }
}

fn put_hello(hello: &Hello, out: &mut Vec<u8>) {
    out.put_u64_le(hello.compatibility);
    put_ring(&hello.ring, out);
    out.put_u8(u8::from(hello.gathering));
    put_ring(&hello.promised, out);
    out.put_u64_le(hello.counter);
    put_list(&hello.members, out, put_member);
    put_list(&hello.heard, out, |heard, out| {
        put_member(&heard.member, out);
        out.put_u8(u8::from(heard.mutual));
    });
    put_list(&hello.gone, out, put_member);
    put_outline(&hello.outline, out);
}

fn put_outline(outline: &Outline, out: &mut Vec<u8>) {
    out.put_u8(outline.name.len() as u8);
    out.put_slice(outline.name.as_bytes());
    out.put_u32_le(outline.segment.ip().to_bits());
    out.put_u16_le(outline.segment.port());
    out.put_u8(u8::from(outline.is_before));
    out.put_u32_le(outline.token_loss_ms);
    out.put_u32_le(outline.datagram_bytes);
}

fn get_outline(body: &mut &[u8]) -> Result<Outline, Malformed> {
    let length = usize::from(body.try_get_u8()?);
    let (name, rest) = body.split_at_checked(length).ok_or(Malformed)?;
    if length > NAME_BYTES_MAX {
        return Err(Malformed);
    }
    let name = str::from_utf8(name).map_err(|_| Malformed)?.to_owned();
    *body = rest;
    Ok(Outline {
        name,
        segment: SocketAddrV4::new(body.try_get_u32_le()?.into(), body.try_get_u16_le()?),
        is_before: get_bool(body)?,
        token_loss_ms: body.try_get_u32_le()?,
        datagram_bytes: body.try_get_u32_le()?,
    })
}

fn get_hello(body: &mut &[u8]) -> Result<Hello, Malformed> {
    Ok(Hello {
        compatibility: body.try_get_u64_le()?,
        ring: get_ring(body)?,
        gathering: get_bool(body)?,
        promised: get_ring(body)?,
        counter: get_growing(body)?,
        members: get_list(body, get_member)?,
        heard: get_list(body, |body| {
            Ok(Heard {
                member: get_member(body)?,
                mutual: get_bool(body)?,
            })
        })?,
        gone: get_list(body, get_member)?,
        outline: get_outline(body)?,
    })
}

fn put_form(form: &Form, out: &mut Vec<u8>) {
    out.put_u8(form.pass);
    put_ring(&form.ring, out);
    put_list(&form.members, out, put_member);
    out.put_u32_le(form.window);
    put_list(&form.old_rings, out, |old, out| {
        put_ring(&old.ring, out);
        put_list(&old.members, out, |position, out| out.put_u16_le(*position));
        out.put_u64_le(old.stable);
        out.put_u64_le(old.aru);
        out.put_u16_le(old.held.bits.len() as u16);
        out.put_slice(&old.held.bits);
        put_list(&old.obligations, out, put_member);
    });
}

fn get_form(body: &mut &[u8]) -> Result<Form, Malformed> {
    let form = Form {
        pass: body.try_get_u8()?,
        ring: get_ring(body)?,
        members: get_list(body, get_member)?,
        window: body.try_get_u32_le()?,
        old_rings: get_list(body, |body| {
            Ok(OldRing {
                ring: get_ring(body)?,
                members: get_list(body, |body| Ok(body.try_get_u16_le()?))?,
                stable: get_growing(body)?,
                aru: get_growing(body)?,
                held: Held {
                    bits: get_bytes(body)?.to_vec(),
                },
                obligations: get_list(body, get_member)?,
            })
        })?,
    };
    let known = |old: &OldRing| {
        old.members
            .iter()
            .all(|&at| usize::from(at) < form.members.len())
    };
    if form.members.is_empty() || !form.old_rings.iter().all(known) {
        return Err(Malformed);
    }
    Ok(form)
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

fn get_bytes<'a>(body: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = usize::from(body.try_get_u16_le()?);
    let (bytes, rest) = body.split_at_checked(length).ok_or(Malformed)?;
    *body = rest;
    Ok(bytes)
}

fn put_list<T>(list: &[T], out: &mut Vec<u8>, put: impl Fn(&T, &mut Vec<u8>)) {
    out.put_u16_le(list.len() as u16);
    for item in list {
        put(item, out);
    }
}

fn get_list<T>(
    body: &mut &[u8],
    get: impl Fn(&mut &[u8]) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = usize::from(body.try_get_u16_le()?);
    // Every item takes a byte or more: a count beyond the rest cannot be honest.
    if count > MEMBERS_MAX || count > body.len() {
        return Err(Malformed);
    }
    (0..count).map(|_| get(body)).collect()
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
