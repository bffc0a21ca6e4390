//! The loop: sockets and clock on one side, the ring, the groups and the sessions on the other.

mod reload;
mod signals;
mod start;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use mio::{Events, Poll, Token};
use totem::event::{Class, Notice};
use totem::time::Time;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::Signals;

use crate::bus::Bus;
use crate::config::{Config, Settings};
use crate::listen::Listener;
use crate::notices::Notices;
use crate::open_ring::OpenRing;
use crate::ports::Ports;
use crate::questions::Questions;
use crate::report::Report;
use crate::sessions::Sessions;
use crate::state::{State, StateFile};

use reload::Reload;
pub(crate) use start::Source;

const DATA: Token = Token(0);
const SEGMENT: Token = Token(1);
const TOKEN: Token = Token(2);
const SIGNALS: Token = Token(3);
const RELOADED: Token = Token(4);
const CONTROL: Token = Token(64);
/// Listener `i` has the token `i` after it.
const LISTENERS: Token = Token(1024);
/// Everything from here on is a session.
const SESSIONS: Token = Token(1 << 20);

/// Events of one call of poll.
const EVENTS: usize = 1024;
/// Batches read from the ring before other work has its turn.
const BATCHES_PER_TURN: usize = 16;
/// Requests of clients before other work has its turn.
const REQUESTS_PER_TURN: usize = 4096;
/// Connections taken before other work has its turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How long no connection is taken when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the first view may take: a ring of one is there at once.
const FIRST_VIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// A running daemon.
pub(crate) struct Daemon {
    source: Source,
    config: Config,
    /// What the file said at the start, much of which no reload changes.
    started_with: Settings,
    reload: Reload,
    me: usize,
    poll: Poll,
    origin: Instant,
    bus: Bus,
    ports: Ports,
    sessions: Sessions,
    listeners: Vec<Listener>,
    questions: Questions,
    state: Option<StateFile>,
    incarnation: u64,
    sealed: bool,
    notices: Notices,
    signals: Signals,
    notify: Notify,
    buffer: Vec<u8>,
    /// Sockets that may have input.
    data_ready: bool,
    token_ready: bool,
    listeners_ready: bool,
    /// Whether bursts were seen to leave in one system call so far.
    offload: bool,
    /// When connections are taken again, after the system had no descriptor for one.
    accept_at: Option<Time>,
    open_ring: OpenRing,
    stop: Stop,
}

/// How far an orderly stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Running,
    /// Sessions are closed; the groups have yet to be told.
    Closing(Time),
    /// The ring has yet to let this daemon go.
    Leaving(Time),
    Over,
}

impl Daemon {
    /// Turns the loop until the first view is installed.
    pub(crate) fn wait_for_view(&mut self) -> anyhow::Result<()> {
        let deadline = self.now() + FIRST_VIEW_TIMEOUT;
        while !self.bus.has_view() && self.stop == Stop::Running {
            if self.now() >= deadline {
                return Err(anyhow!("no view after {} s", FIRST_VIEW_TIMEOUT.as_secs()));
            }
            self.turn()?;
        }
        Ok(())
    }

    /// Says that the daemon is ready, to the service manager and in the log.
    pub(crate) fn announce(&self) {
        let own = &self.config.daemons[self.me];
        let file = match &self.source.path {
            Some(path) => path.display().to_string(),
            None => "built-in".to_owned(),
        };
        let sockets: Vec<String> = self.listeners.iter().map(Listener::address).collect();
        log::notice(
            "ready",
            &[
                ("daemon", &own.name),
                ("address", &self.config.layout(self.me).local),
                ("config", &file),
                ("sockets", &sockets.join(",")),
                ("sealed", &self.sealed),
                ("offload", &self.ports.offloads()),
                ("receive-buffer", &self.ports.receive_buffer_bytes()),
            ],
        );
        self.notify.ready();
    }

    /// Runs until an orderly stop is done.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        while self.stop != Stop::Over {
            self.turn()?;
        }
        log::notice("stopped", &[]);
        Ok(())
    }

    fn now(&self) -> Time {
        Time(self.origin.elapsed().as_nanos() as u64)
    }

    /// One turn of the loop: waits for something to happen, and does all that follows.
    fn turn(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let timeout = self.timeout();
        match self.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => result.context("poll")?,
        }
        for event in &events {
            self.note(event);
        }
        let now = self.now();
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.listeners_ready = true;
        }
        if self.listeners_ready && self.stop == Stop::Running {
            self.accept(now);
        }
        // Clients before the ring: what they have sent goes with the token that is read next.
        self.serve_sessions(now);
        self.read_ring(now)?;
        let congested = self.sessions.is_congested(now);
        self.bus.set_congested(now, congested);
        if self.bus.poll_timeout().is_some_and(|time| time <= now) {
            self.bus.handle_timeout(now);
        }
        self.transmit(now)?;
        self.take_notices()?;
        self.sessions.handle_timeout(now);
        self.sessions.flush();
        self.answer(now);
        self.keep_promises(now);
        self.advance_stop(now)
    }

    /// How long the loop may sleep.
    fn timeout(&self) -> Option<Duration> {
        let busy = self.data_ready
            || self.token_ready
            || (self.listeners_ready && self.stop == Stop::Running)
            || self.bus.is_busy()
            || (self.sessions.has_work() && self.bus.has_room());
        if busy {
            return Some(Duration::ZERO);
        }
        let stop = match self.stop {
            Stop::Closing(until) | Stop::Leaving(until) => Some(until),
            Stop::Running | Stop::Over => None,
        };
        let next = [
            self.bus.poll_timeout(),
            self.sessions.poll_timeout(),
            self.questions.poll_timeout(),
            self.open_ring.poll_timeout(),
            self.accept_at,
            stop,
        ];
        let now = self.now();
        let next = next.into_iter().flatten().min().map(|time| time.since(now));
        let alive = self.notify.alive_at();
        let alive = alive.map(|at| at.saturating_duration_since(Instant::now()));
        next.into_iter().chain(alive).min()
    }

    /// Notes what an event says; what follows is done later in the turn.
    fn note(&mut self, event: &mio::event::Event) {
        let token = event.token();
        match token {
            DATA | SEGMENT => self.data_ready = true,
            TOKEN => self.token_ready = true,
            SIGNALS => self.handle_signals(),
            RELOADED => self.finish_reload(),
            _ if self.questions.owns(token) => self.questions.note(token),
            _ if token < SESSIONS => self.listeners_ready = true,
            _ => self.sessions.handle_event(event),
        }
        if matches!(token, DATA | SEGMENT | TOKEN) && event.is_error() {
            self.ports.read_errors();
        }
    }

    /// Answers one who asks at the control socket.
    fn answer(&mut self, now: Time) {
        let report = Report {
            config: &self.config,
            me: self.me,
            bus: &self.bus,
            ports: &self.ports,
            sessions: &self.sessions,
            sealed: self.sealed,
            uptime: self.origin.elapsed(),
        };
        let result = self
            .questions
            .serve(now, self.poll.registry(), |request| report.answer(&request));
        if let Err(error) = result {
            log::warning("control-failed", &[("reason", &error)]);
        }
    }

    fn accept(&mut self, now: Time) {
        self.listeners_ready = false;
        for listener in &self.listeners {
            for taken in 0.. {
                if taken == ACCEPTS_PER_TURN {
                    self.listeners_ready = true;
                    break;
                }
                match listener.accept() {
                    Ok(stream) => self.sessions.accept(stream, self.poll.registry(), now),
                    Err(error) => match error.kind() {
                        ErrorKind::WouldBlock => break,
                        // Of one connection; others wait behind it.
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                        _ => {
                            self.notices.failed("accept-failed", &error);
                            self.accept_at = Some(now + ACCEPT_PAUSE);
                            break;
                        }
                    },
                }
            }
        }
    }

    /// Takes requests from clients, in turn, as long as the ring takes messages.
    fn serve_sessions(&mut self, now: Time) {
        for _ in 0..REQUESTS_PER_TURN {
            if !self.bus.has_room() {
                self.sessions.hold(now);
                return;
            }
            let Some(event) = self.sessions.poll(now) else {
                return;
            };
            self.bus.handle_session(now, event, &mut self.sessions);
        }
    }

    /// Reads what other daemons sent, as the accelerated ring wants it: data until there is none
    /// before the token, or the token first once the next daemon has been seen to go on.
    fn read_ring(&mut self, now: Time) -> anyhow::Result<()> {
        for batch in 1..=BATCHES_PER_TURN {
            let token_first = self.bus.wants() == Class::Token || batch == BATCHES_PER_TURN;
            if self.token_ready && (token_first || !self.data_ready) {
                let bus = &mut self.bus;
                self.token_ready = self
                    .ports
                    .receive_token(|from, packet| bus.handle_packet(now, from, packet));
                self.transmit(now)?;
            } else if self.data_ready {
                let bus = &mut self.bus;
                self.data_ready = self
                    .ports
                    .receive_data(|from, packet| bus.handle_packet(now, from, packet));
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Sends what the ring has to send, and hands out what it delivers, until there is nothing.
    fn transmit(&mut self, now: Time) -> anyhow::Result<()> {
        loop {
            while let Some(counter) = self.bus.poll_persist() {
                self.persist(counter);
                self.bus.persisted(counter);
            }
            // Before the rest: a refusal makes probes, which are sent at once.
            for member in self.ports.take_refused() {
                self.bus.handle_refused(now, member);
            }
            let mut idle = true;
            while let Some(transmit) = self.bus.poll_transmit(&mut self.buffer) {
                self.ports.send(&transmit, &self.buffer);
                idle = false;
            }
            if self.bus.deliver(now, &mut self.sessions) {
                self.sessions.retry_waiting();
                idle = false;
            }
            if idle {
                return Ok(());
            }
        }
    }

    /// Puts the ring's counter on stable storage. Without it, the wall clock has to do.
    fn persist(&mut self, counter: u64) {
        let Some(file) = &mut self.state else { return };
        let state = State {
            counter,
            incarnation: self.incarnation,
        };
        if let Err(error) = file.store(state) {
            log::error("state-not-stored", &[("reason", &error)]);
        }
    }

    fn take_notices(&mut self) -> anyhow::Result<()> {
        while let Some(notice) = self.bus.take_notice() {
            self.notices.write(&notice, &self.config);
            if let Notice::DuplicateMember {
                from,
                ours_is_newer: true,
            } = notice
            {
                let own = &self.config.daemons[self.me].name;
                return Err(anyhow!(
                    "another daemon called {own:?} is running already, at {from}"
                ));
            }
        }
        if self.offload && !self.ports.offloads() {
            self.offload = false;
            let reason = "the device refuses bursts of datagrams: one system call for each now";
            log::notice("offload-off", &[("reason", &reason)]);
        }
        if let Some((to, error)) = self.ports.take_error() {
            self.notices.send_failed(to, &error, &self.config);
        }
        Ok(())
    }

    /// What is due by the clock: the watchdog, and the complaint about an open ring.
    fn keep_promises(&mut self, now: Time) {
        self.notify.alive(Instant::now());
        self.open_ring.complain(now);
    }
}
