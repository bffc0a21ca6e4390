//! Process groups: who is a member of what, and which session gets which message.
//!
//! [`Groups`] stands on top of one [`Totem`](crate::Totem) and below the sessions of its daemon,
//! and like the ring it does no I/O. Joins, leaves, disconnections and messages are bytes that the
//! driver submits to the ring; what the ring delivers goes in by
//! [`handle_delivery`](Groups::handle_delivery) and comes out as [`GroupEvent`]s.
//!
//! # Ring changes
//!
//! The table of groups changes only with ordered deliveries, so daemons that deliver the same have
//! the same table. The daemons that share it are the *synced set*: all members of the view once
//! tables have been exchanged, and from a ring change on those of them that came along.
//!
//! - Transitional configuration: members at daemons that are not in it leave the table, and
//!   groups that had some are told (`Transition`). Until the change ends they get their
//!   memberships as [`Cause::Network`].
//! - Regular configuration with nobody but the synced set: the change ends at once, with one
//!   membership for each group that lost somebody, and nothing for the others.
//! - Regular configuration where sets meet: tables are exchanged (`exchange.rs`), in pieces, by
//!   [`advance`](Groups::advance). What is ordered meanwhile waits. Then every group that lost somebody or has members in several sets gets one
//!   membership, whose vs sets are the synced sets that its members came in.
//! - Another change before the exchange is complete: nobody who comes along has completed it. What
//!   waited is applied to the table of the old synced set, as if the sets had not met.
//!
//! The synced sets of a view are disjoint, so the first member of one names it, and the group ids
//! that are made in it during a change, under that member, are not made in another set.
//!
//! # Ends of sessions
//!
//! A session may be in thousands of groups. It leaves them in pieces as well, where its end is
//! ordered, and what is ordered behind that waits.

mod change;
mod envelope;
mod event;
mod exchange;
mod local;
mod name;
mod quota;
mod sessions;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::event::Delivery;
use crate::mutant::{Mutant, planted};
use crate::view::{MemberId, Transition, View, ViewMember};

pub use envelope::DESTINATIONS_MAX;
pub use event::{Attributes, Cause, Destinations, GroupEvent, GroupId, Membership, SessionId};
pub use local::GroupSummary;
pub use name::{DAEMON_NAME_BYTES_MAX, GroupName, PrivateName};
pub use quota::TooManyGroups;
pub use sessions::NotUnique;

use change::Ending;
use envelope::{Envelope, Multicast};
use exchange::{Exchange, Merged, Phase, Received, Stamp};
use name::Member;
use quota::Quota;
use sessions::Sessions;
use table::{Ranks, Table};

/// Group ids made during a ring change have indices behind this one: some may settle in the ring,
/// and number its memberships from 1, whose other members abandon it.
const CHANGE_INDEX: u32 = 1 << 30;

/// Groups merged, groups that a session leaves as it ends, or messages applied in one call: a
/// fraction of a millisecond. Tests go through all that can happen between two calls.
const PIECES_PER_CALL: usize = if cfg!(test) { 2 } else { 256 };

/// The process-group layer of one daemon. See the [module documentation](self).
#[derive(Debug)]
pub struct Groups {
    me: MemberId,
    names: BTreeMap<MemberId, String>,
    sessions: Sessions,
    quota: Quota,
    table: Table,
    view: Option<View>,
    ranks: Ranks,
    /// The daemons that have seen all that this one has, in view order; this one is among them.
    synced: Vec<ViewMember>,
    /// The id of the last change of any group.
    last: GroupId,
    exchange: Option<Exchange>,
    /// A session that ends, and leaves its groups piece by piece.
    ending: Option<Ending>,
    /// What was ordered behind that, outside of an exchange.
    // Bound: what the ring delivers during as many calls as the end of a session takes, which is
    // bounded by its quota.
    held: VecDeque<(MemberId, Envelope)>,
    stats: GroupStats,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Deliveries that this layer cannot have submitted.
    pub malformed: u64,
    /// Parts of tables that were told for another ring.
    pub stale_states: u64,
    /// Exchanges begun.
    pub exchanges: u64,
}

impl Groups {
    /// A daemon without view, sessions and groups; `names` as for [`set_names`](Self::set_names).
    pub fn new(me: MemberId, names: BTreeMap<MemberId, String>) -> Groups {
        Groups {
            me,
            names,
            sessions: Sessions::default(),
            quota: Quota::default(),
            table: Table::default(),
            view: None,
            ranks: Ranks::new(),
            synced: Vec::new(),
            last: GroupId {
                representative: me,
                time: 0,
                index: 0,
            },
            exchange: None,
            ending: None,
            held: VecDeque::new(),
            stats: GroupStats::default(),
        }
    }

    /// Takes the names of all configured daemons, of which at most
    /// [`DAEMON_NAME_BYTES_MAX`] bytes are used. One without a name goes by its id.
    pub fn set_names(&mut self, names: BTreeMap<MemberId, String>) {
        self.names = names;
    }

    /// Takes what the ring delivered.
    ///
    /// Bytes that no `Groups` submitted are counted and ignored.
    pub fn handle_delivery(&mut self, delivery: &Delivery, out: &mut Vec<GroupEvent>) {
        match (Envelope::decode(&delivery.data), &mut self.exchange) {
            (Err(_), _) => self.stats.malformed += 1,
            (Ok(Envelope::State(chunk)), Some(exchange)) => {
                exchange.unread.push_back((delivery.sender, chunk));
            }
            (Ok(Envelope::State(_)), None) => self.stats.stale_states += 1,
            (Ok(envelope), Some(exchange)) => {
                exchange.held.push_back((delivery.sender, envelope));
            }
            (Ok(envelope), None) if self.ending.is_some() || !self.held.is_empty() => {
                self.held.push_back((delivery.sender, envelope));
            }
            (Ok(envelope), None) => self.apply(delivery.sender, envelope, out),
        }
    }

    /// Takes a transitional configuration.
    pub fn handle_transitional(&mut self, transition: &Transition, out: &mut Vec<GroupEvent>) {
        self.end_exchange(out);
        let (kept, lost): (Vec<_>, Vec<_>) = self.synced.iter().partition(|member| {
            transition.members.contains(member) || planted(Mutant::SyncedSetKept)
        });
        self.synced = kept;
        self.last = GroupId {
            representative: self.lineage(),
            time: transition.to.counter as u32,
            index: CHANGE_INDEX,
        };
        let lost: BTreeSet<MemberId> = lost.iter().map(|member| member.id).collect();
        for name in self.table.lose(&lost) {
            self.tell_transition(name, out);
        }
    }

    /// Takes a regular configuration.
    ///
    /// What it appends to `submit` must be ordered before all that has no place in the order yet:
    /// give it to [`submit_first`](crate::Totem::submit_first), in agreed service.
    pub fn handle_regular(
        &mut self,
        view: &View,
        out: &mut Vec<GroupEvent>,
        submit: &mut Vec<Bytes>,
    ) {
        debug_assert!(
            self.exchange.is_none(),
            "two regular configurations in a row"
        );
        self.view = Some(view.clone());
        self.ranks = view
            .members
            .iter()
            .enumerate()
            .map(|(rank, m)| (m.id, rank))
            .collect();
        let alone = view.members.len() == 1;
        let together = view.members.len() == self.synced.len()
            && view
                .members
                .iter()
                .all(|member| self.synced.contains(member));
        if alone || together {
            if self.synced[..] != view.members[..] {
                self.table.sort(&self.ranks);
            }
            self.settle(view);
            let gid = self.next_gid();
            for name in self.table.end_transitions(gid) {
                self.tell_loss(name, out);
            }
        } else {
            let stamp = Stamp {
                ring: view.ring,
                lineage: self.lineage(),
            };
            submit.extend(exchange::encode_part(&stamp, &self.table, self.me));
            self.exchange = Some(Exchange::new(view));
            self.stats.exchanges += 1;
        }
    }

    /// Whether messages of sessions may be submitted: not before the first view, and not while
    /// tables are exchanged.
    pub fn ready(&self) -> bool {
        self.view.is_some() && self.exchange.is_none()
    }

    /// Counters since the start.
    pub fn stats(&self) -> GroupStats {
        self.stats
    }

    /// The name of the synced set: its first member.
    fn lineage(&self) -> MemberId {
        self.synced.first().map_or(self.me, |member| member.id)
    }

    /// All of the view share the table from here on.
    fn settle(&mut self, view: &View) {
        self.synced = view.members.to_vec();
        self.last = GroupId {
            representative: view.ring.representative,
            time: view.ring.counter as u32,
            index: 0,
        };
    }

    /// The next id; all memberships that end one ring change have the same.
    fn next_gid(&mut self) -> GroupId {
        self.last.index = self.last.index.wrapping_add(1);
        self.last
    }

    /// Does the next piece of what an exchange of tables, or the end of a session, asks for; gives
    /// whether there is more that can be done at once.
    ///
    /// Call it after each of the `handle_` functions until there is no more; what is due by the
    /// clock may be done between two calls, and more may be delivered.
    pub fn advance(&mut self, out: &mut Vec<GroupEvent>) -> bool {
        if self.ending.is_some() {
            self.advance_ending(out);
            return true;
        }
        if self.exchange.is_some() {
            return self.advance_exchange(out);
        }
        for _ in 0..PIECES_PER_CALL {
            let Some((sender, envelope)) = self.held.pop_front() else {
                return false;
            };
            self.apply(sender, envelope, out);
            if self.ending.is_some() {
                break;
            }
        }
        true
    }

    fn advance_exchange(&mut self, out: &mut Vec<GroupEvent>) -> bool {
        let Some(mut exchange) = self.exchange.take() else {
            return false;
        };
        if let Some((sender, chunk)) = exchange.unread.pop_front() {
            match exchange.read(sender, &chunk) {
                Err(_) => self.stats.malformed += 1,
                Ok(Received::Stale) => self.stats.stale_states += 1,
                Ok(Received::Taken) => {}
            }
        }
        let mut goes_on = !exchange.unread.is_empty() || exchange.is_complete();
        // Bound of a call: a chunk, and so many groups or messages.
        for _ in 0..PIECES_PER_CALL {
            if !exchange.unread.is_empty() || !exchange.is_complete() || self.ending.is_some() {
                break;
            }
            goes_on = self.advance_merge(&mut exchange, out);
            if !goes_on {
                return false;
            }
        }
        self.exchange = Some(exchange);
        goes_on
    }

    /// A piece of an exchange whose parts are all there; gives whether anything is left to do.
    fn advance_merge(&mut self, exchange: &mut Exchange, out: &mut Vec<GroupEvent>) -> bool {
        let Some(view) = self.view.clone() else {
            return false;
        };
        if let Phase::Collecting = exchange.phase {
            let lineage = self.lineage();
            self.settle(&view);
            // All memberships that come of this have the same id.
            self.next_gid();
            let table = Table::default();
            exchange.phase = Phase::Merging { table, lineage };
        }
        let next = exchange.next_group(&view);
        match (&mut exchange.phase, next) {
            (Phase::Merging { table, lineage }, Some((name, merged))) => {
                self.merge_group(table, *lineage, name, &merged, out);
            }
            (Phase::Merging { table, .. }, None) => {
                std::mem::swap(&mut self.table, table);
                let old = std::mem::take(table);
                exchange.phase = Phase::Applying { old };
            }
            (Phase::Applying { old }, _) => match exchange.held.pop_front() {
                Some((sender, envelope)) => self.apply(sender, envelope, out),
                None => return old.shrink(),
            },
            (Phase::Collecting, _) => {}
        }
        true
    }

    fn merge_group(
        &self,
        table: &mut Table,
        lineage: MemberId,
        name: GroupName,
        merged: &Merged,
        out: &mut Vec<GroupEvent>,
    ) {
        let kept = merged.unchanged();
        let members = merged.members();
        let sessions: Vec<_> = members
            .iter()
            .filter_map(|member| self.local_session(*member))
            .collect();
        let gid = kept.unwrap_or(self.last);
        table.insert_group(name, gid, members, &self.ranks, &sessions);
        let own_set = merged
            .origins
            .iter()
            .position(|origin| origin.lineage == lineage);
        if let (None, Some(own_set), Some(group)) = (kept, own_set, table.get(&name)) {
            let sets: Vec<&[Member]> = merged
                .origins
                .iter()
                .map(|origin| &origin.members[..])
                .collect();
            self.tell_network(name, group, group.watchers(), &sets, own_set, out);
        }
    }

    /// What is complete takes effect; otherwise the sets that met part again before they knew each
    /// other's tables.
    fn end_exchange(&mut self, out: &mut Vec<GroupEvent>) {
        while self.advance(out) {}
        if let Some(exchange) = self.exchange.take() {
            for (sender, envelope) in exchange.held {
                self.apply(sender, envelope, out);
                while self.ending.is_some() {
                    self.advance_ending(out);
                }
            }
        }
    }

    fn apply(&mut self, sender: MemberId, envelope: Envelope, out: &mut Vec<GroupEvent>) {
        // The sessions of a daemon that is not in the synced set are not in the table: it tells of
        // them itself if we meet.
        let synced = sender == self.me || self.synced.iter().any(|member| member.id == sender);
        let member = |name| Member {
            daemon: sender,
            name,
        };
        match envelope {
            Envelope::Multicast(message) => self.pass_on(sender, message, out),
            Envelope::Join { who, group } if synced => self.join_member(member(who), group, out),
            Envelope::Leave { who, group } if synced => self.leave_member(member(who), group, out),
            Envelope::Kill { who } if synced => self.kill_member(member(who), out),
            _ => {}
        }
    }

    fn pass_on(&self, sender: MemberId, message: Multicast, out: &mut Vec<GroupEvent>) {
        let excluded = (message.self_discard && sender == self.me)
            .then(|| self.sessions.find(message.who))
            .flatten()
            .map(|(id, _)| id);
        if let Some(to) = self.receivers(&message.destinations, excluded) {
            out.push(GroupEvent::Message {
                to,
                sender: self.private_group_of(Member {
                    daemon: sender,
                    name: message.who,
                }),
                attributes: message.attributes,
                destinations: message.destinations,
                payload: message.payload,
            });
        }
    }
}

/// Names for clients, in the order of the members.
fn private_groups(names: &BTreeMap<MemberId, String>, members: &[Member]) -> Arc<[GroupName]> {
    members
        .iter()
        .map(|member| private_group(names, *member))
        .collect()
}

fn private_group(names: &BTreeMap<MemberId, String>, member: Member) -> GroupName {
    match names.get(&member.daemon) {
        Some(daemon) => GroupName::private(member.name, daemon),
        None => GroupName::private(member.name, &member.daemon.to_string()),
    }
}
