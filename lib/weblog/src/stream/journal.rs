//! A logger's journal: the records of its file, and what they say.
//!
//! The file is only ever appended to, even where entries are taken back, so a crash leaves a prefix
//! of it and perhaps a torn record. What a journal knows is a function of its records in order:
//! [`Journal::apply`] is all there is, at work as after a crash.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf as _, Bytes};

use super::hash::hash;
use super::ranges::Ranges;
use super::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX, StreamId};

/// Length of the data, kind, checksum.
const HEADER_BYTES: usize = 4 + 1 + 8;

/// Longest record without its header: a batch of the longest line, begun in the middle of a
/// message, and what stands before its data.
const BODY_BYTES_MAX: usize = LINE_BYTES_MAX + 2 * MESSAGE_BYTES_MAX + 32;

/// Bound: bytes of a logger's name.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// What a journal is made of: entries, which have positions, and notes, which have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Entry: whole lines of a stream.
    Batch {
        stream: StreamId,
        offset: u64,
        data: Bytes,
    },
    /// Entry: lines of a sender that does not number them.
    Plain { data: Bytes },
    /// Entry: the round of this term begins.
    Term(u64),
    /// Note: no round of a lower term will be taken part in.
    Promise(u64),
    /// Note: the entries up to this position stay.
    Commit(u64),
    /// Note: the entries from this position on are taken back.
    Truncate(u64),
    /// Note: everything that this logger had up to this position of its journal is here.
    Mark { peer: String, position: u64 },
}

impl Record {
    /// Whether it has a position.
    pub(super) fn is_entry(&self) -> bool {
        matches!(
            self,
            Record::Batch { .. } | Record::Plain { .. } | Record::Term(_)
        )
    }

    fn kind(&self) -> u8 {
        match self {
            Record::Batch { .. } => 1,
            Record::Plain { .. } => 2,
            Record::Term(_) => 3,
            Record::Promise(_) => 4,
            Record::Commit(_) => 5,
            Record::Truncate(_) => 6,
            Record::Mark { .. } => 7,
        }
    }

    /// The record without its place in a file: a byte for the kind, then the rest.
    pub(super) fn to_body(&self) -> Vec<u8> {
        let mut body = vec![self.kind()];
        match self {
            Record::Batch {
                stream,
                offset,
                data,
            } => {
                body.extend_from_slice(&stream.0);
                body.extend_from_slice(&offset.to_be_bytes());
                body.extend_from_slice(data);
            }
            Record::Plain { data } => body.extend_from_slice(data),
            Record::Term(number)
            | Record::Promise(number)
            | Record::Commit(number)
            | Record::Truncate(number) => body.extend_from_slice(&number.to_be_bytes()),
            Record::Mark { peer, position } => {
                body.extend_from_slice(&position.to_be_bytes());
                body.extend_from_slice(peer.as_bytes());
            }
        }
        body
    }

    /// Reads what [`to_body`](Self::to_body) has written; none if it makes no sense.
    pub(super) fn from_body(mut body: Bytes) -> Option<Record> {
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
        let kind = body.try_get_u8().ok()?;
        let number = |mut body: Bytes| {
            let number = body.try_get_u64().ok()?;
            body.is_empty().then_some(number)
        };
        let record = match kind {
            1 => {
                let mut stream = [0; 16];
                body.try_copy_to_slice(&mut stream).ok()?;
                let offset = body.try_get_u64().ok()?;
                offset.checked_add(body.len() as u64)?;
                Record::Batch {
                    stream: StreamId(stream),
                    offset,
                    data: body,
                }
            }
            2 => Record::Plain { data: body },
            3 => Record::Term(number(body)?),
            4 => Record::Promise(number(body)?),
            5 => Record::Commit(number(body)?),
            6 => Record::Truncate(number(body)?),
            7 => {
                let position = body.try_get_u64().ok()?;
                let peer = std::str::from_utf8(&body).ok()?;
                let fits = peer.len() <= NAME_BYTES_MAX;
                fits.then(|| Record::Mark {
                    peer: peer.to_owned(),
                    position,
                })?
            }
            _ => return None,
        };
        Some(record)
    }

    /// The record as it stands at offset `at` of the file.
    fn encode(&self, at: u64) -> Vec<u8> {
        let body = self.to_body();
        let data = &body[1..];
        let mut bytes = Vec::with_capacity(HEADER_BYTES + data.len());
        bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
        bytes.push(self.kind());
        bytes.extend_from_slice(&checksum(at, &body).to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    /// Reads the record at offset `at` of the file; gives it and its length there, or none if the
    /// bytes are not all of a record.
    pub(super) fn decode(bytes: &[u8], at: u64) -> Option<(Record, usize)> {
        let mut header = bytes.get(..HEADER_BYTES)?;
        let length = header.get_u32() as usize;
        if length > BODY_BYTES_MAX {
            return None;
        }
        let kind = header.get_u8();
        let sum = header.get_u64();
        let data = bytes.get(HEADER_BYTES..HEADER_BYTES + length)?;
        let body = [&[kind], data].concat();
        if checksum(at, &body) != sum {
            return None;
        }
        Some((Record::from_body(body.into())?, HEADER_BYTES + length))
    }
}

/// The place counts too: bytes of an older file do not pass for a record.
fn checksum(at: u64, body: &[u8]) -> u64 {
    hash(at, body)
}

/// What the entries up to a position are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Running hash of all entries up to this one.
    hash: u64,
    /// Where its record begins in the file.
    at: u64,
    /// Length of its record.
    length: u32,
}

/// What a journal says.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// One for each position: 24 bytes for a batch of up to 1 MiB.
    entries: Vec<Entry>,
    /// Length of the file.
    file_bytes: u64,
    /// Length of all entries' records.
    entry_bytes: u64,
    commit: u64,
    promise: u64,
    /// Positions and numbers of the terms, in order.
    terms: Vec<(u64, u64)>,
    marks: BTreeMap<String, u64>,
    streams: BTreeMap<StreamId, Ranges>,
    /// What the entries beyond the commit point have added, one for each.
    provisional: VecDeque<Option<(StreamId, u64, u64)>>,
}

impl Journal {
    /// Takes a record, whose bytes in the file are `length`.
    fn apply(&mut self, record: &Record, length: usize) {
        if record.is_entry() {
            self.entries.push(Entry {
                hash: hash(self.hash(), &record.to_body()),
                at: self.file_bytes,
                length: length as u32,
            });
            self.entry_bytes += length as u64;
            let mut added = None;
            match record {
                Record::Batch {
                    stream,
                    offset,
                    data,
                } => {
                    let end = offset + data.len() as u64;
                    self.streams
                        .entry(*stream)
                        .or_default()
                        .insert(*offset, end);
                    added = Some((*stream, *offset, end));
                }
                Record::Term(term) => self.terms.push((self.length(), *term)),
                _ => {}
            }
            self.provisional.push_back(added);
        }
        match record {
            Record::Promise(term) => self.promise = self.promise.max(*term),
            Record::Commit(position) => {
                let position = (*position).min(self.length());
                let newly = position.saturating_sub(self.commit);
                self.provisional.drain(..newly as usize);
                self.commit += newly;
            }
            Record::Truncate(position) => self.take_back(*position),
            Record::Mark { peer, position } => {
                self.marks.insert(peer.clone(), *position);
            }
            Record::Batch { .. } | Record::Plain { .. } | Record::Term(_) => {}
        }
        self.file_bytes += length as u64;
    }

    fn take_back(&mut self, position: u64) {
        while self.length() > position.max(self.commit) {
            let entry = self.entries.pop();
            self.entry_bytes -= entry.map_or(0, |entry| u64::from(entry.length));
            if let Some(Some((stream, start, end))) = self.provisional.pop_back()
                && let Some(ranges) = self.streams.get_mut(&stream)
            {
                ranges.remove(start, end);
                if ranges.is_empty() {
                    self.streams.remove(&stream);
                }
            }
        }
        let length = self.length();
        self.terms.retain(|&(position, _)| position <= length);
    }

    /// Adds a record; gives its bytes, for the end of the file.
    pub(super) fn append(&mut self, record: &Record) -> Bytes {
        let bytes = record.encode(self.file_bytes);
        self.apply(record, bytes.len());
        bytes.into()
    }

    /// Takes the next bytes of a file that is read again; gives how many were whole records.
    pub(super) fn replay(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some((record, length)) = Record::decode(&bytes[taken..], self.file_bytes) {
            self.apply(&record, length);
            taken += length;
        }
        taken
    }

    /// Count of entries.
    pub(super) fn length(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Running hash of all entries.
    pub(super) fn hash(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.hash)
    }

    /// Running hash of the entries up to a position; none beyond the end.
    pub(super) fn hash_at(&self, position: u64) -> Option<u64> {
        match position.checked_sub(1) {
            None => Some(0),
            Some(index) => Some(self.entries.get(usize::try_from(index).ok()?)?.hash),
        }
    }

    /// Where in the file the entry after a position is: offset and length.
    pub(super) fn place(&self, position: u64) -> Option<(u64, usize)> {
        let entry = self.entries.get(usize::try_from(position).ok()?)?;
        Some((entry.at, entry.length as usize))
    }

    /// Length of the file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Length of all entries' records.
    pub(super) fn entry_bytes(&self) -> u64 {
        self.entry_bytes
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

    /// How far a peer's journal is known to be contained in this one.
    pub(super) fn mark(&self, peer: &str) -> u64 {
        self.marks.get(peer).copied().unwrap_or(0)
    }

    /// The parts of a batch that are not here yet.
    pub(super) fn missing(&self, stream: StreamId, start: u64, end: u64) -> Vec<(u64, u64)> {
        match self.streams.get(&stream) {
            Some(ranges) => ranges.missing(start, end),
            None if start < end => vec![(start, end)],
            None => Vec::new(),
        }
    }

    /// Whether a stream is known.
    pub(super) fn knows(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// How many streams are known.
    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId([7; 16]);

    fn batch(offset: u64, text: &'static [u8]) -> Record {
        Record::Batch {
            stream: STREAM,
            offset,
            data: Bytes::from_static(text),
        }
    }

    fn every_kind() -> Vec<Record> {
        vec![
            batch(0, b"one\ntwo\n"),
            Record::Plain {
                data: Bytes::from_static(b"\0\xff\r\n"),
            },
            Record::Promise(3),
            Record::Term(3),
            batch(8, b"three\n"),
            Record::Commit(2),
            Record::Truncate(3),
            Record::Mark {
                peer: "b".to_owned(),
                position: 9,
            },
            batch(8, b"three\nfour\n"),
        ]
    }

    fn summary(journal: &Journal) -> impl PartialEq + std::fmt::Debug + use<> {
        (
            (journal.length(), journal.hash(), journal.commit()),
            (journal.promise(), journal.last_term(), journal.mark("b")),
            (journal.missing(STREAM, 0, 99), journal.file_bytes()),
        )
    }

    #[test]
    fn a_replay_says_the_same_and_stops_at_a_torn_record() {
        let mut journal = Journal::default();
        let mut file = Vec::new();
        let mut summaries = vec![(0, summary(&journal))];
        for record in every_kind() {
            file.extend(journal.append(&record));
            summaries.push((file.len(), summary(&journal)));
        }
        for length in 0..=file.len() {
            let mut replayed = Journal::default();
            let taken = replayed.replay(&file[..length]);
            let expected = summaries.iter().rfind(|(end, _)| *end <= length).unwrap();
            assert_eq!((taken, summary(&replayed)), *expected);
        }
        for at in 0..file.len() {
            let mut torn = file.clone();
            torn[at] ^= 0x10;
            let expected = summaries.iter().rfind(|(end, _)| *end <= at).unwrap();
            assert_eq!(Journal::default().replay(&torn), expected.0, "byte {at}");
        }
    }

    #[test]
    fn what_is_taken_back_is_missing_again() {
        let mut journal = Journal::default();
        for record in every_kind() {
            journal.append(&record);
        }
        assert_eq!(journal.missing(STREAM, 0, 25), [(19, 25)]);
        journal.append(&Record::Truncate(0));
        // The commit point is where taking back ends.
        assert_eq!((journal.length(), journal.last_term()), (2, 0));
        assert_eq!(journal.promise(), 3);
        assert_eq!(journal.missing(STREAM, 0, 25), [(8, 25)]);
    }

    #[test]
    fn bytes_of_another_place_are_no_record() {
        let bytes = batch(0, b"line\n").encode(100);
        assert!(Record::decode(&bytes, 100).is_some());
        assert_eq!(Record::decode(&bytes, 99), None);
        let mut long = bytes.clone();
        long[..4].fill(0xff);
        assert_eq!(Record::decode(&long, 100), None);
        for kind in 0..=255 {
            for length in 0..40 {
                let body = [vec![kind], vec![0xff; length]].concat();
                if let Some(record) = Record::from_body(body.clone().into()) {
                    assert_eq!(record.to_body(), body);
                }
            }
        }
    }
}
