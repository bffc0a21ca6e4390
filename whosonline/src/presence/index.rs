//! Where the entry with a name is: a hash table of indices.
//!
//! An entry is 32 bits of the name's hash and the index. Eight of them make a bucket, which is one
//! line of the cache: a search waits for memory once, and most often no branch depends on which of
//! the eight it is. Names are compared only where those bits agree. What does not fit into its
//! bucket stands in the next one with room. An entry that goes lets one of those move up, so there
//! are no tombstones. Growing needs no names.

use unixproc::memory::prefetch;
use wide::u32x8;

/// The index that no entry has.
pub(super) const NONE: u32 = u32::MAX;

/// Buckets to begin with; always a power of two.
const BUCKETS_MIN: usize = 8;

/// Entries that fit into a line of the cache.
const WIDTH: usize = 8;

/// Entries of the same or nearly the same home, those that are taken in front.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket {
    hashes: [u32; WIDTH],
    /// [`NONE`] where the place is free.
    indices: [u32; WIDTH],
}

/// A hash table of indices below [`NONE`].
#[derive(Debug)]
pub(super) struct Index {
    buckets: Vec<Bucket>,
    count: usize,
}

impl Index {
    pub(super) fn new() -> Index {
        Index {
            buckets: vec![Bucket::EMPTY; BUCKETS_MIN],
            count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// The entry that `is_it` says yes to, among those with this hash; [`NONE`] if there is none.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> u32 {
        let mut at = self.home(hash);
        loop {
            let bucket = &self.buckets[at];
            let mut places = bucket.places(hash);
            while places != 0 {
                let index = bucket.indices[places.trailing_zeros() as usize % WIDTH];
                if index != NONE && is_it(index) {
                    return index;
                }
                places &= places - 1;
            }
            if !bucket.is_full() {
                return NONE;
            }
            at = self.after(at);
        }
    }

    /// The first entry with this hash, which is most often the one.
    #[inline]
    pub(super) fn candidate(&self, hash: u32) -> u32 {
        self.find(hash, |_| true)
    }

    /// Asks for all that a search needs, most often.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        prefetch(&self.buckets[self.home(hash)]);
    }

    /// Adds an entry that is not there.
    pub(super) fn insert(&mut self, hash: u32, index: u32) {
        // At most seven eighths are taken, so every search ends.
        if (self.count + 1) * 8 > self.buckets.len() * WIDTH * 7 {
            self.grow();
        }
        self.count += 1;
        self.put(hash, index);
    }

    /// Takes out the entry with this index, if it is there.
    pub(super) fn remove(&mut self, hash: u32, index: u32) {
        let mut at = self.home(hash);
        let place = loop {
            let bucket = &self.buckets[at];
            match bucket.indices.iter().position(|one| *one == index) {
                Some(place) => break place,
                None if bucket.is_full() => at = self.after(at),
                None => return,
            }
        };
        self.count -= 1;
        let mut overflowed = self.buckets[at].is_full();
        self.buckets[at].remove(place);
        let (mut hole, mut at) = (at, at);
        // Buckets that follow a full one may hold what did not fit into it.
        while overflowed {
            at = self.after(at);
            overflowed = self.buckets[at].is_full();
            if let Some(place) = self.place_from_before(at, hole) {
                let (hash, index) = self.buckets[at].remove(place);
                self.buckets[hole].push(hash, index);
                hole = at;
            }
        }
    }

    /// The place in a bucket of an entry whose home is `hole` or before that.
    fn place_from_before(&self, at: usize, hole: usize) -> Option<usize> {
        let bucket = &self.buckets[at];
        (0..bucket.len()).find(|&place| {
            let home = self.home(bucket.hashes[place]);
            self.distance(home, at) >= self.distance(hole, at)
        })
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.buckets.len() - 1)
    }

    /// How many steps lead from a bucket to another one.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.buckets.len() - 1)
    }

    fn put(&mut self, hash: u32, index: u32) {
        let mut at = self.home(hash);
        while self.buckets[at].is_full() {
            at = self.after(at);
        }
        self.buckets[at].push(hash, index);
    }

    fn grow(&mut self) {
        let doubled = vec![Bucket::EMPTY; self.buckets.len() * 2];
        for bucket in std::mem::replace(&mut self.buckets, doubled) {
            for place in 0..bucket.len() {
                self.put(bucket.hashes[place], bucket.indices[place]);
            }
        }
    }
}

impl Bucket {
    const EMPTY: Bucket = Bucket {
        hashes: [0; WIDTH],
        indices: [NONE; WIDTH],
    };

    /// Where this hash stands, a bit for each place; free places may be among them.
    #[inline]
    fn places(&self, hash: u32) -> u32 {
        let hashes = u32x8::new(self.hashes);
        hashes.simd_eq(u32x8::splat(hash)).to_bitmask()
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.indices[WIDTH - 1] != NONE
    }

    fn len(&self) -> usize {
        let taken = self.indices.iter().take_while(|index| **index != NONE);
        taken.count()
    }

    fn push(&mut self, hash: u32, index: u32) {
        let place = self.len();
        self.hashes[place] = hash;
        self.indices[place] = index;
    }

    /// The last entry takes the place of the one that goes.
    fn remove(&mut self, place: usize) -> (u32, u32) {
        let gone = (self.hashes[place], self.indices[place]);
        let last = self.len() - 1;
        self.hashes[place] = self.hashes[last];
        self.indices[place] = self.indices[last];
        self.indices[last] = NONE;
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_map(
            steps in proptest::collection::vec((any::<bool>(), 0..300_u32), 1..600),
            spread in prop_oneof![Just(0_u32), Just(1), Just(7), Just(u32::MAX / 300)],
        ) {
            // Few hashes, many, neighbours: those at the array's end go on at its beginning.
            let hash = |index: u32| (index / 3).wrapping_mul(spread).wrapping_sub(5);
            let (mut table, mut map) = (Index::new(), BTreeMap::new());
            for (insert, index) in steps {
                if insert && !map.contains_key(&index) {
                    table.insert(hash(index), index);
                    map.insert(index, ());
                } else if !insert {
                    table.remove(hash(index), index);
                    map.remove(&index);
                }
                prop_assert_eq!(table.len(), map.len());
            }
            for index in 0..300 {
                let found = table.find(hash(index), |one| one == index);
                prop_assert_eq!(found != NONE, map.contains_key(&index));
                let any = map.keys().any(|other| hash(*other) == hash(index));
                prop_assert_eq!(table.candidate(hash(index)) != NONE, any);
            }
        }
    }
}
