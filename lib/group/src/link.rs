//! The way of a program with a mio loop to its daemon: one session after another.

use std::fmt::Display;
use std::time::{Duration, Instant};

use mio::event;
use mio::{Registry, Token};
use unixproc::log;

use crate::address::Address;
use crate::connecting::{Connecting, Progress};
use crate::error::{ConnectError, ReceiveError};
use crate::event::Event;
use crate::name::{GroupName, Name};
use crate::reconnect::Reconnect;
use crate::session::{Options, Session};

/// A session with a daemon in a mio loop, opened again when it is lost.
///
/// It never waits: neither for a resolver nor for a daemon that hangs. Attempts that fail are
/// followed by pauses that grow from 40 ms to 2 s. In each turn of the loop:
///
/// - [`handle_event`](Self::handle_event) for each event;
/// - [`connect`](Self::connect), as long as the program wants a session; if it says that there is
///   a new one, it has already joined the [groups](Self::join);
/// - [`receive`](Self::receive) until there is nothing, or as much as a turn may take;
/// - poll no longer than until [`connect_at`](Self::connect_at), and not at all while it
///   [is readable](Self::is_readable).
///
/// It logs what has happened to the session, once for each outage: `connected`,
/// `bus-unreachable`, `bus-lost`, and `bad-message` for one that makes no sense.
#[derive(Debug)]
pub struct Link {
    options: Options,
    token: Token,
    /// What each session joins, in this order.
    groups: Vec<GroupName>,
    reconnect: Reconnect,
    state: State,
    /// Whether the session may have something to read.
    readable: bool,
}

#[derive(Debug)]
enum State {
    Down,
    Connecting(Box<Connecting>),
    Up(Box<Session>),
}

/// What a [`Link`] receives.
#[derive(Debug)]
pub enum Received {
    /// What the session has received.
    Event(Event),
    /// The session is lost, for a reason that has been logged.
    Lost,
}

impl Link {
    /// Not connected yet; events of the descriptor will have this token.
    ///
    /// A session without a name in the options, or whose name is taken, gets one that begins with
    /// `prefix`, never one that the daemon invents.
    ///
    /// Panics, later: `prefix` is no private name.
    pub fn new(options: Options, prefix: &'static [u8], token: Token, now: Instant) -> Link {
        Link {
            reconnect: Reconnect::new(options.name, prefix, now),
            options,
            token,
            groups: Vec::new(),
            state: State::Down,
            readable: false,
        }
    }

    /// Sets the longest pause between attempts.
    pub fn set_pause_max(&mut self, pause: Duration) {
        self.reconnect.set_pause_max(pause);
    }

    /// Sets for how long after the end of a session attempts come every 100 ms at least, however
    /// many sessions have ended before: for a program of which something is due by then.
    pub fn set_hurry(&mut self, hurry: Duration) {
        self.reconnect.set_hurry(hurry);
    }

    /// Joins a group: with this session, if there is one, and with each later one, after the groups
    /// that were named before.
    pub fn join(&mut self, group: GroupName) {
        if self.groups.contains(&group) {
            return;
        }
        self.groups.push(group);
        if let Some(session) = self.session() {
            // A session that is lost is noticed when it is read.
            let _ = session.join(group);
        }
    }

    /// Leaves a group; what is ordered before that still comes.
    pub fn leave(&mut self, group: GroupName) {
        self.groups.retain(|joined| *joined != group);
        if let Some(session) = self.session() {
            // As in `join`.
            let _ = session.leave(group);
        }
    }

    /// Where the daemon listens.
    pub fn address(&self) -> &Address {
        &self.options.address
    }

    /// The session, if there is one.
    pub fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Up(session) => Some(session),
            _ => None,
        }
    }

    /// The session's own group, if there is a session.
    pub fn private_group(&self) -> Option<Name> {
        match &self.state {
            State::Up(session) => Some(session.private_group()),
            _ => None,
        }
    }

    /// Whether there is a session.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether there may be something to receive at once.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether something waits until the daemon takes it.
    pub fn wants_write(&self) -> bool {
        matches!(&self.state, State::Up(session) if session.wants_write())
    }

    /// When [`connect`](Self::connect) is due, unless an event comes before; none if there is a
    /// session.
    pub fn connect_at(&self) -> Option<Instant> {
        match &self.state {
            State::Down => Some(self.reconnect.due()),
            State::Connecting(connecting) => connecting.wake_at(),
            State::Up(_) => None,
        }
    }

    /// Takes note of an event, if it has this link's token, and writes what can be written.
    pub fn handle_event(&mut self, event: &event::Event) {
        if event.token() != self.token {
            return;
        }
        let State::Up(session) = &mut self.state else {
            return;
        };
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        if event.is_writable() {
            // A session that is lost is noticed when it is read.
            let _ = session.flush();
        }
    }

    /// Goes on with opening the session, if there is none; gives whether there is a new one.
    pub fn connect(&mut self, registry: &Registry, now: Instant) -> bool {
        let connecting = match std::mem::replace(&mut self.state, State::Down) {
            State::Down if now < self.reconnect.due() => return false,
            State::Down => self.begin(registry, now),
            State::Connecting(connecting) => Ok(*connecting),
            State::Up(session) => {
                self.state = State::Up(session);
                return false;
            }
        };
        let progress = connecting.and_then(|connecting| connecting.progress(now));
        match progress.and_then(|progress| self.advance(registry, progress, now)) {
            Ok(connected) => connected,
            Err(error) => {
                if self.reconnect.handle_failure(now, &error, rand::random()) {
                    let fields: log::Fields = &[("bus", self.address()), ("error", &error)];
                    log::warning("bus-unreachable", fields);
                }
                false
            }
        }
    }

    fn begin(&mut self, registry: &Registry, now: Instant) -> Result<Connecting, ConnectError> {
        self.options.name = Some(self.reconnect.name(rand::random()));
        let connecting = Connecting::begin(self.options.clone(), now)?;
        connecting.register(registry, self.token)?;
        Ok(connecting)
    }

    fn advance(
        &mut self,
        registry: &Registry,
        progress: Progress,
        now: Instant,
    ) -> Result<bool, ConnectError> {
        match progress {
            Progress::Pending(connecting) => self.state = State::Connecting(Box::new(connecting)),
            Progress::NewDescriptor(connecting) => {
                connecting.register(registry, self.token)?;
                self.state = State::Connecting(Box::new(connecting));
            }
            Progress::Connected(mut session) => {
                let had_trouble = self.reconnect.handle_connected(now);
                let own = session.private_group();
                let fields: log::Fields = &[("bus", self.address()), ("session", &own)];
                match had_trouble {
                    true => log::notice("connected", fields),
                    false => log::info("connected", fields),
                }
                for group in &self.groups {
                    // As in `join`.
                    let _ = session.join(*group);
                }
                self.state = State::Up(Box::new(session));
                // What came along with the handshake is not announced.
                self.readable = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes what the session has next, if there is anything.
    pub fn receive(&mut self, now: Instant) -> Option<Received> {
        while self.readable {
            match self.session()?.try_receive() {
                Ok(Some(event)) => return Some(Received::Event(event)),
                Ok(None) => self.readable = false,
                Err(ReceiveError::Membership(error)) => {
                    let fields: log::Fields = &[("bus", self.address()), ("error", &error)];
                    log::warning("bad-message", fields);
                }
                Err(error) => {
                    self.lose(&error, now);
                    return Some(Received::Lost);
                }
            }
        }
        None
    }

    /// Gives the session up, as it is of no use any more; the next one has to wait.
    pub fn lose(&mut self, error: &dyn Display, now: Instant) {
        log::warning("bus-lost", &[("bus", self.address()), ("error", &error)]);
        self.state = State::Down;
        self.readable = false;
        self.reconnect.handle_lost(now, rand::random());
    }

    /// Gives the session away, if there is one, as the program does not want it any more. It may be
    /// [ended in order](Session::disconnect), or dropped.
    pub fn close(&mut self, now: Instant) -> Option<Session> {
        self.readable = false;
        match std::mem::replace(&mut self.state, State::Down) {
            State::Up(session) => {
                self.reconnect.handle_closed(now, rand::random());
                Some(*session)
            }
            _ => None,
        }
    }
}
