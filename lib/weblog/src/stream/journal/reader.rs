//! Reading a journal's file: blocks go in, entries come out.

use std::error::Error;
use std::fmt;

use bytes::Bytes;

use super::super::hash::mix;
use super::Stretch;
use super::record::{Parsed, Record};

/// Bytes that are asked for at a time, unless a record is longer.
const BLOCK_BYTES: usize = 256 << 10;

/// An entry, as far as an output file is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Lines; the last one may lack its newline.
    Lines(Bytes),
    /// From here on it is this second of the epoch.
    Time(u64),
    /// A publisher has given up so many bytes, in so many lines; 0 if nobody knows.
    Gap {
        /// Lines.
        lines: u64,
        /// Bytes.
        bytes: u64,
    },
    /// A logger was given up.
    Forgotten(String),
    /// A peer had removed so many entries before they could be fetched.
    Missed(u64),
    /// Nothing that a file shows.
    Round,
    /// No entry: a segment begins, in this second of the epoch.
    Segment(u64),
}

/// What was read is not what was written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Offset in the journal's file.
    pub at: u64,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the journal is damaged at offset {}", self.at)
    }
}

impl Error for Damaged {}

/// Reads a [`Stretch`] of a journal.
#[derive(Clone, Debug)]
pub struct StretchReader {
    stretch: Stretch,
    /// Where it began.
    origin: u64,
    /// How many bytes to ask for.
    want: usize,
}

impl StretchReader {
    /// At the beginning of the stretch.
    pub fn new(stretch: Stretch) -> StretchReader {
        StretchReader {
            origin: stretch.at,
            stretch,
            want: BLOCK_BYTES,
        }
    }

    /// Takes a stretch that begins where this one began, and has become longer; gives whether it is
    /// one.
    pub fn extend(&mut self, stretch: &Stretch) -> bool {
        let same = stretch.at == self.origin;
        if same {
            self.stretch.until = self.stretch.until.max(stretch.until);
        }
        same
    }

    /// What to read next, offset and length, of which the file's end may be short; none at the end
    /// of the stretch.
    pub fn wants(&self) -> Option<(u64, usize)> {
        (self.stretch.position < self.stretch.until).then_some((self.stretch.at, self.want))
    }

    /// Takes what was read; gives each entry with the count of entries before it, and where
    /// segments begin.
    ///
    /// # Errors
    /// A record's checksum is wrong, or the file ends too early.
    pub fn feed(&mut self, bytes: &Bytes, mut take: impl FnMut(u64, Entry)) -> Result<(), Damaged> {
        self.feed_records(bytes, |stretch, record| match record {
            Record::Base(base) => take(stretch.position, Entry::Segment(base.time)),
            record if record.is_entry() => take(stretch.position, record.into()),
            _ => {}
        })
    }

    /// As [`feed`](Self::feed), with all of it: what remains of the stretch before each record.
    pub(in super::super) fn feed_records(
        &mut self,
        bytes: &Bytes,
        mut take: impl FnMut(&Stretch, Record),
    ) -> Result<(), Damaged> {
        let mut taken = 0;
        let asked = std::mem::replace(&mut self.want, BLOCK_BYTES);
        while self.stretch.position < self.stretch.until {
            match Record::parse(&bytes.slice(taken..), self.stretch.at) {
                Parsed::Record(record, body_hash, length) => {
                    let is_entry = record.is_entry();
                    take(&self.stretch, record);
                    if is_entry {
                        self.stretch.position += 1;
                        self.stretch.hash = mix(self.stretch.hash, body_hash);
                    }
                    self.stretch.at += length as u64;
                    taken += length;
                }
                // What was asked for was all there, so there is more; or some of it was taken.
                Parsed::Part(length) if bytes.len() >= asked || taken > 0 => {
                    self.want = length.max(BLOCK_BYTES);
                    return Ok(());
                }
                Parsed::Part(_) | Parsed::Damaged => {
                    return Err(Damaged {
                        at: self.stretch.at,
                    });
                }
            }
        }
        Ok(())
    }

    /// What is left of the stretch.
    pub(in super::super) fn rest(&self) -> &Stretch {
        &self.stretch
    }
}

impl From<Record> for Entry {
    fn from(record: Record) -> Entry {
        match record {
            Record::Batch { data, .. } | Record::Plain { data } => Entry::Lines(data),
            Record::Time(second) => Entry::Time(second),
            Record::Gap {
                start, end, lines, ..
            } => Entry::Gap {
                lines,
                bytes: end.saturating_sub(start),
            },
            Record::Forget(name) => Entry::Forgotten(name),
            Record::Missed(entries) => Entry::Missed(entries),
            _ => Entry::Round,
        }
    }
}
