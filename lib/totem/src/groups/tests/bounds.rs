//! The most that one session can ask for, done in pieces.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{group, private_name};
use crate::event::{Delivery, Service};
use crate::groups::quota::MEMBERSHIPS_OF_SESSION_MAX;
use crate::groups::{Attributes, Cause, GroupEvent, Groups, NotUnique, PIECES_PER_CALL, SessionId};
use crate::view::{Incarnation, MemberId, RingId, View, ViewMember};

const ME: MemberId = MemberId(1);
const GREEDY: SessionId = SessionId(1);
const WATCHER: SessionId = SessionId(2);

/// A daemon alone, with two sessions.
fn daemon() -> Groups {
    let mut groups = Groups::new(ME, BTreeMap::new());
    let member = ViewMember {
        id: ME,
        incarnation: Incarnation(1),
    };
    let ring = RingId {
        counter: 1,
        representative: ME,
        incarnation: member.incarnation,
    };
    let view = View {
        ring,
        members: [member].into(),
    };
    groups.handle_regular(&view, &mut Vec::new(), &mut Vec::new());
    for (session, name) in [(GREEDY, "greedy"), (WATCHER, "watcher")] {
        let connected = groups.connect(session, private_name(name), true);
        connected.expect("the name is free");
    }
    groups
}

fn deliver(groups: &mut Groups, data: Bytes) -> Vec<GroupEvent> {
    let delivery = Delivery {
        sender: ME,
        service: Service::Agreed,
        data,
    };
    let mut out = Vec::new();
    groups.handle_delivery(&delivery, &mut out);
    out
}

#[test]
fn a_session_leaves_all_its_groups_piece_by_piece_and_what_follows_waits() {
    let mut groups = daemon();
    for session in [GREEDY, WATCHER] {
        for number in 0..MEMBERSHIPS_OF_SESSION_MAX {
            let join = groups.join(session, group(&format!("g{number}")));
            let join = join.expect("there is room").expect("a good name");
            deliver(&mut groups, join);
        }
    }
    let kill = groups.disconnect(GREEDY).expect("it is connected");
    assert!(kill.len() < 64, "an end names the session, not its groups");
    let mut pieces = vec![deliver(&mut groups, kill)];
    let to = [group("g0")];
    let message = groups.multicast(WATCHER, Attributes::default(), false, &to, b"behind");
    assert_eq!(deliver(&mut groups, message.expect("it is short")), []);
    let name = private_name("greedy");
    assert_eq!(groups.connect(GREEDY, name, true), Err(NotUnique));
    let mut goes_on = true;
    while goes_on {
        let mut piece = Vec::new();
        goes_on = groups.advance(&mut piece);
        pieces.push(piece);
    }
    assert!(pieces.iter().all(|piece| piece.len() <= PIECES_PER_CALL));
    let mut events = pieces.concat();
    assert!(matches!(events.pop(), Some(GroupEvent::Message { .. })));
    assert_eq!(events.len(), MEMBERSHIPS_OF_SESSION_MAX);
    assert!(events.iter().all(|event| matches!(
        event,
        GroupEvent::Membership { membership, .. } if matches!(membership.cause, Cause::Disconnect(_))
    )));
    assert_eq!(groups.own_membership_count(), MEMBERSHIPS_OF_SESSION_MAX);
    assert_eq!(groups.connect(GREEDY, name, true), Ok(()));
}
