//! From the origin's response to what is stored.

use std::io;
use std::sync::Arc;

use imgcache::freshness::{self, Storing, Times};
use imgcache::http::{Framing, Response};
use imgcache::rules::Verdict;
use purges::{Purge, Target, What};
use unixproc::log;

use crate::cache::{Fill, Place};
use crate::client::Progress;
use crate::disk::Task;
use crate::entry::Entry;
use crate::fetch::{ANSWER_TIME, Fetch, Outcome, State};
use crate::forward::rewrite;
use crate::purging::Enforced;
use crate::serve::PASS_TIME;
use crate::server::{PASSES_MAX, Server, Work};
use crate::shared::now_ms;

impl Server {
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

    pub(crate) fn wake(&mut self, fetch: &Fetch) {
        self.ready
            .extend(fetch.readers.iter().map(|&reader| Work::Client(reader)));
    }

    pub(crate) fn put_back(&mut self, id: usize, fetch: Box<Fetch>) {
        // One that nobody reads and that will not be stored has no purpose.
        let useless = fetch.readers.is_empty() && (fetch.is_over() || fetch.key.is_none());
        let useless = useless && fetch.state != State::Committing;
        if let Some(place) = self.fetches.get_mut(id) {
            *place = Some(fetch);
        }
        if useless {
            self.drop_fetch(id);
        }
    }

    fn drop_fetch(&mut self, id: usize) {
        if let Some(Some(fetch)) = self.fetches.try_remove(id)
            && let Some(key) = &fetch.key
        {
            self.leave_flight(key, id);
        }
    }

    pub(crate) fn leave_flight(&mut self, key: &str, id: usize) {
        if self.in_flight.get(key) == Some(&id) {
            self.in_flight.remove(key);
            self.shared.leave_flight(key, self.index);
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
        if running.readers.is_empty()
            && running.state != State::Committing
            && (running.is_over() || running.key.is_none() || !storing)
        {
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
                    fetch.fill = Some(Fill::begin(&self.shared.cache));
                    fetch.times.request = now_ms();
                    fetch.deadline = self.now + ANSWER_TIME;
                    if let Some(address) = fetch.address {
                        self.shared.origins.praise(address);
                    }
                    fetch.state = State::Asking;
                }
                State::Asking => {
                    // An origin may answer before it has read all of the request.
                    let written = fetch.flush();
                    let interim = fetch.interim.len();
                    match fetch.read_head(&mut self.scratch)? {
                        Some(response) => self.take_head(id, fetch, response),
                        None => {
                            if fetch.interim.len() > interim {
                                self.wake(fetch);
                            }
                            return written;
                        }
                    }
                }
                State::Body => {
                    fetch.flush()?;
                    match fetch.read_body(&mut self.scratch, self.now)? {
                        Progress::Done => self.complete(id, fetch),
                        Progress::More => {
                            self.ready.push_back(Work::Fetch(id));
                            return Ok(());
                        }
                        Progress::Blocked => return Ok(()),
                    }
                }
                State::Committing | State::Done | State::Failed => return Ok(()),
            }
        }
    }

    /// Decides what to do with a response.
    fn take_head(&mut self, id: usize, fetch: &mut Fetch, mut response: Response) {
        fetch.times.response = now_ms();
        fetch.deadline = self.now + ANSWER_TIME;
        fetch.state = State::Body;
        let (site, request) = (Arc::clone(&fetch.site), Arc::clone(&fetch.request));
        let place = Place {
            site: &site,
            target: &request.target,
        };
        let number = fetch.fill.as_ref().map_or(0, |fill| fill.number);
        rewrite(&site, &mut response);
        if !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS")
            && (200..400).contains(&response.status)
        {
            self.invalidate(place, &response);
        }
        if let (Some(entry), 200) = (fetch.compares.take(), response.status) {
            self.take_comparison(place, &entry, &response, fetch.times, number);
        }
        if self.take_validation(fetch, place, &response, number) {
            fetch.response = Some(response);
            return self.end_flight(id, fetch);
        }
        let storing = match fetch.key {
            Some(_) => freshness::may_store(&request, &response, site.policy),
            None => Storing::Pass(fetch.why),
        };
        fetch.outcome = match storing {
            Storing::Store => self.begin_storing(fetch, &response),
            Storing::Pass(reason) => Outcome::Private(reason),
        };
        if let (Outcome::Private(_), Some(entry)) = (&fetch.outcome, &fetch.validates) {
            // The origin has answered with something else, which is not stored.
            self.remove_file(&entry.object.path);
        }
        fetch.response = Some(response);
        if matches!(fetch.outcome, Outcome::Private(_))
            && let Some(key) = fetch.key.take()
        {
            // Those who wait, and those who come soon, do not wait for each other.
            self.leave_flight(&key, id);
            if self.passes.len() < PASSES_MAX {
                self.passes.insert(key, self.now + PASS_TIME);
            }
        }
        self.wake(fetch);
    }

    /// Whether the response says what to do with the object that was validated: to use it.
    fn take_validation(
        &mut self,
        fetch: &mut Fetch,
        place: Place,
        response: &Response,
        number: u64,
    ) -> bool {
        let Some(entry) = fetch.validates.clone() else {
            return false;
        };
        let (cache, headers) = (&self.shared.cache, &response.headers);
        fetch.outcome = match response.status {
            304 => match cache.refresh(place, &entry, headers, fetch.times, number) {
                Some(entry) => Outcome::Stored(entry, "fwd=stale; fwd-status=304"),
                // Deleted or purged meanwhile: it is a miss.
                None => Outcome::Again,
            },
            500.. if self.may_use_on_error(place, &entry, false) => {
                entry.ask_in_vain(self.now_ms);
                Outcome::Stored(entry, "hit; detail=stale-if-error")
            }
            _ => return false,
        };
        true
    }

    fn begin_storing(&mut self, fetch: &mut Fetch, response: &Response) -> Outcome {
        let length = match response.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Close => None,
        };
        let created = self.shared.cache.lock().store.create(length);
        if self.shared.cache.wants_eviction() && self.shared.disk.submit(Task::Evict).is_err() {
            self.shared.cache.give_up_eviction();
        }
        match created {
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

    /// What was stored for a target is not so any more (RFC 9111 section 4.4), nor for those that
    /// the response names. This cache only: the others are told by [`purge`](Purge), if they are to
    /// be.
    fn invalidate(&mut self, place: Place, response: &Response) {
        let mut targets = vec![place.target.clone()];
        for name in ["Location", "Content-Location"] {
            let value = response.headers.first(name);
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            targets.extend(text.and_then(|text| resolve(place, text)));
        }
        self.purge_here(place, targets, false);
    }

    /// A HEAD answered with 200 is as good as a validation if it is about what is stored; if not,
    /// that is stale (RFC 9111 section 4.3.5).
    fn take_comparison(
        &mut self,
        place: Place,
        entry: &Entry,
        response: &Response,
        times: Times,
        number: u64,
    ) {
        let stored = &entry.object.meta;
        if freshness::agrees(&stored.headers, stored.body.size, &response.headers) {
            let headers = &response.headers;
            self.shared
                .cache
                .refresh(place, entry, headers, times, number);
        } else {
            self.purge_here(place, vec![place.target.clone()], true);
        }
    }

    /// Has a file deleted that nobody is to be sent any more.
    fn remove_file(&mut self, file: &str) {
        self.shared.cache.close(file);
        let removed = Enforced::files(vec![file.to_owned()]);
        if self.shared.disk.submit(Task::Settle(removed)).is_err() {
            log::warning("not-deleted", &[("file", &file)]);
        }
    }

    /// Purges targets of a site in this cache: in force at once, on disk soon.
    fn purge_here(&mut self, place: Place, targets: Vec<Target>, soft: bool) {
        let purge = |target| Purge {
            site: Some(place.site.name().to_owned()),
            what: What::Exact(target),
            soft,
        };
        let purges: Vec<Purge> = targets.into_iter().map(purge).collect();
        let enforced = self.shared.cache.enforce(&purges, &self.config);
        if self.shared.disk.submit(Task::Settle(enforced)).is_err() {
            // It holds as long as the program runs.
            log::warning("purge-not-written", &[("site", &place.site.name())]);
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
        let policy = place.site.policy;
        let verdict = self
            .shared
            .cache
            .lock()
            .judge(place, &entry.tags, meta.rule);
        verdict != Verdict::Purged
            && meta
                .stored()
                .may_use_on_error(policy, self.now_ms, unreachable)
    }

    /// The body is complete.
    fn complete(&mut self, id: usize, fetch: &mut Fetch) {
        fetch.state = State::Done;
        if let (Some(stream), Some(address)) = (fetch.stream.take(), fetch.address)
            && fetch.is_reusable()
        {
            self.keep_connection(stream, address);
        }
        if !self.begin_commit(id, fetch) {
            fetch.fill = None;
            if let Some(key) = fetch.key.take() {
                self.leave_flight(&key, id);
            }
        }
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
        log::info(
            "fetch-failed",
            &[
                ("site", &fetch.site.name()),
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
    pub(crate) fn settle(&mut self, fetch: &mut Fetch, status: u16) {
        if let Some(key) = fetch.key.take()
            && let Some(&running) = self.in_flight.get(&key)
            && !self.fetches.get(running).is_some_and(Option::is_some)
        {
            // It is this one: all others are in their places.
            self.in_flight.remove(&key);
            self.shared.leave_flight(&key, self.index);
        }
        if let Some(draft) = fetch.spool.draft.take() {
            self.shared.cache.lock().store.discard(draft);
        }
        fetch.fill = None;
        if !matches!(fetch.outcome, Outcome::Pending) {
            return;
        }
        let place = Place {
            site: &fetch.site,
            target: &fetch.request.target,
        };
        fetch.outcome = match fetch.validates.clone() {
            Some(entry) if self.may_use_on_error(place, &entry, true) => {
                entry.ask_in_vain(self.now_ms);
                Outcome::Stored(entry, "hit; detail=stale-on-error")
            }
            _ => Outcome::Error(status),
        };
    }
}

/// A reference of a response as a target of the same site; none if it leads elsewhere.
fn resolve(place: Place, text: &str) -> Option<Target> {
    let path = match text.strip_prefix("http://") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority
                .split_once(':')
                .map_or(authority, |(host, _)| host);
            place.site.names.iter().find(|name| *name == host)?;
            path.to_owned()
        }
        None if text.starts_with("//") || text.contains("://") => return None,
        None if text.starts_with('/') => text.to_owned(),
        None => {
            let path = &place.target.path;
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{directory}/{text}")
        }
    };
    Target::parse(path.as_bytes()).ok()
}
