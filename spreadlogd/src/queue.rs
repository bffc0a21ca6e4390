//! Lines that wait to be written.

use memchr::memrchr;

/// Memory that an empty queue may keep.
const IDLE_CAPACITY: usize = 256 << 10;

/// Whole lines, the oldest first, some of them written. The bound is that of all queues together.
///
/// What is written of a line that is not written to its end is kept: it may have to be taken back
/// and written again elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Invariant: begins at the beginning of a line, ends at the end of one.
    bytes: Vec<u8>,
    /// How many of `bytes` are written.
    written: usize,
}

impl Queue {
    /// Adds whole lines.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        debug_assert!(lines.ends_with(b"\n"));
        self.bytes.extend_from_slice(lines);
    }

    /// What is to be written next.
    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// How many bytes are to be written.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether all is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// So many bytes have been written.
    pub(crate) fn consume(&mut self, count: usize) {
        self.written += count;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(IDLE_CAPACITY);
            self.written = 0;
        } else if self.written * 2 > self.bytes.len() {
            // Moving the rest only when most is written keeps the cost per byte constant.
            let half = self.half_line();
            self.bytes.drain(..self.written - half);
            self.written = half;
        }
    }

    /// How many bytes of an unfinished line have been written last.
    pub(crate) fn half_line(&self) -> usize {
        let written = &self.bytes[..self.written];
        written.len() - memrchr(b'\n', written).map_or(0, |newline| newline + 1)
    }

    /// Takes back the unfinished line, to be written again from its beginning.
    pub(crate) fn take_back_half_line(&mut self) {
        self.written -= self.half_line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_lines_can_be_taken_back_at_any_point() {
        let text = b"one\n\nthree is longer than the others\nfour\n";
        for stop in 0..text.len() {
            let mut queue = Queue::default();
            queue.append(text);
            let mut written = Vec::new();
            for _ in 0..stop {
                written.push(queue.unwritten()[0]);
                queue.consume(1);
            }
            assert_eq!(written, text[..stop]);
            let half = queue.half_line();
            queue.take_back_half_line();
            written.truncate(stop - half);
            assert!(written.is_empty() || written.ends_with(b"\n"));
            written.extend_from_slice(queue.unwritten());
            assert_eq!(written, text);
        }
    }

    #[test]
    fn an_empty_queue_gives_its_memory_back() {
        let mut queue = Queue::default();
        queue.append(&vec![b'\n'; 4 << 20]);
        assert_eq!(queue.len(), 4 << 20);
        queue.consume(4 << 20);
        assert!(queue.is_empty());
        assert!(queue.bytes.capacity() <= 2 * IDLE_CAPACITY);
    }
}
