//! Ethernet frames, on all interfaces.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use unixproc::packet::{dropped_frames, send_frame};

const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;

/// Which frames a socket gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ARP.
    Arp,
    /// Neighbour advertisements of IPv6.
    Advertisement,
}

/// For [`Kind::Advertisement`]: of Ethernet frames, the ones with IPv6's next header ICMPv6 and its
/// type 136. All other traffic stays in the kernel.
const ADVERTISEMENTS: [SockFilter; 6] = [
    // Load the byte at 20, and end if it is not 58.
    SockFilter::new(0x30, 0, 0, 20),
    SockFilter::new(0x15, 0, 3, 58),
    // Load the byte at 54, and end if it is not 136.
    SockFilter::new(0x30, 0, 0, 54),
    SockFilter::new(0x15, 0, 1, 136),
    SockFilter::new(0x06, 0, 0, 2048),
    SockFilter::new(0x06, 0, 0, 0),
];

/// The receive buffer that is asked for, in bytes; the kernel may give less (net.core.rmem_max).
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;

/// Sends Ethernet frames of any kind and receives one kind, on all interfaces.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens the socket.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW.
    pub fn open(kind: Kind) -> io::Result<Wire> {
        let protocol = match kind {
            Kind::Arp => ETH_P_ARP,
            Kind::Advertisement => ETH_P_IPV6,
        };
        let protocol = Protocol::from(i32::from(protocol.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        if kind == Kind::Advertisement {
            socket.attach_filter(&ADVERTISEMENTS)?;
        }
        Ok(Wire {
            socket,
            buffer: vec![0; 2048],
        })
    }

    /// Sends a whole frame, Ethernet header included.
    ///
    /// # Errors
    /// What the kernel says: a full queue, an interface that is down.
    pub fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        let protocol = frame
            .get(12..14)
            .map_or(0, |kind| u16::from_be_bytes([kind[0], kind[1]]));
        send_frame(self.socket.as_fd(), interface, protocol, frame)
    }

    /// How many frames have been lost since the last call, as they came faster than they were taken.
    pub fn dropped(&self) -> u32 {
        // A socket of this kind always tells.
        dropped_frames(self.socket.as_fd()).unwrap_or_default()
    }

    /// Waits for a frame for so long; none if none comes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&mut self, time: Duration) -> io::Result<Option<&[u8]>> {
        self.socket.set_nonblocking(false)?;
        // A timeout of zero would be none.
        self.socket
            .set_read_timeout(Some(time.max(Duration::from_millis(1))))?;
        Ok(self.receive())
    }

    /// The next frame that has come; none if there is none now.
    pub fn receive(&mut self) -> Option<&[u8]> {
        let length = self.socket.read(&mut self.buffer).ok()?;
        Some(&self.buffer[..length])
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
