//! The lines of a log group, for a program that only listens.
//!
//! A [`Subscriber`] lives in a mio loop: it connects to the group daemon, joins the group, gives
//! whole lines with their sender and their [`Position`] in the order, and connects again when the
//! bus is lost. Programs that must not lose lines have more to do than this (spreadlogd); for
//! those that show what is happening now, a gap is a gap.

#![forbid(unsafe_code)]

use std::time::Instant;

use bytes::Bytes;
use group::name::split_private_group;
use group::wire::GroupId;
use group::{
    Address, Event, GroupName, Link, Membership, Message, Name, Options, Received, Service,
};
use mio::{Registry, Token};
use unixproc::log;
use weblog::stream::Assembler;

/// Bound: bytes taken from the session before the rest of the program has its turn.
const ROUND_BYTES: usize = 1 << 20;

/// A place in the order of what a session's groups say.
///
/// Memberships are those of the group that was joined last, as its members are the programs that
/// compare positions. All of them see each membership at the same place in the order, so two that
/// give the same position have seen the same since that membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last membership that this session saw; none before it joined.
    pub membership: Option<GroupId>,
    /// Messages of all groups since then, and memberships of the others.
    pub messages: u64,
}

/// What a group has to say.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// One or more whole lines of the log, each with its newline.
    Lines {
        /// Private group of the sender.
        sender: &'a Name,
        /// The lines.
        lines: &'a [u8],
    },
    /// A message of another group than the log's, as it was sent.
    Aside {
        /// The group.
        group: GroupName,
        /// Private group of the sender.
        sender: &'a Name,
        /// What it sent, not copied.
        data: &'a Bytes,
    },
    /// A message to this session alone.
    Private {
        /// Private group of the sender.
        sender: &'a Name,
        /// What it sent.
        data: &'a [u8],
    },
    /// One of the groups has a new membership.
    Members {
        /// The membership.
        membership: &'a Membership,
        /// Private group of this session.
        own: Name,
    },
    /// This session has joined: what comes from here on is all that is sent.
    Joined,
    /// The bus is lost: what is sent until the next `Joined` is missed.
    Lost,
}

/// The server that lines came from: the daemon of their publisher. A publisher that is started
/// again has another name, but is on the same one.
pub fn server_of(sender: &Name) -> String {
    match split_private_group(sender) {
        Some((_, daemon)) => daemon.to_string(),
        // The rest of a line whose publisher has gone with the bus.
        None if sender.as_bytes().is_empty() => "-".to_owned(),
        None => sender.to_string(),
    }
}

/// A session that listens to a log group.
#[derive(Debug)]
pub struct Subscriber {
    link: Link,
    group: GroupName,
    /// Other groups, whose messages are not log lines.
    others: Vec<GroupName>,
    assembler: Assembler,
    position: Position,
}

impl Subscriber {
    /// Not connected yet; events of the session will have this token.
    ///
    /// The private name is `prefix` and the process number, or if that is taken a random one;
    /// two letters leave room for it.
    pub fn new(
        address: Address,
        prefix: &'static str,
        group: GroupName,
        token: Token,
        now: Instant,
    ) -> Subscriber {
        let mut options = Options::new(address);
        options.name = format!("{prefix}{}", std::process::id()).parse().ok();
        options.membership = true;
        let mut link = Link::new(options, prefix.as_bytes(), token, now);
        link.join(group);
        Subscriber {
            link,
            group,
            others: Vec::new(),
            assembler: Assembler::default(),
            position: Position {
                membership: None,
                messages: 0,
            },
        }
    }

    /// Joins another group after those before it, whose messages come as [`Input::Aside`].
    pub fn with_group(mut self, group: GroupName) -> Subscriber {
        self.others.push(group);
        self.link.join(group);
        self
    }

    /// Where in the order this session is.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether this session is a member of its groups.
    pub fn is_joined(&self) -> bool {
        self.position.membership.is_some()
    }

    /// When [`connect`](Self::connect) is due, unless an event comes before.
    pub fn connect_at(&self) -> Option<Instant> {
        self.link.connect_at()
    }

    /// Whether there may be something to read at once.
    pub fn is_readable(&self) -> bool {
        self.link.is_readable()
    }

    /// Takes note of an event of the session's descriptor.
    pub fn handle_event(&mut self, event: &mio::event::Event) {
        self.link.handle_event(event);
    }

    /// Goes on with opening the session if there is none.
    pub fn connect(&mut self, registry: &Registry, now: Instant) {
        self.link.connect(registry, now);
    }

    /// Takes what the session has, up to a round's bound.
    pub fn receive(&mut self, now: Instant, mut take: impl FnMut(Input<'_>)) {
        let mut taken = 0;
        while taken < ROUND_BYTES
            && let Some(received) = self.link.receive(now)
        {
            match received {
                Received::Event(event) => taken += self.handle(event, &mut take),
                Received::Lost => self.forget_session(&mut take),
            }
        }
    }

    /// Whether something waits until the daemon takes it; see [`send`](Self::send).
    pub fn wants_write(&self) -> bool {
        self.link.wants_write()
    }

    /// Sends a message to a group or session, if the bus is there; without a bus it is dropped.
    ///
    /// What the daemon does not take at once waits. Who has much to send sends nothing more while
    /// something [waits](Self::wants_write); what does not fit is dropped.
    pub fn send(&mut self, to: Name, data: &[u8]) {
        if let Some(session) = self.link.session()
            && let Err(error) = session.multicast(Service::Agreed, &[to], 0, data)
        {
            log::debug("not-sent", &[("to", &to), ("error", &error)]);
        }
    }

    /// Handles an event; gives about how many bytes it took.
    fn handle(&mut self, event: Event, take: &mut impl FnMut(Input<'_>)) -> usize {
        match event {
            Event::Message(message) => {
                self.handle_message(&message, take);
                message.data.len() + 48
            }
            Event::Membership(membership) => {
                self.handle_membership(&membership, take);
                membership.members.len() * 32
            }
            Event::SelfLeave { .. } | Event::Transition { .. } => 48,
            Event::Refused { .. } => {
                log::warning("request-refused", &[("bus", self.link.address())]);
                48
            }
        }
    }

    fn handle_message(&mut self, message: &Message, take: &mut impl FnMut(Input<'_>)) {
        let Message { sender, data, .. } = message;
        let is_for = |name: Name| message.groups.iter().any(|group| group == name);
        let other = self.others.iter().find(|other| is_for(other.name()));
        if is_for(self.group.name()) {
            self.position.messages += 1;
            self.assembler.receive(sender.as_bytes(), data, |lines| {
                take(Input::Lines { sender, lines });
            });
        } else if let Some(&group) = other {
            self.position.messages += 1;
            take(Input::Aside {
                group,
                sender,
                data,
            });
        } else {
            take(Input::Private { sender, data });
        }
    }

    fn handle_membership(&mut self, membership: &Membership, take: &mut impl FnMut(Input<'_>)) {
        let Some(own) = self.link.private_group() else {
            return;
        };
        // Not its own leaving, nor a group that it has not come to yet.
        if !membership.members.contains(&own) {
            return;
        }
        let counted = self.others.last().unwrap_or(&self.group);
        if membership.group == counted.name() {
            let joined = self.position.membership.is_none();
            self.position = Position {
                membership: Some(membership.gid),
                messages: 0,
            };
            if joined {
                log::notice("joined", &[("group", &self.group)]);
                take(Input::Joined);
            }
        } else {
            self.position.messages += 1;
        }
        take(Input::Members { membership, own });
    }

    /// The session is lost; lines whose end has not come are given as they are.
    fn forget_session(&mut self, take: &mut impl FnMut(Input<'_>)) {
        self.position.membership = None;
        self.assembler.flush(|lines| {
            take(Input::Lines {
                sender: &Name::EMPTY,
                lines,
            })
        });
        take(Input::Lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_daemon() {
        for (sender, server) in [
            ("#lp42#web1", "web1"),
            ("#lp7#web1", "web1"),
            ("web", "web"),
        ] {
            assert_eq!(server_of(&sender.parse().unwrap()), server);
        }
        assert_eq!(server_of(&Name::EMPTY), "-");
    }
}
