//! The session with the daemon: sends what the outbox says, hears its own markers.

use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use group::handshake::Reject;
use group::{
    Address, ConnectError, Event, GroupName, Message, Options, ReceiveError, SendError, Service,
    Session,
};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use unixproc::log;
use weblog::stream::{Outbox, Outgoing};

/// Messages are handed to the socket in batches of about this size.
const BATCH_BYTES: usize = 128 << 10;

/// Connecting may hold up the program for so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The first pause between attempts to connect; it doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The way to the loggers.
#[derive(Debug)]
pub(crate) struct Bus {
    options: Options,
    group: GroupName,
    token: Token,
    session: Option<Session>,
    readable: bool,
    retry_at: Instant,
    backoff: Duration,
    /// Whether the daemon's absence has been logged.
    reported: bool,
}

impl Bus {
    /// Not connected yet; events of the session will have this token.
    pub(crate) fn new(address: Address, group: GroupName, token: Token, now: Instant) -> Bus {
        let mut options = Options::new(address);
        // A name that is too long is left to the daemon.
        options.name = format!("lp{}", std::process::id()).parse().ok();
        options.timeout = CONNECT_TIMEOUT;
        Bus {
            options,
            group,
            token,
            session: None,
            readable: false,
            retry_at: now,
            backoff: BACKOFF.0,
            reported: false,
        }
    }

    /// Whether there is a session.
    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// When the next attempt to connect is due, if there is no session.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.session.is_none().then_some(self.retry_at)
    }

    /// Takes note of an event of the session's descriptor.
    pub(crate) fn handle_event(&mut self) {
        self.readable = true;
    }

    /// Opens the session if it is due.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        if self.session.is_some() || now < self.retry_at {
            return;
        }
        match self.try_connect(registry) {
            Ok(session) => {
                let fields: log::Fields = &[
                    ("bus", &self.options.address),
                    ("session", &session.private_group()),
                ];
                // Only news if there was trouble before.
                if self.reported {
                    log::notice("connected", fields)
                } else {
                    log::info("connected", fields)
                }
                self.reported = false;
                self.readable = true;
                self.session = Some(session);
            }
            Err(error) => {
                if matches!(error, ConnectError::Rejected(Reject::NotUnique)) {
                    self.options.name = None;
                }
                if !self.reported {
                    let fields: log::Fields = &[("bus", &self.options.address), ("error", &error)];
                    log::warning("bus-unreachable", fields);
                    self.reported = true;
                }
                self.back_off(Instant::now());
            }
        }
    }

    fn try_connect(&self, registry: &Registry) -> Result<Session, ConnectError> {
        let mut session = Session::connect(self.options.clone())?;
        session.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&session.as_raw_fd()), self.token, interest)?;
        Ok(session)
    }

    fn back_off(&mut self, now: Instant) {
        self.retry_at = now + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }

    /// Sends and receives what can be; gives how many bytes of input are newly confirmed.
    pub(crate) fn work(&mut self, outbox: &mut Outbox, now: Instant) -> u64 {
        let Some(session) = &mut self.session else {
            return 0;
        };
        let mut confirmed = 0;
        let result = receive(session, &mut self.readable, outbox, &mut confirmed)
            .and_then(|()| send(session, self.group, outbox));
        if confirmed > 0 {
            // Only now the session is known to be of use.
            self.backoff = BACKOFF.0;
        }
        if let Err(error) = result {
            log::warning(
                "bus-lost",
                &[("bus", &self.options.address), ("error", &error)],
            );
            self.reported = true;
            self.session = None;
            self.back_off(now);
            outbox.handle_bus_lost();
        }
        confirmed
    }

    /// Ends the session in order.
    pub(crate) fn disconnect(&mut self) {
        if let Some(session) = self.session.take()
            // Everything is confirmed, or given up: how the session ends does not matter.
            && let Err(error) = session.disconnect()
        {
            log::debug("disconnect", &[("error", &error)]);
        }
    }
}

/// Takes what the daemon has for us: our own markers, and perhaps what others send us, which is
/// ignored.
fn receive(
    session: &mut Session,
    readable: &mut bool,
    outbox: &mut Outbox,
    confirmed: &mut u64,
) -> Result<(), anyhow::Error> {
    while *readable {
        match session.try_receive() {
            Ok(Some(Event::Message(message))) => {
                if let Some(number) = marker(&message, session) {
                    *confirmed += outbox.handle_marker(number);
                }
            }
            Ok(Some(_)) | Err(ReceiveError::Membership(_)) => {}
            Ok(None) => *readable = false,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The number of a marker, if the message is one of ours.
fn marker(message: &Message, session: &Session) -> Option<u64> {
    let own = message.sender == session.private_group();
    let number = <[u8; 8]>::try_from(&message.data[..]).ok()?;
    own.then(|| u64::from_be_bytes(number))
}

fn send(session: &mut Session, group: GroupName, outbox: &mut Outbox) -> Result<(), anyhow::Error> {
    session.flush()?;
    while !session.wants_write() {
        let mut batch_bytes = 0;
        while batch_bytes < BATCH_BYTES {
            let Some(message) = outbox.poll_send() else {
                break;
            };
            batch_bytes += queue(session, group, message)?;
        }
        if batch_bytes == 0 {
            break;
        }
        session.flush()?;
    }
    Ok(())
}

/// Queues one message; gives about how many bytes it takes.
fn queue(session: &mut Session, group: GroupName, message: Outgoing) -> Result<usize, SendError> {
    const OVERHEAD: usize = 80; // a header and one group's name
    match message {
        Outgoing::Data(data) => {
            session.queue(Service::Agreed, &[group], 0, &data)?;
            Ok(data.len() + OVERHEAD)
        }
        Outgoing::Marker(number) => {
            session.queue(
                Service::Agreed,
                &[session.private_group()],
                0,
                &number.to_be_bytes(),
            )?;
            Ok(OVERHEAD)
        }
    }
}
