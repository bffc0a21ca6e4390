//! Short names, packed: no allocation of its own for any of them.
//!
//! Names of 1 to 8 bytes stand in one row of places, those of 9 to 16 in the next, and so on up to
//! 256. A name is known by its place and its length.

/// Places grow by this part of what is there: most of the memory of a table is in such rows.
const GROWTH: usize = 16;

/// Rows of places, by length.
#[derive(Debug)]
pub(super) struct Texts {
    rows: [Row; 32],
}

#[derive(Debug, Default)]
struct Row {
    places: Vec<u8>,
    free: Vec<u32>,
}

impl Texts {
    pub(super) fn new() -> Texts {
        Texts {
            rows: std::array::from_fn(|_| Row::default()),
        }
    }

    /// Keeps a name of at most 255 bytes; gives its place.
    pub(super) fn insert(&mut self, text: &[u8]) -> u32 {
        let (row, width) = row_of(text.len() as u8);
        let row = &mut self.rows[row];
        let place = row.free.pop().unwrap_or_else(|| {
            let count = row.places.len() / width;
            reserve(&mut row.places, width);
            row.places.resize((count + 1) * width, 0);
            count as u32
        });
        row.places[place as usize * width..][..text.len()].copy_from_slice(text);
        place
    }

    pub(super) fn get(&self, place: u32, length: u8) -> &[u8] {
        let (row, width) = row_of(length);
        &self.rows[row].places[place as usize * width..][..length.into()]
    }

    pub(super) fn remove(&mut self, place: u32, length: u8) {
        self.rows[row_of(length).0].free.push(place);
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |row: &Row| row.places.capacity() + row.free.capacity() * size_of::<u32>();
        self.rows.iter().map(bytes).sum()
    }
}

/// The row for names of a length, and the width of its places.
fn row_of(length: u8) -> (usize, usize) {
    let row = usize::from(length).saturating_sub(1) / 8;
    (row, (row + 1) * 8)
}

/// Makes room for some more values, and a sixteenth of all.
pub(super) fn reserve<T>(values: &mut Vec<T>, more: usize) {
    if values.capacity() - values.len() < more {
        values.reserve_exact((values.len() / GROWTH).max(64 * more));
    }
}

/// As `==`, without a call: names are short, and most often the same.
#[inline]
pub(crate) fn is_same(a: &[u8], b: &[u8]) -> bool {
    // The last bytes have some in common with those before them: no loop over single ones.
    a.len() == b.len()
        && match a.len() {
            0..4 => a.iter().zip(b).all(|(a, b)| a == b),
            4..8 => {
                a.first_chunk::<4>() == b.first_chunk() && a.last_chunk::<4>() == b.last_chunk()
            }
            8..16 => {
                a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk()
            }
            _ => {
                let (chunks, others) = (a.as_chunks::<16>().0, b.as_chunks().0);
                a.last_chunk::<16>() == b.last_chunk()
                    && chunks.iter().zip(others).all(|(a, b)| a == b)
            }
        }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_the_same_is_the_same(
            mut a in proptest::collection::vec(any::<u8>(), 0..40),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let b = a.clone();
            prop_assert!(is_same(&a, &b));
            if !a.is_empty() {
                let at = at.index(a.len());
                a[at] = byte;
                prop_assert_eq!(is_same(&a, &b), a == b);
                prop_assert!(!is_same(&a[1..], &b));
            }
        }
    }

    #[test]
    fn names_of_all_lengths_come_back() {
        let mut texts = Texts::new();
        let names: Vec<Vec<u8>> = (0..=255_u8)
            .map(|length| vec![length; length.into()])
            .collect();
        let places: Vec<u32> = names.iter().map(|name| texts.insert(name)).collect();
        for (name, place) in names.iter().zip(&places) {
            assert_eq!(texts.get(*place, name.len() as u8), name);
        }
        let before = texts.bytes();
        for round in 0..1000 {
            texts.remove(places[9], 9);
            assert_eq!(texts.insert(&[round as u8; 9]), places[9]);
        }
        assert_eq!(texts.get(places[9], 9), [231; 9]);
        assert!(texts.bytes() <= before + 64);
    }
}
