//! Clients that stop reading: they go on some time, or are disconnected.

use super::World;
use crate::groups::{GroupEvent, GroupName, SessionId};
use crate::sim::faults::Fault;
use crate::sim::network::Host;

/// What a frame holds beside its groups and its data.
const FRAME_BYTES: usize = 48;

impl World<'_> {
    /// A client stops reading, or goes on and takes what waits for it.
    pub(super) fn stall(&mut self, host: Host) {
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let at = self.clients.index(process.clients.len());
        let client = &mut process.clients[at];
        client.stalled = !client.stalled;
        client.unread = 0;
        if client.stalled {
            self.count(Fault::Stall);
        }
    }

    /// Notes what waits for the clients of this host that do not read.
    pub(super) fn leave_unread(&mut self, host: Host, events: &[GroupEvent]) {
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let stalled = process.clients.iter_mut().filter(|client| client.stalled);
        for client in stalled {
            let own = events
                .iter()
                .filter(|event| receivers(event).contains(&client.session));
            client.unread += own.map(frame_bytes).sum::<usize>();
        }
    }

    /// Disconnects a client for which too much waits; whether there was one.
    pub(super) fn throw_out(&mut self, host: Host) -> bool {
        let most = self.scenario.load.unread_bytes_max;
        if let Some(process) = &self.machines[host].process
            && let Some(at) = process
                .clients
                .iter()
                .position(|client| client.unread > most)
        {
            self.count(Fault::ThrownOut);
            self.end_session(host, at);
            return true;
        }
        false
    }
}

fn receivers(event: &GroupEvent) -> &[SessionId] {
    match event {
        GroupEvent::Message { to, .. }
        | GroupEvent::Membership { to, .. }
        | GroupEvent::Transition { to, .. } => to,
        GroupEvent::SelfLeave { to, .. } => std::slice::from_ref(to),
    }
}

/// About what an event is on a client's socket.
fn frame_bytes(event: &GroupEvent) -> usize {
    let (names, data) = match event {
        GroupEvent::Message {
            destinations,
            payload,
            ..
        } => (destinations.len(), payload.len()),
        GroupEvent::Membership { membership, .. } => (membership.members.len(), 0),
        GroupEvent::Transition { .. } | GroupEvent::SelfLeave { .. } => (1, 0),
    };
    FRAME_BYTES + names * GroupName::BYTES + data
}
