//! The cache without the network: objects by URL, in memory and on disk, under the purges.
//!
//! All loops share it. What is behind the lock is looked at and let go; files are read, and those
//! of purged objects deleted, outside it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use imgcache::freshness::{self, Policy, Times, Use};
use imgcache::http::Headers;
use imgcache::names;
use imgcache::rules::{Rules, Verdict};
use imgcache::variants;
use purges::{Subject, Target};
use unixproc::log;

use crate::config::{OnIsolation, Site};
use crate::entry::{Entry, Moment};
use crate::isolation::{Asked, Isolation};
use crate::journal::Journal;
use crate::prepared::{Answers, Second};
use crate::root::{Found, Root};
use crate::shared::now_ms;
use crate::store::Store;

/// Bound: objects that are kept open.
const OPEN_MAX: usize = 4096;

/// How long a directory above may have another name before that is seen.
const NAME_CHECK_MS: u64 = 1000;

/// A site's target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) site: &'a Site,
    pub(crate) target: &'a Target,
}

impl Place<'_> {
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.site.name(), self.target)
    }

    pub(crate) fn file(&self) -> Option<String> {
        names::file_of(self.site.name(), self.target)
    }
}

/// What there is for a request.
#[derive(Debug)]
pub(crate) enum Lookup {
    Found(Arc<Entry>, Use),
    /// Nothing, and nothing on disk either.
    Absent,
    /// This file has to be looked at, which may take the disk's time.
    Cold(String),
}

/// Everything that is stored.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) root: Arc<Root>,
    pub(crate) journal: Mutex<Journal>,
    inner: RwLock<Inner>,
    /// Files that have been deleted, to be closed.
    pub(crate) deleted: Mutex<Vec<OwnedFd>>,
    /// Whether a thread makes room.
    pub(crate) evicting: AtomicBool,
    pub(crate) answers: Answers,
}

/// What the loops look at together.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) rules: Rules,
    /// Numbers of the purges that fills under way have seen, and how many fills there are for each.
    fills: BTreeMap<u64, usize>,
    open: HashMap<String, Open>,
    /// Names of `open`, in the order in which they came.
    order: VecDeque<String>,
    memory: usize,
    memory_max: usize,
    pub(crate) isolation: Isolation,
}

#[derive(Debug)]
struct Open {
    entry: Arc<Entry>,
    /// When its name was last looked at, in milliseconds.
    named_at: i64,
}

/// A fill that is under way, under the number of the last purge before its request was written.
#[derive(Debug)]
pub(crate) struct Fill {
    cache: Arc<Cache>,
    pub(crate) number: u64,
}

impl Fill {
    /// From here on a purge concerns what the origin will say.
    pub(crate) fn begin(cache: &Arc<Cache>) -> Fill {
        let mut inner = cache.lock();
        let number = inner.rules.last();
        *inner.fills.entry(number).or_default() += 1;
        drop(inner);
        Fill {
            cache: Arc::clone(cache),
            number,
        }
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let mut inner = self.cache.lock();
        if let Some(count) = inner.fills.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                inner.fills.remove(&self.number);
            }
        }
    }
}

impl Cache {
    /// Reads the rules and starts with an empty memory.
    ///
    /// # Errors
    /// The disk refuses it.
    pub(crate) fn new(
        mut store: Store,
        memory_max: usize,
        on_isolation: OnIsolation,
    ) -> io::Result<Cache> {
        let (journal, rules) = Journal::open(store.root.path())?;
        journal.account(&mut store.space);
        let root = Arc::clone(&store.root);
        let inner = Inner {
            store,
            rules,
            fills: BTreeMap::new(),
            open: HashMap::new(),
            order: VecDeque::new(),
            memory: 0,
            memory_max,
            isolation: Isolation::new(on_isolation),
        };
        Ok(Cache {
            root,
            journal: Mutex::new(journal),
            inner: RwLock::new(inner),
            deleted: Mutex::default(),
            evicting: AtomicBool::new(false),
            answers: Answers::default(),
        })
    }

    /// What is shared, for a change. A loop that panicked left nothing half done in it.
    pub(crate) fn lock(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shared, as all loops may read it at once.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is for this request, without waiting for the disk.
    pub(crate) fn find(&self, place: Place, request: &Headers, moment: Moment) -> Lookup {
        let Some(file) = place.file() else {
            return Lookup::Absent;
        };
        let base = match self.hot(place, &file, moment) {
            Some(found) => found,
            None => return Lookup::Cold(file),
        };
        let (entry, how) = match base.0.vary.is_empty() {
            true => base,
            false => match self.variant(place, &file, base, request, moment) {
                Ok(found) => found,
                Err(lookup) => return lookup,
            },
        };
        match how {
            Some(how) => Lookup::Found(entry, how),
            // Its file is deleted by the purge, or by the sweep.
            None => {
                self.close(&entry.object.path);
                Lookup::Absent
            }
        }
    }

    /// The variant that the request selects, if it is not the first.
    fn variant(
        &self,
        place: Place,
        file: &str,
        base: (Arc<Entry>, Option<Use>),
        request: &Headers,
        moment: Moment,
    ) -> Result<(Arc<Entry>, Option<Use>), Lookup> {
        let text = variants::selecting(&base.0.vary, request);
        let selecting = selecting_hash(&text);
        if base.0.object.meta.selecting == selecting {
            return Ok(base);
        }
        let path = names::variant_of(file, &text);
        let Some(found) = self.hot(place, &path, moment) else {
            return Err(Lookup::Cold(path));
        };
        let (meta, first) = (&found.0.object.meta, &base.0.object.meta);
        match meta.generation == first.generation && meta.selecting == selecting {
            true => Ok(found),
            false => Err(Lookup::Absent),
        }
    }

    /// An object that is open and as it was; how it may be used, none if it is purged.
    fn hot(&self, place: Place, path: &str, moment: Moment) -> Option<(Arc<Entry>, Option<Use>)> {
        let now = moment.now;
        let inner = self.read();
        let open = inner.open.get(path)?;
        let entry = Arc::clone(&open.entry);
        let named = now.abs_diff(open.named_at) < NAME_CHECK_MS;
        let meta = &entry.object.meta;
        let verdict = inner.judge(place, &entry.tags, meta.rule);
        let asked = Asked {
            at: meta.times.request,
            in_vain: entry.asked_in_vain(),
        };
        let missed = inner.isolation.must_ask(asked, now);
        drop(inner);
        if !entry.is_current(moment) || !(named || self.root.is_named(&entry.object)) {
            self.close(path);
            return None;
        }
        if !named {
            self.lock().is_named(path, now);
        }
        let how = match verdict {
            Verdict::Purged => None,
            Verdict::Stale => Some(Use::Validate),
            Verdict::Valid if missed => Some(Use::Validate),
            Verdict::Valid => Some(entry.how_to_use(place.site.policy, now)),
        };
        Some((entry, how))
    }

    /// Looks at a file and opens it if it is an object of this URL; whether it is. May wait for the
    /// disk.
    pub(crate) fn load(&self, path: &str, url: &str, policy: Policy) -> Option<Arc<Entry>> {
        let found = self.root.find(path, url).unwrap_or_else(|error| {
            log::error("read-failed", &[("file", &path), ("error", &error)]);
            Found::Foreign
        });
        let object = match found {
            Found::Object(object) => *object,
            Found::Absent => {
                self.lock().store.space.remove(path);
                self.close(path);
                return None;
            }
            Found::Foreign => {
                self.close(path);
                return None;
            }
        };
        let in_memory_max = self.read().memory_max as u64;
        let entry = Arc::new(Entry::read(object, policy, in_memory_max)?);
        self.lock().keep(Arc::clone(&entry));
        Some(entry)
    }

    /// Prepares an answer that begins with this head, see [`Answers`]. Takes the disk's time.
    pub(crate) fn prepare(&self, entry: &Entry, head: &[u8], second: Second) {
        let memory_max = self.read().memory_max;
        self.answers
            .prepare(&self.root, entry, head, second, memory_max);
    }

    /// Puts what a 304 says in place of what was stored; none if the object is gone or purged.
    pub(crate) fn refresh(
        &self,
        place: Place,
        entry: &Entry,
        response: &Headers,
        times: Times,
        number: u64,
    ) -> Option<Arc<Entry>> {
        let mut meta = entry.object.meta.clone();
        let tag = response.first("etag");
        let strong = |tag: &[u8]| !tag.starts_with(b"W/");
        if tag.is_some_and(strong) && tag != meta.headers.first("etag") {
            // It speaks about another object (RFC 9111 section 4.3.4).
            self.remove(&entry.object.path);
            return None;
        }
        freshness::update(&mut meta.headers, response);
        let tags = freshness::tags(&meta.headers);
        let mut inner = self.lock();
        let old = inner.judge(place, &tags, meta.rule);
        if old == Verdict::Purged || inner.judge(place, &tags, number) != Verdict::Valid {
            return None;
        }
        meta.times = times;
        meta.rule = number;
        let object = match inner.store.refresh(&entry.object, meta) {
            Ok(object) => object,
            Err(error) => {
                drop(inner);
                if error.kind() != io::ErrorKind::NotFound {
                    let file = &entry.object.path;
                    log::error("write-failed", &[("file", file), ("error", &error)]);
                    self.remove(file);
                }
                return None;
            }
        };
        let body = entry.body.clone();
        let entry = Arc::new(Entry::new(object, place.site.policy, body));
        inner.keep(Arc::clone(&entry));
        Some(entry)
    }
}

impl Inner {
    /// What a new configuration says.
    pub(crate) fn configure(&mut self, memory_max: usize, on_isolation: OnIsolation) {
        self.memory_max = memory_max;
        self.isolation.set_policy(on_isolation);
    }

    /// What the purges say about something that was asked for under this number.
    pub(crate) fn judge(&self, place: Place, tags: &[String], number: u64) -> Verdict {
        self.rules.judge(&Subject {
            site: place.site.name(),
            target: place.target,
            tags,
            number,
        })
    }

    /// Keeps an object open.
    fn keep(&mut self, entry: Arc<Entry>) {
        let path = entry.object.path.clone();
        drop(self.forget(&path));
        self.store.space.touch(&path);
        self.memory += entry.memory();
        self.order.push_back(path.clone());
        let named_at = now_ms();
        self.open.insert(path, Open { entry, named_at });
        // Bound: both; the oldest goes first, and comes back if it is still wanted.
        while self.memory > self.memory_max || self.order.len() > OPEN_MAX {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            drop(self.forget(&oldest));
        }
    }

    /// An object's name has been looked at. That it is used need not be noted more often than that.
    fn is_named(&mut self, path: &str, now: i64) {
        if let Some(open) = self.open.get_mut(path) {
            open.named_at = now;
            self.store.space.touch(path);
        }
    }

    /// Does not keep an object open any more. Closing it may take time: the caller drops it when it
    /// has let go of the lock.
    pub(crate) fn forget(&mut self, file: &str) -> Option<Arc<Entry>> {
        let open = self.open.remove(file)?;
        self.memory -= open.entry.memory();
        Some(open.entry)
    }

    /// Whether a fill is under way that may not have seen this purge.
    pub(crate) fn has_fills_before(&self, number: u64) -> bool {
        self.fills.range(..number).next().is_some()
    }

    pub(crate) fn entries_open(&self) -> usize {
        self.open.len()
    }
}

pub(crate) fn selecting_hash(text: &[u8]) -> String {
    let name = names::variant_of("", text);
    name.trim_start_matches("#v=").to_owned()
}
