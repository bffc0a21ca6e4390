//! What a learner hears while it catches up, kept for when it has.
//!
//! At the beginning of a round the participants' journals are one, of a length and hash that
//! everybody was told, and a learner hears all that they hear. So it writes what becomes entries to
//! a file of its own, and when its journal has come to that beginning it takes them in, by the rules
//! by which the participants did. Live lines travel once, and a learner need not outrun them.
//!
//! The file is never synced and is empty after a crash: what is not in it is fetched. Its end is in
//! memory, too: by the time that a read is done there is always something more behind it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::catchup::Fetch;
use super::commit::Delivered;
use super::{Control, Logger, LoggerAction, Record};
use crate::stream::control::RoundId;
use crate::stream::journal::record::Parsed;

/// Bound: length of the file. Of lines beyond it the learner keeps none; when it has taken in those
/// before, it asks for another round, to begin anew from there.
const KEPT_BYTES_MAX: u64 = if cfg!(test) { 12 << 10 } else { 32 << 30 };

/// Bound: rounds whose beginnings are known. Lines of those before are fetched.
const BEGINNINGS_MAX: usize = 64;

/// Bytes that are asked for at a time, unless a record is longer.
const BLOCK_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// Bound: bytes of the file's end that are in memory.
const RECENT_BYTES_MAX: usize = if cfg!(test) { 2 << 10 } else { 2 << 20 };

/// What a logger that does not take part does with what it hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Following {
    /// It cannot do anything with it.
    #[default]
    Nothing,
    /// It keeps it for later.
    Keeping,
    /// It has caught up, and accepts it as a participant does.
    Level,
}

/// Where a round begins: in the file, and in the journals of those who take part.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    round: RoundId,
    at: u64,
    length: u64,
    hash: u64,
}

/// A learner's file, of which offsets are counted from the start of the program.
#[derive(Debug, Default)]
pub(super) struct Follow {
    pub(super) what: Following,
    /// The rounds whose beginnings the own journal has not reached. Bound: [`BEGINNINGS_MAX`].
    beginnings: VecDeque<Beginning>,
    /// Whether the own journal is where `taken` is in the file.
    reached: bool,
    taken: u64,
    end: u64,
    /// Where the file was empty last.
    emptied: u64,
    /// The last records of the file, with their offsets and lengths there.
    recent: VecDeque<(u64, usize, Record)>,
    recent_bytes: usize,
    /// Whether lines of the last round are missing at the end.
    incomplete: bool,
    reading: bool,
    /// How many bytes the next record needs.
    want: usize,
    /// The ordered time, as it was written last, and as it is taken in.
    written_second: u64,
    second: u64,
    /// Of the round that is being taken in, as in [`Round`](super::round::Round).
    index: u64,
    delivered: VecDeque<Delivered>,
}

impl Follow {
    /// Where what can be taken in ends.
    fn until(&self) -> u64 {
        self.beginnings.front().map_or(self.end, |next| next.at)
    }

    /// What to read next: offset and length.
    fn wants(&self) -> (u64, usize) {
        let left = (self.until() - self.taken) as usize;
        (self.taken, left.min(self.want.max(BLOCK_BYTES)))
    }

    /// The own journal is where a round begins.
    fn reach(&mut self, beginning: &Beginning) {
        self.reached = true;
        self.taken = beginning.at;
        self.index = 0;
        self.second = 0;
        self.delivered.clear();
    }

    /// What was kept from this offset on is not there.
    fn lose(&mut self, from: u64) {
        self.end = self.end.min(from.max(self.taken));
        let end = self.end;
        self.beginnings.retain(|beginning| beginning.at <= end);
        self.forget_recent();
        self.incomplete = true;
    }

    fn forget_recent(&mut self) {
        self.recent.clear();
        self.recent_bytes = 0;
    }

    fn remember(&mut self, at: u64, length: usize, record: Record) {
        self.recent.push_back((at, length, record));
        self.recent_bytes += length;
        while self.recent_bytes > RECENT_BYTES_MAX {
            self.take_recent();
        }
    }

    /// The first of the records that are in memory.
    fn take_recent(&mut self) -> Option<(u64, usize, Record)> {
        let first = self.recent.pop_front()?;
        self.recent_bytes -= first.1;
        Some(first)
    }
}

impl Logger {
    /// What the participants accept at this place of the order.
    pub(super) fn enter(&mut self, record: Record) {
        if self.takes_part() || self.follow.what == Following::Level {
            let second = self.time();
            self.accept(record, second);
        } else if self.follow.what == Following::Keeping {
            self.keep(record);
        }
    }

    /// The entries of this round up to an index are committed; the last one ends there in the own
    /// journal, unless that is behind.
    pub(super) fn enter_commit(&mut self, index: u64, position: u64) {
        if self.takes_part() || self.follow.what == Following::Level {
            self.note(&Record::Commit(position));
            let heard = self
                .round
                .as_ref()
                .is_some_and(|round| index >= round.heard);
            // A learner can have been given up since.
            let counts = heard && !self.journal.is_forgotten(&self.config.name);
            if self.journal.is_draft() && counts {
                self.append(&Record::Complete);
                self.complete_bytes = self.needed_bytes;
            }
            self.tell_commit();
        } else if self.follow.what == Following::Keeping {
            self.keep(Record::Commit(index));
        }
    }

    /// As a learner: keeps what follows in this round, which begins with a journal of this length
    /// and hash.
    pub(super) fn follow_round(&mut self, now: Duration, (length, hash): (u64, u64)) {
        let round = self.round_id();
        let follow = &mut self.follow;
        if follow.beginnings.len() >= BEGINNINGS_MAX {
            follow.beginnings.pop_front();
        }
        follow.beginnings.push_back(Beginning {
            round,
            at: follow.end,
            length,
            hash,
        });
        follow.what = Following::Keeping;
        follow.incomplete = false;
        follow.written_second = 0;
        self.catch_up(now);
    }

    /// Nothing that was kept is needed any more.
    pub(super) fn stop_following(&mut self) {
        let follow = &mut self.follow;
        follow.what = Following::Nothing;
        follow.beginnings.clear();
        follow.forget_recent();
        follow.reached = false;
        if follow.end > follow.emptied {
            self.actions.push_back(LoggerAction::DropKept);
        }
        follow.emptied = follow.end;
        follow.taken = follow.end;
    }

    fn keep(&mut self, record: Record) {
        let second = self.clock();
        if second > self.follow.written_second {
            self.follow.written_second = second;
            self.write_kept(Record::Time(second));
        }
        self.write_kept(record);
    }

    fn write_kept(&mut self, record: Record) {
        let follow = &mut self.follow;
        if follow.incomplete || follow.end - follow.emptied >= KEPT_BYTES_MAX {
            follow.incomplete = true;
            self.counts.unkept_records += 1;
            return;
        }
        let at = follow.end;
        let mut data = Vec::new();
        record.encode(at, &mut data);
        follow.end += data.len() as u64;
        follow.remember(at, data.len(), record);
        self.counts.kept_records += 1;
        let data = data.into();
        self.actions.push_back(LoggerAction::Keep { at, data });
    }

    /// Goes on with what the own journal lacks: what is to be fetched, and what is kept.
    pub(super) fn catch_up(&mut self, now: Duration) {
        loop {
            if self.follow.reached {
                self.take_remembered();
                if self.follow.taken < self.follow.until() {
                    return self.read_kept();
                }
                if self.follow.beginnings.is_empty() {
                    return self.end_following();
                }
                self.follow.reached = false;
            }
            let Some(first) = self.follow.beginnings.pop_front() else {
                return self.end_following();
            };
            if self.journal.length() > first.length && self.journal.commit() <= first.length {
                // The others have not come so far in the round before.
                self.append(&Record::Truncate(first.length));
            }
            let here = (self.journal.length(), self.journal.hash());
            #[cfg(test)]
            let here = match self.flaw {
                Some(super::Flaw::KeptOutOfPlace) => (first.length, first.hash),
                _ => here,
            };
            if here == (first.length, first.hash) {
                self.follow.reach(&first);
            } else if here.0 < first.length || self.is_to_be_compared(&first) {
                self.follow.beginnings.push_front(first);
                return self.fetch_from_best(now, first.length);
            }
            // Else the round came to nothing, or a peer's base has passed its beginning.
        }
    }

    /// Whether the best journal of this round has something else in the place of the own end.
    fn is_to_be_compared(&self, beginning: &Beginning) -> bool {
        beginning.round == self.round_id() && self.journal.first_position() <= beginning.length
    }

    fn fetch_from_best(&mut self, now: Duration, until: u64) {
        let Some(round) = &self.round else { return };
        let fetch = Fetch::adopt(round.best.clone(), until);
        self.fetches.clear();
        self.fetches.push_back(fetch);
        self.ask(now);
    }

    fn read_kept(&mut self) {
        if !std::mem::replace(&mut self.follow.reading, true) {
            let (at, length) = self.follow.wants();
            self.actions
                .push_back(LoggerAction::ReadKept { at, length });
        }
    }

    /// The bytes of a [`ReadKept`](LoggerAction::ReadKept): all that were asked for, or they cannot
    /// be read.
    pub fn handle_kept_read(&mut self, now: Duration, at: u64, bytes: &Bytes) {
        self.follow.reading = false;
        if self.follow.what != Following::Keeping || !self.follow.reached {
            return;
        }
        let (wanted, length) = self.follow.wants();
        if at == wanted {
            match bytes.len() < length {
                false => self.take_kept(&bytes.slice(..length)),
                true => self.follow.lose(at),
            }
        }
        self.catch_up(now);
        self.schedule(now);
    }

    /// What was kept from this offset on is lost, as the disk is full.
    pub fn handle_kept_lost(&mut self, now: Duration, from: u64) {
        self.counts.unkept_records += 1;
        self.follow.lose(from);
        // A read or a fetch that is under way comes to its end first.
        let waits = self.follow.reading || !self.fetches.is_empty();
        if self.follow.what == Following::Keeping && !waits {
            self.catch_up(now);
        }
        self.schedule(now);
    }

    /// Takes in what is in memory, if that is what comes next.
    fn take_remembered(&mut self) {
        while let Some(&(at, ..)) = self.follow.recent.front()
            && at <= self.follow.taken
            && at < self.follow.until()
            && let Some((_, length, record)) = self.follow.take_recent()
        {
            if at == self.follow.taken {
                self.follow.taken += length as u64;
                self.take_in(record);
            }
        }
    }

    fn take_kept(&mut self, bytes: &Bytes) {
        let mut taken = 0;
        self.follow.want = 0;
        while taken < bytes.len() {
            let at = self.follow.taken;
            match Record::parse(&bytes.slice(taken..), at) {
                Parsed::Record(record, _, length) => {
                    taken += length;
                    self.follow.taken += length as u64;
                    self.take_in(record);
                }
                Parsed::Part(length) if at + length as u64 <= self.follow.until() => {
                    self.follow.want = length;
                    return;
                }
                Parsed::Part(_) | Parsed::Damaged => {
                    self.counts.bad_records += 1;
                    return self.follow.lose(at);
                }
            }
        }
    }

    /// Takes in what was kept, as the participants did when it came.
    fn take_in(&mut self, record: Record) {
        match record {
            Record::Time(second) => self.follow.second = second,
            Record::Commit(index) => self.commit_taken(index),
            _ => {
                self.accept(record, self.follow.second);
                let follow = &mut self.follow;
                follow.index += 1;
                follow.delivered.push_back(Delivered {
                    index: follow.index,
                    end: None,
                    position: self.journal.length(),
                });
            }
        }
    }

    fn commit_taken(&mut self, index: u64) {
        let mut last = None;
        while let Some(batch) = self
            .follow
            .delivered
            .pop_front_if(|batch| batch.index <= index)
        {
            last = Some(batch.position);
        }
        if let Some(position) = last {
            self.note(&Record::Commit(position));
            self.tell_commit();
        }
    }

    /// All that was kept is taken in: takes part in what follows, if nothing was left out, and in
    /// the next round in any case.
    fn end_following(&mut self) {
        let level = self.follow.reached && !self.follow.incomplete;
        self.stop_following();
        if level {
            self.follow.what = Following::Level;
            let delivered = std::mem::take(&mut self.follow.delivered);
            if let Some(round) = &mut self.round {
                round.delivered = delivered;
            }
        }
        self.multicast(Control::Rejoin { view: self.view });
    }
}
