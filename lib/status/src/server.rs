//! The daemon's end of a control socket, for a mio loop.

use std::io;
use std::ops::Range;
use std::path::Path;

use memchr::memchr;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unixproc::socket::{self, SocketFile};

use crate::Failure;
use crate::connections::{Connections, Step, Unread};

/// Most connections at a time. When another one comes, the one that was silent longest is closed.
pub const CONNECTIONS_MAX: usize = 16;

/// Most bytes of a request's line; a longer one ends its connection.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 16;

/// A listening control socket and its connections.
///
/// Memory is bounded: a peer that does not read its answers is not read from, so at most 64 kB of
/// them and one more wait per connection.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    // Held for its name, which goes with it.
    _file: SocketFile,
    /// Token of the listener; those of the connections follow.
    first: Token,
    connections: Connections<UnixStream>,
}

impl ControlServer {
    /// Tokens that one server uses, from the first one on.
    pub const TOKENS: usize = 1 + CONNECTIONS_MAX;

    /// Makes the socket at `path` with these permissions and registers it.
    ///
    /// It takes [`TOKENS`](Self::TOKENS) tokens, from `first` on. A socket that nobody listens on
    /// any more is replaced. Dropping the server removes the socket.
    ///
    /// Errors: as [`socket::listen`].
    pub fn bind(
        path: &Path,
        mode: u32,
        registry: &Registry,
        first: Token,
    ) -> io::Result<ControlServer> {
        let (socket, file) = socket::listen(path, mode, None, BACKLOG)?;
        let mut listener = UnixListener::from_std(socket.into());
        registry.register(&mut listener, first, Interest::READABLE)?;
        Ok(ControlServer {
            listener,
            _file: file,
            first,
            connections: Connections::new(Token(first.0 + 1), CONNECTIONS_MAX),
        })
    }

    /// The tokens whose events belong to [`handle_event`](Self::handle_event).
    pub fn tokens(&self) -> Range<usize> {
        self.first.0..self.first.0 + ControlServer::TOKENS
    }

    /// Does what an event on one of the server's tokens asks for.
    ///
    /// `answer` makes the answer to each request; what is no request gets a [`Failure`] without
    /// asking. Trouble with a connection ends that connection only.
    ///
    /// Errors: a connection could not be accepted; the server goes on.
    pub fn handle_event<Q: DeserializeOwned, A: Serialize>(
        &mut self,
        registry: &Registry,
        token: Token,
        mut answer: impl FnMut(Q) -> A,
    ) -> io::Result<()> {
        self.handle_lines(
            registry,
            token,
            |line, output| match serde_json::from_slice(line) {
                Ok(request) => push_answer(&answer(request), output),
                Err(error) => push_answer(
                    &Failure {
                        error: format!("no request: {error}"),
                    },
                    output,
                ),
            },
        )
    }

    /// As [`handle_event`](Self::handle_event), for requests that are not JSON: `answer` is given
    /// a line without its newline, and appends a line with its newline.
    ///
    /// Errors: a connection could not be accepted; the server goes on.
    pub fn handle_lines(
        &mut self,
        registry: &Registry,
        token: Token,
        mut answer: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        if token == self.first {
            let accept = || self.listener.accept().map(|(stream, _)| stream);
            return self.connections.accept_all(registry, accept);
        }
        self.connections
            .serve(registry, token, |(), input, output| {
                answer_line(input, output, &mut answer)
            });
        Ok(())
    }
}

/// Answers the first line of the input.
fn answer_line(
    input: &mut Unread,
    output: &mut Vec<u8>,
    answer: &mut impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
) -> Step {
    let bytes = input.bytes();
    let end = memchr(b'\n', bytes);
    let length = end.unwrap_or(bytes.len());
    if length > REQUEST_BYTES_MAX {
        let error = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
        // Without room for an answer there is nothing left to say.
        let _ = push_answer(&Failure { error }, output);
        return Step::Last;
    }
    if end.is_none() {
        return Step::Incomplete;
    }
    let answered = answer(&bytes[..length], output);
    input.consume(length + 1);
    match answered {
        Ok(()) => Step::Answered,
        Err(_) => Step::Last,
    }
}

fn push_answer(answer: &impl Serialize, output: &mut Vec<u8>) -> io::Result<()> {
    serde_json::to_writer(&mut *output, answer)?;
    output.push(b'\n');
    Ok(())
}
