//! A logger's journal: the records of its file, and what they say.
//!
//! The file is only ever appended to, even where entries are taken back, so a crash leaves a prefix
//! of it and perhaps a torn record. What a journal knows is a function of its records in order:
//! [`Journal::apply`] is all there is, at work as after a crash. Memory does not grow with the
//! count of entries: where they are is known by a point in each [`POINT_BYTES`], and the file is
//! read from there.
//!
//! Now and then a segment begins, with what the entries before it come to; what stands before a
//! segment can be removed when nobody needs it.

mod head;
mod provisional;
pub(super) mod reader;
pub(super) mod record;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::StreamId;
use super::hash::mix;
use head::Beginning;
use provisional::{Change, Provisional};
use record::Parsed;
pub(super) use record::{NAME_BYTES_MAX, Prefix, Record};
use streams::Streams;

/// Distance of the points from which the file is read.
/// The tests' journals are small.
const POINT_BYTES: u64 = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// Length of a segment, or a little more.
pub(super) const SEGMENT_BYTES: u64 = if cfg!(test) { 6 << 10 } else { 64 << 20 };

/// An entry from which the file can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    /// Count of entries before it, and their running hash.
    position: u64,
    hash: u64,
    at: u64,
}

/// A stretch of the file: the records from `at` on, with the entries after `position`, up to the
/// one that makes `until`. Notes stand between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Offset in the journal's file.
    pub at: u64,
    /// Count of the entries before it.
    pub position: u64,
    /// Count of the entries up to its end.
    pub until: u64,
    /// Running hash of the entries before it.
    pub(super) hash: u64,
}

/// What a journal says.
#[derive(Debug)]
pub(super) struct Journal {
    /// Whether entries can be taken back until a `Commit`.
    provisional_entries: bool,
    length: u64,
    hash: u64,
    points: VecDeque<Point>,
    /// Segments that the file may begin with: offset, and the count of entries before it. The first
    /// is the one it does begin with.
    segments: VecDeque<(u64, u64)>,
    /// A segment of which only the beginning of its head is here, or was when a crash came.
    head: Option<(u64, u64)>,
    /// The same of the head that an empty journal, or a draft, is to begin with.
    beginning: Option<Beginning>,
    /// Whether it began anew and has not come as far as the others since.
    draft: bool,
    /// Offset of the end of the file.
    file_bytes: u64,
    /// Length of all entries' records.
    entry_bytes: u64,
    commit: u64,
    promise: u64,
    /// Positions and numbers of the last committed term and those after it.
    terms: Vec<(u64, u64)>,
    time: u64,
    gap_bytes: u64,
    /// Loggers that were given up.
    forgotten: BTreeSet<String>,
    marks: BTreeMap<String, Prefix>,
    streams: Streams,
    /// One for each entry beyond the commit point.
    provisional: VecDeque<Provisional>,
}

impl Journal {
    /// An empty one. Entries of a file that begins with a segment after offset 0 are replayed
    /// after [`begin_at`](Self::begin_at).
    pub(super) fn new(provisional_entries: bool) -> Journal {
        Journal {
            provisional_entries,
            length: 0,
            hash: 0,
            points: VecDeque::from([Point {
                position: 0,
                hash: 0,
                at: 0,
            }]),
            segments: VecDeque::from([(0, 0)]),
            head: None,
            beginning: None,
            draft: provisional_entries,
            file_bytes: 0,
            entry_bytes: 0,
            commit: 0,
            promise: 0,
            terms: Vec::new(),
            time: 0,
            gap_bytes: 0,
            forgotten: BTreeSet::new(),
            marks: BTreeMap::new(),
            streams: Streams::default(),
            provisional: VecDeque::new(),
        }
    }

    /// The file begins at this offset: what stood before has been removed.
    pub(super) fn begin_at(&mut self, at: u64) {
        self.file_bytes = at;
        self.segments = [(at, 0)].into();
    }

    /// Takes a record, of which the body's hash and the length in the file are given.
    fn apply(&mut self, record: &Record, body_hash: u64, length: usize) {
        if record.is_entry() {
            self.apply_entry(record, body_hash, length as u64);
        }
        let end = self.file_bytes + length as u64;
        match record {
            Record::Promise(term) => self.promise = self.promise.max(*term),
            Record::Commit(position) => self.commit_to(*position),
            Record::Truncate(position) => self.take_back(*position, end),
            Record::Mark { peer, prefix } => {
                self.marks.insert(peer.clone(), *prefix);
            }
            _ => self.apply_head(record),
        }
        self.file_bytes = end;
    }

    fn apply_entry(&mut self, record: &Record, body_hash: u64, length: u64) {
        let here = Point {
            position: self.length,
            hash: self.hash,
            at: self.file_bytes,
        };
        let last = self.points.back().map_or(0, |point| point.at);
        if self.file_bytes - last >= POINT_BYTES {
            self.points.push_back(here);
        }
        // All entries came after all, instead of what those before a segment come to.
        self.beginning = None;
        let change = self.change_by(record);
        self.length += 1;
        self.hash = mix(self.hash, body_hash);
        self.entry_bytes += length;
        if self.provisional_entries {
            self.provisional.push_back(Provisional {
                hash_before: here.hash,
                bytes: length,
                change,
            });
        } else {
            self.commit = self.length;
        }
        match record {
            Record::Term(term) => self.terms.push((self.length, *term)),
            // Should it come back with an empty disk, what it has then is not what was seen of it.
            Record::Forget(name) => {
                self.marks.remove(name);
            }
            _ => {}
        }
    }

    fn change_by(&mut self, record: &Record) -> Change {
        let (stream, start, end, given_up) = match record {
            Record::Batch {
                stream,
                offset,
                data,
            } => (*stream, *offset, *offset + data.len() as u64, 0),
            Record::Gap {
                stream, start, end, ..
            } => (*stream, *start, *end, end.saturating_sub(*start)),
            Record::Time(second) => {
                return Change::Time(std::mem::replace(&mut self.time, *second));
            }
            Record::Forget(name) => {
                return match self.forgotten.insert(name.clone()) {
                    true => Change::Forgotten(name.clone()),
                    false => Change::Nothing,
                };
            }
            Record::Heard(name) => {
                return match self.forgotten.take(name) {
                    Some(name) => Change::Heard(name),
                    None => Change::Nothing,
                };
            }
            _ => return Change::Nothing,
        };
        self.gap_bytes += given_up;
        Change::Range {
            stream,
            start,
            end,
            given_up,
            added: self.streams.add(stream, start, end),
        }
    }

    fn commit_to(&mut self, position: u64) {
        let position = position.min(self.length);
        let newly = position.saturating_sub(self.commit);
        self.provisional.drain(..newly as usize);
        self.commit += newly;
        let commit = self.commit;
        let old = self.terms.iter().filter(|(at, _)| *at <= commit).count();
        self.terms.drain(..old.saturating_sub(1));
    }

    /// Takes entries back; `end` is the offset where the next record begins.
    fn take_back(&mut self, position: u64, end: u64) {
        if self.length <= position.max(self.commit) {
            return;
        }
        while self.length > position.max(self.commit)
            && let Some(last) = self.provisional.pop_back()
        {
            self.length -= 1;
            self.hash = last.hash_before;
            self.entry_bytes -= last.bytes;
            self.undo(last.change);
        }
        let length = self.length;
        self.terms.retain(|&(position, _)| position <= length);
        // Behind a point all entries up to the next one are in force.
        while self
            .points
            .back()
            .is_some_and(|point| point.position > length)
        {
            self.points.pop_back();
        }
        self.points.push_back(Point {
            position: length,
            hash: self.hash,
            at: end,
        });
        // A segment whose base speaks of entries that are none is no place to begin.
        while self.segments.len() > 1
            && self
                .segments
                .back()
                .is_some_and(|segment| segment.1 > length)
        {
            self.segments.pop_back();
        }
    }

    fn undo(&mut self, change: Change) {
        match change {
            Change::Nothing => {}
            Change::Range {
                stream,
                start,
                end,
                given_up,
                added,
            } => {
                self.gap_bytes -= given_up;
                self.streams.take_back(stream, start, end, added);
            }
            Change::Time(second) => self.time = second,
            Change::Forgotten(name) => {
                self.forgotten.remove(&name);
            }
            Change::Heard(name) => {
                self.forgotten.insert(name);
            }
        }
    }

    /// Adds a record; gives its bytes, for the end of the file.
    pub(super) fn append(&mut self, record: &Record) -> Bytes {
        let mut bytes = Vec::new();
        let body_hash = record.encode(self.file_bytes, &mut bytes);
        self.apply(record, body_hash, bytes.len());
        bytes.into()
    }

    /// Takes the next bytes of a file that is read again; gives how many were whole records.
    pub(super) fn replay(&mut self, bytes: &Bytes) -> usize {
        let mut taken = 0;
        while let Parsed::Record(record, body_hash, length) =
            Record::parse(&bytes.slice(taken..), self.file_bytes)
        {
            self.apply(&record, body_hash, length);
            taken += length;
        }
        taken
    }

    /// Lets go of the segments that hold no entry after `position`, as long as the one that follows
    /// is on disk, which the file is up to `synced_bytes`; gives the offset where the file may begin
    /// now.
    pub(super) fn remove_before(&mut self, position: u64, synced_bytes: u64) -> u64 {
        let position = position.min(self.commit);
        // No sync begins inside a head.
        let may_begin = |next: &(u64, u64)| next.1 <= position && next.0 < synced_bytes;
        while self.segments.get(1).is_some_and(may_begin) {
            self.segments.pop_front();
        }
        let begin = self.segments.front().map_or(0, |segment| segment.0);
        while self.points.front().is_some_and(|point| point.at < begin) {
            self.points.pop_front();
        }
        begin
    }

    /// Count of the entries up to the end of the first segment; 0 if it is the only one.
    pub(super) fn first_segment_end(&self) -> u64 {
        self.segments.get(1).map_or(0, |next| next.1)
    }

    /// Count of the entries that were removed, or were never here.
    pub(super) fn first_position(&self) -> u64 {
        self.points.front().map_or(0, |point| point.position)
    }

    /// Where to read the entries after a position, and maybe some before it; none if they are
    /// not here.
    pub(super) fn stretch(&self, position: u64) -> Option<Stretch> {
        let index = self
            .points
            .partition_point(|point| point.position <= position);
        // Of several points at one position the last one is in force.
        let point = self.points.get(index.checked_sub(1)?)?;
        let next = self.points.get(index);
        (position <= self.length).then(|| Stretch {
            at: point.at,
            position: point.position,
            until: next.map_or(self.length, |next| next.position),
            hash: point.hash,
        })
    }

    /// Where to read the head of the segment that the file begins with, up to the first entry.
    pub(super) fn first_stretch(&self) -> Option<Stretch> {
        self.points.front().map(|point| Stretch {
            at: point.at,
            position: point.position,
            until: point.position + 1,
            hash: point.hash,
        })
    }

    /// All of it.
    pub(super) fn whole(&self) -> Prefix {
        Prefix {
            length: self.length,
            hash: self.hash,
        }
    }

    /// What was removed, or was never here.
    pub(super) fn removed(&self) -> Prefix {
        let first = self.points.front();
        first.map_or_else(Prefix::default, |point| Prefix {
            length: point.position,
            hash: point.hash,
        })
    }

    /// Count of entries.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Running hash of all entries.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Offset of the end of the file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Length of all entries' records.
    pub(super) fn entry_bytes(&self) -> u64 {
        self.entry_bytes
    }

    /// With a majority: whether it has never been [`Complete`](Record::Complete). The others may not
    /// know that something has to be kept for it; where they have removed what it lacks, it can begin
    /// anew with a peer's base, as nothing of it is in files.
    pub(super) fn is_draft(&self) -> bool {
        self.draft
    }

    /// The entries up to here stay.
    pub(super) fn commit(&self) -> u64 {
        self.commit
    }

    /// The highest term that was promised or begun.
    pub(super) fn promise(&self) -> u64 {
        self.promise.max(self.last_term())
    }

    /// The term of the last entry.
    pub(super) fn last_term(&self) -> u64 {
        self.terms.last().map_or(0, |&(_, term)| term)
    }

    /// The ordered time, in seconds of the epoch.
    pub(super) fn time(&self) -> u64 {
        self.time
    }

    /// How many bytes publishers have given up.
    pub(super) fn gap_bytes(&self) -> u64 {
        self.gap_bytes
    }

    /// Whether a logger was given up.
    pub(super) fn is_forgotten(&self, name: &str) -> bool {
        self.forgotten.contains(name)
    }

    /// How far a peer's journal is known to be contained in this one.
    pub(super) fn mark(&self, peer: &str) -> Prefix {
        self.marks.get(peer).copied().unwrap_or_default()
    }

    /// The parts of a batch that are not here yet.
    pub(super) fn missing(&self, stream: StreamId, start: u64, end: u64) -> Vec<(u64, u64)> {
        self.streams.missing(stream, start, end)
    }
}
