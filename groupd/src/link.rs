//! One UDP socket of the ring: bursts in one call (UDP_SEGMENT), coalesced reception (UDP_GRO),
//! sendmmsg and recvmmsg, drop counts (SO_RXQ_OVFL), refusals (IP_RECVERR).
//!
//! What is sent to whom is decided in `ports.rs`. A kernel or device that cannot do GSO is noticed
//! at the first failure, the burst is sent again one datagram at a time, and so is all that follows.

// The only file with unsafe code: bursts of datagrams need the kernel's own structures.
#[allow(unsafe_code)]
mod calls;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Type};

use calls::{Arrival, enlarge, recv_error, recvmmsg, sendmmsg, set_option};

/// Datagrams in one UDP_SEGMENT call; the kernel's limit until 6.9.
const SEGMENTS_MAX: usize = 64;
/// Bytes in one UDP_SEGMENT call: the largest UDP payload over IPv4.
const BURST_BYTES_MAX: usize = 65_507;
/// Messages in one sendmmsg or recvmmsg call.
const BATCH: usize = 16;
/// Room for one received, possibly coalesced, buffer.
const BUFFER_BYTES: usize = 65_536;
/// What is asked for as socket buffers.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Times that a batch is tried again, as reports about earlier datagrams came in its way.
const REPORTS_PER_BATCH: usize = 64;

/// What a socket counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Datagrams handed to the kernel.
    pub(crate) sent: u64,
    /// System calls that sent them.
    pub(crate) send_calls: u64,
    /// Datagrams not sent as the socket's send buffer was full; the ring repeats them.
    pub(crate) send_full: u64,
    /// Datagrams that the kernel would not send for another reason.
    pub(crate) send_failed: u64,
    /// Datagrams received.
    pub(crate) received: u64,
    /// System calls that received them.
    pub(crate) receive_calls: u64,
    /// Datagrams that the kernel dropped, as the receive buffer was full.
    pub(crate) receive_dropped: u64,
}

/// A non-blocking IPv4 UDP socket that moves bursts.
pub(crate) struct Socket {
    inner: socket2::Socket,
    local: SocketAddrV4,
    /// Largest datagram for which UDP_SEGMENT is used; 0 where it does not work.
    segment_bytes_max: usize,
    drops_seen: u32,
    counters: Counters,
    last_error: Option<(SocketAddrV4, io::Error)>,
    refused: Vec<SocketAddrV4>,
}

/// Buffers of one recvmmsg call; all sockets of a daemon share one.
pub(crate) struct Inbox {
    buffers: Vec<Vec<u8>>,
}

/// Datagrams of equal length, the last one possibly shorter, for one destination.
#[derive(Clone, Copy)]
struct Burst<'a> {
    to: SocketAddrV4,
    bytes: &'a [u8],
    segment: usize,
}

impl Burst<'_> {
    fn datagrams(&self) -> u64 {
        self.bytes.len().div_ceil(self.segment) as u64
    }
}

impl Inbox {
    /// Allocates the buffers of one batch.
    pub(crate) fn new() -> Inbox {
        Inbox {
            buffers: vec![vec![0; BUFFER_BYTES]; BATCH],
        }
    }
}

impl Socket {
    /// Opens a socket bound to `local`; port 0 lets the kernel choose. `shared` lets other daemons
    /// of this host bind the same address, as they must to hear one multicast.
    pub(crate) fn bind(local: SocketAddrV4, shared: bool, offload: bool) -> io::Result<Socket> {
        let inner = socket2::Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        inner.set_nonblocking(true)?;
        inner.set_reuse_address(shared)?;
        inner.bind(&local.into())?;
        let fd = inner.as_raw_fd();
        enlarge(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)?;
        enlarge(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)?;
        set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        // Both options came with Linux 4.18 and 5.0: an older kernel refuses, and is served plainly.
        let offload = offload
            && set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
            && set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        let local = inner.local_addr()?.as_socket_ipv4().unwrap_or(local);
        Ok(Socket {
            inner,
            local,
            segment_bytes_max: if offload { BURST_BYTES_MAX } else { 0 },
            drops_seen: 0,
            counters: Counters::default(),
            last_error: None,
            refused: Vec::new(),
        })
    }

    /// Lets this socket send to the multicast group of a segment, out of the interface that has
    /// `interface`; `loopback` if other daemons of this host must hear it too.
    pub(crate) fn multicast_out(&self, interface: Ipv4Addr, loopback: bool) -> io::Result<()> {
        self.inner.set_multicast_if_v4(&interface)?;
        self.inner.set_multicast_ttl_v4(1)?;
        self.inner.set_multicast_loop_v4(loopback)
    }

    /// Lets this socket hear a multicast group on the interface that has `interface`.
    pub(crate) fn multicast_in(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        // Otherwise memberships of other sockets would widen what this one hears.
        set_option(
            self.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MULTICAST_ALL,
            0,
        )?;
        self.inner.join_multicast_v4(&group, &interface)
    }

    /// Lets this socket send to broadcast addresses.
    pub(crate) fn broadcast_out(&self) -> io::Result<()> {
        self.inner.set_broadcast(true)
    }

    /// The address that it is bound to.
    pub(crate) fn local(&self) -> SocketAddrV4 {
        self.local
    }

    /// Payload bytes that the receive buffer is good for: half of what the kernel set aside, as it
    /// counts its own overhead too.
    pub(crate) fn receive_buffer_bytes(&self) -> usize {
        self.inner.recv_buffer_size().unwrap_or(0) / 2
    }

    /// Whether bursts leave in one call.
    pub(crate) fn offloads(&self) -> bool {
        self.segment_bytes_max > 0
    }

    /// What was counted so far.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// The last failure to send, and where to, once.
    pub(crate) fn take_error(&mut self) -> Option<(SocketAddrV4, io::Error)> {
        self.last_error.take()
    }

    /// Destinations whose host said that nobody listens there, each once per call.
    pub(crate) fn take_refused(&mut self) -> impl Iterator<Item = SocketAddrV4> + '_ {
        self.refused.drain(..)
    }

    /// Sends the datagrams in `bytes`, each of `segment` bytes (the last one may be shorter), to
    /// every destination. What the kernel cannot take is counted and forgotten.
    pub(crate) fn send(&mut self, to: &[SocketAddrV4], bytes: &[u8], segment: usize) {
        if bytes.is_empty() || segment == 0 {
            return;
        }
        let mut bursts = [Burst {
            to: self.local,
            bytes: &[],
            segment: 1,
        }; BATCH];
        let mut filled = 0;
        for chunk in bytes.chunks(self.burst_bytes(segment)) {
            for &to in to {
                bursts[filled] = Burst {
                    to,
                    bytes: chunk,
                    segment,
                };
                filled += 1;
                if filled == BATCH {
                    self.send_batch(&bursts);
                    filled = 0;
                }
            }
        }
        self.send_batch(&bursts[..filled]);
    }

    /// Bytes that one message of a batch may hold.
    fn burst_bytes(&self, segment: usize) -> usize {
        if segment > self.segment_bytes_max {
            return segment;
        }
        segment * (BURST_BYTES_MAX / segment).clamp(1, SEGMENTS_MAX)
    }

    fn send_batch(&mut self, bursts: &[Burst<'_>]) {
        let mut done = 0;
        // Bound: each turn finishes a burst, or takes a report, of which there may be only so many.
        let mut reports = 0;
        while done < bursts.len() {
            match sendmmsg(self.as_raw_fd(), &bursts[done..]) {
                Ok(count) => {
                    self.counters.send_calls += 1;
                    self.counters.sent += datagrams(&bursts[done..done + count]);
                    done += count;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::ENOBUFS) => {
                        self.counters.send_full += datagrams(&bursts[done..]);
                        return;
                    }
                    Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE)
                        if bursts[done].datagrams() > 1 && self.segment_bytes_max > 0 =>
                    {
                        self.retire_offload(&error, bursts[done].segment);
                        self.send(&[bursts[done].to], bursts[done].bytes, bursts[done].segment);
                        done += 1;
                    }
                    // A report about an earlier datagram, in place of sending this one.
                    _ if reports < REPORTS_PER_BATCH && self.read_error_queue() => reports += 1,
                    _ => {
                        self.counters.send_failed += bursts[done].datagrams();
                        self.last_error = Some((bursts[done].to, error));
                        done += 1;
                    }
                },
            }
        }
    }

    /// A device without checksum offload says EIO to any burst; a route whose MTU is smaller than
    /// the datagram says EINVAL to bursts of datagrams of that length.
    fn retire_offload(&mut self, error: &io::Error, segment: usize) {
        self.segment_bytes_max = match error.raw_os_error() {
            Some(libc::EIO) => 0,
            _ => self.segment_bytes_max.min(segment - 1),
        };
    }

    /// Receives at most `buffers_max` buffers, of at least one datagram each, in one call, and hands
    /// over each datagram with its source. Says whether there may be more.
    pub(crate) fn receive(
        &mut self,
        inbox: &mut Inbox,
        buffers_max: usize,
        mut handle: impl FnMut(SocketAddrV4, &[u8]),
    ) -> bool {
        let wanted = buffers_max.min(inbox.buffers.len());
        let mut arrivals = [Arrival::default(); BATCH];
        let count = loop {
            match recvmmsg(
                self.as_raw_fd(),
                &mut inbox.buffers[..wanted],
                &mut arrivals,
            ) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error for something sent earlier; what was received is still there.
                Err(_) => {
                    self.read_error_queue();
                    return true;
                }
            }
        };
        self.counters.receive_calls += 1;
        for (arrival, buffer) in arrivals[..count].iter().zip(&inbox.buffers) {
            if let Some(total) = arrival.drops {
                self.counters.receive_dropped += u64::from(total.wrapping_sub(self.drops_seen));
                self.drops_seen = total;
            }
            let bytes = &buffer[..arrival.length];
            if bytes.is_empty() {
                continue;
            }
            for datagram in bytes.chunks(arrival.segment.unwrap_or(bytes.len())) {
                self.counters.received += 1;
                handle(arrival.from, datagram);
            }
        }
        count == wanted
    }

    /// Takes the reports of ICMP errors from the socket's error queue; refusals are then had from
    /// [`take_refused`](Self::take_refused). Says whether there was any report.
    pub(crate) fn read_error_queue(&mut self) -> bool {
        let mut any = false;
        // Bound: one turn per report, and the kernel's queue is charged to the receive buffer.
        while let Ok(report) = recv_error(self.as_raw_fd()) {
            any = true;
            if let Some(to) = report
                && !self.refused.contains(&to)
            {
                self.refused.push(to);
            }
        }
        // Clears what the last report may have left as the socket's pending error.
        drop(self.inner.take_error());
        any
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

fn datagrams(bursts: &[Burst<'_>]) -> u64 {
    bursts.iter().map(Burst::datagrams).sum()
}
