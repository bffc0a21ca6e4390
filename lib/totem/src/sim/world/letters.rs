//! The messages that sessions send at random.

use bytes::{BufMut, Bytes, BytesMut};

use super::World;
use super::clients::NAMES;
use super::machine::daemon_name;
use crate::event::Service;
use crate::groups::{Attributes, GroupName, PrivateName};
use crate::sim::group_oracle::LetterId;
use crate::sim::network::Host;
use crate::sim::scenario::log_uniform;

/// Longest payload: with its identity and the envelope of the group layer it is a message of
/// Spread's longest length.
const PAYLOAD_BYTES_MAX: u64 = 143_952;

impl World<'_> {
    /// Many messages at once, as far as there is a session to send them.
    pub(super) fn burst(&mut self, host: Host) {
        for _ in 0..self.clients.between(2, 60) {
            let process = self.machines[host].process.as_ref();
            let can = process.is_some_and(|process| {
                process.groups.ready() && !process.leaving && !process.clients.is_empty()
            });
            if can && !self.is_full(host) {
                self.send(host);
            }
        }
        self.drain(host);
    }

    pub(super) fn send(&mut self, host: Host) {
        let destinations = self.some_destinations();
        let payload = self.some_payload();
        let self_discard = self.clients.chance(0.1);
        let service = self.some_service();
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let session = process.clients[self.clients.index(process.clients.len())].session;
        let attributes = Attributes::default();
        let message =
            process
                .groups
                .multicast(session, attributes, self_discard, &destinations, &payload);
        let id = process.id;
        let letter = LetterId::read(&payload).expect("begins with it");
        self.group_oracle
            .send(id, session, letter, &destinations, self_discard);
        self.submit(
            host,
            service,
            &message.expect("is connected, and it is not too long"),
        );
    }

    /// One group, or several, or a session that there may be.
    fn some_destinations(&mut self) -> Vec<GroupName> {
        if self.clients.chance(0.1) {
            let name = format!("c{}", self.clients.below(NAMES));
            let name = PrivateName::new(name.as_bytes()).expect("a letter and a digit");
            let host = self.clients.index(self.machines.len());
            return vec![GroupName::private(name, &daemon_name(host))];
        }
        let count = if self.clients.chance(0.1) {
            self.clients.between(2, 4)
        } else {
            1
        };
        (0..count).map(|_| self.some_group()).collect()
    }

    fn some_payload(&mut self) -> Bytes {
        let length = if self.clients.chance(self.scenario.load.long) {
            log_uniform(&mut self.clients, 300.0, PAYLOAD_BYTES_MAX as f64) as usize
        } else {
            self.clients.between(8, 300) as usize
        };
        self.letters += 1;
        let mut payload = BytesMut::with_capacity(length);
        payload.put_u64(self.letters);
        payload.resize(length, self.letters as u8);
        payload.freeze()
    }

    fn some_service(&mut self) -> Service {
        if self.clients.chance(self.scenario.load.safe) {
            return Service::Safe;
        }
        *self.clients.pick(&[
            Service::Agreed,
            Service::Agreed,
            Service::Causal,
            Service::Fifo,
            Service::Reliable,
        ])
    }
}
