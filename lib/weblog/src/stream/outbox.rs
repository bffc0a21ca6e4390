//! What a publisher has yet to send, and what it has sent without knowing that it arrived.
//!
//! To know, it multicasts markers to its own private group: when a marker comes back, everything
//! sent before it is in the total order. Until then messages are kept, and sent again when the bus
//! was lost: lines under way at that moment may so come twice, but none is lost.

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memchr;

use super::Message;

/// Bound: data sent and not confirmed, in bytes, with what the messages cost beside it.
const WINDOW_BYTES: usize = 4 << 20;

/// What a message costs beside its data: its place in the queue and its part of an allocation.
const MESSAGE_OVERHEAD: usize = 128;

/// A marker follows at the latest after this many bytes of data.
const MARKER_INTERVAL_BYTES: usize = 256 << 10;

/// What happens when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// No input is read until there is room: the writer waits.
    Block,
    /// New messages are dropped and counted.
    Drop,
}

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Log lines, to the log group, agreed.
    Data(Bytes),
    /// A marker with this number, to the own private group, agreed.
    Marker(u64),
}

/// The bounded queue between the cutter and the bus.
#[derive(Debug)]
pub struct Outbox {
    when_full: WhenFull,
    bytes_max: usize,
    /// Bound: `bytes_max`, and one window more after a loss of the bus.
    queue: VecDeque<Message>,
    queue_bytes: usize,
    /// Sent since the last confirmation, the oldest first. Bound: the window and one message.
    sent: VecDeque<Message>,
    sent_bytes: usize,
    /// Data sent since the last marker.
    unmarked_bytes: usize,
    /// Markers under way: number, and how many of `sent` came before it. Bound: the window holds
    /// only so many intervals.
    markers: VecDeque<(u64, usize)>,
    next_marker: u64,
    /// Whether the message that was queued last is a piece of a line that goes on.
    in_line: bool,
    /// Whether what follows, up to the end of a line, belongs to one that was dropped.
    dropping_line: bool,
    dropped_lines: u64,
    dropped_bytes: u64,
    resent_lines: u64,
}

impl Outbox {
    /// An empty queue of at most `bytes_max` bytes, with what the messages cost beside their data.
    pub fn new(when_full: WhenFull, bytes_max: usize) -> Outbox {
        Outbox {
            when_full,
            bytes_max,
            queue: VecDeque::new(),
            queue_bytes: 0,
            sent: VecDeque::new(),
            sent_bytes: 0,
            unmarked_bytes: 0,
            markers: VecDeque::new(),
            next_marker: 0,
            in_line: false,
            dropping_line: false,
            dropped_lines: 0,
            dropped_bytes: 0,
            resent_lines: 0,
        }
    }

    /// Queues a message; one that finds the queue full is dropped, unless the policy is to block:
    /// then the caller has stopped reading, and what it had read already is let in.
    ///
    /// Of a line in several messages all that is not queued yet is dropped with the first piece;
    /// what is, is ended with a newline, so that it does not run into the next line. Gives whether
    /// the message was queued.
    pub fn push(&mut self, mut message: Message) -> bool {
        if self.dropping_line && !self.skip_line(&mut message) {
            return false;
        }
        let is_full = self.queue_bytes + cost(&message) > self.bytes_max;
        if self.when_full == WhenFull::Drop && is_full {
            self.drop_message(&message);
            return false;
        }
        self.in_line = message.lines == 0;
        self.queue_bytes += cost(&message);
        self.queue.push_back(message);
        true
    }

    /// Takes the rest of a dropped line off a message; gives whether anything is left.
    fn skip_line(&mut self, message: &mut Message) -> bool {
        let end = memchr(b'\n', &message.data).map(|newline| newline + 1);
        let rest = message.data.split_off(end.unwrap_or(message.data.len()));
        self.dropped_bytes += message.data.len() as u64;
        message.input_bytes = message
            .input_bytes
            .saturating_sub(message.data.len() as u64);
        message.data = rest;
        if end.is_some() {
            self.dropping_line = false;
            self.dropped_lines += 1;
            message.lines -= 1;
        }
        !message.data.is_empty()
    }

    fn drop_message(&mut self, message: &Message) {
        if std::mem::take(&mut self.in_line) {
            let end = Message {
                data: Bytes::from_static(b"\n"),
                lines: 0,
                input_bytes: 0,
            };
            self.queue_bytes += cost(&end);
            self.queue.push_back(end);
        }
        self.dropping_line = message.lines == 0;
        self.dropped_lines += message.lines;
        self.dropped_bytes += message.data.len() as u64;
    }

    /// Whether input may be read: always, if messages are dropped when full.
    pub fn wants_input(&self) -> bool {
        self.when_full == WhenFull::Drop || self.queue_bytes < self.bytes_max
    }

    /// What to send next on a session that works; `None` until a marker or a message comes.
    pub fn poll_send(&mut self) -> Option<Outgoing> {
        let marker_due = self.unmarked_bytes >= MARKER_INTERVAL_BYTES
            // One at a time is enough for a trickle.
            || (self.unmarked_bytes > 0 && self.queue.is_empty() && self.markers.is_empty());
        if marker_due {
            let number = self.next_marker;
            self.next_marker += 1;
            self.unmarked_bytes = 0;
            self.markers.push_back((number, self.sent.len()));
            return Some(Outgoing::Marker(number));
        }
        if self.sent_bytes >= WINDOW_BYTES {
            return None;
        }
        let message = self.queue.pop_front()?;
        let cost = cost(&message);
        self.queue_bytes -= cost;
        self.sent_bytes += cost;
        self.unmarked_bytes += cost;
        let data = message.data.clone();
        self.sent.push_back(message);
        Some(Outgoing::Data(data))
    }

    /// A marker came back: gives how many bytes of input it confirms.
    ///
    /// A number that is not under way confirms nothing.
    pub fn handle_marker(&mut self, number: u64) -> u64 {
        let Some(index) = self.markers.iter().position(|&(known, _)| known == number) else {
            return 0;
        };
        let confirmed = self.markers[index].1;
        self.markers.drain(..=index);
        for (_, before) in &mut self.markers {
            *before -= confirmed;
        }
        let mut input_bytes = 0;
        for message in self.sent.drain(..confirmed) {
            self.sent_bytes -= cost(&message);
            input_bytes += message.input_bytes;
        }
        input_bytes
    }

    /// The session is gone: what it has not confirmed will be sent again, in its old order.
    pub fn handle_bus_lost(&mut self) {
        self.markers.clear();
        self.unmarked_bytes = 0;
        self.sent_bytes = 0;
        while let Some(message) = self.sent.pop_back() {
            self.resent_lines += message.lines;
            self.queue_bytes += cost(&message);
            self.queue.push_front(message);
        }
    }

    /// Whether everything that was queued is in the total order.
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// Lines that are queued or not confirmed.
    pub fn pending_lines(&self) -> u64 {
        self.queue
            .iter()
            .chain(&self.sent)
            .map(|message| message.lines)
            .sum()
    }

    /// Lines and bytes that were dropped because the queue was full.
    pub fn dropped(&self) -> (u64, u64) {
        (self.dropped_lines, self.dropped_bytes)
    }

    /// Lines queued to be sent again after the bus was lost.
    pub fn resent_lines(&self) -> u64 {
        self.resent_lines
    }
}

/// What a message takes of the bounds.
fn cost(message: &Message) -> usize {
    message.data.len() + MESSAGE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::super::{Cutter, Limits};
    use super::*;

    fn message(length: usize) -> Message {
        Message {
            data: Bytes::from(vec![b'x'; length]),
            lines: 1,
            input_bytes: length as u64,
        }
    }

    fn sends(outbox: &mut Outbox) -> Vec<usize> {
        std::iter::from_fn(|| outbox.poll_send())
            .map(|send| match send {
                Outgoing::Data(data) => data.len(),
                Outgoing::Marker(number) => 1_000_000_000 + number as usize,
            })
            .collect()
    }

    const MARKER: usize = 1_000_000_000;

    #[test]
    fn a_marker_follows_and_confirms() {
        let mut outbox = Outbox::new(WhenFull::Block, 1000);
        assert!(outbox.is_drained());
        outbox.push(message(10));
        outbox.push(message(20));
        assert_eq!(sends(&mut outbox), [10, 20, MARKER]);
        outbox.push(message(30));
        // The first marker is still under way: the trickle waits for it.
        assert_eq!(sends(&mut outbox), [30]);
        assert_eq!(outbox.handle_marker(7), 0);
        assert_eq!(outbox.handle_marker(0), 30);
        assert_eq!(sends(&mut outbox), [MARKER + 1]);
        assert_eq!(outbox.pending_lines(), 1);
        assert_eq!(outbox.handle_marker(1), 30);
        assert_eq!(outbox.handle_marker(1), 0);
        assert!(outbox.is_drained());
    }

    #[test]
    fn the_window_bounds_what_is_under_way() {
        let mut outbox = Outbox::new(WhenFull::Block, usize::MAX);
        for _ in 0..100 {
            outbox.push(message(131_072));
        }
        let first = sends(&mut outbox);
        assert_eq!(
            first.iter().filter(|&&length| length == 131_072).count(),
            32
        );
        assert_eq!(first.iter().filter(|&&length| length >= MARKER).count(), 16);
        assert_eq!(outbox.handle_marker(0), 262_144);
        assert_eq!(sends(&mut outbox), [131_072, 131_072, MARKER + 16]);
        // A later marker confirms what earlier ones would have.
        assert_eq!(outbox.handle_marker(16), 32 * 131_072);
    }

    #[test]
    fn what_is_not_confirmed_is_sent_again_in_order() {
        let mut outbox = Outbox::new(WhenFull::Block, 1000);
        for length in [1, 2, 3] {
            outbox.push(message(length));
        }
        assert_eq!(sends(&mut outbox), [1, 2, 3, MARKER]);
        outbox.push(message(4));
        outbox.handle_bus_lost();
        assert_eq!(outbox.handle_marker(0), 0);
        assert_eq!(sends(&mut outbox), [1, 2, 3, 4, MARKER + 1]);
        assert_eq!(outbox.resent_lines(), 3);
        assert_eq!(outbox.handle_marker(1), 10);
        assert!(outbox.is_drained());
    }

    #[test]
    fn a_full_queue_blocks_or_drops() {
        let room = 100 + MESSAGE_OVERHEAD;
        let mut outbox = Outbox::new(WhenFull::Block, room);
        assert!(outbox.push(message(99)) && outbox.wants_input());
        assert!(outbox.push(message(99)) && !outbox.wants_input());
        assert_eq!(outbox.dropped(), (0, 0));

        let mut outbox = Outbox::new(WhenFull::Drop, room + MESSAGE_OVERHEAD);
        assert!(outbox.push(message(99)));
        assert!(!outbox.push(message(2)));
        assert!(outbox.push(message(1)) && outbox.wants_input());
        assert_eq!(outbox.dropped(), (1, 2));
    }

    #[test]
    fn tiny_messages_fill_the_queue_too() {
        let mut outbox = Outbox::new(WhenFull::Drop, 1 << 20);
        let queued = (0..1 << 20).filter(|_| outbox.push(message(1))).count();
        assert!(queued <= (1 << 20) / MESSAGE_OVERHEAD, "{queued}");
        assert_eq!(outbox.dropped().0 + queued as u64, 1 << 20);
    }

    #[test]
    fn a_line_in_pieces_is_dropped_as_a_whole() {
        let limits = Limits {
            message_bytes: 100,
            line_bytes: 1000,
            one_line: false,
        };
        let mut input = Vec::new();
        for length in [50, 450, 30, 40, 950, 20, 250, 10, 10] {
            input.extend(std::iter::repeat_n(b'a' + (length / 10) as u8 % 26, length));
            input.push(b'\n');
        }
        let lines: Vec<&[u8]> = input.split_inclusive(|&byte| byte == b'\n').collect();
        for room in 1..20 {
            let mut outbox = Outbox::new(WhenFull::Drop, room * 150);
            let mut cutter = Cutter::new(limits);
            let (mut output, mut turn) = (Vec::new(), 0);
            cutter.push(&input);
            cutter.finish();
            while let Some(message) = cutter.poll_message() {
                outbox.push(message);
                turn += 1;
                if turn % 4 == 3 {
                    take(&mut outbox, &mut output);
                }
            }
            take(&mut outbox, &mut output);
            let mut whole = 0;
            for line in output.split_inclusive(|&byte| byte == b'\n') {
                let part = line.strip_suffix(b"\n").expect("a line that has no end");
                let same = lines.contains(&line);
                whole += u64::from(same);
                assert!(same || lines.iter().any(|input| input.starts_with(part)));
            }
            assert_eq!(whole + outbox.dropped().0, lines.len() as u64, "{room}");
        }
    }

    /// Sends all that is queued.
    fn take(outbox: &mut Outbox, output: &mut Vec<u8>) {
        while let Some(send) = outbox.poll_send() {
            match send {
                Outgoing::Data(data) => output.extend_from_slice(&data),
                Outgoing::Marker(number) => assert!(number < 100),
            }
        }
    }
}
