//! Where origins are, and which of them answer.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use unixproc::log;

use crate::config::{Config, Site};
use crate::health::Health;
use crate::shared::Shared;

/// Names are looked up this often, and sooner while one is unknown.
const RESOLVE: Duration = Duration::from_secs(30);
const RESOLVE_UNKNOWN: Duration = Duration::from_secs(2);

/// How long an origin that did not answer is tried last.
const FAILED_TIME: Duration = Duration::from_secs(5);

/// Addresses, and what is known about them.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// By `HOST:PORT`; addresses that are written out are not in it.
    addresses: Mutex<HashMap<String, Vec<SocketAddr>>>,
    changed: Condvar,
    /// Those that did not answer, until when they are tried last.
    failed: Mutex<HashMap<SocketAddr, Instant>>,
    /// What those say that are asked.
    pub(crate) health: Health,
}

impl Origins {
    /// The addresses of a site's origins in the order in which they are to be tried, with the
    /// origin's index: those that did not answer lately, or are not well, come last.
    pub(crate) fn of(&self, site: &Site) -> Vec<(usize, SocketAddr)> {
        let mut list = self.addresses(site);
        if list.len() > 1 {
            let now = Instant::now();
            let failed = self.failed();
            list.sort_by_key(|&(_, address)| {
                failed.get(&address).is_some_and(|until| *until > now)
                    || !self.health.is_well(site, address)
            });
        }
        list
    }

    /// The addresses of a site's origins in the order of the configuration, with the origin's index.
    pub(crate) fn addresses(&self, site: &Site) -> Vec<(usize, SocketAddr)> {
        let mut list = Vec::new();
        for (index, origin) in site.origins.iter().enumerate() {
            if let Ok(address) = origin.authority.parse() {
                list.push((index, address));
            } else if let Some(found) = self.lock().get(&origin.authority) {
                list.extend(found.iter().map(|address| (index, *address)));
            }
        }
        list
    }

    /// This one did not answer.
    pub(crate) fn fail(&self, address: SocketAddr) {
        let now = Instant::now();
        let mut failed = self.failed();
        failed.retain(|_, until| *until > now);
        failed.insert(address, now + FAILED_TIME);
    }

    /// This one answered.
    pub(crate) fn praise(&self, address: SocketAddr) {
        self.failed().remove(&address);
    }

    /// Looks names up now: there is a new configuration.
    pub(crate) fn hurry(&self) {
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<SocketAddr>>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks names up in a thread of its own, for ever. One that cannot be found keeps its addresses.
///
/// # Errors
/// There is no thread to be had.
pub(crate) fn resolve(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let resolver = move || {
        loop {
            let pause = match resolve_once(&shared.config(), &shared.origins) {
                true => RESOLVE,
                false => RESOLVE_UNKNOWN,
            };
            let origins = &shared.origins;
            let waited = origins.changed.wait_timeout(origins.lock(), pause);
            drop(waited);
        }
    };
    thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(resolver)?;
    Ok(())
}

/// Whether every name has an address.
fn resolve_once(config: &Config, origins: &Origins) -> bool {
    let all = config.sites.iter().flat_map(|site| &site.origins);
    let mut complete = true;
    for origin in all {
        let name = &origin.authority;
        if name.parse::<SocketAddr>().is_ok() {
            continue;
        }
        match name.to_socket_addrs() {
            Ok(found) => {
                let found: Vec<SocketAddr> = found.collect();
                origins.lock().insert(name.clone(), found);
            }
            Err(error) if !origins.lock().contains_key(name) => {
                complete = false;
                log::warning("origin-unknown", &[("origin", name), ("error", &error)]);
            }
            Err(_) => {}
        }
    }
    complete
}
