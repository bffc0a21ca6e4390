//! Bodies of control packets: who is there, formations of rings, and short questions.

use std::net::SocketAddrV4;

use bytes::{Buf, BufMut};

use super::{
    Malformed, finished, get_bool, get_growing, get_member, get_ring, put_member, put_ring,
};
use crate::outline::{NAME_BYTES_MAX, Outline};
use crate::view::{RingId, ViewMember};

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

impl Form {
    /// Position of the member that formed the ring; `None` if that is no member.
    pub(crate) fn proposer(&self) -> Option<usize> {
        let proposer = ViewMember {
            id: self.ring.representative,
            incarnation: self.ring.incarnation,
        };
        self.members.iter().position(|member| *member == proposer)
    }
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
const MEMBERS_MAX: usize = 1024;

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
