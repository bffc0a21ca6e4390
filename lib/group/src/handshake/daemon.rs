//! The daemon's side.
//!
//! ```text
//! Greeting --complete--> Named --admit--> Choice --"NULL"--> done
//!     \                      \--admit (before 3.16)--------> done
//!      \--reject              \--refuse     \--reject
//! ```
//!
//! Unlike the reference, a greeting or a choice may arrive in pieces.

use std::time::Duration;

use bytes::Bytes;

use super::{ACCEPT_SESSION, AUTH_CHOICE, AUTH_LIST, AUTH_SLOT, Reject, Version};
use crate::name::{DaemonName, Name, PRIVATE_NAME_MAX, PrivateName};

/// How long a daemon should wait for the greeting, and then for the choice.
///
/// The reference waits one second for a greeting; a busy host deserves a second more.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client's greeting says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The client's version; at least 3.1.
    pub version: Version,
    /// Whether the session gets membership messages.
    pub membership: bool,
    /// Stored by the reference and never used.
    pub priority: u8,
    /// The private name that the client wants; none leaves it to the daemon.
    pub name: Option<PrivateName>,
}

/// What to do after bytes were fed or a name was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonStep {
    /// Read more, then feed it.
    NeedMore,
    /// Find out whether the name is free, or invent one; then call [`DaemonHandshake::admit`] or
    /// write the byte of a [`Reject`] and close.
    Greeted(Greeting),
    /// Write this in one piece, then read more.
    Reply(Bytes),
    /// Write `reply` in one piece; the session is open.
    Accepted {
        /// Ends the handshake.
        reply: Bytes,
        /// `#name#daemon`.
        private_group: Name,
        /// What follows the handshake: the first bytes of messages.
        leftover: Bytes,
    },
    /// Write the byte of the code and close.
    Reject(Reject),
}

/// The handshake of one connection. Holds at most 15 bytes of greeting or 90 of choice, and what
/// was fed last.
#[derive(Debug)]
pub struct DaemonHandshake {
    daemon: DaemonName,
    state: State,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Greeting,
    Named(Version),
    Choice {
        version: Version,
        private_group: Name,
    },
    Over,
}

impl DaemonHandshake {
    /// Starts a handshake with a client of the daemon of this name.
    pub fn new(daemon: DaemonName) -> DaemonHandshake {
        DaemonHandshake {
            daemon,
            state: State::Greeting,
            buffer: Vec::new(),
        }
    }

    /// Takes what one read gave.
    ///
    /// Bytes beyond the greeting in the same read make the name illegal, as in the reference.
    ///
    /// Panics: between [`DaemonStep::Greeted`] and [`admit`](Self::admit), or after the end.
    pub fn feed(&mut self, bytes: &[u8]) -> DaemonStep {
        self.buffer.extend_from_slice(bytes);
        match self.state {
            State::Greeting => match parse_greeting(&self.buffer) {
                Ok(None) => DaemonStep::NeedMore,
                Ok(Some(greeting)) => {
                    self.buffer.clear();
                    self.state = State::Named(greeting.version);
                    DaemonStep::Greeted(greeting)
                }
                Err(reject) => self.reject(reject),
            },
            State::Choice {
                version,
                private_group,
            } => {
                let Some((choice, leftover)) = self.buffer.split_first_chunk() else {
                    return DaemonStep::NeedMore;
                };
                if !names_only_null(choice) {
                    return self.reject(Reject::Auth);
                }
                let leftover = Bytes::copy_from_slice(leftover);
                self.accept(version, private_group, leftover)
            }
            State::Named(_) | State::Over => {
                panic!("a handshake takes no bytes before admit() or after its end")
            }
        }
    }

    /// Gives the session its name: the greeting's, or an invented one if it had none.
    ///
    /// Panics: not called right after [`DaemonStep::Greeted`].
    pub fn admit(&mut self, name: PrivateName) -> DaemonStep {
        let State::Named(version) = self.state else {
            panic!("admit() answers a greeting");
        };
        let private_group = name.at(self.daemon);
        if !version.has_auth() {
            return self.accept(version, private_group, Bytes::new());
        }
        self.state = State::Choice {
            version,
            private_group,
        };
        let mut reply = vec![AUTH_LIST.len() as u8];
        reply.extend_from_slice(AUTH_LIST);
        DaemonStep::Reply(reply.into())
    }

    /// What a client that sends no more gets before the connection is closed.
    ///
    /// Ask after [`STEP_TIMEOUT`], or when the client has shut its side down. None: nothing, as
    /// it never said what it wants.
    pub fn give_up(&self) -> Option<Reject> {
        match self.state {
            State::Greeting => {
                let has_length = greeting_fields(&self.buffer).is_some();
                has_length.then_some(Reject::IllegalName)
            }
            State::Choice { .. } => (!self.buffer.is_empty()).then_some(Reject::Auth),
            State::Named(_) | State::Over => None,
        }
    }

    fn accept(&mut self, version: Version, private_group: Name, leftover: Bytes) -> DaemonStep {
        self.state = State::Over;
        let ours = Version::OURS;
        let mut reply = vec![ACCEPT_SESSION, ours.major as u8, ours.minor as u8];
        if version.has_patch() {
            reply.push(ours.patch as u8);
        }
        reply.push(private_group.as_bytes().len() as u8);
        reply.extend_from_slice(private_group.as_bytes());
        DaemonStep::Accepted {
            reply: reply.into(),
            private_group,
            leftover,
        }
    }

    fn reject(&mut self, reject: Reject) -> DaemonStep {
        self.state = State::Over;
        DaemonStep::Reject(reject)
    }
}

/// The fixed part of a greeting and what follows: version, flags, length of the name, name.
fn greeting_fields(bytes: &[u8]) -> Option<(Version, u8, i8, &[u8])> {
    let (&[major, minor], rest) = bytes.split_first_chunk()?;
    let mut version = Version {
        major: major as i8,
        minor: minor as i8,
        patch: 0,
    };
    let rest = if version.has_patch() {
        let (&patch, rest) = rest.split_first()?;
        version.patch = patch as i8;
        rest
    } else {
        rest
    };
    let (&[flags, length], name) = rest.split_first_chunk()?;
    Some((version, flags, length as i8, name))
}

fn parse_greeting(bytes: &[u8]) -> Result<Option<Greeting>, Reject> {
    let Some((version, flags, length, name)) = greeting_fields(bytes) else {
        return Ok(None);
    };
    if version.is_refused() {
        return Err(Reject::Version);
    }
    let length = usize::try_from(length).map_err(|_| Reject::IllegalName)?;
    if length > PRIVATE_NAME_MAX || name.len() > length {
        return Err(Reject::IllegalName);
    }
    if name.len() < length {
        return Ok(None);
    }
    let name = match name {
        [] => None,
        name => Some(PrivateName::new(name).map_err(|_| Reject::IllegalName)?),
    };
    Ok(Some(Greeting {
        version,
        membership: flags & 1 == 1,
        priority: flags >> 4,
        name,
    }))
}

/// Whether every slot in use names `NULL`, and at least one is in use.
fn names_only_null(choice: &[u8; AUTH_CHOICE]) -> bool {
    let mut methods = choice
        .chunks_exact(AUTH_SLOT)
        .map(|slot| slot.split(|&byte| byte == 0).next().unwrap_or_default())
        .filter(|method| !method.is_empty())
        .peekable();
    methods.peek().is_some() && methods.all(|method| method == b"NULL")
}
