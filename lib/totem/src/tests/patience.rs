//! What each setting of the failure detector promises, and what the ring does in between: probes
//! when a host refuses, and ordering while others are looked for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::network::{LATENCY, Network, config, id, start};
use crate::config::FailureDetection;
use crate::event::{Class, Service};
use crate::view::Incarnation;
use crate::{State, Totem};

const THREE: [u16; 3] = [0, 0, 0];

/// Three members that have found each other, as patient as this.
fn joined(patience: FailureDetection) -> Network {
    let mut network = Network::new(&[]);
    for number in 1..=3 {
        let mut config = config(number, &THREE);
        config.timers = patience.timers();
        network.start(config, u64::from(number));
    }
    network.run_until_view(&[1, 2, 3]);
    network
}

/// Who sends a control message to a member at this moment.
fn senders_to(network: &Network, number: u32) -> impl Iterator<Item = u32> {
    let sent = move |flight: &&super::network::Flight| {
        flight.to == id(number)
            && flight.class == Class::Control
            && flight.at == network.now + LATENCY
    };
    network
        .flights
        .iter()
        .filter(sent)
        .map(|flight| flight.from.0)
}

/// Whatever the idle token is doing at that moment, and whoever falls silent.
#[test]
fn a_silent_member_is_left_out_in_its_time() {
    for (patience, bound) in [
        (FailureDetection::Fast, 150),
        (FailureDetection::Normal, 500),
        (FailureDetection::Wan, 5000),
    ] {
        for (number, step) in (1..=3).flat_map(|n| (0..12).map(move |step| (n, step))) {
            let mut network = joined(patience);
            network.run_for(Duration::from_millis(1) * step);
            network.kill(number);
            network.silent.insert(id(number));
            let left: Vec<u32> = (1..=3).filter(|other| *other != number).collect();
            let took = network.run_until_view(&left);
            assert!(
                took < Duration::from_millis(bound),
                "{patience:?}, {number} after {step} ms: {took:?}"
            );
        }
    }
}

#[test]
fn fast_is_as_fast_in_all_else() {
    let mut network = joined(FailureDetection::Fast);
    network.kill(2);
    network.refusing.insert(id(2));
    let took = network.run_until_view(&[1, 3]);
    assert!(took < Duration::from_millis(50), "a killed one: {took:?}");

    let mut network = joined(FailureDetection::Fast);
    let now = network.now;
    network.node(2).leave(now);
    network.drain();
    let took = network.run_until_view(&[1, 3]);
    assert!(took < Duration::from_millis(10), "one that left: {took:?}");

    let mut network = joined(FailureDetection::Fast);
    network.cut_off(3);
    network.run_until_view(&[1, 2]);
    network.run_for(Duration::from_secs(5));
    network.cut.clear();
    let took = network.run_until_view(&[1, 2, 3]);
    assert!(took < Duration::from_millis(1500), "a merge: {took:?}");
}

#[test]
fn wan_bears_hosts_that_are_far_apart() {
    let mut network = joined(FailureDetection::Wan);
    network.token_latency = Duration::from_millis(150);
    for round in 0..20 {
        network.submit(round % 3 + 1, Service::Safe, format!("{round}"));
        network.run_for(Duration::from_millis(300));
    }
    network.run_until("20 deliveries", |n| {
        (1..=3).all(|at| n.deliveries(at).len() == 20)
    });
    assert!((1..=3).all(|number| network.nodes[&id(number)].stats().gathers == 0));
}

#[test]
fn a_refusal_makes_every_member_probe_at_5_10_and_20_ms() {
    let mut network = Network::joined(3);
    network.kill(3);
    network.silent.insert(id(3));
    let begin = network.now;
    network.node(1).handle_refused(begin, id(3));
    network.drain();
    let mut probes = BTreeSet::new();
    while network.now.since(begin) < Duration::from_millis(24) {
        let age = network.now.since(begin).as_millis();
        probes.extend(senders_to(&network, 3).map(|from| (from, age)));
        network.step();
    }
    let schedule = |from| [0, 5, 10, 20].map(|age| (from, age));
    let expected: BTreeSet<_> = schedule(1).into_iter().chain(schedule(2)).collect();
    assert_eq!(probes, expected);
    network.run_until_view(&[1, 2]);
    assert!(network.now.since(begin) < Duration::from_millis(50));
}

#[test]
fn a_newer_life_that_answers_a_probe_ends_the_old_one_at_once() {
    let mut network = Network::joined(3);
    let begin = network.now;
    let mut newer = Totem::new(config(3, &THREE), start(77), begin);
    // Nobody hears how it introduces itself: only its answer to the probe is left.
    let mut unheard = Vec::new();
    while newer.poll_transmit(&mut unheard).is_some() {}
    network.nodes.insert(id(3), newer);
    network.node(1).handle_refused(begin, id(3));
    network.drain_node(id(1));
    network.run_until("the old life is over", |network| {
        [1, 2]
            .iter()
            .all(|&n| network.nodes[&id(n)].state() != State::Operational)
    });
    let took = network.now.since(begin);
    assert!(took < Duration::from_millis(1), "{took:?}");
    network.run_until_view(&[1, 2, 3]);
    let view = network.nodes[&id(1)].view();
    assert_eq!(view.members[2].incarnation, Incarnation(77));
}

#[test]
fn the_ring_keeps_ordering_while_it_looks_for_others() {
    let mut network = Network::new(&[]);
    for number in [1, 2] {
        network.start(config(number, &THREE), u64::from(number));
    }
    network.run_until_view(&[1, 2]);
    let views = network.views(1);
    let mut looked = 0;
    for round in 0..1500 {
        let begin = network.now;
        network.submit(round % 2 + 1, Service::Safe, format!("{round}"));
        let count = round as usize + 1;
        network.run_until("a delivery at both", |network| {
            [1, 2]
                .iter()
                .all(|&at| network.deliveries(at).len() == count)
        });
        let took = network.now.since(begin);
        assert!(took < Duration::from_millis(2), "message {round}: {took:?}");
        while network.now.since(begin) < Duration::from_millis(1) {
            network.step();
            looked += senders_to(&network, 3).count();
        }
    }
    assert!(looked >= 4, "it looked {looked} times for the third one");
    assert_eq!(network.views(1), views);
    network.start(config(3, &THREE), 3);
    let took = network.run_until_view(&[1, 2, 3]);
    assert!(took < Duration::from_millis(1500), "{took:?}");
}
