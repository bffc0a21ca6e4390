//! The loop: connects the decisions to the bus, the kernel, the wire and the control socket.
//!
//! Parts: `obey` (from the bus to the kernel), `wire` (asking and announcing), `links` (interfaces,
//! and what others do to addresses), `well` (checks and hooks), `conduct` (signals, stopping,
//! reloading), `answer` (the control socket), `publish` (what others are told), `troubles` (what is
//! wrong with which node).

mod answer;
mod conduct;
mod links;
mod obey;
mod open;
mod publish;
mod troubles;
mod well;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll, Token, Waker};
use status::ControlServer;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::Signals;
use vipd::alone::Alone;
use vipd::announce::Schedule;
use vipd::checks::Checks;
use vipd::config::Config;
use vipd::health::Health;
use vipd::history::{Entry, History};
use vipd::hooks::Hooks;
use vipd::kernel::{Kernel, Watch};
use vipd::netlink::{Link, LinkAddress};
use vipd::restore::Removals;
use vipd::takeover::Takeover;

use crate::bus::Bus;
use crate::ward::Ward;
use publish::Totals;
use troubles::Troubles;
use wire::Wires;

const SIGNALS: Token = Token(0);
const BUS: Token = Token(1);
const WATCH: Token = Token(2);
const WIRE: Token = Token(3);
const LOOKED: Token = Token(4);
const CONTROL: Token = Token(5);

/// Addresses last 5 s; this often they are made to last again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// What changes in the kernel is looked at this long after it is heard of, all of it at once.
const LOOK_DELAY: Duration = Duration::from_millis(3);

/// Interfaces that refused an address are tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// An orderly stop takes no longer than this.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What may go on and on is logged this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Bound: frames and events of the bus handled before the rest of the loop has its turn.
const ROUND_MAX: usize = 500;

/// The program at work.
#[derive(Debug)]
pub(crate) struct Daemon {
    poll: Poll,
    /// Ends the waiting when a check has been looked at.
    waker: Arc<Waker>,
    /// Held for as long as this runs.
    _alone: Alone,
    signals: Signals,
    notify: Notify,
    config_path: PathBuf,
    config: Config,
    node: String,
    takeover: Takeover,
    bus: Bus,
    kernel: Kernel,
    watch: Watch,
    wires: Wires,
    /// None while it is being answered at.
    control: Option<ControlServer>,
    ward: Ward,
    links: BTreeMap<String, Link>,
    /// What is in the kernel, by set, as it was added.
    held: BTreeMap<usize, Vec<LinkAddress>>,
    /// Which set an address belongs to.
    sets: HashMap<IpAddr, usize>,
    schedule: Schedule,
    removals: Removals,
    health: Health,
    checks: Checks,
    hooks: Hooks,
    history: History,
    troubles: Troubles,
    totals: Totals,
    refresh_throttle: log::Throttle,
    refresh_at: Instant,
    look_at: Option<Instant>,
    retry_at: Instant,
    publish_at: Instant,
    /// When it is looked at again whether what was published still holds.
    compare_at: Instant,
    /// What was published last.
    published: String,
    /// When a drain ends by itself.
    drained_until: Option<Instant>,
    /// When pins end by themselves.
    pinned_until: BTreeMap<usize, Instant>,
    /// When a stop that was asked for gives up.
    stop_by: Option<Instant>,
    /// Another member of this name holds more.
    refused: bool,
}

impl Daemon {
    /// Works until it is told to stop; gives the exit code.
    ///
    /// # Errors
    /// The event loop is broken.
    pub(crate) fn run(&mut self) -> io::Result<u8> {
        let mut events = Events::with_capacity(64);
        loop {
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.wake();
            for event in &events {
                match event.token() {
                    BUS => self.bus.handle_event(event),
                    WATCH if self.watch.take() => {
                        self.look_at.get_or_insert(Instant::now() + LOOK_DELAY);
                    }
                    token if token >= CONTROL => self.answer(token),
                    _ => {}
                }
            }
            while let Some(signal) = self.signals.next() {
                if let Some(status) = self.handle_signal(signal) {
                    return Ok(status);
                }
            }
            self.work();
            if let Some(status) = self.stopped() {
                return Ok(status);
            }
        }
    }

    /// How long there is nothing to do without an event.
    fn timeout(&self) -> Duration {
        if self.bus.is_readable() {
            return Duration::ZERO;
        }
        let times = [
            Some(self.ward.keep_at()),
            Some(self.refresh_at),
            Some(self.retry_at),
            Some(self.publish_at),
            self.look_at,
            self.removals.next_due(),
            self.notify.alive_at(),
            self.stop_by,
            self.bus.connect_at(),
            self.schedule.next_due(),
            self.wires.next_due(),
            self.takeover.poll_timeout(),
            self.drained_until,
            self.pinned_until.values().min().copied(),
        ];
        let next = times.into_iter().flatten().min().unwrap_or(self.refresh_at);
        next.saturating_duration_since(Instant::now())
    }

    /// One round: from the bus, the wire and the clock to the kernel.
    fn work(&mut self) {
        let now = Instant::now();
        let since = unix_milliseconds();
        self.ward.keep(now);
        if self.stop_by.is_none() {
            self.bus.connect(self.poll.registry(), now);
        }
        for _ in 0..ROUND_MAX {
            let Some(received) = self.bus.receive(now) else {
                break;
            };
            self.handle_received(received, now);
            // Nothing is added before all is read: the end of the session may stand there.
            self.obey(now);
        }
        self.act(now);
        self.ask_wire(now);
        if self.takeover.poll_timeout().is_some_and(|at| at <= now) {
            self.takeover.handle_timeout(now);
        }
        self.look_if_due(now);
        self.end_wishes(now);
        self.take_looks(now);
        self.act(now);
        self.announce_due(now);
        self.notify_due(now);
        if self.refresh_at <= now {
            self.refresh_at = now + REFRESH_INTERVAL;
            self.refresh(now);
        }
        self.note_troubles(since);
        self.publish(now);
        self.write_page();
        self.notify.alive(now);
    }

    /// Notes something for people.
    fn note(&mut self, event: &str, set: Option<usize>, to: Option<&str>, cause: &str) {
        self.history.add(Entry {
            number: 0,
            at: unix_milliseconds(),
            event: event.to_owned(),
            set: set.map(|set| self.config.sets[set].name()),
            from: None,
            to: to.map(str::to_owned),
            cause: cause.to_owned(),
        });
    }
}

/// The wall clock, for people only.
fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
