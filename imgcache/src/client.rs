//! A client's connection: what was read of it, what is to be written to it.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imgcache::chunked::Chunks;
use imgcache::http::{Framing, HEAD_MAX, Reject, Request, read_request};
use mio::event;
use mio::net::TcpStream;
use rustix::net::SendFlags;

use crate::config::Site;
use crate::entry::Entry;
use crate::prepared::Prepared;
use crate::shared::Visit;

/// An idle connection is closed after this time.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// From the first byte of a head to its end.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Bound: the time in which a client must take, or send, something.
pub(crate) const PROGRESS: Duration = Duration::from_secs(30);

/// How long what a client still sends is read, so that it sees the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    written: usize,
    pub(crate) phase: Phase,
    pub(crate) request: Option<Arc<Request>>,
    /// What is still to come of the request's body.
    body: BodyIn,
    pub(crate) keep_alive: bool,
    pub(crate) deadline: Instant,
    /// The request to an origin that this one waits for or is sent from.
    pub(crate) fetch: Option<usize>,
    /// The site of the request, if there is one.
    pub(crate) site: Option<Arc<Site>>,
    /// Whether the answer counts as a hit.
    pub(crate) hit: bool,
    /// Status of the answer.
    pub(crate) status: u16,
    /// Bytes of the body that have been sent.
    pub(crate) sent: u64,
    /// Interim responses of the origin that have been passed on.
    pub(crate) interim: usize,
    /// Files that have been looked at for this request.
    pub(crate) loads: u8,
    /// Loops that it was moved to for this request.
    pub(crate) moves: u8,
    /// The file that is sent was in memory up to here when that was looked at.
    pub(crate) warm_until: u64,
    /// Tells this connection from another one with its number in its loop.
    pub(crate) serial: u64,
    pub(crate) visit: Visit,
    /// Bytes taken from or given to the client since `rate_from`.
    moved: u64,
    rate_from: Instant,
    /// The turn of its loop before which the request began to come.
    pub(crate) begun_by: u64,
    /// The last turn in which the kernel told of something to read.
    told_in: u64,
    /// Whether the socket took less than there was.
    is_blocked: bool,
    /// Whether there may be something to read: the last read was not a short one, or the kernel
    /// has told of more since.
    may_read: bool,
    /// The client will send no more, of which the kernel tells only once.
    is_half_closed: bool,
}

/// What a connection is doing.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Reading a head, or idle.
    Head,
    /// Waiting for the disk.
    Loading,
    /// Waiting for the head of an origin's response.
    Waiting,
    /// Waiting until a purge is confirmed.
    Purging,
    /// To go on in another loop, which fills what is wanted.
    Moving(usize),
    /// The body follows the head that is in the output.
    Sending(Source),
    /// Waiting until the disk has read what comes next of this object.
    Warming(Arc<Entry>, Range<u64>),
    /// Closed by us, for the client to see.
    Lingering,
}

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// It is in the output already, or there is none.
    Output,
    /// These bytes, which are in memory.
    Body(Arc<[u8]>, Range<u64>),
    /// A file, these bytes of it.
    Entry(Arc<Entry>, Range<u64>),
    /// All of the answer, of which these bytes are to be sent.
    Prepared(Arc<Prepared>, Range<u64>),
    /// The request to the origin, from here on, up to there if it is known.
    Fetch {
        at: u64,
        end: Option<u64>,
        chunked: bool,
    },
}

#[derive(Debug)]
enum BodyIn {
    Length(u64),
    Chunked(Chunks),
}

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    /// The socket takes, or has, no more now.
    Blocked,
    /// There is more to do, in another turn.
    More,
}

impl Client {
    pub(crate) fn new(stream: TcpStream, visit: Visit, now: Instant) -> Client {
        Client {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            phase: Phase::Head,
            request: None,
            body: BodyIn::Length(0),
            keep_alive: true,
            deadline: now + IDLE,
            fetch: None,
            site: None,
            hit: false,
            status: 0,
            sent: 0,
            interim: 0,
            loads: 0,
            moves: 0,
            warm_until: 0,
            serial: 0,
            visit,
            moved: 0,
            rate_from: now,
            begun_by: u64::MAX,
            told_in: 0,
            is_blocked: false,
            may_read: true,
            is_half_closed: false,
        }
    }

    /// The kernel tells of something new, in this turn of the loop.
    pub(crate) fn handle_event(&mut self, event: &event::Event, turn: u64) {
        self.may_read = true;
        self.is_half_closed |= event.is_read_closed();
        if event.is_readable() {
            self.told_in = turn;
        }
    }

    /// It is in a loop from now on: there may be something to read, and what it asks for has begun
    /// to come by the next turn.
    pub(crate) fn begin_again(&mut self, turn: u64) {
        self.may_read = true;
        self.begun_by = turn + 1;
    }

    /// Notes by which turn the request that is read next, or goes on, has begun to come.
    pub(crate) fn note_begin(&mut self, turn: u64) {
        self.begun_by = match self.input.is_empty() && self.told_in != turn {
            // It comes while the turn goes on.
            true => turn + 1,
            false => turn,
        };
    }

    /// Whether the client, and not this cache or an origin, is what is waited for, and has been
    /// slower than so many bytes a second since it was looked at last, at least `interval` ago.
    pub(crate) fn is_too_slow(&mut self, rate: u64, interval: Duration, now: Instant) -> bool {
        let sending = matches!(self.phase, Phase::Sending(_)) && self.is_blocked;
        let uploading = matches!(self.phase, Phase::Waiting) && !self.has_body_read();
        if !sending && !uploading {
            (self.moved, self.rate_from) = (0, now);
            return false;
        }
        let elapsed = now.duration_since(self.rate_from);
        if elapsed < interval {
            return false;
        }
        let slow = self.moved < rate * elapsed.as_secs();
        (self.moved, self.rate_from) = (0, now);
        slow
    }

    /// The next request; none if it has not come yet.
    ///
    /// # Errors
    /// The connection is over, or what came is to be rejected.
    pub(crate) fn read_head(
        &mut self,
        scratch: &mut [u8],
        now: Instant,
    ) -> Result<Option<Request>, Ending> {
        loop {
            match read_request(&self.input).map_err(Ending::Rejected)? {
                Some((request, length)) => {
                    self.input.drain(..length);
                    self.body = match request.framing {
                        Framing::Length(length) => BodyIn::Length(length),
                        Framing::Chunked => BodyIn::Chunked(Chunks::new()),
                        Framing::Empty | Framing::Close => BodyIn::Length(0),
                    };
                    self.deadline = now + PROGRESS;
                    return Ok(Some(request));
                }
                None if self.input.len() > 2 * HEAD_MAX => return Err(Ending::Closed),
                None if !self.may_read => return Ok(None),
                None => {}
            }
            // Bound: what is read beyond a head is at most one buffer.
            let room = scratch.len().min(2 * HEAD_MAX + 1 - self.input.len());
            match self.stream.read(&mut scratch[..room]) {
                Ok(0) => return Err(Ending::Closed),
                Ok(count) => {
                    if self.input.is_empty() {
                        self.deadline = now + HEAD_TIME;
                    }
                    self.input.extend_from_slice(&scratch[..count]);
                    // A short read has taken all: asking once more would cost a system call.
                    self.may_read = count == room || self.is_half_closed;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Ending::Closed),
            }
        }
    }

    /// Whether the request's body has come to its end.
    pub(crate) fn has_body_read(&self) -> bool {
        match &self.body {
            BodyIn::Length(left) => *left == 0,
            BodyIn::Chunked(chunks) => chunks.is_done(),
        }
    }

    /// Reads of the body what is there, up to `room` bytes, and appends it.
    ///
    /// # Errors
    /// The connection is over, or the body is malformed.
    pub(crate) fn read_body(
        &mut self,
        output: &mut Vec<u8>,
        room: usize,
        now: Instant,
    ) -> Result<(), Ending> {
        let limit = output.len() + room;
        while !self.has_body_read() && output.len() < limit {
            if self.input.is_empty() {
                let mut buffer = [0; 16 << 10];
                match self.stream.read(&mut buffer) {
                    Ok(0) => return Err(Ending::Closed),
                    Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => return Err(Ending::Closed),
                }
                self.moved += self.input.len() as u64;
                self.deadline = now + PROGRESS;
            }
            let taken = match &mut self.body {
                BodyIn::Length(left) => {
                    let taken = self
                        .input
                        .len()
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    output.extend_from_slice(&self.input[..taken]);
                    *left -= taken as u64;
                    taken
                }
                BodyIn::Chunked(chunks) => {
                    let rejected = |_| {
                        Ending::Rejected(Reject {
                            status: 400,
                            reason: "bad chunked body",
                        })
                    };
                    chunks.decode(&self.input, output).map_err(rejected)?
                }
            };
            self.input.drain(..taken);
        }
        Ok(())
    }

    /// Writes the output; whether all of it is written.
    ///
    /// # Errors
    /// The client is gone.
    pub(crate) fn flush(&mut self, now: Instant) -> io::Result<bool> {
        self.flush_with(&[], &mut (0..0), now)
    }

    /// Writes the output and these bytes of a body behind it, which are taken off the range, in one
    /// system call if the socket takes all of it; whether it did.
    ///
    /// # Errors
    /// The client is gone.
    pub(crate) fn flush_with(
        &mut self,
        body: &[u8],
        range: &mut Range<u64>,
        now: Instant,
    ) -> io::Result<bool> {
        // A head and the file behind it share their packets.
        let more = matches!(self.phase, Phase::Sending(Source::Entry(..)));
        loop {
            let head = &self.output[self.written..];
            let rest = &body[range.start as usize..range.end as usize];
            let pieces = [IoSlice::new(head), IoSlice::new(rest)];
            let written = match (head.is_empty(), rest.is_empty()) {
                (true, true) => break,
                (false, true) if more => {
                    rustix::net::send(&self.stream, head, SendFlags::MORE).map_err(io::Error::from)
                }
                (false, true) => self.stream.write(head),
                _ => self.stream.write_vectored(&pieces),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    let of_head = count.min(head.len());
                    self.written += of_head;
                    range.start += (count - of_head) as u64;
                    self.sent += (count - of_head) as u64;
                    self.moved += count as u64;
                    self.deadline = now + PROGRESS;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        self.is_blocked = false;
        Ok(true)
    }

    /// Sends what is next of its file, up to `room` bytes.
    ///
    /// # Errors
    /// The client is gone, or the file is shorter than it was: the answer cannot be completed.
    pub(crate) fn send_file(&mut self, room: u64, now: Instant) -> io::Result<Progress> {
        let Phase::Sending(source) = &mut self.phase else {
            return Ok(Progress::Done);
        };
        let (file, head, range) = match source {
            Source::Entry(entry, range) => (&entry.object.file, 0, range),
            Source::Prepared(prepared, range) => (&prepared.file, prepared.head, range),
            _ => return Ok(Progress::Done),
        };
        if range.is_empty() {
            return Ok(Progress::Done);
        }
        let count = (range.end - range.start).min(room) as usize;
        let body_from = range.start.max(head);
        match rustix::fs::sendfile(&self.stream, file, Some(&mut range.start), count) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(sent) => {
                self.sent += range.start.max(head) - body_from;
                self.moved += sent as u64;
                self.deadline = now + PROGRESS;
                Ok(if range.is_empty() {
                    Progress::Done
                } else {
                    Progress::More
                })
            }
            Err(rustix::io::Errno::AGAIN) => {
                self.is_blocked = true;
                Ok(Progress::Blocked)
            }
            Err(rustix::io::Errno::INTR) => Ok(Progress::More),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes ready for the next request; false if there will be none.
    pub(crate) fn next_request(&mut self, now: Instant) -> bool {
        let goes_on = self.keep_alive && self.has_body_read();
        self.request = None;
        self.site = None;
        self.hit = false;
        self.sent = 0;
        self.interim = 0;
        self.loads = 0;
        self.moves = 0;
        self.warm_until = 0;
        if goes_on {
            self.phase = Phase::Head;
            self.deadline = now
                + if self.input.is_empty() {
                    IDLE
                } else {
                    HEAD_TIME
                };
            // An idle connection keeps no buffers.
            self.output = Vec::new();
            if self.input.is_empty() {
                self.input = Vec::new();
            }
        } else {
            self.phase = Phase::Lingering;
            self.deadline = now + LINGER;
            // The client may be gone; then reading tells.
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
        goes_on
    }

    /// Reads and drops what still comes; whether that is over.
    pub(crate) fn drain(&mut self, scratch: &mut [u8]) -> bool {
        for _ in 0..16 {
            match self.stream.read(scratch) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client is gone.
    Closed,
    /// After an answer that says what is wrong.
    Rejected(Reject),
}
