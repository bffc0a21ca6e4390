//! Connections of the binary protocol of 2004.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use whosonline::historic;
use whosonline::presence::Presence;

/// Most connections at a time. When another one comes, the one that was silent longest is closed.
const PEERS_MAX: usize = 64;

/// Requests answered to one connection before the loop goes on with its other work.
const REQUESTS_PER_EVENT: usize = 64;

const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The listening socket and its connections; the bounds are those of a request and an answer
/// for each.
#[derive(Debug)]
pub(crate) struct Peers {
    listener: TcpListener,
    first: Token,
    peers: Vec<Option<Peer>>,
    clock: u64,
}

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    last_active: u64,
}

impl Peers {
    /// Listens; connections take the tokens after `first`.
    pub(crate) fn bind(
        address: SocketAddr,
        registry: &Registry,
        first: Token,
    ) -> io::Result<Peers> {
        let mut listener = TcpListener::bind(address)?;
        registry.register(&mut listener, first, Interest::READABLE)?;
        Ok(Peers {
            listener,
            first,
            peers: (0..PEERS_MAX).map(|_| None).collect(),
            clock: 0,
        })
    }

    pub(crate) fn tokens(&self) -> Range<usize> {
        self.first.0..self.first.0 + 1 + PEERS_MAX
    }

    pub(crate) fn handle_event(
        &mut self,
        registry: &Registry,
        token: Token,
        presence: &Presence,
    ) -> io::Result<()> {
        self.clock += 1;
        if token == self.first {
            return self.accept_all(registry);
        }
        let slot = token.0 - self.first.0 - 1;
        let Some(Some(peer)) = self.peers.get_mut(slot) else {
            return Ok(());
        };
        peer.last_active = self.clock;
        let goes_on = match peer.serve(presence) {
            Ok(true) => registry.reregister(&mut peer.stream, token, INTEREST),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if goes_on.is_err() {
            self.peers[slot] = None;
        }
        Ok(())
    }

    fn accept_all(&mut self, registry: &Registry) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => continue,
                    _ => return Err(error),
                },
            };
            let by_silence = |slot: &usize| self.peers[*slot].as_ref().map(|p| p.last_active);
            let slot = (0..PEERS_MAX)
                .min_by_key(by_silence)
                .expect("there are slots");
            self.peers[slot] = None;
            registry.register(&mut stream, Token(self.first.0 + 1 + slot), INTEREST)?;
            let (input, output) = (Vec::new(), Vec::new());
            self.peers[slot] = Some(Peer {
                stream,
                input,
                output,
                last_active: self.clock,
            });
        }
    }
}

impl Peer {
    /// Answers what has come; gives whether there may be more to do at once.
    ///
    /// Errors: the peer is gone.
    fn serve(&mut self, presence: &Presence) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let mut answered = 0;
        loop {
            while !self.output.is_empty() {
                match self.stream.write(&self.output) {
                    Ok(count) => drop(self.output.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if answered == REQUESTS_PER_EVENT {
                return Ok(true);
            }
            if let Some(url) = historic::take_request(&mut self.input) {
                historic::answer(presence, &url, &mut self.output);
                answered += 1;
                continue;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
