//! The tool's end of a control socket: one request, one answer.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::Failure;
use crate::lines::Lines;

/// Most bytes of an answer's line.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Asks the daemon that listens at `path`, and waits for its answer up to `timeout`.
///
/// Errors: see [`CallError`].
pub fn call<A: DeserializeOwned>(
    path: &Path,
    request: &impl Serialize,
    timeout: Duration,
) -> Result<A, CallError> {
    let deadline = Instant::now() + timeout;
    let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
    line.push(b'\n');
    let mut stream = connect(path, deadline)?;
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    stream.write_all(&line)?;
    let answer = read_line(&mut stream, deadline)?;
    match serde_json::from_slice(&answer).map_err(CallError::Nonsense)? {
        Answer::Failure(failure) => Err(CallError::Refused(failure.error)),
        Answer::Other(answer) => Ok(answer),
    }
}

/// Any answer. A failure comes first: it is known by its one field.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<A> {
    Failure(Failure),
    Other(A),
}

fn connect(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A daemon that accepts nobody leaves connect() waiting; the write timeout bounds that too.
    socket.set_write_timeout(Some(remaining(deadline)?))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(OwnedFd::from(socket).into())
}

fn read_line(stream: &mut UnixStream, deadline: Instant) -> Result<Vec<u8>, CallError> {
    let mut lines = Lines::new(ANSWER_BYTES_MAX);
    let mut buffer = vec![0; 64 << 10];
    loop {
        if let Some(line) = lines.next_line().map_err(|_| CallError::TooLong)? {
            return Ok(line);
        }
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(CallError::Io(ErrorKind::UnexpectedEof.into())),
            Ok(count) => lines.feed(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is left until `deadline`; never zero, which would mean no timeout at all.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens there, or the connection broke, or the time is over.
    Io(io::Error),
    /// The daemon says why it cannot answer.
    Refused(String),
    /// The answer is longer than any answer.
    TooLong,
    /// The answer is not what the request asks for.
    Nonsense(serde_json::Error),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> CallError {
        match error.kind() {
            ErrorKind::WouldBlock => CallError::Io(ErrorKind::TimedOut.into()),
            _ => CallError::Io(error),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
                f.write_str("the daemon closed the connection without an answer")
            }
            CallError::Io(error) => error.fmt(f),
            CallError::Refused(reason) => write!(f, "the daemon says: {}", reason.escape_debug()),
            CallError::TooLong => f.write_str("the answer is too long"),
            CallError::Nonsense(error) => write!(f, "the answer cannot be understood: {error}"),
        }
    }
}

impl Error for CallError {}
