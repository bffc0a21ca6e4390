//! From a client's request to its answer.

use std::sync::Arc;
use std::time::Duration;

use imgcache::directives::Directives;
use imgcache::freshness::{self, Use};
use imgcache::http::{Framing, Reject, Request};
use imgcache::rules::Verdict;
use imgcache::variants;
use purges::Purge;

use crate::cache::{Lookup, Place};
use crate::client::{Client, Ending, Phase, Progress, Source};
use crate::disk::Task;
use crate::entry::{Entry, Moment};
use crate::fetch::{Fetch, Outcome, State};
use crate::forward::max_forwards;
use crate::respond::{answer_entry, answer_origin_error, answer_reject, answer_text};
use crate::server::{Server, Work};
use crate::shared::{Content, Letter, Order, ReturnAddress};

/// Requests of one connection that are answered in one turn.
const TURN_REQUESTS: usize = 16;

/// Bound: files that are looked at for one request. An object that is pushed out of memory between
/// being read and being used would else be read for ever.
const LOADS_MAX: u8 = 4;

/// Bound: loops that a client is moved to for one request; then it is served where it is.
const MOVES_MAX: u8 = 2;

/// How long it is believed that a response cannot be stored.
pub(crate) const PASS_TIME: Duration = Duration::from_secs(2);

impl Server {
    /// Goes on with a client as far as possible.
    pub(crate) fn serve(&mut self, id: usize) {
        // The event may be an old one of a connection that is closed.
        let Some(mut client) = self.clients.get_mut(id).and_then(Option::take) else {
            return;
        };
        let goes_on = self.advance(id, &mut client);
        if let (true, Phase::Moving(to)) = (goes_on, &client.phase) {
            let to = *to;
            self.clients.try_remove(id);
            // It cannot be moved if the kernel does not let go of it: then it is closed.
            if self.poll.registry().deregister(&mut client.stream).is_ok() {
                self.shared.move_client(to, client);
            }
            return;
        }
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
            let now = self.now;
            match &client.phase {
                Phase::Head if requests == TURN_REQUESTS => {
                    self.ready.push_back(Work::Client(id));
                    return true;
                }
                Phase::Head => {
                    client.note_begin(if requests == 0 {
                        self.turn
                    } else {
                        self.turn + 1
                    });
                    match client.read_head(&mut self.scratch, now) {
                        Ok(Some(request)) => {
                            requests += 1;
                            self.take_request(id, client, request);
                        }
                        Ok(None) => return true,
                        Err(Ending::Closed) => return false,
                        Err(Ending::Rejected(reject)) => answer_reject(client, reject, self.now_ms),
                    }
                }
                Phase::Loading | Phase::Purging | Phase::Moving(_) | Phase::Warming(..) => {
                    return true;
                }
                Phase::Waiting => {
                    if !self.upload(client) || client.flush(now).is_err() {
                        return false;
                    }
                    if !self.take_outcome(id, client) {
                        return client.flush(now).is_ok();
                    }
                }
                Phase::Sending(_) => match self.send(id, client) {
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
            if !matches!(client.phase, Phase::Head | Phase::Lingering) {
                self.account(&client);
            }
            self.detach_fetch(id, client.fetch);
        }
    }

    /// Something that another thread has done for a client.
    pub(crate) fn take_letter(&mut self, letter: Letter) {
        let id = letter.client;
        match letter.content {
            Content::Moved(client) => return self.take_moved(client),
            Content::Committed(stored) => return self.end_commit(id, stored),
            _ => {}
        }
        let Some(mut client) = self.clients.get_mut(id).and_then(Option::take) else {
            return;
        };
        if client.serial == letter.serial {
            match (letter.content, &client.phase) {
                (Content::Loaded(is_there), Phase::Loading) => {
                    self.answer(id, &mut client, is_there);
                }
                (Content::Warmed, Phase::Warming(entry, range)) => {
                    let source = Source::Entry(Arc::clone(entry), range.clone());
                    client.phase = Phase::Sending(source);
                }
                (Content::Purged(status, report), Phase::Purging) => {
                    answer_text(&mut client, status, &report, self.now_ms);
                }
                _ => {}
            }
        }
        if let Some(place) = self.clients.get_mut(id) {
            *place = Some(client);
        }
        self.ready.push_back(Work::Client(id));
    }

    /// A client that wants what this loop fills.
    fn take_moved(&mut self, client: Box<Client>) {
        let Some(id) = self.take_client(client) else {
            return;
        };
        if let Some(mut client) = self.clients.get_mut(id).and_then(Option::take) {
            self.answer(id, &mut client, true);
            if let Some(place) = self.clients.get_mut(id) {
                *place = Some(client);
            }
            self.ready.push_back(Work::Client(id));
        }
    }

    fn take_request(&mut self, id: usize, client: &mut Client, request: Request) {
        client.keep_alive = request.keep_alive;
        let site = match &request.host {
            Some(host) => self.config.site(host),
            None => self.config.sites.first(),
        };
        client.site = site.cloned();
        let is_purge = request.method == "PURGE";
        let loops = Directives::is_in_loop(&request.headers, &self.shared.loop_id);
        let expects_continue = request.expects_continue;
        client.request = Some(Arc::new(request));
        let reject = match (&client.site, loops) {
            (None, _) => Some((421, "this site is not served here")),
            (_, true) => Some((508, "a request that this cache has sent")),
            _ => None,
        };
        if let Some((status, reason)) = reject {
            return answer_reject(client, Reject { status, reason }, self.now_ms);
        }
        if is_purge {
            return self.order_purge(id, client);
        }
        if expects_continue {
            client
                .output
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            // The client is waiting: if this does not fit now, it goes with what follows.
            let _ = client.flush(self.now);
        }
        self.answer(id, client, true);
    }

    /// Has a purge carried out by all caches, if this client may ask for it.
    fn order_purge(&mut self, id: usize, client: &mut Client) {
        let (Some(request), Some(site)) = (&client.request, &client.site) else {
            return;
        };
        let now = self.now_ms;
        let may = |network: &crate::network::Network| network.contains(client.visit.address);
        let refused = |status, reason| Reject { status, reason };
        if !self.config.purge_from.iter().any(may) {
            return answer_reject(client, refused(403, "purges are not taken from here"), now);
        }
        if request.framing != Framing::Empty {
            return answer_reject(client, refused(400, "a purge has no body"), now);
        }
        let command = format!("--site {} {}", site.name(), request.target);
        let Ok(purge) = Purge::parse(&command) else {
            return answer_reject(client, refused(400, "nothing that can be purged"), now);
        };
        let reply = self.return_address(id, client);
        if self.shared.order(Order { purge, reply }) {
            client.phase = Phase::Purging;
        } else {
            answer_reject(client, refused(503, "too many purges at once"), now);
        }
    }

    pub(crate) fn return_address(&self, id: usize, client: &Client) -> ReturnAddress {
        ReturnAddress {
            letters: self.letters.clone(),
            waker: Arc::clone(&self.waker),
            client: id,
            serial: client.serial,
        }
    }

    /// Answers from the cache, or with the help of the origin. `may_be_there`: the file that was
    /// looked at last, if there was one, is an object.
    pub(crate) fn answer(&mut self, id: usize, client: &mut Client, may_be_there: bool) {
        let (Some(request), Some(site)) = (client.request.clone(), client.site.clone()) else {
            return;
        };
        if max_forwards(&request) == Some(0) {
            return answer_text(client, 200, "", self.now_ms);
        }
        let head = request.method == "HEAD";
        if !(head || request.method == "GET") || request.framing != Framing::Empty {
            return self.pass(id, client, "method");
        }
        let place = Place {
            site: &site,
            target: &request.target,
        };
        let found = match may_be_there {
            true => {
                let moment = self.moment(client);
                self.shared.cache.find(place, &request.headers, moment)
            }
            false => Lookup::Absent,
        };
        match found {
            Lookup::Cold(path) => self.load(id, client, place, path),
            Lookup::Found(entry, Use::Fresh(ttl)) => self.answer_hit(client, &entry, ttl),
            Lookup::Found(entry, Use::StaleWhileRevalidate) => {
                answer_entry(client, &entry, How::Revalidating, self.now_ms);
                if !head {
                    self.validate_in_background(client, place, entry);
                }
            }
            Lookup::Found(entry, Use::Validate) => self.miss(id, client, Some(entry)),
            Lookup::Absent => self.miss(id, client, None),
        }
    }

    fn moment(&self, client: &Client) -> Moment {
        Moment {
            now: self.now_ms,
            turn: self.turn,
            begun: client.begun_by <= self.turn,
        }
    }

    /// Has the disk's threads look at a file. Where they have too much to do, the origin is asked:
    /// a loop does not wait for the disk.
    fn load(&mut self, id: usize, client: &mut Client, place: Place, path: String) {
        client.loads += 1;
        let task = Task::Load {
            path,
            url: place.url(),
            policy: place.site.policy,
            reply: self.return_address(id, client),
        };
        match client.loads <= LOADS_MAX && self.shared.disk.submit(task).is_ok() {
            true => client.phase = Phase::Loading,
            false => self.pass(id, client, "bypass"),
        }
    }

    /// There is nothing that could be used as it is.
    fn miss(&mut self, id: usize, client: &mut Client, entry: Option<Arc<Entry>>) {
        let (Some(request), Some(site)) = (client.request.clone(), client.site.clone()) else {
            return;
        };
        if Directives::read(&request.headers).only_if_cached {
            let reject = Reject {
                status: 504,
                reason: "not in the cache",
            };
            return answer_reject(client, reject, self.now_ms);
        }
        let place = Place {
            site: &site,
            target: &request.target,
        };
        match place.file() {
            Some(file) if request.method == "GET" && !self.passes.contains_key(&file) => {
                self.join(id, client, file, entry);
            }
            _ => {
                self.pass(id, client, "bypass");
                self.compare(client, entry);
            }
        }
    }

    /// What the origin answers to a HEAD tells about the object that is stored.
    fn compare(&mut self, client: &Client, entry: Option<Arc<Entry>>) {
        let is_head = |request: &Arc<Request>| request.method == "HEAD";
        if let (Some(id), true) = (client.fetch, client.request.as_ref().is_some_and(is_head))
            && let Some(Some(fetch)) = self.fetches.get_mut(id)
        {
            fetch.compares = entry;
        }
    }

    /// Waits for a request to the origin that is under way, or makes one.
    fn join(&mut self, id: usize, client: &mut Client, file: String, entry: Option<Arc<Entry>>) {
        if let Some(&fetch) = self.in_flight.get(&file)
            && self.join_running(id, client, fetch)
        {
            return;
        }
        if let Err(other) = self.shared.take_flight(&file, self.index)
            && client.moves < MOVES_MAX
        {
            client.moves += 1;
            client.phase = Phase::Moving(other);
            return;
        }
        let why = if entry.is_some() { "stale" } else { "uri-miss" };
        self.fetch(id, client, Some(file), entry, why);
    }

    /// Waits for this request, if it may.
    fn join_running(&mut self, id: usize, client: &mut Client, fetch: usize) -> bool {
        let may_join = self.may_join(fetch, client);
        let Some(Some(running)) = self.fetches.get_mut(fetch) else {
            return false;
        };
        if running.state == State::Committing {
            // It is about to be found where all objects are.
            running.late.push((id, client.serial));
            client.phase = Phase::Loading;
            return true;
        }
        if may_join {
            running.readers.push(id);
            client.fetch = Some(fetch);
            client.phase = Phase::Waiting;
        }
        may_join
    }

    /// Whether what is under way may answer one more: no purge concerns it, and the variant fits.
    fn may_join(&self, fetch: usize, client: &Client) -> bool {
        let (Some(Some(fetch)), Some(request)) = (self.fetches.get(fetch), &client.request) else {
            return false;
        };
        let place = Place {
            site: &fetch.site,
            target: &request.target,
        };
        let headers = fetch.response.as_ref().map(|response| &response.headers);
        let tags = headers.map(freshness::tags).unwrap_or_default();
        // A request that has not been written yet will carry the number of that moment.
        if let Some(fill) = &fetch.fill
            && self.shared.cache.lock().judge(place, &tags, fill.number) != Verdict::Valid
        {
            return false;
        }
        match (&fetch.outcome, headers) {
            (Outcome::Pending, _) => true,
            (Outcome::Shared, Some(_)) => {
                fetch.state != State::Failed && fetch.spool.is_sound() && is_fit(fetch, request)
            }
            _ => false,
        }
    }

    fn pass(&mut self, id: usize, client: &mut Client, why: &'static str) {
        self.fetch(id, client, None, None, why);
    }

    /// Passes on what has come of the request's body; false if the client is gone.
    pub(crate) fn upload(&mut self, client: &mut Client) -> bool {
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
        let room = fetch.upload_room();
        if client.read_body(&mut bytes, room, self.now).is_err() {
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
        let fetch = client
            .fetch
            .and_then(|fetch| self.fetches.get(fetch)?.as_ref());
        let (Some(request), Some(fetch)) = (client.request.clone(), fetch) else {
            answer_origin_error(client, 502, self.now_ms);
            return true;
        };
        if request.version == 1 {
            for head in fetch.interim.iter().skip(client.interim) {
                client.output.extend_from_slice(head);
            }
        }
        client.interim = fetch.interim.len();
        let first = fetch.readers.first() == Some(&id);
        match fetch.outcome.clone() {
            Outcome::Pending => return false,
            // As with the last byte of a longer body.
            Outcome::Shared if fetch.state == State::Committing => return false,
            Outcome::Stored(entry, how) => {
                self.detach(id, client);
                answer_entry(client, &entry, How::Other(how), self.now_ms);
            }
            Outcome::Error(status) => {
                self.detach(id, client);
                answer_origin_error(client, status, self.now_ms);
            }
            Outcome::Shared if !first && !is_fit(fetch, &request) => self.ask_again(id, client),
            Outcome::Private(_) if !first => self.ask_again(id, client),
            Outcome::Again => self.ask_again(id, client),
            Outcome::Shared | Outcome::Private(_) => self.answer_fetch(client, !first),
        }
        true
    }

    fn ask_again(&mut self, id: usize, client: &mut Client) {
        self.detach(id, client);
        self.answer(id, client, true);
    }

    /// The client has nothing to do with its request to the origin any more.
    pub(crate) fn detach(&mut self, id: usize, client: &mut Client) {
        self.detach_fetch(id, client.fetch.take());
    }
}

/// What Cache-Status says about a stored object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// It is fresh for so many seconds.
    Hit(u64),
    /// It is validated meanwhile.
    Revalidating,
    /// As it stands.
    Other(&'static str),
}

/// Whether the response is the variant that a request selects.
fn is_fit(fetch: &Fetch, request: &Request) -> bool {
    fetch.response.as_ref().is_some_and(|response| {
        let vary = variants::vary(&response.headers);
        variants::selecting(&vary, &request.headers)
            == variants::selecting(&vary, &fetch.request.headers)
    })
}
