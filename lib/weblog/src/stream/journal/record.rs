//! What a journal's file is made of: records, each with a checksum that covers its place.

use bytes::{Buf as _, Bytes};

use super::super::hash::{hash, mix};
use super::super::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX, StreamId};

/// Length of the data, kind, checksum.
pub(in super::super) const HEADER_BYTES: usize = 4 + 1 + 8;

/// What stands before a batch's data: stream and offset.
const PREFIX_BYTES: usize = 16 + 8;

/// Longest record without its header: a batch of the longest line, begun in the middle of a
/// message, and what stands before its data.
pub(in super::super) const BODY_BYTES_MAX: usize = LINE_BYTES_MAX + 2 * MESSAGE_BYTES_MAX + 32;

/// Bound: bytes of a logger's name.
pub(in super::super) const NAME_BYTES_MAX: usize = 64;

/// Bound: ranges in one [`Record::Known`].
pub(super) const RANGES_MAX: usize = 32_768;

/// What a journal is made of: entries, which have positions, and notes, which have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Record {
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
    /// Entry: from here on it is this second of the ordered time.
    Time(u64),
    /// Entry: the publisher has given up these bytes of its stream, so many lines; 0 if nobody
    /// knows.
    Gap {
        stream: StreamId,
        start: u64,
        end: u64,
        lines: u64,
    },
    /// Entry: an administrator has given up this logger, and what it alone has.
    Forget(String),
    /// Entry: a logger that was given up is back.
    Heard(String),
    /// Note: no round of a lower term will be taken part in.
    Promise(u64),
    /// Note: the entries up to this position stay.
    Commit(u64),
    /// Note: the entries from this position on are taken back.
    Truncate(u64),
    /// Entry: so many entries of a peer were removed there before this logger had them.
    Missed(u64),
    /// Note: everything that this logger had up to this position of its journal, with that running
    /// hash, is here.
    Mark { peer: String, prefix: Prefix },
    /// Note: this logger was given up before.
    Forgotten(String),
    /// Note, at the beginning of a segment: what the entries before it come to. The journal may
    /// begin here; `Promise`, `Complete`, `Mark`s, `Forgotten`s and `Known`s follow, and a `HeadEnd`.
    Base(Base),
    /// Note: all that a segment begins with is here; without it, it is no place to begin.
    HeadEnd,
    /// Note, with a majority: this journal has come as far as those of the others, who keep from now
    /// on what it lacks.
    Complete,
    /// Note: what there is of a stream.
    Known {
        stream: StreamId,
        ranges: Vec<(u64, u64)>,
    },
}

/// The beginning of a journal, told from that of any other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Prefix {
    /// Count of the entries.
    pub(in super::super) length: u64,
    /// Their running hash.
    pub(in super::super) hash: u64,
}

/// What the entries up to a position come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Base {
    pub(in super::super) position: u64,
    pub(in super::super) hash: u64,
    pub(in super::super) entry_bytes: u64,
    pub(in super::super) last_term: u64,
    pub(in super::super) time: u64,
    /// How many bytes publishers have given up.
    pub(in super::super) gap_bytes: u64,
}

/// Bytes at some place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Parsed {
    /// A record, with the hash of its body and its length in the file.
    Record(Record, u64, usize),
    /// The beginning of what may be a record of this length.
    Part(usize),
    /// No record.
    Damaged,
}

impl Record {
    /// Whether it has a position.
    pub(in super::super) fn is_entry(&self) -> bool {
        match self {
            Record::Batch { .. }
            | Record::Plain { .. }
            | Record::Term(_)
            | Record::Time(_)
            | Record::Gap { .. }
            | Record::Forget(_)
            | Record::Heard(_)
            | Record::Missed(_) => true,
            Record::Promise(_)
            | Record::Commit(_)
            | Record::Truncate(_)
            | Record::Mark { .. }
            | Record::Forgotten(_)
            | Record::Base(_)
            | Record::HeadEnd
            | Record::Complete
            | Record::Known { .. } => false,
        }
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
            Record::Time(_) => 8,
            Record::Gap { .. } => 9,
            Record::Forget(_) => 10,
            Record::Base(_) => 11,
            Record::Known { .. } => 12,
            Record::Forgotten(_) => 13,
            Record::Heard(_) => 14,
            Record::Missed(_) => 15,
            Record::HeadEnd => 16,
            Record::Complete => 17,
        }
    }

    /// Appends everything but the kind.
    fn write_data(&self, out: &mut Vec<u8>) {
        match self {
            Record::Batch {
                stream,
                offset,
                data,
            } => {
                out.extend_from_slice(&stream.0);
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(data);
            }
            Record::Plain { data } => out.extend_from_slice(data),
            Record::Term(number)
            | Record::Time(number)
            | Record::Promise(number)
            | Record::Commit(number)
            | Record::Truncate(number)
            | Record::Missed(number) => out.extend_from_slice(&number.to_be_bytes()),
            Record::Gap {
                stream,
                start,
                end,
                lines,
            } => {
                out.extend_from_slice(&stream.0);
                write_numbers(out, &[*start, *end, *lines]);
            }
            Record::HeadEnd | Record::Complete => {}
            Record::Forget(name) | Record::Forgotten(name) | Record::Heard(name) => {
                out.extend_from_slice(name.as_bytes());
            }
            Record::Mark { peer, prefix } => {
                write_numbers(out, &[prefix.length, prefix.hash]);
                out.extend_from_slice(peer.as_bytes());
            }
            Record::Base(base) => write_numbers(
                out,
                &[
                    base.position,
                    base.hash,
                    base.entry_bytes,
                    base.last_term,
                    base.time,
                    base.gap_bytes,
                ],
            ),
            Record::Known { stream, ranges } => {
                out.extend_from_slice(&stream.0);
                for &(start, end) in ranges {
                    write_numbers(out, &[start, end]);
                }
            }
        }
    }

    /// The record without its place in a file: a byte for the kind, then the rest.
    pub(in super::super) fn to_body(&self) -> Vec<u8> {
        let mut body = vec![self.kind()];
        self.write_data(&mut body);
        body
    }

    /// The hash of what [`to_body`](Self::to_body) has written, as it goes into a journal's.
    pub(in super::super) fn body_hash(body: &[u8]) -> u64 {
        match body {
            [kind, data @ ..] => hash(u64::from(*kind), data),
            [] => 0,
        }
    }

    /// Reads what [`to_body`](Self::to_body) has written; none if it makes no sense.
    pub(in super::super) fn from_body(mut body: Bytes) -> Option<Record> {
        let kind = body.try_get_u8().ok()?;
        Record::from_data(kind, body)
    }

    fn from_data(kind: u8, mut data: Bytes) -> Option<Record> {
        if data.len() > BODY_BYTES_MAX {
            return None;
        }
        let record = match kind {
            1 => {
                let stream = read_stream(&mut data)?;
                let offset = data.try_get_u64().ok()?;
                offset.checked_add(data.len() as u64)?;
                Record::Batch {
                    stream,
                    offset,
                    data,
                }
            }
            2 => Record::Plain { data },
            3 => Record::Term(read_number(data)?),
            4 => Record::Promise(read_number(data)?),
            5 => Record::Commit(read_number(data)?),
            6 => Record::Truncate(read_number(data)?),
            7 => Record::Mark {
                prefix: Prefix {
                    length: data.try_get_u64().ok()?,
                    hash: data.try_get_u64().ok()?,
                },
                peer: read_name(data)?,
            },
            8 => Record::Time(read_number(data)?),
            9 => Record::Gap {
                stream: read_stream(&mut data)?,
                start: data.try_get_u64().ok()?,
                end: data.try_get_u64().ok()?,
                lines: read_number(data)?,
            },
            10 => Record::Forget(read_name(data)?),
            11 => Record::Base(Base {
                position: data.try_get_u64().ok()?,
                hash: data.try_get_u64().ok()?,
                entry_bytes: data.try_get_u64().ok()?,
                last_term: data.try_get_u64().ok()?,
                time: data.try_get_u64().ok()?,
                gap_bytes: read_number(data)?,
            }),
            12 => read_known(data)?,
            13 => Record::Forgotten(read_name(data)?),
            14 => Record::Heard(read_name(data)?),
            15 => Record::Missed(read_number(data)?),
            16 => data.is_empty().then_some(Record::HeadEnd)?,
            17 => data.is_empty().then_some(Record::Complete)?,
            _ => return None,
        };
        Some(record)
    }

    /// Appends the record as it stands at offset `at` of the file; gives the hash of its body.
    pub(in super::super) fn encode(&self, at: u64, out: &mut Vec<u8>) -> u64 {
        let start = out.len();
        if let Record::Batch { data, .. } | Record::Plain { data } = self {
            out.reserve(HEADER_BYTES + PREFIX_BYTES + data.len());
        }
        out.extend_from_slice(&[0; HEADER_BYTES]);
        self.write_data(out);
        let body_hash = hash(u64::from(self.kind()), &out[start + HEADER_BYTES..]);
        let length = (out.len() - start - HEADER_BYTES) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        out[start + 4] = self.kind();
        // The place counts too: bytes of an older file do not pass for a record.
        let sum = mix(body_hash, at);
        out[start + 5..start + HEADER_BYTES].copy_from_slice(&sum.to_be_bytes());
        body_hash
    }

    /// Reads the record at offset `at` of the file; what it holds of the bytes is not copied.
    pub(in super::super) fn parse(bytes: &Bytes, at: u64) -> Parsed {
        let Some(mut header) = bytes.get(..HEADER_BYTES) else {
            return Parsed::Part(HEADER_BYTES);
        };
        let length = header.get_u32() as usize;
        let kind = header.get_u8();
        let sum = header.get_u64();
        if length > BODY_BYTES_MAX {
            return Parsed::Damaged;
        }
        let end = HEADER_BYTES + length;
        if bytes.len() < end {
            return Parsed::Part(end);
        }
        let data = bytes.slice(HEADER_BYTES..end);
        let body_hash = hash(u64::from(kind), &data);
        if mix(body_hash, at) != sum {
            return Parsed::Damaged;
        }
        match Record::from_data(kind, data) {
            Some(record) => Parsed::Record(record, body_hash, end),
            None => Parsed::Damaged,
        }
    }
}

fn write_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// The last number of a record.
fn read_number(mut data: Bytes) -> Option<u64> {
    let number = data.try_get_u64().ok()?;
    data.is_empty().then_some(number)
}

fn read_stream(data: &mut Bytes) -> Option<StreamId> {
    let mut stream = [0; 16];
    data.try_copy_to_slice(&mut stream).ok()?;
    Some(StreamId(stream))
}

fn read_name(data: Bytes) -> Option<String> {
    let name = std::str::from_utf8(&data).ok()?;
    (name.len() <= NAME_BYTES_MAX).then(|| name.to_owned())
}

fn read_known(mut data: Bytes) -> Option<Record> {
    let stream = read_stream(&mut data)?;
    if !data.len().is_multiple_of(16) || data.len() > RANGES_MAX * 16 {
        return None;
    }
    let mut ranges = Vec::with_capacity(data.len() / 16);
    while !data.is_empty() {
        ranges.push((data.try_get_u64().ok()?, data.try_get_u64().ok()?));
    }
    Some(Record::Known { stream, ranges })
}
