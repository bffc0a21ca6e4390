//! The connections of a server in a mio loop, whatever their protocol is.
//!
//! There are so many places, each with a token; when another connection comes, the one that was
//! silent longest makes room. A peer that does not read its answers is not read from, so memory is
//! bounded by what the protocol takes for a request and gives for an answer.

use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;

use mio::event::Source;
use mio::{Interest, Registry, Token};

/// Requests answered to one connection before the loop goes on with its other work.
const REQUESTS_PER_EVENT: usize = 64;

/// Answers are written when there are so many bytes of them, or no more requests.
const WRITE_BYTES: usize = 64 << 10;

const READ_BYTES: usize = 4096;

const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// What a protocol did with the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It took a request off the input and appended the answer to the output.
    Answered,
    /// The next request is not all there yet.
    Incomplete,
    /// It appended its last words: the connection ends when they are written.
    Last,
}

/// Bytes that have come and are not used yet.
#[derive(Debug, Default)]
pub struct Unread {
    bytes: Vec<u8>,
    start: usize,
}

impl Unread {
    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Drops the first `length` bytes.
    pub fn consume(&mut self, length: usize) {
        self.start += length;
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }
}

/// A server's connections, each with a state of type `T` of its own.
#[derive(Debug)]
pub struct Connections<S, T = ()> {
    first: Token,
    places: Vec<Option<Connection<S, T>>>,
    /// Counts events, to know who was silent longest.
    clock: u64,
}

#[derive(Debug)]
struct Connection<S, T> {
    stream: S,
    state: T,
    input: Unread,
    output: Vec<u8>,
    /// How many bytes of `output` are written.
    written: usize,
    /// Whether it ends once the output is written.
    closing: bool,
    last_active: u64,
}

/// Whether a connection goes on.
enum Outcome {
    /// Nothing to do until the next event.
    Waiting,
    /// There may be more to do than one event's share.
    Busy,
    /// The peer is gone, or must go.
    Over,
}

impl<S: Read + Write + Source, T: Default> Connections<S, T> {
    /// At most `count` at a time, with the tokens from `first` on.
    pub fn new(first: Token, count: usize) -> Connections<S, T> {
        Connections {
            first,
            places: (0..count).map(|_| None).collect(),
            clock: 0,
        }
    }

    /// The tokens that belong to [`serve`](Self::serve).
    pub fn tokens(&self) -> Range<usize> {
        self.first.0..self.first.0 + self.places.len()
    }

    /// Takes all connections that `accept` has.
    ///
    /// Errors: one could not be accepted; those before it were.
    pub fn accept_all(
        &mut self,
        registry: &Registry,
        mut accept: impl FnMut() -> io::Result<S>,
    ) -> io::Result<()> {
        self.clock += 1;
        loop {
            let mut stream = match accept() {
                Ok(stream) => stream,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => continue,
                    _ => return Err(error),
                },
            };
            let by_silence = |at: &usize| self.places[*at].as_ref().map(|c| c.last_active);
            let Some(at) = (0..self.places.len()).min_by_key(by_silence) else {
                return Ok(());
            };
            self.places[at] = None;
            registry.register(&mut stream, Token(self.first.0 + at), INTEREST)?;
            self.places[at] = Some(Connection {
                stream,
                state: T::default(),
                input: Unread::default(),
                output: Vec::new(),
                written: 0,
                closing: false,
                last_active: self.clock,
            });
        }
    }

    /// Does what an event of this token asks for: `step` answers requests one by one.
    ///
    /// Trouble with a connection ends that connection only.
    pub fn serve(
        &mut self,
        registry: &Registry,
        token: Token,
        step: impl FnMut(&mut T, &mut Unread, &mut Vec<u8>) -> Step,
    ) {
        self.clock += 1;
        // An event may be late: the connection was closed for another one, or there is none.
        let at = token.0.wrapping_sub(self.first.0);
        let Some(Some(connection)) = self.places.get_mut(at) else {
            return;
        };
        connection.last_active = self.clock;
        let goes_on = match connection.serve(step) {
            Ok(Outcome::Waiting) => true,
            // Registering again makes the next event, as the socket is still ready.
            Ok(Outcome::Busy) => registry
                .reregister(&mut connection.stream, token, INTEREST)
                .is_ok(),
            Ok(Outcome::Over) | Err(_) => false,
        };
        if !goes_on {
            self.places[at] = None;
        }
    }

    /// Whether any connection is in such a state.
    pub fn any(&self, is_it: impl Fn(&T) -> bool) -> bool {
        let mut connections = self.places.iter().flatten();
        connections.any(|connection| is_it(&connection.state))
    }

    /// Sends bytes to all whose state is such; who leaves more than `unread_max` bytes unread is
    /// cut off.
    pub fn send(&mut self, bytes: &[u8], unread_max: usize, is_it: impl Fn(&T) -> bool) {
        self.clock += 1;
        for place in &mut self.places {
            let Some(connection) = place.as_mut().filter(|one| is_it(&one.state)) else {
                continue;
            };
            connection.output.extend_from_slice(bytes);
            let unread = connection.output.len() - connection.written;
            match connection.write_output() {
                Ok(true) => connection.last_active = self.clock,
                Ok(false) if unread <= unread_max => {}
                _ => *place = None,
            }
        }
    }
}

impl<S: Read + Write, T> Connection<S, T> {
    fn serve(
        &mut self,
        mut step: impl FnMut(&mut T, &mut Unread, &mut Vec<u8>) -> Step,
    ) -> io::Result<Outcome> {
        let mut buffer = [0; READ_BYTES];
        let mut answered = 0;
        if !self.write_output()? {
            return Ok(Outcome::Waiting);
        }
        loop {
            while !self.closing && answered < REQUESTS_PER_EVENT && self.output.len() < WRITE_BYTES
            {
                match step(&mut self.state, &mut self.input, &mut self.output) {
                    Step::Answered => answered += 1,
                    Step::Incomplete => break,
                    Step::Last => self.closing = true,
                }
            }
            let was_full = self.output.len() >= WRITE_BYTES;
            if !self.write_output()? {
                return Ok(Outcome::Waiting);
            }
            if self.closing {
                return Ok(Outcome::Over);
            }
            if answered == REQUESTS_PER_EVENT {
                return Ok(Outcome::Busy);
            }
            if was_full {
                continue;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Outcome::Over),
                Ok(count) => self.input.extend(&buffer[..count]),
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
        self.written = 0;
        self.output.clear();
        // A long answer does not keep its memory.
        self.output.shrink_to(WRITE_BYTES);
        Ok(true)
    }
}
