//! Requests and answers on imgcache's control socket: one JSON object per line, each way.
//!
//! Fields may be added; none changes its meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
pub use status::Failure;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Asks for a [`Status`].
    Status,
    /// Asks for a [`Show`] of a URL, or of a file below the root.
    Show {
        /// `http://SITE/PATH`, or a path of the file system.
        what: String,
    },
}

/// The cache at a glance. Counters run from the start of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The session's private group; none while the bus is away or not wanted.
    pub session: Option<String>,
    /// Whether purges may have been missed since.
    pub isolated: bool,
    /// The caches and other members of the group, as last told.
    pub members: Vec<String>,
    /// The number of the last purge.
    pub purge: u64,
    /// Connections of clients.
    pub connections: u64,
    /// Requests to origins under way.
    pub fetches: u64,
    /// Objects on disk that are known.
    pub objects: u64,
    /// Objects that are open, and in memory if they are small.
    pub open: u64,
    /// Bytes on disk, directories and what is reserved among them.
    pub used_bytes: u64,
    /// The most that they may be.
    pub size_bytes: u64,
    /// Whether all that was on disk at the start has been counted.
    pub counted: bool,
    /// Objects deleted to make room.
    pub evictions: u64,
    /// Lines of the access log that did not fit into its queue.
    pub log_lines_dropped: u64,
    /// Origins that are not well, as `SITE ADDRESS`.
    pub origins_down: Vec<String>,
    /// By the site's name.
    pub sites: BTreeMap<String, Site>,
    /// Since the start of the program.
    pub uptime_seconds: u64,
}

/// A site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Answered from the cache, without a word to the origin.
    pub hits: u64,
    /// Answered with the help of the origin.
    pub misses: u64,
    /// Bytes of bodies sent to clients.
    pub bytes: u64,
    /// Objects on disk that are known.
    pub objects: u64,
    /// Objects deleted to make room.
    pub evictions: u64,
}

/// An object, or where one would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Show {
    /// Its URL.
    pub url: String,
    /// Its file.
    pub file: String,
    /// `stored`, `purged`, `foreign` (the file is there, but not as the cache wrote it) or `absent`.
    pub state: String,
    /// The metadata, as text; none if there is none.
    pub metadata: Option<String>,
}

/// What is answered to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Show`].
    Show(Show),
    /// To what could not be done.
    Failure(Failure),
}
