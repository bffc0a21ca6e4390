//! The sessions of a simulated daemon, and what they do at random.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

use super::machine::daemon_name;
use super::{Happening, Phase, World};
use crate::event::Service;
use crate::groups::{Attributes, GroupName, PrivateName, SessionId};
use crate::sim::group_oracle::LetterId;
use crate::sim::network::Host;
use crate::sim::scenario::log_uniform;

/// A session, as its client sees it.
pub(super) struct Client {
    pub(super) session: SessionId,
    pub(super) private: GroupName,
    /// Groups that it has asked to be in.
    pub(super) groups: BTreeSet<GroupName>,
}

/// Longest payload: with its identity and the envelope of the group layer it is a message of
/// Spread's longest length.
const PAYLOAD_BYTES_MAX: u64 = 143_952;
/// Private names that the sessions of a daemon use; a few, so that they are used again.
const NAMES: u64 = 6;

impl World<'_> {
    /// All sessions act again from now on.
    pub(super) fn wake_clients(&mut self) {
        for host in 0..self.machines.len() {
            self.schedule_clients(host);
        }
    }

    pub(super) fn schedule_clients(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        let Some(process) = machine.process.as_ref().filter(|_| !machine.clients_wake) else {
            return;
        };
        machine.clients_wake = true;
        let id = process.id;
        let load = &self.scenario.load;
        let mean = if self.phase == Phase::Storm {
            load.gap
        } else {
            load.gap * load.calm_factor
        };
        let gap = self.clients.exponential(mean);
        self.schedule(self.now + gap, Happening::Clients(host, id));
    }

    /// A session of this daemon does something.
    pub(super) fn act(&mut self, host: Host) {
        self.machines[host].clients_wake = false;
        if self.phase == Phase::Drain {
            return;
        }
        let Some(process) = &self.machines[host].process else {
            return;
        };
        let can_submit = process.groups.ready() && !process.leaving && !self.is_full(host);
        if can_submit {
            let count = process.clients.len();
            match self.clients.below(100) {
                _ if count == 0 => self.connect(host),
                0..10 if count < self.scenario.load.sessions_max => self.connect(host),
                0..3 => self.disconnect(host),
                3..15 => self.join(host),
                15..22 => self.leave_group(host),
                _ if self.clients.chance(self.scenario.load.burst) => self.burst(host),
                _ => self.send(host),
            }
            self.drain(host);
        }
        self.schedule_clients(host);
    }

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

    fn is_full(&self, host: Host) -> bool {
        let process = self.machines[host].process.as_ref();
        process
            .is_some_and(|process| process.totem.queued_bytes() >= self.scenario.submit_bytes_max)
    }

    fn connect(&mut self, host: Host) {
        let name = format!("c{}", self.clients.below(NAMES));
        let name = PrivateName::new(name.as_bytes()).expect("a letter and a digit");
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let session = SessionId(process.sessions);
        // A name may be taken still: then nobody connects.
        if process.groups.connect(session, name, true).is_ok() {
            process.sessions += 1;
            let private = process
                .groups
                .private_group(session)
                .expect("just connected");
            process.clients.push(Client {
                session,
                private,
                groups: BTreeSet::new(),
            });
            let id = process.id;
            self.group_oracle.connect(id, session, private);
            self.tell_now(&format_args!("p{:<3} {private} connects", id.0));
        }
    }

    fn disconnect(&mut self, host: Host) {
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let client = process
            .clients
            .swap_remove(self.clients.index(process.clients.len()));
        let id = process.id;
        let kill = process
            .groups
            .disconnect(client.session)
            .expect("is connected");
        self.group_oracle.disconnect(id, client.session);
        self.tell_now(&format_args!("p{:<3} {} disconnects", id.0, client.private));
        self.submit(host, Service::Agreed, &kill);
    }

    fn join(&mut self, host: Host) {
        let group = self.some_group();
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let at = self.clients.index(process.clients.len());
        let client = &mut process.clients[at];
        client.groups.insert(group);
        let (id, private) = (process.id, client.private);
        let join = process
            .groups
            .join(client.session, group)
            .ok()
            .flatten()
            .expect("is connected, the name is good, and there is room");
        self.tell_now(&format_args!("p{:<3} {private} joins {group}", id.0));
        self.submit(host, Service::Agreed, &join);
    }

    fn leave_group(&mut self, host: Host) {
        let group = self.some_group();
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let at = self.clients.index(process.clients.len());
        let client = &mut process.clients[at];
        client.groups.remove(&group);
        let (id, private) = (process.id, client.private);
        let leave = process
            .groups
            .leave(client.session, group)
            .expect("is connected, and the name is good");
        self.tell_now(&format_args!("p{:<3} {private} leaves {group}", id.0));
        self.submit(host, Service::Agreed, &leave);
    }

    fn send(&mut self, host: Host) {
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

    fn some_group(&mut self) -> GroupName {
        let name = format!("g{}", self.clients.index(self.scenario.load.groups_max));
        GroupName::new(name.as_bytes()).expect("a letter and a digit")
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

    fn tell_now(&mut self, line: &dyn std::fmt::Display) {
        let at = self.now.0 as f64 / 1e9;
        self.tell(&format_args!("{at:>12.6} {line}"));
    }
}
