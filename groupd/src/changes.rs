//! Joins and leaves of sessions that change groups faster than the members can be told.
//!
//! A join of 80 bytes makes a membership of 48 kB for each member of a group of 1500: a session
//! that joins and leaves in a loop would have all of them thrown out as slow. So a session pays for
//! its changes: the next one waits, at its place among the session's requests, until what the last
//! one made would be written at [`BYTES_PER_SECOND`]. Other sessions do not wait.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use group::wire::{Frame, Request};
use totem::groups::SessionId;
use totem::time::Time;

/// Memberships that one session may cause.
const BYTES_PER_SECOND: u64 = 64 << 20;
/// No change waits longer.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Who has to wait, and with what.
#[derive(Default)]
pub(crate) struct Changes {
    /// When sessions may change groups again. Bound: the table of sessions.
    free_at: HashMap<SessionId, Time>,
    /// Requests that wait, by their time; one of a session at most.
    held: BTreeMap<(Time, SessionId), (Request, Frame)>,
}

impl Changes {
    /// Charges a session for what its change makes the daemons write.
    pub(crate) fn charge(&mut self, now: Time, id: SessionId, bytes: u64) {
        let pause = Duration::from_nanos(bytes.saturating_mul(1_000_000_000 / BYTES_PER_SECOND));
        let pause = pause.min(PAUSE_MAX);
        // What is shorter than a turn of the loop is not worth an entry.
        if pause >= Duration::from_millis(1) {
            self.free_at.insert(id, now + pause);
        }
    }

    /// Holds a request back if it is a change and its session has to wait; gives it back if not.
    pub(crate) fn hold(
        &mut self,
        now: Time,
        id: SessionId,
        request: Request,
        frame: Frame,
    ) -> Option<(Request, Frame)> {
        if matches!(request, Request::Join | Request::Leave)
            && let Some(&at) = self.free_at.get(&id)
        {
            if now < at {
                self.held.insert((at, id), (request, frame));
                return None;
            }
            self.free_at.remove(&id);
        }
        Some((request, frame))
    }

    /// Whether a request of this session waits: nothing of it comes before that.
    pub(crate) fn is_held(&self, id: SessionId) -> bool {
        self.free_at
            .get(&id)
            .is_some_and(|&at| self.held.contains_key(&(at, id)))
    }

    /// Takes a request whose time has come.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<(SessionId, Request, Frame)> {
        let first = self.held.first_entry()?;
        let (at, id) = *first.key();
        if now < at {
            return None;
        }
        let (request, frame) = first.remove();
        self.free_at.remove(&id);
        Some((id, request, frame))
    }

    /// When [`take_due`](Self::take_due) has something to give.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.held.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The session is gone.
    pub(crate) fn forget(&mut self, id: SessionId) {
        if let Some(at) = self.free_at.remove(&id) {
            self.held.remove(&(at, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use group::wire::{FrameDecoder, Limits};
    use group::{Delivery, Service};

    use super::*;

    const ID: SessionId = SessionId(7);

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    /// Some request: what it is does not matter here.
    fn frame() -> Frame {
        let mut decoder = FrameDecoder::for_requests(Limits::DAEMON);
        let mut header = [0; group::wire::HEADER_LENGTH];
        header[..4].copy_from_slice(&0x8001_0080_u32.to_le_bytes());
        header[40..44].copy_from_slice(&0x8000_0080_u32.to_le_bytes());
        decoder.feed(&header);
        decoder.next_frame().unwrap().unwrap()
    }

    #[test]
    fn a_change_waits_for_what_the_last_one_made_and_messages_do_not() {
        let mut changes = Changes::default();
        changes.charge(at(0), ID, 64 << 20);
        let message = Request::Multicast(Delivery::from(Service::Agreed));
        assert!(changes.hold(at(1), ID, message, frame()).is_some());
        assert!(
            changes
                .hold(at(1), SessionId(8), Request::Join, frame())
                .is_some()
        );
        assert!(changes.hold(at(1), ID, Request::Leave, frame()).is_none());
        assert!(changes.is_held(ID));
        let due = changes.poll_timeout().unwrap();
        assert!((at(900)..at(1001)).contains(&due), "{due:?}");
        assert!(changes.take_due(at(800)).is_none());
        let (id, request, _) = changes.take_due(due).unwrap();
        assert_eq!((id, request), (ID, Request::Leave));
        assert!(!changes.is_held(ID) && changes.poll_timeout().is_none());
        assert!(changes.hold(due, ID, Request::Join, frame()).is_some());
    }

    #[test]
    fn small_groups_cost_nothing_and_no_group_costs_more_than_five_seconds() {
        let mut changes = Changes::default();
        changes.charge(at(0), ID, 3200);
        assert!(changes.hold(at(0), ID, Request::Join, frame()).is_some());
        changes.charge(at(0), ID, u64::MAX);
        assert!(changes.hold(at(0), ID, Request::Join, frame()).is_none());
        assert_eq!(changes.poll_timeout(), Some(at(5000)));
        changes.forget(ID);
        assert!(!changes.is_held(ID) && changes.take_due(at(9000)).is_none());
    }
}
