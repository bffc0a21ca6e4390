//! Three members of a ring without a key, on a network that changes what it carries.
//!
//! The input is a script, four bytes a step: what to do, and with what. Members never panic, and
//! what they hold stays bounded. That a changed packet cannot harm the order is not asked: without
//! a key nobody promises that.
#![no_main]

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use totem::Totem;
use totem::config::{Config, FailureDetection, MemberConfig, Start};
use totem::event::{Destination, Service};
use totem::time::Time;
use totem::view::{Incarnation, MemberId};

const MEMBERS: u32 = 3;
/// Datagrams on their way; more are lost.
const FLIGHTS_MAX: usize = 64;

struct Network {
    now: Time,
    nodes: Vec<Totem>,
    flights: VecDeque<(usize, usize, Vec<u8>)>,
}

impl Network {
    fn new() -> Network {
        let now = Time(1_000_000_000);
        let members = |_| {
            (1..=MEMBERS).map(|id| MemberConfig {
                id: MemberId(id),
                segment: 0,
                name: "one".into(),
                segment_address: "10.0.0.255:4803".parse().expect("an address"),
                address: id.into(),
            })
        };
        let nodes = (1..=MEMBERS).map(|id| {
            let config = Config {
                me: MemberId(id),
                members: members(id).collect(),
                key: None,
                timers: FailureDetection::Normal.timers(),
                datagram_bytes: 1472,
                receive_buffer_bytes: 400_000,
                submit_bytes_max: 1 << 16,
                compatibility: 1,
            };
            let incarnation = Incarnation(u64::from(id));
            let start = Start {
                incarnation,
                persisted_counter: 0,
                clock_seconds: 1000,
                seed: id.into(),
            };
            Totem::new(config, start, now)
        });
        Network {
            now,
            nodes: nodes.collect(),
            flights: VecDeque::new(),
        }
    }

    fn drain(&mut self) {
        let mut buffer = Vec::new();
        for (me, node) in self.nodes.iter_mut().enumerate() {
            if let Some(counter) = node.poll_persist() {
                node.persisted(counter);
            }
            while let Some(transmit) = node.poll_transmit(&mut buffer) {
                let to: Vec<MemberId> = match transmit.destination {
                    Destination::Member(id) => vec![id],
                    Destination::Segment(ids) => ids.to_vec(),
                    Destination::Set(near, far) => near.iter().chain(far.iter()).copied().collect(),
                };
                for datagram in buffer.chunks(transmit.segment_size) {
                    // A changed packet may name a member that is not configured here.
                    for id in to.iter().filter(|id| (1..=MEMBERS).contains(&id.0)) {
                        if self.flights.len() < FLIGHTS_MAX {
                            let to = id.0 as usize - 1;
                            self.flights.push_back((me, to, datagram.to_vec()));
                        }
                    }
                }
            }
            while node.poll_event().is_some() {}
        }
    }

    fn deliver(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let Some((from, to, mut datagram)) = self.flights.pop_front() else {
            return self.pass(Duration::from_millis(1));
        };
        change(&mut datagram);
        let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, from as u8 + 1), 4803));
        self.nodes[to].handle_packet(self.now, address, &datagram);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for node in &mut self.nodes {
            node.handle_timeout(self.now);
        }
    }
}

fuzz_target!(|script: &[u8]| {
    let mut network = Network::new();
    for &[step, a, b, c] in script.as_chunks::<4>().0 {
        network.drain();
        match step % 8 {
            0 => (0..=a % 64).for_each(|_| {
                network.deliver(|_| {});
                network.drain();
            }),
            1 => network.deliver(|datagram| {
                let at = (usize::from(a) << 8 | usize::from(b)) % datagram.len().max(1);
                if let Some(byte) = datagram.get_mut(at) {
                    *byte ^= c;
                }
            }),
            2 => network.deliver(|datagram| {
                let at = usize::from(a) % datagram.len().max(1);
                let value = [b, c, b, c, b, c, b, c];
                datagram
                    .iter_mut()
                    .skip(at)
                    .zip(value)
                    .for_each(|(byte, value)| *byte = value);
            }),
            3 => network.deliver(|datagram| datagram.truncate(usize::from(a))),
            4 => network.pass(Duration::from_millis(u64::from(a))),
            5 => drop(network.flights.pop_front()),
            6 => {
                if let Some(again) = network.flights.front().cloned() {
                    network.flights.push_back(again);
                }
            }
            _ => {
                let (now, size) = (network.now, usize::from(b) << 4);
                let node = &mut network.nodes[usize::from(a) % MEMBERS as usize];
                let service = if c & 1 == 0 {
                    Service::Agreed
                } else {
                    Service::Safe
                };
                let _ = node.submit(now, service, Bytes::from(vec![c; size]));
                assert!(node.queued_bytes() <= 1 << 16);
            }
        }
    }
});
