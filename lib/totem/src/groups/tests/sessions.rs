//! Sessions in a quiet ring.

use super::bus::{Bus, Ending};
use super::{group, private_name};
use crate::groups::quota::MEMBERSHIPS_OF_SESSION_MAX;
use crate::groups::{
    Attributes, GroupName, Groups, NotUnique, PrivateName, SessionId, TooManyGroups,
};

/// Daemons in configuration order: mid, zeta, alpha, omega, beta.
fn private(name: &str, daemon: &str) -> GroupName {
    GroupName::private(private_name(name), daemon)
}

#[test]
fn members_are_ordered_by_daemon_then_bytewise_whoever_came_first() {
    let mut bus = Bus::together(3);
    let first = bus.member(2, "a", &["g"]);
    bus.member(0, "b", &["g"]);
    bus.member(1, "z", &["g"]);
    bus.member(0, "B", &["g"]);
    assert_eq!(
        bus.seen(first),
        [
            "g join #a#alpha: #a#alpha",
            "g join #b#mid: #b#mid #a#alpha",
            "g join #z#zeta: #b#mid #z#zeta #a#alpha",
            "g join #B#mid: #B#mid #b#mid #z#zeta #a#alpha",
        ]
    );
    bus.finish();
}

#[test]
fn a_leaver_gets_its_own_notice_and_a_second_leave_is_ignored() {
    let mut bus = Bus::together(2);
    let stays = bus.member(0, "stays", &["g"]);
    let goes = bus.member(1, "goes", &["g"]);
    bus.seen(stays);
    bus.seen(goes);
    bus.join(goes, "g");
    bus.leave(goes, "g");
    bus.leave(goes, "g");
    bus.flow();
    assert_eq!(bus.seen(goes), ["g left"]);
    assert_eq!(bus.seen(stays), ["g leave #goes#zeta: #stays#mid"]);
    bus.finish();
}

#[test]
fn a_closed_session_is_a_member_until_its_kill_is_ordered() {
    let mut bus = Bus::together(2);
    let stays = bus.member(0, "stays", &["f", "g"]);
    let goes = bus.member(1, "goes", &["g", "f"]);
    bus.seen(stays);
    bus.seen(goes);
    bus.send(goes, &[group("g")], false);
    bus.disconnect(goes);
    let name = private_name("goes");
    let groups = &mut bus.daemons[1].groups;
    assert_eq!(groups.session_count(), 0);
    assert_eq!(groups.connect(SessionId(99), name, true), Err(NotUnique));
    assert_eq!(
        groups
            .members(&group("g"))
            .map(|(_, members)| members.len()),
        Some(2)
    );
    bus.flow();
    assert_eq!(
        bus.seen(stays),
        [
            "#goes#zeta sends 0",
            "f disconnect #goes#zeta: #stays#mid",
            "g disconnect #goes#zeta: #stays#mid",
        ]
    );
    assert_eq!(bus.seen(goes), Vec::<String>::new());
    let again = bus.member(1, "goes", &["g"]);
    assert_eq!(
        bus.seen(again),
        ["g join #goes#zeta: #stays#mid #goes#zeta"]
    );
    bus.finish();
}

#[test]
fn a_group_that_comes_back_has_another_id() {
    let mut bus = Bus::together(2);
    let id = |bus: &Bus| {
        bus.daemons[0]
            .groups
            .members(&group("g"))
            .map(|(gid, _)| gid)
    };
    let member = bus.member(0, "a", &["g"]);
    let first = id(&bus);
    bus.leave(member, "g");
    bus.flow();
    assert_eq!(id(&bus), None);
    bus.join(member, "g");
    bus.flow();
    assert!(id(&bus) > first, "{first:?}");
    bus.finish();
}

#[test]
fn every_receiver_gets_one_copy_whatever_matches() {
    let mut bus = Bus::together(2);
    let both = bus.member(0, "both", &["f", "g"]);
    let one = bus.member(1, "one", &["g"]);
    let outsider = bus.connect(1, "outsider", true);
    bus.seen(both);
    bus.seen(one);
    let to = [
        "g",
        "f",
        "g",
        "nosuch",
        "#both#mid",
        "#nobody#mid",
        "#one#nowhere",
        "#",
        "",
    ];
    bus.send(outsider, &to.map(group), false);
    bus.flow();
    assert_eq!(bus.seen(both), ["#outsider#zeta sends 0"]);
    assert_eq!(bus.seen(one), ["#outsider#zeta sends 0"]);
    assert_eq!(bus.seen(outsider), Vec::<String>::new());
    bus.finish();
}

#[test]
fn private_messages_reach_the_session_at_the_named_daemon_only() {
    let mut bus = Bus::together(2);
    let here = bus.connect(0, "same", false);
    let there = bus.connect(1, "same", true);
    bus.send(here, &[private("same", "zeta")], false);
    bus.send(there, &[private("same", "zeta")], false);
    bus.send(there, &[private("same", "zeta")], true);
    bus.flow();
    assert_eq!(bus.seen(there), ["#same#mid sends 0", "#same#zeta sends 1"]);
    assert_eq!(bus.seen(here), Vec::<String>::new());
    bus.finish();
}

#[test]
fn self_discard_spares_the_sending_session_only() {
    let mut bus = Bus::together(2);
    let sender = bus.member(0, "same", &["f", "g"]);
    let namesake = bus.member(1, "same", &["g"]);
    let neighbour = bus.member(0, "next", &["g"]);
    for id in [sender, namesake, neighbour] {
        bus.seen(id);
    }
    bus.send(sender, &[group("g")], true);
    bus.send(sender, &[group("f"), group("g")], true);
    bus.send(sender, &[group("f")], true);
    bus.flow();
    assert_eq!(bus.seen(sender), Vec::<String>::new());
    assert_eq!(
        bus.seen(namesake),
        ["#same#mid sends 0", "#same#mid sends 1"]
    );
    assert_eq!(
        bus.seen(neighbour),
        ["#same#mid sends 0", "#same#mid sends 1"]
    );
    bus.finish();
}

#[test]
fn without_the_membership_flag_a_session_gets_messages_only() {
    let mut bus = Bus::together(2);
    let quiet = bus.connect(0, "quiet", false);
    bus.join(quiet, "g");
    bus.flow();
    let other = bus.member(1, "other", &["g"]);
    bus.send(other, &[group("g")], false);
    bus.flow();
    bus.change(&[&[0], &[1]], &[], Ending::ORDERLY);
    bus.leave(quiet, "g");
    bus.flow();
    assert_eq!(bus.seen(quiet), ["#other#zeta sends 0"]);
    bus.finish();
}

#[test]
fn a_message_carries_what_its_sender_gave_and_a_slice_of_the_delivery() {
    let mut bus = Bus::new(1);
    let id = bus.member(0, "a", &["g"]);
    let attributes = Attributes {
        type_bits: 0x8000_00a0,
        hint: [0x80, 1, 2, 0x80],
    };
    let raw = GroupName::from_field(*b"g\0behind the end of the name\xff\0\xfe\0");
    let groups = &mut bus.daemons[0].groups;
    let data = groups
        .multicast(id, attributes, false, &[raw, raw], b"payload")
        .unwrap();
    let sender = bus.daemons[0].member.id;
    let service = crate::event::Service::Safe;
    let delivery = crate::event::Delivery {
        sender,
        service,
        data: data.clone(),
    };
    let mut out = Vec::new();
    bus.daemons[0].groups.handle_delivery(&delivery, &mut out);
    let [
        crate::groups::GroupEvent::Message {
            attributes: given,
            destinations,
            payload,
            ..
        },
    ] = &out[..]
    else {
        panic!("{out:?}");
    };
    assert_eq!(*given, attributes);
    assert_eq!(destinations.iter().collect::<Vec<_>>(), [raw, raw]);
    assert_eq!(&payload[..], b"payload");
    assert!(
        data.as_ptr_range().contains(&payload.as_ptr()),
        "not copied"
    );
}

#[test]
fn what_cannot_be_submitted_is_refused_at_once() {
    let mut groups = Groups::new(crate::view::MemberId(1), Default::default());
    let (id, name) = (SessionId(7), PrivateName::new(b"a").unwrap());
    assert_eq!(groups.join(id, group("g")), Ok(None));
    assert_eq!(groups.disconnect(id), None);
    groups.connect(id, name, true).unwrap();
    assert_eq!(groups.private_group(id), GroupName::new(b"#a#0.0.0.1"));
    assert_eq!(groups.connect(id, private_name("b"), true), Err(NotUnique));
    assert_eq!(groups.connect(SessionId(8), name, true), Err(NotUnique));
    for refused in ["", "#a#d"] {
        assert_eq!(groups.join(id, group(refused)), Ok(None));
        assert_eq!(groups.leave(id, group(refused)), None);
    }
    let send = |count: usize, length: usize| {
        let to = vec![group("g"); count];
        groups.multicast(id, Attributes::default(), false, &to, &vec![0; length])
    };
    assert!(send(0, 0).is_some());
    assert!(send(100, 143_952).is_some());
    assert_eq!(send(101, 0), None);
    assert_eq!(send(1, crate::MESSAGE_BYTES_MAX), None);
}

#[test]
fn joins_count_before_they_are_delivered_and_as_long_as_they_last() {
    let mut bus = Bus::new(1);
    let id = bus.connect(0, "greedy", false);
    let share = MEMBERSHIPS_OF_SESSION_MAX;
    for number in 0..share {
        bus.join(id, &format!("g{number}"));
    }
    // Nothing is delivered yet: a burst gets no more than its share either.
    let groups = &mut bus.daemons[0].groups;
    assert_eq!(groups.join(id, group("onemore")), Err(TooManyGroups));
    assert_eq!(
        (groups.group_count(), groups.own_membership_count()),
        (0, share)
    );
    bus.flow();
    let groups = &mut bus.daemons[0].groups;
    assert_eq!(groups.join(id, group("onemore")), Err(TooManyGroups));
    assert_eq!(
        (groups.group_count(), groups.own_membership_count()),
        (share, share)
    );

    bus.leave(id, "g1");
    bus.leave(id, "g1");
    bus.flow();
    bus.join(id, "g0");
    bus.flow();
    assert_eq!(bus.daemons[0].groups.own_membership_count(), share - 1);
    bus.join(id, "onemore");
    bus.disconnect(id);
    bus.flow();
    let groups = &bus.daemons[0].groups;
    assert_eq!(
        (groups.group_count(), groups.own_membership_count()),
        (0, 0)
    );
}
