//! Entries from one logger to another: to become equal, or to have what the other has.

use std::time::Duration;

use bytes::Bytes;

use super::{Control, Logger, LoggerAction, Quorum, Record, SessionName, Stage};
use crate::stream::control::CHUNK_BYTES_MAX;

/// Credit: an answer ends with the entry that reaches this many bytes.
/// The simulator's journals are small.
const ANSWER_BYTES: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// Bound: bytes of an entry that comes in chunks.
const ENTRY_BYTES_MAX: u32 = 2 << 20;

/// A request is repeated when nothing has come for so long.
const REPEAT: Duration = Duration::from_secs(2);

/// Entries that are wanted from a peer.
#[derive(Debug)]
pub(super) struct Fetch {
    peer: SessionName,
    /// Whose mark is set at the end; none to become equal to the peer.
    mark: Option<String>,
    /// The position in the peer's journal that is next, and where this ends.
    next: u64,
    until: u64,
    id: u32,
    /// What is there of an entry.
    part: Vec<u8>,
    /// What this answer has brought.
    answer_bytes: usize,
    heard_at: Duration,
}

impl Fetch {
    /// To become equal to the peer up to a position.
    pub(super) fn adopt(peer: SessionName, until: u64) -> Fetch {
        Fetch {
            peer,
            mark: None,
            next: 0,
            until,
            id: 0,
            part: Vec::new(),
            answer_bytes: 0,
            heard_at: Duration::ZERO,
        }
    }

    pub(super) fn repeat_at(&self) -> Duration {
        self.heard_at + REPEAT
    }
}

/// An answer that is being given.
#[derive(Debug)]
pub(super) struct Serve {
    id: u32,
    next: u64,
    until: u64,
    credit: usize,
}

impl Logger {
    /// Without a majority: fetches from each peer what it accepted while this logger was not with
    /// it.
    pub(super) fn fetch_differences(&mut self, now: Duration) {
        if !self.takes_part() {
            return;
        }
        for (peer, name, length, _) in self.peers() {
            let next = self.journal.mark(&name);
            if next < length {
                self.fetches.push_back(Fetch {
                    mark: Some(name),
                    next,
                    ..Fetch::adopt(peer, length)
                });
            }
        }
        self.ask(now);
    }

    /// Notes how far the peers' journals are contained in this one: if nothing is left to fetch,
    /// as far as they have announced, since both were given the same since the round began. A note
    /// that is `entries` short of it is left as it is.
    pub(super) fn keep_marks(&mut self, entries: u64) {
        let settled = self.config.quorum == Quorum::None
            && self.round.as_ref().is_some_and(|round| round.opened)
            && self.fetches.is_empty()
            && self.takes_part();
        if !settled {
            return;
        }
        for (_, peer, _, position) in self.peers() {
            if position > self.journal.mark(&peer).saturating_add(entries) {
                self.note(&Record::Mark { peer, position });
            }
        }
    }

    /// Asks for the first fetch, from where it is.
    pub(super) fn ask(&mut self, now: Duration) {
        let (length, own_hash) = (self.journal.length(), self.journal.hash());
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        self.next_fetch += 1;
        fetch.id = self.next_fetch;
        fetch.part.clear();
        fetch.answer_bytes = 0;
        fetch.heard_at = now;
        let mut hash = None;
        if fetch.mark.is_none() {
            fetch.next = length;
            hash = Some(own_hash);
        }
        #[cfg(test)]
        if self.flaw == Some(super::Flaw::ProvisionalTailKept) {
            hash = None;
        }
        let record = Control::Fetch {
            id: fetch.id,
            position: fetch.next,
            hash,
        };
        let peer = fetch.peer.clone();
        #[cfg(test)]
        if self.flaw == Some(super::Flaw::CatchupOutOfOrder)
            && let Control::Fetch { id, position, .. } = record
        {
            let record = Control::Fetch {
                id,
                position: position + 1,
                hash: None,
            };
            self.send(&peer, record);
        }
        self.send(&peer, record);
    }

    pub(super) fn repeat_fetch(&mut self, now: Duration) {
        if self
            .fetches
            .front()
            .is_some_and(|fetch| now >= fetch.repeat_at())
        {
            self.ask(now);
        }
    }

    /// An answer to the fetch that was asked for.
    pub(super) fn handle_answer(&mut self, now: Duration, sender: &[u8], answer: Control) {
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        let asked = fetch.id;
        if *fetch.peer != *sender {
            return;
        }
        fetch.heard_at = now;
        match answer {
            Control::Chunk {
                id,
                position,
                start,
                total,
                data,
            } if id == asked => self.handle_chunk(position, start, total, &data),
            Control::End { id, position } if id == asked => self.handle_end(now, position),
            Control::Mismatch { id } if id == asked => self.handle_mismatch(now),
            _ => {}
        }
    }

    fn handle_chunk(&mut self, position: u64, start: u32, total: u32, data: &Bytes) {
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        let in_order = position == fetch.next && start as usize == fetch.part.len();
        #[cfg(test)]
        let in_order = in_order || self.flaw == Some(super::Flaw::CatchupOutOfOrder);
        if !in_order || total > ENTRY_BYTES_MAX || fetch.next >= fetch.until {
            return;
        }
        fetch.answer_bytes += data.len();
        fetch.part.extend_from_slice(data);
        if fetch.part.len() < total as usize {
            return;
        }
        let body = Bytes::from(std::mem::take(&mut fetch.part));
        let adopt = fetch.mark.is_none();
        match Record::from_body(body).filter(Record::is_entry) {
            Some(record) => {
                fetch.next += 1;
                self.take_entry(record, adopt);
            }
            None => self.counts.bad_records += 1,
        }
    }

    fn take_entry(&mut self, record: Record, adopt: bool) {
        match record {
            _ if adopt => self.append(&record),
            Record::Batch {
                stream,
                offset,
                data,
            } => self.accept_batch(stream, offset, &data),
            // What nobody has numbered cannot be told from what is here already.
            _ => {}
        }
    }

    fn handle_end(&mut self, now: Duration, position: u64) {
        let Some(fetch) = self.fetches.front() else {
            return;
        };
        let caught_up = fetch.next == position && fetch.answer_bytes < ANSWER_BYTES;
        if fetch.next >= fetch.until {
            let fetch = self.fetches.pop_front();
            if let Some(name) = fetch.and_then(|fetch| fetch.mark)
                && let Some((_, _, length, _)) = self.peers().iter().find(|peer| peer.1 == name)
            {
                self.note(&Record::Mark {
                    peer: name,
                    position: *length,
                });
            }
            self.ask(now);
        } else if fetch.until == u64::MAX && caught_up {
            self.fetches.clear();
            self.multicast(Control::Rejoin { view: self.view });
        } else if fetch.answer_bytes > 0 {
            self.ask(now);
        }
    }

    /// The own journal is no prefix of the best one: its provisional end is none of it.
    fn handle_mismatch(&mut self, now: Duration) {
        let commit = self.journal.commit();
        if self.config.quorum == Quorum::None {
            return;
        }
        if self.journal.length() > commit {
            self.append(&Record::Truncate(commit));
            self.ask(now);
        } else {
            self.counts.diverged += 1;
            self.fetches.clear();
        }
    }

    /// A peer wants entries.
    pub(super) fn serve(&mut self, sender: &[u8], id: u32, position: u64, hash: Option<u64>) {
        let here = self.journal.hash_at(position);
        if here.is_none() || hash.is_some_and(|hash| here != Some(hash)) {
            return self.send(sender, Control::Mismatch { id });
        }
        // What is provisional in an open round may yet be taken back.
        let until = match (self.config.quorum, self.stage) {
            (Quorum::Majority, Stage::Open) => self.journal.commit(),
            _ => self.journal.length(),
        };
        let serve = Serve {
            id,
            next: position,
            until,
            credit: ANSWER_BYTES,
        };
        self.serves.insert(sender.into(), serve);
        self.read_next(sender);
    }

    fn read_next(&mut self, to: &[u8]) {
        let Some(serve) = self.serves.get(to) else {
            return;
        };
        let more = serve.next < serve.until && serve.credit > 0;
        match self.journal.place(serve.next).filter(|_| more) {
            Some((at, length)) => self.actions.push_back(LoggerAction::Read {
                to: to.into(),
                at,
                length,
            }),
            None => {
                let end = Control::End {
                    id: serve.id,
                    position: serve.next,
                };
                self.serves.remove(to);
                self.send(to, end);
            }
        }
    }

    /// The record of a [`Read`](LoggerAction::Read).
    pub fn handle_read(&mut self, to: &[u8], at: u64, bytes: &[u8]) {
        let Some(serve) = self.serves.get_mut(to) else {
            return;
        };
        if self
            .journal
            .place(serve.next)
            .is_none_or(|(place, _)| place != at)
        {
            return;
        }
        let Some((record, _)) = Record::decode(bytes, at) else {
            // The disk does not give back what was written: this peer has to ask another one.
            self.counts.bad_records += 1;
            self.serves.remove(to);
            return;
        };
        let body = Bytes::from(record.to_body());
        let (id, position) = (serve.id, serve.next);
        serve.next += 1;
        serve.credit = serve.credit.saturating_sub(body.len());
        for (index, data) in body.chunks(CHUNK_BYTES_MAX).enumerate() {
            let chunk = Control::Chunk {
                id,
                position,
                start: (index * CHUNK_BYTES_MAX) as u32,
                total: body.len() as u32,
                data: body.slice_ref(data),
            };
            self.send(to, chunk);
        }
        self.read_next(to);
    }
}
