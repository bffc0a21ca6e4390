//! What becomes of single packets.

use super::*;

fn network() -> Network {
    Network::new(
        Random::new(3),
        3,
        (Duration::from_micros(50), Duration::from_micros(80)),
    )
}

fn packet(from: Host, to: Host, class: Class) -> Packet {
    Packet {
        from,
        to,
        class,
        unicast: true,
        bytes: Bytes::from_static(b"some bytes"),
    }
}

fn send(network: &mut Network, packet: Packet) -> Vec<(Time, Packet)> {
    let mut arrivals = Vec::new();
    network.send(Time(0), packet, State::Operational, &mut arrivals);
    arrivals
}

#[test]
fn a_whole_network_keeps_the_order() {
    let mut network = network();
    let mut last = Time(0);
    for _ in 0..100 {
        let arrivals = send(&mut network, packet(0, 1, Class::Data));
        assert_eq!(arrivals.len(), 1);
        assert!(arrivals[0].0 >= last);
        last = arrivals[0].0;
    }
}

#[test]
fn cuts_overlap_and_have_one_direction() {
    let mut network = network();
    network.cut(0, 1, Fault::Partition);
    network.cut(0, 1, Fault::OneWayCut);
    network.join(0, 1);
    assert!(send(&mut network, packet(0, 1, Class::Token)).is_empty());
    assert_eq!(send(&mut network, packet(1, 0, Class::Token)).len(), 1);
    network.join(0, 1);
    assert_eq!(send(&mut network, packet(0, 1, Class::Token)).len(), 1);
    assert_eq!(network.tally.of(Fault::OneWayCut), 1);
}

#[test]
fn a_clogged_link_gives_all_at_once() {
    let mut network = network();
    network.clog(0, 1);
    for _ in 0..5 {
        assert!(send(&mut network, packet(0, 1, Class::Data)).is_empty());
    }
    let mut arrivals = Vec::new();
    network.unclog(Time(9), 0, 1, &mut arrivals);
    assert_eq!(arrivals.len(), 5);
    assert!(arrivals.iter().all(|(at, _)| *at == Time(9)));
}

#[test]
fn an_ambush_takes_only_what_it_waits_for() {
    let mut network = network();
    network.add_ambush(Ambush {
        class: Class::Token,
        state: Some(State::Operational),
        from: Some(0),
        to: None,
        skip: 1,
        count: 1,
        act: Act::Drop,
    });
    assert_eq!(send(&mut network, packet(0, 1, Class::Data)).len(), 1);
    assert_eq!(send(&mut network, packet(1, 2, Class::Token)).len(), 1);
    assert_eq!(send(&mut network, packet(0, 1, Class::Token)).len(), 1);
    assert_eq!(send(&mut network, packet(0, 1, Class::Token)).len(), 0);
    assert_eq!(send(&mut network, packet(0, 1, Class::Token)).len(), 1);
}

#[test]
fn what_was_recorded_comes_again() {
    let mut network = network();
    network.set_conditions(Conditions {
        replay: 1.0,
        corrupt: 1.0,
        ..Conditions::default()
    });
    let arrivals = send(&mut network, packet(0, 1, Class::Control));
    assert_eq!(arrivals.len(), 2);
    assert_eq!(&arrivals[0].1.bytes[..], b"some bytes");
    assert_ne!(&arrivals[1].1.bytes[..], b"some bytes");
}
