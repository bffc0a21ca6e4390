//! The places of a lane where bytes were given up.
//!
//! They are kept in a file of fixed size, made together with the lane, because they are written
//! when the disk is full. A slot is a line of text: first byte, end, lines, and whether the gap is
//! still growing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use weblog::stream::Gap;

/// `start`, `end` and `lines` with a blank behind each, a letter and a newline.
const SLOT_BYTES: usize = 64;

/// Bound: gaps of a lane that are not acknowledged. While all are in use the last one grows.
const SLOTS: usize = 64;

/// A gap, as it stands in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) gap: Gap,
    /// The process that makes it is at work, or was killed at it: up to one read more is gone.
    pub(crate) growing: bool,
}

/// The file of the gaps of one lane.
#[derive(Debug)]
pub(crate) struct Gaps {
    file: File,
}

impl Gaps {
    /// The gaps in an opened file.
    pub(crate) fn new(file: File) -> Gaps {
        Gaps { file }
    }

    /// Fills a new file, so that nothing written into it later needs room.
    ///
    /// # Errors
    /// As write(2).
    pub(crate) fn create(file: File) -> io::Result<Gaps> {
        let mut empty = [b' '; SLOT_BYTES];
        empty[SLOT_BYTES - 1] = b'\n';
        file.write_all_at(&empty.repeat(SLOTS), 0)?;
        Ok(Gaps { file })
    }

    /// The gaps that begin at or end after this offset, in order, each with the number of its slot.
    ///
    /// # Errors
    /// As read(2).
    pub(crate) fn load(&self, acknowledged: u64) -> io::Result<Vec<(usize, Slot)>> {
        let mut bytes = [0; SLOT_BYTES * SLOTS];
        let mut length = 0;
        while length < bytes.len() {
            match self.file.read_at(&mut bytes[length..], length as u64)? {
                0 => break,
                count => length += count,
            }
        }
        let slots = bytes[..length].chunks_exact(SLOT_BYTES).map(decode);
        let mut gaps: Vec<(usize, Slot)> = slots
            .enumerate()
            .filter_map(|(index, slot)| Some((index, slot?)))
            .filter(|(_, slot)| slot.gap.end > acknowledged || slot.growing)
            .collect();
        gaps.sort_by_key(|(_, slot)| slot.gap.start);
        Ok(gaps)
    }

    /// A slot that no gap needs any more; none if there are that many gaps.
    ///
    /// # Errors
    /// As read(2).
    pub(crate) fn free_slot(&self, acknowledged: u64) -> io::Result<Option<usize>> {
        let taken = self.load(acknowledged)?;
        Ok((0..SLOTS).find(|slot| taken.iter().all(|(other, _)| other != slot)))
    }

    /// Writes a gap into its slot.
    ///
    /// # Errors
    /// As write(2); a full disk is none.
    pub(crate) fn save(&self, index: usize, slot: Slot) -> io::Result<()> {
        self.file
            .write_all_at(&encode(slot), (index * SLOT_BYTES) as u64)
    }
}

fn encode(slot: Slot) -> Vec<u8> {
    let Gap { start, end, lines } = slot.gap;
    let state = if slot.growing { 'g' } else { 'c' };
    format!("{start:020} {end:020} {lines:019} {state}\n").into_bytes()
}

fn decode(bytes: &[u8]) -> Option<Slot> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let mut words = text.split(' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let gap = Gap {
        start: number()?,
        end: number()?,
        lines: number()?,
    };
    let growing = match words.next()? {
        "g" => true,
        "c" => false,
        _ => return None,
    };
    let whole = words.next().is_none() && gap.start <= gap.end;
    whole.then_some(Slot { gap, growing })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;

    fn slot(start: u64, end: u64, growing: bool) -> Slot {
        let lines = 3;
        Slot {
            gap: Gap { start, end, lines },
            growing,
        }
    }

    #[test]
    fn slots_are_used_again_when_they_are_acknowledged() {
        let path = std::env::temp_dir().join(format!("logpub-gaps-{}", std::process::id()));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true);
        let gaps = Gaps::create(file.open(&path).unwrap()).unwrap();
        assert_eq!(gaps.load(0).unwrap(), []);
        for index in 0..SLOTS as u64 {
            let free = gaps.free_slot(0).unwrap().unwrap();
            gaps.save(free, slot(10 * index, 10 * index + 5, false))
                .unwrap();
        }
        assert_eq!(gaps.free_slot(4).unwrap(), None);
        assert_eq!(gaps.free_slot(5).unwrap(), Some(0));
        gaps.save(0, slot(u64::MAX, u64::MAX, true)).unwrap();
        let loaded = gaps.load(625).unwrap();
        let expected = [
            (63, slot(630, 635, false)),
            (0, slot(u64::MAX, u64::MAX, true)),
        ];
        assert_eq!(loaded, expected);
        assert_eq!(fs::metadata(&path).unwrap().len(), 4096);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn nonsense_is_no_gap_or_reads_as_written() {
        let bytes = encode(slot(7, 1 << 60, true));
        assert_eq!(decode(&bytes), Some(slot(7, 1 << 60, true)));
        for index in 0..bytes.len() {
            for value in [0, b' ', b'0', b'9', b'+', b'\n', b'c', 0xff] {
                let mut changed = bytes.clone();
                changed[index] = value;
                if let Some(other) = decode(&changed) {
                    assert!(other.gap.start <= other.gap.end);
                }
            }
            assert_eq!(decode(&bytes[..index]), None);
        }
    }
}
