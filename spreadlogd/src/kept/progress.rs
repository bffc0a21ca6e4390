//! How far the thread is that writes the output files.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the writer's thread tells of itself.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Entries that are in the files, and those that are there after a crash too.
    pub(super) position: AtomicU64,
    pub(super) checkpoint: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    /// Nobody reads stdout any more.
    pub(super) nobody_reads: AtomicBool,
    /// The journal could not be read.
    pub(super) failed: AtomicBool,
}

impl Progress {
    /// How many entries are in the files, commands and stdout not counted.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// How many of them are there after a crash, too: the journal is not needed before.
    pub(crate) fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Ordering::Relaxed)
    }

    /// Bytes written since the start.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Whether stdout has lost its reader.
    pub(crate) fn nobody_reads(&self) -> bool {
        self.nobody_reads.load(Ordering::Relaxed)
    }

    /// Whether the thread has ended because the journal cannot be read.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}
