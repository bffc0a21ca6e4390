//! An open round: from messages to entries, from entries on all disks to acknowledgements.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::round::Participant;
use super::{
    Anchor, Control, Logger, LoggerAction, Prefix, Quorum, Record, SessionName, Stage, Syncing,
};
use crate::stream::control::ACKS_MAX;
use crate::stream::view::is_publisher;
use crate::stream::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX, StreamId};

/// Bound: publishers with an anchor. A header beyond it is not heard, and its publisher's lines
/// wait.
pub(super) const ANCHORS_MAX: usize = 1 << 16;

/// Without a majority, entries of a peer that are compared again after a crash at most.
/// The simulator's journals are small.
pub(super) const MARK_INTERVAL: u64 = if cfg!(test) { 8 } else { 1024 };

/// A batch, or the term, that was delivered in a round and is not committed.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) index: u64,
    /// What to acknowledge when it is.
    pub(super) end: Option<(StreamId, u64)>,
    /// Length of the own journal with it; of no meaning where that is behind.
    pub(super) position: u64,
}

impl Logger {
    pub(super) fn handle_header(&mut self, sender: &[u8], stream: StreamId, offset: u64) {
        if self.stage != Stage::Open || !is_publisher(sender) {
            return;
        }
        // A stream has one publisher at a time: the latest one.
        self.anchors.retain(|_, anchor| anchor.stream != stream);
        let known = self.anchors.contains_key(sender);
        if !known && self.anchors.len() >= ANCHORS_MAX {
            self.counts.refused_headers += 1;
            return;
        }
        let anchor = Anchor {
            stream,
            next: offset,
            partial: Vec::new(),
        };
        self.anchors.insert(sender.into(), anchor);
        if self.is_first() {
            self.multicast(Control::Ack(vec![(stream, offset)]));
        }
    }

    fn is_first(&self) -> bool {
        let first = self.round.as_ref().and_then(|round| round.first());
        first.is_some_and(|first| *first == self.session)
    }

    /// A message of the log group.
    pub(super) fn accept_message(&mut self, sender: &[u8], hint: u16, data: &Bytes) {
        if self.stage != Stage::Open {
            self.counts.ignored_messages += 1;
        } else if is_publisher(sender) {
            self.accept_sequenced(sender, hint, data);
        } else if !data.is_empty() {
            self.enter(Record::Plain { data: data.clone() });
            self.deliver(None);
        }
    }

    fn accept_sequenced(&mut self, sender: &[u8], hint: u16, data: &Bytes) {
        let Some(anchor) = self.anchors.get_mut(sender) else {
            self.counts.ignored_messages += 1;
            return;
        };
        let start = anchor.next - anchor.partial.len() as u64;
        let next = anchor.next.checked_add(data.len() as u64);
        let fits = anchor.partial.len() + data.len() <= LINE_BYTES_MAX + MESSAGE_BYTES_MAX;
        let Some(next) = next.filter(|_| hint == anchor.next as u16 && fits) else {
            self.anchors.remove(sender);
            self.counts.bad_hints += 1;
            return;
        };
        let stream = anchor.stream;
        anchor.next = next;
        let whole = match anchor.partial.is_empty() {
            true => data.clone(),
            false => {
                anchor.partial.extend_from_slice(data);
                std::mem::take(&mut anchor.partial).into()
            }
        };
        if data.len() == MESSAGE_BYTES_MAX && !data.ends_with(b"\n") {
            anchor.partial = whole.into();
        } else {
            self.enter(Record::Batch {
                stream,
                offset: start,
                data: whole,
            });
            self.deliver(Some((stream, next)));
        }
    }

    /// Makes entries, at this second of the ordered time, of what is not here yet.
    pub(super) fn accept(&mut self, record: Record, second: u64) {
        match record {
            Record::Batch {
                stream,
                offset,
                data,
            } => self.accept_batch(stream, offset, &data, second),
            Record::Gap {
                stream,
                start,
                end,
                lines,
            } => self.accept_gap(stream, start, end, lines, second),
            Record::Plain { .. } => {
                self.append_time(second);
                self.append(&record);
                self.counts.accepted_batches += 1;
            }
            // Who is given up, or back, is so already.
            Record::Forget(name) if self.journal.is_forgotten(&name) => {}
            Record::Heard(name) if !self.journal.is_forgotten(&name) => {}
            Record::Forget(_) => {
                self.append_time(second);
                self.append(&record);
            }
            _ => self.append(&record),
        }
    }

    fn accept_batch(&mut self, stream: StreamId, offset: u64, data: &Bytes, second: u64) {
        let missing = self
            .journal
            .missing(stream, offset, offset + data.len() as u64);
        #[cfg(test)]
        let missing = match self.flaw {
            Some(super::Flaw::DedupeBy16Bits) => {
                let low = offset & 0xffff;
                let taken = (0..=offset >> 16).any(|high| {
                    let start = high << 16 | low;
                    self.journal.missing(stream, start, start + 1).is_empty()
                });
                if taken { Vec::new() } else { missing }
            }
            _ => missing,
        };
        match missing.is_empty() {
            true => self.counts.repeated_batches += 1,
            false => self.counts.accepted_batches += 1,
        }
        if !missing.is_empty() {
            self.append_time(second);
        }
        for (start, end) in missing {
            let part = (start - offset) as usize..(end - offset) as usize;
            self.append(&Record::Batch {
                stream,
                offset: start,
                data: data.slice(part),
            });
        }
    }

    /// A publisher has given up bytes of its stream: they take the place of a batch.
    pub(super) fn handle_gap(
        &mut self,
        sender: &[u8],
        stream: StreamId,
        start: u64,
        end: u64,
        lines: u64,
    ) {
        let anchor = self.anchors.get_mut(sender);
        let follows = anchor.filter(|anchor| {
            anchor.stream == stream && anchor.next == start && anchor.partial.is_empty()
        });
        let Some(anchor) = follows.filter(|_| self.stage == Stage::Open && start < end) else {
            self.counts.ignored_messages += 1;
            return;
        };
        anchor.next = end;
        self.enter(Record::Gap {
            stream,
            start,
            end,
            lines,
        });
        self.deliver(Some((stream, end)));
    }

    fn accept_gap(&mut self, stream: StreamId, start: u64, end: u64, lines: u64, second: u64) {
        let missing = self.journal.missing(stream, start, end);
        if !missing.is_empty() {
            self.append_time(second);
        }
        for (part_start, part_end) in missing {
            self.append(&Record::Gap {
                stream,
                start: part_start,
                end: part_end,
                // Of a part nobody knows.
                lines: match (part_start, part_end) == (start, end) {
                    true => lines,
                    false => 0,
                },
            });
        }
    }

    /// Counts a batch that all loggers of the view have been given.
    pub(super) fn deliver(&mut self, end: Option<(StreamId, u64)>) {
        let position = self.journal.length();
        if let Some(round) = &mut self.round {
            round.index += 1;
            round.delivered.push_back(Delivered {
                index: round.index,
                end,
                position,
            });
        }
    }

    /// Starts a sync when one is due, and whatever else follows from the state.
    pub(super) fn schedule(&mut self, now: Duration) {
        self.judge_synced();
        self.watch(now);
        let owes_index = self.stage == Stage::Open
            && self.takes_part()
            && self
                .round
                .as_ref()
                .is_some_and(|round| round.index > round.announced);
        if self.syncing.is_some() || !(owes_index || self.needed_bytes > self.synced_bytes) {
            self.sync_at = None;
            return;
        }
        let delay = match self.stage {
            Stage::Open => self.config.sync_interval,
            _ => Duration::ZERO,
        };
        let at = *self.sync_at.get_or_insert(now + delay);
        if now >= at {
            self.sync_at = None;
            self.begin_disk_sync();
        }
    }

    fn begin_disk_sync(&mut self) {
        let syncing = Syncing {
            file_bytes: self.journal.file_bytes(),
            prefix: self.journal.whole(),
            round: self.round_id(),
            index: self.round.as_ref().map_or(0, |round| round.index),
            marks: self.own_marks(),
        };
        self.actions.push_back(LoggerAction::Sync);
        #[cfg(test)]
        if self.flaw == Some(super::Flaw::CommitBeforeSync) {
            self.finish_sync(syncing.clone());
        }
        self.syncing = Some(syncing);
    }

    pub(super) fn finish_sync(&mut self, syncing: Syncing) {
        self.synced_bytes = self.synced_bytes.max(syncing.file_bytes);
        self.synced_length = syncing.prefix.length;
        self.tell_commit();
        let current = syncing.round == self.round_id() && self.stage == Stage::Open;
        if !current || !self.takes_part() {
            return;
        }
        self.synced_marks = syncing.marks;
        let Some(round) = &mut self.round else { return };
        if syncing.index > round.announced {
            round.announced = syncing.index;
            self.multicast(Control::Durable {
                round: syncing.round,
                index: syncing.index,
                prefix: syncing.prefix,
            });
        }
    }

    pub(super) fn handle_durable(&mut self, sender: &[u8], index: u64, prefix: Prefix) {
        let first = self.is_first();
        let Some(round) = &mut self.round else { return };
        if self.stage != Stage::Open || index > round.index {
            return;
        }
        let Some(participant) = round.participants.get_mut(sender) else {
            return;
        };
        participant.durable = participant.durable.max(index);
        if prefix.length > participant.journal.length {
            participant.journal = prefix;
        }
        self.waiting.remove(sender);
        let durable = round.participants.values().map(|logger| logger.durable);
        let committed = durable.clone().min().unwrap_or(0);
        #[cfg(test)]
        let committed = match self.flaw {
            Some(super::Flaw::AcknowledgedByOne) => durable.max().unwrap_or(0),
            _ => committed,
        };
        let mut acks = BTreeMap::new();
        let mut last = None;
        while let Some(batch) = round
            .delivered
            .pop_front_if(|batch| batch.index <= committed)
        {
            acks.extend(batch.end);
            last = Some(batch.position);
        }
        if let Some(position) = last
            && self.config.quorum == Quorum::Majority
        {
            self.enter_commit(committed, position);
        }
        if first {
            self.acknowledge(acks.into_iter().collect());
        }
        self.keep_marks(MARK_INTERVAL);
    }

    fn acknowledge(&mut self, acks: Vec<(StreamId, u64)>) {
        for acks in acks.chunks(ACKS_MAX) {
            self.multicast(Control::Ack(acks.to_vec()));
        }
    }

    /// The other participants.
    pub(super) fn peers(&self) -> impl Iterator<Item = (&SessionName, &Participant)> {
        let round = self.round.iter();
        let all = round.flat_map(|round| &round.participants);
        all.filter(|(session, _)| **session != self.session)
    }
}
