//! Connections of the binary protocol of 2004.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use status::{Connections, Step};
use whosonline::historic;
use whosonline::presence::Presence;

/// Most connections at a time. When another one comes, the one that was silent longest is closed.
const PEERS_MAX: usize = 64;

/// The listening socket and its connections.
#[derive(Debug)]
pub(crate) struct Peers {
    listener: TcpListener,
    first: Token,
    connections: Connections<TcpStream>,
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
            connections: Connections::new(Token(first.0 + 1), PEERS_MAX),
        })
    }

    pub(crate) fn tokens(&self) -> Range<usize> {
        self.first.0..self.connections.tokens().end
    }

    pub(crate) fn handle_event(
        &mut self,
        registry: &Registry,
        token: Token,
        presence: &Presence,
    ) -> io::Result<()> {
        if token == self.first {
            let accept = || self.listener.accept().map(|(stream, _)| stream);
            return self.connections.accept_all(registry, accept);
        }
        self.connections
            .serve(registry, token, |(), input, output| {
                let Some((url, length)) = historic::request(input.bytes()) else {
                    return Step::Incomplete;
                };
                historic::answer(presence, url, output);
                input.consume(length);
                Step::Answered
            });
        Ok(())
    }
}
