//! The ring's sockets of one daemon: who is where, what a segment's own address is good for, and
//! which socket a packet leaves from.
//!
//! With P the port of the segment: ordered messages arrive at the daemon's address, port P, and at
//! the segment's multicast or broadcast address, port P; the token and membership at port P+1,
//! where the token never waits behind a burst. Each socket sends from its own address, so that a
//! packet's source says who sent it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::Context;
use totem::event::{Class, Destination, Transmit};
use totem::view::MemberId;

use crate::link::{Counters, Inbox, Socket};

/// What a segment's address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    /// Nothing: each member is sent its own copy. On the loopback, and where a segment has one
    /// daemon.
    Unicast,
    /// All of the segment that have joined the multicast group.
    Multicast(Ipv4Addr),
    /// All of the segment.
    Broadcast(Ipv4Addr),
}

/// Where the ring's members are, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// This daemon's address and the port of its segment.
    pub(crate) local: SocketAddrV4,
    /// What the address of this daemon's segment reaches.
    pub(crate) cast: Cast,
    /// Every daemon, this one too, with its address and the port of its segment.
    pub(crate) peers: HashMap<MemberId, SocketAddrV4>,
    /// The other daemons of this daemon's segment.
    pub(crate) neighbours: Vec<Ipv4Addr>,
    /// Whether bursts may leave and arrive in one system call.
    pub(crate) offload: bool,
}

/// One of the sockets, to watch for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Ordered messages to this daemon.
    Data,
    /// Ordered messages to the segment.
    Segment,
    /// The token and membership.
    Token,
}

/// The sockets.
pub(crate) struct Ports {
    layout: Layout,
    data: Socket,
    segment: Option<Socket>,
    token: Socket,
    inbox: Inbox,
    members: HashMap<SocketAddrV4, MemberId>,
    /// Scratch of [`send`](Self::send).
    targets: Vec<SocketAddrV4>,
}

impl Ports {
    /// Opens the sockets.
    pub(crate) fn open(layout: Layout) -> anyhow::Result<Ports> {
        let token_address = token_address(layout.local);
        let bind = |address: SocketAddrV4| {
            Socket::bind(address, false, layout.offload).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => anyhow::anyhow!(
                    "udp {address} is taken: is another groupd or spread running under this address?"
                ),
                io::ErrorKind::AddrNotAvailable => anyhow::anyhow!(
                    "udp {address}: this host has no such address: -n NAME says which daemon of \
                     the configuration it is"
                ),
                _ => anyhow::Error::new(error).context(format!("udp {address}")),
            })
        };
        let data = bind(layout.local)?;
        let token = bind(token_address)?;
        let segment = open_segment(&layout, &data)?;
        let members = addresses(&layout);
        let inbox = Inbox::new();
        Ok(Ports {
            layout,
            data,
            segment,
            token,
            inbox,
            members,
            targets: Vec::new(),
        })
    }

    /// Takes over a new list of daemons; this daemon's own address and port must be the same.
    pub(crate) fn reconfigure(&mut self, layout: Layout) -> anyhow::Result<()> {
        assert_eq!(
            self.layout.local, layout.local,
            "the caller has refused other changes"
        );
        if (layout.cast, several_here(&layout)) != (self.layout.cast, several_here(&self.layout)) {
            // The old one goes first: it holds the address.
            self.segment = None;
            self.segment = open_segment(&layout, &self.data)?;
        }
        self.members = addresses(&layout);
        self.layout = layout;
        Ok(())
    }

    /// The descriptors to watch.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = (Port, RawFd)> + '_ {
        [
            (Port::Data, Some(&self.data)),
            (Port::Segment, self.segment.as_ref()),
        ]
        .into_iter()
        .chain([(Port::Token, Some(&self.token))])
        .filter_map(|(port, socket)| Some((port, socket?.as_raw_fd())))
    }

    /// Sends a batch of datagrams where the ring wants them. What the kernel cannot take is counted
    /// and dropped: the ring repeats it.
    pub(crate) fn send(&mut self, transmit: &Transmit, bytes: &[u8]) {
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        match &transmit.destination {
            Destination::Member(member) => {
                self.add_members(&mut targets, transmit.class, std::slice::from_ref(member));
            }
            Destination::Segment(members) => {
                self.add_segment(&mut targets, transmit.class, members);
            }
            Destination::Set(members, representatives) => {
                self.add_segment(&mut targets, transmit.class, members);
                self.add_members(&mut targets, transmit.class, representatives);
            }
        }
        let socket = match transmit.class {
            Class::Data => &mut self.data,
            Class::Token | Class::Control => &mut self.token,
        };
        socket.send(&targets, bytes, transmit.segment_size);
        self.targets = targets;
    }

    fn add_segment(&self, targets: &mut Vec<SocketAddrV4>, class: Class, members: &[MemberId]) {
        match self.layout.cast {
            _ if members.is_empty() => {}
            Cast::Multicast(group) | Cast::Broadcast(group) if class == Class::Data => {
                targets.push(SocketAddrV4::new(group, self.layout.local.port()));
            }
            _ => self.add_members(targets, class, members),
        }
    }

    fn add_members(&self, targets: &mut Vec<SocketAddrV4>, class: Class, members: &[MemberId]) {
        let addresses = members
            .iter()
            .filter_map(|member| self.layout.peers.get(member).copied());
        match class {
            Class::Data => targets.extend(addresses),
            Class::Token | Class::Control => targets.extend(addresses.map(token_address)),
        }
    }

    /// Receives ordered messages, one batch of each socket for them, and says whether there may be
    /// more.
    pub(crate) fn receive_data(&mut self, mut handle: impl FnMut(SocketAddrV4, &[u8])) -> bool {
        let mut more = self.data.receive(&mut self.inbox, usize::MAX, &mut handle);
        if let Some(segment) = &mut self.segment {
            let own = self.data.local();
            more |= segment.receive(&mut self.inbox, usize::MAX, |from, datagram| {
                // What this daemon sent comes back where the host has several, and on broadcasts.
                if from != own {
                    handle(from, datagram);
                }
            });
        }
        more
    }

    /// Receives one token or membership packet, and says whether there may be more.
    pub(crate) fn receive_token(&mut self, handle: impl FnMut(SocketAddrV4, &[u8])) -> bool {
        self.token.receive(&mut self.inbox, 1, handle)
    }

    /// Reads the reports of failed datagrams: to be called when a socket has an error.
    pub(crate) fn read_errors(&mut self) {
        self.data.read_error_queue();
        self.token.read_error_queue();
    }

    /// Members whose host said that no groupd is there.
    pub(crate) fn take_refused(&mut self) -> impl Iterator<Item = MemberId> + '_ {
        let members = &self.members;
        self.data
            .take_refused()
            .chain(self.token.take_refused())
            .filter_map(|address| members.get(&address).copied())
    }

    /// The last failure to send, and where to, once.
    pub(crate) fn take_error(&mut self) -> Option<(SocketAddrV4, io::Error)> {
        self.data.take_error().or_else(|| self.token.take_error())
    }

    /// What the smallest receive buffer holds, in bytes.
    pub(crate) fn receive_buffer_bytes(&self) -> usize {
        let segment = self
            .segment
            .as_ref()
            .map_or(usize::MAX, Socket::receive_buffer_bytes);
        self.data.receive_buffer_bytes().min(segment)
    }

    /// Whether bursts leave in one system call.
    pub(crate) fn offloads(&self) -> bool {
        self.data.offloads()
    }

    /// The counters of all sockets together.
    pub(crate) fn counters(&self) -> Counters {
        let segment = self
            .segment
            .as_ref()
            .map(Socket::counters)
            .unwrap_or_default();
        [self.token.counters(), segment]
            .into_iter()
            .fold(self.data.counters(), |sum, more| Counters {
                sent: sum.sent + more.sent,
                send_calls: sum.send_calls + more.send_calls,
                send_full: sum.send_full + more.send_full,
                send_failed: sum.send_failed + more.send_failed,
                received: sum.received + more.received,
                receive_calls: sum.receive_calls + more.receive_calls,
                receive_dropped: sum.receive_dropped + more.receive_dropped,
            })
    }
}

/// Whether this host has an address: it can be bound to.
pub(crate) fn is_local(address: Ipv4Addr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn token_address(data: SocketAddrV4) -> SocketAddrV4 {
    // Config refuses port 65535.
    SocketAddrV4::new(*data.ip(), data.port() + 1)
}

/// Whether another daemon of the segment is on this host, and so has to hear this one's multicast.
fn several_here(layout: &Layout) -> bool {
    layout.neighbours.iter().any(|&address| is_local(address))
}

fn addresses(layout: &Layout) -> HashMap<SocketAddrV4, MemberId> {
    layout
        .peers
        .iter()
        .flat_map(|(&member, &data)| [(data, member), (token_address(data), member)])
        .collect()
}

/// Opens the socket that hears the segment's address, and lets `data` send to it.
fn open_segment(layout: &Layout, data: &Socket) -> anyhow::Result<Option<Socket>> {
    let interface = *layout.local.ip();
    let bind = |address: Ipv4Addr| {
        Socket::bind(
            SocketAddrV4::new(address, layout.local.port()),
            true,
            layout.offload,
        )
    };
    let socket = match layout.cast {
        Cast::Unicast => return Ok(None),
        Cast::Multicast(group) => {
            data.multicast_out(interface, several_here(layout))
                .with_context(|| format!("cannot multicast from {interface}"))?;
            let socket = bind(group).with_context(|| format!("udp {group}"))?;
            socket
                .multicast_in(group, interface)
                .with_context(|| format!("cannot join {group} on the interface of {interface}"))?;
            socket
        }
        Cast::Broadcast(address) => {
            data.broadcast_out()
                .with_context(|| format!("cannot broadcast from {interface}"))?;
            bind(address).with_context(|| {
                format!("{address} is not the broadcast address of an interface of this host")
            })?
        }
    };
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;

    /// Ports of the members at `addresses`, which are one segment.
    fn open(addresses: &[Ipv4Addr], port: u16, cast: Cast) -> Vec<Ports> {
        let peers: HashMap<MemberId, SocketAddrV4> = addresses
            .iter()
            .map(|&address| (MemberId(address.into()), SocketAddrV4::new(address, port)))
            .collect();
        addresses
            .iter()
            .map(|&address| {
                let neighbours = addresses.iter().copied().filter(|&other| other != address);
                Ports::open(Layout {
                    local: SocketAddrV4::new(address, port),
                    cast,
                    peers: peers.clone(),
                    neighbours: neighbours.collect(),
                    offload: true,
                })
                .unwrap()
            })
            .collect()
    }

    fn to_segment(addresses: &[Ipv4Addr], class: Class) -> Transmit {
        let members: Arc<[MemberId]> = addresses
            .iter()
            .map(|&address| MemberId(address.into()))
            .collect();
        Transmit {
            destination: Destination::Segment(members),
            class,
            segment_size: 1000,
        }
    }

    fn receive_bytes(ports: &mut Ports, class: Class, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        while bytes.len() < length {
            assert!(
                Instant::now() < deadline,
                "{} of {length} bytes",
                bytes.len()
            );
            let mut take = |_: SocketAddrV4, datagram: &[u8]| bytes.extend_from_slice(datagram);
            match class {
                Class::Data => ports.receive_data(&mut take),
                Class::Token | Class::Control => ports.receive_token(&mut take),
            };
        }
        bytes
    }

    /// A port P such that P and P+1 are free at all the addresses, as far as one can know.
    fn free_port(addresses: &[Ipv4Addr]) -> u16 {
        (0..100)
            .find_map(|_| {
                let port = UdpSocket::bind((addresses[0], 0))
                    .ok()?
                    .local_addr()
                    .ok()?
                    .port();
                let next = port.checked_add(1)?;
                let free = |&address: &Ipv4Addr| {
                    [port, next]
                        .iter()
                        .all(|&port| UdpSocket::bind((address, port)).is_ok())
                };
                addresses.iter().all(free).then_some(port)
            })
            .expect("a free port")
    }

    fn segment_hears(cast: Cast, addresses: &[Ipv4Addr]) {
        let mut ports = open(addresses, free_port(addresses), cast);
        let burst: Vec<u8> = (0..50_500_u32).map(|i| (i / 1000) as u8).collect();
        let sent = |class| match (class, cast) {
            (Class::Data, Cast::Multicast(_) | Cast::Broadcast(_)) => 51,
            _ => 51 * (addresses.len() as u64 - 1),
        };
        for class in [Class::Data, Class::Token] {
            let before = ports[0].counters().sent;
            ports[0].send(&to_segment(&addresses[1..], class), &burst);
            assert_eq!(ports[0].counters().sent - before, sent(class));
            for hearer in &mut ports[1..] {
                assert_eq!(receive_bytes(hearer, class, burst.len()), burst);
            }
        }
        assert!(!ports[0].receive_data(|_, _| panic!("heard itself")));
    }

    #[test]
    fn loopback_segment_hears_copies() {
        segment_hears(
            Cast::Unicast,
            &[1, 2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last)),
        );
    }

    /// Runs the next test in a network namespace of its own.
    #[test]
    fn multicast_and_broadcast() {
        let inside = format!("{}::multicast_and_broadcast_inside", module_path!());
        let name = inside.split_once("::").map_or("", |(_, name)| name);
        let script = "ip link add lan0 type veth peer name lan1 && \
                      ip link set lan0 up && ip link set lan1 up && ip link set lo up && \
                      ip address add 10.9.0.1/24 broadcast + dev lan0 && \
                      ip address add 10.9.0.2/24 broadcast + dev lan0 && \
                      ip address add 10.9.0.3/24 broadcast + dev lan0 || exit 77; exec \"$@\"";
        let result = Command::new("unshare")
            .args(["-Urn", "sh", "-c", script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", name])
            .output();
        match result {
            Ok(output) if output.status.success() => {
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(text.contains("1 passed"), "{text}");
            }
            Ok(output) if output.status.code() == Some(101) => {
                panic!("{}", String::from_utf8_lossy(&output.stdout));
            }
            _ => skip("multicast needs `unshare -Urn` and `ip link add type veth`"),
        }
    }

    /// Leaves a note for the end of `make test`.
    fn skip(why: &str) {
        eprintln!("skipped: {why}");
        let notes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/skipped");
        if notes.is_dir() {
            std::fs::write(notes.join("multicast_and_broadcast"), why).expect("a note");
        }
    }

    #[test]
    #[ignore = "run by multicast_and_broadcast, in a namespace"]
    fn multicast_and_broadcast_inside() {
        let addresses = [1, 2, 3].map(|last| Ipv4Addr::new(10, 9, 0, last));
        segment_hears(Cast::Multicast(Ipv4Addr::new(225, 0, 1, 1)), &addresses);
        segment_hears(Cast::Broadcast(Ipv4Addr::new(10, 9, 0, 255)), &addresses);
    }
}
