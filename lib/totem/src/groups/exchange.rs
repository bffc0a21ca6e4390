//! The exchange of tables after a view in which daemons meet.
//!
//! Every daemon submits the part of the table that it answers for, its own sessions, before
//! anything else. Since these messages are ordered like all others, every daemon has the last one
//! at the same place, merges the same parts, and applies what was ordered meanwhile after that.
//!
//! A part is cut into chunks: `kind u8 | flags u8 | counter u64, representative u32,
//! incarnation u64 of the ring | lineage u32`, then runs of members of a group:
//! `name | representative u32, time u32, index u32 | in_transition u8 | count u16 | names`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};

use super::envelope::{Envelope, STATE, get_group, get_private_name, put_name};
use super::event::GroupId;
use super::name::{GroupName, Member, PrivateName};
use super::table::Table;
use crate::view::{Incarnation, MemberId, RingId, View};
use crate::wire::Malformed;

/// A chunk is at most this long, so that it does not hold up the token.
const CHUNK_BYTES_MAX: usize = 100_000;
/// Names in a run: the longest run is a fraction of a chunk.
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
struct Run {
    group: GroupName,
    gid: GroupId,
    in_transition: bool,
    names: Vec<PrivateName>,
}

#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    stamp: Stamp,
    first: bool,
    last: bool,
    runs: Vec<Run>,
}

impl Chunk {
    fn decode(mut rest: &[u8]) -> Result<Chunk, Malformed> {
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
    fn encode(&self, out: &mut Vec<u8>) {
        put_name(out, self.group.significant());
        out.put_u32_le(self.gid.representative.0);
        out.put_u32_le(self.gid.time);
        out.put_u32_le(self.gid.index);
        out.put_u8(u8::from(self.in_transition));
        out.put_u16_le(self.names.len() as u16);
        for name in &self.names {
            put_name(out, name.as_bytes());
        }
    }

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
    let mut chunks = vec![head(stamp)];
    for (name, group) in table.iter() {
        let mine: Vec<PrivateName> = group
            .members()
            .iter()
            .filter(|member| member.daemon == me)
            .map(|member| member.name)
            .collect();
        for names in mine.chunks(RUN_NAMES_MAX) {
            let run = Run {
                group: *name,
                gid: group.gid,
                in_transition: group.in_transition,
                names: names.to_vec(),
            };
            let mut bytes = Vec::new();
            run.encode(&mut bytes);
            if chunks[chunks.len() - 1].len() + bytes.len() > CHUNK_BYTES_MAX {
                chunks.push(head(stamp));
            }
            let current = chunks.len() - 1;
            chunks[current].extend_from_slice(&bytes);
        }
    }
    let last = chunks.len() - 1;
    chunks[0][FLAGS_AT] |= FIRST;
    chunks[last][FLAGS_AT] |= LAST;
    chunks.into_iter().map(Bytes::from).collect()
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

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It belongs to another ring, or to nobody who is awaited.
    Stale,
    /// More is to come.
    Partial,
    /// Everybody's part is here.
    Complete,
}

/// The part of the table that one daemon answers for.
#[derive(Debug)]
struct Part {
    lineage: MemberId,
    groups: BTreeMap<GroupName, PartGroup>,
}

#[derive(Debug)]
struct PartGroup {
    gid: GroupId,
    in_transition: bool,
    names: BTreeSet<PrivateName>,
}

/// An exchange that runs.
#[derive(Debug)]
pub(crate) struct Exchange {
    ring: RingId,
    awaited: BTreeSet<MemberId>,
    parts: BTreeMap<MemberId, Part>,
    /// What was ordered since the view began.
    // Bound: what its members had queued when it began, since none submits more meanwhile.
    pub(crate) held: Vec<(MemberId, Envelope)>,
}

impl Exchange {
    pub(crate) fn new(view: &View) -> Exchange {
        Exchange {
            ring: view.ring,
            awaited: view.members.iter().map(|member| member.id).collect(),
            parts: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    /// Takes a chunk of `sender`, which is in the view if it sent one for this ring.
    pub(crate) fn receive(
        &mut self,
        sender: MemberId,
        chunk: &[u8],
    ) -> Result<Received, Malformed> {
        let chunk = Chunk::decode(chunk)?;
        if chunk.stamp.ring != self.ring && !cfg!(mutant = "stale-group-state") {
            return Ok(Received::Stale);
        }
        if chunk.first {
            let part = Part {
                lineage: chunk.stamp.lineage,
                groups: BTreeMap::new(),
            };
            self.parts.insert(sender, part);
        }
        let Some(part) = self.parts.get_mut(&sender) else {
            return Ok(Received::Stale);
        };
        for run in chunk.runs {
            let group = part.groups.entry(run.group).or_insert_with(|| PartGroup {
                gid: run.gid,
                in_transition: run.in_transition,
                names: BTreeSet::new(),
            });
            group.names.extend(run.names);
        }
        if chunk.last {
            self.awaited.remove(&sender);
        }
        Ok(if self.awaited.is_empty() {
            Received::Complete
        } else {
            Received::Partial
        })
    }

    /// All parts as one, the members of a lineage in the order of the view.
    pub(crate) fn merge(&mut self, view: &View) -> BTreeMap<GroupName, Merged> {
        let mut merged: BTreeMap<GroupName, Merged> = BTreeMap::new();
        for daemon in view.members.iter().map(|member| member.id) {
            let Some(part) = self.parts.remove(&daemon) else {
                continue;
            };
            for (name, group) in part.groups {
                let members = group.names.iter().map(|name| Member {
                    daemon,
                    name: *name,
                });
                let into = merged.entry(name).or_default();
                into.in_transition |= group.in_transition;
                match into
                    .origins
                    .iter_mut()
                    .find(|origin| origin.lineage == part.lineage)
                {
                    Some(origin) => origin.members.extend(members),
                    None => into.origins.push(Origin {
                        lineage: part.lineage,
                        gid: group.gid,
                        members: members.collect(),
                    }),
                }
            }
        }
        for group in merged.values_mut() {
            // Stable: those with the same id that came on different ways stay in view order.
            group.origins.sort_by_key(|origin| {
                let GroupId {
                    representative,
                    time,
                    index,
                } = origin.gid;
                (representative.0 as i32, time as i32, index as i32)
            });
        }
        merged
    }
}

/// A group out of all parts.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Some origin has lost members that it was not told of.
    in_transition: bool,
    /// In the order of the vs sets.
    pub(crate) origins: Vec<Origin>,
}

impl Merged {
    /// The members of all origins.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.origins
            .iter()
            .flat_map(|origin| &origin.members)
            .copied()
            .collect()
    }

    /// The id that the group keeps; `None` if its membership is not what its members know.
    pub(crate) fn unchanged(&self) -> Option<GroupId> {
        match &self.origins[..] {
            [only] if !self.in_transition => Some(only.gid),
            _ => None,
        }
    }
}

/// Members of a group that come from the same membership, and went the same way since.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) lineage: MemberId,
    pub(crate) gid: GroupId,
    pub(crate) members: Vec<Member>,
}

#[cfg(test)]
mod tests {
    use super::super::table::Ranks;
    use super::*;
    use crate::view::ViewMember;

    const ME: MemberId = MemberId(1);

    fn view(counter: u64) -> View {
        let member = ViewMember {
            id: ME,
            incarnation: Incarnation(3),
        };
        let ring = RingId {
            counter,
            representative: ME,
            incarnation: member.incarnation,
        };
        View {
            ring,
            members: [member].into(),
        }
    }

    /// My part of a table of one group with `count` members.
    fn part(counter: u64, count: usize) -> Vec<Bytes> {
        let mut table = Table::default();
        let gid = GroupId {
            representative: ME,
            time: 5,
            index: 7,
        };
        let name = |number: usize| PrivateName::new(format!("n{number:09}").as_bytes()).unwrap();
        let members = (0..count)
            .map(|number| Member {
                daemon: ME,
                name: name(number),
            })
            .collect();
        let group = GroupName::new(b"crowd").unwrap();
        table.insert_group(group, gid, members, &Ranks::from([(ME, 0)]), &[]);
        encode_part(
            &Stamp {
                ring: view(counter).ring,
                lineage: ME,
            },
            &table,
            ME,
        )
    }

    #[test]
    fn a_part_in_several_chunks_comes_back_whole() {
        let chunks = part(9, 20_000);
        assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
        let mut exchange = Exchange::new(&view(9));
        for chunk in &chunks[..chunks.len() - 1] {
            assert_eq!(exchange.receive(ME, &chunk[1..]), Ok(Received::Partial));
        }
        let last = &chunks[chunks.len() - 1];
        assert_eq!(exchange.receive(ME, &last[1..]), Ok(Received::Complete));
        let merged = exchange.merge(&view(9));
        let [group] = &merged.values().collect::<Vec<_>>()[..] else {
            panic!("one group")
        };
        assert_eq!(group.members().len(), 20_000);
        assert_eq!(group.unchanged().map(|gid| gid.index), Some(7));
    }

    #[test]
    fn a_part_for_another_ring_or_without_its_beginning_is_stale() {
        let mut exchange = Exchange::new(&view(9));
        assert_eq!(
            exchange.receive(ME, &part(8, 1)[0][1..]),
            Ok(Received::Stale)
        );
        assert_eq!(
            exchange.receive(ME, &part(9, 20_000)[1][1..]),
            Ok(Received::Stale)
        );
        assert_eq!(
            exchange.receive(ME, &part(9, 1)[0][1..]),
            Ok(Received::Complete)
        );
    }

    #[test]
    fn a_chunk_that_is_cut_off_changes_nothing() {
        let chunk = &part(9, 3)[0][1..];
        let mut exchange = Exchange::new(&view(9));
        let empty = part(9, 0)[0].len() - 1;
        for length in (0..chunk.len()).filter(|length| *length != empty) {
            assert_eq!(
                exchange.receive(ME, &chunk[..length]),
                Err(Malformed),
                "{length}"
            );
        }
        assert!(exchange.merge(&view(9)).is_empty());
    }
}
