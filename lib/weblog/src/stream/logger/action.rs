//! What a logger wants done.

use bytes::Bytes;

use crate::stream::SessionName;

/// What a logger wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggerAction {
    /// A segment begins: the journal's file goes on in a file of its own, and can be cut before it
    /// later.
    Segment,
    /// Append to the journal's file.
    Append(Bytes),
    /// Sync the journal's file, and call [`handle_synced`](super::Logger::handle_synced).
    Sync,
    /// The entries up to this position are to be in the output files.
    Committed(u64),
    /// Multicast to the control group, agreed.
    Control(Bytes),
    /// Multicast to a logger's private group, agreed.
    Send {
        /// Whose.
        to: SessionName,
        /// What.
        data: Bytes,
    },
    /// Read the journal's file there, and call [`handle_read`](super::Logger::handle_read).
    Read {
        /// For whom.
        to: SessionName,
        /// Where.
        at: u64,
        /// How many bytes.
        length: usize,
    },
    /// Write these bytes to the file of what is kept while this logger catches up, which is not
    /// synced, and of no use to the next process; where the disk is full, call
    /// [`handle_kept_lost`](super::Logger::handle_kept_lost).
    Keep {
        /// Where.
        at: u64,
        /// What.
        data: Bytes,
    },
    /// Read that file there, and call [`handle_kept_read`](super::Logger::handle_kept_read).
    ReadKept {
        /// Where.
        at: u64,
        /// How many bytes.
        length: usize,
    },
    /// Empty that file.
    DropKept,
}
