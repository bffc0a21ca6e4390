//! What the loops have in common.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mio::Waker;
use purges::Purge;

use crate::access_log::Lines;
use crate::cache::Cache;
use crate::client::Client;
use crate::config::Config;
use crate::disk::Disk;
use crate::origins::Origins;

/// Bound: connections of clients, all loops together; another one is closed at once.
pub(crate) const CLIENTS_MAX: usize = 100_000;

/// What the loops have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cache: Arc<Cache>,
    config: Mutex<Arc<Config>>,
    /// Changes with the configuration.
    generation: AtomicU64,
    pub(crate) stopping: AtomicBool,
    pub(crate) origins: Origins,
    pub(crate) disk: Disk,
    pub(crate) log: Option<Lines>,
    /// What `CDN-Loop` calls this process.
    pub(crate) loop_id: String,
    pub(crate) fetches: AtomicUsize,
    visitors: Mutex<Visitors>,
    /// Purges that clients ask for, to the thread that has the bus.
    orders: SyncSender<Order>,
    orders_waker: Arc<Waker>,
    loops: Mutex<Vec<(Arc<Waker>, Sender<Letter>)>>,
    /// The loops that fill files, by the file: who wants the same is moved there.
    flights: Mutex<HashMap<String, usize>>,
}

#[derive(Debug, Default)]
struct Visitors {
    count: usize,
    by_address: HashMap<IpAddr, u32>,
}

/// A connection as it counts among all.
#[derive(Debug)]
pub(crate) struct Visit {
    shared: Arc<Shared>,
    pub(crate) address: IpAddr,
}

/// The way back to a client of a loop.
#[derive(Clone, Debug)]
pub(crate) struct ReturnAddress {
    pub(crate) letters: Sender<Letter>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) client: usize,
    /// The client's, as its number in the loop may be another one's by then.
    pub(crate) serial: u64,
}

/// What another thread has done for a client.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) client: usize,
    pub(crate) serial: u64,
    pub(crate) content: Content,
}

/// See [`Letter`].
#[derive(Debug)]
pub(crate) enum Content {
    /// The file has been looked at; whether it is an object.
    Loaded(bool),
    /// The body of a fetch has been given its name, or not: the number is that of the fetch.
    Committed(bool),
    /// What is to be sent next is in memory.
    Warmed,
    /// A client that another loop has given to this one.
    Moved(Box<Client>),
    /// The purge is done, or not: the status to answer with, and the report.
    Purged(u16, String),
}

/// A purge that a client asks for.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) purge: Purge,
    pub(crate) reply: ReturnAddress,
}

impl ReturnAddress {
    pub(crate) fn send(self, content: Content) {
        let (client, serial) = (self.client, self.serial);
        let letter = Letter {
            client,
            serial,
            content,
        };
        // A loop that is gone has no clients that wait.
        if self.letters.send(letter).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

impl Shared {
    pub(crate) fn new(
        cache: Arc<Cache>,
        config: Arc<Config>,
        log: Option<Lines>,
        orders: SyncSender<Order>,
        orders_waker: Arc<Waker>,
    ) -> std::io::Result<Shared> {
        Ok(Shared {
            disk: Disk::start(&cache)?,
            cache,
            config: Mutex::new(config),
            generation: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            origins: Origins::default(),
            log,
            loop_id: format!("{:016x}", rand::random::<u64>()),
            fetches: AtomicUsize::new(0),
            visitors: Mutex::default(),
            orders,
            orders_waker,
            loops: Mutex::default(),
            flights: Mutex::default(),
        })
    }

    /// Takes note of a loop.
    pub(crate) fn add_loop(&self, waker: Arc<Waker>, letters: Sender<Letter>) {
        self.loops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((waker, letters));
    }

    /// Gives a client to another loop.
    pub(crate) fn move_client(&self, to: usize, client: Box<Client>) {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((waker, letters)) = loops.get(to) else {
            return;
        };
        let letter = Letter {
            client: 0,
            serial: 0,
            content: Content::Moved(client),
        };
        // A loop that has stopped closes it.
        if letters.send(letter).is_ok() {
            let _ = waker.wake();
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the fill of a file upon a loop, unless another one has it: then which.
    pub(crate) fn take_flight(&self, file: &str, index: usize) -> Result<(), usize> {
        let mut flights = self.flights();
        match flights.get(file) {
            Some(&other) if other != index => Err(other),
            Some(_) => Ok(()),
            None => {
                flights.insert(file.to_owned(), index);
                Ok(())
            }
        }
    }

    /// The loop does not fill this file any more.
    pub(crate) fn leave_flight(&self, file: &str, index: usize) {
        let mut flights = self.flights();
        if flights.get(file) == Some(&index) {
            flights.remove(file);
        }
    }

    /// Has all loops look at what has changed.
    pub(crate) fn wake_loops(&self) {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        for (waker, _) in loops.iter() {
            // One that is gone has nothing to look at.
            let _ = waker.wake();
        }
    }

    /// The present configuration.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn set_config(&self, config: Arc<Config>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn visitors(&self) -> MutexGuard<'_, Visitors> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections of clients.
    pub(crate) fn clients(&self) -> usize {
        self.visitors().count
    }

    /// Admits a connection, unless there are too many from its address, or at all.
    pub(crate) fn admit(self: &Arc<Shared>, address: IpAddr, limit: Option<u32>) -> Option<Visit> {
        let mut visitors = self.visitors();
        if visitors.count >= CLIENTS_MAX {
            return None;
        }
        let here = visitors.by_address.entry(address).or_default();
        if limit.is_some_and(|limit| *here >= limit) {
            return None;
        }
        *here += 1;
        visitors.count += 1;
        Some(Visit {
            shared: Arc::clone(self),
            address,
        })
    }

    /// Gives a purge to the thread that has the bus; false if too many are under way.
    pub(crate) fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok() && self.orders_waker.wake().is_ok()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut visitors = self.shared.visitors();
        visitors.count -= 1;
        if let Some(here) = visitors.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                visitors.by_address.remove(&self.address);
            }
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as i64)
}
