//! Whether origins are well: a thread asks them, so that no client has to find out.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use unixproc::log;

use crate::config::{Origin, Site};
use crate::shared::Shared;

/// How often each origin is asked.
const PERIOD: Duration = Duration::from_secs(2);

/// An origin must connect, and then answer, within this time.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Answers of one kind in a row that change what is believed.
const STREAK: u32 = 2;

/// Origins that are asked at the same time.
const AT_ONCE: usize = 64;

/// Bound: bytes of an answer that are read for its status.
const STATUS_LINE_MAX: usize = 64;

/// An origin of a site, as it is asked.
type Key = (String, SocketAddr);

/// What is known from asking. Who is not asked is taken to be well.
#[derive(Debug, Default)]
pub(crate) struct Health {
    states: Mutex<HashMap<Key, State>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    well: bool,
    /// Answers in a row that say otherwise.
    streak: u32,
}

impl Health {
    /// Whether a site's origin is well.
    pub(crate) fn is_well(&self, site: &Site, address: SocketAddr) -> bool {
        let states = self.lock();
        // No site that is not asked about has to look for its name.
        states.is_empty()
            || states
                .get(&(site.name().to_owned(), address))
                .is_none_or(|state| state.well)
    }

    /// Those that are not well, as `SITE ADDRESS`.
    pub(crate) fn down(&self) -> Vec<String> {
        let states = self.lock();
        let down = states.iter().filter(|(_, state)| !state.well);
        let mut down: Vec<String> = down
            .map(|((site, address), _)| format!("{site} {address}"))
            .collect();
        down.sort();
        down
    }

    /// Takes an answer; whether it has changed what is believed.
    fn note(&self, key: Key, well: bool) -> bool {
        let mut states = self.lock();
        let state = states.entry(key).or_insert(State {
            well: true,
            streak: 0,
        });
        state.streak = if state.well == well {
            0
        } else {
            state.streak + 1
        };
        let changed = state.streak == STREAK;
        if changed {
            *state = State { well, streak: 0 };
        }
        changed
    }

    /// Forgets who is not asked any more.
    fn keep(&self, keys: &[Key]) {
        self.lock().retain(|key, _| keys.contains(key));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One origin to ask.
struct Check {
    site: Arc<Site>,
    /// Its number among the site's.
    origin: usize,
    address: SocketAddr,
}

/// Asks for ever, in a thread of its own.
///
/// # Errors
/// There is no thread to be had.
pub(crate) fn watch(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let watcher = move || {
        loop {
            ask_all(&shared);
            thread::sleep(PERIOD);
        }
    };
    thread::Builder::new()
        .name("health".to_owned())
        .spawn(watcher)?;
    Ok(())
}

fn ask_all(shared: &Shared) {
    let config = shared.config();
    let mut checks = Vec::new();
    for site in config.sites.iter().filter(|site| site.health.is_some()) {
        let addresses = shared.origins.addresses(site);
        checks.extend(addresses.into_iter().map(|(origin, address)| Check {
            site: Arc::clone(site),
            origin,
            address,
        }));
    }
    for some in checks.chunks(AT_ONCE) {
        thread::scope(|scope| {
            for check in some {
                scope.spawn(|| check.ask(&shared.origins.health));
            }
        });
    }
    let keys: Vec<Key> = checks.iter().map(Check::key).collect();
    shared.origins.health.keep(&keys);
}

impl Check {
    fn key(&self) -> Key {
        (self.site.name().to_owned(), self.address)
    }

    fn ask(&self, health: &Health) {
        let path = self.site.health.as_deref().unwrap_or("/");
        let origin = &self.site.origins[self.origin];
        let result = ask(self.address, self.site.name(), origin, path);
        if !health.note(self.key(), result.is_ok()) {
            return;
        }
        let (site, address) = (self.site.name(), &self.address);
        match result {
            Ok(()) => log::notice("origin-up", &[("site", &site), ("origin", address)]),
            Err(error) => log::warning(
                "origin-down",
                &[("site", &site), ("origin", address), ("error", &error)],
            ),
        }
    }
}

/// Asks an origin for a path: it is well if it says 2xx or 3xx in time.
fn ask(address: SocketAddr, host: &str, origin: &Origin, path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let request = format!(
        "GET {}{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: imgcache\r\nConnection: close\r\n\r\n",
        origin.prefix
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream
        .take(STATUS_LINE_MAX as u64)
        .read_to_end(&mut answer)
        .or_else(|error| if answer.is_empty() { Err(error) } else { Ok(0) })?;
    let line = String::from_utf8_lossy(&answer);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    match status.and_then(|status| status.parse::<u16>().ok()) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(io::Error::other(format!("status {status}"))),
        None => Err(io::Error::other("no HTTP answer")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn two_answers_in_a_row_are_believed() {
        let health = Health::default();
        let key = || ("a.org".to_owned(), SocketAddr::from(([10, 0, 0, 1], 80)));
        let answers = [
            true, false, true, false, false, false, true, false, true, true,
        ];
        let changed: Vec<bool> = answers.map(|well| health.note(key(), well)).to_vec();
        let at: Vec<usize> = (0..10).filter(|&index| changed[index]).collect();
        assert_eq!(at, [4, 9]);
        assert_eq!(health.down(), [""; 0]);
        health.note(key(), false);
        health.note(key(), false);
        assert_eq!(health.down(), ["a.org 10.0.0.1:80"]);
        health.keep(&[]);
        assert_eq!(health.lock().len(), 0);
    }

    #[test]
    fn an_origin_is_asked_for_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 302 Found\r\n\r\n",
            "HTTP/1.1 503 no\r\n\r\n",
            "220 smtp\r\n",
            "",
        ];
        let server = thread::spawn(move || {
            answers.map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1000];
                let count = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..count]).into_owned()
            })
        });
        let origin = Origin {
            authority: address.to_string(),
            prefix: "/x".to_owned(),
        };
        let well = answers.map(|_| ask(address, "a.org", &origin, "/alive").is_ok());
        assert_eq!(well, [true, true, false, false, false]);
        let requests = server.join().unwrap();
        assert!(requests[0].starts_with("GET /x/alive HTTP/1.1\r\nHost: a.org\r\n"));
        assert!(
            ask(address, "a.org", &origin, "/").is_err(),
            "nobody listens"
        );
    }
}
