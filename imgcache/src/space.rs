//! How much of the disk is used, and what to delete when more is needed.
//!
//! Counts blocks, directories too. Space is reserved before it is written, so the limit holds at
//! any moment. What was on disk at the start is counted in the background; until that is done, the
//! figure of the former run stands for what has not been seen.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use slab::Slab;

/// What a file takes beyond its whole blocks: attributes, and its share of directories.
pub(crate) const OVERHEAD: u64 = 8192;

/// Bytes of the blocks in which files are counted, as stat(2) has them.
const BLOCK: u64 = 512;

/// Bound: bytes of names. What comes beyond is counted, and not deleted to make room.
const NAMES_MAX: usize = 2 << 30;

/// Names that are not used any more are dropped when there are so many bytes of them, and more than
/// of the others.
const GARBAGE_MIN: usize = 1 << 20;

/// At most so many bytes are kept free.
const FREE_MAX: u64 = 64 << 20;

/// The parent of what is at the top.
const TOP: u32 = u32::MAX;

/// Everything below the root, by size.
///
/// There may be millions of files, so each costs little: its own name once, and a few numbers.
#[derive(Debug)]
pub(crate) struct Space {
    limit: u64,
    used: u64,
    reserved: u64,
    /// What the former run left, less what has been seen of it.
    unseen: u64,
    entries: Slab<Entry>,
    /// Hash of a path to its entry.
    by_hash: HashMap<u64, u32>,
    hasher: RandomState,
    /// Names of entries, each behind a byte with its length.
    names: Vec<u8>,
    /// Bytes of `names` that belong to no entry.
    garbage: usize,
    /// Where the search for something to delete goes on.
    hand: usize,
    objects: u64,
    /// Objects by site, as the first directory of a path.
    by_site: BTreeMap<Box<str>, u64>,
    /// Files of further variants among them.
    variants: u64,
    /// Whether everything has been seen.
    complete: bool,
}

/// A file or a directory.
#[derive(Debug)]
struct Entry {
    /// The directory that it is in.
    parent: u32,
    /// Where its name begins.
    name: u32,
    blocks: u32,
    /// Entries in a directory: it is known as long as there are any.
    children: u32,
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
            names: Vec::new(),
            garbage: 0,
            hand: 0,
            objects: 0,
            by_site: BTreeMap::new(),
            variants: 0,
            complete: false,
        }
    }

    /// Bytes in use, reserved ones included.
    pub(crate) fn used(&self) -> u64 {
        self.used + self.reserved + self.unseen
    }

    pub(crate) fn objects(&self) -> u64 {
        self.objects
    }

    pub(crate) fn objects_of(&self, site: &str) -> u64 {
        self.by_site.get(site).copied().unwrap_or(0)
    }

    /// From now on this is the most; what is too much goes when something else comes.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Everything that is there has been seen.
    pub(crate) fn end_count(&mut self) {
        self.unseen = 0;
        self.complete = true;
    }

    /// Whether there may be files of further variants.
    pub(crate) fn may_have_variants(&self) -> bool {
        !self.complete || self.variants > 0
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
        match self.index(path).or_else(|| self.insert(path, fixed)) {
            Some(index) => self.set_blocks(index, bytes.div_ceil(BLOCK)),
            None => self.used += bytes,
        }
    }

    fn set_blocks(&mut self, index: u32, blocks: u64) {
        let entry = &mut self.entries[index as usize];
        let before = u64::from(entry.blocks);
        entry.blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        self.used = self.used - before * BLOCK + u64::from(entry.blocks) * BLOCK;
    }

    /// A new entry, and those of the directories above that are not known yet; none if there are
    /// too many names.
    fn insert(&mut self, path: &str, fixed: bool) -> Option<u32> {
        if self.names.len() > NAMES_MAX {
            return None;
        }
        let (parent, name) = match path.rsplit_once('/') {
            // Bound: a path of a disk is at most 4096 bytes.
            Some((directory, name)) => match self.index(directory) {
                Some(parent) => (parent, name),
                None => (self.insert(directory, true)?, name),
            },
            None => (TOP, path),
        };
        let entry = Entry {
            parent,
            name: u32::try_from(self.names.len()).ok()?,
            blocks: 0,
            children: 0,
            used: false,
            fixed,
        };
        self.names.push(u8::try_from(name.len()).ok()?);
        self.names.extend_from_slice(name.as_bytes());
        let index = self.entries.insert(entry) as u32;
        if let Some(parent) = self.entries.get_mut(parent as usize) {
            parent.children += 1;
        }
        self.by_hash.insert(self.hasher.hash_one(path), index);
        self.variants += u64::from(is_variant(name));
        if !fixed {
            self.objects += 1;
            match self.by_site.get_mut(site(path)) {
                Some(count) => *count += 1,
                None => drop(self.by_site.insert(site(path).into(), 1)),
            }
        }
        Some(index)
    }

    /// The path is gone.
    pub(crate) fn remove(&mut self, path: &str) {
        if let Some(index) = self.index(path) {
            self.set_blocks(index, 0);
            self.forget_empty(index, path);
        }
        if self.garbage > GARBAGE_MIN && self.garbage > self.names.len() / 2 {
            self.drop_garbage();
        }
    }

    /// Drops an entry with nothing in it, and directories above of which nothing else was known.
    fn forget_empty(&mut self, index: u32, mut path: &str) {
        let mut next = Some(index);
        while let Some(index) = next {
            let entry = &self.entries[index as usize];
            if entry.children > 0 || entry.blocks > 0 {
                return;
            }
            self.by_hash.remove(&self.hasher.hash_one(path));
            let entry = self.entries.remove(index as usize);
            let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
            self.garbage += 1 + name.len();
            self.variants -= u64::from(is_variant(name));
            if !entry.fixed {
                self.objects -= 1;
                if let Some(count) = self.by_site.get_mut(site(path)) {
                    *count -= 1;
                }
            }
            next = (entry.parent != TOP).then_some(entry.parent);
            if let Some(parent) = self.entries.get_mut(entry.parent as usize) {
                parent.children -= 1;
            }
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }

    fn drop_garbage(&mut self) {
        let mut names = Vec::with_capacity(self.names.len() - self.garbage);
        for (_, entry) in &mut self.entries {
            let at = entry.name as usize;
            entry.name = names.len() as u32;
            let length = usize::from(self.names[at]);
            names.extend_from_slice(&self.names[at..=at + length]);
        }
        self.names = names;
        self.garbage = 0;
    }

    /// The path was used: it is not the next to go.
    pub(crate) fn touch(&mut self, path: &str) {
        if let Some(index) = self.index(path) {
            self.entries[index as usize].used = true;
        }
    }

    fn index(&self, path: &str) -> Option<u32> {
        self.by_hash.get(&self.hasher.hash_one(path)).copied()
    }

    fn path(&self, index: usize) -> String {
        let mut components = Vec::new();
        let mut next = self.entries.get(index);
        while let Some(entry) = next {
            let at = entry.name as usize;
            let length = usize::from(self.names[at]);
            components.push(String::from_utf8_lossy(&self.names[at + 1..=at + length]));
            next = self.entries.get(entry.parent as usize);
        }
        components.reverse();
        components.join("/")
    }

    /// Whether there is less free than should be, so that what comes need not wait for deletions.
    pub(crate) fn is_tight(&self) -> bool {
        let free = (self.limit / 64).min(FREE_MAX);
        self.used().saturating_add(free) > self.limit
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
                return Some(self.path(self.hand));
            }
        }
        None
    }
}

fn site(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn is_variant(name: &str) -> bool {
    name.contains("#v=")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_limit_holds() {
        let mut space = Space::new(10 * BLOCK, 3 * BLOCK);
        assert!(space.reserve(5 * BLOCK));
        assert!(!space.reserve(2 * BLOCK + 1));
        assert!(!space.is_tight());
        assert!(space.reserve(2 * BLOCK) && space.is_tight());
        space.release(2 * BLOCK);
        space.release(5 * BLOCK);
        space.set("h", BLOCK, true);
        space.see("h/a", 2 * BLOCK, false);
        space.see("h/a", 2 * BLOCK, false);
        assert_eq!((space.used(), space.objects()), (4 * BLOCK, 1));
        assert!(space.may_have_variants());
        space.end_count();
        assert_eq!(space.used(), 3 * BLOCK);
        assert!(!space.may_have_variants());
        space.set("h/a#v=1", BLOCK, false);
        assert!(space.may_have_variants());
        space.remove("h/a#v=1");
        assert!(!space.may_have_variants());
        space.set("h/a", 1, false);
        space.remove("h/b");
        assert_eq!(space.used(), 2 * BLOCK, "whole blocks");
    }

    #[test]
    fn what_is_used_stays_longer() {
        let mut space = Space::new(100 * BLOCK, 0);
        assert_eq!(space.victim(), None);
        for path in ["h/a", "h/b", "h/c"] {
            space.set(path, BLOCK, false);
        }
        space.set("h", BLOCK, true);
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

    #[test]
    fn an_object_costs_little() {
        // A million of them are to fit beside MemorySize.
        assert!(size_of::<Entry>() <= 20);
        let mut space = Space::new(u64::MAX, 0);
        for number in 0..100_000 {
            space.set(
                &format!("www.example.com/{}/{number}.gif", number % 100),
                4096,
                false,
            );
        }
        assert!(space.names.len() < 12 * 100_000, "{}", space.names.len());
        for number in 0..100_000 {
            space.remove(&format!("www.example.com/{}/{number}.gif", number % 100));
        }
        assert_eq!((space.used(), space.objects()), (0, 0));
        assert_eq!((space.entries.len(), space.by_hash.len()), (0, 0));
        assert!(
            space.names.len() <= 2 * GARBAGE_MIN,
            "{}",
            space.names.len()
        );
    }

    proptest! {
        /// Against a map of all paths.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0u8..3, 0u8..4, 0u8..4, 1u64..9), 1..200)) {
            let mut space = Space::new(u64::MAX, 0);
            let mut model: HashMap<String, u64> = HashMap::new();
            for (what, directory, leaf, blocks) in steps {
                let path = match leaf {
                    0 => format!("d{directory}"),
                    1 => format!("d{directory}/sub"),
                    2 => format!("d{directory}/x{blocks}"),
                    _ => format!("d{directory}/sub/{leaf}"),
                };
                let fixed = leaf < 2;
                match what {
                    0 | 1 => {
                        space.set(&path, blocks * BLOCK, fixed);
                        model.insert(path, blocks);
                    }
                    _ => {
                        space.remove(&path);
                        model.remove(&path);
                    }
                }
                if what == 0 {
                    space.drop_garbage();
                }
                let is_object = |path: &&String| !path.ends_with("sub") && path.contains('/');
                prop_assert_eq!(space.used(), model.values().sum::<u64>() * BLOCK);
                let of_sites: u64 = (0..4).map(|site| space.objects_of(&format!("d{site}"))).sum();
                prop_assert_eq!(space.objects(), of_sites);
                prop_assert_eq!(space.objects(), model.keys().filter(is_object).count() as u64);
                for (path, blocks) in &model {
                    let index = space.index(path).unwrap() as usize;
                    prop_assert_eq!(&space.path(index), path);
                    prop_assert_eq!(u64::from(space.entries[index].blocks), *blocks);
                }
            }
            if let Some(victim) = space.victim() {
                prop_assert!(model.contains_key(&victim) && victim.contains('/'));
            }
        }
    }
}
