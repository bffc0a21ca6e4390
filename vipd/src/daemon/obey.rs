//! From the bus to the decisions, and from the decisions to the kernel.

use std::io;
use std::time::Instant;

use group::{Event, Received};
use unixproc::log;
use vipd::history::Entry;
use vipd::neighbours;
use vipd::netlink::LinkAddress;
use vipd::takeover::{Cause, Command, Movement, Reason, View};

use super::links::resolve;
use super::{Daemon, STOP_TIMEOUT, unix_milliseconds};

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

    /// Carries out what is decided, and what follows from that.
    pub(super) fn act(&mut self, now: Instant) {
        while self.obey(now) | self.add_decided() {}
    }

    /// Does what the decisions ask for, but for adding; gives whether there was anything.
    pub(super) fn obey(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(command) = self.takeover.poll_command() {
            any = true;
            self.obey_one(command, now);
        }
        while let Some(movement) = self.takeover.poll_movement() {
            self.note_movement(movement);
        }
        any
    }

    fn obey_one(&mut self, command: Command, now: Instant) {
        match command {
            Command::Send(data) => {
                if !self.bus.send(&data) {
                    self.takeover.handle_bus_lost(now);
                }
            }
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

    /// Adds what is to be added now, of each set all addresses or none; gives whether there was
    /// anything.
    fn add_decided(&mut self) -> bool {
        let adds = self.takeover.begin_adds(Instant::now());
        if adds.is_empty() {
            return false;
        }
        self.write_page();
        let resolved: Vec<Option<Vec<LinkAddress>>> = adds
            .iter()
            .map(|&(set, _)| resolve(&self.config.sets[set], &self.links))
            .collect();
        let wanted: Vec<Vec<LinkAddress>> = resolved
            .iter()
            .cloned()
            .map(Option::unwrap_or_default)
            .collect();
        let ward = &self.ward;
        let results = match self.kernel.add_unless(&wanted, || ward.is_fenced()) {
            Ok(Some(results)) => results,
            // The guardian has purged, and the others go on: the next turn begins with that.
            Ok(None) => return false,
            Err(error) => {
                log::error("release-failed", &[("error", &error)]);
                return false;
            }
        };
        for ((&(set, reason), addresses), result) in adds.iter().zip(resolved).zip(results) {
            self.added(set, reason, addresses, result);
        }
        true
    }

    /// What has become of a set that was to be added; without addresses an interface is missing.
    fn added(
        &mut self,
        set: usize,
        reason: Reason,
        addresses: Option<Vec<LinkAddress>>,
        result: io::Result<()>,
    ) {
        let name = self.config.sets[set].name();
        let error = match (addresses, result) {
            (Some(addresses), Ok(())) => {
                log::notice("acquired", &[("set", &name), ("reason", &reason.as_str())]);
                self.held.insert(set, addresses);
                self.totals.acquired += 1;
                self.hook(set, true, reason);
                self.takeover.handle_added(set, true);
                return;
            }
            (Some(_), Err(error)) => error.to_string(),
            (None, _) => "no such interface".to_owned(),
        };
        log::warning("acquire-failed", &[("set", &name), ("error", &error)]);
        self.note("acquire-failed", Some(set), None, &error);
        self.takeover.handle_added(set, false);
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
