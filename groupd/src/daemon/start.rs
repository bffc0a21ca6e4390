//! How a daemon comes up: what it reads, what it opens, and in which order.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use group::name::DaemonName;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use status::ControlServer;
use totem::Totem;
use totem::time::Time;
use totem::view::Incarnation;
use unixproc::daemon::Process;
use unixproc::log;
use unixproc::signal::Signals;

use super::{
    CONTROL, DATA, Daemon, LISTENERS, RELOADED, Reload, SEGMENT, SESSIONS, SIGNALS, Stop, TOKEN,
};
use crate::bus::{Bus, SUBMIT_BYTES_MAX};
use crate::config::{self, Config};
use crate::key;
use crate::listen::{self, Endpoints, Listener};
use crate::notices::Notices;
use crate::open_ring::OpenRing;
use crate::ports::{Port, Ports, is_local};
use crate::questions::Questions;
use crate::sessions::{Bounds, Sessions};
use crate::state::{self, State, StateFile};

/// Descriptors that are not sessions: sockets, files, the control socket's connections.
const DESCRIPTORS_RESERVED: u64 = 64;
/// Descriptors asked of the system.
const DESCRIPTORS_WANTED: u64 = 65_536;

/// Where the configuration comes from, at the start and at SIGHUP.
pub(crate) struct Source {
    /// The file; none for the setting that is built in.
    pub(crate) path: Option<PathBuf>,
    /// Which daemon this is, if the command line says so.
    pub(crate) name: Option<String>,
}

impl Source {
    /// Reads the configuration, and finds this daemon in it.
    pub(crate) fn load(&self) -> anyhow::Result<(Config, usize)> {
        let config = match &self.path {
            Some(path) => config_file(path)?,
            None => Config::built_in(),
        };
        let found = config.find_self(self.name.as_deref(), is_local);
        let me = found.map_err(|message| match &self.path {
            Some(path) => anyhow!("{}: {message}", path.display()),
            None => anyhow!("{message}"),
        })?;
        Ok((config, me))
    }
}

fn config_file(path: &Path) -> anyhow::Result<Config> {
    Ok(conf::read(path, |name, text| {
        let config = config::parse(name, text)?;
        config.check_machine(name)?;
        Ok(config)
    })?)
}

impl Daemon {
    /// Opens everything and starts as a ring of one.
    pub(crate) fn start(
        source: Source,
        config: Config,
        me: usize,
        socket: Option<&str>,
        inherited: Vec<OwnedFd>,
        Process { signals, notify }: Process,
    ) -> anyhow::Result<Daemon> {
        for ignored in &config.settings.ignored {
            log::notice("directive-ignored", &[("reason", ignored)]);
        }
        let origin = Instant::now();
        let key = read_key(&config, me)?;
        let sealed = key.is_some();
        let ports = Ports::open(config.layout(me))?;
        let endpoints = Endpoints::open(&config, me, socket, inherited)?;
        let mut state = open_state(&config, me);
        let life = begin_life(state.as_mut())?;
        let totem = Totem::new(
            ring_config(&config, me, key, ports.receive_buffer_bytes()),
            life,
            Time(0),
        );
        let bus = Bus::new(totem, &config, me);
        let name = &config.daemons[me].name;
        let name = DaemonName::new(name.as_bytes()).context("a checked name")?;
        let sessions = Sessions::new(name, bounds(&config), SESSIONS);

        let poll = Poll::new()?;
        let reload = Reload::new(poll.registry(), RELOADED)?;
        let mut listeners = endpoints.listeners;
        register(&poll, &ports, &signals, &mut listeners)?;
        let path = endpoints.control;
        let mode = listen::mode(&config.settings);
        let control = ControlServer::bind(&path, mode, poll.registry(), CONTROL)
            .with_context(|| path.display().to_string())?;
        listen::give_to_group(&path, &config.settings)?;
        let now = Time(0);
        let offload = ports.offloads();
        let open = !sealed && !config.layout(me).local.ip().is_loopback();
        Ok(Daemon {
            source,
            started_with: config.settings.clone(),
            config,
            reload,
            me,
            poll,
            origin,
            bus,
            ports,
            sessions,
            listeners,
            questions: Questions::new(control),
            state,
            incarnation: life.incarnation.0,
            sealed,
            notices: Notices::default(),
            signals,
            notify,
            buffer: Vec::new(),
            data_ready: true,
            token_ready: true,
            listeners_ready: true,
            offload,
            accept_at: None,
            open_ring: OpenRing::new(open, now),
            stop: Stop::Running,
        })
    }
}

/// Which life this is: greater than every earlier one, by what was stored or by the wall clock.
fn begin_life(state: Option<&mut StateFile>) -> anyhow::Result<totem::config::Start> {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let earlier = state.as_ref().map(|file| file.state()).unwrap_or_default();
    let incarnation = (wall.as_nanos() as u64).max(earlier.incarnation.saturating_add(1));
    if let Some(file) = state {
        file.store(State {
            incarnation,
            ..earlier
        })
        .context("StateDir")?;
    }
    Ok(totem::config::Start {
        incarnation: Incarnation(incarnation),
        persisted_counter: earlier.counter,
        clock_seconds: wall.as_secs(),
        seed: rand::random(),
    })
}

/// What the ring is told of the file.
fn ring_config(
    config: &Config,
    me: usize,
    key: Option<totem::config::Key>,
    receive_buffer_bytes: usize,
) -> totem::config::Config {
    totem::config::Config {
        me: config.daemons[me].id(),
        members: config.members(),
        key,
        timers: config.timers(),
        datagram_bytes: config.settings.datagram_bytes,
        receive_buffer_bytes,
        submit_bytes_max: SUBMIT_BYTES_MAX,
        compatibility: PROTOCOL,
    }
}

/// What all daemons of a ring must have in common beside the key: the version of what groupd's
/// daemons say to each other.
const PROTOCOL: u64 = 2;

fn register(
    poll: &Poll,
    ports: &Ports,
    signals: &Signals,
    listeners: &mut [Listener],
) -> anyhow::Result<()> {
    let registry = poll.registry();
    for (port, fd) in ports.descriptors() {
        let token = match port {
            Port::Data => DATA,
            Port::Segment => SEGMENT,
            Port::Token => TOKEN,
        };
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
    }
    registry.register(
        &mut SourceFd(&signals.as_raw_fd()),
        SIGNALS,
        Interest::READABLE,
    )?;
    for (index, listener) in listeners.iter_mut().enumerate() {
        listener.register(registry, Token(LISTENERS.0 + index))?;
    }
    Ok(())
}

/// What the file and the system allow clients.
pub(super) fn bounds(config: &Config) -> Bounds {
    let descriptors = unixproc::limit::raise_descriptors(DESCRIPTORS_WANTED);
    Bounds {
        sessions: descriptors.saturating_sub(DESCRIPTORS_RESERVED) as usize,
        session_queue_bytes: config.settings.session_queue_bytes,
        queue_bytes: config.settings.queue_bytes,
    }
}

/// The key of the file, or the usual one if it exists.
fn read_key(config: &Config, me: usize) -> anyhow::Result<Option<totem::config::Key>> {
    if let Some(path) = &config.settings.key {
        return key::required(path.text.as_ref()).map(Some);
    }
    match key::read(key::DEFAULT_PATH.as_ref()) {
        // A user's own ring on the loopback needs no key of the system.
        Err(error) if config.layout(me).local.ip().is_loopback() && key::is_denied(&error) => {
            Ok(None)
        }
        result => result,
    }
}

/// The state of earlier lives, from where the file says, or the first place that can be written.
fn open_state(config: &Config, me: usize) -> Option<StateFile> {
    let directories = match &config.settings.state_dir {
        Some(directory) => vec![directory.clone()],
        None => state::default_directories(),
    };
    let mut reasons = Vec::new();
    for directory in directories {
        match StateFile::open(&directory, &config.daemons[me].name) {
            Ok(file) => {
                if !reasons.is_empty() {
                    let (directory, reasons) = (directory.display(), reasons.join("; "));
                    log::notice(
                        "state-kept-elsewhere",
                        &[("directory", &directory), ("reason", &reasons)],
                    );
                }
                return Some(file);
            }
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    let reasons = reasons.join("; ");
    log::warning("state-not-kept", &[("reason", &reasons)]);
    None
}
