//! The table of groups and members: equal at all daemons that went through the same views, but
//! for who among the members is a session of this daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::event::{GroupId, SessionId};
use super::name::{GroupName, Member};
use super::sessions::Session;
use crate::mutant::{Mutant, planted};
use crate::view::MemberId;

/// Position of each daemon in the view.
pub(crate) type Ranks = BTreeMap<MemberId, usize>;

/// A group: never empty.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) gid: GroupId,
    /// Members were lost with their daemons; the membership that says so is still to come.
    pub(crate) in_transition: bool,
    /// Invariant: by rank of the daemon, then by name; no member twice.
    members: Vec<Member>,
    /// Sessions here that are members, sorted; shared with the events.
    receivers: Arc<[SessionId]>,
    /// Those of them that want to know about membership.
    watchers: Arc<[SessionId]>,
}

impl Group {
    fn new(gid: GroupId) -> Group {
        Group {
            gid,
            in_transition: false,
            members: Vec::new(),
            receivers: Arc::new([]),
            watchers: Arc::new([]),
        }
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn receivers(&self) -> &Arc<[SessionId]> {
        &self.receivers
    }

    pub(crate) fn watchers(&self) -> &Arc<[SessionId]> {
        &self.watchers
    }

    fn insert(&mut self, member: Member, ranks: &Ranks) {
        let key = |member: &Member| (ranks.get(&member.daemon), member.name);
        let at = if planted(Mutant::MemberOrderByJoin) {
            self.members.len()
        } else {
            self.members
                .partition_point(|other| key(other) < key(&member))
        };
        self.members.insert(at, member);
    }

    fn sort(&mut self, ranks: &Ranks) {
        if !planted(Mutant::MemberOrderByJoin) {
            self.members
                .sort_by_key(|member| (ranks.get(&member.daemon), member.name));
        }
    }

    fn set_receivers(&mut self, sessions: &[(SessionId, Session)]) {
        let mut receivers: Vec<SessionId> = sessions.iter().map(|(id, _)| *id).collect();
        let watching = sessions
            .iter()
            .filter(|(_, session)| session.wants_membership);
        let mut watchers: Vec<SessionId> = watching.map(|(id, _)| *id).collect();
        receivers.sort_unstable();
        watchers.sort_unstable();
        (self.receivers, self.watchers) = (receivers.into(), watchers.into());
    }

    fn add_receiver(&mut self, id: SessionId, session: &Session) {
        self.receivers = with(&self.receivers, id);
        if session.wants_membership {
            self.watchers = with(&self.watchers, id);
        }
    }

    fn remove_receiver(&mut self, id: SessionId) {
        self.receivers = without(&self.receivers, id);
        self.watchers = without(&self.watchers, id);
    }
}

fn with(ids: &[SessionId], id: SessionId) -> Arc<[SessionId]> {
    let (before, behind) = ids.split_at(ids.partition_point(|other| *other < id));
    before
        .iter()
        .copied()
        .chain([id])
        .chain(behind.iter().copied())
        .collect()
}

fn without(ids: &Arc<[SessionId]>, id: SessionId) -> Arc<[SessionId]> {
    match ids.binary_search(&id) {
        Ok(at) => ids[..at].iter().chain(&ids[at + 1..]).copied().collect(),
        Err(_) => ids.clone(),
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Table {
    groups: BTreeMap<GroupName, Group>,
    // Invariant: exactly the pairs of `groups`; no empty set.
    memberships: BTreeMap<Member, BTreeSet<GroupName>>,
}

impl Table {
    pub(crate) fn get(&self, name: &GroupName) -> Option<&Group> {
        self.groups.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&GroupName, &Group)> {
        self.groups.iter()
    }

    /// The groups whose names come after this one, or all.
    pub(crate) fn iter_after(
        &self,
        name: Option<&GroupName>,
    ) -> impl Iterator<Item = (&GroupName, &Group)> {
        let from = name.map_or(Bound::Unbounded, |name| Bound::Excluded(*name));
        self.groups.range((from, Bound::Unbounded))
    }

    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn contains(&self, name: &GroupName, member: Member) -> bool {
        self.memberships
            .get(&member)
            .is_some_and(|groups| groups.contains(name))
    }

    /// The groups of a member, in the order of their names.
    pub(crate) fn groups_of(&self, member: Member) -> impl Iterator<Item = &GroupName> {
        self.memberships.get(&member).into_iter().flatten()
    }

    /// Adds a member that the group, perhaps a new one, does not have; it has the id `gid` then.
    pub(crate) fn insert(
        &mut self,
        name: GroupName,
        gid: GroupId,
        member: Member,
        ranks: &Ranks,
        session: Option<(SessionId, Session)>,
    ) {
        self.memberships.entry(member).or_default().insert(name);
        let group = self.groups.entry(name).or_insert_with(|| Group::new(gid));
        group.gid = gid;
        group.insert(member, ranks);
        if let Some((id, session)) = session {
            group.add_receiver(id, &session);
        }
    }

    /// Adds a group that is not there with all its members.
    pub(crate) fn insert_group(
        &mut self,
        name: GroupName,
        gid: GroupId,
        members: Vec<Member>,
        ranks: &Ranks,
        sessions: &[(SessionId, Session)],
    ) {
        for member in &members {
            self.memberships.entry(*member).or_default().insert(name);
        }
        let mut group = Group {
            members,
            ..Group::new(gid)
        };
        group.sort(ranks);
        group.set_receivers(sessions);
        self.groups.insert(name, group);
    }

    /// Removes a member, and the group with its last one; else it has the id `gid` then.
    pub(crate) fn remove(
        &mut self,
        name: &GroupName,
        gid: GroupId,
        member: Member,
        session: Option<SessionId>,
    ) {
        if let Some(groups) = self.memberships.get_mut(&member) {
            groups.remove(name);
            if groups.is_empty() {
                self.memberships.remove(&member);
            }
        }
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        group.gid = gid;
        group.members.retain(|other| *other != member);
        if let Some(id) = session {
            group.remove_receiver(id);
        }
        if group.members.is_empty() {
            self.groups.remove(name);
        }
    }

    /// A session is closed: it stays a member and receives nothing any more.
    pub(crate) fn silence(&mut self, member: Member, session: SessionId) {
        for name in self.memberships.get(&member).into_iter().flatten() {
            if let Some(group) = self.groups.get_mut(name) {
                group.remove_receiver(session);
            }
        }
    }

    /// Removes the members of lost daemons; the groups that had some are in transition.
    ///
    /// Returns those that were not before, in the order of their names.
    pub(crate) fn lose(&mut self, lost: &BTreeSet<MemberId>) -> Vec<GroupName> {
        self.memberships
            .retain(|member, _| !lost.contains(&member.daemon));
        let mut begun = Vec::new();
        self.groups.retain(|name, group| {
            let before = group.members.len();
            group
                .members
                .retain(|member| !lost.contains(&member.daemon));
            if group.members.len() < before && !group.in_transition {
                group.in_transition = true;
                begun.push(*name);
            }
            !group.members.is_empty()
        });
        begun.retain(|name| self.groups.contains_key(name));
        begun
    }

    /// The groups in transition have the membership `gid` and are in transition no more.
    ///
    /// Returns them in the order of their names.
    pub(crate) fn end_transitions(&mut self, gid: GroupId) -> Vec<GroupName> {
        let in_transition = self
            .groups
            .iter_mut()
            .filter(|(_, group)| group.in_transition);
        in_transition
            .map(|(name, group)| {
                group.in_transition = false;
                group.gid = gid;
                *name
            })
            .collect()
    }

    /// Drops a group and a member's list of groups; false if there are none left.
    ///
    /// For a table that is not needed any more: dropping all at once takes long.
    pub(crate) fn shrink(&mut self) -> bool {
        let group = self.groups.pop_first().is_some();
        self.memberships.pop_first().is_some() || group
    }

    /// Restores the order of members after the daemons' positions changed.
    pub(crate) fn sort(&mut self, ranks: &Ranks) {
        for group in self.groups.values_mut() {
            group.sort(ranks);
        }
    }
}
