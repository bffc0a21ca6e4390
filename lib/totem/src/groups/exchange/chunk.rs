//! A daemon's part of the table as bytes.
//!
//! A part is cut into chunks: `kind u8 | flags u8 | counter u64, representative u32,
//! incarnation u64 of the ring | lineage u32`, then runs of members of a group:
//! `name | representative u32, time u32, index u32 | in_transition u8 | count u16 | names`.

use bytes::{Buf, BufMut, Bytes};

use super::super::envelope::{STATE, get_group, get_private_name, put_name};
use super::super::event::GroupId;
use super::super::name::{GroupName, PrivateName};
use super::super::table::{Group, Table};
use crate::view::{Incarnation, MemberId, RingId};
use crate::wire::Malformed;

/// A chunk is at most this long: some hundred groups, which are read without holding up the token.
pub(super) const CHUNK_BYTES_MAX: usize = 16_000;
/// Names in a run: the longest run fits a chunk.
const RUN_NAMES_MAX: usize = 1000;

const FIRST: u8 = 1;
const LAST: u8 = 2;

/// What stands at the head of every chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The view for which the table is told.
    pub(crate) ring: RingId,
    /// The first of the daemons that have seen all that the sender has: names that set.
    pub(crate) lineage: MemberId,
}

/// Members of one group at one daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) group: GroupName,
    pub(super) gid: GroupId,
    pub(super) in_transition: bool,
    pub(super) names: Vec<PrivateName>,
}

/// A piece of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) stamp: Stamp,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) runs: Vec<Run>,
}

impl Chunk {
    pub(super) fn decode(mut rest: &[u8]) -> Result<Chunk, Malformed> {
        let rest = &mut rest;
        let flags = rest.try_get_u8()?;
        let ring = RingId {
            counter: rest.try_get_u64_le()?,
            representative: MemberId(rest.try_get_u32_le()?),
            incarnation: Incarnation(rest.try_get_u64_le()?),
        };
        let stamp = Stamp {
            ring,
            lineage: MemberId(rest.try_get_u32_le()?),
        };
        let mut runs = Vec::new();
        while !rest.is_empty() {
            runs.push(Run::decode(rest)?);
        }
        Ok(Chunk {
            stamp,
            first: flags & FIRST != 0,
            last: flags & LAST != 0,
            runs,
        })
    }
}

impl Run {
    fn decode(rest: &mut &[u8]) -> Result<Run, Malformed> {
        let group = get_group(rest)?;
        let gid = GroupId {
            representative: MemberId(rest.try_get_u32_le()?),
            time: rest.try_get_u32_le()?,
            index: rest.try_get_u32_le()?,
        };
        let in_transition = rest.try_get_u8()? != 0;
        let count = rest.try_get_u16_le()?;
        let names = (0..count)
            .map(|_| get_private_name(rest))
            .collect::<Result<_, _>>()?;
        Ok(Run {
            group,
            gid,
            in_transition,
            names,
        })
    }
}

/// My part of the table, as chunks to submit.
pub(crate) fn encode_part(stamp: &Stamp, table: &Table, me: MemberId) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut chunk = head(stamp);
    let mut mine: Vec<PrivateName> = Vec::new();
    for (name, group) in table.iter() {
        let members = group.members().iter();
        mine.extend(members.filter(|m| m.daemon == me).map(|m| m.name));
        for names in mine.chunks(RUN_NAMES_MAX) {
            let before = chunk.len();
            put_run(&mut chunk, name, group, names);
            if chunk.len() > CHUNK_BYTES_MAX {
                let mut next = head(stamp);
                next.extend_from_slice(&chunk[before..]);
                chunk.truncate(before);
                chunks.push(std::mem::replace(&mut chunk, next));
            }
        }
        mine.clear();
    }
    chunks.push(chunk);
    let last = chunks.len() - 1;
    chunks[0][FLAGS_AT] |= FIRST;
    chunks[last][FLAGS_AT] |= LAST;
    chunks.into_iter().map(Bytes::from).collect()
}

fn put_run(out: &mut Vec<u8>, name: &GroupName, group: &Group, names: &[PrivateName]) {
    put_name(out, name.significant());
    out.put_u32_le(group.gid.representative.0);
    out.put_u32_le(group.gid.time);
    out.put_u32_le(group.gid.index);
    out.put_u8(u8::from(group.in_transition));
    out.put_u16_le(names.len() as u16);
    for name in names {
        put_name(out, name.as_bytes());
    }
}

const FLAGS_AT: usize = 1;

fn head(stamp: &Stamp) -> Vec<u8> {
    let mut out = vec![STATE, 0];
    out.put_u64_le(stamp.ring.counter);
    out.put_u32_le(stamp.ring.representative.0);
    out.put_u64_le(stamp.ring.incarnation.0);
    out.put_u32_le(stamp.lineage.0);
    out
}
