//! Requests to origins: connections, and what is written on them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use imgcache::directives::TOKEN;
use imgcache::http::{Framing, Headers, Reject, Request, Response, write_line};
use mio::Interest;
use mio::net::TcpStream;
use socket2::SockRef;
use unixproc::log;

use crate::cache::Place;
use crate::client::{Client, Phase};
use crate::config::{Origin, Site};
use crate::entry::Entry;
use crate::fetch::{Fetch, State};
use crate::respond::answer_reject;
use crate::server::{Server, Work, fetch_token};

/// Bound: requests to origins, all loops together; more are refused with 503.
const FETCHES_MAX: usize = 4096;

/// An origin's host must acknowledge what it is sent within this time: one that is gone says nothing.
const GONE_TIME: Duration = Duration::from_secs(3);

/// Bound: idle connections to one origin, per loop.
const POOL_MAX: usize = 64;

/// What this cache understands, in the words of the Edge Architecture note.
const CAPABILITY: &str = "imgcache=\"Surrogate/1.0\"";

impl Server {
    /// Makes a request to the origin for a client.
    pub(crate) fn fetch(
        &mut self,
        id: usize,
        client: &mut Client,
        file: Option<String>,
        validates: Option<Arc<Entry>>,
        why: &'static str,
    ) {
        let (Some(request), Some(site)) = (client.request.clone(), client.site.clone()) else {
            return;
        };
        if self.shared.fetches.load(Ordering::Relaxed) >= FETCHES_MAX {
            if let Some(file) = file.filter(|file| !self.in_flight.contains_key(file)) {
                self.shared.leave_flight(&file, self.index);
            }
            let reject = Reject {
                status: 503,
                reason: "too many requests to origins",
            };
            return answer_reject(client, reject, self.now_ms);
        }
        let mut fetch = Fetch::new(&self.shared, site, request, client.visit.address, why);
        fetch.readers.push(id);
        fetch.validates = validates;
        client.fetch = Some(self.start(fetch, file));
        client.phase = Phase::Waiting;
    }

    /// Validates an object that is served meanwhile, unless that is under way.
    pub(crate) fn validate_in_background(
        &mut self,
        client: &Client,
        place: Place,
        entry: Arc<Entry>,
    ) {
        let (Some(file), Some(request), Some(site)) = (place.file(), &client.request, &client.site)
        else {
            return;
        };
        let many = self.shared.fetches.load(Ordering::Relaxed) >= FETCHES_MAX;
        if many || self.in_flight.contains_key(&file) {
            return;
        }
        if self.shared.take_flight(&file, self.index).is_err() {
            return;
        }
        let (site, request) = (Arc::clone(site), Arc::clone(request));
        let mut fetch = Fetch::new(&self.shared, site, request, client.visit.address, "stale");
        fetch.validates = Some(entry);
        self.start(fetch, Some(file));
    }

    fn start(&mut self, mut fetch: Fetch, file: Option<String>) -> usize {
        fetch.key = file.clone();
        let id = self.fetches.insert(Some(Box::new(fetch)));
        if let Some(file) = file {
            self.in_flight.insert(file, id);
        }
        self.connect(id);
        self.ready.push_back(Work::Fetch(id));
        id
    }

    /// Gives a request a connection; if there is none to be had, it fails.
    pub(crate) fn connect(&mut self, id: usize) {
        let Some(mut fetch) = self.fetches.get_mut(id).and_then(Option::take) else {
            return;
        };
        let origins = self.shared.origins.of(&fetch.site);
        // After a failure the next one in the order is tried, which is another one if there are two.
        let choice = origins.first().copied();
        match choice
            .and_then(|(index, address)| Some((index, address, self.open(id, &fetch, address)?)))
        {
            Some((index, address, (stream, reused))) => {
                let origin = &fetch.site.origins[index];
                let head = request_head(&fetch, origin, &self.shared.loop_id);
                fetch.begin(stream, address, reused, head, self.now);
            }
            None => {
                fetch.state = State::Failed;
                self.settle(&mut fetch, 502);
            }
        }
        self.put_back(id, fetch);
    }

    fn open(&mut self, id: usize, fetch: &Fetch, address: SocketAddr) -> Option<(TcpStream, bool)> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        // The first attempt only: what is idle may be as dead as what failed. And only what may be
        // sent once more if it is.
        if fetch.attempts == 0
            && fetch.may_retry()
            && let Some(mut stream) = self.idle_connection(address)
            && self
                .poll
                .registry()
                .register(&mut stream, fetch_token(id), interest)
                .is_ok()
        {
            return Some((stream, true));
        }
        let mut stream = TcpStream::connect(address).ok()?;
        let _ = stream.set_nodelay(true); // slower, if it is refused
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(GONE_TIME)); // and later
        self.poll
            .registry()
            .register(&mut stream, fetch_token(id), interest)
            .ok()?;
        Some((stream, false))
    }

    /// An idle connection on which there is nothing to read: not its end, and no response to what
    /// nobody has asked.
    fn idle_connection(&mut self, address: SocketAddr) -> Option<TcpStream> {
        let idle = self.pool.get_mut(&address)?;
        while let Some((stream, _)) = idle.pop() {
            match stream.peek(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(stream),
                _ => {}
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep_connection(&mut self, mut stream: TcpStream, address: SocketAddr) {
        let idle = self.pool.entry(address).or_default();
        if idle.len() < POOL_MAX && self.poll.registry().deregister(&mut stream).is_ok() {
            idle.push((stream, self.now));
        }
    }

    /// Whether the request is to be sent once more.
    pub(crate) fn retry(&mut self, fetch: &mut Fetch, error: &io::Error) -> bool {
        let connecting = fetch.state == State::Connecting;
        let is_gone = matches!(
            error.kind(),
            io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        );
        let unreachable = connecting || is_gone;
        if let (true, Some(address)) = (unreachable, fetch.address) {
            log::warning(
                "origin-unreachable",
                &[("origin", &address), ("error", error)],
            );
            self.shared.origins.fail(address);
        }
        let others = self.shared.origins.of(&fetch.site).len();
        let stale_connection = fetch.reused && fetch.attempts == 1;
        fetch.stream = None;
        fetch.may_retry() && (stale_connection || (unreachable && fetch.attempts <= others))
    }
}

/// A Location that leads to the origin leads here instead (ProxyPassReverse).
pub(crate) fn rewrite(site: &Site, response: &mut Response) {
    for name in ["Location", "Content-Location", "URI"] {
        let Some(value) = response.headers.first(name) else {
            continue;
        };
        let Some(text) = std::str::from_utf8(value).ok().map(str::to_owned) else {
            continue;
        };
        let path = site.origins.iter().find_map(|origin| {
            let plain = origin.authority.strip_suffix(":80");
            let authorities = [Some(origin.authority.as_str()), plain];
            authorities.into_iter().flatten().find_map(|authority| {
                let rest = text.strip_prefix("http://")?.strip_prefix(authority)?;
                rest.strip_prefix(origin.prefix.as_str())
                    .filter(|rest| rest.starts_with('/'))
            })
        });
        // A path that begins with two slashes would be read as a host.
        if let Some(path) = path.filter(|path| !path.starts_with("//")) {
            let path = path.to_owned();
            response.headers.remove(name);
            response.headers.push(name, path);
        }
    }
}

/// The head of a request as the origin gets it, written anew.
fn request_head(fetch: &Fetch, origin: &Origin, loop_id: &str) -> Vec<u8> {
    let request = &fetch.request;
    let mut headers = request.headers.clone();
    headers.remove_hop_by_hop();
    if let Some(hops) = max_forwards(request) {
        headers.remove("Max-Forwards");
        headers.push("Max-Forwards", hops.saturating_sub(1).to_string());
    }
    for name in ["Host", "Content-Length", "Expect"] {
        headers.remove(name);
    }
    // Anybody can say for whom he asks; what is added to the others' words is this cache's own.
    headers.remove("X-Forwarded-For");
    if fetch.key.is_some() {
        // What is stored answers all: the conditions of one client are not the origin's business.
        for name in [
            "If-Match",
            "If-None-Match",
            "If-Modified-Since",
            "If-Unmodified-Since",
            "If-Range",
            "Range",
        ] {
            headers.remove(name);
        }
    }
    if let Some(entry) = &fetch.validates {
        add_conditions(&mut headers, &entry.object.meta.headers);
    }
    let mut head = format!(
        "{} {}{} HTTP/1.1\r\n",
        request.method, origin.prefix, request.target
    )
    .into_bytes();
    let host = request.host.as_deref().unwrap_or(&origin.authority);
    write_line(&mut head, "Host", host.as_bytes());
    headers.write(&mut head);
    let mut line = |name: &str, value: String| write_line(&mut head, name, value.as_bytes());
    line("Via", format!("1.{} imgcache", request.version));
    line("X-Forwarded-For", fetch.peer.to_string());
    line("CDN-Loop", format!("{TOKEN}; id={loop_id}"));
    line("Surrogate-Capability", CAPABILITY.to_owned());
    match request.framing {
        Framing::Length(length) => {
            write_line(&mut head, "Content-Length", length.to_string().as_bytes())
        }
        Framing::Chunked => write_line(&mut head, "Transfer-Encoding", b"chunked"),
        Framing::Empty if matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") => {
            write_line(&mut head, "Content-Length", b"0");
        }
        Framing::Empty | Framing::Close => {}
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// How often an OPTIONS may still be passed on, if it says so (RFC 9110 section 7.6.2).
pub(crate) fn max_forwards(request: &Request) -> Option<u64> {
    let value = request.headers.first("max-forwards")?;
    if request.method != "OPTIONS" {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn add_conditions(headers: &mut Headers, stored: &Headers) {
    if let Some(etag) = stored.first("etag") {
        headers.push("If-None-Match", etag);
    }
    if let Some(modified) = stored.first("last-modified") {
        headers.push("If-Modified-Since", modified);
    }
}
