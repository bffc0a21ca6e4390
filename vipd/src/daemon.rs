//! The loop: connects the decisions to the bus, the kernel, the wire and the control socket.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use group::{Address, Event};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use status::ControlServer;
use unixproc::exit;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::{Signal, Signals};
use vipd::announce::{self, Schedule};
use vipd::balance::Node;
use vipd::config::Config;
use vipd::control::Request;
use vipd::indices::Indices;
use vipd::kernel::{Kernel, Watch, Wire};
use vipd::netlink::{Link, LinkAddress};
use vipd::takeover::{Command, Settings, Takeover, View};

use crate::bus::{Bus, Received};
use crate::guardian::Guardian;

mod answer;

const SIGNALS: Token = Token(0);
const BUS: Token = Token(1);
const WATCH: Token = Token(2);
const WIRE: Token = Token(3);
const CONTROL: Token = Token(4);

/// Addresses last 5 s; this often they are made to last again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// Held up for so long when it had something to do, the program does not know what it holds any more: its addresses may have
/// expired, and others may have them.
const STALL_MAX: Duration = Duration::from_secs(2);

/// What changes in the kernel is looked at this long after it is heard of, all of it at once.
const LOOK_DELAY: Duration = Duration::from_millis(20);

/// Interfaces that refused an address are tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// An address is asked for three times in 30 ms.
const QUESTIONS: u32 = 3;
const QUESTION_INTERVAL: Duration = Duration::from_millis(10);

/// An orderly stop takes no longer than this.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What may go on and on is logged this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Bound: ARP frames and events of the bus handled before the rest of the loop has its turn.
const ROUND_MAX: usize = 500;

/// The program at work.
#[derive(Debug)]
pub(crate) struct Daemon {
    poll: Poll,
    signals: Signals,
    notify: Notify,
    config_path: PathBuf,
    config: Config,
    node: String,
    takeover: Takeover,
    bus: Bus,
    kernel: Kernel,
    watch: Watch,
    wire: Wire,
    control: ControlServer,
    guardian: Guardian,
    links: BTreeMap<String, Link>,
    /// What is in the kernel, by set, as it was added.
    held: BTreeMap<usize, Vec<LinkAddress>>,
    schedule: Schedule,
    probes: BTreeMap<usize, Probe>,
    foreign_throttle: log::Throttle,
    refresh_throttle: log::Throttle,
    refresh_at: Instant,
    look_at: Option<Instant>,
    retry_at: Instant,
    alive_at: Option<Instant>,
    /// When a stop that was asked for gives up.
    stop_by: Option<Instant>,
    /// Another member of this name holds more.
    refused: bool,
}

/// A set that the wire is being asked for.
#[derive(Debug)]
struct Probe {
    asked: u32,
    next_at: Instant,
}

impl Daemon {
    /// Opens everything; nothing is connected and nothing held yet. Addresses that an earlier vipd
    /// has left behind are removed.
    ///
    /// # Errors
    /// Another vipd answers at the control socket, or the kernel refuses what is needed.
    pub(crate) fn new(
        config: Config,
        config_path: PathBuf,
        socket: Option<&str>,
    ) -> anyhow::Result<Daemon> {
        let poll = Poll::new()?;
        let control = bind_control(&config, &poll)?;
        let signals = Signals::install(&[
            Signal::Hangup,
            Signal::Terminate,
            Signal::Interrupt,
            Signal::User1,
            Signal::Child,
        ])?;
        let mut kernel = Kernel::open().context("no netlink socket")?;
        let watch = Watch::open().context("cannot watch interfaces")?;
        let wire = Wire::open().context("no packet socket, CAP_NET_RAW is needed")?;
        for (fd, token) in [
            (signals.as_raw_fd(), SIGNALS),
            (watch.as_raw_fd(), WATCH),
            (wire.as_raw_fd(), WIRE),
        ] {
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        let purged = kernel
            .purge()
            .context("cannot remove addresses, CAP_NET_ADMIN is needed")?;
        if purged > 0 {
            log::notice("purged", &[("addresses", &purged)]);
        }
        let links = kernel.links().context("cannot list interfaces")?;
        let address = Address::find(socket, config.spread.as_deref())?;
        let node = node_name(&config)?;
        let takeover = Takeover::new(settings(&config, &node, able(&config, &links)));
        let notify = Notify::from_env()?;
        let now = Instant::now();
        let mut guardian = Guardian::default();
        guardian.keep(now);
        Ok(Daemon {
            bus: Bus::new(address, config.group, config.retry_interval, BUS),
            alive_at: notify.watchdog_interval().map(|interval| now + interval),
            poll,
            signals,
            notify,
            config_path,
            config,
            node,
            takeover,
            kernel,
            watch,
            wire,
            control,
            guardian,
            links,
            held: BTreeMap::new(),
            schedule: Schedule::default(),
            probes: BTreeMap::new(),
            foreign_throttle: log::Throttle::new(REPORT_INTERVAL),
            refresh_throttle: log::Throttle::new(REPORT_INTERVAL),
            refresh_at: now + REFRESH_INTERVAL,
            look_at: None,
            retry_at: now + RETRY_INTERVAL,
            stop_by: None,
            refused: false,
        })
    }

    /// Tells whoever waits that the program does its work.
    pub(crate) fn announce_ready(&self) {
        let able = able(&self.config, &self.links).count();
        let fields: log::Fields = &[
            ("node", &self.node),
            ("sets", &self.config.sets.len()),
            ("able", &able),
        ];
        log::notice("ready", fields);
        self.notify.ready();
    }

    /// Works until it is told to stop; gives the exit code.
    ///
    /// # Errors
    /// The event loop is broken.
    pub(crate) fn run(&mut self) -> io::Result<u8> {
        let mut events = Events::with_capacity(64);
        loop {
            let timeout = self.timeout();
            let wake_by = Instant::now() + timeout;
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.check_stall(Instant::now().saturating_duration_since(wake_by));
            for event in &events {
                let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                match event.token() {
                    BUS => self.bus.handle_event(readable, event.is_writable()),
                    WATCH if self.watch.take() => {
                        self.look_at.get_or_insert(Instant::now() + LOOK_DELAY);
                    }
                    token if self.control.tokens().contains(&token.0) => self.answer(token),
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

    /// When there is something to do without an event.
    fn timeout(&self) -> Duration {
        if self.bus.is_readable() {
            return Duration::ZERO;
        }
        let times = [
            Some(self.refresh_at),
            Some(self.retry_at),
            self.look_at,
            self.alive_at,
            self.stop_by,
            self.bus.retry_at(),
            self.guardian.restart_at(),
            self.schedule.next_due(),
            self.takeover.poll_timeout(),
            self.probes.values().map(|probe| probe.next_at).min(),
        ];
        let next = times.into_iter().flatten().min().unwrap_or(self.refresh_at);
        next.saturating_duration_since(Instant::now())
    }

    /// One round: from the bus, the wire and the clock to the kernel.
    fn work(&mut self) {
        let now = Instant::now();
        if self.stop_by.is_none() {
            self.bus.connect(self.poll.registry(), now);
        }
        for _ in 0..ROUND_MAX {
            let Some(received) = self.bus.receive() else {
                break;
            };
            self.handle_received(received, now);
            self.obey(now);
        }
        self.read_wire(now);
        self.ask_wire(now);
        if self.takeover.poll_timeout().is_some_and(|at| at <= now) {
            self.takeover.handle_timeout(now);
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.look(now);
        }
        if self.retry_at <= now {
            self.retry_at = now + RETRY_INTERVAL;
            self.look(now);
        }
        self.obey(now);
        self.announce_due(now);
        if self.refresh_at <= now {
            self.refresh_at = now + REFRESH_INTERVAL;
            self.refresh();
        }
        self.guardian.keep(now);
        if let Some(interval) = self.notify.watchdog_interval()
            && self.alive_at.is_some_and(|at| at <= now)
        {
            self.notify.alive();
            self.alive_at = Some(now + interval);
        }
    }

    fn handle_received(&mut self, received: Received, now: Instant) {
        match received {
            Received::Lost => self.takeover.handle_bus_lost(now),
            Received::Event(Event::Membership(membership)) => {
                let own = self.bus.own_name();
                let me = membership
                    .members
                    .iter()
                    .position(|&member| Some(member) == own);
                let Some(me) = me.filter(|_| membership.group == self.config.group.name()) else {
                    return;
                };
                let fields: log::Fields = &[
                    ("members", &membership.members.len()),
                    ("cause", &membership.cause.as_str()),
                ];
                log::notice("view", fields);
                let members = membership.members.iter().map(ToString::to_string).collect();
                self.takeover.handle_view(now, View { members, me });
            }
            Received::Event(Event::Transition { .. }) => self.takeover.handle_transition(),
            Received::Event(Event::Message(message)) => {
                let sender = message.sender.to_string();
                self.takeover.handle_message(now, &sender, &message.data);
            }
            Received::Event(Event::SelfLeave { .. } | Event::Refused { .. }) => {}
        }
    }

    /// Does what the decisions ask for.
    fn obey(&mut self, now: Instant) {
        while let Some(command) = self.takeover.poll_command() {
            match command {
                Command::Send(data) => {
                    if !self.bus.send(&data) {
                        self.takeover.handle_bus_lost(now);
                    }
                }
                Command::Add(set, reason) => {
                    let done = self.add(set, reason.as_str());
                    self.takeover.handle_added(now, set, done);
                }
                Command::Remove(set, reason) => {
                    self.remove(set, reason.as_str());
                    self.takeover.handle_removed(now, set);
                }
                Command::Announce(set) => {
                    self.schedule.begin(set, now);
                    // The neighbours come before the next set.
                    self.announce_due(now);
                }
                Command::Probe(set) => self.probe(set, now),
                Command::Refuse(name) => {
                    let error = "another host has this node name; set Node in one of the files";
                    log::error("name-refused", &[("node", &name), ("error", &error)]);
                    self.refused = true;
                    self.stop_by = Some(now + STOP_TIMEOUT);
                }
            }
        }
    }

    /// Adds a set's addresses, all or none.
    fn add(&mut self, set: usize, reason: &str) -> bool {
        let name = self.config.sets[set].name();
        let Some(addresses) = self.resolve(set) else {
            log::warning(
                "acquire-failed",
                &[("set", &name), ("error", &"no such interface")],
            );
            return false;
        };
        if let Err(error) = self.kernel.add(&addresses) {
            log::warning("acquire-failed", &[("set", &name), ("error", &error)]);
            return false;
        }
        log::notice("acquired", &[("set", &name), ("reason", &reason)]);
        self.held.insert(set, addresses);
        true
    }

    fn remove(&mut self, set: usize, reason: &str) {
        self.schedule.end(set);
        let name = self.config.sets[set].name();
        let addresses = self.held.remove(&set).unwrap_or_default();
        if let Err(error) = self.kernel.remove(&addresses) {
            // It lasts no longer than its lifetime now.
            log::error("release-failed", &[("set", &name), ("error", &error)]);
        }
        log::notice("released", &[("set", &name), ("reason", &reason)]);
    }

    /// The set's addresses with the interfaces' numbers of now; none if one is missing.
    fn resolve(&self, set: usize) -> Option<Vec<LinkAddress>> {
        let addresses = self.config.sets[set].addresses.iter();
        addresses
            .map(|attached| {
                Some(LinkAddress {
                    interface: self.links.get(&attached.interface)?.index,
                    address: attached.address,
                    prefix: attached.prefix,
                })
            })
            .collect()
    }

    /// Begins to ask the wire for a set. One without IPv4 address is not asked for.
    fn probe(&mut self, set: usize, now: Instant) {
        if self.ipv4_of(set).next().is_none() {
            self.takeover.handle_probed(now, set, false);
            return;
        }
        let probe = Probe {
            asked: 0,
            next_at: now,
        };
        self.probes.insert(set, probe);
        self.ask_wire(now);
    }

    /// The set's IPv4 addresses with the interfaces that they belong to.
    fn ipv4_of(&self, set: usize) -> impl Iterator<Item = (Ipv4Addr, Option<&Link>)> {
        self.config.sets[set]
            .addresses
            .iter()
            .filter_map(|attached| match attached.address {
                IpAddr::V4(address) => Some((address, self.links.get(&attached.interface))),
                IpAddr::V6(_) => None,
            })
    }

    /// Asks again where it is time; whoever has not answered by the last time does not.
    fn ask_wire(&mut self, now: Instant) {
        let due = self.probes.iter().filter(|(_, probe)| probe.next_at <= now);
        for set in due.map(|(&set, _)| set).collect::<Vec<_>>() {
            let asked = self.probes.get(&set).map_or(0, |probe| probe.asked);
            if asked == QUESTIONS {
                self.probes.remove(&set);
                self.takeover.handle_probed(now, set, false);
                continue;
            }
            for (address, link) in self.ipv4_of(set) {
                if let Some((link, mac)) = link.and_then(|link| Some((link, link.mac?))) {
                    self.send_frame(link.index, &announce::question(address, mac));
                }
            }
            let probe = Probe {
                asked: asked + 1,
                next_at: now + QUESTION_INTERVAL,
            };
            self.probes.insert(set, probe);
        }
    }

    /// Hears who claims our addresses.
    fn read_wire(&mut self, now: Instant) {
        for _ in 0..ROUND_MAX {
            let Some(frame) = self.wire.receive() else {
                return;
            };
            let Some((address, mac)) = announce::claim(frame) else {
                continue;
            };
            if self.links.values().any(|link| link.mac == Some(mac)) {
                continue;
            }
            let of = |set: &vipd::config::AddressSet| {
                set.addresses
                    .iter()
                    .any(|attached| attached.address == address)
            };
            let Some(set) = self.config.sets.iter().position(of) else {
                continue;
            };
            if self.probes.remove(&set).is_some() {
                self.takeover.handle_probed(now, set, true);
            } else if self.takeover.is_held(set)
                && let Some(repeated) = self.foreign_throttle.admit(now)
            {
                let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                let fields: log::Fields = &[
                    ("address", &address),
                    ("mac", &mac),
                    ("repeated", &repeated),
                ];
                log::warning("foreign-claim", fields);
            }
        }
    }

    /// Sends the announcements that are due.
    fn announce_due(&mut self, now: Instant) {
        for set in self.schedule.take_due(now) {
            for attached in &self.config.sets[set].addresses {
                let link = self.links.get(&attached.interface);
                if let Some((link, mac)) = link.and_then(|link| Some((link, link.mac?))) {
                    for frame in announce::announcements(attached.address, mac) {
                        self.send_frame(link.index, &frame);
                    }
                }
            }
        }
    }

    /// A frame that is not sent is sent again with the next round of its schedule.
    fn send_frame(&self, interface: u32, frame: &[u8]) {
        if let Err(error) = self.wire.send(interface, frame) {
            log::info(
                "frame-not-sent",
                &[("interface", &interface), ("error", &error)],
            );
        }
    }

    /// Looks at the interfaces, restores what others have removed, and says what can be held.
    fn look(&mut self, now: Instant) {
        let links = match self.kernel.links() {
            Ok(links) => links,
            Err(error) => {
                log::warning("interfaces-unknown", &[("error", &error)]);
                return;
            }
        };
        let came_up = |name: &String| {
            let running =
                |links: &BTreeMap<String, Link>| links.get(name).is_some_and(|link| link.running);
            running(&links) && !running(&self.links)
        };
        let up: Vec<String> = links.keys().filter(|name| came_up(name)).cloned().collect();
        self.links = links;
        self.restore();
        for &set in self.held.keys() {
            if self.config.sets[set]
                .addresses
                .iter()
                .any(|at| up.contains(&at.interface))
            {
                self.schedule.begin(set, now);
            }
        }
        self.takeover.set_able(now, able(&self.config, &self.links));
    }

    /// Adds again what should be there and is not.
    fn restore(&mut self) {
        for set in self.held.keys().copied().collect::<Vec<_>>() {
            if let Some(addresses) = self.resolve(set) {
                self.held.insert(set, addresses);
            }
        }
        let wanted: Vec<LinkAddress> = self.held.values().flatten().copied().collect();
        let missing = self.kernel.missing(&wanted).unwrap_or_default();
        if missing.is_empty() {
            return;
        }
        let now = Instant::now();
        for (&set, addresses) in &self.held {
            if addresses.iter().any(|at| missing.contains(at)) {
                log::warning("restored", &[("set", &self.config.sets[set].name())]);
                self.schedule.begin(set, now);
            }
        }
        if let Err(error) = self.kernel.refresh(&missing) {
            log::warning("restore-failed", &[("error", &error)]);
        }
    }

    fn refresh(&mut self) {
        let held: Vec<LinkAddress> = self.held.values().flatten().copied().collect();
        if let Err(error) = self.kernel.refresh(&held)
            && let Some(repeated) = self.refresh_throttle.admit(Instant::now())
        {
            let fields: log::Fields = &[("error", &error), ("repeated", &repeated)];
            log::warning("refresh-failed", fields);
        }
    }

    /// After a long pause of the whole process everything is let go before anything else is done.
    fn check_stall(&mut self, late: Duration) {
        if late < STALL_MAX {
            return;
        }
        let now = Instant::now();
        log::error("stalled", &[("seconds", &late.as_secs())]);
        self.bus.drop_session();
        self.takeover.handle_bus_lost(now);
        self.takeover.let_go(now);
        self.obey(now);
    }

    /// Acts on a signal; gives the exit code if the program is to end at once.
    fn handle_signal(&mut self, signal: Signal) -> Option<u8> {
        match signal {
            Signal::Hangup => self.reload(),
            Signal::Terminate | Signal::Interrupt if self.stop_by.is_some() => {
                // The guardian removes what is left.
                log::warning("stopped", &[("held", &self.held.len())]);
                return Some(exit::FAILED);
            }
            Signal::Terminate | Signal::Interrupt => {
                let now = Instant::now();
                log::notice("stopping", &[("held", &self.held.len())]);
                self.notify.stopping();
                self.stop_by = Some(now + STOP_TIMEOUT);
                self.takeover.leave(now);
            }
            Signal::User1 => {
                let overview = self.takeover.overview();
                let fields: log::Fields = &[
                    ("state", &overview.phase),
                    ("nodes", &overview.nodes.len()),
                    ("held", &self.held.len()),
                    ("ignored-messages", &overview.ignored),
                ];
                log::notice("status", fields);
            }
            Signal::Child => self.guardian.keep(Instant::now()),
        }
        None
    }

    /// The exit code, once a stop that was asked for is complete or late.
    fn stopped(&mut self) -> Option<u8> {
        let late = Instant::now() >= self.stop_by?;
        if !self.takeover.has_left() && !late {
            return None;
        }
        let left: Vec<LinkAddress> = self.held.values().flatten().copied().collect();
        if let Err(error) = self.kernel.remove(&left) {
            log::error("release-failed", &[("error", &error)]);
        }
        log::notice("stopped", &[("late", &late)]);
        Some(if self.refused {
            exit::FAILED
        } else {
            exit::DONE
        })
    }

    /// Reads the file again. What stands in it about addresses, group and sockets stays as it was
    /// until a restart; a file that changes that is refused.
    fn reload(&mut self) {
        self.notify.reloading();
        match self.read_config() {
            Ok(config) => {
                self.config = config;
                let able = able(&self.config, &self.links);
                let settings = settings(&self.config, &self.node, able);
                self.takeover.set_settings(Instant::now(), settings);
                log::notice("reloaded", &[("sets", &self.config.sets.len())]);
            }
            Err(errors) => {
                for error in errors.lines() {
                    log::error("reload-refused", &[("error", &error)]);
                }
            }
        }
        self.notify.ready();
    }

    fn read_config(&self) -> Result<Config, String> {
        let text = conf::load(&self.config_path).map_err(|errors| errors.to_string())?;
        let file = self.config_path.display().to_string();
        let config = Config::parse(&file, &text).map_err(|errors| errors.to_string())?;
        let same = |old: &Config, new: &Config| {
            old.sets == new.sets
                && (&old.group, &old.spread, &old.control, &old.node)
                    == (&new.group, &new.spread, &new.control, &new.node)
        };
        if !same(&self.config, &config) {
            return Err("VirtualInterfaces, Group, Spread, Control and Node need a restart".into());
        }
        Ok(config)
    }

    fn answer(&mut self, token: Token) {
        let now = Instant::now();
        let Daemon {
            control,
            poll,
            takeover,
            config,
            node,
            schedule,
            ..
        } = self;
        let result = control.handle_event(poll.registry(), token, |request: Request| {
            answer::answer(request, takeover, config, node, schedule, now)
        });
        if let Err(error) = result {
            log::warning("control-failed", &[("error", &error)]);
        }
    }
}

fn bind_control(config: &Config, poll: &Poll) -> anyhow::Result<ControlServer> {
    let path = &config.control;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("no {}", directory.display()))?;
    }
    ControlServer::bind(path, 0o600, poll.registry(), CONTROL).map_err(|error| {
        let path = path.display();
        match error.kind() {
            ErrorKind::AddrInUse => anyhow::anyhow!("another vipd runs here, it answers at {path}"),
            _ => anyhow::Error::new(error).context(format!("no control socket at {path}")),
        }
    })
}

/// The sets whose interfaces are all here, with a carrier.
fn able(config: &Config, links: &BTreeMap<String, Link>) -> Indices {
    let running = |name: &String| links.get(name).is_some_and(|link| link.running);
    let sets = config.sets.iter().enumerate();
    sets.filter(|(_, set)| set.addresses.iter().all(|at| running(&at.interface)))
        .map(|(index, _)| index)
        .collect()
}

fn settings(config: &Config, node: &str, able: Indices) -> Settings {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Settings {
        node: Node {
            name: node.to_owned(),
            weight: config.weight,
            able,
            prefers: config.prefers.clone(),
            ..Node::default()
        },
        incarnation: since.map_or(0, |since| since.as_nanos() as u64)
            ^ u64::from(std::process::id()),
        set_count: config.sets.len(),
        config: config.digest(),
        mature: config.mature,
        grace: config.grace,
        balance_interval: (config.moves_max > 0).then_some(config.balance_interval),
        moves_max: config.moves_max,
        failback: config.failback,
    }
}

/// The name in the file, or the host's.
fn node_name(config: &Config) -> anyhow::Result<String> {
    if let Some(node) = &config.node {
        return Ok(node.clone());
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name
        .context("the host has no name, set Node")?
        .trim()
        .to_owned();
    anyhow::ensure!(
        (1..=64).contains(&name.len()),
        "the host's name is too long, set Node"
    );
    Ok(name)
}
