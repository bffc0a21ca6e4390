//! Ring changes. Daemons in configuration order: mid, zeta, alpha, omega, beta.

use bytes::Bytes;

use super::bus::{Bus, Ending};
use super::group;
use crate::event::{Delivery, Service};

const NOTHING: [&str; 0] = [];

#[test]
fn a_loss_is_told_at_once_and_only_where_somebody_was_lost() {
    let mut bus = Bus::together(3);
    let a = bus.member(0, "a", &["g", "stable"]);
    let b = bus.member(1, "b", &["g", "stable"]);
    let c = bus.member(2, "c", &["g"]);
    for id in [a, b, c] {
        bus.seen(id);
    }
    bus.change(&[&[0, 1], &[2]], &[], Ending::ORDERLY);
    for id in [a, b] {
        assert_eq!(
            bus.seen(id),
            ["g transition", "g network [#a#mid #b#zeta] own 0"]
        );
    }
    assert_eq!(bus.seen(c), ["g transition", "g network [#c#alpha] own 0"]);
    assert!(bus.daemons.iter().all(|daemon| daemon.groups.ready()));
    bus.finish();
}

#[test]
fn a_merge_tells_who_came_together_and_nothing_where_nobody_was_met() {
    let mut bus = Bus::together(3);
    let a = bus.member(0, "a", &["g", "stable"]);
    let c = bus.member(2, "c", &["g", "other"]);
    let b = bus.member(1, "b", &["g", "stable"]);
    bus.change(&[&[0, 1], &[2]], &[], Ending::ORDERLY);
    for id in [a, b, c] {
        bus.seen(id);
    }
    bus.change(&[&[0, 1, 2]], &[], Ending::ORDERLY);
    assert!(bus.daemons.iter().all(|daemon| !daemon.groups.ready()));
    assert_eq!(bus.seen(a), NOTHING);
    bus.flow();
    // By the previous ids: alpha's number, where the one was made, is lower than mid's.
    for id in [a, b] {
        assert_eq!(
            bus.seen(id),
            ["g network [#c#alpha | #a#mid #b#zeta] own 1"]
        );
    }
    assert_eq!(bus.seen(c), ["g network [#c#alpha | #a#mid #b#zeta] own 0"]);
    bus.finish();
}

#[test]
fn a_ring_change_that_loses_nobody_tells_nothing() {
    let mut bus = Bus::together(2);
    let a = bus.member(0, "a", &["g"]);
    bus.member(1, "b", &["g"]);
    bus.seen(a);
    let before = bus.daemons[0].groups.members(&group("g"));
    bus.change(&[&[0, 1]], &[], Ending::ORDERLY);
    assert!(bus.daemons[0].groups.ready());
    assert_eq!(bus.seen(a), NOTHING);
    assert_eq!(bus.daemons[0].groups.members(&group("g")), before);
    bus.finish();
}

#[test]
fn who_joins_in_transition_is_alone_in_the_last_vs_set() {
    let mut bus = Bus::together(3);
    let a = bus.member(0, "a", &["g"]);
    bus.member(2, "c", &["g"]);
    let b = bus.connect(1, "b", true);
    bus.seen(a);
    bus.join(b, "g");
    bus.order(1);
    bus.change(&[&[0, 1]], &[], Ending::LATE);
    assert_eq!(
        bus.seen(a),
        [
            "g transition",
            "g network [#a#mid | #b#zeta] own 0",
            "g transition",
            "g network [#a#mid #b#zeta] own 0",
        ]
    );
    assert_eq!(
        bus.seen(b),
        [
            "g network [#a#mid | #b#zeta] own 1",
            "g transition",
            "g network [#a#mid #b#zeta] own 0",
        ]
    );
    bus.finish();
}

#[test]
fn who_leaves_in_transition_gets_the_notice_and_the_others_a_network_view() {
    let mut bus = Bus::together(4);
    let a = bus.member(0, "a", &["g"]);
    let b = bus.member(1, "b", &["g"]);
    let d = bus.member(2, "d", &["g"]);
    bus.member(3, "lost", &["g"]);
    for id in [a, b, d] {
        bus.seen(id);
    }
    bus.leave(b, "g");
    bus.disconnect(d);
    bus.order(1);
    bus.order(2);
    bus.change(&[&[0, 1, 2]], &[], Ending::LATE);
    assert_eq!(
        bus.seen(a),
        [
            "g transition",
            "g network [#a#mid #d#alpha] own 0",
            "g transition",
            "g network [#a#mid] own 0",
            "g transition",
            "g network [#a#mid] own 0",
        ]
    );
    assert_eq!(bus.seen(b), ["g transition", "g left"]);
    assert_eq!(bus.seen(d), NOTHING);
    bus.finish();
}

#[test]
fn an_unaffected_group_gets_ordinary_views_in_transition() {
    let mut bus = Bus::together(3);
    let a = bus.member(0, "a", &["g"]);
    bus.member(2, "c", &["f"]);
    let b = bus.connect(1, "b", true);
    bus.seen(a);
    bus.join(b, "g");
    bus.order(1);
    bus.change(&[&[0, 1]], &[], Ending::LATE);
    assert_eq!(bus.seen(a), ["g join #b#zeta: #a#mid #b#zeta"]);
    bus.finish();
}

#[test]
fn what_a_lost_daemon_ordered_last_changes_no_membership_of_those_who_go_on() {
    let mut bus = Bus::together(2);
    let a = bus.member(0, "a", &["g"]);
    let b = bus.member(1, "b", &["g", "h"]);
    bus.seen(a);
    bus.leave(b, "g");
    bus.send(b, &[group("g")], false);
    bus.join(b, "new");
    for _ in 0..3 {
        bus.order(1);
    }
    bus.change(&[&[0], &[1]], &[], Ending::LATE);
    assert_eq!(
        bus.seen(a),
        [
            "g transition",
            "#b#zeta sends 0",
            "g network [#a#mid] own 0"
        ]
    );
    assert_eq!(bus.daemons[0].groups.group_count(), 1);
    bus.finish();
}

#[test]
fn a_merge_that_another_change_interrupts_leaves_the_groups_as_they_were() {
    let mut bus = Bus::together(2);
    bus.change(&[&[0], &[1]], &[], Ending::ORDERLY);
    let a = bus.member(0, "a", &["g"]);
    let b = bus.member(1, "b", &["g"]);
    bus.seen(a);
    bus.seen(b);
    bus.change(&[&[0, 1]], &[], Ending::ORDERLY);
    bus.order(0);
    bus.change(&[&[0], &[1]], &[], Ending::LATE);
    assert!(bus.daemons.iter().all(|daemon| daemon.groups.ready()));
    assert_eq!(bus.seen(a), NOTHING);
    assert_eq!(bus.seen(b), NOTHING);
    bus.change(&[&[0, 1]], &[], Ending::ORDERLY);
    bus.flow();
    // What was left of the first exchange is ordered now, and does not count.
    assert!(
        bus.daemons
            .iter()
            .any(|daemon| daemon.groups.stats().stale_states > 0)
    );
    assert_eq!(bus.seen(a).len(), 1);
    bus.finish();
}

#[test]
fn what_is_ordered_during_an_exchange_waits_for_it() {
    let mut bus = Bus::new(2);
    let a = bus.member(0, "a", &["g"]);
    let b = bus.member(1, "b", &["g"]);
    bus.seen(a);
    bus.seen(b);
    bus.send(b, &[group("g")], false);
    // Its first packet was sent before: it stays ahead of the state messages.
    bus.change(
        &[&[0, 1]],
        &[],
        Ending {
            begun: true,
            ..Ending::ORDERLY
        },
    );
    bus.order(1);
    bus.deliver(0);
    bus.deliver(1);
    assert_eq!(bus.seen(a), NOTHING);
    bus.flow();
    for id in [a, b] {
        let seen = bus.seen(id);
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[0].starts_with("g network"), "{seen:?}");
        assert_eq!(seen[1], "#b#zeta sends 0");
    }
    bus.finish();
}

#[test]
fn what_waited_is_delivered_before_the_signal_when_the_sets_part_again() {
    let mut bus = Bus::together(3);
    let a = bus.member(0, "a", &["g"]);
    bus.member(1, "b", &["g"]);
    bus.change(&[&[0, 1], &[2]], &[], Ending::ORDERLY);
    let c = bus.connect(2, "c", true);
    bus.seen(a);
    bus.join(c, "g");
    bus.send(a, &[group("g")], false);
    bus.change(
        &[&[0, 1, 2]],
        &[],
        Ending {
            begun: true,
            ..Ending::ORDERLY
        },
    );
    bus.order(0);
    bus.order(2);
    bus.change(&[&[0, 2], &[1]], &[], Ending::ORDERLY);
    assert_eq!(bus.seen(a), ["#a#mid sends 0", "g transition"]);
    assert_eq!(bus.seen(c), ["g join #c#alpha: #c#alpha"]);
    bus.flow();
    let [line] = &bus.seen(a)[..] else {
        panic!("one view")
    };
    assert!(line.contains('|') && line.contains("#c#alpha"), "{line}");
    bus.finish();
}

#[test]
fn no_second_signal_when_another_change_comes_during_the_exchange() {
    let mut bus = Bus::together(4);
    let a = bus.member(0, "a", &["g"]);
    bus.member(1, "b", &["g"]);
    bus.member(2, "c", &["g"]);
    bus.change(&[&[0, 1, 2], &[3]], &[], Ending::ORDERLY);
    bus.seen(a);
    bus.change(&[&[0, 1, 3], &[2]], &[], Ending::ORDERLY);
    assert_eq!(bus.seen(a), ["g transition"]);
    bus.change(&[&[0, 3], &[1]], &[], Ending::ORDERLY);
    assert_eq!(bus.seen(a), NOTHING);
    bus.flow();
    assert_eq!(bus.seen(a), ["g network [#a#mid] own 0"]);
    bus.finish();
}

#[test]
fn the_same_membership_on_different_ways_is_two_vs_sets() {
    let mut bus = Bus::new(5);
    bus.change(&[&[0, 1, 2]], &[], Ending::ORDERLY);
    bus.flow();
    let a = bus.member(0, "a", &["g"]);
    let b = bus.member(1, "b", &["g"]);
    bus.member(2, "c", &["g"]);
    bus.seen(a);
    bus.seen(b);
    // Neither exchange is completed, so both sides keep the id.
    bus.change(&[&[0, 3], &[1, 2, 4]], &[], Ending::ORDERLY);
    bus.change(&[&[0, 1, 2, 3, 4]], &[], Ending::ORDERLY);
    bus.flow();
    let view = "g network [#a#mid | #b#zeta #c#alpha] own";
    assert_eq!(
        bus.seen(a),
        ["g transition".to_owned(), format!("{view} 0")]
    );
    assert_eq!(
        bus.seen(b),
        ["g transition".to_owned(), format!("{view} 1")]
    );
    bus.finish();
}

#[test]
fn a_daemon_in_a_new_life_has_lost_its_old_members() {
    let mut bus = Bus::together(2);
    let a = bus.member(0, "a", &["g"]);
    bus.member(1, "b", &["g"]);
    bus.seen(a);
    bus.change(&[&[0, 1]], &[1], Ending::ORDERLY);
    assert_eq!(bus.seen(a), ["g transition"]);
    bus.flow();
    assert_eq!(bus.seen(a), ["g network [#a#mid] own 0"]);
    let again = bus.member(1, "b", &["g"]);
    assert_eq!(bus.seen(again), ["g join #b#zeta: #a#mid #b#zeta"]);
    bus.finish();
}

#[test]
fn components_that_lose_each_other_never_use_the_same_id_for_a_group() {
    let mut bus = Bus::together(3);
    let a = bus.connect(0, "a", true);
    let b = bus.connect(1, "b", true);
    // Both groups are made in the transitional configuration of the same ring.
    bus.join(a, "g");
    bus.join(b, "g");
    bus.order(0);
    bus.order(1);
    bus.change(&[&[0], &[1, 2]], &[], Ending::LOSING);
    let id = |bus: &Bus, at: usize| bus.daemons[at].groups.members(&group("g")).unwrap();
    assert_ne!(id(&bus, 0).0, id(&bus, 1).0);
    assert_eq!(id(&bus, 1), id(&bus, 2));
    bus.finish();
}

#[test]
fn a_large_table_travels_in_chunks() {
    let mut bus = Bus::new(2);
    for number in 0..30 {
        let id = bus.connect(0, &format!("s{number}"), false);
        for name in 0..300 {
            bus.join(id, &format!("a group with a long name {name}"));
        }
    }
    for number in 0..2500 {
        let id = bus.connect(1, &format!("t{number:09}"), false);
        bus.join(id, "crowd");
        bus.join(id, "a group with a long name 0");
    }
    bus.finish();
    assert_eq!(bus.daemons[0].groups.group_count(), 301);
}

#[test]
fn a_large_exchange_is_done_piece_by_piece() {
    let mut bus = Bus::new(2);
    let watches = bus.member(0, "watches", &["crowd"]);
    let ids: Vec<_> = (0..2)
        .map(|daemon| bus.connect(daemon, "greedy", false))
        .collect();
    for number in 0..4000 {
        bus.join(ids[0], &format!("a{number}"));
        bus.join(ids[1], &format!("b{number}"));
    }
    bus.flow();
    bus.seen(watches);
    bus.change(&[&[0, 1]], &[], Ending::ORDERLY);
    while bus.order(0) || bus.order(1) {}
    while bus.deliver(0) {}
    assert!(
        !bus.daemons[0].groups.ready(),
        "all is delivered, nothing done"
    );
    let calls = (1..).find(|_| !bus.advance(0)).unwrap();
    assert!(
        calls > 8000 / 256 && bus.daemons[0].groups.ready(),
        "{calls}"
    );
    assert_eq!(bus.daemons[0].groups.group_count(), 8001);

    // A change that comes when all is delivered and not much is done: it is completed first.
    while bus.deliver(1) {}
    bus.advance(1);
    bus.change(&[&[0], &[1]], &[], Ending::ORDERLY);
    assert_eq!(bus.daemons[1].groups.group_count(), 4000);
    bus.finish();
    assert_eq!(bus.daemons[1].groups.group_count(), 8001);
}

#[test]
fn foreign_bytes_are_counted_and_ignored() {
    let mut bus = Bus::new(1);
    let a = bus.member(0, "a", &["g"]);
    bus.seen(a);
    let malformed: [&[u8]; 6] = [
        b"",
        b"\0",
        b"\xff\x01a",
        b"\x01\x01a\x02#b",
        b"\x03\x01a?",
        b"\x04\x01a\0\0\0\0hint\x65",
    ];
    let sender = bus.daemons[0].member.id;
    let groups = &mut bus.daemons[0].groups;
    // The last one is a state message, and nobody waits for one.
    for data in malformed.into_iter().chain([&b"\x06"[..]]) {
        let data = Bytes::from_static(data);
        let delivery = Delivery {
            sender,
            service: Service::Agreed,
            data,
        };
        let mut out = Vec::new();
        groups.handle_delivery(&delivery, &mut out);
        assert!(out.is_empty(), "{out:?}");
    }
    assert_eq!(
        (groups.stats().malformed, groups.stats().stale_states),
        (6, 1)
    );
}
