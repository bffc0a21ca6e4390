//! A simulated host: its clock, its disk, its receive buffers, and the process that may run on it.

use std::collections::VecDeque;

use bytes::Bytes;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::clients::Client;
use crate::config::MemberConfig;
use crate::event::Class;
use crate::groups::{Groups, PrivateName};
use crate::node::{State, Totem};
use crate::sim::faults::Fault;
use crate::sim::network::{Host, Packet};
use crate::sim::trace::{Lane, MessageId, ProcessId};
use crate::time::Time;
use crate::view::{MemberId, RingId};

/// A clock that is as far from the simulated time as it likes, and a little faster or slower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) offset: u64,
    pub(super) ppm: i64,
}

impl Clock {
    /// What it shows at this instant.
    pub(super) fn local(self, at: Time) -> Time {
        let drift = i128::from(at.0) * i128::from(self.ppm) / 1_000_000;
        Time((i128::from(at.0) + drift) as u64 + self.offset)
    }

    /// The first instant at which it shows this, or a little later.
    pub(super) fn global(self, local: Time) -> Time {
        let elapsed = i128::from(local.0.saturating_sub(self.offset));
        let at = elapsed * 1_000_000 / i128::from(1_000_000 + self.ppm) + 1;
        Time(u64::try_from(at).unwrap_or(u64::MAX))
    }
}

/// One life of a member.
pub(super) struct Process {
    pub(super) id: ProcessId,
    pub(super) totem: Totem,
    pub(super) groups: Groups,
    pub(super) clients: Vec<Client>,
    /// Names to be connected again as soon as they are free.
    pub(super) awaited: Vec<PrivateName>,
    /// Sessions so far.
    pub(super) sessions: u32,
    /// In the regular configuration that ends, the group tables were exchanged; and so many of
    /// its members come along.
    pub(super) exchanged: bool,
    pub(super) came_along: usize,
    /// Its state after the last input, and the ring that it was recovering for.
    pub(super) state: State,
    pub(super) recovering: Option<RingId>,
    /// The ring whose safe line was looked at last, and where that was.
    pub(super) stable: (RingId, u64),
    pub(super) leaving: bool,
    /// Messages submitted on each lane.
    submitted: [u32; 2],
}

impl Process {
    pub(super) fn new(id: ProcessId, totem: Totem, groups: Groups) -> Process {
        Process {
            id,
            state: totem.state(),
            recovering: None,
            stable: (totem.view().ring, 0),
            totem,
            groups,
            clients: Vec::new(),
            awaited: Vec::new(),
            sessions: 0,
            exchanged: false,
            came_along: 0,
            leaving: false,
            submitted: [0; 2],
        }
    }

    /// Puts the identity of the next message of a lane in front of it.
    pub(super) fn address(&mut self, lane: Lane, body: &[u8]) -> (MessageId, Bytes) {
        let sequence = self.submitted[lane as usize];
        self.submitted[lane as usize] += 1;
        let message = MessageId {
            process: self.id,
            lane,
            sequence,
        };
        (message, [&message.encode()[..], body].concat().into())
    }
}

// Bound: what the token's socket buffers.
const TOKEN_BUFFER_BYTES: usize = 256 << 10;
/// What a datagram costs in a kernel's buffer beside its bytes.
const BUFFER_OVERHEAD_BYTES: usize = 256;

pub(super) struct Machine {
    pub(super) id: MemberId,
    pub(super) clock: Clock,
    pub(super) process: Option<Process>,
    /// Greater in each life.
    pub(super) incarnation: u64,
    /// Ring counter on the disk.
    pub(super) disk: u64,
    pub(super) disk_lost: bool,
    /// The kernel answers for a dead process.
    pub(super) refuses: bool,
    /// The process does nothing before this.
    pub(super) busy_until: Time,
    pub(super) slowness: u32,
    /// The hosts as the configuration of its process lists them.
    pub(super) order: Vec<Host>,
    /// A host that is not in its configuration file.
    pub(super) without: Option<Host>,
    /// Kill the process when it next waits for its disk, or is in a recovery.
    pub(super) kill_in: Option<Fault>,
    /// The instant of the wake-up that counts; others are stale.
    pub(super) wake_at: Option<Time>,
    /// The next action of the clients is scheduled.
    pub(super) clients_wake: bool,
    /// The instant of the timer that counts; others are stale.
    pub(super) timer_at: Option<Time>,
    /// A timer is due and waits for the packets that were there first.
    pub(super) timer_due: bool,
    pub(super) packets_since_timer: u32,
    data: VecDeque<Packet>,
    data_bytes: usize,
    data_bytes_max: usize,
    token: VecDeque<Packet>,
    token_bytes: usize,
}

impl Machine {
    pub(super) fn new(id: MemberId, clock: Clock, data_bytes_max: usize) -> Machine {
        Machine {
            id,
            clock,
            process: None,
            incarnation: 0,
            disk: 0,
            disk_lost: false,
            refuses: false,
            busy_until: Time(0),
            slowness: 1,
            order: Vec::new(),
            without: None,
            kill_in: None,
            wake_at: None,
            clients_wake: false,
            timer_at: None,
            timer_due: false,
            packets_since_timer: 0,
            data: VecDeque::new(),
            data_bytes: 0,
            data_bytes_max,
            token: VecDeque::new(),
            token_bytes: 0,
        }
    }

    pub(super) fn is(&self, process: ProcessId) -> bool {
        self.process
            .as_ref()
            .is_some_and(|living| living.id == process)
    }

    /// Puts a datagram into a receive buffer; false if it is full.
    pub(super) fn receive(&mut self, packet: Packet) -> bool {
        let cost = packet.bytes.len() + BUFFER_OVERHEAD_BYTES;
        let (buffer, bytes, bytes_max) = match packet.class {
            Class::Data => (&mut self.data, &mut self.data_bytes, self.data_bytes_max),
            Class::Token | Class::Control => {
                (&mut self.token, &mut self.token_bytes, TOKEN_BUFFER_BYTES)
            }
        };
        if *bytes + cost > bytes_max {
            return false;
        }
        *bytes += cost;
        buffer.push_back(packet);
        true
    }

    /// The next datagram: from the socket that the ring wants to be read first, if it has one.
    pub(super) fn read(&mut self) -> Option<Packet> {
        let wants = self.process.as_ref()?.totem.wants();
        let data_first = wants == Class::Data;
        let packet = if (data_first && !self.data.is_empty()) || self.token.is_empty() {
            self.data.pop_front()
        } else {
            self.token.pop_front()
        }?;
        let cost = packet.bytes.len() + BUFFER_OVERHEAD_BYTES;
        if packet.class == Class::Data {
            self.data_bytes -= cost;
        } else {
            self.token_bytes -= cost;
        }
        Some(packet)
    }

    pub(super) fn has_packets(&self) -> bool {
        !self.data.is_empty() || !self.token.is_empty()
    }

    /// The process is gone, and its sockets with it.
    pub(super) fn close_sockets(&mut self) {
        self.data.clear();
        self.token.clear();
        (self.data_bytes, self.token_bytes) = (0, 0);
        self.timer_at = None;
        self.timer_due = false;
        self.clients_wake = false;
        self.kill_in = None;
        self.slowness = 1;
    }
}

pub(super) fn member_id(host: Host) -> MemberId {
    MemberId(u32::from(Ipv4Addr::new(10, 0, 0, host as u8 + 1)))
}

pub(super) fn host_of(member: MemberId) -> Host {
    (member.0 & 0xff) as usize - 1
}

pub(super) fn address(host: Host, class: Class) -> SocketAddr {
    let port = if class == Class::Data { 4803 } else { 4804 };
    SocketAddr::from((Ipv4Addr::from(member_id(host).0), port))
}

/// The configuration of these hosts, in this order, but for one; `segments` has the segment of each.
pub(super) fn members(
    order: &[Host],
    segments: &[u16],
    without: Option<Host>,
) -> Vec<MemberConfig> {
    let hosts = order.iter().copied();
    hosts
        .filter(|host| Some(*host) != without)
        .map(|host| MemberConfig {
            id: member_id(host),
            segment: segments[host],
            name: daemon_name(host),
            segment_address: SocketAddrV4::new([10, 0, segments[host] as u8, 255].into(), 4803),
            address: Ipv4Addr::from(member_id(host).0),
        })
        .collect()
}

/// What the daemon of a host is called.
pub(super) fn daemon_name(host: Host) -> String {
    format!("d{host}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn clocks_run_both_ways() {
        for ppm in [-500, 0, 17, 500] {
            let clock = Clock {
                offset: 1 << 40,
                ppm,
            };
            for at in [0, 1, 999_999_999, 86_400_000_000_000] {
                let shown = clock.local(Time(at));
                let back = clock.global(shown);
                assert!(clock.local(back) >= shown, "{ppm} {at}");
                assert!(back.0 <= at + 3, "{ppm} {at} {back:?}");
            }
        }
    }

    #[test]
    fn a_full_buffer_refuses_and_is_full_by_bytes() {
        let mut machine = Machine::new(MemberId(1), Clock { offset: 0, ppm: 0 }, 3000);
        let packet = Packet {
            from: 1,
            to: 0,
            class: Class::Data,
            unicast: false,
            bytes: Bytes::from_static(&[0; 1200]),
        };
        assert!(machine.receive(packet.clone()));
        assert!(machine.receive(packet.clone()));
        assert!(!machine.receive(packet.clone()));
        assert!(machine.receive(Packet {
            class: Class::Token,
            ..packet
        }));
        machine.close_sockets();
        assert!(!machine.has_packets());
    }
}
