//! The thread around the loops: signals, the bus, the control socket, the walk over the disk.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use imgcache::control::{Answer, Failure, Request as Question, Status};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker, event};
use status::ControlServer;
use unixproc::daemon::Process;
use unixproc::exit;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::{Signal, Signals};

use crate::answers;
use crate::bus::Bus;
use crate::config::Config;
use crate::disk::Task;
use crate::health;
use crate::orders::{Confirming, ORDERS_MAX, answer_order, carry_out};
use crate::origins;
use crate::shared::{Order, Shared, now_ms};
use crate::start::{listen_all, open_cache, open_log, raise_descriptors, start_loops};
use crate::walk::Walk;

const SIGNALS: Token = Token(0);
const BUS: Token = Token(1);
const WALK: Token = Token(2);
const CONTROL: Token = Token(3);

/// Batches of the walk that are looked at in one turn.
const BATCHES: usize = 2;

/// Timers are looked at this often.
const TICK: Duration = Duration::from_secs(1);

/// How often the program says how it is, and notes that it has missed no purge.
const STATUS: Duration = Duration::from_secs(5);

/// An orderly stop takes no longer than this.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The program at work.
#[derive(Debug)]
pub(crate) struct Daemon {
    poll: Poll,
    signals: Signals,
    notify: Notify,
    /// The file of the configuration, to be read again.
    file: PathBuf,
    control: ControlServer,
    pub(crate) bus: Option<Bus>,
    pub(crate) shared: Arc<Shared>,
    loops: Vec<JoinHandle<io::Result<()>>>,
    waker: Arc<Waker>,
    walk: Option<Walk>,
    counted: bool,
    /// A sweep that is over, but for requests that were under way before it.
    swept: Option<u64>,
    orders: Receiver<Order>,
    pub(crate) confirming: Vec<Confirming>,
    tick_at: Instant,
    status_at: Instant,
    last_status: String,
    started: Instant,
    stop_by: Option<Instant>,
}

impl Daemon {
    /// Opens everything and starts the loops.
    ///
    /// # Errors
    /// A socket or the disk refuses it.
    pub(crate) fn new(
        process: Process,
        config: Config,
        file: PathBuf,
        socket: Option<&str>,
    ) -> anyhow::Result<Daemon> {
        let Process { signals, notify } = process;
        let poll = Poll::new()?;
        let registry = poll.registry();
        let source = signals.as_raw_fd();
        registry.register(&mut SourceFd(&source), SIGNALS, Interest::READABLE)?;
        raise_descriptors();
        let listeners = listen_all(&config)?;
        if let Some(directory) = config.control.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let control = ControlServer::bind(&config.control, 0o600, registry, CONTROL)
            .map_err(|error| anyhow::anyhow!("{}: {error}", config.control.display()))?;
        let waker = Arc::new(Waker::new(registry, WALK)?);
        let cache = open_cache(&config)?;
        let missed = answers::missed(&cache);
        let bus = match config.group {
            Some(group) => {
                // Purges before this moment may have been missed.
                cache.lock().isolation.begin(now_ms());
                let address = group::Address::find(socket, config.socket.as_deref())?;
                Some(Bus::new(address, group, BUS, missed))
            }
            None => None,
        };
        let log = open_log(&config, socket)?;
        let (sender, orders) = sync_channel(ORDERS_MAX);
        let config = Arc::new(config);
        let shared = Shared::new(cache, config, log, sender, Arc::clone(&waker))?;
        let shared = Arc::new(shared);
        origins::resolve(&shared)?;
        health::watch(&shared)?;
        let loops = start_loops(&shared, listeners, &waker)?;
        let walk = Walk::start(
            shared.cache.root.path(),
            shared.cache.read().rules.to_sweep(),
            Arc::clone(&waker),
        )?;
        let now = Instant::now();
        Ok(Daemon {
            notify,
            poll,
            signals,
            file,
            control,
            bus,
            shared,
            loops,
            waker,
            walk: Some(walk),
            counted: false,
            swept: None,
            orders,
            confirming: Vec::new(),
            tick_at: now + TICK,
            status_at: now,
            last_status: String::new(),
            started: now,
            stop_by: None,
        })
    }

    /// Tells whoever waits that the program does its work.
    pub(crate) fn announce(&self) {
        let config = self.shared.config();
        log::notice(
            "ready",
            &[
                ("sites", &config.sites.len()),
                ("loops", &self.loops.len()),
                ("root", &self.shared.cache.root.path().display()),
            ],
        );
        self.notify.ready();
    }

    /// Works until it is told to stop; gives the exit code.
    ///
    /// # Errors
    /// An event loop is broken.
    pub(crate) fn run(&mut self) -> io::Result<u8> {
        let mut events = Events::with_capacity(256);
        loop {
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                self.handle_event(event);
            }
            while let Some(signal) = self.signals.next() {
                if let Some(status) = self.handle_signal(signal) {
                    return Ok(status);
                }
            }
            let now = Instant::now();
            while let Ok(order) = self.orders.try_recv() {
                self.take_order(order, now);
            }
            self.use_bus(now);
            self.read_walk();
            if now >= self.tick_at {
                self.tick(now);
            }
            self.notify.alive(now);
            if let Some(status) = self.stopped(now)? {
                return Ok(status);
            }
        }
    }

    fn timeout(&self) -> Duration {
        if self.bus.as_ref().is_some_and(Bus::is_readable) {
            return Duration::ZERO;
        }
        let bus = self.bus.as_ref().filter(|_| self.stop_by.is_none());
        let connect_at = bus.and_then(Bus::connect_at).unwrap_or(self.tick_at);
        let next = self.tick_at.min(connect_at);
        let next = self.notify.alive_at().map_or(next, |at| next.min(at));
        next.saturating_duration_since(Instant::now())
    }

    fn handle_event(&mut self, event: &event::Event) {
        let token = event.token();
        if let Some(bus) = &mut self.bus {
            bus.handle_event(event);
        }
        if self.control.tokens().contains(&token.0) {
            self.answer_control(token);
        }
    }

    /// Connects, receives, carries out purges and answers them.
    fn use_bus(&mut self, now: Instant) {
        let Some(bus) = &mut self.bus else { return };
        if self.stop_by.is_none() {
            bus.connect(self.poll.registry(), now);
        }
        let news = bus.receive(now);
        let cache = &self.shared.cache;
        if news.lost {
            cache.lock().isolation.begin(now_ms());
        }
        let config = self.shared.config();
        if !news.replayed.is_empty() {
            // Written or not, they hold from now on; whether they survive has been logged.
            let _ = carry_out(cache, &news.replayed, &config, "replay");
        }
        if let Some(complete) = news.whole {
            let missed_until = if complete { 0 } else { now_ms() };
            cache.lock().isolation.end(missed_until);
            self.status_at = now;
            log::info("caught-up", &[("complete", &complete)]);
        }
        for order in &news.orders {
            let answer = answer_order(cache, order, &config);
            bus.answer(order, &answer);
        }
        self.confirm(&news, now);
        if !(news.orders.is_empty() && news.replayed.is_empty()) {
            self.start_sweep();
            let shared = &self.shared;
            if shared.cache.has_deleted() && shared.disk.submit(Task::Close).is_err() {
                shared.cache.close_deleted();
            }
        }
    }

    pub(crate) fn start_sweep(&mut self) {
        let sweeps = self.shared.cache.read().rules.to_sweep();
        if self.walk.is_some() || self.swept.is_some() || sweeps.is_none() {
            return;
        }
        match Walk::start(
            self.shared.cache.root.path(),
            sweeps,
            Arc::clone(&self.waker),
        ) {
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
                    batch
                        .iter()
                        .for_each(|seen| self.shared.cache.see(seen, sweep));
                }
                Ok(None) => return,
                Err(()) => {
                    self.swept = self.walk.take().and_then(|walk| walk.sweeps);
                    self.counted = true;
                    self.shared.cache.lock().store.space.end_count();
                    return self.finish_sweep();
                }
            }
        }
        // There may be more.
        let _ = self.waker.wake();
    }

    /// Forgets purges that have been swept, once nothing is under way that they concern.
    fn finish_sweep(&mut self) {
        let Some(swept) = self.swept else { return };
        if self.shared.cache.read().has_fills_before(swept) {
            return;
        }
        self.swept = None;
        self.shared.cache.end_sweep(swept);
        self.start_sweep();
    }

    fn tick(&mut self, now: Instant) {
        self.tick_at = now + TICK;
        self.finish_sweep();
        self.publish(now);
    }

    /// Says on the bus how the program is: every 5 s, and sooner if something has changed.
    fn publish(&mut self, now: Instant) {
        let status = answers::brief(&self.status());
        let is_due = now >= self.status_at;
        if !is_due && status == self.last_status {
            return;
        }
        if is_due && !self.shared.cache.read().isolation.is_on() {
            answers::note_whole(&self.shared.cache);
        }
        self.status_at = now + STATUS;
        if let Some(bus) = &mut self.bus {
            bus.publish(&status);
        }
        self.last_status = status;
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
                self.stop_by = Some(Instant::now() + STOP_TIMEOUT + TICK);
                self.shared.stopping.store(true, Ordering::Relaxed);
                self.shared.wake_loops();
            }
            Signal::User1 => {
                let inner = self.shared.cache.read();
                log::notice(
                    "status",
                    &[
                        ("connections", &self.shared.clients()),
                        ("fetches", &self.shared.fetches.load(Ordering::Relaxed)),
                        ("objects", &inner.store.space.objects()),
                        ("used-bytes", &inner.store.space.used()),
                    ],
                );
            }
            Signal::Hangup => self.reload(),
            _ => {}
        }
        None
    }

    /// Reads the configuration again; if there is an error in it, the old one stays.
    fn reload(&mut self) {
        self.notify.reloading();
        if let Some(log) = &self.shared.log {
            log.reopen();
        }
        match answers::reload(&self.file, &self.shared) {
            Ok(()) => log::notice("reloaded", &[]),
            Err(errors) => errors
                .lines()
                .for_each(|error| log::error("reload-failed", &[("error", &error)])),
        }
        self.notify.ready();
    }

    /// Goes through the steps of an orderly stop: requests are answered first, then the group is
    /// left, so that whoever waits for this cache knows that it does not serve any more.
    fn stopped(&mut self, now: Instant) -> io::Result<Option<u8>> {
        let ended = self.loops.iter().any(JoinHandle::is_finished);
        if ended && self.stop_by.is_none() {
            return Err(io::Error::other("a loop has ended"));
        }
        let Some(stop_by) = self.stop_by else {
            return Ok(None);
        };
        if !self.loops.iter().all(JoinHandle::is_finished) && now < stop_by {
            return Ok(None);
        }
        if let Some(log) = &self.shared.log {
            log.finish();
        }
        if let Some(bus) = self.bus.take() {
            bus.leave();
        }
        if !self.shared.cache.read().isolation.is_on() {
            answers::note_whole(&self.shared.cache);
        }
        if let Err(error) = self.shared.cache.lock().store.close() {
            log::warning("write-failed", &[("error", &error)]);
        }
        log::notice("stopped", &[]);
        Ok(Some(exit::DONE))
    }

    fn answer_control(&mut self, token: Token) {
        let status = self.status();
        let Daemon {
            control,
            shared,
            poll,
            ..
        } = self;
        let mut answer = |question: Question| match question {
            Question::Status => Answer::Status(status.clone()),
            Question::Show { what } => answers::show(shared, &what)
                .map_or_else(|error| Answer::Failure(Failure { error }), Answer::Show),
        };
        if let Err(error) = control.handle_event(poll.registry(), token, &mut answer) {
            log::warning("control-failed", &[("error", &error)]);
        }
    }

    fn status(&self) -> Status {
        let bus = self.bus.as_ref();
        let members = bus.map(Bus::members).unwrap_or_default();
        let session = bus.and_then(Bus::session_name);
        answers::status(
            &self.shared,
            session.map(|name| name.to_string()),
            members.iter().map(|name| name.to_string()).collect(),
            self.counted,
            self.started.elapsed(),
        )
    }
}
