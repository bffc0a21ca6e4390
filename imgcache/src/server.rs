//! A loop: its listeners, connections and timers. There is one per core, and they share what is in
//! [`Shared`].
//!
//! A client or a fetch is taken out of its slab while it is worked on; whatever becomes ready
//! meanwhile is put into a queue and has its turn after the next poll, so nothing recurses.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker, event};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};
use unixproc::log;

use crate::client::{Client, Phase};
use crate::config::Config;
use crate::disk::Task;
use crate::fetch::{Fetch, State};
use crate::shared::{Letter, Shared};

const WAKE: Token = Token(0);
const LISTEN: usize = 1;

/// Connections take tokens from here on: even ones are clients, odd ones origins.
const FIRST: usize = 1024;

/// Connections accepted in one turn.
const ACCEPTS: usize = 64;

const BACKLOG: i32 = 1024;

/// Timers are looked at this often.
const TICK: Duration = Duration::from_secs(1);

/// How slow a client is, is judged over this time.
const RATE_INTERVAL: Duration = Duration::from_secs(10);

/// Idle connections to origins are closed after this time; many origins do so after 5 s.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// Bound: responses that are known not to be storable.
pub(crate) const PASSES_MAX: usize = 4096;

/// Lines of the access log are handed over when there are so many bytes of them.
const LOG_BYTES: usize = 64 << 10;

/// Bits of a turn's number that count; those above are the loop's.
const TURN_BITS: u32 = 48;

/// Something that may go on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Client(usize),
    Fetch(usize),
}

/// A loop.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: Arc<Config>,
    /// Its number among the loops.
    pub(crate) index: usize,
    generation: u64,
    pub(crate) poll: Poll,
    pub(crate) waker: Arc<Waker>,
    pub(crate) letters: Sender<Letter>,
    inbox: Receiver<Letter>,
    listeners: Vec<TcpListener>,
    /// Empty while one is at work.
    pub(crate) clients: Slab<Option<Box<Client>>>,
    pub(crate) fetches: Slab<Option<Box<Fetch>>>,
    /// Requests that others may wait for, by the file of their object.
    pub(crate) in_flight: HashMap<String, usize>,
    /// Files whose responses could not be stored, until when that is believed.
    pub(crate) passes: HashMap<String, Instant>,
    pub(crate) ready: VecDeque<Work>,
    /// Idle connections to origins, and since when.
    pub(crate) pool: HashMap<SocketAddr, Vec<(TcpStream, Instant)>>,
    pub(crate) scratch: Vec<u8>,
    /// Lines of the access log.
    pub(crate) lines: Vec<u8>,
    /// The number of the present turn, which no other loop has.
    pub(crate) turn: u64,
    /// Its time.
    pub(crate) now: Instant,
    pub(crate) now_ms: i64,
    serials: u64,
    tick_at: Instant,
    stop_by: Option<Instant>,
}

impl Server {
    /// A loop with these listeners; nothing is served yet.
    ///
    /// # Errors
    /// There are no descriptors to be had.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        index: usize,
        mut listeners: Vec<TcpListener>,
    ) -> io::Result<Server> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        for (index, listener) in listeners.iter_mut().enumerate() {
            let token = Token(LISTEN + index);
            poll.registry()
                .register(listener, token, Interest::READABLE)?;
        }
        let (letters, inbox) = channel();
        let now = Instant::now();
        Ok(Server {
            config: shared.config(),
            index,
            generation: shared.generation(),
            shared: Arc::clone(shared),
            poll,
            waker,
            letters,
            inbox,
            listeners,
            clients: Slab::new(),
            fetches: Slab::new(),
            in_flight: HashMap::new(),
            passes: HashMap::new(),
            ready: VecDeque::new(),
            pool: HashMap::new(),
            scratch: vec![0; 64 << 10],
            lines: Vec::new(),
            turn: (index as u64 + 1) << TURN_BITS,
            now,
            now_ms: crate::shared::now_ms(),
            serials: 0,
            tick_at: now + TICK,
            stop_by: None,
        })
    }

    /// Works until it is told to stop and all requests are answered.
    ///
    /// # Errors
    /// The event loop is broken.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.turn += 1;
            self.now = Instant::now();
            self.now_ms = crate::shared::now_ms();
            if self.generation != self.shared.generation() {
                self.generation = self.shared.generation();
                self.config = self.shared.config();
            }
            for event in &events {
                self.handle_event(event);
            }
            while let Ok(letter) = self.inbox.try_recv() {
                self.take_letter(letter);
            }
            // What becomes ready meanwhile has its turn after the next poll.
            for _ in 0..self.ready.len() {
                match self.ready.pop_front() {
                    Some(Work::Client(id)) => self.serve(id),
                    Some(Work::Fetch(id)) => self.drive(id),
                    None => break,
                }
            }
            if self.lines.len() >= LOG_BYTES {
                self.flush_lines();
            }
            if self.now >= self.tick_at {
                self.tick();
            }
            if self.shared.stopping.load(Ordering::Relaxed) && self.has_stopped() {
                self.flush_lines();
                return Ok(());
            }
        }
    }

    fn timeout(&self) -> Duration {
        match self.ready.is_empty() {
            true => self.tick_at.saturating_duration_since(self.now),
            false => Duration::ZERO,
        }
    }

    fn handle_event(&mut self, event: &event::Event) {
        match event.token().0 {
            index if index >= FIRST => {
                let id = (index - FIRST) / 2;
                if index % 2 == 1 {
                    return self.ready.push_back(Work::Fetch(id));
                }
                if let Some(Some(client)) = self.clients.get_mut(id) {
                    client.handle_event(event, self.turn);
                }
                self.ready.push_back(Work::Client(id));
            }
            index if index >= LISTEN => self.accept(index - LISTEN),
            _ => {}
        }
    }

    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get(index) else {
                return;
            };
            match listener.accept() {
                Ok((stream, address)) => self.admit(stream, address),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log::warning("accept-failed", &[("error", &error)]);
                    break;
                }
            }
        }
        // There may be more, and the listener does not tell twice.
        if let Some(listener) = self.listeners.get_mut(index) {
            let token = Token(LISTEN + index);
            let _ = self
                .poll
                .registry()
                .reregister(listener, token, Interest::READABLE);
        }
    }

    fn admit(&mut self, stream: TcpStream, address: SocketAddr) {
        let address = address.ip().to_canonical();
        let limit = self.config.client_limit;
        // One too many is closed without a word: an answer would cost what is to be spared.
        let Some(visit) = self.shared.admit(address, limit) else {
            return;
        };
        let client = Client::new(stream, visit, self.now);
        if let Some(id) = self.take_client(Box::new(client)) {
            self.ready.push_back(Work::Client(id));
        }
    }

    /// Has a connection in this loop from now on; its number.
    pub(crate) fn take_client(&mut self, mut client: Box<Client>) -> Option<usize> {
        let slot = self.clients.vacant_entry();
        let id = slot.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        // A descriptor that cannot be watched is of no use: the connection ends here.
        registry
            .register(&mut client.stream, client_token(id), interest)
            .ok()?;
        self.serials += 1;
        client.serial = self.serials;
        client.begin_again(self.turn);
        slot.insert(Some(client));
        Some(id)
    }

    fn tick(&mut self) {
        let now = self.now;
        self.tick_at = now + TICK;
        let rate = self.config.rate_min;
        let mut late = Vec::new();
        for (id, client) in &mut self.clients {
            let Some(client) = client else { continue };
            // One that waits for an origin, for the disk or for other caches is not to blame.
            let waits = matches!(
                client.phase,
                Phase::Waiting | Phase::Loading | Phase::Purging | Phase::Warming(..)
            );
            if (client.deadline <= now && !waits) || client.is_too_slow(rate, RATE_INTERVAL, now) {
                late.push(id);
            }
        }
        late.into_iter().for_each(|id| self.close_client(id));
        let is_late = |fetch: &Fetch| fetch.deadline <= now && !fetch.is_over();
        let late: Vec<usize> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| fetch.as_ref().is_some_and(|fetch| is_late(fetch)))
            .map(|(id, _)| id)
            .collect();
        late.into_iter().for_each(|id| self.time_out(id));
        for idle in self.pool.values_mut() {
            idle.retain(|(_, since)| now.duration_since(*since) < POOL_IDLE);
        }
        self.pool.retain(|_, idle| !idle.is_empty());
        self.passes.retain(|_, until| *until > now);
        // One loop has it done for all. If the disk has too much to do now, it is for the next time.
        if self.index == 0 && !self.shared.cache.answers.is_empty() {
            let _ = self.shared.disk.submit(Task::Tidy);
        }
        self.flush_lines();
    }

    fn flush_lines(&mut self) {
        if let Some(log) = &self.shared.log
            && !self.lines.is_empty()
        {
            log.push(std::mem::take(&mut self.lines));
        }
    }

    /// No request is accepted any more; whether all are answered, or the time is over.
    fn has_stopped(&mut self) -> bool {
        let stop_by = *self
            .stop_by
            .get_or_insert(self.now + crate::daemon::STOP_TIMEOUT);
        self.listeners.clear();
        let is_idle = |client: &Option<Box<Client>>| {
            client
                .as_ref()
                .is_some_and(|client| matches!(client.phase, Phase::Head))
        };
        let idle: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| is_idle(client))
            .map(|(id, _)| id)
            .collect();
        idle.into_iter().for_each(|id| self.close_client(id));
        let commits = |fetch: &Option<Box<Fetch>>| {
            fetch
                .as_ref()
                .is_some_and(|fetch| fetch.state == State::Committing)
        };
        let busy = !self.clients.is_empty() || self.fetches.iter().any(|(_, fetch)| commits(fetch));
        !busy || self.now >= stop_by
    }
}

pub(crate) fn client_token(id: usize) -> Token {
    Token(FIRST + 2 * id)
}

pub(crate) fn fetch_token(id: usize) -> Token {
    Token(FIRST + 2 * id + 1)
}

/// A listener of one loop; the kernel deals the connections out to all that share the address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Connections inherit it: one system call less for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}
