//! Sockets that lead to a daemon, opened without waiting.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// Begins to connect to an address of a daemon.
///
/// Whether it will, [`is_connected`] tells when the socket is writable.
pub(crate) fn connect_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = open(Domain::for_address(address))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// A socket for a daemon's path, not connected yet.
pub(crate) fn open_unix() -> io::Result<Socket> {
    open(Domain::UNIX)
}

/// Connects to a path; gives whether it is done.
///
/// A path takes a connection at once or not at all, and no event tells when one with a full queue
/// has room again.
pub(crate) fn connect_unix(socket: &Socket, path: &Path) -> io::Result<bool> {
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        result => result.map(|()| true),
    }
}

/// Whether a connection that was begun is there.
///
/// Errors: there will be none.
pub(crate) fn is_connected(socket: &Socket) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
