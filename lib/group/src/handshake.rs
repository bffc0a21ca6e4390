//! How a connection becomes a session: the greeting, the choice of an authentication method, and
//! the answers. Two state machines without I/O, one for each side.
//!
//! ```text
//! client                                  daemon
//! major minor [patch] flags length name
//!                                         length "NULL "            or a negative code
//! three method names, 30 bytes each
//!                                         1 4 4 0 length "#name#daemon"  or a negative code
//! ```
//!
//! Clients before 3.15 send no patch byte and get none; clients before 3.16 know no methods, so
//! both middle lines are missing.

mod client;
mod daemon;

use std::fmt;

pub use client::{Accepted, ClientHandshake, ClientStep};
pub use daemon::{DaemonHandshake, DaemonStep, Greeting, STEP_TIMEOUT};

/// What clients may authenticate with, as it goes on the wire: exactly these five bytes.
///
/// Two client libraries in use work with no other list.
const AUTH_LIST: &[u8] = b"NULL ";

/// Bytes of one method name in a client's choice.
const AUTH_SLOT: usize = 30;

/// Bytes of a client's choice: three methods.
const AUTH_CHOICE: usize = 3 * AUTH_SLOT;

/// The byte that opens a session.
const ACCEPT_SESSION: u8 = 1;

/// A version of the client protocol.
///
/// The bytes are signed, so a field from 128 up counts as negative, as in the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// First number.
    pub major: i8,
    /// Second number.
    pub minor: i8,
    /// Third number; 0 for clients that send none.
    pub patch: i8,
}

impl Version {
    /// What this implementation announces on both sides.
    ///
    /// 4.x, because there are clients that refuse to talk to a 5.x daemon.
    pub const OURS: Version = Version {
        major: 4,
        minor: 4,
        patch: 0,
    };

    fn number(self) -> i32 {
        i32::from(self.major) * 10_000 + i32::from(self.minor) * 100 + i32::from(self.patch)
    }

    /// Whether greeting and answer hold a patch byte: from 3.15 on.
    fn has_patch(self) -> bool {
        i32::from(self.major) * 100 + i32::from(self.minor) > 314
    }

    /// Whether the client chooses an authentication method: from 3.16 on.
    pub fn has_auth(self) -> bool {
        self.number() >= 31_600
    }

    /// Whether the version is too old: before 3.1.
    fn is_refused(self) -> bool {
        self.number() < 30_100
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Why a daemon refuses a session. The values are those of the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum Reject {
    /// The daemon has no room for another session.
    Quota = -3,
    /// The session has no name.
    NoName = -4,
    /// The private name breaks the rule.
    IllegalName = -5,
    /// The daemon has a session of this name.
    NotUnique = -6,
    /// The client's version is not supported.
    Version = -7,
    /// The authentication method is not allowed, or it failed.
    Auth = -9,
}

impl Reject {
    const ALL: [Reject; 6] = [
        Reject::Quota,
        Reject::NoName,
        Reject::IllegalName,
        Reject::NotUnique,
        Reject::Version,
        Reject::Auth,
    ];

    /// The code on the wire, and of the C library.
    pub fn code(self) -> i8 {
        self as i8
    }

    /// The byte that tells the client.
    pub fn byte(self) -> u8 {
        self.code() as u8
    }

    fn from_byte(byte: u8) -> Option<Reject> {
        Reject::ALL.into_iter().find(|reject| reject.byte() == byte)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reject::Quota => "the daemon has no room for another session",
            Reject::NoName => "the session has no name",
            Reject::IllegalName => "a private name has 1 to 10 bytes from '$' to '~'",
            Reject::NotUnique => "the daemon has a session of this private name",
            Reject::Version => "the protocol version is not supported",
            Reject::Auth => "authentication failed",
        })
    }
}
