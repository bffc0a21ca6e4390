//! How much of the disk is used, and what to delete when more is needed.
//!
//! Counts blocks, directories too. Space is reserved before it is written, so the limit holds at
//! any moment. What was on disk at the start is counted in the background; until that is done, the
//! figure of the former run stands for what has not been seen.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use slab::Slab;

/// What a file takes beyond its whole blocks: attributes, and its share of directories.
pub(crate) const OVERHEAD: u64 = 8192;

/// Everything below the root, by size.
#[derive(Debug)]
pub(crate) struct Space {
    limit: u64,
    used: u64,
    reserved: u64,
    /// What the former run left, less what has been seen of it.
    unseen: u64,
    entries: Slab<Entry>,
    /// Hash of a path to its entry: paths are kept once.
    by_hash: HashMap<u64, u32>,
    hasher: RandomState,
    /// Where the search for something to delete goes on.
    hand: usize,
    objects: u64,
}

#[derive(Debug)]
struct Entry {
    path: Box<str>,
    bytes: u64,
    /// Whether it was used since the hand passed last.
    used: bool,
    /// Whether it is a directory, or none of ours: never deleted to make room.
    fixed: bool,
}

impl Space {
    /// Nothing is known yet, but that `unseen` bytes are there.
    pub(crate) fn new(limit: u64, unseen: u64) -> Space {
        Space {
            limit,
            used: 0,
            reserved: 0,
            unseen,
            entries: Slab::new(),
            by_hash: HashMap::new(),
            hasher: RandomState::new(),
            hand: 0,
            objects: 0,
        }
    }

    /// Bytes in use, reserved ones included.
    pub(crate) fn used(&self) -> u64 {
        self.used + self.reserved + self.unseen
    }

    pub(crate) fn objects(&self) -> u64 {
        self.objects
    }

    /// From now on this is the most; what is too much goes when something else comes.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Everything that is there has been seen.
    pub(crate) fn end_count(&mut self) {
        self.unseen = 0;
    }

    /// Takes note of what the background count has found.
    pub(crate) fn see(&mut self, path: &str, bytes: u64, fixed: bool) {
        if self.index(path).is_none() {
            self.unseen = self.unseen.saturating_sub(bytes);
            self.set(path, bytes, fixed);
        }
    }

    /// The path takes so many bytes now.
    pub(crate) fn set(&mut self, path: &str, bytes: u64, fixed: bool) {
        let hash = self.hasher.hash_one(path);
        match self.by_hash.get(&hash) {
            Some(&index) => {
                let entry = &mut self.entries[index as usize];
                self.used = self.used - entry.bytes + bytes;
                entry.bytes = bytes;
            }
            None => {
                let entry = Entry {
                    path: path.into(),
                    bytes,
                    used: false,
                    fixed,
                };
                let index = self.entries.insert(entry);
                self.by_hash.insert(hash, index as u32);
                self.used += bytes;
                self.objects += u64::from(!fixed);
            }
        }
    }

    /// The path is gone.
    pub(crate) fn remove(&mut self, path: &str) {
        if let Some(index) = self.by_hash.remove(&self.hasher.hash_one(path)) {
            let entry = self.entries.remove(index as usize);
            self.used -= entry.bytes;
            self.objects -= u64::from(!entry.fixed);
        }
    }

    /// The path was used: it is not the next to go.
    pub(crate) fn touch(&mut self, path: &str) {
        if let Some(index) = self.index(path) {
            self.entries[index].used = true;
        }
    }

    fn index(&self, path: &str) -> Option<usize> {
        self.by_hash
            .get(&self.hasher.hash_one(path))
            .map(|&index| index as usize)
    }

    /// Reserves bytes; false if something has to be deleted first.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        let fits = self.used().saturating_add(bytes) <= self.limit;
        if fits {
            self.reserved += bytes;
        }
        fits
    }

    /// Gives back what was reserved.
    pub(crate) fn release(&mut self, bytes: u64) {
        self.reserved -= bytes;
    }

    /// What to delete next: the first object behind the hand that was not used since the hand
    /// passed it last (CLOCK). None if there is no object.
    pub(crate) fn victim(&mut self) -> Option<String> {
        if self.objects == 0 {
            return None;
        }
        // Two rounds: the first may only clear marks.
        for _ in 0..2 * self.entries.capacity() {
            self.hand = (self.hand + 1) % self.entries.capacity();
            let Some(entry) = self.entries.get_mut(self.hand) else {
                continue;
            };
            if !entry.fixed && !std::mem::take(&mut entry.used) {
                return Some(entry.path.to_string());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds() {
        let mut space = Space::new(100, 30);
        assert!(space.reserve(50));
        assert!(!space.reserve(21));
        space.release(50);
        space.set("h", 10, true);
        space.see("h/a", 20, false);
        space.see("h/a", 20, false);
        assert_eq!((space.used(), space.objects()), (40, 1));
        space.end_count();
        assert_eq!(space.used(), 30);
        space.set("h/a", 5, false);
        space.remove("h/b");
        assert_eq!(space.used(), 15);
    }

    #[test]
    fn what_is_used_stays_longer() {
        let mut space = Space::new(100, 0);
        assert_eq!(space.victim(), None);
        for path in ["h/a", "h/b", "h/c"] {
            space.set(path, 10, false);
        }
        space.set("h", 10, true);
        space.touch("h/a");
        space.touch("h/b");
        assert_eq!(space.victim().as_deref(), Some("h/c"));
        space.remove("h/c");
        let mut left = vec![space.victim().unwrap()];
        space.remove(&left[0]);
        left.push(space.victim().unwrap());
        left.sort();
        assert_eq!(left, ["h/a", "h/b"]);
    }
}
