//! One UDP socket of the ring, and everything about it that needs the kernel's own structures:
//! bursts in one call (UDP_SEGMENT), coalesced reception (UDP_GRO), sendmmsg and recvmmsg, drop
//! counts (SO_RXQ_OVFL), refusals (IP_RECVERR). The only file of groupd with `unsafe`.
//!
//! What is sent to whom is decided in `ports.rs`. A kernel or device that cannot do GSO is noticed
//! at the first failure, the burst is sent again one datagram at a time, and so is all that follows.

use std::io::{self, IoSliceMut};
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};

use libc::{c_int, c_void, iovec, mmsghdr, msghdr, sockaddr_in, socklen_t};
use socket2::{Domain, Protocol, Type};

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
    last_error: Option<io::Error>,
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

/// Ancillary data, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

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

    /// The last failure to send, once.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
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
                        self.last_error = Some(error);
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

/// What recvmmsg said about one buffer.
#[derive(Clone, Copy)]
struct Arrival {
    from: SocketAddrV4,
    length: usize,
    /// Length of each datagram in the buffer, if the kernel joined several.
    segment: Option<usize>,
    /// Datagrams dropped since the socket was opened, modulo 2^32.
    drops: Option<u32>,
}

impl Default for Arrival {
    fn default() -> Arrival {
        let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Arrival {
            from,
            length: 0,
            segment: None,
            drops: None,
        }
    }
}

fn sockaddr(address: SocketAddrV4) -> sockaddr_in {
    sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn address(raw: &sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(
        u32::from_be(raw.sin_addr.s_addr).into(),
        u16::from_be(raw.sin_port),
    )
}

/// Raises the number of descriptors that this process may have open, as far as the system allows
/// and at most to `wanted`; says how many it may have now. Here because nothing else of groupd
/// speaks to the kernel without the standard library.
pub(crate) fn raise_descriptor_limit(wanted: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: fills the struct that it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        // Cannot happen; what every system allows.
        return 1024;
    }
    let raised = libc::rlimit {
        rlim_cur: wanted.clamp(limit.rlim_cur, limit.rlim_max),
        ..limit
    };
    // SAFETY: reads the struct that it is given.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } {
        0 => raised.rlim_cur,
        _ => limit.rlim_cur,
    }
}

fn set_option(fd: RawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer is to a c_int that lives through the call, and the length is its size.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Beyond the system's limit only a privileged process gets a buffer; others get the limit.
fn enlarge(fd: RawFd, force: c_int, ordinary: c_int) -> io::Result<()> {
    let bytes = SOCKET_BUFFER_BYTES as c_int;
    set_option(fd, libc::SOL_SOCKET, force, bytes)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, ordinary, bytes))
}

/// Sends the first so many of the bursts; at most `BATCH` are given.
fn sendmmsg(fd: RawFd, bursts: &[Burst<'_>]) -> io::Result<usize> {
    let bursts = &bursts[..bursts.len().min(BATCH)];
    let mut names = [sockaddr(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); BATCH];
    let mut vectors = [iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    let mut controls = [Control([0; 64]); BATCH];
    // SAFETY: mmsghdr consists of integers and raw pointers, for which all zero bits are valid.
    let mut headers: [mmsghdr; BATCH] = unsafe { zeroed() };
    for (i, burst) in bursts.iter().enumerate() {
        names[i] = sockaddr(burst.to);
        // The kernel only reads through it: sendmmsg has no const form of iovec.
        vectors[i] = iovec {
            iov_base: burst.bytes.as_ptr().cast_mut().cast::<c_void>(),
            iov_len: burst.bytes.len(),
        };
        let header = &mut headers[i].msg_hdr;
        header.msg_name = (&raw mut names[i]).cast::<c_void>();
        header.msg_namelen = size_of::<sockaddr_in>() as socklen_t;
        header.msg_iov = &raw mut vectors[i];
        header.msg_iovlen = 1;
        if burst.bytes.len() > burst.segment {
            put_segment_size(header, &mut controls[i], burst.segment as u16);
        }
    }
    // SAFETY: the first `bursts.len()` headers point into `names`, `vectors`, `controls` and the
    // bursts' bytes, all of which outlive the call and are as long as the headers say.
    let sent = unsafe {
        libc::sendmmsg(
            fd,
            headers.as_mut_ptr(),
            bursts.len() as libc::c_uint,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(sent as usize)
    }
}

/// Attaches UDP_SEGMENT to a message.
fn put_segment_size(header: &mut msghdr, control: &mut Control, segment: u16) {
    header.msg_control = control.0.as_mut_ptr().cast::<c_void>();
    // SAFETY: CMSG_SPACE only computes; the buffer of 64 aligned bytes has room for one header and
    // a u16, so CMSG_FIRSTHDR is not null and its data area may be written.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as usize;
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as usize;
        libc::CMSG_DATA(message)
            .cast::<u16>()
            .write_unaligned(segment);
    }
}

/// Fills at most as many buffers as are given, and says what is in them.
fn recvmmsg(
    fd: RawFd,
    buffers: &mut [Vec<u8>],
    arrivals: &mut [Arrival; BATCH],
) -> io::Result<usize> {
    let wanted = buffers.len().min(BATCH);
    let mut names = [sockaddr(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); BATCH];
    let mut vectors = [iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    let mut controls = [Control([0; 64]); BATCH];
    // SAFETY: mmsghdr consists of integers and raw pointers, for which all zero bits are valid.
    let mut headers: [mmsghdr; BATCH] = unsafe { zeroed() };
    for (i, buffer) in buffers.iter_mut().take(wanted).enumerate() {
        vectors[i] = iovec {
            iov_base: buffer.as_mut_ptr().cast::<c_void>(),
            iov_len: buffer.len(),
        };
        let header = &mut headers[i].msg_hdr;
        header.msg_name = (&raw mut names[i]).cast::<c_void>();
        header.msg_namelen = size_of::<sockaddr_in>() as socklen_t;
        header.msg_iov = &raw mut vectors[i];
        header.msg_iovlen = 1;
        header.msg_control = controls[i].0.as_mut_ptr().cast::<c_void>();
        header.msg_controllen = size_of::<Control>();
    }
    // SAFETY: the first `wanted` headers point into `names`, `vectors`, `controls` and the buffers,
    // all of which outlive the call and are as long as the headers say.
    let received = unsafe {
        libc::recvmmsg(
            fd,
            headers.as_mut_ptr(),
            wanted as libc::c_uint,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    for i in 0..received as usize {
        arrivals[i] = Arrival {
            from: address(&names[i]),
            length: headers[i].msg_len as usize,
            segment: None,
            drops: None,
        };
        read_controls(&headers[i].msg_hdr, &mut arrivals[i]);
    }
    Ok(received as usize)
}

/// Reads the ancillary data of a received message.
fn read_controls(header: &msghdr, arrival: &mut Arrival) {
    // SAFETY: the kernel has filled the control buffer that `header` points to and set its length;
    // CMSG_FIRSTHDR and CMSG_NXTHDR stay within it, and each data area read here has the length
    // that the kernel writes for its type.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let segment = data.cast::<c_int>().read_unaligned();
                    arrival.segment = usize::try_from(segment).ok().filter(|&bytes| bytes > 0);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    arrival.drops = Some(data.cast::<u32>().read_unaligned());
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
}

/// Takes one report from the error queue: the destination, if its host refused the datagram.
fn recv_error(fd: RawFd) -> io::Result<Option<SocketAddrV4>> {
    let mut name = sockaddr(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut payload = [0; 64];
    let mut vector = IoSliceMut::new(&mut payload);
    let mut control = [Control([0; 64]); 2];
    // SAFETY: msghdr consists of integers and raw pointers, for which all zero bits are valid.
    let mut header: msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut name).cast::<c_void>();
    header.msg_namelen = size_of::<sockaddr_in>() as socklen_t;
    // IoSliceMut is documented to have the layout of iovec.
    header.msg_iov = (&raw mut vector).cast::<iovec>();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast::<c_void>();
    header.msg_controllen = size_of::<[Control; 2]>();
    // SAFETY: `header` points to `name`, `vector` and `control`, which outlive the call and are as
    // long as it says.
    let received =
        unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as in `read_controls`; the kernel writes a sock_extended_err as the data of IP_RECVERR.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            if ((*message).cmsg_level, (*message).cmsg_type) == (libc::SOL_IP, libc::IP_RECVERR) {
                let report = libc::CMSG_DATA(message)
                    .cast::<libc::sock_extended_err>()
                    .read_unaligned();
                let refused = report.ee_errno == libc::ECONNREFUSED as u32
                    && report.ee_origin == libc::SO_EE_ORIGIN_ICMP;
                return Ok(refused.then(|| address(&name)));
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn socket(last_octet: u8, offload: bool) -> Socket {
        let local = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last_octet), 0);
        Socket::bind(local, false, offload).unwrap()
    }

    /// Receives until so many datagrams are there.
    fn receive(socket: &mut Socket, count: usize) -> Vec<(SocketAddrV4, Vec<u8>)> {
        let mut inbox = Inbox::new();
        let mut datagrams = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        while datagrams.len() < count {
            assert!(
                Instant::now() < deadline,
                "{} of {count} datagrams",
                datagrams.len()
            );
            socket.receive(&mut inbox, BATCH, |from, bytes| {
                datagrams.push((from, bytes.to_vec()))
            });
        }
        assert!(!socket.receive(&mut inbox, BATCH, |_, _| panic!("more than was sent")));
        datagrams
    }

    /// `count` datagrams of `segment` bytes, the last one shorter, each marked with its number.
    fn burst(count: usize, segment: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..count)
            .flat_map(|i| vec![(i % 251) as u8; segment])
            .collect();
        bytes.truncate(bytes.len() - segment / 2);
        bytes
    }

    fn burst_arrives_in_order_and_equal(sender_offload: bool, receiver_offload: bool) {
        let mut sender = socket(1, sender_offload);
        let mut receivers = [socket(2, receiver_offload), socket(3, receiver_offload)];
        let bytes = burst(100, 1472);
        let to: Vec<SocketAddrV4> = receivers.iter().map(Socket::local).collect();
        sender.send(&to, &bytes, 1472);
        for receiver in &mut receivers {
            let datagrams = receive(receiver, 100);
            let expected: Vec<(SocketAddrV4, Vec<u8>)> = bytes
                .chunks(1472)
                .map(|chunk| (sender.local(), chunk.to_vec()))
                .collect();
            assert_eq!(datagrams, expected);
            assert_eq!(receiver.counters().received, 100);
        }
        assert_eq!(sender.counters().sent, 200);
        let calls = sender.counters().send_calls;
        if sender.offloads() {
            assert_eq!(
                calls, 1,
                "44 + 44 + 12 datagrams for two destinations fit one batch"
            );
        } else {
            assert_eq!(calls, 200_u64.div_ceil(BATCH as u64));
        }
    }

    #[test]
    fn burst_with_offload_at_both_ends() {
        burst_arrives_in_order_and_equal(true, true);
    }

    #[test]
    fn burst_with_offload_at_the_sender_only() {
        burst_arrives_in_order_and_equal(true, false);
    }

    #[test]
    fn burst_with_offload_at_the_receiver_only() {
        burst_arrives_in_order_and_equal(false, true);
    }

    #[test]
    fn burst_without_offload() {
        burst_arrives_in_order_and_equal(false, false);
    }

    #[test]
    fn failing_offload_is_retired_and_the_burst_still_arrives() {
        let mut sender = socket(1, true);
        let mut receiver = socket(2, true);
        if !sender.offloads() {
            eprintln!("skipped: this kernel has no UDP_SEGMENT");
            return;
        }
        sender.retire_offload(&io::Error::from_raw_os_error(libc::EINVAL), 1000);
        assert_eq!(sender.burst_bytes(999), 999 * SEGMENTS_MAX);
        assert_eq!(sender.burst_bytes(1000), 1000);
        sender.retire_offload(&io::Error::from_raw_os_error(libc::EIO), 500);
        assert!(!sender.offloads());
        let bytes = burst(20, 100);
        sender.send(&[receiver.local()], &bytes, 100);
        let datagrams = receive(&mut receiver, 20);
        assert_eq!(
            datagrams.iter().map(|(_, d)| d.len()).sum::<usize>(),
            bytes.len()
        );
    }

    #[test]
    fn datagrams_longer_than_the_route_allows_are_sent_without_offload() {
        // Two of them do not fit one UDP packet's length, and the loopback's MTU is 65536.
        let mut sender = socket(1, true);
        let mut receiver = socket(2, true);
        let bytes = burst(3, 60_000);
        sender.send(&[receiver.local()], &bytes, 60_000);
        let datagrams = receive(&mut receiver, 3);
        assert_eq!(datagrams[2].1.len(), 30_000);
        assert_eq!(datagrams[1].1, vec![1; 60_000]);
    }

    #[test]
    fn refusal_names_the_destination_and_loses_nothing() {
        let mut sender = socket(1, true);
        let mut receiver = socket(2, true);
        let closed = socket(3, true).local();
        sender.send(&[closed], b"anyone?", 7);
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut refused = Vec::new();
        while refused.is_empty() {
            assert!(Instant::now() < deadline, "no refusal seen");
            sender.read_error_queue();
            refused.extend(sender.take_refused());
        }
        assert_eq!(refused, [closed]);
        // With a report pending, what is sent next must not be lost in its place.
        sender.send(&[closed], b"anyone?", 7);
        sender.send(&[receiver.local()], b"hello", 5);
        assert_eq!(receive(&mut receiver, 1)[0].1, b"hello");
        assert_eq!(sender.counters().sent, 3);
        assert_eq!(sender.counters().send_failed, 0);
    }
}
