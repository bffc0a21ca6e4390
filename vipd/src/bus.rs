//! The session with groupd: opened again when it is lost, its events as the daemon wants them.

use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant, SystemTime};

use group::{
    Address, ConnectError, Event, GroupName, Name, Options, PrivateName, ReceiveError, Service,
    Session,
};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use unixproc::log;

/// Connecting may hold up the program for so long: less than the silence that its guardian waits
/// for.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(150);

/// The first pause between attempts to connect.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);

/// The daemon's session.
#[derive(Debug)]
pub(crate) struct Bus {
    options: Options,
    group: GroupName,
    token: Token,
    session: Option<Session>,
    /// Whether the session may have something to read.
    readable: bool,
    retry_at: Instant,
    backoff: Duration,
    backoff_max: Duration,
    /// Whether the daemon's absence has been logged.
    reported: bool,
}

/// What the bus has for the daemon.
pub(crate) enum Received {
    Event(Event),
    Lost,
}

impl Bus {
    /// Not connected yet; events of the session will have this token.
    pub(crate) fn new(
        address: Address,
        group: GroupName,
        backoff_max: Duration,
        token: Token,
    ) -> Bus {
        let mut options = Options::new(address);
        options.membership = true;
        options.timeout = CONNECT_TIMEOUT;
        Bus {
            options,
            group,
            token,
            session: None,
            readable: false,
            retry_at: Instant::now(),
            backoff: BACKOFF_FIRST,
            backoff_max,
            reported: false,
        }
    }

    /// When the next attempt to connect is due, if there is no session.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.session.is_none().then_some(self.retry_at)
    }

    /// The session's own name.
    pub(crate) fn own_name(&self) -> Option<Name> {
        self.session.as_ref().map(Session::private_group)
    }

    /// Whether there may be something to read at once.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable && self.session.is_some()
    }

    /// Takes note of an event of the session's descriptor.
    pub(crate) fn handle_event(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        if writable && let Some(session) = &mut self.session {
            // A session that is lost is noticed when it is read.
            let _ = session.flush();
        }
    }

    /// Opens the session if it is due, and joins the group.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        if self.session.is_some() || now < self.retry_at {
            return;
        }
        self.options.name = session_name();
        match self.try_connect(registry) {
            Ok(session) => {
                let fields: log::Fields = &[
                    ("bus", &self.options.address),
                    ("session", &session.private_group()),
                ];
                log::notice("connected", fields);
                self.session = Some(session);
                // What came along with the handshake is not announced.
                self.readable = true;
                self.reported = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.reported, true) {
                    let fields: log::Fields = &[("bus", &self.options.address), ("error", &error)];
                    log::warning("bus-unreachable", fields);
                }
                self.back_off();
            }
        }
    }

    fn try_connect(&self, registry: &Registry) -> Result<Session, ConnectError> {
        let mut session = Session::connect(self.options.clone())?;
        session.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&session.as_raw_fd()), self.token, interest)?;
        // A session that is lost is noticed when it is read.
        let _ = session.join(self.group);
        Ok(session)
    }

    /// The next thing that has come; none until there is more.
    pub(crate) fn receive(&mut self) -> Option<Received> {
        while self.readable {
            let session = self.session.as_mut()?;
            match session.try_receive() {
                Ok(Some(event)) => {
                    // Only now the session is known to be of use.
                    self.backoff = BACKOFF_FIRST;
                    return Some(Received::Event(event));
                }
                Ok(None) => self.readable = false,
                Err(ReceiveError::Membership(error)) => {
                    log::warning("bad-message", &[("error", &error)]);
                }
                Err(error) => {
                    log::warning("bus-lost", &[("error", &error)]);
                    self.drop_session();
                    return Some(Received::Lost);
                }
            }
        }
        None
    }

    /// Sends to the group, in the one order; false if the session is lost by that.
    pub(crate) fn send(&mut self, data: &[u8]) -> bool {
        self.send_to(self.group, 0, data)
    }

    /// Sends to a group with a type of message; false if the session is lost by that.
    pub(crate) fn send_to(&mut self, group: GroupName, kind: u16, data: &[u8]) -> bool {
        let Some(session) = &mut self.session else {
            return true;
        };
        let result = session.multicast(Service::Agreed, &[group], kind, data);
        if let Err(error) = &result {
            log::warning("bus-lost", &[("error", error)]);
            self.drop_session();
        }
        result.is_ok()
    }

    /// Ends the session; it is opened again after a while.
    pub(crate) fn drop_session(&mut self) {
        self.session = None;
        self.readable = false;
        self.reported = true;
        self.back_off();
    }

    fn back_off(&mut self) {
        self.retry_at = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(self.backoff_max);
    }
}

/// A name that no other session has had: a guardian speaks of one session, and of no later one.
fn session_name() -> Option<PrivateName> {
    const DIGITS: [u8; 36] = *b"0123456789abcdefghijklmnopqrstuvwxyz";
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut number = since.map_or(0, |since| since.as_micros() as u64);
    let mut name = String::from("v");
    // Nine digits of base 36 in microseconds last for three years, then they begin anew.
    for _ in 0..9 {
        name.push(char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
    }
    name.parse().ok()
}
