//! The sessions of a simulated daemon, and what they do at random.

use std::collections::BTreeSet;

use super::{Happening, Phase, World};
use crate::event::Service;
use crate::groups::{GroupName, PrivateName, SessionId};
use crate::sim::faults::Fault;
use crate::sim::network::Host;

/// A session, as its client sees it.
pub(super) struct Client {
    pub(super) session: SessionId,
    pub(super) private: GroupName,
    /// Groups that it has asked to be in.
    pub(super) groups: BTreeSet<GroupName>,
    /// It does not read; so many bytes wait for it.
    pub(super) stalled: bool,
    pub(super) unread: usize,
}

/// Private names that the sessions of a daemon use; a few, so that they are used again.
pub(super) const NAMES: u64 = 6;
/// Of this many groups it is worth a count when a session in them ends.
const MANY_GROUPS: usize = 20;

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
                _ if self.throw_out(host) => {}
                _ if count == 0 => self.connect(host),
                0..10 if count < self.scenario.load.sessions_max => self.connect(host),
                0..3 => self.disconnect(host),
                3..15 => {
                    let group = self.some_group();
                    self.join(host, &[group]);
                }
                15..22 => self.leave_group(host),
                22..24 => self.stall(host),
                24..26 => self.connect_again(host),
                26..28 if self.scenario.load.many_groups > 0 => self.join_many(host),
                _ if self.clients.chance(self.scenario.load.burst) => self.burst(host),
                _ => self.send(host),
            }
            self.drain(host);
        }
        self.schedule_clients(host);
    }

    pub(super) fn is_full(&self, host: Host) -> bool {
        let process = self.machines[host].process.as_ref();
        process
            .is_some_and(|process| process.totem.queued_bytes() >= self.scenario.submit_bytes_max)
    }

    fn connect(&mut self, host: Host) {
        let name = format!("c{}", self.clients.below(NAMES));
        let name = PrivateName::new(name.as_bytes()).expect("a letter and a digit");
        // A name may be taken still: then nobody connects.
        self.connect_as(host, name);
    }

    /// Connects a session of this name if that is free; whether it was.
    fn connect_as(&mut self, host: Host, name: PrivateName) -> bool {
        let aware = self.clients.chance(0.7);
        let Some(process) = &mut self.machines[host].process else {
            return false;
        };
        let session = SessionId(process.sessions);
        if process.groups.connect(session, name, aware).is_err() {
            return false;
        }
        process.sessions += 1;
        let private = process
            .groups
            .private_group(session)
            .expect("just connected");
        process.clients.push(Client {
            session,
            private,
            groups: BTreeSet::new(),
            stalled: false,
            unread: 0,
        });
        let id = process.id;
        self.group_oracle.connect(id, session, private, aware);
        if !aware {
            self.count(Fault::Unaware);
        }
        self.tell_now(&format_args!(
            "p{:<3} {private} connects, aware: {aware}",
            id.0
        ));
        true
    }

    fn disconnect(&mut self, host: Host) {
        let at = self.some_client(host);
        self.end_session(host, at);
    }

    /// Ends a session; its name, unless there is no such session.
    pub(super) fn end_session(&mut self, host: Host, at: usize) -> Option<PrivateName> {
        let process = self.machines[host].process.as_mut()?;
        let client = process.clients.swap_remove(at);
        let id = process.id;
        let kill = process
            .groups
            .disconnect(client.session)
            .expect("is connected");
        self.group_oracle.disconnect(id, client.session);
        if client.groups.len() >= MANY_GROUPS {
            self.count(Fault::EndOfMany);
        }
        self.tell_now(&format_args!("p{:<3} {} disconnects", id.0, client.private));
        self.submit(host, Service::Agreed, &kill);
        client.private.parse_private().map(|(name, _)| name)
    }

    /// Ends a session whose name another one takes as soon as that is free.
    fn connect_again(&mut self, host: Host) {
        let at = self.some_client(host);
        let name = self.end_session(host, at);
        if let (Some(name), Some(process)) = (name, &mut self.machines[host].process) {
            process.awaited.push(name);
        }
    }

    /// After a delivery: the end of a session whose name is awaited may have been ordered.
    pub(super) fn connect_awaited(&mut self, host: Host) {
        let process = self.machines[host].process.as_mut();
        let awaited = process.map(|process| std::mem::take(&mut process.awaited));
        for name in awaited.unwrap_or_default() {
            if self.connect_as(host, name) {
                self.count(Fault::NameTakenAgain);
            } else if let Some(process) = &mut self.machines[host].process {
                process.awaited.push(name);
            }
        }
    }

    fn some_client(&mut self, host: Host) -> usize {
        let process = self.machines[host].process.as_ref();
        self.clients
            .index(process.map_or(1, |process| process.clients.len()))
    }

    /// A session joins groups, as many of them as the ring's queue takes.
    fn join(&mut self, host: Host, groups: &[GroupName]) {
        let at = self.some_client(host);
        for &group in groups {
            if self.is_full(host) {
                return;
            }
            let Some(process) = &mut self.machines[host].process else {
                return;
            };
            let client = &mut process.clients[at];
            client.groups.insert(group);
            let (id, session, private) = (process.id, client.session, client.private);
            let join = process
                .groups
                .join(session, group)
                .ok()
                .flatten()
                .expect("is connected, the name is good, and there is room");
            self.group_oracle.join(id, session, group);
            self.tell_now(&format_args!("p{:<3} {private} joins {group}", id.0));
            self.submit(host, Service::Agreed, &join);
        }
    }

    /// A session joins many groups at once.
    fn join_many(&mut self, host: Host) {
        let count = self.scenario.load.many_groups;
        let groups: Vec<GroupName> = (0..count).map(one_of_many).collect();
        self.join(host, &groups);
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

    pub(super) fn some_group(&mut self) -> GroupName {
        let many = self.scenario.load.many_groups;
        if many > 0 && self.clients.chance(0.1) {
            return one_of_many(self.clients.index(many));
        }
        let name = format!("g{}", self.clients.index(self.scenario.load.groups_max));
        GroupName::new(name.as_bytes()).expect("a letter and a digit")
    }

    pub(super) fn tell_now(&mut self, line: &dyn std::fmt::Display) {
        let at = self.now.0 as f64 / 1e9;
        self.tell(&format_args!("{at:>12.6} {line}"));
    }
}

/// The groups that a session joins at once.
fn one_of_many(number: usize) -> GroupName {
    GroupName::new(format!("many-{number}").as_bytes()).expect("a letter and more")
}
