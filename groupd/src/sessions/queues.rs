//! What waits for sessions: queues that share their bytes, and the bounds of them.

use std::ops::Range;

use totem::groups::SessionId;
use totem::time::Time;
use unixproc::log;

use super::{Sessions, place};

/// Output of one turn before it is written.
const PAGE_BYTES: usize = 256 << 10;

impl Sessions {
    /// Queues a message for sessions: `encode` writes it, once.
    pub(crate) fn send(&mut self, to: &[SessionId], encode: impl FnOnce(&mut Vec<u8>)) {
        let message = self.page.append(encode);
        for &id in to {
            self.push(id, message.clone());
        }
        if self.page.len() >= PAGE_BYTES {
            self.flush();
        }
    }

    pub(super) fn send_bytes(&mut self, to: &[SessionId], bytes: &[u8]) {
        self.send(to, |page| page.extend_from_slice(bytes));
    }

    fn push(&mut self, id: SessionId, message: Range<usize>) {
        let Some(session) = self.get(id) else { return };
        let first = session.output.push(message);
        self.counters.delivered += 1;
        if first {
            self.touched.push(id);
        }
    }

    /// Ends the turn: writes what sockets take, and disconnects who reads too slowly.
    pub(crate) fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for id in touched.drain(..) {
            self.flush_one(id);
        }
        self.touched = touched;
        self.page.clear();
        while self.page.kept_bytes() > self.bounds.queue_bytes {
            let largest = self
                .table
                .iter()
                .max_by_key(|(_, (_, s))| s.output.queued_bytes());
            let Some((_, &(id, _))) = largest else { break };
            self.counters.evicted += 1;
            self.close_slow(id, "all-queues-full");
        }
    }

    fn flush_one(&mut self, id: SessionId) {
        let Some((_, session)) = self
            .table
            .get_mut(place(id))
            .filter(|(there, _)| *there == id)
        else {
            return;
        };
        let before = session.output.queued_bytes();
        let result = session.output.flush(&mut session.stream, &mut self.page);
        let after = session.output.queued_bytes();
        self.queued_bytes = self.queued_bytes + after - before;
        if result.is_err() {
            // What it has sent before it went may still be read: the end of its input ends it.
            session.output.give_up();
            self.queued_bytes -= after;
            session.mark_readable(true);
            self.enter_line(id);
        } else if after > self.bounds.session_queue_bytes {
            self.counters.slow += 1;
            self.close_slow(id, "queue-full");
        } else if after > self.bounds.session_queue_bytes / 2 {
            self.laggards.insert(id);
        }
    }

    /// Whether a session lags behind for which the ring should wait.
    pub(crate) fn is_congested(&mut self, now: Time) -> bool {
        let (table, low) = (&self.table, self.bounds.session_queue_bytes / 8);
        self.laggards.is_worth_waiting(now, |id| {
            let (_, session) = table.get(place(id)).filter(|(there, _)| *there == id)?;
            (session.output.queued_bytes() > low).then(|| session.output.written_bytes())
        })
    }

    fn close_slow(&mut self, id: SessionId, reason: &str) {
        if let Some(session) = self.get(id) {
            let name = session.private_group();
            let queued = session.output.queued_bytes();
            log::warning(
                "slow-session",
                &[
                    ("session", &name),
                    ("reason", &reason),
                    ("queued-bytes", &queued),
                ],
            );
        }
        self.close(id, "slow", None);
    }
}
