//! Bytes to lines, lines to messages.
//!
//! Lines are batched until a message is full or [`Cutter::flush`] is called. A line too long is cut
//! at the limit, and ends in ` [cut N bytes]`, where N is what was left out.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Room for the mark of a cut line with the largest number: ` [cut 18446744073709551615 bytes]`.
const MARK_BYTES_MAX: usize = 33;

/// How lines become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A message is at most this long.
    pub message_bytes: usize,
    /// A line is at most this long, with its newline; at least 64.
    pub line_bytes: usize,
    /// Each message has one line.
    pub one_line: bool,
}

impl Limits {
    /// As many lines as fit, of at most 1 MiB.
    pub const BATCHED: Limits = Limits {
        message_bytes: MESSAGE_BYTES_MAX,
        line_bytes: LINE_BYTES_MAX,
        one_line: false,
    };

    /// A line per message, at most 8191 bytes: the original spreadlogd drops messages that do not
    /// fit its buffer, by default 8192 bytes with room for a NUL.
    pub const ONE_LINE: Limits = Limits {
        message_bytes: 8191,
        line_bytes: 8191,
        one_line: true,
    };
}

/// Bytes to multicast, and what they stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whole lines, or a piece of a long line; never empty.
    pub data: Bytes,
    /// Lines that end in it.
    pub lines: u64,
    /// Bytes of input that it accounts for, those that were cut included.
    pub input_bytes: u64,
}

/// What a cutter has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutterCounts {
    /// Lines that have ended.
    pub lines: u64,
    /// Lines that were longer than the limit.
    pub cut_lines: u64,
    /// Bytes left out of those.
    pub cut_bytes: u64,
    /// Lines that had no newline at the end of the input, and got one.
    pub unterminated_lines: u64,
}

/// Cuts a stream of bytes into lines, and packs them into messages.
#[derive(Debug)]
pub struct Cutter {
    limits: Limits,
    /// Whole lines, then what is there of the unfinished one.
    buffer: BytesMut,
    /// Bytes of `buffer` that are whole lines. Invariant: at most `message_bytes`.
    whole: usize,
    whole_lines: u64,
    whole_input: u64,
    /// Bytes of the unfinished line that have left in earlier messages.
    line_sent: usize,
    /// Bytes of the unfinished line that were left out.
    line_cut: u64,
    /// Messages made and not yet taken. Bound: what one push makes, the caller takes all.
    ready: VecDeque<Message>,
    counts: CutterCounts,
}

impl Cutter {
    /// A cutter with nothing in it.
    pub fn new(limits: Limits) -> Cutter {
        assert!(
            limits.line_bytes >= 64,
            "a cut line needs room for its mark"
        );
        Cutter {
            limits,
            buffer: BytesMut::new(),
            whole: 0,
            whole_lines: 0,
            whole_input: 0,
            line_sent: 0,
            line_cut: 0,
            ready: VecDeque::new(),
            counts: CutterCounts::default(),
        }
    }

    /// Takes the next bytes of the input, which may be any; then messages may be ready.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(length) = memchr(b'\n', bytes) {
            self.extend_line(&bytes[..length]);
            self.end_line(1);
            bytes = &bytes[length + 1..];
        }
        self.extend_line(bytes);
    }

    /// Makes a message of the whole lines that are waiting.
    pub fn flush(&mut self) {
        if self.whole == 0 {
            return;
        }
        let data = self.buffer.split_to(self.whole).freeze();
        self.ready.push_back(Message {
            data,
            lines: self.whole_lines,
            input_bytes: self.whole_input,
        });
        self.whole = 0;
        self.whole_lines = 0;
        self.whole_input = 0;
    }

    /// The input has ended: a last line without a newline gets one, and all is flushed.
    pub fn finish(&mut self) {
        if self.unfinished() > 0 || self.line_sent > 0 || self.line_cut > 0 {
            self.counts.unterminated_lines += 1;
            self.end_line(0);
        }
        self.flush();
    }

    /// The next message that is ready.
    pub fn poll_message(&mut self) -> Option<Message> {
        self.ready.pop_front()
    }

    /// Whether whole lines wait for more to make a message with.
    pub fn has_waiting_lines(&self) -> bool {
        self.whole > 0
    }

    /// What has gone through so far.
    pub fn counts(&self) -> CutterCounts {
        self.counts
    }

    /// Bytes of the unfinished line that are in the buffer.
    fn unfinished(&self) -> usize {
        self.buffer.len() - self.whole
    }

    fn extend_line(&mut self, mut part: &[u8]) {
        while !part.is_empty() {
            // Piece by piece, so that the buffer never holds much more than a message.
            let room = self.limits.line_bytes - 1 - self.line_sent - self.unfinished();
            let taken = part.len().min(room).min(self.limits.message_bytes);
            if taken == 0 {
                self.line_cut += part.len() as u64;
                return;
            }
            self.buffer.extend_from_slice(&part[..taken]);
            part = &part[taken..];
            // What would have to go if the line turns out too long is held back.
            let certain = self.limits.line_bytes - 1 - MARK_BYTES_MAX;
            while self.unfinished() >= self.limits.message_bytes
                && self.line_sent + self.limits.message_bytes <= certain
            {
                self.send_piece();
            }
        }
    }

    /// Ends the line; `newline` bytes of input did it.
    fn end_line(&mut self, newline: u64) {
        let cut = self.mark_cut();
        self.buffer.extend_from_slice(b"\n");
        while self.unfinished() > self.limits.message_bytes {
            self.send_piece();
        }
        let length = self.unfinished();
        if self.whole + length > self.limits.message_bytes {
            self.flush();
        }
        self.whole += length;
        self.whole_lines += 1;
        // The mark is not input, and what it stands for is: the two are told apart here.
        self.whole_input += (length - 1) as u64 - cut.mark_bytes + cut.bytes + newline;
        self.line_sent = 0;
        self.counts.lines += 1;
        if self.limits.one_line {
            self.flush();
        }
    }

    /// Shortens a line that was too long to make room for its mark, and marks it.
    fn mark_cut(&mut self) -> Cut {
        let excess = std::mem::take(&mut self.line_cut);
        if excess == 0 {
            return Cut {
                bytes: 0,
                mark_bytes: 0,
            };
        }
        let bytes = excess + MARK_BYTES_MAX as u64;
        self.buffer.truncate(self.buffer.len() - MARK_BYTES_MAX);
        let mark = format!(" [cut {bytes} bytes]");
        self.buffer.extend_from_slice(mark.as_bytes());
        self.counts.cut_lines += 1;
        self.counts.cut_bytes += bytes;
        Cut {
            bytes,
            mark_bytes: mark.len() as u64,
        }
    }

    /// Sends the first part of a line that is longer than a message.
    fn send_piece(&mut self) {
        self.flush();
        let data = self.buffer.split_to(self.limits.message_bytes).freeze();
        let input_bytes = data.len() as u64;
        self.line_sent += data.len();
        self.ready.push_back(Message {
            data,
            lines: 0,
            input_bytes,
        });
    }
}

/// What the cut of one line has left out, and put in.
struct Cut {
    bytes: u64,
    mark_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        message_bytes: 100,
        line_bytes: 250,
        one_line: false,
    };

    fn messages(cutter: &mut Cutter) -> Vec<Message> {
        std::iter::from_fn(|| cutter.poll_message()).collect()
    }

    fn cut(limits: Limits, input: &[u8]) -> (Vec<Message>, CutterCounts) {
        let mut cutter = Cutter::new(limits);
        cutter.push(input);
        cutter.finish();
        (messages(&mut cutter), cutter.counts())
    }

    fn joined(messages: &[Message]) -> Vec<u8> {
        messages
            .iter()
            .flat_map(|message| message.data.to_vec())
            .collect()
    }

    #[test]
    fn lines_wait_for_the_flush() {
        let mut cutter = Cutter::new(SMALL);
        cutter.push(b"one\ntwo\nthr");
        assert!(cutter.has_waiting_lines());
        assert_eq!(cutter.poll_message(), None);
        cutter.flush();
        let expected = Message {
            data: Bytes::from_static(b"one\ntwo\n"),
            lines: 2,
            input_bytes: 8,
        };
        assert_eq!(cutter.poll_message(), Some(expected));
        assert!(!cutter.has_waiting_lines());
        cutter.push(b"ee\n");
        cutter.flush();
        assert_eq!(cutter.poll_message().unwrap().data, &b"three\n"[..]);
    }

    #[test]
    fn every_byte_passes_however_the_input_is_split() {
        let mut input = b"\n\r\n\0\xff\n".to_vec();
        for length in [1, 50, 98, 99, 100, 101, 198, 199, 200, 201, 249] {
            input.extend(std::iter::repeat_n(b'x', length));
            input.push(b'\n');
        }
        let whole = cut(SMALL, &input);
        assert_eq!(joined(&whole.0), input);
        assert_eq!(
            whole.1,
            CutterCounts {
                lines: 14,
                ..CutterCounts::default()
            }
        );
        for size in [1, 2, 3, 7, 99, 100, 101, 250] {
            let mut cutter = Cutter::new(SMALL);
            let mut pieces = Vec::new();
            for chunk in input.chunks(size) {
                cutter.push(chunk);
                pieces.extend(messages(&mut cutter));
            }
            cutter.finish();
            pieces.extend(messages(&mut cutter));
            assert_eq!(pieces, whole.0, "in chunks of {size}");
        }
    }

    #[test]
    fn messages_hold_whole_lines_or_full_pieces() {
        let mut input = Vec::new();
        for length in [40, 40, 40, 230, 10, 99, 1] {
            input.extend(std::iter::repeat_n(b'x', length));
            input.push(b'\n');
        }
        let (messages, _) = cut(SMALL, &input);
        for message in &messages {
            let ends = message.data.ends_with(b"\n");
            assert!(ends || message.data.len() == 100, "{message:?}");
            assert!(message.data.len() <= 100);
        }
        assert_eq!(messages.iter().map(|message| message.lines).sum::<u64>(), 7);
        assert_eq!(
            messages
                .iter()
                .map(|message| message.input_bytes)
                .sum::<u64>(),
            input.len() as u64
        );
    }

    #[test]
    fn a_long_line_is_cut_marked_and_counted() {
        for length in [250, 251, 1000] {
            let mut input = vec![b'x'; length];
            input.extend(b"\nnext\n");
            let (messages, counts) = cut(SMALL, &input);
            let output = joined(&messages);
            let line = output.split(|&byte| byte == b'\n').next().unwrap();
            let kept = line.iter().filter(|&&byte| byte == b'x').count();
            let text = String::from_utf8_lossy(line);
            assert!(
                text.ends_with(&format!("x [cut {} bytes]", length - kept)),
                "{text}"
            );
            assert!(line.len() < 250);
            assert!(output.ends_with(b"\nnext\n"));
            assert_eq!(
                (counts.cut_lines, counts.cut_bytes),
                (1, (length - kept) as u64)
            );
            let accounted: u64 = messages.iter().map(|message| message.input_bytes).sum();
            assert_eq!(accounted, input.len() as u64);
        }
    }

    #[test]
    fn the_real_limits_hold() {
        let mut input = vec![b'x'; LINE_BYTES_MAX - 1];
        input.push(b'\n');
        let (messages, counts) = cut(Limits::BATCHED, &input);
        assert_eq!((joined(&messages) == input, counts.cut_lines), (true, 0));
        assert_eq!(messages.len(), 8);
        input.insert(0, b'x');
        let (messages, counts) = cut(Limits::BATCHED, &input);
        assert_eq!((messages.len(), counts.cut_lines), (8, 1));
        assert!(joined(&messages).len() <= LINE_BYTES_MAX);
    }

    #[test]
    fn a_missing_last_newline_is_added_and_counted() {
        let (messages, counts) = cut(SMALL, b"a\nb");
        assert_eq!(joined(&messages), b"a\nb\n");
        assert_eq!(messages[0].input_bytes, 3);
        assert_eq!(counts.unterminated_lines, 1);
        assert_eq!(cut(SMALL, b""), (vec![], CutterCounts::default()));
    }

    #[test]
    fn one_line_per_message_for_original_loggers() {
        let (messages, _) = cut(Limits::ONE_LINE, b"a\n\nb\n");
        let data: Vec<&[u8]> = messages.iter().map(|message| &message.data[..]).collect();
        assert_eq!(data, [&b"a\n"[..], b"\n", b"b\n"]);
        let (messages, counts) = cut(Limits::ONE_LINE, &[b'x'; 98_000]);
        assert_eq!((messages.len(), counts.cut_lines), (1, 1));
        assert!(messages[0].data.len() <= 8191);
    }
}
