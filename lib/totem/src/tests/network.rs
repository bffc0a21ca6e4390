//! A small virtual network: a constant latency, members that may be cut off, silent or deaf.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Config, FailureDetection, Key, MemberConfig, Start};
use crate::event::{Class, Destination, Event, Service};
use crate::time::Time;
use crate::view::{Incarnation, MemberId};
use crate::{State, Totem};

pub(super) const LATENCY: Duration = Duration::from_micros(50);

/// A datagram on its way.
pub(super) struct Flight {
    pub(super) at: Time,
    pub(super) from: MemberId,
    pub(super) to: MemberId,
    pub(super) class: Class,
    pub(super) datagram: Vec<u8>,
}

pub(super) struct Network {
    pub(super) now: Time,
    pub(super) nodes: BTreeMap<MemberId, Totem>,
    /// Members whose host drops (silent) or refuses their packets.
    pub(super) silent: BTreeSet<MemberId>,
    pub(super) refusing: BTreeSet<MemberId>,
    /// Directed links that are cut.
    pub(super) cut: BTreeSet<(MemberId, MemberId)>,
    /// Members that get no multicast, and members that get no data at all.
    pub(super) deaf_to_sets: BTreeSet<MemberId>,
    pub(super) deaf_to_data: BTreeSet<MemberId>,
    /// Loses every n-th data packet if not zero.
    pub(super) lose_data_every: usize,
    pub(super) sent: usize,
    pub(super) flights: VecDeque<Flight>,
    pub(super) events: BTreeMap<MemberId, Vec<Event>>,
    pub(super) recorded: Vec<(MemberId, MemberId, Vec<u8>)>,
    pub(super) multicasts: usize,
    pub(super) token_latency: Duration,
}

pub(super) fn id(number: u32) -> MemberId {
    MemberId(number)
}

pub(crate) fn config(number: u32, segments: &[u16]) -> Config {
    let member = |(at, &segment): (usize, &u16)| MemberConfig {
        id: id(at as u32 + 1),
        segment,
        name: format!("d{}", at + 1),
        segment_address: SocketAddrV4::new([10, 0, segment as u8, 255].into(), 4803),
        address: Ipv4Addr::from(at as u32 + 1),
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
    pub(super) fn new(segments: &[u16]) -> Network {
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
    pub(super) fn joined(count: usize) -> Network {
        let mut network = Network::new(&vec![0; count]);
        network.run_until_view(&(1..=count as u32).collect::<Vec<_>>());
        network
    }

    pub(super) fn start(&mut self, config: Config, incarnation: u64) {
        let me = config.me;
        self.nodes
            .insert(me, Totem::new(config, start(incarnation), self.now));
    }

    pub(super) fn node(&mut self, number: u32) -> &mut Totem {
        self.nodes.get_mut(&id(number)).expect("a running member")
    }

    pub(super) fn submit(&mut self, number: u32, service: Service, data: impl Into<Bytes>) {
        let (now, data) = (self.now, data.into());
        self.node(number)
            .submit(now, service, data)
            .expect("room in the queue");
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        let ids: Vec<MemberId> = self.nodes.keys().copied().collect();
        for me in ids {
            self.drain_node(me);
        }
    }

    pub(super) fn drain_node(&mut self, me: MemberId) {
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

    pub(super) fn send(&mut self, from: MemberId, to: MemberId, class: Class, datagram: Vec<u8>) {
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
    pub(super) fn cut_off(&mut self, number: u32) {
        for other in self.nodes.keys().filter(|other| **other != id(number)) {
            self.cut
                .extend([(*other, id(number)), (id(number), *other)]);
        }
    }

    pub(super) fn deliver(&mut self, flight: Flight) {
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

    fn next_due(&self) -> Time {
        let timeout = self.nodes.values().filter_map(Totem::poll_timeout).min();
        let flight = self.flights.front().map(|flight| flight.at);
        let next = timeout.into_iter().chain(flight).min();
        next.expect("something is always due")
    }

    /// Goes to the next thing that happens.
    pub(super) fn step(&mut self) {
        self.now = self.now.max(self.next_due());
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
    pub(super) fn run_until(&mut self, what: &str, fact: impl Fn(&Network) -> bool) -> Duration {
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

    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.next_due() <= end {
            self.step();
        }
        self.now = end;
    }

    pub(super) fn has_view(&self, number: u32, members: &[u32]) -> bool {
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
    pub(super) fn run_until_view(&mut self, members: &[u32]) -> Duration {
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

    pub(super) fn deliveries(&self, number: u32) -> Vec<Bytes> {
        let of = |event: &Event| match event {
            Event::Deliver(delivery) => Some(delivery.data.clone()),
            _ => None,
        };
        self.events[&id(number)].iter().filter_map(of).collect()
    }

    pub(super) fn views(&self, number: u32) -> usize {
        self.events[&id(number)]
            .iter()
            .filter(|event| matches!(event, Event::Regular(_)))
            .count()
    }

    pub(super) fn kill(&mut self, number: u32) {
        self.nodes.remove(&id(number));
    }
}
