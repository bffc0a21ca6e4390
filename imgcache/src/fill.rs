//! From a request to the origin to what is stored.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use imgcache::freshness::{self, Storing};
use imgcache::http::{Framing, Headers, Request, Response, write_line};
use imgcache::rules::{Purge, Verdict, What};
use mio::Interest;
use mio::net::TcpStream;
use unixproc::log;

use crate::cache::{Entry, Place};
use crate::client::{Client, Phase, Progress};
use crate::config::Origin;
use crate::fetch::{ANSWER_TIME, Fetch, Outcome, State};
use crate::serve::{PASS_TIME, answer_reject};
use crate::server::{PASSES_MAX, Server, Work, fetch_token, now_ms};

/// Bound: requests to origins; more are refused with 503.
const FETCHES_MAX: usize = 2048;

/// Bound: idle connections to one origin.
const POOL_MAX: usize = 64;

/// How long an origin that did not answer is tried last.
const FAILED_TIME: std::time::Duration = std::time::Duration::from_secs(5);

impl Server {
    /// Makes a request to the origin for a client.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are what a request to an origin is made of"
    )]
    pub(crate) fn fetch(
        &mut self,
        id: usize,
        client: &mut Client,
        site: usize,
        request: Rc<Request>,
        file: Option<String>,
        validates: Option<Rc<Entry>>,
        why: &'static str,
    ) {
        if self.fetches.len() >= FETCHES_MAX {
            let reject = imgcache::http::Reject {
                status: 503,
                reason: "too many requests to origins",
            };
            return answer_reject(client, reject);
        }
        let mut fetch = Fetch::new(site, request, why, Instant::now());
        fetch.readers.push(id);
        fetch.validates = validates;
        client.fetch = Some(self.start(fetch, file));
        client.phase = Phase::Waiting;
    }

    /// Validates an object that is served meanwhile, unless that is under way.
    pub(crate) fn validate_in_background(
        &mut self,
        site: usize,
        place: Place,
        request: &Rc<Request>,
        entry: Rc<Entry>,
    ) {
        let Some(file) = place.file() else { return };
        if self.in_flight.contains_key(&file) || self.fetches.len() >= FETCHES_MAX {
            return;
        }
        let mut fetch = Fetch::new(site, Rc::clone(request), "stale", Instant::now());
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
    fn connect(&mut self, id: usize) {
        let Some(mut fetch) = self.fetches.get_mut(id).and_then(Option::take) else {
            return;
        };
        let origins = self.origins(fetch.site);
        // After a failure the next one in the order is tried, which is another one if there are two.
        let choice = origins.first().copied();
        match choice
            .and_then(|(index, address)| Some((index, address, self.open(id, &fetch, address)?)))
        {
            Some((index, address, (stream, reused))) => {
                let origin = &self.config.sites[fetch.site].origins[index];
                let head = request_head(&fetch, origin);
                fetch.begin(stream, address, reused, head, Instant::now());
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
        let registry = self.poll.registry();
        // The first attempt only: what is idle may be as dead as what failed.
        if fetch.attempts == 0
            && fetch.upload.is_none()
            && let Some(idle) = self.pool.get_mut(&address)
            && let Some((mut stream, _)) = idle.pop()
            && registry
                .register(&mut stream, fetch_token(id), interest)
                .is_ok()
        {
            return Some((stream, true));
        }
        let mut stream = TcpStream::connect(address).ok()?;
        let _ = stream.set_nodelay(true); // slower, if it is refused
        registry
            .register(&mut stream, fetch_token(id), interest)
            .ok()?;
        Some((stream, false))
    }

    /// Goes on with a request as far as possible.
    pub(crate) fn drive(&mut self, id: usize) {
        let Some(mut fetch) = self.fetches.get_mut(id).and_then(Option::take) else {
            return;
        };
        let before = fetch.spool.length();
        if let Err(error) = self.advance_fetch(id, &mut fetch) {
            if self.retry(&mut fetch, &error) {
                self.put_back(id, fetch);
                return self.connect(id);
            }
            self.fail(&mut fetch, 502, &error);
        }
        if fetch.spool.length() > before || fetch.is_over() {
            self.wake(&fetch);
        }
        self.put_back(id, fetch);
    }

    fn wake(&mut self, fetch: &Fetch) {
        self.ready
            .extend(fetch.readers.iter().map(|&reader| Work::Client(reader)));
    }

    fn put_back(&mut self, id: usize, fetch: Box<Fetch>) {
        // One that nobody reads and that will not be stored has no purpose.
        let useless = fetch.readers.is_empty() && (fetch.is_over() || fetch.key.is_none());
        if let Some(place) = self.fetches.get_mut(id) {
            *place = Some(fetch);
        }
        if useless {
            self.drop_fetch(id);
        }
    }

    fn drop_fetch(&mut self, id: usize) {
        if let Some(Some(mut fetch)) = self.fetches.try_remove(id) {
            if let Some(draft) = fetch.spool.draft.take() {
                self.cache.store.discard(draft);
            }
            if let Some(key) = &fetch.key {
                self.leave_flight(key, id);
            }
        }
    }

    fn leave_flight(&mut self, key: &str, id: usize) {
        if self.in_flight.get(key) == Some(&id) {
            self.in_flight.remove(key);
        }
    }

    /// A client is not interested any more.
    pub(crate) fn detach_fetch(&mut self, client: usize, fetch: Option<usize>) {
        let Some(id) = fetch else { return };
        let Some(Some(running)) = self.fetches.get_mut(id) else {
            return;
        };
        running.readers.retain(|&reader| reader != client);
        let storing = running.spool.is_sound() || matches!(running.outcome, Outcome::Pending);
        if running.readers.is_empty() && (running.is_over() || running.key.is_none() || !storing) {
            self.drop_fetch(id);
        }
    }

    fn advance_fetch(&mut self, id: usize, fetch: &mut Fetch) -> io::Result<()> {
        loop {
            match fetch.state {
                State::Connecting => {
                    if !fetch.finish_connecting()? {
                        return Ok(());
                    }
                    // From here on a purge concerns what the origin will say.
                    fetch.number = Some(self.cache.rules.last());
                    fetch.times.request = now_ms();
                    fetch.deadline = Instant::now() + ANSWER_TIME;
                    fetch.state = State::Asking;
                }
                State::Asking => {
                    // An origin may answer before it has read all of the request.
                    let written = fetch.flush();
                    match fetch.read_head(&mut self.scratch)? {
                        Some(response) => self.take_head(id, fetch, response),
                        None => return written,
                    }
                }
                State::Body => {
                    fetch.flush()?;
                    match fetch.read_body(
                        &mut self.cache.store,
                        &mut self.scratch,
                        Instant::now(),
                    )? {
                        Progress::Done => self.complete(id, fetch),
                        Progress::More => {
                            self.ready.push_back(Work::Fetch(id));
                            return Ok(());
                        }
                        Progress::Blocked => return Ok(()),
                    }
                }
                State::Done | State::Failed => return Ok(()),
            }
        }
    }

    /// Decides what to do with a response.
    fn take_head(&mut self, id: usize, fetch: &mut Fetch, mut response: Response) {
        fetch.times.response = now_ms();
        fetch.deadline = Instant::now() + ANSWER_TIME;
        fetch.state = State::Body;
        let name = self.config.sites[fetch.site].names[0].clone();
        let request = Rc::clone(&fetch.request);
        let place = Place {
            site: &name,
            target: &request.target,
        };
        let number = fetch.number.unwrap_or(0);
        self.rewrite(fetch, &mut response);
        if !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS")
            && (200..400).contains(&response.status)
        {
            self.invalidate(place);
        }
        if let Some(entry) = fetch.validates.clone() {
            if response.status == 304 {
                let fresh =
                    self.cache
                        .refresh(place, &entry, &response.headers, fetch.times, number);
                fetch.outcome = match fresh {
                    Some(entry) => Outcome::Stored(entry, "fwd=stale; fwd-status=304"),
                    // Deleted or purged meanwhile: it is a miss.
                    None => Outcome::Again,
                };
                fetch.response = Some(response);
                return self.end_flight(id, fetch);
            }
            if response.status >= 500 && self.may_use_on_error(place, &entry, false) {
                fetch.outcome = Outcome::Stored(entry, "hit; detail=stale-if-error");
                fetch.response = Some(response);
                return self.end_flight(id, fetch);
            }
        }
        let storing = match fetch.key {
            Some(_) => freshness::may_store(&request, &response),
            None => Storing::Pass(fetch.why),
        };
        fetch.outcome = match storing {
            Storing::Store => self.begin_storing(fetch, &response),
            Storing::Pass(reason) => Outcome::Private(reason),
        };
        fetch.response = Some(response);
        if matches!(fetch.outcome, Outcome::Private(_))
            && let Some(key) = fetch.key.take()
        {
            // Those who wait, and those who come soon, do not wait for each other.
            self.leave_flight(&key, id);
            if self.passes.len() < PASSES_MAX {
                self.passes.insert(key, Instant::now() + PASS_TIME);
            }
        }
        self.wake(fetch);
    }

    fn begin_storing(&mut self, fetch: &mut Fetch, response: &Response) -> Outcome {
        let length = match response.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Close => None,
        };
        match self.cache.store.create(length) {
            Ok(Some(draft)) => {
                fetch.spool.draft = Some(draft);
                fetch.stored = true;
                Outcome::Shared
            }
            Ok(None) => Outcome::Private("no-room"),
            Err(error) => {
                log::error("write-failed", &[("error", &error)]);
                Outcome::Private("write-failed")
            }
        }
    }

    /// What was stored for a target is not so any more (RFC 9111 section 4.4).
    fn invalidate(&mut self, place: Place) {
        let what = What::Exact(place.target.clone());
        let purge = Purge {
            site: Some(place.site.to_owned()),
            what,
            soft: false,
        };
        if let Err(error) = self.cache.purge(vec![purge], &self.config.sites) {
            log::error("write-failed", &[("file", &"#rules"), ("error", &error)]);
        }
    }

    /// Nobody else may join; what is left of the response is read to keep the connection.
    fn end_flight(&mut self, id: usize, fetch: &mut Fetch) {
        if let Some(key) = fetch.key.take() {
            self.leave_flight(&key, id);
        }
        self.wake(fetch);
    }

    fn may_use_on_error(&self, place: Place, entry: &Entry, unreachable: bool) -> bool {
        let meta = &entry.object.meta;
        let tags = freshness::tags(&meta.headers);
        self.cache.judge(place, &tags, meta.rule) != Verdict::Purged
            && freshness::may_use_on_error(&meta.headers, meta.times, now_ms(), unreachable)
    }

    /// The body is complete.
    fn complete(&mut self, id: usize, fetch: &mut Fetch) {
        fetch.state = State::Done;
        if let (Some(stream), Some(address)) = (fetch.stream.take(), fetch.address)
            && fetch.is_reusable()
        {
            self.keep_connection(stream, address);
        }
        let Some(key) = fetch.key.take() else { return };
        self.leave_flight(&key, id);
        // A body that ends with its connection may have been cut: it is passed on, not stored.
        let sound = fetch.spool.is_sound();
        let (Some(response), true) = (fetch.response.clone(), sound) else {
            return;
        };
        if response.framing == Framing::Close {
            return;
        }
        let Some(draft) = fetch.spool.draft.take() else {
            return;
        };
        // Clients that are still being sent the body read on from the same file.
        let file = draft.file.try_clone();
        let length = draft.length;
        let name = self.config.sites[fetch.site].names[0].clone();
        let place = Place {
            site: &name,
            target: &fetch.request.target,
        };
        let number = fetch.number.unwrap_or(0);
        let result = self.cache.commit(
            draft,
            place,
            &fetch.request.headers,
            &response,
            fetch.times,
            number,
        );
        fetch.stored = result.unwrap_or_else(|error| {
            log::error("write-failed", &[("file", &key), ("error", &error)]);
            false
        });
        match file {
            Ok(file) => fetch.spool.keep(file, length),
            Err(_) => fetch.state = State::Failed,
        }
    }

    fn keep_connection(&mut self, mut stream: TcpStream, address: SocketAddr) {
        let idle = self.pool.entry(address).or_default();
        if idle.len() < POOL_MAX && self.poll.registry().deregister(&mut stream).is_ok() {
            idle.push((stream, Instant::now()));
        }
    }

    /// Whether the request is to be sent once more.
    fn retry(&mut self, fetch: &mut Fetch, error: &io::Error) -> bool {
        let connecting = fetch.state == State::Connecting;
        if let (true, Some(address)) = (connecting, fetch.address) {
            log::warning(
                "origin-unreachable",
                &[("origin", &address), ("error", error)],
            );
            self.failed.insert(address, Instant::now() + FAILED_TIME);
        }
        let others = self.origins(fetch.site).len();
        let stale_connection = fetch.reused && fetch.attempts == 1;
        fetch.stream = None;
        fetch.may_retry() && (stale_connection || (connecting && fetch.attempts <= others))
    }

    /// The time for a request is over.
    pub(crate) fn time_out(&mut self, id: usize) {
        let Some(mut fetch) = self.fetches.get_mut(id).and_then(Option::take) else {
            return;
        };
        let error = io::Error::from(io::ErrorKind::TimedOut);
        if fetch.state == State::Connecting && self.retry(&mut fetch, &error) {
            self.put_back(id, fetch);
            return self.connect(id);
        }
        self.fail(&mut fetch, 504, &error);
        self.put_back(id, fetch);
    }

    fn fail(&mut self, fetch: &mut Fetch, status: u16, error: &io::Error) {
        let name = &self.config.sites[fetch.site].names[0];
        log::info(
            "fetch-failed",
            &[
                ("site", name),
                ("target", &fetch.request.target),
                ("error", error),
            ],
        );
        fetch.state = State::Failed;
        fetch.stream = None;
        self.settle(fetch, status);
        self.wake(fetch);
    }

    /// Decides what those who wait get after a failure.
    fn settle(&mut self, fetch: &mut Fetch, status: u16) {
        if let Some(key) = fetch.key.take()
            && let Some(&running) = self.in_flight.get(&key)
            && !self.fetches.get(running).is_some_and(Option::is_some)
        {
            // It is this one: all others are in their places.
            self.in_flight.remove(&key);
        }
        if let Some(draft) = fetch.spool.draft.take() {
            self.cache.store.discard(draft);
        }
        if !matches!(fetch.outcome, Outcome::Pending) {
            return;
        }
        let name = &self.config.sites[fetch.site].names[0];
        let place = Place {
            site: name,
            target: &fetch.request.target,
        };
        fetch.outcome = match fetch.validates.clone() {
            Some(entry) if self.may_use_on_error(place, &entry, true) => {
                Outcome::Stored(entry, "hit; detail=stale-on-error")
            }
            _ => Outcome::Error(status),
        };
    }

    /// A Location that leads to the origin leads here instead (ProxyPassReverse).
    fn rewrite(&self, fetch: &Fetch, response: &mut Response) {
        for name in ["Location", "Content-Location"] {
            let Some(value) = response.headers.first(name) else {
                continue;
            };
            let Some(text) = std::str::from_utf8(value).ok().map(str::to_owned) else {
                continue;
            };
            let origins = &self.config.sites[fetch.site].origins;
            let path = origins.iter().find_map(|origin| {
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
}

/// The head of a request as the origin gets it, written anew.
fn request_head(fetch: &Fetch, origin: &Origin) -> Vec<u8> {
    let request = &fetch.request;
    let mut headers = request.headers.clone();
    headers.remove_hop_by_hop();
    for name in ["Host", "Content-Length", "Expect"] {
        headers.remove(name);
    }
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
    write_line(
        &mut head,
        "Via",
        format!("1.{} imgcache", request.version).as_bytes(),
    );
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

fn add_conditions(headers: &mut Headers, stored: &Headers) {
    if let Some(etag) = stored.first("etag") {
        headers.push("If-None-Match", etag);
    }
    if let Some(modified) = stored.first("last-modified") {
        headers.push("If-Modified-Since", modified);
    }
}
