//! The client's side.
//!
//! ```text
//! List --"NULL "--> Answer --1--> done
//!    \--code           \--code
//! ```

use bytes::{Buf, Bytes, BytesMut};

use super::{ACCEPT_SESSION, AUTH_CHOICE, Reject, Version};
use crate::name::{NAME_LENGTH, Name, PrivateName};

/// What to do after bytes were fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Read more, then feed it.
    NeedMore,
    /// Write this, then read more.
    Send(Bytes),
    /// The session is open.
    Accepted(Accepted),
    /// The daemon refuses the session and closes.
    Rejected(Reject),
    /// The other side does not speak this protocol.
    Nonsense,
}

/// What a daemon says when it opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The daemon's version.
    pub version: Version,
    /// The session's own group, `#name#daemon`.
    pub private_group: Name,
    /// What follows the handshake: the first bytes of messages.
    pub leftover: Bytes,
}

/// The handshake of one connection to a daemon. Holds less than 256 bytes beyond what was fed last.
#[derive(Debug)]
pub struct ClientHandshake {
    state: State,
    buffer: BytesMut,
}

#[derive(Debug)]
enum State {
    List,
    Answer,
    Over,
}

impl ClientHandshake {
    /// Starts a handshake, and gives the greeting to write.
    ///
    /// Without a name the daemon invents one. `membership` asks for membership messages.
    pub fn new(name: Option<PrivateName>, membership: bool) -> (ClientHandshake, Bytes) {
        let name = name.as_ref().map_or(&b""[..], |name| name.as_ref());
        let ours = Version::OURS;
        let mut greeting = vec![ours.major as u8, ours.minor as u8, ours.patch as u8];
        greeting.extend_from_slice(&[u8::from(membership), name.len() as u8]);
        greeting.extend_from_slice(name);
        let handshake = ClientHandshake {
            state: State::List,
            buffer: BytesMut::new(),
        };
        (handshake, greeting.into())
    }

    /// Takes what one read gave, in pieces of any size.
    ///
    /// Panics: after the end of the handshake.
    pub fn feed(&mut self, bytes: &[u8]) -> ClientStep {
        self.buffer.extend_from_slice(bytes);
        let step = match self.state {
            State::List => self.read_list(),
            State::Answer => self.read_answer(),
            State::Over => panic!("a handshake takes no bytes after its end"),
        };
        match step {
            ClientStep::NeedMore => {}
            ClientStep::Send(_) => self.state = State::Answer,
            _ => self.state = State::Over,
        }
        step
    }

    fn read_list(&mut self) -> ClientStep {
        let Some(&length) = self.buffer.first() else {
            return ClientStep::NeedMore;
        };
        if length >= 0x80 {
            return Reject::from_byte(length).map_or(ClientStep::Nonsense, ClientStep::Rejected);
        }
        let end = 1 + usize::from(length);
        if self.buffer.len() < end {
            return ClientStep::NeedMore;
        }
        // The only method there is. A daemon that does not offer it answers with a code.
        self.buffer.advance(end);
        let mut choice = vec![0; AUTH_CHOICE];
        choice[..4].copy_from_slice(b"NULL");
        ClientStep::Send(choice.into())
    }

    fn read_answer(&mut self) -> ClientStep {
        match self.buffer.first() {
            None => return ClientStep::NeedMore,
            Some(&ACCEPT_SESSION) => {}
            Some(&code) => {
                return Reject::from_byte(code).map_or(ClientStep::Nonsense, ClientStep::Rejected);
            }
        }
        let Some(&[_, major, minor, patch, length]) = self.buffer.first_chunk() else {
            return ClientStep::NeedMore;
        };
        let length = usize::from(length);
        if length >= NAME_LENGTH {
            return ClientStep::Nonsense;
        }
        let Some(group) = self.buffer.get(5..5 + length) else {
            return ClientStep::NeedMore;
        };
        let private_group = Name::from_field(group);
        self.buffer.advance(5 + length);
        ClientStep::Accepted(Accepted {
            version: Version {
                major: major as i8,
                minor: minor as i8,
                patch: patch as i8,
            },
            private_group,
            leftover: self.buffer.split().freeze(),
        })
    }
}
