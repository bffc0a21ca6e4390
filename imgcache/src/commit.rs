//! Complete bodies get their names: the disk's threads do it, as it may be to wait for the disk.

use std::sync::Arc;

use imgcache::freshness::{self, Times};
use imgcache::http::{Framing, Request, Response};
use imgcache::meta::{Body, Meta};
use imgcache::names;
use imgcache::rules::Verdict;
use imgcache::variants;
use unixproc::log;

use crate::cache::{Cache, Fill, Place, selecting_hash};
use crate::config::Site;
use crate::disk::Task;
use crate::fetch::{Fetch, State};
use crate::root::Found;
use crate::server::Server;
use crate::shared::{Content, Letter, ReturnAddress};
use crate::store::Draft;

/// A complete body that is to be given its place.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) draft: Draft,
    pub(crate) site: Arc<Site>,
    pub(crate) request: Arc<Request>,
    pub(crate) response: Response,
    pub(crate) times: Times,
    pub(crate) fill: Fill,
}

impl Cache {
    /// Gives a complete body its place, unless it has been purged since it was asked for; whether
    /// it was stored. Takes the disk's time.
    pub(crate) fn commit(&self, mut commit: Commit) -> bool {
        let place = Place {
            site: &commit.site,
            target: &commit.request.target,
        };
        let tags = freshness::tags(&commit.response.headers);
        let number = commit.fill.number;
        let is_valid = || self.read().judge(place, &tags, number) == Verdict::Valid;
        let (Some(file), true) = (place.file(), is_valid()) else {
            self.lock().store.discard(commit.draft);
            return false;
        };
        let (path, meta) = self.describe(&commit, place, file);
        match commit.draft.place(&self.root, &path, meta) {
            Ok(placed) => {
                let mut inner = self.lock();
                let replaced = inner.forget(&path);
                inner.store.account(commit.draft, placed);
                drop(inner);
                drop(replaced);
            }
            Err(error) => {
                self.lock().store.discard(commit.draft);
                log::error("write-failed", &[("file", &path), ("error", &error)]);
                return false;
            }
        }
        // Who purged it meanwhile may have looked for the file before it was there.
        let valid = is_valid();
        if !valid {
            self.remove(&path);
        }
        valid
    }

    /// Where a body belongs, and what is known about it.
    fn describe(&self, commit: &Commit, place: Place, file: String) -> (String, Meta) {
        let mut headers = commit.response.headers.clone();
        headers.remove_hop_by_hop();
        headers.remove("content-length");
        let vary = variants::vary(&headers);
        let text = variants::selecting(&vary, &commit.request.headers);
        let selecting = match vary.is_empty() {
            true => String::new(),
            false => selecting_hash(&text),
        };
        let url = place.url();
        let (path, generation) = match vary.is_empty() {
            true => (file, rand::random()),
            false => self.place_of_variant(file, &url, &vary, &text),
        };
        let meta = Meta {
            url,
            status: commit.response.status,
            headers,
            times: commit.times,
            rule: commit.fill.number,
            era: 0,
            generation,
            selecting,
            body: Body::default(),
            sha256: String::new(),
        };
        (path, meta)
    }

    /// The file of a variant, and its generation: that of the first one, if this is a further one.
    fn place_of_variant(
        &self,
        file: String,
        url: &str,
        vary: &[String],
        selecting: &[u8],
    ) -> (String, u64) {
        match self.root.find(&file, url) {
            Ok(Found::Object(base)) if base.meta.vary() == vary => {
                // Replacing the first one does not end the others.
                let is_first = base.meta.selecting == selecting_hash(selecting);
                let path = match is_first {
                    true => file,
                    false => names::variant_of(&file, selecting),
                };
                (path, base.meta.generation)
            }
            _ => (file, rand::random()),
        }
    }
}

impl Server {
    /// Has a complete body given its name, if it is to be stored; whether it is. Until that is done
    /// nobody else asks for it, see [`end_commit`](Self::end_commit).
    pub(crate) fn begin_commit(&mut self, id: usize, fetch: &mut Fetch) -> bool {
        // A body that ends with its connection may have been cut: it is passed on, not stored.
        let storable = |response: &Response| response.framing != Framing::Close;
        let response = fetch.response.clone().filter(storable);
        let (Some(response), true) = (response, fetch.spool.is_sound() && fetch.key.is_some())
        else {
            return false;
        };
        // Clients that are still being sent the body read on from the same file.
        let file = fetch
            .spool
            .draft
            .as_ref()
            .and_then(|draft| draft.file.try_clone().ok());
        let (Some(file), Some(fill)) = (file, fetch.fill.take()) else {
            return false;
        };
        let Some(draft) = fetch.spool.draft.take() else {
            return false;
        };
        fetch.spool.keep(file, draft.length);
        let commit = Commit {
            draft,
            site: Arc::clone(&fetch.site),
            request: Arc::clone(&fetch.request),
            response,
            times: fetch.times,
            fill,
        };
        let reply = ReturnAddress {
            letters: self.letters.clone(),
            waker: Arc::clone(&self.waker),
            client: id,
            serial: 0,
        };
        let commit = Box::new(commit);
        match self.shared.disk.submit(Task::Commit { commit, reply }) {
            Ok(()) => {
                fetch.state = State::Committing;
                true
            }
            Err(task) => {
                if let Task::Commit { commit, .. } = task {
                    self.shared.cache.lock().store.discard(commit.draft);
                }
                log::warning("not-stored", &[("site", &fetch.site.name())]);
                fetch.stored = false;
                false
            }
        }
    }

    /// A body has been given its name, or not: whoever waited for that looks for it.
    pub(crate) fn end_commit(&mut self, id: usize, stored: bool) {
        let Some(mut fetch) = self.fetches.get_mut(id).and_then(Option::take) else {
            return;
        };
        fetch.state = State::Done;
        fetch.stored = stored;
        if let Some(key) = fetch.key.take() {
            self.leave_flight(&key, id);
        }
        self.wake(&fetch);
        let late = std::mem::take(&mut fetch.late);
        self.put_back(id, fetch);
        for (client, serial) in late {
            let content = Content::Loaded(true);
            self.take_letter(Letter {
                client,
                serial,
                content,
            });
        }
    }
}
