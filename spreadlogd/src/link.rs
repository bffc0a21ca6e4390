//! A session with a daemon: connecting, again when it is lost, with growing pauses.

use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use group::handshake::Reject;
use group::{Address, ConnectError, Event, Options, ReceiveError, Session};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use unixproc::log;
use weblog::stream::LOGGER_MARK;

/// Connecting may hold up the program for so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The first pause between attempts to connect; it doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A daemon, and the session with it if there is one.
#[derive(Debug)]
pub(crate) struct Link {
    options: Options,
    /// Whether the name says that this is a logger.
    marked: bool,
    token: Token,
    session: Option<Session>,
    /// Whether the session may have something to read.
    readable: bool,
    retry_at: Instant,
    backoff: Duration,
    /// Whether the daemon's absence has been logged.
    reported: bool,
}

/// What came of reading a session.
#[derive(Debug)]
pub(crate) enum Received {
    Event(Event),
    /// There is no more for now.
    Nothing,
    /// The session is lost; the reason has been logged.
    Lost,
}

impl Link {
    /// Not connected yet; events of the session will have this token. If the name is too long, or
    /// taken, the daemon invents one, but not in the place of a logger's.
    pub(crate) fn new(address: Address, name: &str, token: Token, now: Instant) -> Link {
        let mut options = Options::new(address);
        options.name = name.parse().ok();
        options.membership = true;
        options.timeout = CONNECT_TIMEOUT;
        Link {
            options,
            marked: name.as_bytes().first() == Some(&LOGGER_MARK),
            token,
            session: None,
            readable: false,
            retry_at: now,
            backoff: BACKOFF.0,
            reported: false,
        }
    }

    /// Bound: so many bytes wait to be sent.
    pub(crate) fn set_output_bytes_max(&mut self, bytes: usize) {
        self.options.output_bytes_max = bytes;
    }

    /// Where the daemon listens.
    pub(crate) fn address(&self) -> &Address {
        &self.options.address
    }

    /// The session, if there is one.
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
    }

    /// Whether there is a session.
    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// When the next attempt to connect is due, if there is no session.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.session.is_none().then_some(self.retry_at)
    }

    /// Whether there may be something to read at once.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable && self.session.is_some()
    }

    /// Takes note of an event of the session's descriptor.
    pub(crate) fn handle_event(&mut self, token: Token, readable: bool, writable: bool) {
        if token != self.token {
            return;
        }
        self.readable |= readable;
        if writable && let Some(session) = &mut self.session {
            // A session that is lost is noticed when it is read.
            let _ = session.flush();
        }
    }

    /// Opens the session if it is due; gives whether there is a new one.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) -> bool {
        if self.session.is_some() || now < self.retry_at {
            return false;
        }
        match self.try_connect(registry) {
            Ok(session) => {
                let fields: log::Fields = &[
                    ("bus", self.address()),
                    ("session", &session.private_group()),
                ];
                log::notice("connected", fields);
                self.session = Some(session);
                // What came along with the handshake is not announced.
                self.readable = true;
                self.reported = false;
                return true;
            }
            Err(error) => self.report(&error),
        }
        self.back_off(Instant::now());
        false
    }

    fn report(&mut self, error: &ConnectError) {
        // A logger is known by its mark, which an invented name has not. The session that holds the
        // name is one that was given up while the daemon hung: it ends as soon as that goes on.
        if matches!(error, ConnectError::Rejected(Reject::NotUnique)) && !self.marked {
            self.options.name = None;
        }
        if !self.reported {
            let fields: log::Fields = &[("bus", self.address()), ("error", error)];
            log::warning("bus-unreachable", fields);
            self.reported = true;
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
        Ok(session)
    }

    /// Takes what the session has next. After `Lost` it is to be [dropped](Self::disconnect).
    pub(crate) fn receive(&mut self) -> Received {
        loop {
            let Some(session) = self.session.as_mut().filter(|_| self.readable) else {
                return Received::Nothing;
            };
            match session.try_receive() {
                Ok(Some(event)) => {
                    // Only now the session is known to be of use.
                    self.backoff = BACKOFF.0;
                    return Received::Event(event);
                }
                Ok(None) => {
                    self.readable = false;
                    return Received::Nothing;
                }
                Err(ReceiveError::Membership(error)) => {
                    log::warning("bad-message", &[("bus", self.address()), ("error", &error)]);
                }
                Err(error) => {
                    self.lose(&error);
                    return Received::Lost;
                }
            }
        }
    }

    /// The session is of no use any more; the next one has to wait.
    pub(crate) fn lose(&mut self, error: &dyn std::fmt::Display) {
        log::warning("bus-lost", &[("bus", self.address()), ("error", &error)]);
        self.disconnect();
        self.back_off(Instant::now());
        self.reported = true;
    }

    /// Ends the session, if there is one.
    pub(crate) fn disconnect(&mut self) {
        self.session = None;
        self.readable = false;
    }
}
