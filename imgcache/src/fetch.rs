//! A request to an origin: the connection, and the body as far as it has come.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use imgcache::chunked::{self, Chunks};
use imgcache::freshness::Times;
use imgcache::http::{Framing, Request, Response, read_response, reason};
use mio::net::TcpStream;

use crate::cache::Fill;
use crate::client::Progress;
use crate::config::Site;
use crate::entry::Entry;
use crate::shared::Shared;
use crate::spool::Spool;

pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Bound: the time until an origin answers, or sends more.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Bound: bytes of a request's body that wait for the origin; then the client waits.
pub(crate) const UPLOAD_MAX: usize = 64 << 10;

/// Bound: interim responses that are passed on; more are dropped.
const INTERIM_MAX: usize = 8;

/// Bytes read from an origin in one turn.
const TURN_BYTES: usize = 1 << 20;

/// A request to an origin.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) shared: Arc<Shared>,
    pub(crate) site: Arc<Site>,
    /// Whose request it is.
    pub(crate) peer: IpAddr,
    pub(crate) request: Arc<Request>,
    /// Whether others may wait for it: then this is its file.
    pub(crate) key: Option<String>,
    /// The stored object that it validates.
    pub(crate) validates: Option<Arc<Entry>>,
    /// The stored object that the response to a HEAD is about.
    pub(crate) compares: Option<Arc<Entry>>,
    /// Why it was made, as Cache-Status has it.
    pub(crate) why: &'static str,
    pub(crate) stream: Option<TcpStream>,
    pub(crate) address: Option<SocketAddr>,
    /// Whether the connection had carried another request before.
    pub(crate) reused: bool,
    pub(crate) attempts: usize,
    pub(crate) state: State,
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    /// Whether the request's body is chunked; none if there is none.
    pub(crate) upload: Option<Upload>,
    /// From the moment when the request is written.
    pub(crate) fill: Option<Fill>,
    pub(crate) times: Times,
    /// Heads of interim responses, for those who wait.
    pub(crate) interim: Vec<Vec<u8>>,
    pub(crate) response: Option<Response>,
    body: BodyIn,
    pub(crate) spool: Spool,
    /// Whether the body is, or is being, stored.
    pub(crate) stored: bool,
    pub(crate) outcome: Outcome,
    /// Clients that wait for it or are sent from it.
    pub(crate) readers: Vec<usize>,
    /// Clients, with their serials, that wait until the body has its name.
    pub(crate) late: Vec<(usize, u64)>,
    pub(crate) deadline: Instant,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    /// The request is being written, or the head of the response read.
    Asking,
    Body,
    /// All of the body is there, and is being given its name.
    Committing,
    /// Nothing is left to be done.
    Done,
    Failed,
}

/// What the clients that wait get.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Pending,
    /// This object, and what Cache-Status says about it.
    Stored(Arc<Entry>, &'static str),
    /// The response, as it comes, for all that it fits.
    Shared,
    /// The response, for the first one only; the reason.
    Private(&'static str),
    /// Nothing: they are to ask again.
    Again,
    /// An error of our own.
    Error(u16),
}

/// A body on its way to the origin.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) chunked: bool,
    pub(crate) done: bool,
}

#[derive(Debug)]
enum BodyIn {
    Length(u64),
    Chunked(Chunks),
    Close,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.shared.fetches.fetch_sub(1, Ordering::Relaxed);
        if let Some(draft) = self.spool.draft.take() {
            self.shared.cache.lock().store.discard(draft);
        }
    }
}

impl Fetch {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        site: Arc<Site>,
        request: Arc<Request>,
        peer: IpAddr,
        why: &'static str,
    ) -> Fetch {
        shared.fetches.fetch_add(1, Ordering::Relaxed);
        let upload = (request.framing != Framing::Empty).then(|| Upload {
            chunked: request.framing == Framing::Chunked,
            done: false,
        });
        Fetch {
            shared: Arc::clone(shared),
            site,
            peer,
            request,
            key: None,
            validates: None,
            compares: None,
            why,
            stream: None,
            address: None,
            reused: false,
            attempts: 0,
            state: State::Connecting,
            output: Vec::new(),
            written: 0,
            input: Vec::new(),
            upload,
            fill: None,
            times: Times {
                request: 0,
                response: 0,
            },
            interim: Vec::new(),
            response: None,
            body: BodyIn::Close,
            spool: Spool::default(),
            stored: false,
            outcome: Outcome::Pending,
            readers: Vec::new(),
            late: Vec::new(),
            deadline: Instant::now() + CONNECT_TIME,
        }
    }

    /// Begins on a connection, with this head.
    pub(crate) fn begin(
        &mut self,
        stream: TcpStream,
        address: SocketAddr,
        reused: bool,
        head: Vec<u8>,
        now: Instant,
    ) {
        self.stream = Some(stream);
        self.address = Some(address);
        self.reused = reused;
        self.attempts += 1;
        self.state = State::Connecting;
        self.output = head;
        self.written = 0;
        self.input.clear();
        self.fill = None;
        self.response = None;
        self.deadline = now + CONNECT_TIME;
    }

    /// Whether the request may be sent once more: the origin did not answer, and nothing that the
    /// client sent is lost.
    pub(crate) fn may_retry(&self) -> bool {
        let idempotent = matches!(self.request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        idempotent && self.upload.is_none() && self.response.is_none() && self.input.is_empty()
    }

    /// Whether the connection is there; an error if it will not be.
    pub(crate) fn finish_connecting(&mut self) -> io::Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Room for more of the request's body.
    pub(crate) fn upload_room(&self) -> usize {
        UPLOAD_MAX.saturating_sub(self.output.len() - self.written)
    }

    /// Takes more of the request's body.
    pub(crate) fn push_upload(&mut self, bytes: &[u8], last: bool) {
        let Some(upload) = &mut self.upload else {
            return;
        };
        if upload.chunked {
            chunked::encode(bytes, &mut self.output);
            if last && !upload.done {
                self.output.extend_from_slice(chunked::LAST);
            }
        } else {
            self.output.extend_from_slice(bytes);
        }
        upload.done |= last;
    }

    /// Writes what there is to write.
    ///
    /// # Errors
    /// The origin is gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while self.written < self.output.len() {
            match stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads the head of the response; none if it has not come yet. Interim responses are kept for
    /// those who wait.
    ///
    /// # Errors
    /// The origin is gone, or does not speak HTTP.
    pub(crate) fn read_head(&mut self, scratch: &mut [u8]) -> io::Result<Option<Response>> {
        loop {
            let read = read_response(&self.input, &self.request.method);
            if let Some((response, length)) = read.map_err(io::Error::other)? {
                self.input.drain(..length);
                match response.status {
                    101 => return Err(io::Error::other("an upgrade that nobody asked for")),
                    100 => continue,
                    102..=199 => {
                        if self.interim.len() < INTERIM_MAX {
                            self.interim.push(interim_head(&response));
                        }
                        continue;
                    }
                    _ => {}
                }
                self.body = match response.framing {
                    Framing::Empty => BodyIn::Length(0),
                    Framing::Length(length) => BodyIn::Length(length),
                    Framing::Chunked => BodyIn::Chunked(Chunks::new()),
                    Framing::Close => BodyIn::Close,
                };
                return Ok(Some(response));
            }
            let Some(stream) = &mut self.stream else {
                return Ok(None);
            };
            match stream.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads more of the body into the spool. `Blocked`: until the origin sends more, or clients
    /// have taken what is in memory.
    ///
    /// # Errors
    /// The origin ended it too early, or it is malformed.
    pub(crate) fn read_body(&mut self, scratch: &mut [u8], now: Instant) -> io::Result<Progress> {
        let mut taken = 0;
        let mut decoded = Vec::new();
        loop {
            if !self.input.is_empty() {
                let input = std::mem::take(&mut self.input);
                let count = self.take_body(&input, &mut decoded)?;
                self.input.extend_from_slice(&input[count..]);
            }
            if self.has_body_read() {
                return Ok(Progress::Done);
            }
            if self.spool.is_full() {
                return Ok(Progress::Blocked);
            }
            if taken >= TURN_BYTES {
                return Ok(Progress::More);
            }
            let Some(stream) = &mut self.stream else {
                return Ok(Progress::Blocked);
            };
            match stream.read(scratch) {
                Ok(0) => match self.body {
                    BodyIn::Close => return Ok(Progress::Done),
                    _ => return Err(io::ErrorKind::UnexpectedEof.into()),
                },
                Ok(count) => {
                    taken += count;
                    self.deadline = now + ANSWER_TIME;
                    let used = self.take_body(&scratch[..count], &mut decoded)?;
                    // What is left came behind the body: the connection is not used again.
                    self.input.extend_from_slice(&scratch[used..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take_body(&mut self, input: &[u8], decoded: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.body {
            BodyIn::Length(left) => {
                let count = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                self.spool.append(&self.shared, &input[..count]);
                Ok(count)
            }
            BodyIn::Chunked(chunks) => {
                decoded.clear();
                let count = chunks.decode(input, decoded).map_err(io::Error::other)?;
                self.spool.append(&self.shared, decoded);
                Ok(count)
            }
            BodyIn::Close => {
                self.spool.append(&self.shared, input);
                Ok(input.len())
            }
        }
    }

    fn has_body_read(&self) -> bool {
        match &self.body {
            BodyIn::Length(left) => *left == 0,
            BodyIn::Chunked(chunks) => chunks.is_done(),
            BodyIn::Close => false,
        }
    }

    /// Whether the connection can carry another request after this one.
    pub(crate) fn is_reusable(&self) -> bool {
        let uploaded = self.upload.as_ref().is_none_or(|upload| upload.done);
        uploaded
            && self.output.is_empty()
            && self.input.is_empty()
            && self
                .response
                .as_ref()
                .is_some_and(|response| response.keep_alive)
    }

    /// Whether nothing more will come.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Committing | State::Done | State::Failed)
    }
}

/// An interim response as clients get it.
fn interim_head(response: &Response) -> Vec<u8> {
    let mut headers = response.headers.clone();
    headers.remove_hop_by_hop();
    let status = response.status;
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
    headers.write(&mut head);
    head.extend_from_slice(b"\r\n");
    head
}
