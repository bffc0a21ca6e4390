//! The lives of members: start, crash, clean leave, and the disk between them.

use std::time::Duration;

use bytes::Bytes;

use super::machine::{Process, daemon_name, member_id, members};
use super::{Happening, Phase, World};
use crate::config::{Config, Key, Start};
use crate::event::Class;
use crate::groups::Groups;
use crate::node::{State, Totem};
use crate::sim::faults::Fault;
use crate::sim::network::{Host, Packet};
use crate::sim::trace::{ProcessId, What};
use crate::view::{Incarnation, ViewMember};

/// What the wall clock of the hosts shows when the simulation begins, in seconds.
const WALL_CLOCK_SECONDS: u64 = 1_700_000_000;

impl World<'_> {
    /// A new life of a member, as it begins: what it starts with has to be given to its oracle
    /// only if it is to stay.
    fn new_life(&mut self, host: Host) -> (ViewMember, Totem) {
        let scenario = &self.scenario;
        let machine = &mut self.machines[host];
        machine.incarnation += self.lives.between(1, 1000);
        let member = ViewMember {
            id: machine.id,
            incarnation: Incarnation(machine.incarnation),
        };
        let config = Config {
            me: machine.id,
            members: members(&machine.order, &scenario.segments, machine.without),
            key: scenario.sealed.then_some(Key([7; 32])),
            timers: scenario.detection.timers(),
            datagram_bytes: scenario.datagram_bytes,
            receive_buffer_bytes: scenario.receive_buffer_bytes,
            submit_bytes_max: scenario.submit_bytes_max,
            compatibility: 1,
        };
        let start = Start {
            incarnation: member.incarnation,
            persisted_counter: machine.disk,
            clock_seconds: if scenario.has_clock {
                WALL_CLOCK_SECONDS + self.now.0 / 1_000_000_000
            } else {
                0
            },
            seed: self.lives.bits(),
        };
        let totem = Totem::new(config, start, machine.clock.local(self.now));
        (member, totem)
    }

    /// The order in which the next life of this host finds the hosts in its configuration.
    fn draw_order(&mut self, host: Host) {
        let mut order: Vec<Host> = (0..self.machines.len()).collect();
        if self.lives.chance(self.scenario.other_order) {
            self.lives.shuffle(&mut order);
            self.count(Fault::OtherOrder);
        }
        self.machines[host].order = order;
    }

    pub(super) fn start(&mut self, host: Host) {
        self.draw_order(host);
        let (member, totem) = self.new_life(host);
        let machine = &mut self.machines[host];
        let id = ProcessId(self.processes);
        self.processes += 1;
        let names =
            (0..self.scenario.segments.len()).map(|host| (member_id(host), daemon_name(host)));
        let groups = Groups::new(machine.id, names.collect());
        machine.process = Some(Process::new(id, totem, groups));
        machine.busy_until = self.now;
        let disk_lost = std::mem::take(&mut machine.disk_lost);
        if disk_lost {
            self.group_oracle.lose_disk(machine.id);
        }
        let order = machine.order.iter().map(|host| member_id(*host)).collect();
        let start = What::Start {
            member,
            order,
            disk_lost,
        };
        self.record(id, start);
        self.drain(host);
        self.schedule_clients(host);
    }

    /// A process under the name of another one says once that it is there. It is on another host,
    /// so nothing comes back to it; but what it sends goes by the links of the one whose name it
    /// has, which must not stand still, or all that is sent after it would be late.
    pub(super) fn start_twin(&mut self, host: Host) {
        let machine = &self.machines[host];
        if machine.process.is_none() || machine.busy_until > self.now {
            return;
        }
        self.count(Fault::Twin);
        let (_, mut twin) = self.new_life(host);
        while let Some(counter) = twin.poll_persist() {
            twin.persisted(counter);
        }
        twin.handle_timeout(self.machines[host].clock.local(self.now));
        let mut buffer = Vec::new();
        let mut hello = Bytes::new();
        while let Some(transmit) = twin.poll_transmit(&mut buffer) {
            self.transmit(host, &transmit, &buffer, twin.state());
            hello = Bytes::copy_from_slice(&buffer);
        }
        // The host that it takes its name from hears it as well.
        self.arrive(Packet {
            from: host,
            to: host,
            class: Class::Control,
            unicast: true,
            bytes: hello,
        });
    }

    /// A daemon reads a configuration without this host, or with all of them.
    pub(super) fn reconfigure(&mut self, host: Host, without: Option<Host>) {
        let machine = &mut self.machines[host];
        machine.without = without;
        let members = members(&machine.order, &self.scenario.segments, without);
        if machine.process.is_some() {
            self.count(Fault::Reconfigured);
        }
        self.input(host, |totem, now| totem.reconfigure(now, members));
    }

    /// Ends a process as `fault` says.
    pub(super) fn kill(&mut self, host: Host, fault: Fault) {
        let Some(process) = self.machines[host].process.take() else {
            return;
        };
        self.totals.faults.count(fault);
        self.tell(&format_args!(
            "{:>12.6} {fault:?} in {:?}",
            self.now.0 as f64 / 1e9,
            process.state
        ));
        self.group_oracle.end(process.id);
        self.record(process.id, What::Crash);
        self.close(host);
    }

    /// After the end of a process: what remains of its host.
    pub(super) fn close(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        machine.close_sockets();
        machine.refuses = self.fate.chance(self.scenario.refuses);
        // Without a clock, the ring counter on the disk is all there is.
        if self.phase == Phase::Storm && self.scenario.has_clock && self.fate.chance(0.1) {
            self.totals.faults.count(Fault::DiskLost);
            machine.disk = 0;
            machine.disk_lost = true;
        }
        if self.phase == Phase::Storm {
            let token_loss = self.scenario.detection.timers().token_loss;
            let delay = match self.fate.below(10) {
                0..4 => self.fate.span(Duration::ZERO, Duration::from_millis(5)),
                4..8 => self.fate.span(Duration::ZERO, token_loss * 3),
                _ => self.fate.span(Duration::ZERO, token_loss * 40),
            };
            self.schedule(self.now + delay, Happening::Start(host, self.era));
        }
    }

    pub(super) fn leave(&mut self, host: Host) {
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        process.leaving = true;
        self.input(host, |totem, now| totem.leave(now));
    }

    /// Sees when a recovery is interrupted, and kills who was to be killed in one.
    pub(super) fn note_state(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        let Some(process) = &mut machine.process else {
            return;
        };
        let was = std::mem::replace(&mut process.state, process.totem.state());
        let recovering = process.totem.recovering();
        let given_up = std::mem::replace(&mut process.recovering, recovering)
            .filter(|ring| Some(*ring) != recovering && *ring != process.totem.view().ring);
        if given_up.is_some_and(|ring| self.interrupted.insert(ring)) {
            self.totals.interrupted += 1;
        }
        if was == process.state {
            return;
        }
        let recovers = |state| matches!(state, State::Form | State::Recover);
        let (id, now) = (process.id, process.state);
        if now == State::Form {
            let mut arrivals = Vec::new();
            self.network.release_late(self.now, host, &mut arrivals);
            self.schedule_arrivals(arrivals);
        }
        let machine = &mut self.machines[host];
        if recovers(now) && machine.kill_in == Some(Fault::CrashInRecovery) {
            machine.kill_in = None;
            let token_loss = self.scenario.detection.timers().token_loss;
            let delay = self.fate.exponential(token_loss / 50);
            self.schedule(
                self.now + delay,
                Happening::Kill(host, id, Fault::CrashInRecovery),
            );
        }
        self.tell(&format_args!(
            "{:>12.6} p{:<3} {was:?} -> {now:?}",
            self.now.0 as f64 / 1e9,
            id.0
        ));
    }

    pub(super) fn persist(&mut self, host: Host, id: ProcessId, counter: u64) {
        let delay = self.fate.exponential(Duration::from_micros(500));
        if self.machines[host].kill_in == Some(Fault::CrashInPersist) {
            self.machines[host].kill_in = None;
            if self.fate.chance(0.5) {
                self.machines[host].disk = counter;
            }
            self.schedule(
                self.now + delay / 2,
                Happening::Kill(host, id, Fault::CrashInPersist),
            );
        }
        self.schedule(self.now + delay, Happening::Persisted(host, id, counter));
    }

    pub(super) fn persisted(&mut self, host: Host, id: ProcessId, counter: u64) {
        if self.machines[host].is(id) {
            self.machines[host].disk = counter;
            self.record(id, What::Persisted(counter));
            self.input(host, |totem, _| totem.persisted(counter));
        }
    }
}
