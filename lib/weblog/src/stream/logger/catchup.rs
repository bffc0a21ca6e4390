//! Entries for this logger from another one: to become equal, or to have what the other has.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};

use super::commit::MARK_INTERVAL;
use super::follow::Following;
use super::{Control, Logger, Prefix, Quorum, Record, SessionName, Stage};
use crate::stream::hash::mix;

/// Credit: what is asked for at a time; twice as much may be on its way.
/// The simulator's journals are small.
pub(super) const RANGE_BYTES: u64 = if cfg!(test) { 2 << 10 } else { 1 << 20 };

/// Bound: bytes of an entry.
const ENTRY_BYTES_MAX: usize = 2 << 20;

/// Entries that come in are committed in steps of so many, which bounds what can be taken back.
const COMMIT_STEP: u64 = 1024;

/// A request is repeated when nothing has come for so long.
const REPEAT: Duration = Duration::from_secs(2);

/// The position that asks for all that the peer has, what has been removed included as far as a
/// base can stand for it.
pub(super) const FROM_BASE: u64 = u64::MAX;

/// As how much was taken, it says that nothing more is wanted: the peer may have more, and keeps what
/// it is giving.
pub(super) const ENOUGH: u64 = u64::MAX;

/// Entries that are wanted from a peer.
#[derive(Debug)]
pub(super) struct Fetch {
    peer: SessionName,
    /// Whose mark is set; none to become equal to the peer.
    mark: Option<String>,
    /// What of the peer's journal is here, and the length where this ends.
    here: Prefix,
    until: u64,
    /// Whether the head of the peer's journal is wanted, and is not here as a whole.
    from_base: bool,
    id: u32,
    /// What is there of an entry.
    part: BytesMut,
    /// How much of the answer has come, and how much of it the peer was told.
    offset: u64,
    told: u64,
    /// What the peer has committed.
    commit: u64,
    /// When the peer may be told more, so that live lines have their share of the bus.
    more_at: Option<Duration>,
    heard_at: Duration,
}

impl Fetch {
    /// To become equal to the peer up to a position.
    pub(super) fn adopt(peer: SessionName, until: u64) -> Fetch {
        Fetch {
            peer,
            mark: None,
            here: Prefix::default(),
            until,
            from_base: false,
            id: 0,
            part: BytesMut::new(),
            offset: 0,
            told: 0,
            commit: 0,
            more_at: None,
            heard_at: Duration::ZERO,
        }
    }

    /// Whether all that is wanted is here.
    fn is_whole(&self) -> bool {
        !self.from_base && self.here.length >= self.until
    }

    /// When something is to be done about it.
    pub(super) fn due_at(&self) -> Duration {
        self.more_at.unwrap_or(self.heard_at + REPEAT)
    }
}

impl Logger {
    /// Without a majority: fetches from each peer what it accepted while this logger was not with
    /// it.
    pub(super) fn fetch_differences(&mut self, now: Duration) {
        if !self.takes_part() {
            return;
        }
        let mut fetches = VecDeque::new();
        for (session, peer) in self.peers() {
            let mark = self.journal.mark(&peer.name);
            // Shorter than it was, or of that length and another one: it is a new one.
            let here = match mark.length < peer.begun.length {
                true => mark,
                false => Prefix::default(),
            };
            if mark != peer.begun {
                fetches.push_back(Fetch {
                    mark: Some(peer.name.clone()),
                    here,
                    ..Fetch::adopt(session.clone(), peer.begun.length)
                });
            }
        }
        self.fetches = fetches;
        self.ask(now);
    }

    /// Whether nobody knows yet if a peer's journal is the one that its mark is about.
    pub(super) fn is_to_be_checked(&self, name: &str) -> bool {
        let mut fetches = self.fetches.iter();
        fetches.any(|fetch| fetch.mark.as_deref() == Some(name) && fetch.offset == 0)
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
        let mut marks = Vec::new();
        for (_, peer) in self.peers() {
            let mark = self.journal.mark(&peer.name);
            if peer.journal.length > mark.length.saturating_add(entries) {
                let prefix = peer.journal;
                let peer = peer.name.clone();
                marks.push(Record::Mark { peer, prefix });
            }
        }
        for mark in marks {
            self.append(&mark);
        }
    }

    /// Notes how much of the peer's journal the first fetch has brought.
    fn mark_fetched(&mut self) {
        if let Some(fetch) = self.fetches.front()
            && let Some(peer) = fetch.mark.clone()
        {
            let prefix = fetch.here;
            self.append(&Record::Mark { peer, prefix });
        }
    }

    /// Asks for the first fetch, from where it is.
    pub(super) fn ask(&mut self, now: Duration) {
        let whole = self.journal.whole();
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        self.next_fetch += 1;
        fetch.id = self.next_fetch;
        fetch.part.clear();
        fetch.offset = 0;
        fetch.told = 0;
        fetch.more_at = None;
        fetch.heard_at = now;
        if fetch.mark.is_none() {
            fetch.here = whole;
        }
        let hash = Some(fetch.here.hash);
        #[cfg(test)]
        let hash = hash.filter(|_| self.flaw != Some(super::Flaw::ProvisionalTailKept));
        let record = Control::Fetch {
            id: fetch.id,
            position: if fetch.from_base {
                FROM_BASE
            } else {
                fetch.here.length
            },
            hash,
        };
        let peer = fetch.peer.clone();
        #[cfg(test)]
        if self.flaw == Some(super::Flaw::CatchupOutOfOrder)
            && let Control::Fetch { id, position, .. } = record
        {
            let record = Control::Fetch {
                id,
                position: position.saturating_add(1),
                hash: None,
            };
            return self.send(&peer, record);
        }
        self.send(&peer, record);
    }

    /// Tells the peer to go on, or asks again when nothing comes.
    pub(super) fn urge_fetch(&mut self, now: Duration) {
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        if now < fetch.due_at() {
            return;
        }
        if fetch.more_at.take().is_none() {
            return self.ask(now);
        }
        fetch.heard_at = now;
        fetch.told = fetch.offset;
        let more = Control::More {
            id: fetch.id,
            offset: fetch.offset,
        };
        let peer = fetch.peer.clone();
        self.send(&peer, more);
    }

    /// An answer to the own request, from the peer that was asked.
    pub(super) fn handle_answer(&mut self, now: Duration, sender: &[u8], answer: Control) {
        let id = match &answer {
            Control::Chunk { id, .. }
            | Control::End { id, .. }
            | Control::Gone { id, .. }
            | Control::Mismatch { id } => *id,
            _ => return,
        };
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        if fetch.id != id || *fetch.peer != *sender {
            return;
        }
        fetch.heard_at = now;
        match answer {
            Control::Chunk {
                offset,
                commit,
                data,
                ..
            } => self.handle_chunk(now, offset, commit, &data),
            Control::End { .. } => self.handle_end(now),
            Control::Gone { prefix, .. } => self.handle_gone(now, prefix),
            _ => self.handle_mismatch(now),
        }
    }

    fn handle_chunk(&mut self, now: Duration, offset: u64, commit: u64, data: &[u8]) {
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        // What does not follow is not taken; it is asked for again when nothing more comes.
        if offset != fetch.offset {
            return;
        }
        fetch.part.extend_from_slice(data);
        fetch.offset += data.len() as u64;
        fetch.commit = commit;
        while let Some(body) = self.next_body() {
            self.take_body(body);
        }
        if let Some(fetch) = self.fetches.front().filter(|fetch| fetch.is_whole()) {
            let (peer, id) = (fetch.peer.clone(), fetch.id);
            let offset = ENOUGH;
            self.send(&peer, Control::More { id, offset });
            self.take_commit(1);
            return self.finish_fetch(now);
        }
        self.take_commit(COMMIT_STEP);
        let pause = match self.stage {
            Stage::Open => {
                let percent = self.config.catchup_percent;
                self.live.pause_after(now, RANGE_BYTES, percent)
            }
            // No lines flow, and all wait for this one.
            _ => Duration::ZERO,
        };
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        if fetch.offset - fetch.told >= RANGE_BYTES && fetch.more_at.is_none() {
            fetch.more_at = Some(now + pause);
        }
        self.urge_fetch(now);
    }

    /// The next entry of what has come, if it is all there.
    fn next_body(&mut self) -> Option<Bytes> {
        let fetch = self.fetches.front_mut().filter(|fetch| !fetch.is_whole())?;
        let length = fetch.part.get(..4)?.get_u32() as usize;
        if length > ENTRY_BYTES_MAX {
            self.counts.bad_records += 1;
            // Nobody of ours says this: nothing more is taken of it.
            fetch.part.clear();
            fetch.offset = u64::MAX;
            return None;
        }
        if fetch.part.len() < 4 + length {
            return None;
        }
        fetch.part.advance(4);
        Some(fetch.part.split_to(length).freeze())
    }

    fn take_body(&mut self, body: Bytes) {
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        let adopt = fetch.mark.is_none();
        let body_hash = Record::body_hash(&body);
        match Record::from_body(body) {
            Some(head) if fetch.from_base => self.take_head(&head),
            Some(record) if record.is_entry() && fetch.here.length < fetch.until => {
                fetch.here.length += 1;
                fetch.here.hash = mix(fetch.here.hash, body_hash);
                let noted = fetch.here.length.is_multiple_of(MARK_INTERVAL);
                self.take_entry(record, adopt);
                if noted {
                    self.mark_fetched();
                }
            }
            _ => self.counts.bad_records += 1,
        }
    }

    /// A draft begins with what the peer says of entries that it has removed, once all of that is
    /// here.
    fn take_head(&mut self, record: &Record) {
        match record {
            Record::Base(_) | Record::Known { .. } | Record::Forgotten(_) | Record::HeadEnd
                if self.journal.is_draft() =>
            {
                self.append(record);
            }
            _ => self.counts.bad_records += 1,
        }
        if *record != Record::HeadEnd {
            return;
        }
        // The file may begin with this head.
        self.append(&Record::Promise(self.journal.promise()));
        let here = self.journal.whole();
        if let Some(fetch) = self.fetches.front_mut() {
            fetch.from_base = false;
            fetch.here = here;
        }
    }

    fn take_entry(&mut self, record: Record, adopt: bool) {
        match record {
            _ if adopt => self.append(&record),
            Record::Batch { .. } | Record::Gap { .. } => self.accept(record, self.time()),
            // What nobody has numbered cannot be told from what is here already.
            _ => {}
        }
    }

    /// What the peer has committed is committed here, too: up to there both are equal.
    fn take_commit(&mut self, step: u64) {
        let Some(fetch) = self.fetches.front().filter(|fetch| fetch.mark.is_none()) else {
            return;
        };
        let commit = fetch.commit.min(self.journal.length());
        if commit >= self.journal.commit().saturating_add(step) {
            self.note(&Record::Commit(commit));
            self.tell_commit();
        }
    }

    fn handle_end(&mut self, now: Duration) {
        self.take_commit(1);
        let Some(fetch) = self.fetches.front() else {
            return;
        };
        if fetch.is_whole() {
            self.finish_fetch(now);
        } else if fetch.offset > 0 {
            self.ask(now);
        }
    }

    /// Goes on to what else is to be fetched, or taken in.
    fn finish_fetch(&mut self, now: Duration) {
        self.mark_fetched();
        self.fetches.pop_front();
        match self.follow.what {
            Following::Keeping => self.catch_up(now),
            _ => self.ask(now),
        }
    }

    /// The own journal is no prefix of the best one: its provisional end is none of it. Without a
    /// majority: the peer's journal is not the one that its mark is about, so all of it is fetched.
    fn handle_mismatch(&mut self, now: Duration) {
        let commit = self.journal.commit();
        if self.config.quorum == Quorum::None {
            let known = |fetch: &&mut Fetch| fetch.here != Prefix::default();
            if let Some(fetch) = self.fetches.front_mut().filter(known) {
                fetch.here = Prefix::default();
                self.mark_fetched();
                self.ask(now);
            }
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

    /// The peer has removed the entries that this logger lacks.
    fn handle_gone(&mut self, now: Duration, removed: Prefix) {
        let Some(fetch) = self.fetches.front_mut() else {
            return;
        };
        if fetch.mark.is_some() {
            // What the removed entries held is here or lost; which of it, nobody can tell.
            let missed = removed.length.saturating_sub(fetch.here.length);
            self.counts.missed_entries = self.counts.missed_entries.saturating_add(missed);
            if missed > 0 {
                fetch.here = removed;
                self.append(&Record::Missed(missed));
            }
        } else if fetch.from_base || !self.journal.is_draft() {
            // A file that goes on behind a hole would not be a prefix of anything.
            self.counts.too_late += 1;
            return self.fetches.clear();
        } else {
            fetch.from_base = true;
            self.counts.missed_entries = removed.length;
            if self.journal.length() > self.journal.commit() {
                self.append(&Record::Truncate(self.journal.commit()));
            }
        }
        self.ask(now);
    }
}
