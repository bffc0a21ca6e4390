//! Bytes that wait for a daemon to read them.

use std::io::{self, Write};

/// A bounded queue of bytes; the bound's policy is the caller's.
#[derive(Debug)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    /// How many of `bytes` are written.
    written: usize,
    bytes_max: usize,
}

impl Output {
    pub(crate) fn new(bytes_max: usize) -> Output {
        Output {
            bytes: Vec::new(),
            written: 0,
            bytes_max,
        }
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether `length` more bytes may be queued; always true of the first message.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.queued_bytes() == 0 || self.queued_bytes() + length <= self.bytes_max
    }

    /// Where to append a message.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        // Moving the rest only when most is written keeps the cost per byte constant.
        if self.written * 2 > self.bytes.len() {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        &mut self.bytes
    }

    /// Writes until nothing is left or the stream takes no more; `WouldBlock` is an error here.
    pub(crate) fn write_to(&mut self, mut stream: impl Write) -> io::Result<()> {
        while self.written < self.bytes.len() {
            match stream.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.clear();
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }
}
