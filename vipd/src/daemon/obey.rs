//! From the bus to the decisions, and from the decisions to the kernel.

use std::time::Instant;

use group::Event;
use unixproc::log;
use vipd::history::Entry;
use vipd::neighbours;
use vipd::netlink::LinkAddress;
use vipd::takeover::{Cause, Command, Movement, Reason, View};

use super::links::resolve;
use super::{Daemon, STOP_TIMEOUT, unix_milliseconds};
use crate::bus::Received;

impl Daemon {
    pub(super) fn handle_received(&mut self, received: Received, now: Instant) {
        match received {
            Received::Lost => self.takeover.handle_bus_lost(now),
            Received::Event(Event::Membership(membership)) => {
                let own = self.bus.own_name();
                let me = membership
                    .members
                    .iter()
                    .position(|&member| Some(member) == own);
                let Some(me) = me.filter(|_| membership.group == self.config.group.name()) else {
                    return;
                };
                let fields: log::Fields = &[
                    ("members", &membership.members.len()),
                    ("cause", &membership.cause.as_str()),
                ];
                log::notice("view", fields);
                let members = membership.members.iter().map(ToString::to_string).collect();
                self.takeover.handle_view(now, View { members, me });
                self.share_neighbours();
            }
            Received::Event(Event::Transition { .. }) => self.takeover.handle_transition(),
            Received::Event(Event::Message(message)) => {
                if message.mess_type == neighbours::MESSAGE_TYPE {
                    self.wires.take_neighbours(&message.data, now);
                    return;
                }
                let sender = message.sender.to_string();
                self.takeover.handle_message(now, &sender, &message.data);
            }
            Received::Event(Event::SelfLeave { .. } | Event::Refused { .. }) => {}
        }
    }

    /// Does what the decisions ask for.
    pub(super) fn obey(&mut self, now: Instant) {
        let mut adds = Vec::new();
        loop {
            let command = self.takeover.poll_command();
            if let Some(Command::Add(set, reason)) = command {
                adds.push((set, reason));
                continue;
            }
            // All that are asked for in a row go into the kernel at once.
            let added = self.add(&std::mem::take(&mut adds));
            match command {
                None if !added => break,
                Some(command) => self.obey_one(command, now),
                None => {}
            }
        }
        while let Some(movement) = self.takeover.poll_movement() {
            self.note_movement(movement);
        }
        self.write_page();
    }

    fn obey_one(&mut self, command: Command, now: Instant) {
        match command {
            Command::Send(data) => {
                if !self.bus.send(&data) {
                    self.takeover.handle_bus_lost(now);
                }
            }
            Command::Add(..) => unreachable!("taken together in obey"),
            Command::Remove(set, reason) => {
                self.remove(set, reason);
                self.takeover.handle_removed(set);
            }
            Command::Announce(set) => {
                self.schedule.begin(set, now);
                // The neighbours come before the next set.
                self.announce_due(now);
                self.begin_notify(set, now);
            }
            Command::Probe(set) => self.probe(set, now),
            Command::Reconnect => self.bus.drop_session(),
            Command::Refuse(name) => {
                let error = "another host has this node name; set Node in one of the files";
                log::error("name-refused", &[("node", &name), ("error", &error)]);
                self.refused = true;
                self.stop_by = Some(now + STOP_TIMEOUT);
            }
        }
    }

    /// The guardian knows of what is on its way into the kernel before it is there.
    pub(super) fn write_page(&mut self) {
        let session = self.bus.own_name().map(|name| name.to_string());
        let config = self.takeover.config();
        self.ward.write(session, config, self.takeover.holds());
    }

    /// Adds sets, of each all addresses or none; gives whether there were any.
    fn add(&mut self, adds: &[(usize, Reason)]) -> bool {
        if adds.is_empty() {
            return false;
        }
        self.write_page();
        let mut wanted: Vec<Vec<LinkAddress>> = Vec::new();
        let mut whole = Vec::new();
        for &(set, _) in adds {
            let addresses = resolve(&self.config.sets[set], &self.links);
            whole.push(addresses.is_some());
            wanted.push(addresses.unwrap_or_default());
        }
        let results = self.kernel.add(&wanted);
        if self.ward.is_fenced() {
            // The guardian has purged between, and the others go on without this host.
            let all: Vec<LinkAddress> = wanted.iter().flatten().copied().collect();
            if let Err(error) = self.kernel.remove(&all) {
                log::error("release-failed", &[("error", &error)]);
            }
        }
        let done = adds.iter().zip(whole).zip(wanted.into_iter().zip(results));
        for ((&(set, reason), whole), (addresses, result)) in done {
            let name = self.config.sets[set].name();
            let error = match (whole, result) {
                (true, Ok(())) => {
                    log::notice("acquired", &[("set", &name), ("reason", &reason.as_str())]);
                    self.held.insert(set, addresses);
                    self.totals.acquired += 1;
                    self.hook(set, true, reason);
                    self.takeover.handle_added(set, true);
                    continue;
                }
                (true, Err(error)) => error.to_string(),
                (false, _) => "no such interface".to_owned(),
            };
            log::warning("acquire-failed", &[("set", &name), ("error", &error)]);
            self.note("acquire-failed", Some(set), None, &error);
            self.takeover.handle_added(set, false);
        }
        true
    }

    fn remove(&mut self, set: usize, reason: Reason) {
        self.schedule.end(set);
        self.wires.end_notify(set);
        self.removals.released(set);
        let name = self.config.sets[set].name();
        let addresses = self.held.remove(&set).unwrap_or_default();
        if let Err(error) = self.kernel.remove(&addresses) {
            // It lasts no longer than its lifetime now.
            log::error("release-failed", &[("set", &name), ("error", &error)]);
        }
        log::notice("released", &[("set", &name), ("reason", &reason.as_str())]);
        self.totals.released += 1;
        self.hook(set, false, reason);
    }

    fn note_movement(&mut self, movement: Movement) {
        let cause = match movement.detail.as_str() {
            "" => movement.cause.as_str().to_owned(),
            detail => format!("{}: {detail}", movement.cause.as_str()),
        };
        if movement.cause == Cause::Merged {
            self.totals.merged += 1;
        }
        self.totals.moved += 1;
        self.history.add(Entry {
            number: 0,
            at: unix_milliseconds(),
            event: "moved".to_owned(),
            set: Some(self.config.sets[movement.set].name()),
            from: movement.from,
            to: movement.to,
            cause,
        });
    }
}
