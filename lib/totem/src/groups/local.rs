//! This daemon's own sessions: what they submit, which of them a message is for, and what tools
//! ask about groups.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;

use super::envelope::{encode_join, encode_kill, encode_leave, encode_multicast};
use super::event::{Attributes, Destinations, GroupId, SessionId};
use super::exchange::Phase;
use super::name::{GroupName, Member, PrivateName};
use super::quota::TooManyGroups;
use super::sessions::{NotUnique, Session};
use super::table::Group;
use super::{Groups, private_group, private_groups};

/// A group in a list for tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub name: GroupName,
    /// The membership it has.
    pub gid: GroupId,
    /// Members in the whole view.
    pub members: usize,
    /// Connected sessions of this daemon among them.
    pub local: usize,
    /// Those of them that are told of memberships.
    pub watchers: usize,
}

impl Groups {
    /// Adds a session; one without `wants_membership` gets messages only.
    ///
    /// # Errors
    ///
    /// [`NotUnique`] if the name is taken, also by a session whose KILL is not delivered yet, or
    /// if `id` is connected.
    pub fn connect(
        &mut self,
        id: SessionId,
        name: PrivateName,
        wants_membership: bool,
    ) -> Result<(), NotUnique> {
        self.sessions.connect(
            id,
            Session {
                name,
                wants_membership,
            },
        )
    }

    /// Closes a session: it gets nothing any more, and `id` may be used again.
    ///
    /// Others see it go where the KILL that is returned has its place in the order; until then its
    /// name is taken. Submit that after all that the session has sent; `None` if there is no such
    /// session.
    pub fn disconnect(&mut self, id: SessionId) -> Option<Bytes> {
        let session = self.sessions.disconnect(id)?;
        let member = self.member(&session);
        self.table.silence(member, id);
        if let Some(exchange) = &mut self.exchange
            && let Phase::Merging { table, .. } = &mut exchange.phase
        {
            table.silence(member, id);
        }
        Some(encode_kill(session.name))
    }

    /// The private group of a session.
    pub fn private_group(&self, id: SessionId) -> Option<GroupName> {
        let session = self.sessions.get(id)?;
        Some(self.private_group_of(self.member(session)))
    }

    /// Sessions connected here.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// A join to submit; `None` if the session is unknown or no group can have that name. Joining
    /// twice does nothing.
    ///
    /// # Errors
    ///
    /// [`TooManyGroups`] if the session, or all sessions together, have as many memberships as they
    /// may; joins that are not delivered yet count.
    pub fn join(
        &mut self,
        id: SessionId,
        group: GroupName,
    ) -> Result<Option<Bytes>, TooManyGroups> {
        let (Some(session), Some(group)) = (self.sessions.get(id), group.joinable()) else {
            return Ok(None);
        };
        self.quota.take(session.name)?;
        Ok(Some(encode_join(session.name, &group)))
    }

    /// A leave to submit; `None` if the session is unknown or no group can have that name. Leaving
    /// what one is not in does nothing.
    pub fn leave(&self, id: SessionId, group: GroupName) -> Option<Bytes> {
        let session = self.sessions.get(id)?;
        Some(encode_leave(session.name, &group.joinable()?))
    }

    /// A message to submit, in the service that its sender asked for.
    ///
    /// `None` if the session is unknown, there are more than
    /// [`DESTINATIONS_MAX`](super::DESTINATIONS_MAX) destinations, or the whole would be longer
    /// than [`MESSAGE_BYTES_MAX`](crate::MESSAGE_BYTES_MAX).
    pub fn multicast(
        &self,
        id: SessionId,
        attributes: Attributes,
        self_discard: bool,
        destinations: &[GroupName],
        payload: &[u8],
    ) -> Option<Bytes> {
        let session = self.sessions.get(id)?;
        encode_multicast(
            session.name,
            attributes,
            self_discard,
            destinations,
            payload,
        )
    }

    /// All groups, in the order of their names.
    pub fn groups(&self) -> impl Iterator<Item = GroupSummary> {
        self.groups_after(None)
    }

    /// The groups whose names come after this one, in the order of their names.
    pub fn groups_after(&self, name: Option<&GroupName>) -> impl Iterator<Item = GroupSummary> {
        self.table.iter_after(name).map(summary)
    }

    /// One group.
    pub fn summary(&self, name: &GroupName) -> Option<GroupSummary> {
        self.table.get(name).map(|group| summary((name, group)))
    }

    /// Memberships of the sessions of this daemon, joins that are not delivered yet included.
    pub fn own_membership_count(&self) -> usize {
        self.quota.total()
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.table.len()
    }

    /// The membership of a group.
    pub fn members(&self, group: &GroupName) -> Option<(GroupId, Arc<[GroupName]>)> {
        self.some_members(group, 0, usize::MAX)
    }

    /// Up to `count` members of a group without the first `skip`.
    pub fn some_members(
        &self,
        group: &GroupName,
        skip: usize,
        count: usize,
    ) -> Option<(GroupId, Arc<[GroupName]>)> {
        let group = self.table.get(group)?;
        let members = group.members();
        let rest = &members[skip.min(members.len())..];
        let some = &rest[..count.min(rest.len())];
        Some((group.gid, private_groups(&self.names, some)))
    }

    /// A hash of all groups with ids and members: the same at all daemons of a view that have
    /// delivered the same, while they are [`ready`](Self::ready).
    pub fn table_hash(&self) -> u64 {
        let mut context = digest::Context::new(&digest::SHA256);
        for (name, group) in self.table.iter() {
            let GroupId {
                representative,
                time,
                index,
            } = group.gid;
            context.update(name.field());
            for number in [representative.0, time, index, group.members().len() as u32] {
                context.update(&number.to_le_bytes());
            }
            for member in group.members() {
                context.update(&member.daemon.0.to_le_bytes());
                context.update(&[member.name.as_bytes().len() as u8]);
                context.update(member.name.as_bytes());
            }
        }
        let digest = context.finish();
        digest
            .as_ref()
            .iter()
            .take(8)
            .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }

    /// Sessions here that a message is for, each once, without `excluded`; `None` if nobody.
    pub(super) fn receivers(
        &self,
        destinations: &Destinations,
        excluded: Option<SessionId>,
    ) -> Option<Arc<[SessionId]>> {
        // The common message is for one group with members here: its list is shared.
        let mut only: Option<Arc<[SessionId]>> = None;
        let mut union: Vec<SessionId> = Vec::new();
        for name in destinations.iter() {
            let Some(matched) = self.matching(&name) else {
                continue;
            };
            match &only {
                None => only = Some(matched),
                Some(first) => {
                    if union.is_empty() {
                        union.extend_from_slice(first);
                    }
                    union.extend_from_slice(&matched);
                }
            }
        }
        let only = only?;
        let to = if !union.is_empty() {
            union.sort_unstable();
            union.dedup();
            union.retain(|id| Some(*id) != excluded);
            union.into()
        } else if let Some(id) = excluded.filter(|id| only.contains(id)) {
            only.iter().copied().filter(|other| *other != id).collect()
        } else {
            only
        };
        if to.is_empty() { None } else { Some(to) }
    }

    fn matching(&self, name: &GroupName) -> Option<Arc<[SessionId]>> {
        if let Some((who, daemon)) = name.parse_private() {
            let (id, session) = self.sessions.find(who)?;
            let own = self.private_group_of(self.member(&session));
            let here = own.parse_private().is_some_and(|(_, mine)| mine == daemon);
            return here.then(|| Arc::from([id]));
        }
        let receivers = self.table.get(&name.joinable()?)?.receivers();
        (!receivers.is_empty()).then(|| receivers.clone())
    }

    fn member(&self, session: &Session) -> Member {
        Member {
            daemon: self.me,
            name: session.name,
        }
    }

    pub(super) fn private_group_of(&self, member: Member) -> GroupName {
        private_group(&self.names, member)
    }

    /// The connected session of a member, if it is here.
    pub(super) fn local_session(&self, member: Member) -> Option<(SessionId, Session)> {
        (member.daemon == self.me)
            .then(|| self.sessions.find(member.name))
            .flatten()
    }
}

fn summary((name, group): (&GroupName, &Group)) -> GroupSummary {
    GroupSummary {
        name: *name,
        gid: group.gid,
        members: group.members().len(),
        local: group.receivers().len(),
        watchers: group.watchers().len(),
    }
}
