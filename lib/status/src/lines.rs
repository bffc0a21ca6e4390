//! Lines out of a stream of bytes, without I/O.

/// Collects bytes and gives them back line by line.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Bytes of `buffer` known to hold no newline.
    searched: usize,
    bytes_max: usize,
}

/// A line, or the start of one, is longer than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineTooLong;

impl Lines {
    /// Bound: a line has at most `bytes_max` bytes without its newline.
    pub(crate) fn new(bytes_max: usize) -> Lines {
        Lines {
            buffer: Vec::new(),
            searched: 0,
            bytes_max,
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next line without its newline; none until more bytes were fed.
    pub(crate) fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineTooLong> {
        let newline = self.buffer[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n');
        let length = newline.map_or(self.buffer.len(), |at| self.searched + at);
        if length > self.bytes_max {
            return Err(LineTooLong);
        }
        if newline.is_none() {
            self.searched = length;
            return Ok(None);
        }
        let mut line: Vec<u8> = self.buffer.drain(..=length).collect();
        line.pop();
        self.searched = 0;
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let text = b"one\n\nthree\nrest";
        for size in 1..=text.len() {
            let mut lines = Lines::new(5);
            let mut got = Vec::new();
            for piece in text.chunks(size) {
                lines.feed(piece);
                while let Some(line) = lines.next_line().unwrap() {
                    got.push(line);
                }
            }
            assert_eq!(got, [&b"one"[..], b"", b"three"], "pieces of {size}");
            assert_eq!(lines.buffer, b"rest");
        }
    }

    #[test]
    fn a_long_line_is_refused_before_it_ends() {
        let mut lines = Lines::new(4);
        lines.feed(b"four\nfive5");
        assert_eq!(lines.next_line(), Ok(Some(b"four".to_vec())));
        assert_eq!(lines.next_line(), Err(LineTooLong));
    }
}
