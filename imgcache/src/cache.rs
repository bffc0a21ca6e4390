//! The cache without the network: objects by URL, in memory and on disk, under the purges.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use imgcache::freshness::{self, Times, Use};
use imgcache::http::{Headers, Response};
use imgcache::meta::{Body, Meta};
use imgcache::names::{self, FileName, Target};
use imgcache::rules::{self, Purge, Rules, Subject, Verdict, What};
use unixproc::log;

use crate::config::{OnIsolation, Site};
use crate::store::{Draft, Found, Object, Store};
use crate::walk::Seen;

/// Bound: objects that are kept open.
const OPEN_MAX: usize = 1024;

/// Larger bodies are sent from their files.
const MEMORY_BODY_MAX: u64 = 64 << 10;

/// How long a directory above may have another name before that is seen.
const NAME_CHECK: Duration = Duration::from_secs(1);

/// While purges may be missed, an object is used for so long after it was validated.
const ISOLATED_USE_MS: i64 = 10_000;

const RULES: &str = "#rules";

/// Bound: the file of rules is written anew when it is longer.
const RULES_BYTES_MAX: u64 = 8 << 20;

/// An open object.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) object: Object,
    /// The body, if it is small.
    pub(crate) body: Option<Box<[u8]>>,
    /// When its name was last looked at.
    named_at: Cell<Instant>,
}

/// A site's target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) site: &'a str,
    pub(crate) target: &'a Target,
}

impl Place<'_> {
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.site, self.target)
    }

    pub(crate) fn file(&self) -> Option<String> {
        names::file_of(self.site, self.target)
    }
}

/// Everything that is stored.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) store: Store,
    pub(crate) rules: Rules,
    journal: File,
    open: HashMap<String, Rc<Entry>>,
    /// Names of `open`, in the order in which they came.
    order: VecDeque<String>,
    memory: usize,
    memory_max: usize,
    on_isolation: OnIsolation,
    /// Whether purges may be missed now.
    pub(crate) isolated: bool,
    /// Purges may have been missed up to this time, in milliseconds.
    missed_until: i64,
}

impl Cache {
    /// Reads the rules and starts with an empty memory.
    ///
    /// # Errors
    /// The disk refuses it.
    pub(crate) fn new(
        store: Store,
        memory_max: usize,
        on_isolation: OnIsolation,
    ) -> io::Result<Cache> {
        let text = fs::read(store.path().join(RULES)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error),
        })?;
        let rules = Rules::read(&String::from_utf8_lossy(&text));
        let journal = write_rules(&store, &rules)?;
        Ok(Cache {
            store,
            rules,
            journal,
            open: HashMap::new(),
            order: VecDeque::new(),
            memory: 0,
            memory_max,
            on_isolation,
            isolated: false,
            missed_until: 0,
        })
    }

    /// From now on no purge is missed any more; what was validated before `now` may be older.
    pub(crate) fn end_isolation(&mut self, now: i64) {
        self.isolated = false;
        self.missed_until = now;
    }

    /// The object that answers this request, and how it may be used; none if there is none.
    pub(crate) fn find(
        &mut self,
        place: Place,
        request: &Headers,
        now: i64,
    ) -> Option<(Rc<Entry>, Use)> {
        let file = place.file()?;
        let url = place.url();
        let mut entry = self.get(&file, &url)?;
        let vary = entry.object.meta.vary();
        if !vary.is_empty() {
            let text = freshness::selecting(&vary, request);
            let selecting = selecting_hash(&text);
            if entry.object.meta.selecting != selecting {
                let generation = entry.object.meta.generation;
                entry = self.get(&names::variant_of(&file, &text), &url)?;
                if entry.object.meta.generation != generation
                    || entry.object.meta.selecting != selecting
                {
                    return None;
                }
            }
        }
        let meta = &entry.object.meta;
        let verdict = self.judge(place, &freshness::tags(&meta.headers), meta.rule);
        if verdict == Verdict::Purged {
            self.remove(&entry.object.path.clone());
            return None;
        }
        let mut how = freshness::how_to_use(&meta.headers, meta.times, now);
        if verdict == Verdict::Stale || self.may_be_purged(meta.times.request, now) {
            how = Use::Validate;
        }
        self.store.space.touch(&entry.object.path);
        Some((entry, how))
    }

    /// Whether a purge that was missed could concern what was asked for at this time.
    fn may_be_purged(&self, asked: i64, now: i64) -> bool {
        match self.on_isolation {
            OnIsolation::Serve => false,
            OnIsolation::Revalidate => {
                asked < self.missed_until || (self.isolated && asked + ISOLATED_USE_MS < now)
            }
            OnIsolation::Pass => asked < self.missed_until || self.isolated,
        }
    }

    /// What the purges say about something that was asked for under this number.
    pub(crate) fn judge(&self, place: Place, tags: &[String], number: u64) -> Verdict {
        self.rules.judge(&Subject {
            site: place.site,
            target: place.target,
            tags,
            number,
        })
    }

    /// The object of this file, as it is on disk now.
    fn get(&mut self, file: &str, url: &str) -> Option<Rc<Entry>> {
        let now = Instant::now();
        if let Some(entry) = self.open.get(file) {
            let fresh = now.duration_since(entry.named_at.get()) < NAME_CHECK;
            if entry.object.is_current().unwrap_or(false) && fresh {
                return Some(Rc::clone(entry));
            }
        }
        let object = match self.store.find(file, url) {
            Ok(Found::Object(object)) => *object,
            Ok(Found::Absent | Found::Foreign) => {
                self.forget(file);
                return None;
            }
            Err(error) => {
                log::error("read-failed", &[("file", &file), ("error", &error)]);
                self.forget(file);
                return None;
            }
        };
        if let Some(entry) = self.open.get(file)
            && entry.object.is_same(&object)
        {
            entry.named_at.set(now);
            return Some(Rc::clone(entry));
        }
        self.keep(object, now)
    }

    /// Keeps an object open, and its body in memory if it is small.
    fn keep(&mut self, object: Object, now: Instant) -> Option<Rc<Entry>> {
        self.forget(&object.path);
        let size = object.meta.body.size;
        let mut body = None;
        if size <= MEMORY_BODY_MAX && self.memory_max > 0 {
            let mut bytes = vec![0; size as usize];
            object.file.read_exact_at(&mut bytes, 0).ok()?;
            self.memory += bytes.len();
            body = Some(bytes.into_boxed_slice());
        }
        let path = object.path.clone();
        let entry = Rc::new(Entry {
            object,
            body,
            named_at: Cell::new(now),
        });
        self.order.push_back(path.clone());
        self.open.insert(path, Rc::clone(&entry));
        // Bound: both; the oldest goes first, and comes back if it is still wanted.
        while self.memory > self.memory_max || self.order.len() > OPEN_MAX {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.forget(&oldest);
        }
        Some(entry)
    }

    fn forget(&mut self, file: &str) {
        if let Some(entry) = self.open.remove(file) {
            self.memory -= entry.body.as_ref().map_or(0, |body| body.len());
        }
    }

    fn remove(&mut self, file: &str) -> bool {
        self.forget(file);
        self.store.remove(file)
    }

    /// Gives a complete body its place, unless it has been purged since it was asked for; whether
    /// it was stored.
    ///
    /// # Errors
    /// The disk refuses it.
    pub(crate) fn commit(
        &mut self,
        draft: Draft,
        place: Place,
        request: &Headers,
        response: &Response,
        times: Times,
        number: u64,
    ) -> io::Result<bool> {
        let tags = freshness::tags(&response.headers);
        let Some(file) = place.file() else {
            self.store.discard(draft);
            return Ok(false);
        };
        if self.judge(place, &tags, number) != Verdict::Valid {
            self.store.discard(draft);
            return Ok(false);
        }
        let mut headers = response.headers.clone();
        headers.remove_hop_by_hop();
        headers.remove("content-length");
        let vary = freshness::vary(&headers);
        let text = freshness::selecting(&vary, request);
        let selecting = if vary.is_empty() {
            String::new()
        } else {
            selecting_hash(&text)
        };
        let url = place.url();
        let mut path = file.clone();
        let mut generation = rand::random();
        if !vary.is_empty()
            && let Some(base) = self.get(&file, &url)
            && base.object.meta.vary() == vary
        {
            // A further variant; replacing the first one does not end the others.
            generation = base.object.meta.generation;
            if base.object.meta.selecting != selecting {
                path = names::variant_of(&file, &text);
            }
        }
        let meta = Meta {
            url,
            status: response.status,
            headers,
            times,
            rule: number,
            era: 0,
            generation,
            selecting,
            body: Body::default(),
            sha256: String::new(),
        };
        self.forget(&path);
        self.store.commit(draft, &path, meta).map(|_| true)
    }

    /// Puts what a 304 says in place of what was stored; none if the object is gone or purged.
    pub(crate) fn refresh(
        &mut self,
        place: Place,
        entry: &Entry,
        response: &Headers,
        times: Times,
        number: u64,
    ) -> Option<Rc<Entry>> {
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
        let old = self.judge(place, &tags, meta.rule);
        if old == Verdict::Purged || self.judge(place, &tags, number) != Verdict::Valid {
            return None;
        }
        meta.times = times;
        meta.rule = number;
        match self.store.refresh(&entry.object, meta) {
            Ok(object) => self.keep(object, Instant::now()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                log::error(
                    "write-failed",
                    &[("file", &entry.object.path), ("error", &error)],
                );
                self.remove(&entry.object.path);
                None
            }
        }
    }

    /// Puts purges in force, on disk first, and deletes the objects of single targets. Gives how
    /// many there were.
    ///
    /// # Errors
    /// The rules could not be written: they hold, but would not survive.
    pub(crate) fn purge(&mut self, purges: Vec<Purge>, sites: &[Site]) -> io::Result<u64> {
        let mut text = String::new();
        let mut files = Vec::new();
        for mut purge in purges {
            if let Some(name) = &purge.site {
                let Some(site) = sites.iter().find(|site| site.names.contains(name)) else {
                    continue;
                };
                purge.site = Some(site.names[0].clone());
            }
            if let (What::Exact(target), false) = (&purge.what, purge.soft) {
                let meant = |site: &&Site| {
                    purge
                        .site
                        .as_ref()
                        .is_none_or(|name| *name == site.names[0])
                };
                let meant = sites.iter().filter(meant);
                files.extend(meant.filter_map(|site| names::file_of(&site.names[0], target)));
            }
            let number = self.rules.add(purge.clone());
            text.push_str(&rules::line(number, &purge));
        }
        let removed = files.iter().filter(|file| self.remove(file)).count();
        self.journal.write_all(text.as_bytes())?;
        self.journal.sync_data()?;
        if self.journal.metadata()?.len() > RULES_BYTES_MAX {
            self.journal = write_rules(&self.store, &self.rules)?;
        }
        Ok(removed as u64)
    }

    /// All purges of many objects up to this number have been swept.
    pub(crate) fn end_sweep(&mut self, number: u64) {
        self.rules.forget_swept(number);
        if let Err(error) = self
            .journal
            .write_all(format!("swept {number}\n").as_bytes())
        {
            // The next start sweeps again.
            log::warning("write-failed", &[("file", &RULES), ("error", &error)]);
        }
    }

    /// Takes note of what a walk has found, and deletes what is purged or left over.
    pub(crate) fn see(&mut self, seen: &Seen, sweep: bool) {
        let name = names::read_file_name(&seen.path);
        if name == FileName::Own {
            return;
        }
        let fixed = seen.directory || name == FileName::Foreign;
        self.store.space.see(&seen.path, seen.bytes, fixed);
        if seen.directory {
            return;
        }
        let orphan = match name {
            FileName::Sidecar(body) => {
                self.store.has_sidecars = true;
                !self.store.exists(&body)
            }
            FileName::Object { variant: true, .. } => {
                let base = seen.path.rsplit_once("#v=").map_or("", |(base, _)| base);
                !self.store.exists(base)
            }
            FileName::Object {
                site,
                target: Some(target),
                ..
            } if sweep => {
                let place = Place {
                    site: &site,
                    target: &target,
                };
                match self.store.find(&seen.path, &place.url()) {
                    Ok(Found::Object(object)) => {
                        let tags = freshness::tags(&object.meta.headers);
                        self.judge(place, &tags, object.meta.rule) == Verdict::Purged
                    }
                    _ => false,
                }
            }
            _ => false,
        };
        if orphan {
            self.remove(&seen.path);
            if let Some((directory, _)) = seen.path.rsplit_once('/') {
                self.store.remove_empty(directory);
            }
        }
    }

    /// What there is about a place, for people.
    pub(crate) fn show(
        &mut self,
        place: Place,
    ) -> io::Result<(String, &'static str, Option<String>)> {
        let Some(file) = place.file() else {
            return Ok((String::new(), "absent", None));
        };
        let (state, metadata) = match self.store.find(&file, &place.url())? {
            Found::Absent => ("absent", None),
            Found::Foreign => ("foreign", None),
            Found::Object(object) => {
                let tags = freshness::tags(&object.meta.headers);
                let text = String::from_utf8_lossy(&object.meta.write()).replace('\r', "");
                match self.judge(place, &tags, object.meta.rule) {
                    Verdict::Purged => ("purged", Some(text)),
                    _ => ("stored", Some(text)),
                }
            }
        };
        Ok((file, state, metadata))
    }
}

fn selecting_hash(text: &[u8]) -> String {
    let name = names::variant_of("", text);
    name.trim_start_matches("#v=").to_owned()
}

/// Writes the rules into a new file, which takes the place of the old one.
fn write_rules(store: &Store, rules: &Rules) -> io::Result<File> {
    let (new, path) = (store.path().join("#tmp.rules"), store.path().join(RULES));
    let mut file = File::create(&new)?;
    file.write_all(rules.text().as_bytes())?;
    file.sync_data()?;
    fs::rename(&new, &path)?;
    Ok(file)
}
