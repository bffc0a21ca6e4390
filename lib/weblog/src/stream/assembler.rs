//! Messages of a log group back to whole lines.
//!
//! What comes out depends on the messages and their order alone, never on time, so two loggers
//! that see the same messages write the same bytes.

use memchr::{memchr, memrchr};

use super::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Bound: bytes of unfinished lines of all senders; beyond it the oldest is given up.
const UNFINISHED_BYTES_MAX: usize = 4 * LINE_BYTES_MAX;

/// What an assembler has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssemblerCounts {
    /// Lines that came without a newline, and got one.
    pub unterminated_lines: u64,
    /// Lines whose end never came, written as far as they were there, with a newline.
    pub broken_lines: u64,
}

/// Puts together the lines that come in several messages, sender by sender.
#[derive(Debug, Default)]
pub struct Assembler {
    /// The unfinished lines, the oldest first; a handful at most, as each holds a full message.
    unfinished: Vec<Unfinished>,
    counts: AssemblerCounts,
}

#[derive(Debug)]
struct Unfinished {
    sender: Box<[u8]>,
    line: Vec<u8>,
}

impl Assembler {
    /// Takes a message; `emit` is given one or more whole lines at a time, each with its newline.
    ///
    /// A message that does not end in a newline goes on in the sender's next one if it is as long
    /// as our messages may be; otherwise it lacks its newline, and gets one.
    pub fn receive(&mut self, sender: &[u8], data: &[u8], mut emit: impl FnMut(&[u8])) {
        let mut rest = data;
        let continues = data.len() >= MESSAGE_BYTES_MAX && !data.ends_with(b"\n");
        if let Some(index) = self
            .unfinished
            .iter()
            .position(|line| *line.sender == *sender)
        {
            let Some(length) = memchr(b'\n', rest) else {
                return self.extend(index, data, continues, &mut emit);
            };
            let mut line = self.unfinished.remove(index).line;
            line.extend_from_slice(&rest[..=length]);
            emit(&line);
            rest = &rest[length + 1..];
        }
        if let Some(last) = memrchr(b'\n', rest) {
            emit(&rest[..=last]);
            rest = &rest[last + 1..];
        }
        if continues {
            self.make_room(rest.len().max(MESSAGE_BYTES_MAX), &mut emit);
            self.unfinished.push(Unfinished {
                sender: sender.into(),
                line: rest.to_vec(),
            });
        } else if !rest.is_empty() {
            self.counts.unterminated_lines += 1;
            emit(&[rest, b"\n"].concat());
        }
    }

    /// Gives up all unfinished lines: the bus was lost, or the logger stops.
    pub fn flush(&mut self, mut emit: impl FnMut(&[u8])) {
        while !self.unfinished.is_empty() {
            self.give_up(0, &mut emit);
        }
    }

    /// What has gone through so far.
    pub fn counts(&self) -> AssemblerCounts {
        self.counts
    }

    /// Adds a message without a newline to an unfinished line.
    fn extend(&mut self, index: usize, data: &[u8], continues: bool, emit: &mut impl FnMut(&[u8])) {
        let line = &mut self.unfinished[index].line;
        line.extend_from_slice(data);
        if !continues {
            let mut line = self.unfinished.remove(index).line;
            self.counts.unterminated_lines += 1;
            line.push(b'\n');
            emit(&line);
        } else if line.len() > LINE_BYTES_MAX {
            // No publisher of ours makes such a line.
            self.give_up(index, emit);
        } else {
            self.make_room(0, emit);
        }
    }

    fn make_room(&mut self, bytes: usize, emit: &mut impl FnMut(&[u8])) {
        // Short ones count as a full message, which bounds their number too.
        let size = |bytes: usize| bytes.max(MESSAGE_BYTES_MAX);
        let held = |lines: &[Unfinished]| {
            lines
                .iter()
                .map(|line| size(line.line.len()))
                .sum::<usize>()
        };
        while !self.unfinished.is_empty() && held(&self.unfinished) + bytes > UNFINISHED_BYTES_MAX {
            self.give_up(0, emit);
        }
    }

    fn give_up(&mut self, index: usize, emit: &mut impl FnMut(&[u8])) {
        let mut line = self.unfinished.remove(index).line;
        self.counts.broken_lines += 1;
        line.push(b'\n');
        emit(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cutter, Limits};
    use super::*;

    fn full(byte: u8) -> Vec<u8> {
        vec![byte; MESSAGE_BYTES_MAX]
    }

    fn receive(assembler: &mut Assembler, sender: &str, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assembler.receive(sender.as_bytes(), data, |lines| {
            assert!(lines.ends_with(b"\n"));
            out.extend_from_slice(lines);
        });
        out
    }

    #[test]
    fn ordinary_messages_pass_as_they_are() {
        let mut assembler = Assembler::default();
        assert_eq!(receive(&mut assembler, "a", b"one\ntwo\n"), b"one\ntwo\n");
        assert_eq!(
            receive(&mut assembler, "a", b"\0\xff\r\n\n"),
            b"\0\xff\r\n\n"
        );
        assert_eq!(receive(&mut assembler, "a", b""), b"");
        assert_eq!(assembler.counts(), AssemblerCounts::default());
    }

    #[test]
    fn a_short_message_without_a_newline_gets_one() {
        let mut assembler = Assembler::default();
        assert_eq!(receive(&mut assembler, "a", b"by hand"), b"by hand\n");
        assert_eq!(receive(&mut assembler, "a", b"x\ny"), b"x\ny\n");
        assert_eq!(assembler.counts().unterminated_lines, 2);
    }

    #[test]
    fn long_lines_of_two_senders_do_not_mix() {
        let mut assembler = Assembler::default();
        assert_eq!(receive(&mut assembler, "a", &full(b'a')), b"");
        assert_eq!(receive(&mut assembler, "b", &full(b'b')), b"");
        assert_eq!(receive(&mut assembler, "c", b"c\n"), b"c\n");
        assert_eq!(
            receive(&mut assembler, "b", b"\nnext\n"),
            [full(b'b'), b"\nnext\n".to_vec()].concat()
        );
        assert_eq!(receive(&mut assembler, "a", &full(b'A')), b"");
        let line = [full(b'a'), full(b'A'), b"end\n".to_vec()].concat();
        assert_eq!(receive(&mut assembler, "a", b"end\n"), line);
        assert_eq!(assembler.counts(), AssemblerCounts::default());
    }

    #[test]
    fn what_the_cutter_makes_comes_back() {
        let mut input = Vec::new();
        for length in [
            10,
            98_000,
            MESSAGE_BYTES_MAX - 1,
            MESSAGE_BYTES_MAX,
            1,
            LINE_BYTES_MAX - 1,
            0,
            500_000,
        ] {
            input.extend(std::iter::repeat_n(b'x', length));
            input.push(b'\n');
        }
        let (mut cutter, mut assembler) = (Cutter::new(Limits::BATCHED), Assembler::default());
        cutter.push(&input);
        cutter.finish();
        let mut output = Vec::new();
        while let Some(message) = cutter.poll_message() {
            output.extend(receive(&mut assembler, "p", &message.data));
        }
        assert!(output == input, "{} bytes of {}", output.len(), input.len());
        assert_eq!(assembler.counts(), AssemblerCounts::default());
    }

    #[test]
    fn lines_that_never_end_are_given_up() {
        let mut assembler = Assembler::default();
        for _ in 0..LINE_BYTES_MAX / MESSAGE_BYTES_MAX {
            assert_eq!(receive(&mut assembler, "a", &full(b'a')), b"");
        }
        let given_up = receive(&mut assembler, "a", &full(b'a'));
        assert_eq!(given_up.len(), LINE_BYTES_MAX + MESSAGE_BYTES_MAX + 1);
        assert_eq!(receive(&mut assembler, "a", b"x\n"), b"x\n");
        assert_eq!(assembler.counts().broken_lines, 1);
    }

    #[test]
    fn many_unfinished_lines_cost_the_oldest() {
        let mut assembler = Assembler::default();
        let fit = UNFINISHED_BYTES_MAX / MESSAGE_BYTES_MAX;
        for sender in 0..fit {
            assert_eq!(
                receive(&mut assembler, &sender.to_string(), &full(b'x')),
                b""
            );
        }
        let oldest = receive(&mut assembler, "late", &full(b'y'));
        assert_eq!(oldest, [full(b'x'), b"\n".to_vec()].concat());
        let mut flushed = 0;
        assembler.flush(|_| flushed += 1);
        assert_eq!(flushed, fit);
        assert_eq!(assembler.counts().broken_lines, 1 + fit as u64);
    }
}
