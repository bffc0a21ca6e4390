//! Opening everything.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use group::Address;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Waker};
use status::ControlServer;
use unixproc::daemon::Process;
use unixproc::log;
use unixproc::priority::set_nice;
use vipd::alone::Alone;
use vipd::announce::Schedule;
use vipd::balance::Node;
use vipd::capabilities;
use vipd::checks::Checks;
use vipd::config::Config;
use vipd::health::Health;
use vipd::history::History;
use vipd::hooks::Hooks;
use vipd::indices::Indices;
use vipd::kernel::{Kernel, Watch};
use vipd::netlink::{Link, LinkAddress};
use vipd::restore::Removals;
use vipd::takeover::{Settings, Takeover};

use super::links::resolve;
use super::publish::Totals;
use super::troubles::Troubles;
use super::wire::Wires;
use super::{
    BUS, CONTROL, Daemon, LOOKED, REFRESH_INTERVAL, REPORT_INTERVAL, RETRY_INTERVAL, SIGNALS,
    WATCH, WIRE,
};
use crate::bus::Bus;
use crate::ward::Ward;

/// A place further ahead in the scheduler's line, where the kernel allows it.
const NICE: i32 = -10;

impl Daemon {
    /// Opens everything, and gives up what is not needed any more; nothing is connected yet.
    /// Addresses that an earlier vipd has left behind are removed, or adopted.
    ///
    /// # Errors
    /// Another vipd answers at the control socket, or the kernel refuses what is needed.
    pub(crate) fn new(
        process: Process,
        config: Config,
        config_path: PathBuf,
        socket: Option<&str>,
    ) -> anyhow::Result<Daemon> {
        let Process { signals, notify } = process;
        let poll = Poll::new()?;
        let control = bind_control(&config, &poll)?;
        let alone = Alone::take()?;
        let mut kernel = Kernel::open().context("no netlink socket")?;
        let watch = Watch::open().context("cannot watch interfaces")?;
        let wires = Wires::open().context("no packet socket, CAP_NET_RAW is needed")?;
        let [arp, advertisements] = wires.descriptors();
        for (fd, token) in [
            (signals.as_raw_fd(), SIGNALS),
            (watch.as_raw_fd(), WATCH),
            (arp, WIRE),
            (advertisements, WIRE),
        ] {
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        if let Err(error) = set_nice(NICE) {
            log::info("nice-refused", &[("error", &error)]);
        }
        capabilities::reduce().context("CAP_NET_ADMIN and CAP_NET_RAW are needed")?;
        let hooks = Hooks::start().context("no thread for hooks")?;
        let waker = Arc::new(Waker::new(poll.registry(), LOOKED)?);
        let (health, checks) = start_checks(&config, waker.clone())?;
        let links = kernel.links().context("cannot list interfaces")?;
        let address = Address::find(socket, config.spread.as_deref())?;
        let node = node_name(&config)?;
        let mut takeover = Takeover::new(settings(&config, &node, able(&config, &links)));
        let held = inherit(&config, &mut kernel, &links, &mut takeover)
            .context("cannot remove addresses, CAP_NET_ADMIN is needed")?;
        let now = Instant::now();
        let mut ward = Ward::new(address.clone(), config.group)?;
        ward.keep(now);
        let mut bus = Bus::new(address, config.group, BUS);
        bus.set_pauses(config.retry_interval, config.grace);
        Ok(Daemon {
            bus,
            sets: sets_by_address(&config),
            poll,
            waker,
            _alone: alone,
            signals,
            notify,
            config_path,
            config,
            node,
            takeover,
            kernel,
            watch,
            wires,
            control: Some(control),
            ward,
            links,
            held,
            schedule: Schedule::default(),
            removals: Removals::default(),
            health,
            checks,
            hooks,
            history: History::default(),
            troubles: Troubles::default(),
            totals: Totals::default(),
            refresh_throttle: log::Throttle::new(REPORT_INTERVAL),
            refresh_at: now + REFRESH_INTERVAL,
            look_at: None,
            retry_at: now + RETRY_INTERVAL,
            publish_at: now,
            compare_at: now,
            published: String::new(),
            drained_until: None,
            pinned_until: BTreeMap::new(),
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

/// What an earlier vipd has left in the kernel is removed; with `OnExit = keep`, whole sets are
/// adopted.
fn inherit(
    config: &Config,
    kernel: &mut Kernel,
    links: &BTreeMap<String, Link>,
    takeover: &mut Takeover,
) -> std::io::Result<BTreeMap<usize, Vec<LinkAddress>>> {
    let mut left = kernel.tagged()?;
    let mut adopted = BTreeMap::new();
    for (set, of) in config
        .sets
        .iter()
        .enumerate()
        .filter(|_| config.keep_on_exit)
    {
        let whole = resolve(of, links).filter(|of| of.iter().all(|at| left.contains(at)));
        if let Some(addresses) = whole {
            left.retain(|at| !addresses.contains(at));
            takeover.adopt(Instant::now(), set);
            adopted.insert(set, addresses);
        }
    }
    kernel.remove(&left)?;
    if !left.is_empty() || !adopted.is_empty() {
        let fields: log::Fields = &[("addresses", &left.len()), ("adopted-sets", &adopted.len())];
        log::notice("purged", fields);
    }
    Ok(adopted)
}

/// The threads of the file's checks, and the states that they lead to.
pub(super) fn start_checks(
    config: &Config,
    waker: Arc<Waker>,
) -> std::io::Result<(Health, Checks)> {
    let mut health = Health::default();
    for check in &config.checks {
        health.add(&check.name, check.rise, check.fall, Instant::now());
    }
    let wake = move || {
        if let Err(error) = waker.wake() {
            log::warning("look-not-told", &[("error", &error)]);
        }
    };
    Ok((health, Checks::start(&config.checks, wake)?))
}

pub(super) fn sets_by_address(config: &Config) -> HashMap<IpAddr, usize> {
    let sets = config.sets.iter().enumerate();
    sets.flat_map(|(set, of)| of.addresses.iter().map(move |at| (at.address, set)))
        .collect()
}

/// The sets whose interfaces are all here, with a carrier.
pub(super) fn able(config: &Config, links: &BTreeMap<String, Link>) -> Indices {
    let running = |name: &String| links.get(name).is_some_and(|link| link.running);
    let sets = config.sets.iter().enumerate();
    sets.filter(|(_, set)| set.addresses.iter().all(|at| running(&at.interface)))
        .map(|(index, _)| index)
        .collect()
}

pub(super) fn settings(config: &Config, node: &str, able: Indices) -> Settings {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO);
    Settings {
        node: Node {
            name: node.to_owned(),
            weight: config.weight,
            able,
            prefers: config.ranks(node),
            ..Node::default()
        },
        incarnation: since.as_nanos() as u64 ^ u64::from(std::process::id()),
        sets: config.descriptions(),
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
