//! What is opened at the start.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use mio::Waker;
use mio::net::TcpListener;
use unixproc::log;

use crate::access_log::Lines;
use crate::cache::Cache;
use crate::config::{AccessLog, Config};
use crate::server::{Server, listen};
use crate::shared::Shared;
use crate::store::Store;

/// Descriptors for all clients, their origins, and the objects that are kept open or deleted.
const DESCRIPTORS_WANTED: u64 = 150_000;

/// With fewer there is no room for what is kept open.
const DESCRIPTORS_MIN: u64 = 20_000;

/// Has the system let this process open what it may need.
pub(crate) fn raise_descriptors() {
    let descriptors = unixproc::limit::raise_descriptors(DESCRIPTORS_WANTED);
    if descriptors < DESCRIPTORS_MIN {
        log::warning("few-descriptors", &[("limit", &descriptors)]);
    }
}

/// One set of listeners for each loop.
pub(crate) fn listen_all(config: &Config) -> anyhow::Result<Vec<Vec<TcpListener>>> {
    let mut all = Vec::new();
    for _ in 0..config.loops {
        let mut listeners = Vec::new();
        for &address in &config.listen {
            let listener = listen(address)
                .map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))?;
            listeners.push(listener);
        }
        all.push(listeners);
    }
    Ok(all)
}

pub(crate) fn open_cache(config: &Config) -> anyhow::Result<Arc<Cache>> {
    let store = Store::open(&config.cache_root, config.cache_bytes_max)
        .map_err(|error| anyhow::anyhow!("{}: {error}", config.cache_root.display()))?;
    let cache = Cache::new(store, config.memory_bytes_max, config.on_isolation)?;
    Ok(Arc::new(cache))
}

pub(crate) fn open_log(config: &Config, socket: Option<&str>) -> anyhow::Result<Option<Lines>> {
    Ok(match &config.access_log {
        None => None,
        Some(AccessLog::File(path)) => {
            let lines = Lines::to_file(path)
                .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            Some(lines)
        }
        Some(AccessLog::Group(group)) => {
            let address = group::Address::find(socket, config.socket.as_deref())?;
            Some(Lines::to_group(address, *group)?)
        }
    })
}

pub(crate) fn start_loops(
    shared: &Arc<Shared>,
    listeners: Vec<Vec<TcpListener>>,
    waker: &Arc<Waker>,
) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
    let mut loops = Vec::new();
    for listeners in listeners {
        let mut server = Server::new(shared, loops.len(), listeners)?;
        shared.add_loop(Arc::clone(&server.waker), server.letters.clone());
        let waker = Arc::clone(waker);
        let run = move || {
            let result = server.run();
            // Whoever waits for the loops is to look.
            let _ = waker.wake();
            result
        };
        loops.push(thread::Builder::new().name("loop".to_owned()).spawn(run)?);
    }
    Ok(loops)
}
