//! The lines of a log group, for a program that only listens.
//!
//! A [`Subscriber`] lives in a mio loop: it connects to the group daemon, joins the group, gives
//! whole lines with their sender and their [`Position`] in the order, and connects again when the
//! bus is lost. Programs that must not lose lines have more to do than this (spreadlogd); for
//! those that show what is happening now, a gap is a gap.

#![forbid(unsafe_code)]

use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use group::handshake::Reject;
use group::wire::GroupId;
use group::{
    Address, ConnectError, Event, GroupName, Membership, Message, Name, Options, Service, Session,
};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use unixproc::log;
use weblog::stream::Assembler;

/// Bound: bytes taken from the session before the rest of the program has its turn.
const ROUND_BYTES: usize = 1 << 20;

/// Connecting may hold up the program for so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The first pause between attempts to connect; it doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A place in the order of a log group's messages.
///
/// Memberships are those of the second group where there is one, as its members are the programs
/// that compare positions. All of them see each membership at the same place in the order, so two
/// that give the same position have seen the same messages since that membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last membership that this session saw; none before it joined.
    pub membership: Option<GroupId>,
    /// Messages of the log group since then.
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
    /// A message of the second group, as it was sent.
    Aside {
        /// Private group of the sender.
        sender: &'a Name,
        /// What it sent.
        data: &'a [u8],
    },
    /// A message to this session alone.
    Private {
        /// Private group of the sender.
        sender: &'a Name,
        /// What it sent.
        data: &'a [u8],
    },
    /// The second group has a new membership.
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

/// A session that listens to a log group.
#[derive(Debug)]
pub struct Subscriber {
    options: Options,
    group: GroupName,
    /// A second group, whose messages are not log lines.
    aside: Option<GroupName>,
    token: Token,
    session: Option<Session>,
    /// Whether the session may have something to read.
    readable: bool,
    retry_at: Instant,
    backoff: Duration,
    /// Whether the daemon's absence has been logged.
    reported: bool,
    assembler: Assembler,
    position: Position,
}

impl Subscriber {
    /// Not connected yet; events of the session will have this token.
    ///
    /// The private name is `prefix` and the process number; two letters leave room for it.
    pub fn new(
        address: Address,
        prefix: &str,
        group: GroupName,
        token: Token,
        now: Instant,
    ) -> Subscriber {
        let mut options = Options::new(address);
        // A name that is too long is left to the daemon.
        options.name = format!("{prefix}{}", std::process::id()).parse().ok();
        options.membership = true;
        options.timeout = CONNECT_TIMEOUT;
        Subscriber {
            options,
            group,
            aside: None,
            token,
            session: None,
            readable: false,
            retry_at: now,
            backoff: BACKOFF.0,
            reported: false,
            assembler: Assembler::default(),
            position: Position {
                membership: None,
                messages: 0,
            },
        }
    }

    /// Joins a second group after the first, whose messages come as [`Input::Aside`].
    pub fn with_aside(mut self, group: GroupName) -> Subscriber {
        self.aside = Some(group);
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

    /// When the next attempt to connect is due, if there is no session.
    pub fn retry_at(&self) -> Option<Instant> {
        self.session.is_none().then_some(self.retry_at)
    }

    /// Whether there may be something to read at once.
    pub fn is_readable(&self) -> bool {
        self.readable && self.session.is_some()
    }

    /// Takes note of an event of the session's descriptor.
    pub fn handle_event(&mut self, event: &mio::event::Event) {
        if event.token() != self.token {
            return;
        }
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        if event.is_writable()
            && let Some(session) = &mut self.session
        {
            // A session that is lost is noticed when it is read.
            let _ = session.flush();
        }
    }

    /// Opens the session if it is due, and joins the groups.
    pub fn connect(&mut self, registry: &Registry, now: Instant) {
        if self.session.is_some() || now < self.retry_at {
            return;
        }
        match self.try_connect(registry) {
            Ok(session) => {
                let address = &self.options.address;
                let fields: log::Fields =
                    &[("bus", address), ("session", &session.private_group())];
                log::notice("connected", fields);
                self.session = Some(session);
                // What came along with the handshake is not announced.
                self.readable = true;
                self.reported = false;
            }
            Err(error) => {
                if matches!(error, ConnectError::Rejected(Reject::NotUnique)) {
                    self.options.name = None;
                }
                if !self.reported {
                    let address = &self.options.address;
                    log::warning("bus-unreachable", &[("bus", address), ("error", &error)]);
                    self.reported = true;
                }
                self.back_off(Instant::now());
            }
        }
    }

    fn back_off(&mut self, now: Instant) {
        self.retry_at = now + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }

    fn try_connect(&self, registry: &Registry) -> Result<Session, ConnectError> {
        let mut session = Session::connect(self.options.clone())?;
        session.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&session.as_raw_fd()), self.token, interest)?;
        for group in [Some(self.group), self.aside].into_iter().flatten() {
            // A session that is lost is noticed when it is read.
            let _ = session.join(group);
        }
        Ok(session)
    }

    /// Takes what the session has, up to a round's bound.
    pub fn receive(&mut self, now: Instant, mut take: impl FnMut(Input<'_>)) {
        let mut taken = 0;
        while taken < ROUND_BYTES && self.is_readable() {
            let Some(session) = &mut self.session else {
                return;
            };
            match session.try_receive() {
                Ok(Some(event)) => taken += self.handle(event, &mut take),
                Ok(None) => self.readable = false,
                Err(group::ReceiveError::Membership(error)) => {
                    log::warning("bad-message", &[("error", &error)]);
                }
                Err(error) => {
                    let address = &self.options.address;
                    log::warning("bus-lost", &[("bus", address), ("error", &error)]);
                    self.lose(&mut take);
                    self.back_off(now);
                    self.reported = true;
                }
            }
        }
    }

    /// Whether something waits until the daemon takes it; see [`send`](Self::send).
    pub fn wants_write(&self) -> bool {
        self.session.as_ref().is_some_and(Session::wants_write)
    }

    /// Sends a message to a group or session, if the bus is there; without a bus it is dropped.
    ///
    /// What the daemon does not take at once waits. Who has much to send sends nothing more while
    /// something [waits](Self::wants_write); what does not fit is dropped.
    pub fn send(&mut self, to: Name, data: &[u8]) {
        if let Some(session) = &mut self.session
            && let Err(error) = session.multicast(Service::Agreed, &[to], 0, data)
        {
            log::debug("not-sent", &[("to", &to), ("error", &error)]);
        }
    }

    /// Handles an event; gives about how many bytes it took.
    fn handle(&mut self, event: Event, take: &mut impl FnMut(Input<'_>)) -> usize {
        // Only now the session is known to be of use.
        self.backoff = BACKOFF.0;
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
                log::warning("request-refused", &[("bus", &self.options.address)]);
                48
            }
        }
    }

    fn handle_message(&mut self, message: &Message, take: &mut impl FnMut(Input<'_>)) {
        let Message { sender, data, .. } = message;
        let is_for = |name: Name| message.groups.iter().any(|group| group == name);
        if is_for(self.group.name()) {
            self.position.messages += 1;
            self.assembler.receive(sender.as_bytes(), data, |lines| {
                take(Input::Lines { sender, lines });
            });
        } else if self.aside.is_some_and(|aside| is_for(aside.name())) {
            take(Input::Aside { sender, data });
        } else {
            take(Input::Private { sender, data });
        }
    }

    fn handle_membership(&mut self, membership: &Membership, take: &mut impl FnMut(Input<'_>)) {
        let Some(own) = self.session.as_ref().map(Session::private_group) else {
            return;
        };
        let counted = self.aside.unwrap_or(self.group);
        if membership.group != counted.name() || !membership.members.contains(&own) {
            return;
        }
        let joined = self.position.membership.is_none();
        self.position = Position {
            membership: Some(membership.gid),
            messages: 0,
        };
        if joined {
            log::notice("joined", &[("group", &self.group)]);
            take(Input::Joined);
        }
        if self.aside.is_some() {
            take(Input::Members { membership, own });
        }
    }

    /// Ends the session; lines whose end has not come are given as they are.
    fn lose(&mut self, take: &mut impl FnMut(Input<'_>)) {
        self.session = None;
        self.readable = false;
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
