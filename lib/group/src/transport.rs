//! The two kinds of stream that lead to a daemon.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::address::Address;

/// A connection to a daemon.
#[derive(Debug)]
pub(crate) enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Transport {
    /// Connects, trying all addresses of a TCP host, until `deadline`.
    ///
    /// Resolving a host's name is the resolver's time, not counted here.
    pub(crate) fn connect(address: &Address, deadline: Instant) -> io::Result<Transport> {
        match (address, address.path()) {
            (Address::Tcp { host, port }, _) => connect_tcp(host, *port, deadline),
            (_, Some(path)) => connect_unix(&path, deadline),
            (_, None) => unreachable!("only TCP addresses have no path"),
        }
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        SockRef::from(self).set_nonblocking(nonblocking)
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        SockRef::from(self).set_read_timeout(timeout)
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        SockRef::from(self).set_write_timeout(timeout)
    }

    pub(crate) fn shut_down_writing(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(std::net::Shutdown::Write)
    }
}

/// What is left until `deadline`; never zero, which would mean no timeout at all.
pub(crate) fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

fn connect_unix(path: &Path, deadline: Instant) -> io::Result<Transport> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A daemon that accepts nobody leaves connect() waiting; the write timeout bounds that too.
    socket.set_write_timeout(Some(remaining(deadline)?))?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(io::ErrorKind::TimedOut.into());
        }
        result => result?,
    }
    Ok(Transport::Unix(socket.into()))
}

fn connect_tcp(host: &str, port: u16, deadline: Instant) -> io::Result<Transport> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, remaining(deadline)?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                SockRef::from(&stream).set_keepalive(true)?;
                return Ok(Transport::Tcp(stream));
            }
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

impl Read for &Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Unix(stream) => (&*stream).read(buffer),
            Transport::Tcp(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Unix(stream) => (&*stream).write(bytes),
            Transport::Tcp(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Transport::Unix(stream) => stream.as_fd(),
            Transport::Tcp(stream) => stream.as_fd(),
        }
    }
}
