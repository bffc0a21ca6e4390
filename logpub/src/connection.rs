//! A session with the daemon, opened and opened again without holding up the program.
//!
//! Connecting may wait: for a resolver, for a host that does not answer, for a daemon in the middle
//! of something. So it is done in a thread, which ends with its result.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use group::handshake::Reject;
use group::{ConnectError, Options, PrivateName, Session};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};
use unixproc::log;

/// The first pause between attempts to connect; it doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The way to a daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    options: Options,
    /// Another private name, for when the first is taken.
    spare_name: Option<PrivateName>,
    token: Token,
    waker: Arc<Waker>,
    session: Option<Session>,
    /// An attempt that is under way.
    attempt: Option<Receiver<Result<Session, ConnectError>>>,
    retry_at: Instant,
    backoff: Duration,
    /// Whether the daemon's absence has been logged.
    reported: bool,
}

impl Connection {
    /// Not connected yet. Events of the session will have this token; the waker is called when
    /// there is news of an attempt.
    pub(crate) fn new(options: Options, token: Token, waker: Arc<Waker>) -> Connection {
        Connection {
            options,
            spare_name: None,
            token,
            waker,
            session: None,
            attempt: None,
            retry_at: Instant::now(),
            backoff: BACKOFF.0,
            reported: false,
        }
    }

    /// Uses this private name if the first one is taken; otherwise the daemon invents one.
    pub(crate) fn set_spare_name(&mut self, name: PrivateName) {
        self.spare_name = Some(name);
    }

    /// The session, if there is one.
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
    }

    /// Whether there is a session.
    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// When the next attempt is due, if there is neither a session nor an attempt.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        (self.session.is_none() && self.attempt.is_none()).then_some(self.retry_at)
    }

    /// Goes on with connecting; gives whether there is a session now that was not there before.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) -> bool {
        if self.session.is_some() {
            return false;
        }
        let result = match &self.attempt {
            None if now < self.retry_at => return false,
            None => match self.begin() {
                Ok(()) => return false,
                Err(error) => Err(error.into()),
            },
            Some(attempt) => match attempt.try_recv() {
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => {
                    Err(io::Error::other("the attempt has failed").into())
                }
                Ok(result) => result,
            },
        };
        self.attempt = None;
        match result.and_then(|session| self.adopt(registry, session)) {
            Ok(()) => true,
            Err(error) => {
                self.refused(&error, now);
                false
            }
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel();
        let (options, waker) = (self.options.clone(), Arc::clone(&self.waker));
        thread::Builder::new()
            .name("connect".to_owned())
            .spawn(move || {
                // Without a receiver the program is ending; without a waker the next turn sees it.
                let _ = sender.send(Session::connect(options));
                let _ = waker.wake();
            })?;
        self.attempt = Some(receiver);
        Ok(())
    }

    fn adopt(&mut self, registry: &Registry, mut session: Session) -> Result<(), ConnectError> {
        session.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&session.as_raw_fd()), self.token, interest)?;
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
        self.session = Some(session);
        Ok(())
    }

    fn refused(&mut self, error: &ConnectError, now: Instant) {
        if matches!(error, ConnectError::Rejected(Reject::NotUnique)) {
            self.options.name = self.spare_name;
        }
        if !self.reported {
            let fields: log::Fields = &[("bus", &self.options.address), ("error", error)];
            log::warning("bus-unreachable", fields);
            self.reported = true;
        }
        self.back_off(now);
    }

    /// The session is known to be of use: the next one may be tried for soon.
    pub(crate) fn prove(&mut self) {
        self.backoff = BACKOFF.0;
    }

    /// The session is of no use any more.
    pub(crate) fn lose(&mut self, error: &anyhow::Error, now: Instant) {
        let fields: log::Fields = &[("bus", &self.options.address), ("error", error)];
        log::warning("bus-lost", fields);
        self.reported = true;
        self.session = None;
        self.back_off(now);
    }

    fn back_off(&mut self, now: Instant) {
        self.retry_at = now + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }

    /// Ends the session, if there is one, without a word.
    pub(crate) fn hang_up(&mut self) {
        self.session = None;
    }

    /// Ends the session in order; waits for the daemon.
    pub(crate) fn disconnect(&mut self) {
        if let Some(session) = self.session.take()
            // Everything is confirmed, or given up: how the session ends does not matter.
            && let Err(error) = session.disconnect()
        {
            log::debug("disconnect", &[("error", &error)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use group::Address;
    use mio::Poll;

    use super::*;

    #[test]
    fn a_daemon_that_does_not_answer_holds_up_nothing() {
        let name = format!("logpub-connection-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut options = Options::new(Address::Path(path.clone()));
        options.timeout = Duration::from_secs(60);
        let mut connection = Connection::new(options, Token(1), waker);
        // The attempt is under way, and so it is when it has been accepted and gets no answer.
        assert!(!connection.connect(poll.registry(), Instant::now()));
        let (accepted, _) = listener.accept().unwrap();
        assert!(!connection.connect(poll.registry(), Instant::now()));
        assert_eq!(
            (connection.retry_at(), connection.is_connected()),
            (None, false)
        );
        // Its end is told, and the next attempt waits.
        drop(accepted);
        let mut events = mio::Events::with_capacity(4);
        while connection.retry_at().is_none() {
            poll.poll(&mut events, Some(Duration::from_secs(60)))
                .unwrap();
            assert!(!events.is_empty(), "nobody was woken");
            assert!(!connection.connect(poll.registry(), Instant::now()));
        }
        std::fs::remove_file(path).unwrap();
    }
}
