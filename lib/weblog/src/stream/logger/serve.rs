//! Entries of this logger's journal for a peer that asks for them.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::catchup::{ENOUGH, FROM_BASE, RANGE_BYTES};
use super::{Control, Logger, LoggerAction, Quorum, Record, Stage};
use crate::stream::control::CHUNK_BYTES_MAX;
use crate::stream::journal::reader::StretchReader;

/// An answer that is being given.
#[derive(Debug)]
pub(super) struct Serve {
    id: u32,
    /// The position that is next, and where the answer ends.
    next: u64,
    until: u64,
    /// What the running hash at `next` has to be for the answer to begin.
    check: Option<u64>,
    /// Whether the head that stands for what was removed is still to be sent, before any entry.
    in_head: bool,
    reader: StretchReader,
    /// Whether a read is under way.
    reading: bool,
    /// What is read and not sent.
    out: Vec<u8>,
    sent: u64,
    /// How much may be sent.
    granted: u64,
}

impl Serve {
    /// The position that is next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes a record of the head into the answer. What follows the head is left for later: entries
    /// may stand there that were taken back.
    fn take_head(&mut self, record: &Record) {
        let tells = matches!(
            record,
            Record::Base(_) | Record::Known { .. } | Record::Forgotten(_) | Record::HeadEnd
        );
        if self.in_head && tells {
            self.put(record);
            self.in_head = *record != Record::HeadEnd;
        }
    }

    /// Takes a record of the journal into the answer; gives whether it is what the peer thinks
    /// that it is.
    fn take(&mut self, position: u64, hash: u64, record: &Record) -> bool {
        if !record.is_entry() || position != self.next {
            return true;
        }
        if self.check.take().is_some_and(|check| check != hash) {
            return false;
        }
        if position < self.until {
            self.next += 1;
            self.put(record);
        }
        true
    }

    fn put(&mut self, record: &Record) {
        let body = record.to_body();
        self.out
            .extend_from_slice(&(body.len() as u32).to_be_bytes());
        self.out.extend_from_slice(&body);
    }
}

impl Logger {
    /// A peer wants entries.
    pub(super) fn serve(&mut self, sender: &[u8], id: u32, position: u64, hash: Option<u64>) {
        let first = self.journal.first_position();
        let in_head = position == FROM_BASE && first > 0;
        self.serves.remove(sender);
        if position < first {
            let prefix = self.journal.removed();
            return self.send(sender, Control::Gone { id, prefix });
        }
        let (position, stretch) = match in_head {
            true => (first, self.journal.first_stretch()),
            false => (position, self.journal.stretch(position)),
        };
        let Some(stretch) = stretch else {
            return self.send(sender, Control::Mismatch { id });
        };
        // What is provisional in an open round may yet be taken back.
        let until = match (self.config.quorum, self.stage) {
            (Quorum::Majority, Stage::Open) => self.journal.commit(),
            _ => self.journal.length(),
        };
        let serve = Serve {
            id,
            next: position,
            until: until.max(position),
            check: hash.filter(|_| !in_head),
            in_head,
            reader: StretchReader::new(stretch),
            reading: false,
            out: Vec::new(),
            sent: 0,
            granted: 2 * RANGE_BYTES,
        };
        self.serves.insert(sender.into(), serve);
        self.read_next(sender);
    }

    /// The peer has taken its answer up to there.
    pub(super) fn grant(&mut self, sender: &[u8], id: u32, offset: u64) {
        let Some(serve) = self.serves.get_mut(sender).filter(|serve| serve.id == id) else {
            return;
        };
        if offset == ENOUGH {
            self.serves.remove(sender);
        } else if offset <= serve.sent {
            serve.granted = serve.granted.max(offset + 2 * RANGE_BYTES);
            self.read_next(sender);
        }
    }

    /// Goes on with an answer: reads, waits for credit, or ends.
    fn read_next(&mut self, to: &[u8]) {
        let Some(serve) = self.serves.get_mut(to) else {
            return;
        };
        if serve.reading || serve.sent >= serve.granted {
            return;
        }
        if serve.reader.wants().is_none()
            && serve.next < serve.until
            && let Some(stretch) = self.journal.stretch(serve.reader.rest().position)
        {
            serve.reader = StretchReader::new(stretch);
        }
        let done = serve.next >= serve.until && serve.check.is_none() && !serve.in_head;
        match serve.reader.wants().filter(|_| !done) {
            Some((at, length)) => {
                serve.reading = true;
                let length = length.min((self.journal.file_bytes() - at) as usize);
                self.actions.push_back(LoggerAction::Read {
                    to: to.into(),
                    at,
                    length,
                });
            }
            None => self.end_answer(to),
        }
    }

    fn end_answer(&mut self, to: &[u8]) {
        let Some(serve) = self.serves.remove(to) else {
            return;
        };
        let (id, position) = (serve.id, serve.next);
        // No entry follows that would have been compared.
        let differs = serve
            .check
            .is_some_and(|check| serve.reader.rest().hash != check);
        match differs {
            true => self.send(to, Control::Mismatch { id }),
            false => self.send(to, Control::End { id, position }),
        }
    }

    /// The bytes of a [`Read`](LoggerAction::Read).
    pub fn handle_read(&mut self, to: &[u8], at: u64, bytes: &Bytes) {
        let Some(serve) = self.serves.get_mut(to) else {
            return;
        };
        if !serve.reading || serve.reader.rest().at != at {
            return;
        }
        serve.reading = false;
        let mut reader = serve.reader.clone();
        let mut equal = true;
        let in_head = serve.in_head;
        let result = reader.feed_records(bytes, |rest, record| match in_head {
            true => serve.take_head(&record),
            false => equal = equal && serve.take(rest.position, rest.hash, &record),
        });
        serve.reader = reader;
        if in_head
            && !serve.in_head
            && let Some(stretch) = self.journal.stretch(serve.next)
        {
            serve.reader = StretchReader::new(stretch);
        }
        let id = serve.id;
        if !equal {
            self.serves.remove(to);
            return self.send(to, Control::Mismatch { id });
        }
        if result.is_err() {
            // The disk does not give back what was written: this peer has to ask another one.
            self.counts.bad_records += 1;
            self.serves.remove(to);
            return;
        }
        self.send_answer(to);
        self.read_next(to);
    }

    fn send_answer(&mut self, to: &[u8]) {
        let commit = self.journal.commit();
        let Some(serve) = self.serves.get_mut(to) else {
            return;
        };
        let (id, mut offset) = (serve.id, serve.sent);
        let out = Bytes::from(std::mem::take(&mut serve.out));
        serve.sent += out.len() as u64;
        for data in out.chunks(CHUNK_BYTES_MAX) {
            let chunk = Control::Chunk {
                id,
                offset,
                commit,
                data: out.slice_ref(data),
            };
            offset += data.len() as u64;
            self.send(to, chunk);
        }
    }
}
