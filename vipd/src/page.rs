//! The page that vipd and its guardian share: vipd's heartbeat, what it holds, and the guardian's
//! word that it holds nothing any more.
//!
//! It is a file in memory, written and read by single system calls. What is held stands in one of
//! two slots; the other one is written next, so a vipd that is killed in the middle of writing
//! leaves the one before.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::process::Stdio;

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::indices::Indices;

/// Bound: of a slot, its length included. 10,000 sets of two generations take 5 kB.
const SLOT_BYTES: u64 = 128 << 10;

const BEAT: u64 = 0;
const FENCED: u64 = 8;
const SLOT: u64 = 16;
const SLOTS: u64 = 64;

/// What a vipd holds, and in whose name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its session with the bus; empty while there is none.
    pub session: String,
    /// The digest of the list that its sets are indices of.
    pub config: u64,
    /// Sets that are in the kernel, or on the way there or back, by generation.
    pub sets: Vec<(u64, Indices)>,
    /// Whether the addresses are to stay when it ends: another vipd will adopt them.
    pub keep: bool,
}

/// The page, from either side.
#[derive(Debug)]
pub struct Page {
    file: File,
}

impl Page {
    /// A page of a vipd that has not beaten and holds nothing.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn create() -> io::Result<Page> {
        let page = Page::from(memfd_create("vipd", MemfdFlags::CLOEXEC)?);
        page.file.set_len(SLOTS + 2 * SLOT_BYTES)?;
        page.write(&Record::default())?;
        Ok(page)
    }

    /// The page as a child's standard input.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn stdin(&self) -> io::Result<Stdio> {
        Ok(Stdio::from(self.file.try_clone()?))
    }

    /// vipd lives.
    ///
    /// # Errors
    /// None that is known.
    pub fn beat(&self) -> io::Result<()> {
        self.put(BEAT, self.get(BEAT)?.wrapping_add(1))
    }

    /// A number that changes while vipd lives.
    ///
    /// # Errors
    /// None that is known.
    pub fn beats(&self) -> io::Result<u64> {
        self.get(BEAT)
    }

    /// Whether the guardian has taken vipd for dead and removed its addresses.
    ///
    /// # Errors
    /// None that is known.
    pub fn is_fenced(&self) -> io::Result<bool> {
        Ok(self.get(FENCED)? != 0)
    }

    /// The guardian says so before it removes anything; vipd takes it back when it has let go.
    ///
    /// # Errors
    /// None that is known.
    pub fn set_fenced(&self, fenced: bool) -> io::Result<()> {
        self.put(FENCED, u64::from(fenced))
    }

    /// Writes down what vipd holds.
    ///
    /// # Errors
    /// It is longer than a slot; what stood there stays.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        if text.len() as u64 + 8 > SLOT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let slot = (self.get(SLOT)? + 1) % 2;
        let at = SLOTS + slot * SLOT_BYTES;
        self.file.write_all_at(&text, at + 8)?;
        self.put(at, text.len() as u64)?;
        self.put(SLOT, slot)
    }

    /// What vipd holds.
    ///
    /// # Errors
    /// Somebody else has written there.
    pub fn read(&self) -> io::Result<Record> {
        let at = SLOTS + (self.get(SLOT)? % 2) * SLOT_BYTES;
        let length = self.get(at)?.min(SLOT_BYTES - 8);
        let mut text = vec![0; length as usize];
        self.file.read_exact_at(&mut text, at + 8)?;
        Ok(serde_json::from_slice(&text)?)
    }

    fn get(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn put(&self, at: u64, value: u64) -> io::Result<()> {
        self.file.write_all_at(&value.to_ne_bytes(), at)
    }
}

impl From<OwnedFd> for Page {
    fn from(fd: OwnedFd) -> Page {
        Page {
            file: File::from(fd),
        }
    }
}

/// Decides when a vipd is silent.
///
/// It counts its own looks, not only time: after a pause of the whole host, vipd has its turn before
/// it is taken for dead.
#[derive(Debug, Default)]
pub struct Silence {
    beats: u64,
    looks: u32,
}

impl Silence {
    /// Looks in a row without a heartbeat, 50 ms apart, that make a silence of 300 ms.
    pub const LOOKS: u32 = 6;

    /// Takes a look; whether vipd is silent now.
    pub fn look(&mut self, beats: u64) -> bool {
        self.looks = match beats == self.beats {
            true => self.looks.saturating_add(1),
            false => 0,
        };
        self.beats = beats;
        self.looks >= Silence::LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_same() {
        let page = Page::create().unwrap();
        let other = Page::from(OwnedFd::from(page.file.try_clone().unwrap()));
        assert_eq!(other.read().unwrap(), Record::default());
        let mut record = Record {
            session: "#v1#web1".into(),
            config: u64::MAX,
            sets: vec![(7, Indices::all(10_000)), (8, [3, 9].into_iter().collect())],
            keep: false,
        };
        for generation in 0..5 {
            record.sets[0].0 = generation;
            page.write(&record).unwrap();
            assert_eq!(other.read().unwrap(), record);
        }
        assert!(!page.is_fenced().unwrap());
        other.set_fenced(true).unwrap();
        assert!(page.is_fenced().unwrap());
    }

    #[test]
    fn what_does_not_fit_leaves_what_was_there() {
        let page = Page::create().unwrap();
        let record = Record {
            session: "x".repeat(SLOT_BYTES as usize),
            ..Record::default()
        };
        assert!(page.write(&record).is_err());
        assert_eq!(page.read().unwrap(), Record::default());
    }

    #[test]
    fn silence_is_six_looks_without_a_beat() {
        let page = Page::create().unwrap();
        let mut silence = Silence::default();
        page.beat().unwrap();
        for _ in 0..3 {
            let silent: Vec<bool> = (0..8)
                .map(|_| silence.look(page.beats().unwrap()))
                .collect();
            // The first look sees a new beat.
            assert_eq!(
                silent,
                [false, false, false, false, false, false, true, true]
            );
            page.beat().unwrap();
        }
    }
}
