//! Members on a small virtual network, one behaviour a test. Faults in bulk are the simulator's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Config, FailureDetection, Key, MemberConfig, Start};
use crate::event::{Class, Destination, Difference, Event, Notice, Service};
use crate::time::Time;
use crate::view::{Incarnation, MemberId};
use crate::{State, Totem};

const LATENCY: Duration = Duration::from_micros(50);

/// A datagram on its way.
struct Flight {
    at: Time,
    from: MemberId,
    to: MemberId,
    class: Class,
    datagram: Vec<u8>,
}

struct Network {
    now: Time,
    nodes: BTreeMap<MemberId, Totem>,
    /// Members whose host drops (silent) or refuses their packets.
    silent: BTreeSet<MemberId>,
    refusing: BTreeSet<MemberId>,
    /// Directed links that are cut.
    cut: BTreeSet<(MemberId, MemberId)>,
    /// Members that get no multicast, and members that get no data at all.
    deaf_to_sets: BTreeSet<MemberId>,
    deaf_to_data: BTreeSet<MemberId>,
    /// Loses every n-th data packet if not zero.
    lose_data_every: usize,
    sent: usize,
    flights: VecDeque<Flight>,
    events: BTreeMap<MemberId, Vec<Event>>,
    recorded: Vec<(MemberId, MemberId, Vec<u8>)>,
    multicasts: usize,
    token_latency: Duration,
}

fn id(number: u32) -> MemberId {
    MemberId(number)
}

pub(crate) fn config(number: u32, segments: &[u16]) -> Config {
    let member = |(at, &segment): (usize, &u16)| MemberConfig {
        id: id(at as u32 + 1),
        segment,
        name: format!("d{}", at + 1),
        segment_address: SocketAddrV4::new([10, 0, segment as u8, 255].into(), 4803),
    };
    Config {
        me: id(number),
        members: segments.iter().enumerate().map(member).collect(),
        key: Some(Key([3; 32])),
        timers: FailureDetection::Normal.timers(),
        datagram_bytes: 1472,
        receive_buffer_bytes: 400_000,
        submit_bytes_max: 1 << 20,
        compatibility: 1,
    }
}

pub(crate) fn start(incarnation: u64) -> Start {
    Start {
        incarnation: Incarnation(incarnation),
        persisted_counter: 0,
        clock_seconds: 1000 + incarnation,
        seed: incarnation,
    }
}

impl Network {
    fn new(segments: &[u16]) -> Network {
        let mut network = Network {
            now: Time(1_000_000_000),
            nodes: BTreeMap::new(),
            silent: BTreeSet::new(),
            refusing: BTreeSet::new(),
            cut: BTreeSet::new(),
            deaf_to_sets: BTreeSet::new(),
            deaf_to_data: BTreeSet::new(),
            lose_data_every: 0,
            sent: 0,
            flights: VecDeque::new(),
            events: BTreeMap::new(),
            recorded: Vec::new(),
            multicasts: 0,
            token_latency: LATENCY,
        };
        for number in 1..=segments.len() as u32 {
            network.start(config(number, segments), u64::from(number));
        }
        network
    }

    /// Members that have found each other.
    fn joined(count: usize) -> Network {
        let mut network = Network::new(&vec![0; count]);
        network.run_until_view(&(1..=count as u32).collect::<Vec<_>>());
        network
    }

    fn start(&mut self, config: Config, incarnation: u64) {
        let me = config.me;
        self.nodes
            .insert(me, Totem::new(config, start(incarnation), self.now));
    }

    fn node(&mut self, number: u32) -> &mut Totem {
        self.nodes.get_mut(&id(number)).expect("a running member")
    }

    fn submit(&mut self, number: u32, service: Service, data: impl Into<Bytes>) {
        let (now, data) = (self.now, data.into());
        self.node(number)
            .submit(now, service, data)
            .expect("room in the queue");
        self.drain();
    }

    fn drain(&mut self) {
        let ids: Vec<MemberId> = self.nodes.keys().copied().collect();
        for me in ids {
            self.drain_node(me);
        }
    }

    fn drain_node(&mut self, me: MemberId) {
        let node = self.nodes.get_mut(&me).expect("a running member");
        if let Some(counter) = node.poll_persist() {
            node.persisted(counter);
        }
        let mut buffer = Vec::new();
        let mut sends = Vec::new();
        while let Some(transmit) = node.poll_transmit(&mut buffer) {
            let targets: Vec<MemberId> = match &transmit.destination {
                Destination::Member(to) => vec![*to],
                Destination::Segment(local) => local.to_vec(),
                Destination::Set(local, remote) => {
                    self.multicasts += 1;
                    let heard = |to: &&MemberId| !self.deaf_to_sets.contains(*to);
                    local
                        .iter()
                        .filter(heard)
                        .chain(remote.iter())
                        .copied()
                        .collect()
                }
            };
            for datagram in buffer.chunks(transmit.segment_size) {
                for &to in &targets {
                    sends.push((to, transmit.class, datagram.to_vec()));
                }
            }
        }
        let events = self.events.entry(me).or_default();
        while let Some(event) = node.poll_event() {
            events.push(event);
        }
        for (to, class, datagram) in sends {
            self.send(me, to, class, datagram);
        }
    }

    fn send(&mut self, from: MemberId, to: MemberId, class: Class, datagram: Vec<u8>) {
        self.recorded.push((from, to, datagram.clone()));
        if class == Class::Data && self.lose_data_every > 0 {
            self.sent += 1;
            if self.sent.is_multiple_of(self.lose_data_every) {
                return;
            }
        }
        let latency = if class == Class::Token {
            self.token_latency
        } else {
            LATENCY
        };
        let at = self.now + latency;
        let place = self.flights.partition_point(|flight| flight.at <= at);
        let flight = Flight {
            at,
            from,
            to,
            class,
            datagram,
        };
        self.flights.insert(place, flight);
    }

    /// Cuts a member off, or lets all hear each other again.
    fn cut_off(&mut self, number: u32) {
        for other in self.nodes.keys().filter(|other| **other != id(number)) {
            self.cut
                .extend([(*other, id(number)), (id(number), *other)]);
        }
    }

    fn deliver(&mut self, flight: Flight) {
        let Flight {
            from,
            to,
            class,
            datagram,
            ..
        } = flight;
        let now = self.now;
        if class == Class::Data && self.deaf_to_data.contains(&to) {
            return;
        }
        if self.cut.contains(&(from, to)) || self.silent.contains(&to) {
            return;
        }
        if self.refusing.contains(&to) {
            if class != Class::Data
                && let Some(node) = self.nodes.get_mut(&from)
            {
                node.handle_refused(now, to);
            }
            return;
        }
        let address = SocketAddr::from((Ipv4Addr::from(from.0), 4803));
        if let Some(node) = self.nodes.get_mut(&to) {
            node.handle_packet(now, address, &datagram);
        }
    }

    /// Goes to the next thing that happens.
    fn step(&mut self) {
        let timeout = self.nodes.values().filter_map(Totem::poll_timeout).min();
        let flight = self.flights.front().map(|flight| flight.at);
        let next = timeout
            .into_iter()
            .chain(flight)
            .min()
            .expect("something is always due");
        self.now = self.now.max(next);
        while self
            .flights
            .front()
            .is_some_and(|flight| flight.at <= self.now)
        {
            let flight = self.flights.pop_front().expect("just seen");
            let (from, to) = (flight.from, flight.to);
            self.deliver(flight);
            for touched in [from, to] {
                if self.nodes.contains_key(&touched) {
                    self.drain_node(touched);
                }
            }
        }
        let now = self.now;
        for node in self.nodes.values_mut() {
            node.handle_timeout(now);
        }
        self.drain();
    }

    /// Runs until the fact holds; fails after ten simulated seconds.
    fn run_until(&mut self, what: &str, fact: impl Fn(&Network) -> bool) -> Duration {
        let begin = self.now;
        while !fact(self) {
            self.step();
            assert!(
                self.now.since(begin) < Duration::from_secs(10),
                "never: {what}"
            );
        }
        self.now.since(begin)
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step();
        }
    }

    fn has_view(&self, number: u32, members: &[u32]) -> bool {
        let node = &self.nodes[&id(number)];
        let view: Vec<u32> = node
            .view()
            .members
            .iter()
            .map(|member| member.id.0)
            .collect();
        view == members && node.state() == State::Operational
    }

    /// Runs until these members have just each other in their views.
    fn run_until_view(&mut self, members: &[u32]) -> Duration {
        self.run_until(&format!("view {members:?}"), |network| {
            let rings: BTreeSet<_> = members
                .iter()
                .map(|number| network.nodes[&id(*number)].view().ring)
                .collect();
            members
                .iter()
                .all(|&number| network.has_view(number, members))
                && rings.len() == 1
        })
    }

    fn deliveries(&self, number: u32) -> Vec<Bytes> {
        let of = |event: &Event| match event {
            Event::Deliver(delivery) => Some(delivery.data.clone()),
            _ => None,
        };
        self.events[&id(number)].iter().filter_map(of).collect()
    }

    fn views(&self, number: u32) -> usize {
        self.events[&id(number)]
            .iter()
            .filter(|event| matches!(event, Event::Regular(_)))
            .count()
    }

    fn kill(&mut self, number: u32) {
        self.nodes.remove(&id(number));
    }
}

#[test]
fn one_member_alone_delivers_at_once() {
    let mut network = Network::new(&[0]);
    network.submit(1, Service::Safe, "hello");
    assert_eq!(network.deliveries(1), ["hello"]);
}

#[test]
fn members_find_each_other_within_a_beacon() {
    for count in [2, 3, 5, 9] {
        let mut network = Network::new(&vec![0; count]);
        let took = network.run_until_view(&(1..=count as u32).collect::<Vec<_>>());
        assert!(
            took < Duration::from_millis(1500),
            "{count} members took {took:?}"
        );
    }
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
fn a_silent_member_is_left_out_within_half_a_second() {
    let mut network = Network::joined(3);
    network.submit(2, Service::Agreed, "before");
    network.run_until("delivery", |n| n.deliveries(1).len() == 1);
    network.kill(3);
    network.silent.insert(id(3));
    let took = network.run_until_view(&[1, 2]);
    assert!(took < Duration::from_millis(500), "{took:?}");
    network.submit(1, Service::Safe, "after");
    network.run_until("both", |n| {
        n.deliveries(1).len() == 2 && n.deliveries(2).len() == 2
    });
}

#[test]
fn a_killed_member_whose_host_refuses_is_left_out_within_50_ms() {
    for number in 1..=3 {
        let mut network = Network::joined(3);
        network.kill(number);
        network.refusing.insert(id(number));
        let left: Vec<u32> = (1..=3).filter(|other| *other != number).collect();
        let took = network.run_until_view(&left);
        assert!(took < Duration::from_millis(50), "{number}: {took:?}");
    }
}

#[test]
fn a_refusal_alone_evicts_nobody() {
    let mut network = Network::joined(3);
    let now = network.now;
    network.node(1).handle_refused(now, id(2));
    network.run_for(Duration::from_secs(1));
    assert!(
        (1..=3).all(|number| network.views(number) == 2 || network.has_view(number, &[1, 2, 3]))
    );
    assert_eq!(network.nodes[&id(1)].stats().gathers, 0);
}

#[test]
fn a_clean_leave_takes_10_ms_and_loses_nothing() {
    for number in 1..=3 {
        let mut network = Network::joined(3);
        let left: Vec<u32> = (1..=3).filter(|other| *other != number).collect();
        for round in 0..50 {
            network.submit(number, Service::Agreed, format!("{round}"));
        }
        let now = network.now;
        network.node(number).leave(now);
        network.drain();
        let took = network.run_until_view(&left);
        assert!(took < Duration::from_millis(10), "{number}: {took:?}");
        assert!(left.iter().all(|at| network.deliveries(*at).len() == 50));
        network.run_until("Left", |n| {
            n.events[&id(number)].last() == Some(&Event::Left)
        });
    }
}

#[test]
fn a_restarted_member_replaces_its_old_life_at_once() {
    let mut network = Network::joined(3);
    network.start(config(2, &[0, 0, 0]), 77);
    let took = network.run_until("the new life in the view", |network| {
        (1..=3).all(|number| {
            let view = network.nodes[&id(number)].view();
            view.members.len() == 3 && view.members[1].incarnation == Incarnation(77)
        })
    });
    assert!(took < Duration::from_millis(200), "{took:?}");
}

#[test]
fn partitions_go_on_separately_and_merge_within_a_second_and_a_half() {
    let mut network = Network::joined(5);
    for a in [1, 2] {
        for b in [3, 4, 5] {
            network.cut.extend([(id(a), id(b)), (id(b), id(a))]);
        }
    }
    network.run_until_view(&[1, 2]);
    network.run_until_view(&[3, 4, 5]);
    network.submit(1, Service::Safe, "left");
    network.submit(5, Service::Safe, "right");
    network.run_until("both", |n| {
        n.deliveries(2).len() == 1 && n.deliveries(3).len() == 1
    });
    network.run_for(Duration::from_secs(5));
    let views = network.views(1);
    network.cut.clear();
    let took = network.run_until_view(&[1, 2, 3, 4, 5]);
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_eq!(network.views(1), views + 1, "one view for the merge");
}

#[test]
fn a_one_way_cut_settles_and_does_not_flap() {
    let mut network = Network::joined(3);
    network.cut.insert((id(3), id(1)));
    network.run_for(Duration::from_secs(5));
    let views: Vec<usize> = (1..=3).map(|number| network.views(number)).collect();
    network.run_for(Duration::from_secs(20));
    let later: Vec<usize> = (1..=3).map(|number| network.views(number)).collect();
    assert_eq!(views, later);
    assert!(network.has_view(1, &[1, 2]), "1 and 2 hear each other");
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

/// What a member says of others' configurations.
fn differences(network: &Network, number: u32) -> BTreeSet<String> {
    let events = network.events[&id(number)].iter();
    events
        .filter_map(|event| match event {
            Event::Notice(Notice::ForeignConfig { member, difference }) => {
                Some(format!("{member} {difference:?}"))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn members_whose_files_differ_talk_and_name_each_difference() {
    let mut network = Network::new(&[0, 0, 0]);
    let mut other = config(2, &[0, 0, 0]);
    other.members.swap(0, 1);
    other.timers = FailureDetection::Fast.timers();
    other.datagram_bytes = 1200;
    other.members[0].name = "another".into();
    other.members[0].segment_address = "10.9.9.255:4803".parse().unwrap();
    network.start(other, 50);
    network.run_until_view(&[1, 2, 3]);
    let said = |me: u32, name: &str, segment: &str, loss: &str, bytes: u32| {
        let lines = [
            "Order".to_owned(),
            format!("Name({name:?})"),
            format!("Segment({segment})"),
            format!("TokenLoss({loss})"),
            format!("DatagramBytes({bytes})"),
        ];
        lines.map(|line| format!("{} {line}", id(me)))
    };
    let second = said(2, "another", "10.9.9.255:4803", "70ms", 1200);
    assert_eq!(differences(&network, 1), BTreeSet::from(second.clone()));
    // For the third one, the order of the two others is their own affair.
    let third: BTreeSet<_> = second
        .into_iter()
        .filter(|l| !l.ends_with("Order"))
        .collect();
    assert_eq!(differences(&network, 3), third);
    let first = said(1, "", "", "300ms", 1472);
    let seen = differences(&network, 2);
    assert!(
        [0, 3, 4].iter().all(|&at| seen.contains(&first[at])),
        "{seen:?}"
    );
    assert_eq!(seen.iter().filter(|line| line.contains("Name")).count(), 0);
}

#[test]
fn files_that_differ_in_the_list_of_daemons_only_do_not_differ() {
    let mut network = Network::new(&[0, 0]);
    let mut longer = config(2, &[0, 0, 1]);
    longer.members.rotate_right(1);
    network.start(longer, 50);
    network.run_until_view(&[1, 2]);
    for number in 1..=2 {
        assert_eq!(differences(&network, number), BTreeSet::new());
    }
}

#[test]
fn who_has_the_key_and_is_not_in_the_file_is_named() {
    let mut network = Network::new(&[0]);
    network.start(config(2, &[0, 0]), 50);
    network.run_for(Duration::from_secs(1));
    assert!(network.has_view(1, &[1]));
    assert!(network.events[&id(1)].iter().any(|event| matches!(
        event,
        Event::Notice(Notice::Stranger { from }) if from.ip() == Ipv4Addr::from(2)
    )));
}

#[test]
fn another_key_and_another_configuration_are_named() {
    let mut network = Network::new(&[0, 0, 0]);
    let mut foreign = config(2, &[0, 0, 0]);
    foreign.key = Some(Key([9; 32]));
    network.start(foreign, 50);
    let mut other = config(3, &[0, 0, 0]);
    other.compatibility = 2;
    network.start(other, 51);
    network.run_for(Duration::from_secs(2));
    assert!(network.has_view(1, &[1]));
    let named = |wanted: fn(&Notice) -> bool| {
        network.events[&id(1)]
            .iter()
            .any(|event| matches!(event, Event::Notice(n) if wanted(n)))
    };
    assert!(named(
        |notice| matches!(notice, Notice::ForeignKey { from } if from.ip() == Ipv4Addr::from(2))
    ));
    assert!(named(|notice| *notice
        == Notice::ForeignConfig {
            member: MemberId(3),
            difference: Difference::Protocol,
        }));
}

#[test]
fn members_are_added_and_removed_by_one_view_change() {
    let mut network = Network::new(&[0, 0, 0]);
    network.run_until_view(&[1, 2, 3]);
    let views = network.views(1);
    let members = config(1, &[0, 0]).members;
    for number in [1, 2] {
        let (now, members) = (network.now, members.clone());
        network.node(number).reconfigure(now, members);
    }
    network.drain();
    network.run_until_view(&[1, 2]);
    network.run_for(Duration::from_secs(2));
    assert_eq!(network.views(1), views + 1);
    let members = config(1, &[0, 0, 0]).members;
    for number in [1, 2] {
        let (now, members) = (network.now, members.clone());
        network.node(number).reconfigure(now, members);
    }
    network.drain();
    network.run_until_view(&[1, 2, 3]);
    assert_eq!(network.views(1), views + 2);
}

#[test]
fn an_idle_ring_is_quiet_and_answers_at_once() {
    let mut network = Network::joined(3);
    network.run_for(Duration::from_secs(1));
    let tokens = network.nodes[&id(1)].stats().tokens;
    network.run_for(Duration::from_secs(1));
    let per_second = network.nodes[&id(1)].stats().tokens - tokens;
    assert!(per_second < 150, "{per_second} rotations a second");
    for number in 1..=3 {
        let before = network.now;
        network.submit(number, Service::Agreed, "now");
        let count = network.deliveries(1).len() + 1;
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
fn a_member_that_gets_no_data_at_all_is_left_out() {
    let mut network = Network::joined(3);
    network.deaf_to_data.insert(id(2));
    network.submit(1, Service::Agreed, "x");
    network.run_until_view(&[1, 3]);
    network.submit(1, Service::Safe, "y");
    network.run_until("both", |n| {
        n.deliveries(1).len() == 2 && n.deliveries(3).len() == 2
    });
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
fn a_member_that_was_not_run_does_not_blame_the_others() {
    let mut network = Network::joined(3);
    let now = network.now + Duration::from_millis(400);
    network.node(2).handle_timeout(now);
    assert_eq!(network.nodes[&id(2)].state(), State::Operational);
    let later = now + Duration::from_millis(200);
    network.node(2).handle_timeout(later);
    assert_eq!(
        network.nodes[&id(2)].state(),
        State::Gather,
        "no token after all"
    );
}

#[test]
fn a_slow_ring_is_not_lost_while_everybody_answers() {
    let mut network = Network::joined(3);
    network.token_latency = Duration::from_millis(150);
    for round in 0..20 {
        for number in 1..=3 {
            network.submit(number, Service::Safe, format!("{number}-{round}"));
        }
        network.run_for(Duration::from_millis(500));
    }
    assert!((1..=3).all(|number| network.nodes[&id(number)].stats().gathers == 0));
    assert!(network.nodes[&id(1)].stats().roll_calls > 3);
    network.kill(3);
    network.silent.insert(id(3));
    let took = network.run_until("a view without 3", |network| network.has_view(1, &[1, 2]));
    assert!(took < Duration::from_millis(1200), "{took:?}");
}

#[test]
fn a_member_that_was_cut_off_again_and_again_is_back_within_a_second_and_a_half() {
    let mut network = Network::joined(3);
    for _ in 0..10 {
        network.cut_off(3);
        network.run_until_view(&[1, 2]);
        network.run_for(Duration::from_secs(2));
        network.cut.clear();
        let took = network.run_until_view(&[1, 2, 3]);
        assert!(took < Duration::from_millis(1500), "{took:?}");
    }
}

#[test]
fn a_member_that_comes_and_goes_is_left_out_until_it_stays() {
    let mut network = Network::joined(3);
    let mut views = Vec::new();
    for _ in 0..40 {
        network.cut_off(3);
        network.run_for(Duration::from_millis(900));
        network.cut.clear();
        network.run_for(Duration::from_millis(550));
        views.push(network.views(1));
    }
    assert!(views[0] > 2, "at first it is taken back: {views:?}");
    assert_eq!(views[20], views[39], "{views:?}");
    let took = network.run_until_view(&[1, 2, 3]);
    assert!(took < Duration::from_millis(1500), "{took:?}");
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

#[test]
fn two_members_with_one_name_are_told_and_the_newer_one_stays() {
    for (life, newer) in [(90, true), (1, false)] {
        let mut network = Network::new(&[0, 0]);
        let mut second = Totem::new(config(2, &[0, 0]), start(life), network.now);
        let now = network.now + Duration::from_secs(1);
        second.handle_timeout(now);
        while let Some(counter) = second.poll_persist() {
            second.persisted(counter);
        }
        let mut datagram = Vec::new();
        let hello = second.poll_transmit(&mut datagram).expect("a beacon");
        assert_eq!(hello.class, Class::Control);
        let from = SocketAddr::from((Ipv4Addr::from(9), 4803));
        network.node(2).handle_packet(now, from, &datagram);
        network.drain();
        let told = Event::Notice(Notice::DuplicateMember {
            from,
            ours_is_newer: !newer,
        });
        assert!(network.events[&id(2)].contains(&told), "{life}");
    }
}
