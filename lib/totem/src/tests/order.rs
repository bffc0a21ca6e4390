//! Messages: their order, their repair, the pace of the ring.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::network::{Flight, Network, config, id};
use crate::State;
use crate::event::{Class, Service};

#[test]
fn one_member_alone_delivers_at_once() {
    let mut network = Network::new(&[0]);
    network.submit(1, Service::Safe, "hello");
    assert_eq!(network.deliveries(1), ["hello"]);
}

#[test]
fn all_members_deliver_the_same_order_with_every_service() {
    let mut network = Network::joined(3);
    let services = [
        Service::Reliable,
        Service::Fifo,
        Service::Causal,
        Service::Agreed,
        Service::Safe,
    ];
    for round in 0..200 {
        for number in 1..=3 {
            let service = services[round % services.len()];
            network.submit(number, service, format!("{number}-{round}"));
        }
    }
    network.run_until("600 deliveries", |n| {
        (1..=3).all(|at| n.deliveries(at).len() == 600)
    });
    assert_eq!(network.deliveries(1), network.deliveries(2));
    assert_eq!(network.deliveries(1), network.deliveries(3));
    for number in 1..=3 {
        let own = format!("{number}-");
        let own: Vec<_> = network
            .deliveries(1)
            .into_iter()
            .filter(|d| d.starts_with(own.as_bytes()))
            .collect();
        let sent: Vec<_> = (0..200)
            .map(|round| Bytes::from(format!("{number}-{round}")))
            .collect();
        assert_eq!(own, sent);
    }
}

#[test]
fn the_longest_messages_arrive_whole_among_short_ones() {
    let mut network = Network::joined(3);
    for number in 1..=3 {
        network.submit(number, Service::Agreed, vec![number as u8; 143_952]);
        network.submit(number, Service::Safe, vec![number as u8; 10]);
    }
    network.run_until("6 deliveries", |n| {
        (1..=3).all(|at| n.deliveries(at).len() == 6)
    });
    assert_eq!(network.deliveries(1), network.deliveries(3));
    let lengths: BTreeSet<usize> = network.deliveries(2).iter().map(Bytes::len).collect();
    assert_eq!(lengths, BTreeSet::from([10, 143_952]));
    assert!(
        network
            .deliveries(2)
            .iter()
            .all(|data| data.iter().all(|byte| *byte == data[0]))
    );
}

#[test]
fn lost_packets_are_repeated() {
    let mut network = Network::joined(3);
    network.lose_data_every = 7;
    for round in 0..300 {
        for number in 1..=3 {
            network.submit(number, Service::Safe, vec![round as u8; 700]);
        }
    }
    network.run_until("900 deliveries", |n| {
        (1..=3).all(|at| n.deliveries(at).len() == 900)
    });
    assert_eq!(network.deliveries(1), network.deliveries(3));
    assert!(
        network
            .nodes
            .values()
            .any(|node| node.stats().retransmitted > 0)
    );
    assert!((1..=3).all(|number| network.nodes[&id(number)].state() == State::Operational));
}

#[test]
fn nothing_is_repeated_where_nothing_is_lost() {
    let mut network = Network::joined(3);
    for _ in 0..500 {
        for number in 1..=3 {
            network.submit(number, Service::Agreed, vec![0; 900]);
        }
    }
    network.run_until("1500 deliveries", |n| {
        (1..=3).all(|at| n.deliveries(at).len() == 1500)
    });
    for node in network.nodes.values() {
        assert_eq!(
            (node.stats().requested, node.stats().tokens_retransmitted),
            (0, 0)
        );
    }
}

#[test]
fn replayed_packets_change_nothing() {
    let mut network = Network::joined(3);
    for number in 1..=3 {
        network.submit(number, Service::Safe, "once");
    }
    network.run_until("3 deliveries", |n| {
        (1..=3).all(|at| n.deliveries(at).len() == 3)
    });
    let views: Vec<usize> = (1..=3).map(|number| network.views(number)).collect();
    let recorded = network.recorded.clone();
    for (from, to, datagram) in recorded {
        let at = network.now;
        network.flights.push_back(Flight {
            at,
            from,
            to,
            class: Class::Data,
            datagram,
        });
    }
    network.run_for(Duration::from_secs(2));
    assert!((1..=3).all(|number| network.deliveries(number).len() == 3));
    let later: Vec<usize> = (1..=3).map(|number| network.views(number)).collect();
    assert_eq!(views, later);
}

#[test]
fn segments_get_one_copy_each_and_their_first_member_passes_it_on() {
    let mut network = Network::new(&[0, 0, 0, 1, 1, 2]);
    network.run_until_view(&[1, 2, 3, 4, 5, 6]);
    network.multicasts = 0;
    let relayed: u64 = network
        .nodes
        .values()
        .map(|node| node.stats().relayed)
        .sum();
    network.submit(2, Service::Safe, "one");
    network.run_until("all have it", |n| {
        (1..=6).all(|at| n.deliveries(at).len() == 1)
    });
    assert_eq!(network.multicasts, 1, "sent once");
    let later: u64 = network
        .nodes
        .values()
        .map(|node| node.stats().relayed)
        .sum();
    assert_eq!(
        later - relayed,
        1,
        "only the segment with two members passes on"
    );
}

#[test]
fn segments_repair_what_a_relay_lost() {
    let mut network = Network::new(&[0, 0, 1, 1, 1]);
    network.run_until_view(&[1, 2, 3, 4, 5]);
    network.lose_data_every = 5;
    for round in 0..200 {
        for number in 1..=5 {
            network.submit(number, Service::Agreed, vec![round as u8; 600]);
        }
    }
    network.run_until("all", |n| (1..=5).all(|at| n.deliveries(at).len() == 1000));
    assert_eq!(network.deliveries(1), network.deliveries(5));
}

#[test]
fn an_idle_ring_is_quiet_and_answers_at_once() {
    let mut network = Network::joined(3);
    network.run_for(Duration::from_secs(1));
    let tokens = network.nodes[&id(1)].stats().tokens;
    network.run_for(Duration::from_secs(1));
    let per_second = network.nodes[&id(1)].stats().tokens - tokens;
    assert!(per_second < 200, "{per_second} rotations a second");
    for number in 1..=3 {
        let before = network.now;
        let count = network.deliveries(1).len() + 1;
        network.submit(number, Service::Agreed, "now");
        network.run_until("delivery", |n| {
            (1..=3).all(|at| n.deliveries(at).len() == count)
        });
        assert!(network.now.since(before) < Duration::from_millis(1));
        network.run_for(Duration::from_millis(200));
    }
}

#[test]
fn what_multicast_does_not_carry_comes_by_unicast() {
    let mut network = Network::joined(3);
    network.deaf_to_sets.insert(id(3));
    for round in 0..20 {
        network.submit(1, Service::Safe, format!("{round}"));
    }
    network.run_until("20 deliveries", |n| {
        (1..=3).all(|at| n.deliveries(at).len() == 20)
    });
    assert!((1..=3).all(|number| network.nodes[&id(number)].stats().gathers == 0));
}

#[test]
fn a_congested_member_slows_the_ring_down_until_it_has_caught_up() {
    let mut network = Network::joined(3);
    let now = network.now;
    network.node(2).set_congested(now, true);
    for _ in 0..1000 {
        for number in [1, 3] {
            network.submit(number, Service::Agreed, vec![0; 800]);
        }
    }
    network.run_for(Duration::from_millis(100));
    let slow = network.deliveries(2).len();
    assert!((20..500).contains(&slow), "{slow} messages in 100 ms");
    let now = network.now;
    network.node(2).set_congested(now, false);
    network.drain();
    let took = network.run_until("the rest", |n| {
        (1..=3).all(|at| n.deliveries(at).len() == 2000)
    });
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn nobody_runs_further_ahead_than_a_store_holds() {
    let mut network = Network::new(&[]);
    for number in 1..=3 {
        let mut config = config(number, &[0, 0, 0]);
        (config.datagram_bytes, config.submit_bytes_max) = (512, 64 << 20);
        network.start(config, u64::from(number));
    }
    network.run_until_view(&[1, 2, 3]);
    network.deaf_to_data.insert(id(2));
    for _ in 0..40 {
        network.submit(1, Service::Agreed, vec![0; 140_000]);
    }
    let mut furthest = 0;
    while network.has_view(1, &[1, 2, 3]) {
        let (high, _, safe) = network.nodes[&id(1)].progress();
        furthest = furthest.max(high - safe);
        network.step();
    }
    assert_eq!(furthest, crate::store::GAP_MAX);
}
