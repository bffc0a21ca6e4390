//! The system calls of a ring's socket that need the kernel's own structures. The only file of
//! groupd with `unsafe`.

use std::io::{self, IoSliceMut};
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::RawFd;

use libc::{c_int, c_void, iovec, mmsghdr, msghdr, sockaddr_in, socklen_t};

use super::{BATCH, Burst, SOCKET_BUFFER_BYTES};

/// Ancillary data, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// What recvmmsg said about one buffer.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) from: SocketAddrV4,
    pub(super) length: usize,
    /// Length of each datagram in the buffer, if the kernel joined several.
    pub(super) segment: Option<usize>,
    /// Datagrams dropped since the socket was opened, modulo 2^32.
    pub(super) drops: Option<u32>,
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

/// Sets a socket option that is a number.
pub(super) fn set_option(fd: RawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
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
pub(super) fn enlarge(fd: RawFd, force: c_int, ordinary: c_int) -> io::Result<()> {
    let bytes = SOCKET_BUFFER_BYTES as c_int;
    set_option(fd, libc::SOL_SOCKET, force, bytes)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, ordinary, bytes))
}

/// Sends the first so many of the bursts; at most `BATCH` are given.
pub(super) fn sendmmsg(fd: RawFd, bursts: &[Burst<'_>]) -> io::Result<usize> {
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
pub(super) fn recvmmsg(
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
pub(super) fn recv_error(fd: RawFd) -> io::Result<Option<SocketAddrV4>> {
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
