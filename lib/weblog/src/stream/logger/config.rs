//! What a logger is told about itself and the others.

use std::time::Duration;

/// Which loggers there have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// Any: each accepts what it hears; the order may differ.
    None,
    /// More than half of the list: the journals are prefixes of one sequence.
    Majority,
}

/// What a logger is told about itself and the others.
#[derive(Clone, Debug)]
pub struct LoggerConfig {
    /// Its name in the list; at most 64 bytes.
    pub name: String,
    /// The list, the same for all.
    pub loggers: Vec<String>,
    /// Which of them there have to be.
    pub quorum: Quorum,
    /// Group commit: entries wait so long for others to be synced with.
    pub sync_interval: Duration,
    /// With [`Quorum::Majority`], a logger that lacks more than this many bytes of the best
    /// journal is not waited for, if the others are enough.
    pub learn_bytes: u64,
    /// The share of the bus that catching up may have while live lines flow.
    pub catchup_percent: u64,
}
