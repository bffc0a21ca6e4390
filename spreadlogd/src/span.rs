//! What this program has written to a file, so that it can be told after a crash and by
//! `--verify`.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use memchr::memchr_iter;
use serde::{Deserialize, Serialize};
use weblog::stream::hash;

/// A stretch of a file that was written without a break: whole lines from `base` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// The file's device and inode: it may be renamed.
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Length of the file when the span began.
    pub(crate) base: u64,
    /// Length of the span.
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
    /// Running hash of the lines, each with its newline.
    pub(crate) hash: u64,
}

impl Span {
    /// Nothing is written yet behind what is in the file.
    pub(crate) fn new(file: &Metadata) -> Span {
        Span {
            dev: file.dev(),
            ino: file.ino(),
            base: file.len(),
            bytes: 0,
            lines: 0,
            hash: 0,
        }
    }

    /// Adds whole lines.
    pub(crate) fn add(&mut self, lines: &[u8]) {
        let mut start = 0;
        for end in memchr_iter(b'\n', lines) {
            self.hash = hash(self.hash, &lines[start..=end]);
            self.lines += 1;
            start = end + 1;
        }
        self.bytes += start as u64;
    }

    /// Length of the file with it.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes
    }

    /// Whether it is this file, under whatever name.
    pub(crate) fn is_in(&self, file: &Metadata) -> bool {
        (file.dev(), file.ino()) == (self.dev, self.ino)
    }

    /// Whether it is the same span, earlier or later.
    pub(crate) fn is_same(&self, other: &Span) -> bool {
        (self.dev, self.ino, self.base) == (other.dev, other.ino, other.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_one_by_one_whatever_they_come_in() {
        let text = b"one\n\n\xff\0three\r\nfour\n";
        let metadata = std::fs::metadata("/").unwrap();
        let mut whole = Span::new(&metadata);
        whole.add(text);
        let mut parts = Span::new(&metadata);
        parts.add(b"one\n");
        parts.add(b"\n\xff\0three\r\nfour\n");
        assert_eq!(whole, parts);
        assert_eq!((whole.bytes, whole.lines), (text.len() as u64, 4));
        let mut other = Span::new(&metadata);
        other.add(b"one\n\nfour\n\xff\0three\r\n");
        assert_eq!((other.bytes, other.lines), (whole.bytes, whole.lines));
        assert_ne!(other.hash, whole.hash);
    }
}
