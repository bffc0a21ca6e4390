//! The exchange of tables after a view in which daemons meet.
//!
//! Every daemon submits the part of the table that it answers for, its own sessions, before
//! anything else. Since these messages are ordered like all others, every daemon has the last one
//! at the same place, merges the same parts, and applies what was ordered meanwhile after that.
//!
//! A table may hold some hundred thousand memberships, and the token does not wait. So what is
//! delivered is only put aside here, and read, merged and applied piece by piece, by
//! [`Groups::advance`](super::Groups::advance): whatever else is delivered until that is done is
//! put aside, too, and so has its place behind it.

mod chunk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::envelope::Envelope;
use super::event::GroupId;
use super::name::{GroupName, Member, PrivateName};
use super::table::Table;
use crate::mutant::{Mutant, planted};
use crate::view::{MemberId, RingId, View};
use crate::wire::Malformed;

use chunk::Chunk;
pub(crate) use chunk::{Stamp, encode_part};

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It belongs to another ring, or to nobody who is awaited.
    Stale,
    /// It is taken.
    Taken,
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

/// How far an exchange has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Somebody's part is not all there.
    Collecting,
    /// The new table is made.
    Merging {
        /// What there is of it.
        table: Table,
        /// The set that this daemon came in.
        lineage: MemberId,
    },
    /// The new table holds, and what was put aside is applied to it.
    Applying {
        /// The old table, on its way out.
        old: Table,
    },
}

/// An exchange that runs.
#[derive(Debug)]
pub(crate) struct Exchange {
    ring: RingId,
    awaited: BTreeSet<MemberId>,
    /// Chunks that are delivered and not read yet.
    // Bound: the tables of the members of the view.
    pub(crate) unread: VecDeque<(MemberId, Bytes)>,
    parts: BTreeMap<MemberId, Part>,
    pub(crate) phase: Phase,
    /// What was ordered since the view began.
    // Bound: what its members had queued when it began, since none submits more meanwhile.
    pub(crate) held: VecDeque<(MemberId, Envelope)>,
}

impl Exchange {
    pub(crate) fn new(view: &View) -> Exchange {
        Exchange {
            ring: view.ring,
            awaited: view.members.iter().map(|member| member.id).collect(),
            unread: VecDeque::new(),
            parts: BTreeMap::new(),
            phase: Phase::Collecting,
            held: VecDeque::new(),
        }
    }

    /// Whether everybody's part was read.
    pub(crate) fn is_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Reads a chunk of `sender`, which is in the view if it sent one for this ring.
    pub(crate) fn read(&mut self, sender: MemberId, chunk: &[u8]) -> Result<Received, Malformed> {
        let chunk = Chunk::decode(chunk)?;
        if chunk.stamp.ring != self.ring && !planted(Mutant::StaleGroupState) {
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
        Ok(Received::Taken)
    }

    /// Takes the first group that is left out of all parts, the members of a lineage in the order
    /// of the view.
    pub(crate) fn next_group(&mut self, view: &View) -> Option<(GroupName, Merged)> {
        let first = |part: &Part| part.groups.first_key_value().map(|(name, _)| *name);
        let name = self.parts.values().filter_map(first).min()?;
        let mut merged = Merged::default();
        for daemon in view.members.iter().map(|member| member.id) {
            let Some(part) = self.parts.get_mut(&daemon) else {
                continue;
            };
            if let Some(group) = part.groups.remove(&name) {
                merged.add(daemon, part.lineage, group);
            }
        }
        // Stable: those with the same id that came on different ways stay in view order.
        merged.origins.sort_by_key(|origin| {
            let GroupId {
                representative,
                time,
                index,
            } = origin.gid;
            (representative.0 as i32, time as i32, index as i32)
        });
        Some((name, merged))
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
    fn add(&mut self, daemon: MemberId, lineage: MemberId, group: PartGroup) {
        let members = group.names.iter().map(|name| Member {
            daemon,
            name: *name,
        });
        self.in_transition |= group.in_transition;
        let same = |origin: &&mut Origin| origin.lineage == lineage;
        match self.origins.iter_mut().find(same) {
            Some(origin) => origin.members.extend(members),
            None => self.origins.push(Origin {
                lineage,
                gid: group.gid,
                members: members.collect(),
            }),
        }
    }

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
    use super::chunk::CHUNK_BYTES_MAX;
    use super::*;
    use crate::view::{Incarnation, ViewMember};

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
        for chunk in &chunks {
            assert!(!exchange.is_complete());
            assert_eq!(exchange.read(ME, &chunk[1..]), Ok(Received::Taken));
        }
        assert!(exchange.is_complete());
        let (_, group) = exchange.next_group(&view(9)).expect("one group");
        assert!(exchange.next_group(&view(9)).is_none());
        assert_eq!(group.members().len(), 20_000);
        assert_eq!(group.unchanged().map(|gid| gid.index), Some(7));
    }

    #[test]
    fn a_part_for_another_ring_or_without_its_beginning_is_stale() {
        let mut exchange = Exchange::new(&view(9));
        let mut read = |chunk: &Bytes| exchange.read(ME, &chunk[1..]);
        assert_eq!(read(&part(8, 1)[0]), Ok(Received::Stale));
        assert_eq!(read(&part(9, 20_000)[1]), Ok(Received::Stale));
        assert_eq!(read(&part(9, 1)[0]), Ok(Received::Taken));
        assert!(exchange.is_complete());
    }

    #[test]
    fn a_chunk_that_is_cut_off_changes_nothing() {
        let chunk = &part(9, 3)[0][1..];
        let mut exchange = Exchange::new(&view(9));
        let empty = part(9, 0)[0].len() - 1;
        for length in (0..chunk.len()).filter(|length| *length != empty) {
            assert_eq!(
                exchange.read(ME, &chunk[..length]),
                Err(Malformed),
                "{length}"
            );
        }
        assert!(exchange.next_group(&view(9)).is_none());
    }
}
