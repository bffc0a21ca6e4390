//! Sessions that join, leave and disconnect, and what the members are told.

use std::sync::Arc;

use super::event::{Cause, GroupEvent, Membership, SessionId};
use super::name::{GroupName, Member};
use super::table::Group;
use super::{Groups, PIECES_PER_CALL, private_groups};

/// A session that is gone, and the groups that it has still to be taken out of.
#[derive(Debug)]
pub(super) struct Ending {
    member: Member,
    groups: std::vec::IntoIter<GroupName>,
}

impl Groups {
    pub(super) fn join_member(
        &mut self,
        member: Member,
        name: GroupName,
        out: &mut Vec<GroupEvent>,
    ) {
        if self.table.contains(&name, member) {
            self.give_back(member);
            return;
        }
        let gid = self.next_gid();
        let session = self.local_session(member);
        let before = self.table.get(&name).filter(|group| group.in_transition);
        let before = before.map(|group| (group.members().to_vec(), group.watchers().clone()));
        self.table.insert(name, gid, member, &self.ranks, session);
        match before {
            Some((others, watchers)) => {
                // Who comes during a change does not share what the others delivered before.
                let sets = [&others[..], &[member]];
                if let Some(group) = self.table.get(&name) {
                    self.tell_network(name, group, &watchers, &sets, 0, out);
                    if let Some((id, _)) = session.filter(|(_, session)| session.wants_membership) {
                        self.tell_network(name, group, &Arc::from([id]), &sets, 1, out);
                    }
                }
                self.tell_transition(name, out);
            }
            None => {
                let who = self.private_group_of(member);
                self.tell_change(name, Cause::Join(who), who, out);
            }
        }
    }

    pub(super) fn leave_member(
        &mut self,
        member: Member,
        name: GroupName,
        out: &mut Vec<GroupEvent>,
    ) {
        if !self.table.contains(&name, member) {
            return;
        }
        let who = self.private_group_of(member);
        let session = self.local_session(member);
        self.remove_member(member, name, Cause::Leave(who), out);
        self.give_back(member);
        if let Some((to, session)) = session
            && session.wants_membership
        {
            out.push(GroupEvent::SelfLeave { to, group: name });
        }
    }

    /// The session of a member is gone: it leaves its groups, many of them piece by piece.
    pub(super) fn kill_member(&mut self, member: Member, out: &mut Vec<GroupEvent>) {
        let groups: Vec<GroupName> = self.table.groups_of(member).copied().collect();
        self.ending = Some(Ending {
            member,
            groups: groups.into_iter(),
        });
        self.advance_ending(out);
    }

    /// Does the next piece of the end of a session.
    pub(super) fn advance_ending(&mut self, out: &mut Vec<GroupEvent>) {
        let Some(mut ending) = self.ending.take() else {
            return;
        };
        let member = ending.member;
        let who = self.private_group_of(member);
        for name in ending.groups.by_ref().take(PIECES_PER_CALL) {
            self.remove_member(member, name, Cause::Disconnect(who), out);
        }
        if ending.groups.len() > 0 {
            self.ending = Some(ending);
        } else if member.daemon == self.me {
            self.quota.forget(member.name);
            self.sessions.release(member.name);
        }
    }

    /// A member of mine holds one membership less than was counted.
    fn give_back(&mut self, member: Member) {
        if member.daemon == self.me {
            self.quota.give_back(member.name);
        }
    }

    fn remove_member(
        &mut self,
        member: Member,
        name: GroupName,
        cause: Cause,
        out: &mut Vec<GroupEvent>,
    ) {
        let session = self.local_session(member).map(|(id, _)| id);
        let gid = self.next_gid();
        self.table.remove(&name, gid, member, session);
        if self
            .table
            .get(&name)
            .is_some_and(|group| group.in_transition)
        {
            self.tell_loss(name, out);
            self.tell_transition(name, out);
        } else {
            self.tell_change(name, cause, self.private_group_of(member), out);
        }
    }

    /// Tells a membership with one changed member.
    fn tell_change(
        &self,
        name: GroupName,
        cause: Cause,
        who: GroupName,
        out: &mut Vec<GroupEvent>,
    ) {
        let Some(group) = self.table.get(&name) else {
            return;
        };
        if group.watchers().is_empty() {
            return;
        }
        let membership = Membership {
            group: name,
            gid: group.gid,
            cause,
            members: private_groups(&self.names, group.members()),
            vs_sets: Arc::new([Arc::new([who])]),
            own_set: 0,
        };
        out.push(GroupEvent::Membership {
            to: group.watchers().clone(),
            membership,
        });
    }

    /// Tells a membership made by the network to receivers in the set `own_set`.
    pub(super) fn tell_network(
        &self,
        name: GroupName,
        group: &Group,
        to: &Arc<[SessionId]>,
        sets: &[&[Member]],
        own_set: usize,
        out: &mut Vec<GroupEvent>,
    ) {
        if to.is_empty() {
            return;
        }
        let membership = Membership {
            group: name,
            gid: group.gid,
            cause: Cause::Network,
            members: private_groups(&self.names, group.members()),
            vs_sets: sets
                .iter()
                .map(|set| private_groups(&self.names, set))
                .collect(),
            own_set,
        };
        out.push(GroupEvent::Membership {
            to: to.clone(),
            membership,
        });
    }

    /// Tells that those who are left came together.
    pub(super) fn tell_loss(&self, name: GroupName, out: &mut Vec<GroupEvent>) {
        if let Some(group) = self.table.get(&name) {
            self.tell_network(name, group, group.watchers(), &[group.members()], 0, out);
        }
    }

    pub(super) fn tell_transition(&self, name: GroupName, out: &mut Vec<GroupEvent>) {
        if let Some(group) = self.table.get(&name)
            && !group.watchers().is_empty()
        {
            let to = group.watchers().clone();
            out.push(GroupEvent::Transition {
                to,
                group: name,
                gid: group.gid,
            });
        }
    }
}
