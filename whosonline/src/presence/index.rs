//! Where the entry with a name is: a hash table of indices.
//!
//! Each place holds 32 bits of the name's hash and the index, 8 bytes in one array, so a search
//! waits for memory once; names are compared only where those bits agree. Places are probed one
//! after the other from the one that the hash says, and an entry that goes lets those behind it
//! move up, so there are no tombstones. Growing needs no names.

/// An empty place.
const EMPTY: u64 = u64::MAX;

/// The index that no entry has.
pub(super) const NONE: u32 = u32::MAX;

/// Places to begin with; always a power of two.
const PLACES_MIN: usize = 64;

/// A hash table of indices below [`NONE`].
#[derive(Debug)]
pub(super) struct Index {
    places: Vec<u64>,
    count: usize,
}

impl Index {
    pub(super) fn new() -> Index {
        Index {
            places: vec![EMPTY; PLACES_MIN],
            count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<u64>()
    }

    /// The entry that `is_it` says yes to, among those with this hash; [`NONE`] if there is none.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> u32 {
        let mut place = self.home(hash);
        loop {
            let entry = self.places[place];
            if (entry >> 32) as u32 == hash && entry != EMPTY && is_it(entry as u32) {
                return entry as u32;
            }
            if entry == EMPTY {
                return NONE;
            }
            place = self.after(place);
        }
    }

    /// The first entry with each of these hashes, which is most often the one.
    ///
    /// The searches do not depend on each other, so the processor waits for all of them at once.
    pub(super) fn candidates(&self, hashes: &[u32], found: &mut [u32]) {
        for (found, hash) in found.iter_mut().zip(hashes) {
            *found = self.find(*hash, |_| true);
        }
    }

    /// Adds an entry that is not there.
    pub(super) fn insert(&mut self, hash: u32, index: u32) {
        // At most seven eighths are taken, so every search ends.
        if (self.count + 1) * 8 > self.places.len() * 7 {
            self.grow();
        }
        self.count += 1;
        self.put(u64::from(hash) << 32 | u64::from(index));
    }

    /// Takes out the entry with this index, if it is there.
    pub(super) fn remove(&mut self, hash: u32, index: u32) {
        let wanted = u64::from(hash) << 32 | u64::from(index);
        let mut hole = self.home(hash);
        while self.places[hole] != wanted {
            if self.places[hole] == EMPTY {
                return;
            }
            hole = self.after(hole);
        }
        self.count -= 1;
        let mut place = hole;
        loop {
            place = self.after(place);
            let entry = self.places[place];
            if entry == EMPTY {
                break;
            }
            // An entry moves up if that does not take it before its home.
            let home = self.home((entry >> 32) as u32);
            let mask = self.places.len() - 1;
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(hole) & mask {
                self.places[hole] = entry;
                hole = place;
            }
        }
        self.places[hole] = EMPTY;
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    fn put(&mut self, entry: u64) {
        let mut place = self.home((entry >> 32) as u32);
        while self.places[place] != EMPTY {
            place = self.after(place);
        }
        self.places[place] = entry;
    }

    fn grow(&mut self) {
        let doubled = vec![EMPTY; self.places.len() * 2];
        for entry in std::mem::replace(&mut self.places, doubled) {
            if entry != EMPTY {
                self.put(entry);
            }
        }
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
            spread in prop_oneof![Just(1_u32), Just(7), Just(u32::MAX / 300)],
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
                let mut first = [0];
                table.candidates(&[hash(index)], &mut first);
                let any = map.keys().any(|other| hash(*other) == hash(index));
                prop_assert_eq!(first != [NONE], any);
            }
        }
    }
}
