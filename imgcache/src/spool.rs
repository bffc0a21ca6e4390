//! The body of a response between the origin and the clients.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::shared::Shared;
use crate::store::Draft;

/// Bound: bytes of a body that is not stored that wait for the client; then the origin waits.
const TAIL_MAX: usize = 256 << 10;

/// A body as far as it has come: the start in a file, if it is stored, the rest in memory.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    pub(crate) draft: Option<Draft>,
    /// Where the bytes in memory begin.
    tail_at: u64,
    tail: Vec<u8>,
    /// The file of a body that has been given its name.
    complete: Option<File>,
    /// Whether the draft takes no more, because the disk refused it.
    broken: bool,
}

impl Spool {
    /// Bytes that have come.
    pub(crate) fn length(&self) -> u64 {
        self.tail_at + self.tail.len() as u64
    }

    /// Whether the body can be stored when it is complete.
    pub(crate) fn is_sound(&self) -> bool {
        self.draft.is_some() && !self.broken
    }

    /// All of the body is in this file now.
    pub(crate) fn keep(&mut self, file: File, length: u64) {
        self.complete = Some(file);
        self.tail_at = length;
    }

    pub(crate) fn append(&mut self, shared: &Shared, bytes: &[u8]) {
        if let Some(draft) = &mut self.draft
            && !self.broken
        {
            let room = !draft.is_short_of(bytes.len()) || shared.cache.lock().store.extend(draft);
            if room && draft.append(bytes).is_ok() {
                self.tail_at = draft.length;
                return;
            }
            // From here on it is passed through memory.
            self.broken = true;
        }
        self.tail.extend_from_slice(bytes);
    }

    /// Copies bytes from a position on; none if they have not come yet, or are gone.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if at < self.tail_at {
            let file = self
                .draft
                .as_ref()
                .map(|draft| &draft.file)
                .or(self.complete.as_ref());
            let file = file.ok_or(io::ErrorKind::NotFound)?;
            let count = buffer.len().min((self.tail_at - at) as usize);
            return file.read_at(&mut buffer[..count], at);
        }
        let rest = self
            .tail
            .get((at - self.tail_at) as usize..)
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    /// Drops from memory what every client has got.
    pub(crate) fn trim(&mut self, at: u64) {
        if at > self.tail_at {
            let count = ((at - self.tail_at) as usize).min(self.tail.len());
            self.tail.drain(..count);
            self.tail_at += count as u64;
        }
    }

    /// Whether the origin must wait.
    pub(crate) fn is_full(&self) -> bool {
        self.tail.len() >= TAIL_MAX
    }
}
