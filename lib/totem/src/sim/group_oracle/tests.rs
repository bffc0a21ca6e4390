//! Hand-written histories of sessions: good ones pass, and each rule has a bad one.

use bytes::Bytes;

use super::*;
use crate::event::{Delivery, Event, Service};
use crate::groups::{Attributes, Cause, Destinations, Groups, Membership, PrivateName};
use crate::view::{Incarnation, MemberId, RingId};

/// Session 1 of process 0 and session 2 of process 1, `#a#d0` and `#b#d1`.
struct History {
    oracle: GroupOracle,
    verdict: Result<(), Violation>,
}

const A: (ProcessId, SessionId) = (ProcessId(0), SessionId(1));
const B: (ProcessId, SessionId) = (ProcessId(1), SessionId(2));

fn name(text: &str) -> GroupName {
    GroupName::new(text.as_bytes()).unwrap()
}

fn gid(index: u32) -> GroupId {
    GroupId {
        representative: MemberId(1),
        time: 1,
        index,
    }
}

fn a() -> GroupName {
    name("#a#d0")
}

fn b() -> GroupName {
    name("#b#d1")
}

impl History {
    fn new() -> History {
        let mut oracle = GroupOracle::default();
        for p in [A.0, B.0] {
            oracle.enter_ring(p, vec!["d0".into(), "d1".into()]);
        }
        oracle.connect(A.0, A.1, a(), true);
        oracle.connect(B.0, B.1, b(), true);
        History {
            oracle,
            verdict: Ok(()),
        }
    }

    /// Both have joined `g`, A first.
    fn joined() -> History {
        let mut history = History::new();
        history.change(A, 1, Cause::Join(a()), &[a()]);
        history.change(A, 2, Cause::Join(b()), &[a(), b()]);
        history.change(B, 2, Cause::Join(b()), &[a(), b()]);
        history
    }

    fn observe(&mut self, p: ProcessId, event: &GroupEvent) {
        if self.verdict.is_ok() {
            self.verdict = self.oracle.observe(Time(0), p, event);
        }
    }

    fn membership(&mut self, to: (ProcessId, SessionId), membership: Membership) {
        self.observe(
            to.0,
            &GroupEvent::Membership {
                to: [to.1].into(),
                membership,
            },
        );
    }

    fn change(
        &mut self,
        to: (ProcessId, SessionId),
        index: u32,
        cause: Cause,
        members: &[GroupName],
    ) {
        let (Cause::Join(who) | Cause::Leave(who) | Cause::Disconnect(who)) = cause else {
            unreachable!()
        };
        let vs_sets = [[who].into()].into();
        let membership = Membership {
            group: name("g"),
            gid: gid(index),
            cause,
            members: members.into(),
            vs_sets,
            own_set: 0,
        };
        self.membership(to, membership);
    }

    fn network(
        &mut self,
        to: (ProcessId, SessionId),
        index: u32,
        sets: &[&[GroupName]],
        own_set: usize,
    ) {
        let membership = Membership {
            group: name("g"),
            gid: gid(index),
            cause: Cause::Network,
            members: sets.concat().into(),
            vs_sets: sets.iter().map(|set| Arc::from(*set)).collect(),
            own_set,
        };
        self.membership(to, membership);
    }

    fn send(&mut self, from: (ProcessId, SessionId), letter: u64) {
        self.oracle
            .send(from.0, from.1, LetterId(letter), &[name("g")], false);
    }

    fn give(&mut self, to: (ProcessId, SessionId), letter: u64) {
        self.give_all(to.0, &[to.1], letter);
    }

    fn give_all(&mut self, p: ProcessId, to: &[SessionId], letter: u64) {
        let event = GroupEvent::Message {
            to: to.into(),
            sender: a(),
            attributes: Attributes::default(),
            destinations: destinations("g"),
            payload: Bytes::copy_from_slice(&letter.to_be_bytes()),
        };
        self.observe(p, &event);
    }

    fn notify(&mut self, to: (ProcessId, SessionId), index: u32) {
        self.observe(
            to.0,
            &GroupEvent::Transition {
                to: [to.1].into(),
                group: name("g"),
                gid: gid(index),
            },
        );
    }

    fn rule(&self) -> &'static str {
        self.verdict
            .as_ref()
            .err()
            .map_or("none", |violation| violation.rule)
    }
}

/// Destinations as the group layer makes them: it is the only one who can.
fn destinations(group: &str) -> Destinations {
    let me = MemberId(1);
    let mut groups = Groups::new(me, BTreeMap::new());
    let (mut out, mut submit) = (Vec::new(), Vec::new());
    let ring = RingId {
        counter: 1,
        representative: me,
        incarnation: Incarnation(1),
    };
    let member = crate::view::ViewMember {
        id: me,
        incarnation: Incarnation(1),
    };
    let view = crate::view::View {
        ring,
        members: [member].into(),
    };
    let Event::Regular(view) = Event::Regular(view) else {
        unreachable!()
    };
    groups.handle_regular(&view, &mut out, &mut submit);
    groups
        .connect(SessionId(1), PrivateName::new(b"x").unwrap(), false)
        .unwrap();
    let mut deliver = |groups: &mut Groups, data| {
        groups.handle_delivery(
            &Delivery {
                sender: me,
                service: Service::Agreed,
                data,
            },
            &mut out,
        );
    };
    let join = groups.join(SessionId(1), name(group)).unwrap();
    deliver(&mut groups, join.unwrap());
    let message = groups.multicast(
        SessionId(1),
        Attributes::default(),
        false,
        &[name(group)],
        b"",
    );
    deliver(&mut groups, message.unwrap());
    match out.pop() {
        Some(GroupEvent::Message { destinations, .. }) => destinations,
        other => panic!("{other:?}"),
    }
}

fn transition(from: u64, to: u64) -> Transition {
    let ring = |counter| RingId {
        counter,
        representative: MemberId(1),
        incarnation: Incarnation(1),
    };
    Transition {
        from: ring(from),
        to: ring(to),
        members: [].into(),
    }
}

#[test]
fn an_ordinary_history_passes() {
    let mut history = History::joined();
    history.send(A, 7);
    history.give(A, 7);
    history.give(B, 7);
    history.change(A, 3, Cause::Leave(b()), &[a()]);
    history.observe(
        B.0,
        &GroupEvent::SelfLeave {
            to: B.1,
            group: name("g"),
        },
    );
    assert_eq!(history.verdict, Ok(()));
}

#[test]
fn a_partition_and_a_merge_pass() {
    let mut history = History::joined();
    history.send(A, 7);
    for (session, own, to) in [(A, a(), 2), (B, b(), 3)] {
        history.oracle.travel(session.0, &transition(1, to));
        history.notify(session, 2);
        history.network(session, 10 + to as u32, &[&[own]], 0);
    }
    history.give(A, 7);
    for (set, session) in [A, B].into_iter().enumerate() {
        history
            .oracle
            .travel(session.0, &transition(2 + set as u64, 9));
        history.network(session, 20, &[&[a()], &[b()]], set);
    }
    assert_eq!(history.verdict, Ok(()));
}

#[test]
fn g1_one_id_two_lists() {
    let mut history = History::joined();
    history.change(A, 3, Cause::Join(name("#c#d0")), &[a(), name("#c#d0"), b()]);
    history.change(B, 3, Cause::Join(name("#c#d0")), &[a(), b()]);
    assert_eq!(history.rule(), "G1");
}

#[test]
fn g1_out_of_order() {
    let mut history = History::new();
    history.change(A, 1, Cause::Join(a()), &[b(), a()]);
    assert_eq!(history.rule(), "G1");
}

#[test]
fn g2_two_orders() {
    let mut history = History::joined();
    history.send(A, 7);
    history.send(A, 8);
    history.give(A, 7);
    history.give(B, 8);
    assert_eq!(history.rule(), "G2");
}

#[test]
fn g2_less_before_a_join() {
    let mut history = History::joined();
    history.send(A, 7);
    history.give(A, 7);
    let third = name("#c#d0");
    history.change(A, 3, Cause::Join(third), &[a(), third, b()]);
    history.change(B, 3, Cause::Join(third), &[a(), third, b()]);
    assert_eq!(history.rule(), "G2");
}

#[test]
fn g3_one_set_but_not_the_same_messages() {
    let mut history = History::joined();
    history.send(A, 7);
    history.give(A, 7);
    for session in [A, B] {
        history.notify(session, 2);
        history.network(session, 3, &[&[a(), b()]], 0);
    }
    assert_eq!(history.rule(), "G3");
}

#[test]
fn g3_sets_that_are_not_the_members() {
    let mut history = History::joined();
    history.network(A, 3, &[&[a()], &[b()]], 1);
    assert_eq!(history.rule(), "G3", "the set of another");

    let mut history = History::joined();
    let membership = Membership {
        group: name("g"),
        gid: gid(3),
        cause: Cause::Network,
        members: [a(), b()].into(),
        vs_sets: [[a()].into()].into(),
        own_set: 0,
    };
    history.membership(A, membership);
    assert_eq!(history.rule(), "G3", "a member in no set");
}

#[test]
fn g4_together_but_in_two_sets() {
    let mut history = History::joined();
    for (set, session) in [A, B].into_iter().enumerate() {
        history.oracle.travel(session.0, &transition(1, 2));
        history.network(session, 3, &[&[a()], &[b()]], set);
    }
    assert_eq!(history.rule(), "G4");
}

#[test]
fn g5_somebody_else_first() {
    let mut history = History::new();
    history.change(A, 2, Cause::Join(b()), &[a(), b()]);
    assert_eq!(history.rule(), "G5");
    let mut history = History::joined();
    history.change(A, 3, Cause::Join(a()), &[a(), b()]);
    assert_eq!(history.rule(), "G5");
}

#[test]
fn g6_a_message_before_the_membership_its_sender_knew() {
    let mut history = History::joined();
    let third = name("#c#d0");
    history.change(A, 3, Cause::Join(third), &[a(), third, b()]);
    history.send(A, 7);
    history.give(B, 7);
    history.change(B, 3, Cause::Join(third), &[a(), third, b()]);
    assert_eq!(history.rule(), "G6");
}

#[test]
fn g7_not_a_member() {
    let mut history = History::new();
    history.send(A, 7);
    history.give(B, 7);
    assert_eq!(history.rule(), "G7");
    let mut history = History::joined();
    history.oracle.disconnect(B.0, B.1);
    history.notify(B, 2);
    assert_eq!(history.rule(), "G7");
}

/// A, who is told of memberships, and beside it one who is not and comes into the group.
fn with_one_unaware() -> (History, (ProcessId, SessionId), GroupName) {
    let mut history = History::joined();
    let (session, private) = ((A.0, SessionId(3)), name("#c#d0"));
    history.oracle.connect(session.0, session.1, private, false);
    history.oracle.join(session.0, session.1, name("g"));
    (history, session, private)
}

#[test]
fn who_is_told_of_no_memberships_is_given_the_messages_of_its_group() {
    let (mut history, session, private) = with_one_unaware();
    history.send(A, 6);
    history.give_all(A.0, &[A.1], 6);
    history.change(A, 3, Cause::Join(private), &[a(), private, b()]);
    history.send(A, 7);
    history.give_all(A.0, &[A.1, session.1], 7);
    assert_eq!(history.verdict, Ok(()));
    history.send(A, 8);
    history.give_all(A.0, &[A.1], 8);
    assert_eq!(history.rule(), "G2");
}

#[test]
fn g7_no_member_and_told_of_no_memberships() {
    let (mut history, session, _) = with_one_unaware();
    history.send(A, 7);
    history.give_all(A.0, &[A.1, session.1], 7);
    assert_eq!(
        history.rule(),
        "G7",
        "it has asked, and its join is not ordered yet"
    );

    let (mut history, session, _) = with_one_unaware();
    history
        .oracle
        .connect(session.0, session.1, name("#e#d0"), false);
    history.send(A, 7);
    history.give(session, 7);
    assert_eq!(history.rule(), "G7", "it never asked");
}

#[test]
fn g5_told_of_a_membership_that_it_does_not_want() {
    let (mut history, session, private) = with_one_unaware();
    history.change(session, 3, Cause::Join(private), &[a(), private, b()]);
    assert_eq!(history.rule(), "G5");
}

#[test]
fn g8_a_ghost_and_a_session_that_was_not_told() {
    let history = History::joined();
    let members: Arc<[GroupName]> = [a(), b()].into();
    let groups = |index| BTreeMap::from([(name("g"), (gid(index), members.clone()))]);
    let joined =
        |members: &[GroupName]| BTreeMap::from([(name("g"), members.iter().copied().collect())]);
    let check = |groups, joined| history.oracle.check_settled(Time(0), A.0, &groups, &joined);
    assert_eq!(check(groups(2), joined(&[a(), b()])), Ok(()));
    assert_eq!(check(groups(2), joined(&[a()])).unwrap_err().rule, "G8");
    assert_eq!(
        check(groups(3), joined(&[a(), b()])).unwrap_err().rule,
        "G8"
    );
}

#[test]
fn g9_too_much_or_too_little() {
    let mut history = History::joined();
    assert_eq!(history.oracle.subtract(Time(0), A.0, &[]), Ok(()));
    let membership = Membership {
        group: name("g"),
        gid: gid(3),
        cause: Cause::Network,
        members: [a()].into(),
        vs_sets: [[a()].into()].into(),
        own_set: 0,
    };
    let told = [GroupEvent::Membership {
        to: [A.1].into(),
        membership,
    }];
    assert_eq!(
        history
            .oracle
            .subtract(Time(0), A.0, &told)
            .unwrap_err()
            .rule,
        "G9"
    );
    history.notify(A, 2);
    assert_eq!(history.oracle.subtract(Time(0), A.0, &told), Ok(()));
    assert_eq!(
        history.oracle.subtract(Time(0), A.0, &[]).unwrap_err().rule,
        "G9"
    );
    history.notify(A, 2);
    assert_eq!(history.rule(), "G9");
}
