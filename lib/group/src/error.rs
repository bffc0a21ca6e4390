//! What can go wrong with a session: one type per operation, each with the code of the C library.

use std::fmt;
use std::io;

use crate::handshake::Reject;
use crate::wire::{FrameError, MembershipError};

/// Why no session was opened.
#[derive(Debug)]
pub enum ConnectError {
    /// Nobody could be reached, or nobody answered in time; try again later.
    Unreachable(io::Error),
    /// The daemon refuses the session. After `NotUnique` a later attempt may do, once the daemon
    /// has noticed the end of the former session.
    Rejected(Reject),
    /// The other side closed the connection without a word.
    Closed,
    /// The other side does not speak this protocol.
    Nonsense,
}

impl ConnectError {
    /// The code that SP_connect would return.
    pub fn code(&self) -> i32 {
        match self {
            ConnectError::Unreachable(_) => -2,
            ConnectError::Rejected(reject) => i32::from(reject.code()),
            ConnectError::Closed => -8,
            ConnectError::Nonsense => -1,
        }
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> ConnectError {
        match error.kind() {
            io::ErrorKind::WouldBlock => ConnectError::Unreachable(io::ErrorKind::TimedOut.into()),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ConnectError::Closed,
            _ => ConnectError::Unreachable(error),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Unreachable(error) => error.fmt(f),
            ConnectError::Rejected(reject) => reject.fmt(f),
            ConnectError::Closed => f.write_str("the daemon closed the connection"),
            ConnectError::Nonsense => f.write_str("the other side is no group daemon"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The message is the cause's own, so the cause's cause comes next.
            ConnectError::Unreachable(error) => error.source(),
            _ => None,
        }
    }
}

/// Why a message or a request was not sent.
#[derive(Debug)]
pub enum SendError {
    /// Data and groups are more than the limit; nothing was queued.
    TooLong,
    /// More destinations than the limit; nothing was queued.
    TooManyGroups,
    /// The queue is full; nothing was queued. Flush when the session can be written to.
    Full,
    /// The connection is gone; reconnect.
    Lost(io::Error),
}

impl SendError {
    /// The code that SP_multicast would return; `Full` has the flush library's WOULD_BLOCK.
    pub fn code(&self) -> i32 {
        match self {
            SendError::TooLong | SendError::TooManyGroups => -17,
            SendError::Full => -25,
            SendError::Lost(error) => lost_code(error),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::TooLong => f.write_str("the message is too long"),
            SendError::TooManyGroups => f.write_str("the message has too many destinations"),
            SendError::Full => f.write_str("the output queue is full"),
            SendError::Lost(error) => write!(f, "the connection to the daemon is lost: {error}"),
        }
    }
}

impl std::error::Error for SendError {}

/// Why nothing was received.
#[derive(Debug)]
pub enum ReceiveError {
    /// Nothing is there yet: the session does not block, or its timeout is over.
    WouldBlock,
    /// The daemon closed the connection: it ended, or this session read too slowly; reconnect.
    Closed,
    /// The connection is gone; reconnect.
    Lost(io::Error),
    /// The stream makes no sense; reconnect.
    Frame(FrameError),
    /// A message makes no sense. The stream is still in step, and the session usable.
    Membership(MembershipError),
}

impl ReceiveError {
    /// The code that SP_receive would return; `WouldBlock` has the flush library's.
    pub fn code(&self) -> i32 {
        match self {
            ReceiveError::WouldBlock => -25,
            ReceiveError::Closed => -8,
            ReceiveError::Lost(error) => lost_code(error),
            ReceiveError::Frame(_) | ReceiveError::Membership(_) => -13,
        }
    }
}

impl From<FrameError> for ReceiveError {
    fn from(error: FrameError) -> ReceiveError {
        ReceiveError::Frame(error)
    }
}

impl From<MembershipError> for ReceiveError {
    fn from(error: MembershipError) -> ReceiveError {
        ReceiveError::Membership(error)
    }
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReceiveError::WouldBlock => f.write_str("nothing has arrived yet"),
            ReceiveError::Closed => f.write_str("the daemon closed the connection"),
            ReceiveError::Lost(error) => write!(f, "the connection to the daemon is lost: {error}"),
            ReceiveError::Frame(error) => error.fmt(f),
            ReceiveError::Membership(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReceiveError {}

/// CONNECTION_CLOSED where the other side closed, else NET_ERROR_ON_SESSION.
fn lost_code(error: &io::Error) -> i32 {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => -8,
        _ => -18,
    }
}
