//! The daemon's end of a control socket, for a mio loop.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::Failure;
use crate::lines::{LineTooLong, Lines};

/// Most connections at a time. When another one comes, the one that was silent longest is closed.
pub const CONNECTIONS_MAX: usize = 16;

/// Most bytes of a request's line; a longer one ends its connection.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// Requests answered to one connection before the loop goes on with its other work.
const REQUESTS_PER_EVENT: usize = 8;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 16;

const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A listening control socket and its connections.
///
/// Memory is bounded: a peer that does not read its answer is not read from, so at most one
/// answer and one request wait per connection.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
    /// Token of the listener; connection `i` has the token `i + 1` after it.
    first: Token,
    connections: [Option<Connection>; CONNECTIONS_MAX],
    /// Counts events, to know who was silent longest.
    clock: u64,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    lines: Lines,
    output: Vec<u8>,
    /// How many bytes of `output` are written.
    written: usize,
    /// Whether it ends once the output is written.
    closing: bool,
    last_active: u64,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing to do until the next event.
    Waiting,
    /// There may be more to do than one event's share.
    Busy,
    /// The peer is gone, or must go.
    Over,
}

impl ControlServer {
    /// Tokens that one server uses, from the first one on.
    pub const TOKENS: usize = 1 + CONNECTIONS_MAX;

    /// Makes the socket at `path` with these permissions and registers it.
    ///
    /// It takes [`TOKENS`](Self::TOKENS) tokens, from `first` on. A socket that nobody listens on
    /// any more is replaced. Dropping the server removes the socket.
    ///
    /// Errors: `AddrInUse` if somebody listens there, else what the system says.
    pub fn bind(
        path: &Path,
        mode: u32,
        registry: &Registry,
        first: Token,
    ) -> io::Result<ControlServer> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody can connect before listen(), so the mode is never wider than asked for.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)?;
        let mut listener = UnixListener::from_std(OwnedFd::from(socket).into());
        registry.register(&mut listener, first, Interest::READABLE)?;
        Ok(ControlServer {
            listener,
            path: path.to_owned(),
            first,
            connections: Default::default(),
            clock: 0,
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
        answer: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.clock += 1;
        if token == self.first {
            return self.accept_all(registry);
        }
        let Some(slot) = token.0.checked_sub(self.first.0 + 1) else {
            return Ok(());
        };
        // An event may be late: the connection was closed for another one, or the slot is free.
        let Some(place) = self.connections.get_mut(slot) else {
            return Ok(());
        };
        let Some(connection) = place else {
            return Ok(());
        };
        connection.last_active = self.clock;
        let outcome = match connection.serve(answer) {
            // Registering again makes the next event, as the socket is still ready.
            Ok(Outcome::Busy) => registry
                .reregister(&mut connection.stream, token, INTEREST)
                .map_or(Outcome::Over, |()| Outcome::Busy),
            Ok(outcome) => outcome,
            Err(_) => Outcome::Over,
        };
        if outcome == Outcome::Over {
            *place = None;
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
            let slot = self.free_slot();
            registry.register(&mut stream, Token(self.first.0 + 1 + slot), INTEREST)?;
            self.connections[slot] = Some(Connection {
                stream,
                lines: Lines::new(REQUEST_BYTES_MAX),
                output: Vec::new(),
                written: 0,
                closing: false,
                last_active: self.clock,
            });
        }
    }

    /// A free slot, or that of the connection that was silent longest.
    fn free_slot(&mut self) -> usize {
        let by_silence = |slot: &usize| self.connections[*slot].as_ref().map(|c| c.last_active);
        let slot = (0..CONNECTIONS_MAX)
            .min_by_key(by_silence)
            .expect("there are slots");
        self.connections[slot] = None;
        slot
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        // A socket left behind is replaced by the next daemon.
        let _ = fs::remove_file(&self.path);
    }
}

impl Connection {
    fn serve(
        &mut self,
        mut answer: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<Outcome> {
        let mut buffer = [0; REQUEST_BYTES_MAX];
        let mut answered = 0;
        loop {
            if !self.write_output()? {
                return Ok(Outcome::Waiting);
            }
            if self.closing {
                return Ok(Outcome::Over);
            }
            if answered == REQUESTS_PER_EVENT {
                return Ok(Outcome::Busy);
            }
            match self.lines.next_line() {
                Ok(Some(line)) => {
                    answer(&line, &mut self.output)?;
                    answered += 1;
                    continue;
                }
                Ok(None) => {}
                Err(LineTooLong) => {
                    let error = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
                    push_answer(&Failure { error }, &mut self.output)?;
                    self.closing = true;
                    continue;
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Outcome::Over),
                Ok(count) => self.lines.feed(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Outcome::Waiting),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what waits; false if the peer does not take all of it now.
    fn write_output(&mut self) -> io::Result<bool> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // A long answer does not keep its memory.
        self.output = Vec::new();
        self.written = 0;
        Ok(true)
    }
}

fn push_answer(answer: &impl Serialize, output: &mut Vec<u8>) -> io::Result<()> {
    serde_json::to_writer(&mut *output, answer)?;
    output.push(b'\n');
    Ok(())
}

/// Removes a socket that nobody listens on any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Also the answer for a file that is no socket: such a one is not ours to remove.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            if fs::symlink_metadata(path)?.file_type().is_socket() {
                fs::remove_file(path)
            } else {
                Err(ErrorKind::AlreadyExists.into())
            }
        }
        // Connected, or its backlog is full.
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}
