//! From a client's request to its answer.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use imgcache::chunked;
use imgcache::conditional::{self, Selection};
use imgcache::freshness::{self, Use};
use imgcache::http::{Framing, Headers, Reject, Request, reason, write_line};
use imgcache::rules::Verdict;

use crate::cache::{Entry, Place};
use crate::client::{Client, Ending, Phase, Progress, Source};
use crate::fetch::{Outcome, State};
use crate::server::{Server, Work, now_ms};

/// Bytes that one client is sent in one turn.
const TURN_BYTES: u64 = 1 << 20;

/// Requests of one connection that are answered in one turn.
const TURN_REQUESTS: usize = 16;

impl Server {
    /// Goes on with a client as far as possible.
    pub(crate) fn serve(&mut self, id: usize) {
        // The event may be an old one of a connection that is closed.
        let Some(mut client) = self.clients.get_mut(id).and_then(Option::take) else {
            return;
        };
        let goes_on = self.advance(id, &mut client);
        if let Some(place) = self.clients.get_mut(id) {
            *place = Some(client);
        }
        if !goes_on {
            self.close_client(id);
        }
    }

    /// False if the connection is over.
    fn advance(&mut self, id: usize, client: &mut Client) -> bool {
        let mut requests = 0;
        loop {
            let now = Instant::now();
            match &client.phase {
                Phase::Head if requests == TURN_REQUESTS => {
                    self.ready.push_back(Work::Client(id));
                    return true;
                }
                Phase::Head => match client.read_head(&mut self.scratch, now) {
                    Ok(Some(request)) => {
                        requests += 1;
                        self.take_request(id, client, request);
                    }
                    Ok(None) => return true,
                    Err(Ending::Closed) => return false,
                    Err(Ending::Rejected(reject)) => answer_reject(client, reject),
                },
                Phase::Waiting => {
                    if !self.upload(client, now) {
                        return false;
                    }
                    if !self.take_outcome(id, client) {
                        return true;
                    }
                }
                Phase::Sending(_) => match self.send(id, client, now) {
                    Ok(Progress::Done) => {
                        self.account(client);
                        self.detach(id, client);
                        client.next_request(now);
                    }
                    Ok(Progress::Blocked) => return true,
                    Ok(Progress::More) => {
                        self.ready.push_back(Work::Client(id));
                        return true;
                    }
                    Err(_) => return false,
                },
                Phase::Lingering => return !client.drain(&mut self.scratch),
            }
        }
    }

    pub(crate) fn close_client(&mut self, id: usize) {
        if let Some(Some(client)) = self.clients.try_remove(id) {
            self.account(&client);
            self.detach_fetch(id, client.fetch);
        }
    }

    fn account(&mut self, client: &Client) {
        if let Some((site, hit)) = client.account {
            let counts = &mut self.counts[site];
            counts.hits += u64::from(hit);
            counts.misses += u64::from(!hit);
            counts.bytes += client.sent;
        }
    }

    fn take_request(&mut self, id: usize, client: &mut Client, request: Request) {
        client.keep_alive = request.keep_alive;
        let site = match &request.host {
            Some(host) => self.config.site(host),
            None => Some(0),
        };
        let request = Rc::new(request);
        client.request = Some(Rc::clone(&request));
        let Some(site) = site else {
            return answer_reject(
                client,
                Reject {
                    status: 421,
                    reason: "this site is not served here",
                },
            );
        };
        if request.method == "PURGE" {
            return answer_reject(
                client,
                Reject {
                    status: 405,
                    reason: "purge over the bus",
                },
            );
        }
        if request.expects_continue {
            client
                .output
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            // The client is waiting: if this does not fit now, it goes with what follows.
            let _ = client.flush(Instant::now());
        }
        client.account = Some((site, false));
        self.answer(id, client, site, request);
    }

    /// Answers from the cache, or with the help of the origin.
    fn answer(&mut self, id: usize, client: &mut Client, site: usize, request: Rc<Request>) {
        let reading =
            matches!(request.method.as_str(), "GET" | "HEAD") && request.framing == Framing::Empty;
        if !reading {
            return self.pass(id, client, site, request, "method");
        }
        let now = now_ms();
        let name = self.config.sites[site].names[0].clone();
        let place = Place {
            site: &name,
            target: &request.target,
        };
        let found = self.cache.find(place, &request.headers, now);
        let head = request.method == "HEAD";
        match found {
            Some((entry, Use::Fresh(ttl))) => {
                answer_entry(client, &entry, &format!("hit; ttl={ttl}"), true);
            }
            Some((entry, Use::StaleWhileRevalidate)) => {
                answer_entry(client, &entry, "hit; detail=stale-while-revalidate", true);
                if !head {
                    self.validate_in_background(site, place, &request, entry);
                }
            }
            found => {
                let control = freshness::Control::read(&request.headers);
                if control.only_if_cached {
                    return answer_reject(
                        client,
                        Reject {
                            status: 504,
                            reason: "not in the cache",
                        },
                    );
                }
                let entry = found.map(|(entry, _)| entry);
                match place.file() {
                    Some(file) if !head && !self.passes.contains_key(&file) => {
                        self.join(id, client, site, request, file, entry);
                    }
                    _ => self.pass(id, client, site, request, "bypass"),
                }
            }
        }
    }

    /// Waits for a request to the origin that is under way, or makes one.
    fn join(
        &mut self,
        id: usize,
        client: &mut Client,
        site: usize,
        request: Rc<Request>,
        file: String,
        entry: Option<Rc<Entry>>,
    ) {
        if let Some(&fetch) = self.in_flight.get(&file)
            && self.may_join(fetch, site, &request)
            && let Some(Some(running)) = self.fetches.get_mut(fetch)
        {
            running.readers.push(id);
            client.fetch = Some(fetch);
            client.phase = Phase::Waiting;
            return;
        }
        let why = if entry.is_some() { "stale" } else { "uri-miss" };
        self.fetch(id, client, site, request, Some(file), entry, why);
    }

    /// Whether what is under way may answer one more: no purge concerns it, and the variant fits.
    fn may_join(&self, fetch: usize, site: usize, request: &Request) -> bool {
        let Some(Some(fetch)) = self.fetches.get(fetch) else {
            return false;
        };
        let name = &self.config.sites[site].names[0];
        let place = Place {
            site: name,
            target: &request.target,
        };
        let headers = fetch.response.as_ref().map(|response| &response.headers);
        let tags = headers.map(freshness::tags).unwrap_or_default();
        // A request that has not been written yet will carry the number of that moment.
        let number = fetch.number.unwrap_or(self.cache.rules.last());
        if self.cache.judge(place, &tags, number) != Verdict::Valid {
            return false;
        }
        match (&fetch.outcome, headers) {
            (Outcome::Pending, _) => true,
            (Outcome::Shared, Some(headers)) => {
                let vary = freshness::vary(headers);
                fetch.state != State::Failed
                    && fetch.spool.is_sound()
                    && freshness::selecting(&vary, &request.headers)
                        == freshness::selecting(&vary, &fetch.request.headers)
            }
            _ => false,
        }
    }

    fn pass(
        &mut self,
        id: usize,
        client: &mut Client,
        site: usize,
        request: Rc<Request>,
        why: &'static str,
    ) {
        self.fetch(id, client, site, request, None, None, why);
    }

    /// Passes on what has come of the request's body; false if the client is gone.
    fn upload(&mut self, client: &mut Client, now: Instant) -> bool {
        let Some(fetch_id) = client.fetch else {
            return true;
        };
        let Some(Some(fetch)) = self.fetches.get_mut(fetch_id) else {
            return true;
        };
        if fetch.upload.as_ref().is_none_or(|upload| upload.done) {
            return true;
        }
        let mut bytes = Vec::new();
        if client
            .read_body(&mut bytes, fetch.upload_room(), now)
            .is_err()
        {
            return false;
        }
        let last = client.has_body_read();
        if !bytes.is_empty() || last {
            fetch.push_upload(&bytes, last);
            self.ready.push_back(Work::Fetch(fetch_id));
        }
        true
    }

    /// Begins to answer if it is known with what; false if the client goes on waiting.
    fn take_outcome(&mut self, id: usize, client: &mut Client) -> bool {
        let Some(request) = client.request.clone() else {
            return true;
        };
        let Some(fetch) = client
            .fetch
            .and_then(|fetch| self.fetches.get(fetch)?.as_ref())
        else {
            answer_reject(
                client,
                Reject {
                    status: 502,
                    reason: "the origin does not answer",
                },
            );
            return true;
        };
        let first = fetch.readers.first() == Some(&id);
        let site = fetch.site;
        match fetch.outcome.clone() {
            Outcome::Pending => return false,
            Outcome::Stored(entry, how) => {
                self.detach(id, client);
                answer_entry(client, &entry, how, false);
            }
            Outcome::Error(status) => {
                self.detach(id, client);
                let reason = if status == 504 {
                    "the origin does not answer in time"
                } else {
                    "the origin fails"
                };
                answer_reject(client, Reject { status, reason });
            }
            Outcome::Shared if !first && !self.fits(client.fetch, &request) => {
                self.ask_again(id, client, site, request)
            }
            Outcome::Private(_) if !first => self.ask_again(id, client, site, request),
            Outcome::Again => self.ask_again(id, client, site, request),
            Outcome::Shared | Outcome::Private(_) => self.answer_fetch(client, !first),
        }
        true
    }

    fn fits(&self, fetch: Option<usize>, request: &Request) -> bool {
        let fetch = fetch.and_then(|fetch| self.fetches.get(fetch)?.as_ref());
        let Some((fetch, response)) =
            fetch.and_then(|fetch| Some((fetch, fetch.response.as_ref()?)))
        else {
            return false;
        };
        let vary = freshness::vary(&response.headers);
        freshness::selecting(&vary, &request.headers)
            == freshness::selecting(&vary, &fetch.request.headers)
    }

    fn ask_again(&mut self, id: usize, client: &mut Client, site: usize, request: Rc<Request>) {
        self.detach(id, client);
        self.answer(id, client, site, request);
    }

    /// Begins to pass on the origin's response.
    fn answer_fetch(&mut self, client: &mut Client, collapsed: bool) {
        let fetch = client
            .fetch
            .and_then(|fetch| self.fetches.get(fetch)?.as_ref());
        let (Some(fetch), Some(request)) = (fetch, client.request.clone()) else {
            return;
        };
        let Some(response) = &fetch.response else {
            return;
        };
        let shared = matches!(fetch.outcome, Outcome::Shared);
        let length = match response.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Close => None,
        };
        let mut headers = response.headers.clone();
        headers.remove_hop_by_hop();
        let mut how = format!("fwd={}; fwd-status={}", fetch.why, response.status);
        if shared {
            how.push_str(if fetch.stored { "; stored" } else { "" });
            how.push_str(if collapsed { "; collapsed" } else { "" });
            let age = freshness::age(&headers, fetch.times, now_ms());
            headers.remove("age");
            headers.push("Age", age.to_string());
        } else if let Outcome::Private(detail) = fetch.outcome {
            how.push_str(&format!("; detail={detail}"));
        }
        let selection = match (shared && response.status == 200, length) {
            (true, Some(length)) => {
                conditional::select(&request.headers, &headers, length, now_ms() / 1000)
            }
            _ => Selection::Whole,
        };
        headers.remove("content-length");
        let bodiless = request.method == "HEAD" || matches!(response.status, 204 | 304);
        if bodiless && let Some(length) = response.headers.first("content-length") {
            headers.push("Content-Length", length);
        }
        let (status, range) = begin(&mut headers, selection, response.status, length);
        let chunked = !bodiless && range.is_none() && request.version == 1;
        if !bodiless
            && status != 304
            && let Some(range) = &range
        {
            headers.push("Content-Length", (range.end - range.start).to_string());
        } else if chunked {
            headers.push("Transfer-Encoding", "chunked");
        } else if !bodiless && status != 304 {
            client.keep_alive = false;
        }
        write_head(client, status, &headers, &how);
        client.phase = Phase::Sending(match range {
            _ if bodiless || status == 304 => Source::Output,
            Some(range) => Source::Fetch {
                at: range.start,
                end: Some(range.end),
                chunked: false,
            },
            None => Source::Fetch {
                at: 0,
                end: None,
                chunked,
            },
        });
    }

    fn send(&mut self, id: usize, client: &mut Client, now: Instant) -> io::Result<Progress> {
        let mut turn = 0;
        // The body of a request may still be on its way to the origin.
        if client.fetch.is_some() && !self.upload(client, now) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        loop {
            if !client.flush(now)? {
                return Ok(Progress::Blocked);
            }
            if turn >= TURN_BYTES {
                return Ok(Progress::More);
            }
            let Phase::Sending(source) = &mut client.phase else {
                return Ok(Progress::Done);
            };
            match source {
                Source::Output => return Ok(Progress::Done),
                Source::Entry(entry, range) => {
                    let (entry, mut rest) = (Rc::clone(entry), range.clone());
                    let progress = client.send_file(&entry.object.file, &mut rest, now)?;
                    if let Phase::Sending(Source::Entry(_, range)) = &mut client.phase {
                        turn += rest.start - range.start;
                        client.sent += rest.start - range.start;
                        *range = rest;
                    }
                    if progress != Progress::More {
                        return Ok(progress);
                    }
                }
                Source::Fetch { at, end, chunked } => {
                    let (from, end, chunked) = (*at, *end, *chunked);
                    let Some(fetch_id) = client.fetch else {
                        return Err(io::ErrorKind::NotFound.into());
                    };
                    let Some(Some(fetch)) = self.fetches.get(fetch_id) else {
                        return Err(io::ErrorKind::NotFound.into());
                    };
                    let left = end.map_or(u64::MAX, |end| end - from);
                    let room = self
                        .scratch
                        .len()
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    let count = if room == 0 {
                        0
                    } else {
                        fetch.spool.read(from, &mut self.scratch[..room])?
                    };
                    let (over, failed) = (fetch.state == State::Done, fetch.state == State::Failed);
                    if count == 0 {
                        if left == 0 || over {
                            if chunked {
                                client.output.extend_from_slice(chunked::LAST);
                            }
                            client.phase = Phase::Sending(Source::Output);
                            continue;
                        }
                        // What was promised cannot be kept: the client must see it.
                        return if failed {
                            Err(io::ErrorKind::UnexpectedEof.into())
                        } else {
                            Ok(Progress::Blocked)
                        };
                    }
                    match chunked {
                        true => chunked::encode(&self.scratch[..count], &mut client.output),
                        false => client.output.extend_from_slice(&self.scratch[..count]),
                    }
                    *at += count as u64;
                    let at = *at;
                    turn += count as u64;
                    client.sent += count as u64;
                    self.trim(fetch_id, id, at);
                }
            }
        }
    }

    /// Frees memory of a body that all its clients have got.
    fn trim(&mut self, fetch_id: usize, client: usize, at: u64) {
        let Some(Some(fetch)) = self.fetches.get_mut(fetch_id) else {
            return;
        };
        let others = fetch.readers.iter().filter(|&&other| other != client);
        let position = |&other: &usize| match self.clients.get(other)?.as_ref()?.phase {
            Phase::Sending(Source::Fetch { at, .. }) => Some(at),
            _ => Some(0),
        };
        let least = others.filter_map(position).min().unwrap_or(at).min(at);
        let was_full = fetch.spool.is_full();
        fetch.spool.trim(least);
        if was_full && !fetch.spool.is_full() {
            self.ready.push_back(Work::Fetch(fetch_id));
        }
    }

    /// The client has nothing to do with its request to the origin any more.
    fn detach(&mut self, id: usize, client: &mut Client) {
        self.detach_fetch(id, client.fetch.take());
    }
}

/// Answers with an error of our own, and closes.
pub(crate) fn answer_reject(client: &mut Client, reject: Reject) {
    client.keep_alive = false;
    let mut headers = Headers::new();
    headers.push("Date", imgcache::date::format(now_ms() / 1000));
    headers.push("Content-Type", "text/plain");
    headers.push("Cache-Control", "no-store");
    let body = format!("{}\n", reject.reason);
    headers.push("Content-Length", body.len().to_string());
    let head_only = client
        .request
        .as_ref()
        .is_some_and(|request| request.method == "HEAD");
    write_head(client, reject.status, &headers, "detail=error");
    if !head_only {
        client.output.extend_from_slice(body.as_bytes());
    }
    client.phase = Phase::Sending(Source::Output);
}

/// Answers with a stored object.
fn answer_entry(client: &mut Client, entry: &Rc<Entry>, how: &str, hit: bool) {
    let Some(request) = client.request.clone() else {
        return;
    };
    if let Some((_, hits)) = &mut client.account {
        *hits = hit;
    }
    let meta = &entry.object.meta;
    let length = meta.body.size;
    let mut headers = meta.headers.clone();
    let age = freshness::age(&headers, meta.times, now_ms());
    headers.remove("age");
    headers.push("Age", age.to_string());
    let selection = match meta.status {
        200 => conditional::select(&request.headers, &headers, length, now_ms() / 1000),
        _ => Selection::Whole,
    };
    let (status, range) = begin(&mut headers, selection, meta.status, Some(length));
    let range = range.unwrap_or(0..0);
    if !matches!(status, 204 | 304) {
        headers.push("Content-Length", (range.end - range.start).to_string());
    }
    write_head(client, status, &headers, how);
    client.phase = Phase::Sending(match &entry.body {
        _ if request.method == "HEAD" || range.is_empty() => Source::Output,
        Some(body) => {
            // Head and body in one system call.
            client
                .output
                .extend_from_slice(&body[range.start as usize..range.end as usize]);
            client.sent += range.end - range.start;
            Source::Output
        }
        None => Source::Entry(Rc::clone(entry), range),
    });
}

/// Makes the headers those of the selection: the status, and the bytes that follow if that is known.
fn begin(
    headers: &mut Headers,
    selection: Selection,
    status: u16,
    length: Option<u64>,
) -> (u16, Option<std::ops::Range<u64>>) {
    let whole = length.map(|length| 0..length);
    let total = length.unwrap_or(0);
    match selection {
        Selection::Whole => (status, whole),
        Selection::Part(range) => {
            headers.push(
                "Content-Range",
                format!("bytes {}-{}/{total}", range.start, range.end - 1),
            );
            (206, Some(range))
        }
        Selection::NotModified => {
            for name in [
                "Content-Length",
                "Content-Type",
                "Content-Encoding",
                "Last-Modified",
            ] {
                headers.remove(name);
            }
            (304, Some(0..0))
        }
        Selection::Failed => (412, Some(0..0)),
        Selection::Unsatisfiable => {
            headers.push("Content-Range", format!("bytes */{total}"));
            (416, Some(0..0))
        }
    }
}

fn write_head(client: &mut Client, status: u16, headers: &Headers, how: &str) {
    let output = &mut client.output;
    output.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
    headers.write(output);
    write_line(output, "Via", b"1.1 imgcache");
    write_line(
        output,
        "Cache-Status",
        format!("imgcache; {how}").as_bytes(),
    );
    if !client.keep_alive {
        output.extend_from_slice(b"Connection: close\r\n");
    } else if client
        .request
        .as_ref()
        .is_some_and(|request| request.version == 0)
    {
        output.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    output.extend_from_slice(b"\r\n");
}

/// How long it is believed that a response cannot be stored.
pub(crate) const PASS_TIME: Duration = Duration::from_secs(2);
