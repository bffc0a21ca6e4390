//! An object that is kept open, ready to be sent.

use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use imgcache::freshness::{self, Policy, Use};
use imgcache::http::{reason, write_line};

use crate::prepared::Demand;
use crate::root::Object;

/// Larger bodies are sent from their files.
const MEMORY_BODY_MAX: u64 = 64 << 10;

/// What only this cache is to know.
pub(crate) const SURROGATE: [&str; 2] = ["Surrogate-Control", "Surrogate-Key"];

/// An open object, and what every hit would otherwise find out again.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) object: Object,
    /// The body, if it is small.
    pub(crate) body: Option<Arc<[u8]>>,
    /// The head of an answer with all of it, up to what differs from answer to answer.
    pub(crate) head: Vec<u8>,
    pub(crate) tags: Vec<String>,
    pub(crate) vary: Vec<String>,
    /// Fresh up to this time, in milliseconds.
    fresh_until: i64,
    /// Its age in seconds when it came.
    pub(crate) first_age: u64,
    /// Only of those that are sent from their files.
    pub(crate) demand: Demand,
    /// When the origin was last asked about it and had no answer, in milliseconds.
    in_vain: AtomicI64,
    /// The last turn of a loop in which the file was as it was when it was opened.
    current_in: AtomicU64,
    /// The last turn of a loop in which all of the file was in memory.
    warm_in: AtomicU64,
}

/// When a request is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    /// The turn of the loop.
    pub(crate) turn: u64,
    /// Whether the request had begun to come before the turn. Then what has been found out about a
    /// file in this turn is as good as to look again: it is younger than the request.
    pub(crate) begun: bool,
}

impl Entry {
    /// Reads the body if it is no longer than `in_memory_max`; none if it cannot be read.
    pub(crate) fn read(object: Object, policy: Policy, in_memory_max: u64) -> Option<Entry> {
        let size = object.meta.body.size;
        let mut body = None;
        if size <= in_memory_max.min(MEMORY_BODY_MAX) {
            let mut bytes = vec![0; size as usize];
            object.file.read_exact_at(&mut bytes, 0).ok()?;
            body = Some(bytes.into());
        }
        Some(Entry::new(object, policy, body))
    }

    /// With this body, if it is in memory.
    pub(crate) fn new(object: Object, policy: Policy, body: Option<Arc<[u8]>>) -> Entry {
        let meta = &object.meta;
        let came = meta.times.response;
        let fresh_until = match meta.stored().how_to_use(policy, came) {
            Use::Fresh(seconds) => came.saturating_add(seconds as i64 * 1000),
            _ => 0,
        };
        Entry {
            head: head(&object),
            tags: freshness::tags(&meta.headers),
            vary: meta.vary(),
            fresh_until,
            first_age: meta.stored().age(came),
            demand: Demand::default(),
            in_vain: AtomicI64::new(0),
            current_in: AtomicU64::new(0),
            warm_in: AtomicU64::new(0),
            body,
            object,
        }
    }

    /// Whether the file is as it was when it was opened, see [`Object::is_current`].
    pub(crate) fn is_current(&self, moment: Moment) -> bool {
        if moment.begun && self.current_in.load(Ordering::Relaxed) == moment.turn {
            return true;
        }
        let current = self.object.is_current().unwrap_or(false);
        if current {
            self.current_in.store(moment.turn, Ordering::Relaxed);
        }
        current
    }

    /// Whether to read these bytes may be to wait for the disk, see [`Object::is_cold`].
    pub(crate) fn is_cold(&self, bytes: Range<u64>, turn: u64) -> bool {
        let whole = bytes == (0..self.object.meta.body.size);
        if whole && self.warm_in.load(Ordering::Relaxed) == turn {
            return false;
        }
        let cold = self.object.is_cold(bytes);
        if whole && !cold {
            self.warm_in.store(turn, Ordering::Relaxed);
        }
        cold
    }

    /// The origin was asked about it at this time, and had no answer.
    pub(crate) fn ask_in_vain(&self, now: i64) {
        self.in_vain.store(now, Ordering::Relaxed);
    }

    /// When that was last.
    pub(crate) fn asked_in_vain(&self) -> i64 {
        self.in_vain.load(Ordering::Relaxed)
    }

    /// How it may be used at this time.
    pub(crate) fn how_to_use(&self, policy: Policy, now: i64) -> Use {
        match self.fresh_until - now {
            left @ 1.. => Use::Fresh((left as u64).div_ceil(1000)),
            _ => self.object.meta.stored().how_to_use(policy, now),
        }
    }

    /// Seconds since the origin made it, or found it unchanged.
    pub(crate) fn age(&self, now: i64) -> u64 {
        let resident = (now - self.object.meta.times.response).max(0) / 1000;
        self.first_age.saturating_add(resident as u64)
    }

    /// Bytes that it takes in memory beyond its metadata.
    pub(crate) fn memory(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.len())
    }
}

fn head(object: &Object) -> Vec<u8> {
    let meta = &object.meta;
    let mut headers = meta.headers.clone();
    headers.remove("age");
    SURROGATE.iter().for_each(|name| headers.remove(name));
    let mut head = format!("HTTP/1.1 {} {}\r\n", meta.status, reason(meta.status)).into_bytes();
    headers.write(&mut head);
    if meta.status != 204 {
        let length = meta.body.size.to_string();
        write_line(&mut head, "Content-Length", length.as_bytes());
    }
    write_line(&mut head, "Via", b"1.1 imgcache");
    head
}
