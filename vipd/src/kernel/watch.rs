//! Hears that interfaces or addresses change.

use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsRawFd, RawFd};

use rustix::net::bind;
use rustix::net::netlink::SocketAddrNetlink;
use socket2::Socket;

use super::{DATAGRAM_BYTES, netlink_socket};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
const WATCHED: u32 = 0x01 | 0x10 | 0x100;

/// Becomes readable when interfaces or addresses change.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Watch {
    /// Watches from now on.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn open() -> io::Result<Watch> {
        let socket = netlink_socket()?;
        socket.set_nonblocking(true)?;
        bind(&socket, &SocketAddrNetlink::new(0, WATCHED))?;
        Ok(Watch {
            socket,
            buffer: vec![0; DATAGRAM_BYTES],
        })
    }

    /// Whether anything has changed; what it was is to be asked for.
    pub fn take(&mut self) -> bool {
        let mut changed = false;
        loop {
            match self.socket.read(&mut self.buffer) {
                Ok(_) => changed = true,
                // So much has changed that the rest was dropped.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return changed,
            }
        }
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
