//! The connection of a session: a Unix-domain or a TCP stream, non-blocking.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

/// One connection.
pub(crate) enum Stream {
    /// From this host.
    Unix(UnixStream),
    /// From anywhere.
    Tcp(TcpStream),
}

impl Stream {
    /// Whether each message must be written alone: clients by TCP may count on what one read gives.
    pub(crate) fn one_message_per_write(&self) -> bool {
        matches!(self, Stream::Tcp(_))
    }

    /// Who is at the other end, for the log.
    pub(crate) fn peer(&self) -> String {
        match self {
            Stream::Unix(_) => "local".to_owned(),
            Stream::Tcp(stream) => stream
                .peer_addr()
                .map_or_else(|_| "gone".to_owned(), |address| address.to_string()),
        }
    }

    /// Watches it for input and room for output, by edges.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Unix(stream) => stream.register(registry, token, interest),
            Stream::Tcp(stream) => stream.register(registry, token, interest),
        }
    }

    /// Reads once, interruptions aside.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
        })
    }

    /// Writes once, interruptions aside.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| match self {
            Stream::Unix(stream) => stream.write_vectored(slices),
            Stream::Tcp(stream) => stream.write_vectored(slices),
        })
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Stream::Unix(stream) => stream.as_raw_fd(),
            Stream::Tcp(stream) => stream.as_raw_fd(),
        }
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
