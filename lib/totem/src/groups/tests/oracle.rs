//! What sessions have seen, held against the group rules G1 to G9.

use std::collections::{BTreeMap, BTreeSet};

use crate::groups::{Cause, GroupEvent, GroupId, GroupName, Groups, Membership, SessionId};
use crate::view::Transition;

use super::{describe, line};

/// Something that a session saw of a group, or a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Message(u32),
    View(GroupName, GroupId),
    Transition(GroupName),
    Left(GroupName),
}

/// What a session knows of a group that it is in.
#[derive(Clone, Debug)]
struct Standing {
    gid: GroupId,
    members: Vec<GroupName>,
    /// Signals, and messages that their sender gets too, since that membership.
    since: Vec<Seen>,
    /// Ring changes of its daemon before that membership.
    changes: usize,
}

impl Standing {
    fn in_transition(&self) -> bool {
        self.since
            .iter()
            .any(|seen| matches!(seen, Seen::Transition(_)))
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) daemon: usize,
    pub(super) private: GroupName,
    pub(super) watches: bool,
    pub(super) seen: Vec<Seen>,
    /// The same for a reader: one line each, taken by the tests.
    log: Vec<String>,
    standing: BTreeMap<GroupName, Standing>,
    /// The groups it is in once all is delivered that it has submitted; `None` if it is gone.
    joined: Option<BTreeSet<GroupName>>,
}

impl Trace {
    pub(super) fn new(daemon: usize, private: GroupName, watches: bool) -> Trace {
        let (seen, log, standing) = Default::default();
        Trace {
            daemon,
            private,
            watches,
            seen,
            log,
            standing,
            joined: Some(BTreeSet::new()),
        }
    }

    pub(super) fn connected(&self) -> bool {
        self.joined.is_some()
    }

    /// What the session has seen since this was asked last.
    pub(super) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

/// A membership as one receiver had it.
#[derive(Debug)]
struct Receipt {
    session: SessionId,
    own_set: usize,
    previous: Option<Previous>,
}

#[derive(Debug, PartialEq)]
struct Previous {
    gid: GroupId,
    /// The ring changes of the daemon since.
    way: Vec<Transition>,
    since: Vec<Seen>,
}

#[derive(Debug)]
struct Sent {
    sender: SessionId,
    destinations: Vec<GroupName>,
    /// The memberships that its sender had seen.
    after: Vec<(GroupName, GroupId)>,
    self_discard: bool,
    /// It comes back to its sender.
    returns: bool,
}

/// The traces of all sessions.
#[derive(Debug)]
pub(super) struct Oracle {
    daemons: [&'static str; 5],
    pub(super) sessions: BTreeMap<SessionId, Trace>,
    receipts: BTreeMap<(GroupName, GroupId), (Membership, Vec<Receipt>)>,
    sent: BTreeMap<u32, Sent>,
}

impl Oracle {
    pub(super) fn new(daemons: [&'static str; 5]) -> Oracle {
        let (sessions, receipts, sent) = Default::default();
        Oracle {
            daemons,
            sessions,
            receipts,
            sent,
        }
    }

    pub(super) fn expect_join(&mut self, id: SessionId, group: GroupName) {
        self.joined(id).insert(group);
    }

    pub(super) fn expect_leave(&mut self, id: SessionId, group: GroupName) {
        self.joined(id).remove(&group);
    }

    fn joined(&mut self, id: SessionId) -> &mut BTreeSet<GroupName> {
        self.trace(id).joined.as_mut().expect("a connected session")
    }

    pub(super) fn expect_disconnect(&mut self, id: SessionId) {
        self.trace(id).joined = None;
    }

    pub(super) fn expect_message(
        &mut self,
        message: u32,
        sender: SessionId,
        destinations: &[GroupName],
        self_discard: bool,
    ) {
        let trace = &self.sessions[&sender];
        let joined = trace.joined.as_ref().expect("a connected session");
        let matches = |name: &GroupName| joined.contains(name) || *name == trace.private;
        let returns = !self_discard && destinations.iter().any(matches);
        let after = trace
            .standing
            .iter()
            .map(|(name, standing)| (*name, standing.gid))
            .collect();
        let destinations = destinations.to_vec();
        self.sent.insert(
            message,
            Sent {
                sender,
                destinations,
                after,
                self_discard,
                returns,
            },
        );
    }

    /// The sessions of a daemon end with it.
    pub(super) fn crash(&mut self, daemon: usize) {
        for trace in self
            .sessions
            .values_mut()
            .filter(|trace| trace.daemon == daemon)
        {
            trace.joined = None;
        }
    }

    fn trace(&mut self, id: SessionId) -> &mut Trace {
        self.sessions.get_mut(&id).expect("a session of this test")
    }

    pub(super) fn record(&mut self, daemon: usize, history: &[Transition], event: GroupEvent) {
        let receivers = match &event {
            GroupEvent::Message { to, .. }
            | GroupEvent::Membership { to, .. }
            | GroupEvent::Transition { to, .. } => to.to_vec(),
            GroupEvent::SelfLeave { to, .. } => vec![*to],
        };
        assert!(
            !receivers.is_empty() && receivers.is_sorted_by(|a, b| a < b),
            "{receivers:?}"
        );
        for id in receivers {
            let trace = self.trace(id);
            assert_eq!(trace.daemon, daemon);
            assert!(trace.connected(), "a closed session gets nothing");
            let told = matches!(event, GroupEvent::Message { .. }) || trace.watches;
            assert!(told, "{event:?} for a session that does not want it");
            trace.log.push(summary(&event));
            match &event {
                GroupEvent::Message {
                    destinations,
                    payload,
                    sender,
                    ..
                } => {
                    let message = u32::from_le_bytes(payload[..].try_into().expect("a number"));
                    let names: Vec<GroupName> = destinations.iter().collect();
                    self.record_message(id, message, &names, *sender);
                }
                GroupEvent::Membership { membership, .. } => {
                    self.record_membership(id, history, membership);
                }
                GroupEvent::Transition { group, gid, .. } => {
                    let standing = trace.standing.get_mut(group).expect("G7: a member");
                    assert_eq!(standing.gid, *gid, "the membership that ends");
                    assert!(!standing.in_transition(), "one signal for a membership");
                    standing.since.push(Seen::Transition(*group));
                    trace.seen.push(Seen::Transition(*group));
                }
                GroupEvent::SelfLeave { group, .. } => {
                    assert!(
                        trace.standing.remove(group).is_some(),
                        "G5: left what it was in"
                    );
                    trace.seen.push(Seen::Left(*group));
                }
            }
        }
    }

    fn record_message(
        &mut self,
        id: SessionId,
        message: u32,
        destinations: &[GroupName],
        sender: GroupName,
    ) {
        let sent = &self.sent[&message];
        assert_eq!(sent.destinations, destinations);
        assert_eq!(self.sessions[&sent.sender].private, sender);
        let self_discard = sent.self_discard;
        let trace = self.trace(id);
        assert!(!trace.seen.contains(&Seen::Message(message)), "once");
        let mut addressed = destinations.contains(&trace.private) || !trace.watches;
        let unique: BTreeSet<&GroupName> = destinations.iter().collect();
        for name in unique {
            if let Some(standing) = trace.standing.get_mut(name) {
                if !self_discard {
                    standing.since.push(Seen::Message(message));
                }
                addressed = true;
            }
        }
        assert!(addressed, "G7: {message} for a session that is no member");
        trace.seen.push(Seen::Message(message));
    }

    fn record_membership(&mut self, id: SessionId, history: &[Transition], told: &Membership) {
        let Membership {
            group,
            gid,
            cause,
            members,
            ..
        } = told;
        self.check_order(members);
        let trace = self.sessions.get_mut(&id).expect("a session of this test");
        assert!(members.contains(&trace.private), "the receiver is a member");
        assert!(
            !trace.seen.contains(&Seen::View(*group, *gid)),
            "an id never comes twice"
        );
        let standing = Standing {
            gid: *gid,
            members: members.to_vec(),
            since: Vec::new(),
            changes: history.len(),
        };
        let before = trace.standing.insert(*group, standing);
        match &before {
            Some(before) => check_step(before, told),
            None => match cause {
                Cause::Join(who) => assert_eq!(*who, trace.private, "G5: its own join first"),
                Cause::Network => assert_eq!(
                    told.vs_sets.last().map(|set| line(set)),
                    Some(trace.private.to_string()),
                    "G5: joined in transition"
                ),
                _ => panic!("G5: {told:?} first"),
            },
        }
        if *cause == Cause::Network {
            let mut union: Vec<GroupName> =
                told.vs_sets.iter().flat_map(|set| set.to_vec()).collect();
            told.vs_sets.iter().for_each(|set| self.check_order(set));
            let trace = &self.sessions[&id];
            assert!(
                told.vs_sets[told.own_set].contains(&trace.private),
                "{told:?}"
            );
            union.sort_unstable();
            let mut members = members.to_vec();
            members.sort_unstable();
            assert_eq!(union, members, "vs sets make up the membership");
        }
        self.trace(id).seen.push(Seen::View(*group, *gid));
        let previous = before.map(|before| Previous {
            gid: before.gid,
            way: history[before.changes..].to_vec(),
            since: before.since,
        });
        let entry = self.receipts.entry((*group, *gid));
        let (first, receipts) = entry.or_insert_with(|| (told.clone(), Vec::new()));
        assert_eq!(
            (&first.members, &first.vs_sets),
            (members, &told.vs_sets),
            "G1"
        );
        assert_eq!(first.cause, *cause, "G1");
        receipts.push(Receipt {
            session: id,
            own_set: told.own_set,
            previous,
        });
    }

    /// Daemons in the order of the configuration, then bytewise.
    fn check_order(&self, members: &[GroupName]) {
        let key = |name: &GroupName| {
            let (_, daemon) = name.parse_private().expect("a private group");
            let place = self
                .daemons
                .iter()
                .position(|known| known.as_bytes() == daemon);
            (
                place.expect("a daemon of this test"),
                name.as_bytes().to_vec(),
            )
        };
        let keys: Vec<_> = members.iter().map(key).collect();
        assert!(
            keys.is_sorted_by(|a, b| a < b),
            "member order: {}",
            line(members)
        );
    }

    /// A daemon shares its view's table: no change is left open (G9).
    pub(super) fn settled(&self, daemon: usize) {
        let open = |trace: &Trace| trace.standing.values().any(Standing::in_transition);
        for (id, trace) in &self.sessions {
            let here = trace.daemon == daemon && trace.connected();
            assert!(!(here && open(trace)), "G9: {id:?} waits for a membership");
        }
    }

    /// What a daemon counts for its sessions is what they hold.
    pub(super) fn check_quota(&self, daemon: usize, groups: &Groups) {
        let own = self
            .sessions
            .values()
            .filter(|trace| trace.daemon == daemon);
        let joined = own.flat_map(|trace| trace.joined.iter().flatten()).count();
        assert_eq!(groups.own_membership_count(), joined, "daemon {daemon}");
    }

    /// G8: the table of a daemon holds exactly who has joined and lives.
    pub(super) fn check_table(&self, groups: &Groups) {
        let mut expected: BTreeMap<GroupName, BTreeSet<GroupName>> = BTreeMap::new();
        for trace in self.sessions.values() {
            for name in trace.joined.iter().flatten() {
                expected.entry(*name).or_default().insert(trace.private);
            }
        }
        let table: BTreeMap<GroupName, BTreeSet<GroupName>> = groups
            .groups()
            .map(|summary| {
                let (gid, members) = groups.members(&summary.name).expect("a group");
                assert_eq!((gid, members.len()), (summary.gid, summary.members));
                self.check_order(&members);
                (summary.name, members.iter().copied().collect())
            })
            .collect();
        assert_eq!(table, expected, "G8");
        for trace in self
            .sessions
            .values()
            .filter(|trace| trace.watches && trace.connected())
        {
            for (name, standing) in &trace.standing {
                let (gid, members) = groups.members(name).expect("a group with members");
                assert_eq!(
                    (standing.gid, &standing.members[..]),
                    (gid, &members[..]),
                    "G8"
                );
            }
        }
    }

    /// What needs the traces of all.
    pub(super) fn check(&self) {
        for (membership, receipts) in self.receipts.values() {
            for (at, one) in receipts.iter().enumerate() {
                for other in &receipts[at + 1..] {
                    check_pair(membership, one, other);
                }
            }
        }
        self.check_messages();
    }

    fn check_messages(&self) {
        for (message, sent) in &self.sent {
            let sender = &self.sessions[&sent.sender];
            if sent.returns && sender.connected() {
                assert!(
                    sender.seen.contains(&Seen::Message(*message)),
                    "{message} returns"
                );
            }
        }
        for (id, trace) in &self.sessions {
            for (at, seen) in trace.seen.iter().enumerate() {
                let Seen::Message(message) = seen else {
                    continue;
                };
                for (name, gid) in &self.sent[message].after {
                    let late = trace.seen[at..].contains(&Seen::View(*name, *gid));
                    assert!(
                        !late,
                        "G6: {id:?} has {message} before what its sender had seen"
                    );
                }
            }
        }
    }
}

fn summary(event: &GroupEvent) -> String {
    match event {
        GroupEvent::Message {
            sender, payload, ..
        } => format!("{sender} sends {}", payload[0]),
        GroupEvent::Membership { membership, .. } => {
            format!("{} {}", membership.group, describe(membership))
        }
        GroupEvent::Transition { group, .. } => format!("{group} transition"),
        GroupEvent::SelfLeave { group, .. } => format!("{group} left"),
    }
}

/// From one membership to the next, at one session.
fn check_step(before: &Standing, told: &Membership) {
    let old: BTreeSet<GroupName> = before.members.iter().copied().collect();
    let new: BTreeSet<GroupName> = told.members.iter().copied().collect();
    let came: Vec<GroupName> = new.difference(&old).copied().collect();
    let went: Vec<GroupName> = old.difference(&new).copied().collect();
    match told.cause {
        Cause::Join(who) => assert_eq!((came, went), (vec![who], vec![])),
        Cause::Leave(who) | Cause::Disconnect(who) => {
            assert_eq!((came, went), (vec![], vec![who]));
        }
        Cause::Network => {
            let needed = before.in_transition() || told.vs_sets.len() > 1;
            assert!(needed, "G9: {told:?} for a group that nothing happened to");
            return;
        }
    }
    assert!(
        !before.in_transition(),
        "in transition the cause is the network"
    );
    assert_eq!(told.vs_sets.len(), 1);
}

/// Two that have the same membership.
fn check_pair(membership: &Membership, one: &Receipt, other: &Receipt) {
    let (Some(a), Some(b)) = (&one.previous, &other.previous) else {
        let apart = membership.cause != Cause::Network || one.own_set != other.own_set;
        assert!(apart, "G3: {one:?} and {other:?} in {membership:?}");
        return;
    };
    let together = a.gid == b.gid && a.way == b.way;
    if membership.cause == Cause::Network {
        let same_set = one.own_set == other.own_set;
        assert_eq!(
            same_set, together,
            "G3, G4: {one:?} and {other:?} in {membership:?}"
        );
    } else {
        assert!(together, "{one:?} and {other:?} in {membership:?}");
    }
    if together {
        assert_eq!(
            a.since, b.since,
            "G2, G3: {:?} and {:?}",
            one.session, other.session
        );
    }
}
