//! What a segment begins with: all that the entries before it come to.
//!
//! A head is several records, ended by a `HeadEnd`. A crash may leave the first of them alone, and
//! so may a peer that stops telling its own to an empty journal; without its end none of it counts.

use std::collections::BTreeSet;

use super::record::{self, Base};
use super::{Journal, Point, Record, SEGMENT_BYTES, Streams};

/// A head that an empty journal or a draft is to begin with, as far as it is here.
#[derive(Debug)]
pub(super) struct Beginning {
    /// Its offset in the file.
    at: u64,
    base: Base,
    draft: bool,
    forgotten: BTreeSet<String>,
    streams: Streams,
}

impl Journal {
    /// Takes a record of a head.
    pub(super) fn apply_head(&mut self, record: &Record) {
        match (record, &mut self.beginning) {
            (Record::Base(base), _) => self.begin_head(*base),
            (Record::Forgotten(name), Some(beginning)) => {
                beginning.forgotten.insert(name.clone());
            }
            (Record::Forgotten(name), None) => {
                self.forgotten.insert(name.clone());
            }
            (Record::Known { stream, ranges }, Some(beginning)) => {
                beginning.streams.know(*stream, ranges);
            }
            (Record::Known { stream, ranges }, None) => self.streams.know(*stream, ranges),
            (Record::Complete, Some(beginning)) => beginning.draft = false,
            (Record::Complete, None) => self.draft = false,
            (Record::HeadEnd, _) => self.end_head(),
            _ => {}
        }
    }

    /// A head begins: what it says is known, unless the journal begins with it.
    fn begin_head(&mut self, base: Base) {
        let at = self.file_bytes;
        let begins = self.length == 0 || self.draft;
        if begins && base.position > self.length {
            self.beginning = Some(Beginning {
                at,
                base,
                // Without a majority a base is never a peer's.
                draft: self.provisional_entries,
                forgotten: BTreeSet::new(),
                streams: Streams::default(),
            });
            return;
        }
        self.beginning = None;
        self.head = Some((at, self.length));
        self.points.push_back(Point {
            position: self.length,
            hash: self.hash,
            at,
        });
    }

    fn end_head(&mut self) {
        let Some(beginning) = self.beginning.take() else {
            return self.segments.extend(self.head.take());
        };
        let Beginning {
            at, base, draft, ..
        } = beginning;
        self.provisional.clear();
        self.draft = draft;
        self.length = base.position;
        self.hash = base.hash;
        self.entry_bytes = base.entry_bytes;
        self.time = base.time;
        self.gap_bytes = base.gap_bytes;
        self.terms = vec![(base.position, base.last_term)];
        // Only what is committed is ever removed from before a segment.
        self.commit = base.position;
        self.forgotten = beginning.forgotten;
        self.streams = beginning.streams;
        // What stood before stays until a segment of its own follows: the file is cut between
        // segments only, and must not begin with what was given up.
        let begin = self.segments.front().map_or(at, |first| first.0);
        self.segments = [(begin, base.position)].into();
        self.points = [Point {
            position: base.position,
            hash: base.hash,
            at,
        }]
        .into();
    }

    /// Whether the last segment is long enough.
    pub(in super::super) fn wants_segment(&self) -> bool {
        let begin = self.segments.back().map_or(0, |segment| segment.0);
        self.file_bytes - begin >= SEGMENT_BYTES
    }

    /// What the next segment begins with.
    pub(in super::super) fn segment_head(&self) -> Vec<Record> {
        let base = Record::Base(Base {
            position: self.length,
            hash: self.hash,
            entry_bytes: self.entry_bytes,
            last_term: self.last_term(),
            time: self.time,
            gap_bytes: self.gap_bytes,
        });
        let marks = self.marks.iter().map(|(peer, &prefix)| Record::Mark {
            peer: peer.clone(),
            prefix,
        });
        let forgotten = self.forgotten.iter().cloned().map(Record::Forgotten);
        let known = self.streams.iter().flat_map(|(stream, ranges)| {
            let spans: Vec<_> = ranges.iter().collect();
            let known = |part: &[(u64, u64)]| Record::Known {
                stream,
                ranges: part.to_vec(),
            };
            spans
                .chunks(record::RANGES_MAX)
                .map(known)
                .collect::<Vec<_>>()
        });
        let promise = Record::Promise(self.promise());
        let complete = (!self.draft).then_some(Record::Complete);
        [base, promise]
            .into_iter()
            .chain(complete)
            .chain(marks)
            .chain(forgotten)
            .chain(known)
            .chain([Record::HeadEnd])
            .collect()
    }
}
