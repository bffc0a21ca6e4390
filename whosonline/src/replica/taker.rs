//! A snapshot on its way to somebody: so many parts ahead, at such a pace.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use group::Name;

use super::PATIENCE;
use super::message::Message;
use crate::snapshot::PART_BYTES_MAX;

/// The share of the bus that one snapshot may take.
pub const BYTES_PER_SECOND: u64 = 16 << 20;

/// The pause between parts that makes [`BYTES_PER_SECOND`].
const PART_INTERVAL: Duration =
    Duration::from_nanos(1_000_000_000 * PART_BYTES_MAX as u64 / BYTES_PER_SECOND);

/// Parts on their way that the taker has not confirmed.
const PARTS_AHEAD: u32 = 4;

/// A copy of the table, as far as it is not sent yet.
#[derive(Debug)]
pub(super) struct Taker {
    pub(super) name: Name,
    pub(super) attempt: u32,
    parts: VecDeque<Vec<u8>>,
    sent: u32,
    confirmed: u32,
    next_at: Instant,
    /// When a taker that confirms nothing is given up.
    until: Instant,
}

impl Taker {
    pub(super) fn new(name: Name, attempt: u32, parts: VecDeque<Vec<u8>>, now: Instant) -> Taker {
        Taker {
            name,
            attempt,
            parts,
            sent: 0,
            confirmed: 0,
            next_at: now,
            until: now + PATIENCE,
        }
    }

    /// So many parts have come.
    pub(super) fn confirm(&mut self, parts: u32, now: Instant) {
        if parts > self.confirmed && parts <= self.sent {
            self.confirmed = parts;
            self.until = now + PATIENCE;
        }
    }

    /// The next part, if it may be sent now.
    pub(super) fn poll_part(&mut self, now: Instant) -> Option<Vec<u8>> {
        if !self.has_credit() || now < self.next_at {
            return None;
        }
        let bytes = self.parts.pop_front()?;
        let part = Message::Part {
            attempt: self.attempt,
            number: self.sent,
            last: self.parts.is_empty(),
            bytes: &bytes,
        };
        self.sent += 1;
        // After a pause it does not hurry.
        self.next_at = now + PART_INTERVAL;
        Some(part.encode())
    }

    /// Whether nothing is left to send, or nobody takes it.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.parts.is_empty() || self.until <= now
    }

    /// When something is due.
    pub(super) fn due_at(&self) -> Instant {
        match self.has_credit() {
            true => self.next_at.min(self.until),
            false => self.until,
        }
    }

    fn has_credit(&self) -> bool {
        self.sent - self.confirmed < PARTS_AHEAD
    }
}
