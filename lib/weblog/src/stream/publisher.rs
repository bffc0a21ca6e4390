//! The publisher's side: from a spool into the log group until it is acknowledged.
//!
//! | stage   | on                                | then                                        |
//! |---------|-----------------------------------|---------------------------------------------|
//! | away    | first membership of `G~`          | header, waiting                             |
//! | waiting | acknowledgement of the header     | flowing                                     |
//! | flowing | reset, `Go`                       | header from the first unacknowledged byte, waiting |
//! | any     | the session is lost               | away                                        |

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memrchr;

use super::control::Control;
use super::view::{Loggers, SessionName, is_logger};
use super::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX, StreamId};

/// A line that has no end within so many bytes of its beginning is broken there: the loggers end
/// it, and the rest is another line.
pub const LINE_BREAK_BYTES: u64 = (LINE_BYTES_MAX + MESSAGE_BYTES_MAX - 1) as u64;

/// Bound: nothing more is published while so many bytes are not acknowledged, 23 messages. With
/// the longest line after that, it is less than 4 MiB.
const WINDOW_BYTES: u64 = 23 * MESSAGE_BYTES_MAX as u64;
const _: () = assert!(WINDOW_BYTES + LINE_BREAK_BYTES < 4 << 20);

/// Bound: batches published and not acknowledged.
const WINDOW_BATCHES: usize = 1024;

/// What a publisher wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublisherAction {
    /// Read so many bytes of the spool there, and call
    /// [`handle_read`](Publisher::handle_read).
    Read {
        /// Where in the stream.
        offset: u64,
        /// At most a message's length; never 0.
        length: usize,
    },
    /// Multicast to the control group, agreed.
    Control(Bytes),
    /// Multicast to the log group, agreed.
    Data {
        /// The message type.
        hint: u16,
        /// Whole lines, or a piece of a long one.
        data: Bytes,
    },
    /// Everything before this offset of the stream is on the loggers' disks: the spool may let it
    /// go, and the offset should be kept.
    Acknowledged(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Away,
    Waiting,
    Flowing,
}

/// Bytes of a stream that are in no spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where they begin: at the beginning of a line.
    pub start: u64,
    /// Where they end: at the end of a line.
    pub end: u64,
    /// How many lines they were; 0 if nobody knows.
    pub lines: u64,
}

/// The state of one lane.
#[derive(Debug)]
pub struct Publisher {
    stream: StreamId,
    stage: Stage,
    loggers: Loggers,
    /// Invariant: `acknowledged <= published <= spooled`.
    acknowledged: u64,
    published: u64,
    spooled: u64,
    /// Ends of the batches that are published and not acknowledged.
    unacknowledged: VecDeque<u64>,
    /// Bytes published of a line that is longer than a message.
    piece_bytes: usize,
    /// Lines that were broken, and where the last piece of the last one ended.
    broken_lines: u64,
    broken_end: Option<u64>,
    /// The offset of a read under way.
    reading: Option<u64>,
    /// What was given up and is not acknowledged, in order. Bound: the caller's.
    gaps: VecDeque<Gap>,
    /// Bound: what one call makes, the caller takes all.
    actions: VecDeque<PublisherAction>,
}

impl Publisher {
    /// A lane of which everything before `acknowledged` is known to be on the loggers' disks. What
    /// is known may lag behind: the rest is published again.
    pub fn new(stream: StreamId, acknowledged: u64) -> Publisher {
        Publisher {
            stream,
            stage: Stage::Away,
            loggers: Loggers::default(),
            acknowledged,
            published: acknowledged,
            spooled: acknowledged,
            unacknowledged: VecDeque::new(),
            piece_bytes: 0,
            broken_lines: 0,
            broken_end: None,
            reading: None,
            gaps: VecDeque::new(),
            actions: VecDeque::new(),
        }
    }

    /// The spool has whole lines up to this offset of the stream.
    pub fn handle_spooled(&mut self, end: u64) {
        self.spooled = self.spooled.max(end);
        self.pump();
    }

    /// What follows in the stream was given up; it begins where the spool ends.
    pub fn handle_gap(&mut self, gap: Gap) {
        if gap.end > self.acknowledged {
            self.gaps.push_back(gap);
        }
        self.handle_spooled(gap.end);
    }

    /// The bytes of a [`Read`](PublisherAction::Read): all that were asked for.
    pub fn handle_read(&mut self, offset: u64, bytes: Bytes) {
        if self.reading != Some(offset) || bytes.is_empty() {
            return;
        }
        self.reading = None;
        let (length, ends) = self.cut(&bytes);
        self.actions.push_back(PublisherAction::Data {
            hint: offset as u16,
            data: bytes.slice(..length),
        });
        self.published += length as u64;
        if ends {
            self.piece_bytes = 0;
            self.unacknowledged.push_back(self.published);
        } else {
            self.piece_bytes += length;
        }
        self.pump();
    }

    /// How much of what is there the next message takes, and whether its batch ends with it.
    fn cut(&mut self, bytes: &[u8]) -> (usize, bool) {
        match memrchr(b'\n', bytes) {
            Some(newline) => (newline + 1, true),
            // The loggers hold no longer line than this: it is broken, and they end it.
            None if self.piece_bytes + bytes.len() > LINE_BYTES_MAX => {
                let length = bytes.len().min(MESSAGE_BYTES_MAX - 1);
                self.count_broken(length as u64);
                (length, true)
            }
            None => (bytes.len(), bytes.len() < MESSAGE_BYTES_MAX),
        }
    }

    /// Counts a line that is broken so many bytes further on: once, into however many pieces it
    /// goes, and however often it is published.
    fn count_broken(&mut self, length: u64) {
        let begin = self.published - self.piece_bytes as u64;
        let end = self.published + length;
        if self.broken_end.is_none_or(|before| before < end) {
            self.broken_lines += u64::from(self.broken_end != Some(begin));
            self.broken_end = Some(end);
        }
    }

    /// A membership of the control group, which the session is in; `network` if it was not caused
    /// by a session that came or went.
    pub fn handle_membership(&mut self, members: &[SessionName], network: bool) {
        if self.loggers.change(members, network) {
            self.restart();
        }
    }

    /// A message of the control group.
    pub fn handle_control(&mut self, sender: &[u8], data: &Bytes) {
        if self.stage == Stage::Away || !is_logger(sender) {
            return;
        }
        match Control::decode(data) {
            Some(Control::Go { .. }) => self.restart(),
            Some(Control::Ack(acks)) => {
                for (stream, end) in acks {
                    if stream == self.stream {
                        self.handle_ack(end);
                    }
                }
            }
            _ => {}
        }
    }

    /// The session is lost, and with it what was to be sent on it.
    pub fn handle_disconnected(&mut self) {
        self.actions
            .retain(|action| matches!(action, PublisherAction::Acknowledged(_)));
        self.stage = Stage::Away;
        self.loggers.clear();
        self.reading = None;
    }

    fn handle_ack(&mut self, end: u64) {
        // An offset that does not exist is nobody's acknowledgement.
        if end > self.spooled || end < self.acknowledged {
            return;
        }
        if end > self.acknowledged {
            self.acknowledged = end;
            while self
                .unacknowledged
                .front()
                .is_some_and(|&batch| batch <= end)
            {
                self.unacknowledged.pop_front();
            }
            while self.gaps.front().is_some_and(|gap| gap.end <= end) {
                self.gaps.pop_front();
            }
            self.actions.push_back(PublisherAction::Acknowledged(end));
        }
        if self.published < end {
            // From before this session, and further than it has come: begin there.
            return self.restart();
        }
        self.stage = Stage::Flowing;
        self.pump();
    }

    /// Says where the next message starts: at the first byte that is not acknowledged.
    fn restart(&mut self) {
        self.stage = Stage::Waiting;
        self.published = self.acknowledged;
        self.unacknowledged.clear();
        self.piece_bytes = 0;
        self.reading = None;
        let header = Control::Header {
            stream: self.stream,
            offset: self.published,
        };
        self.actions
            .push_back(PublisherAction::Control(header.encode()));
    }

    fn pump(&mut self) {
        while self.stage == Stage::Flowing && self.reading.is_none() {
            // A line that has begun is published to its end, whatever the window.
            let may_read = self.in_window() || self.piece_bytes > 0;
            if !may_read || self.published == self.spooled {
                return;
            }
            let gap = self.gaps.iter().find(|gap| gap.end > self.published);
            match gap.copied() {
                Some(gap) if gap.start <= self.published => self.publish_gap(gap),
                gap => self.read(gap.map_or(self.spooled, |gap| gap.start)),
            }
        }
    }

    fn in_window(&self) -> bool {
        self.published - self.acknowledged < WINDOW_BYTES
            && self.unacknowledged.len() < WINDOW_BATCHES
    }

    fn read(&mut self, end: u64) {
        self.reading = Some(self.published);
        self.actions.push_back(PublisherAction::Read {
            offset: self.published,
            length: (end - self.published).min(MESSAGE_BYTES_MAX as u64) as usize,
        });
    }

    fn publish_gap(&mut self, gap: Gap) {
        let record = Control::Gap {
            stream: self.stream,
            start: self.published,
            end: gap.end,
            lines: gap.lines,
        };
        self.actions
            .push_back(PublisherAction::Control(record.encode()));
        self.published = gap.end;
        self.unacknowledged.push_back(gap.end);
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<PublisherAction> {
        self.actions.pop_front()
    }

    /// Everything before this offset is on the loggers' disks.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Everything before this offset has been handed out.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Lines that were longer than [`LINE_BREAK_BYTES`] and were published as several.
    pub fn broken_lines(&self) -> u64 {
        self.broken_lines
    }

    /// Bytes that are spooled and not acknowledged.
    pub fn waiting_bytes(&self) -> u64 {
        let gaps = self.gaps.iter().map(|gap| gap.end - gap.start);
        (self.spooled - self.acknowledged).saturating_sub(gaps.sum())
    }

    /// Whether everything that is spooled is.
    pub fn is_drained(&self) -> bool {
        self.acknowledged == self.spooled
    }
}
