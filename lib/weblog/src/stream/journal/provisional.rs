//! Entries that may yet be taken back.

use super::streams::Added;
use crate::stream::StreamId;

/// What an entry beyond the commit point has changed.
#[derive(Clone, Debug)]
pub(super) struct Provisional {
    pub(super) hash_before: u64,
    pub(super) bytes: u64,
    pub(super) change: Change,
}

/// What is to be undone when it is taken back.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Nothing,
    /// Of a stream these bytes were added; `given_up` of them without any.
    Range {
        stream: StreamId,
        start: u64,
        end: u64,
        given_up: u64,
        added: Added,
    },
    /// The ordered time was this before.
    Time(u64),
    Forgotten(String),
    Heard(String),
}
