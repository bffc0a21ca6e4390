//! The loop: sockets, signals, the bus, the walk over the disk, timers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use imgcache::control::{Answer, Failure, Request as Question, Show, Site as SiteCount, Status};
use imgcache::names::{self, FileName, Target};
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};
use status::ControlServer;
use unixproc::exit;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::{Signal, Signals};

use crate::bus::Bus;
use crate::cache::{Cache, Place};
use crate::client::{Client, Phase};
use crate::config::Config;
use crate::fetch::Fetch;
use crate::store::Store;
use crate::walk::Walk;

const SIGNALS: Token = Token(0);
const BUS: Token = Token(1);
const WALK: Token = Token(2);
const CONTROL: Token = Token(3);
const LISTEN: usize = 32;

/// Connections take tokens from here on: even ones are clients, odd ones origins.
const FIRST: usize = 1024;

/// Bound: connections of clients; another one is closed at once.
const CLIENTS_MAX: usize = 20_000;

/// Connections accepted in one turn.
const ACCEPTS: usize = 64;

/// Batches of the walk that are looked at in one turn.
const BATCHES: usize = 2;

const BACKLOG: i32 = 1024;

/// Timers are looked at this often.
const TICK: Duration = Duration::from_secs(1);

/// An orderly stop takes no longer than this.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Names of origins are looked up this often.
const RESOLVE: Duration = Duration::from_secs(30);

/// Idle connections to origins are closed after this time; many origins do so after 5 s.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// Bound: responses that are known not to be storable.
pub(crate) const PASSES_MAX: usize = 4096;

/// Addresses of the origins, by `HOST:PORT`.
type Addresses = Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>;

/// Something that may go on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Client(usize),
    Fetch(usize),
}

/// The program at work.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) poll: Poll,
    signals: Signals,
    notify: Notify,
    pub(crate) config: Config,
    listeners: Vec<TcpListener>,
    control: ControlServer,
    pub(crate) bus: Option<Bus>,
    pub(crate) cache: Cache,
    waker: Arc<Waker>,
    walk: Option<Walk>,
    counted: bool,
    /// A sweep that is over, but for requests that were under way before it.
    swept: Option<u64>,
    /// Empty while one is at work.
    pub(crate) clients: Slab<Option<Box<Client>>>,
    pub(crate) fetches: Slab<Option<Box<Fetch>>>,
    /// Requests that others may wait for, by the file of their object.
    pub(crate) in_flight: HashMap<String, usize>,
    /// Files whose responses could not be stored, until when that is believed.
    pub(crate) passes: HashMap<String, Instant>,
    pub(crate) ready: VecDeque<Work>,
    addresses: Addresses,
    /// Idle connections to origins, and since when.
    pub(crate) pool: HashMap<SocketAddr, Vec<(TcpStream, Instant)>>,
    /// Origins that did not answer, until when they are tried last.
    pub(crate) failed: HashMap<SocketAddr, Instant>,
    pub(crate) counts: Vec<SiteCount>,
    pub(crate) scratch: Vec<u8>,
    tick_at: Instant,
    started: Instant,
    stop_by: Option<Instant>,
}

impl Server {
    /// Opens everything; nothing is served yet.
    ///
    /// # Errors
    /// A socket or the disk refuses it, or an origin has no address.
    pub(crate) fn new(config: Config, socket: Option<&str>) -> anyhow::Result<Server> {
        let poll = Poll::new()?;
        let caught = [
            Signal::Hangup,
            Signal::Terminate,
            Signal::Interrupt,
            Signal::User1,
        ];
        let signals = Signals::install(&caught)?;
        let registry = poll.registry();
        registry.register(
            &mut SourceFd(&signals.as_raw_fd()),
            SIGNALS,
            Interest::READABLE,
        )?;
        let mut listeners = Vec::new();
        for (index, &address) in config.listen.iter().enumerate() {
            let mut listener = listen(address)
                .map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))?;
            registry.register(&mut listener, Token(LISTEN + index), Interest::READABLE)?;
            listeners.push(listener);
        }
        if let Some(directory) = config.control.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let control = ControlServer::bind(&config.control, 0o600, registry, CONTROL)
            .map_err(|error| anyhow::anyhow!("{}: {error}", config.control.display()))?;
        let store = Store::open(&config.cache_root, config.cache_bytes_max)
            .map_err(|error| anyhow::anyhow!("{}: {error}", config.cache_root.display()))?;
        let cache = Cache::new(store, config.memory_bytes_max, config.on_isolation)?;
        let addresses = resolve_all(&config)?;
        let bus = match config.group {
            Some(group) => {
                let address = group::Address::find(socket, config.socket.as_deref())?;
                Some(Bus::new(address, group, BUS))
            }
            None => None,
        };
        let waker = Arc::new(Waker::new(registry, WALK)?);
        let walk = Some(Walk::start(
            cache.store.path(),
            cache.rules.to_sweep(),
            Arc::clone(&waker),
        )?);
        let counts = vec![SiteCount::default(); config.sites.len()];
        let now = Instant::now();
        let mut server = Server {
            notify: Notify::from_env()?,
            poll,
            signals,
            config,
            listeners,
            control,
            bus,
            cache,
            waker,
            walk,
            counted: false,
            swept: None,
            clients: Slab::new(),
            fetches: Slab::new(),
            in_flight: HashMap::new(),
            passes: HashMap::new(),
            ready: VecDeque::new(),
            addresses,
            pool: HashMap::new(),
            failed: HashMap::new(),
            counts,
            scratch: vec![0; 64 << 10],
            tick_at: now + TICK,
            started: now,
            stop_by: None,
        };
        // Purges before this moment may have been missed.
        server.cache.isolated = server.bus.is_some();
        Ok(server)
    }

    /// Tells whoever waits that the program does its work.
    pub(crate) fn announce(&self) {
        log::notice(
            "ready",
            &[
                ("sites", &self.config.sites.len()),
                ("root", &self.cache.store.path().display()),
            ],
        );
        self.notify.ready();
    }

    /// Works until it is told to stop; gives the exit code.
    ///
    /// # Errors
    /// The event loop is broken.
    pub(crate) fn run(&mut self) -> io::Result<u8> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                self.handle_event(event.token(), event.is_writable());
            }
            while let Some(signal) = self.signals.next() {
                if let Some(status) = self.handle_signal(signal) {
                    return Ok(status);
                }
            }
            let now = Instant::now();
            self.use_bus(now);
            self.read_walk();
            // What becomes ready meanwhile has its turn after the next poll.
            for _ in 0..self.ready.len() {
                match self.ready.pop_front() {
                    Some(Work::Client(id)) => self.serve(id),
                    Some(Work::Fetch(id)) => self.drive(id),
                    None => break,
                }
            }
            if now >= self.tick_at {
                self.tick(now);
            }
            if let Some(status) = self.stopped(now) {
                return Ok(status);
            }
        }
    }

    fn timeout(&self) -> Duration {
        let busy = !self.ready.is_empty() || self.bus.as_ref().is_some_and(Bus::is_readable);
        if busy {
            Duration::ZERO
        } else {
            self.tick_at.saturating_duration_since(Instant::now())
        }
    }

    fn handle_event(&mut self, token: Token, writable: bool) {
        match token.0 {
            index if index >= FIRST => {
                let id = (index - FIRST) / 2;
                self.ready.push_back(if index % 2 == 0 {
                    Work::Client(id)
                } else {
                    Work::Fetch(id)
                });
            }
            index if index >= LISTEN => self.accept(index - LISTEN),
            _ if token == BUS => {
                if let Some(bus) = &mut self.bus {
                    bus.handle_event(writable);
                }
            }
            index if self.control.tokens().contains(&index) => self.answer_control(token),
            _ => {}
        }
    }

    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get(index) else {
                return;
            };
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    log::warning("accept-failed", &[("error", &error)]);
                    return;
                }
            };
            if self.clients.len() >= CLIENTS_MAX {
                continue;
            }
            let slot = self.clients.vacant_entry();
            let id = slot.key();
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self
                .poll
                .registry()
                .register(&mut stream, client_token(id), interest)
                .is_ok()
            {
                slot.insert(Some(Box::new(Client::new(stream, Instant::now()))));
                self.ready.push_back(Work::Client(id));
            }
        }
        // There may be more, and the listener does not tell twice.
        if let Some(listener) = self.listeners.get_mut(index) {
            let _ = self.poll.registry().reregister(
                listener,
                Token(LISTEN + index),
                Interest::READABLE,
            );
        }
    }

    /// Connects, receives, and answers purges.
    fn use_bus(&mut self, now: Instant) {
        let Some(bus) = &mut self.bus else { return };
        if self.stop_by.is_none() {
            bus.connect(self.poll.registry(), now);
        }
        let news = bus.receive(now);
        if news.lost {
            self.cache.isolated = true;
        }
        if news.whole {
            self.cache.end_isolation(now_ms());
        }
        for order in news.orders {
            let answer = order.carry_out(&mut self.cache, &self.config.sites);
            if let Some(bus) = &mut self.bus {
                bus.answer(&order, &answer);
            }
            self.start_sweep();
        }
    }

    fn start_sweep(&mut self) {
        if self.walk.is_some() || self.swept.is_some() || self.cache.rules.to_sweep().is_none() {
            return;
        }
        let sweeps = self.cache.rules.to_sweep();
        match Walk::start(self.cache.store.path(), sweeps, Arc::clone(&self.waker)) {
            Ok(walk) => self.walk = Some(walk),
            // The purges hold all the same.
            Err(error) => log::warning("sweep-failed", &[("error", &error)]),
        }
    }

    fn read_walk(&mut self) {
        for _ in 0..BATCHES {
            let Some(walk) = &self.walk else { return };
            match walk.next() {
                Ok(Some(batch)) => {
                    let sweep = walk.sweeps.is_some();
                    batch.iter().for_each(|seen| self.cache.see(seen, sweep));
                }
                Ok(None) => return,
                Err(()) => {
                    self.swept = self.walk.take().and_then(|walk| walk.sweeps);
                    self.counted = true;
                    self.cache.store.space.end_count();
                    self.finish_sweep();
                    return;
                }
            }
        }
        // There may be more.
        let _ = self.waker.wake();
    }

    /// Forgets purges that have been swept, once nothing is under way that they concern.
    fn finish_sweep(&mut self) {
        let Some(swept) = self.swept else { return };
        let older = |fetch: &Fetch| fetch.number.is_some_and(|number| number < swept);
        if self
            .fetches
            .iter()
            .any(|(_, fetch)| fetch.as_ref().is_some_and(|fetch| older(fetch)))
        {
            return;
        }
        self.swept = None;
        self.cache.end_sweep(swept);
        self.start_sweep();
    }

    fn tick(&mut self, now: Instant) {
        self.tick_at = now + TICK;
        let late: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| {
                client.as_ref().is_some_and(|client| {
                    // One that waits for an origin is not to blame.
                    client.deadline <= now && !matches!(client.phase, Phase::Waiting)
                })
            })
            .map(|(id, _)| id)
            .collect();
        for id in late {
            self.close_client(id);
        }
        let late: Vec<usize> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| {
                fetch
                    .as_ref()
                    .is_some_and(|fetch| fetch.deadline <= now && !fetch.is_over())
            })
            .map(|(id, _)| id)
            .collect();
        for id in late {
            self.time_out(id);
        }
        for idle in self.pool.values_mut() {
            idle.retain(|(_, since)| now.duration_since(*since) < POOL_IDLE);
        }
        self.pool.retain(|_, idle| !idle.is_empty());
        self.failed.retain(|_, until| *until > now);
        self.passes.retain(|_, until| *until > now);
        self.finish_sweep();
        self.notify.alive();
    }

    /// Acts on a signal; gives the exit code if the program is to end at once.
    fn handle_signal(&mut self, signal: Signal) -> Option<u8> {
        match signal {
            Signal::Terminate | Signal::Interrupt if self.stop_by.is_some() => {
                return Some(exit::FAILED);
            }
            Signal::Terminate | Signal::Interrupt => {
                log::notice("stopping", &[]);
                self.notify.stopping();
                self.stop_by = Some(Instant::now() + STOP_TIMEOUT);
                self.listeners.clear();
            }
            Signal::User1 => log::notice(
                "status",
                &[
                    ("connections", &self.clients.len()),
                    ("fetches", &self.fetches.len()),
                    ("objects", &self.cache.store.space.objects()),
                    ("used-bytes", &self.cache.store.space.used()),
                ],
            ),
            _ => {}
        }
        None
    }

    /// Goes through the steps of an orderly stop: requests are answered first, then the group is
    /// left, so that whoever waits for this cache knows that it does not serve any more.
    fn stopped(&mut self, now: Instant) -> Option<u8> {
        let stop_by = self.stop_by?;
        let idle: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| {
                client
                    .as_ref()
                    .is_some_and(|client| matches!(client.phase, Phase::Head))
            })
            .map(|(id, _)| id)
            .collect();
        for id in idle {
            self.close_client(id);
        }
        if !self.clients.is_empty() && now < stop_by {
            return None;
        }
        if let Some(bus) = self.bus.take() {
            bus.leave();
        }
        if let Err(error) = self.cache.store.close() {
            log::warning("write-failed", &[("error", &error)]);
        }
        log::notice("stopped", &[]);
        Some(exit::DONE)
    }

    fn answer_control(&mut self, token: Token) {
        let status = self.status();
        let Server {
            control,
            cache,
            config,
            poll,
            ..
        } = self;
        let mut answer = |question: Question| match question {
            Question::Status => Answer::Status(status.clone()),
            Question::Show { what } => show(cache, config, &what)
                .map_or_else(|error| Answer::Failure(Failure { error }), Answer::Show),
        };
        if let Err(error) = control.handle_event(poll.registry(), token, &mut answer) {
            log::warning("control-failed", &[("error", &error)]);
        }
    }

    fn status(&self) -> Status {
        let names = self.config.sites.iter().map(|site| site.names[0].clone());
        let bus = self.bus.as_ref();
        Status {
            session: bus.and_then(Bus::session_name),
            isolated: self.cache.isolated,
            members: bus.map(Bus::member_names).unwrap_or_default(),
            purge: self.cache.rules.last(),
            connections: self.clients.len() as u64,
            fetches: self.fetches.len() as u64,
            objects: self.cache.store.space.objects(),
            used_bytes: self.cache.store.space.used(),
            size_bytes: self.config.cache_bytes_max,
            counted: self.counted,
            evictions: self.cache.store.evictions,
            sites: names.zip(self.counts.iter().copied()).collect(),
            uptime_seconds: self.started.elapsed().as_secs(),
        }
    }

    /// The addresses of a site's origins in the order in which they are to be tried: those that
    /// did not answer lately come last.
    pub(crate) fn origins(&self, site: usize) -> Vec<(usize, SocketAddr)> {
        let addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut list = Vec::new();
        for (index, origin) in self.config.sites[site].origins.iter().enumerate() {
            list.extend(
                addresses
                    .get(&origin.authority)
                    .into_iter()
                    .flatten()
                    .map(|address| (index, *address)),
            );
        }
        list.sort_by_key(|(_, address)| self.failed.contains_key(address));
        list
    }
}

/// What there is about a URL, or about a file below the root.
fn show(cache: &mut Cache, config: &Config, what: &str) -> Result<Show, String> {
    let (site, target) = match what.strip_prefix("http://") {
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host
                .split_once(':')
                .map_or(host, |(host, _)| host)
                .to_ascii_lowercase();
            let site = config
                .site(&host)
                .ok_or_else(|| format!("no site has the name {host:?}"))?;
            let path = if path.is_empty() { "/" } else { path };
            let target =
                Target::parse(path.as_bytes()).map_err(|error| format!("{path:?}: {error}"))?;
            (config.sites[site].names[0].clone(), target)
        }
        None => {
            let root = format!("{}/", cache.store.path().display());
            match names::read_file_name(what.strip_prefix(&root).unwrap_or(what)) {
                FileName::Object {
                    site,
                    target: Some(target),
                    ..
                } => (site, target),
                _ => return Err(format!("neither a URL nor a file of this cache: {what:?}")),
            }
        }
    };
    let place = Place {
        site: &site,
        target: &target,
    };
    let (file, state, metadata) = cache.show(place).map_err(|error| error.to_string())?;
    let file = cache.store.path().join(file).display().to_string();
    Ok(Show {
        url: place.url(),
        file,
        state: state.to_owned(),
        metadata,
    })
}

pub(crate) fn client_token(id: usize) -> Token {
    Token(FIRST + 2 * id)
}

pub(crate) fn fetch_token(id: usize) -> Token {
    Token(FIRST + 2 * id + 1)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as i64)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // Connections inherit it: one system call less for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Looks up all origins, and goes on doing so in a thread if they have names.
fn resolve_all(config: &Config) -> anyhow::Result<Addresses> {
    let origins = config.sites.iter().flat_map(|site| &site.origins);
    let mut names: Vec<String> = origins.map(|origin| origin.authority.clone()).collect();
    names.sort();
    names.dedup();
    let mut found = HashMap::new();
    for name in &names {
        match name.to_socket_addrs() {
            Ok(addresses) => {
                found.insert(name.clone(), addresses.collect());
            }
            Err(error) => log::warning("origin-unknown", &[("origin", name), ("error", &error)]),
        }
    }
    let addresses = Arc::new(Mutex::new(found));
    names.retain(|name| name.parse::<SocketAddr>().is_err());
    if !names.is_empty() {
        let shared = Arc::clone(&addresses);
        thread::Builder::new()
            .name("resolve".to_owned())
            .spawn(move || resolve_again(&names, &shared))?;
    }
    Ok(addresses)
}

/// Looks up names for ever; one that cannot be found keeps its last addresses.
fn resolve_again(names: &[String], addresses: &Addresses) {
    loop {
        thread::sleep(RESOLVE);
        for name in names {
            if let Ok(found) = name.to_socket_addrs() {
                let found = found.collect();
                addresses
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(name.clone(), found);
            }
        }
    }
}
