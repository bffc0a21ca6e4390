//! The loop of a process, as the driver of a real one has it: packets and timers in, outputs out.

use std::time::Duration;

use super::machine::address;
use super::{Happening, Phase, World};
use crate::event::{Event, Notice};
use crate::node::Totem;
use crate::sim::faults::Fault;
use crate::sim::network::{Host, Outcome};
use crate::sim::trace::What;
use crate::time::Time;

/// A datagram waits behind so many others before a timer that is due goes first.
const PACKETS_BEFORE_TIMER: u32 = 32;

impl World<'_> {
    /// Gives a living process an input, and takes its outputs.
    pub(super) fn input(&mut self, host: Host, give: impl FnOnce(&mut Totem, Time)) {
        let machine = &mut self.machines[host];
        let Some(process) = &mut machine.process else {
            return;
        };
        give(&mut process.totem, machine.clock.local(self.now));
        self.drain(host);
    }

    pub(super) fn drain(&mut self, host: Host) {
        while self.drain_once(host) {}
        self.check_bounds(host);
        self.check_stable(host);
        self.note_state(host);
        self.arm_timer(host);
    }

    /// Takes all outputs that are there; whether there were any.
    fn drain_once(&mut self, host: Host) -> bool {
        let mut progress = false;
        if let Some(process) = &mut self.machines[host].process
            && let Some(counter) = process.totem.poll_persist()
        {
            let id = process.id;
            self.persist(host, id, counter);
            progress = true;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(process) = &mut self.machines[host].process
            && let Some(transmit) = process.totem.poll_transmit(&mut buffer)
        {
            progress = true;
            let state = process.totem.state();
            match self.transmit(host, &transmit, &buffer, state) {
                Outcome::Sent => {}
                Outcome::KillSender => self.kill(host, Fault::CrashAfterSend),
                Outcome::Isolate(host) => self.isolate_for_long(host),
            }
        }
        self.buffer = buffer;
        while let Some(process) = &mut self.machines[host].process
            && let Some(event) = process.totem.poll_event()
        {
            progress = true;
            self.event(host, event);
        }
        progress
    }

    pub(super) fn event(&mut self, host: Host, event: Event) {
        let Some(process) = &self.machines[host].process else {
            return;
        };
        let id = process.id;
        match event {
            Event::Deliver(delivery) => self.deliver(host, id, delivery),
            Event::Transitional(transition) => self.transitional(host, id, transition),
            Event::Regular(view) => {
                self.totals.installs += 1;
                self.regular(host, id, view);
                if self.phase == Phase::Settle {
                    self.together_since = Some(self.now);
                }
            }
            Event::Left => {
                self.totals.faults.count(Fault::Leave);
                self.group_oracle.end(id);
                self.record(id, What::Left);
                self.machines[host].process = None;
                self.close(host);
            }
            Event::Notice(notice) => {
                self.tell(&format_args!(
                    "{:>12.6} p{:<3} {notice:?}",
                    self.now.0 as f64 / 1e9,
                    id.0
                ));
                // As groupd does: the older of two with one name gives way.
                if let Notice::DuplicateMember { ours_is_newer, .. } = notice
                    && !ours_is_newer
                {
                    self.kill(host, Fault::GaveWay);
                }
            }
        }
    }

    /// The process looks at its sockets and timers, at once or when it is no more busy.
    pub(super) fn wake_when_free(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        let at = machine.busy_until;
        if at <= self.now {
            self.wake(host);
        } else if machine.wake_at.is_none_or(|wake_at| at < wake_at) {
            machine.wake_at = Some(at);
            self.schedule(at, Happening::Wake(host));
        }
    }

    /// The process takes a datagram, or its timers if they have waited long enough.
    pub(super) fn wake(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        machine.wake_at = None;
        if machine.process.is_none() {
            return;
        }
        let timer_first = machine.timer_due && machine.packets_since_timer >= PACKETS_BEFORE_TIMER;
        machine.busy_until = self.now + self.scenario.service * machine.slowness;
        let packet = if timer_first { None } else { machine.read() };
        if let Some(packet) = packet {
            machine.packets_since_timer += 1;
            let from = address(packet.from, packet.class);
            self.input(host, |totem, now| {
                totem.handle_packet(now, from, &packet.bytes)
            });
        } else if machine.timer_due {
            machine.timer_due = false;
            machine.packets_since_timer = 0;
            self.input(host, Totem::handle_timeout);
        }
        let machine = &mut self.machines[host];
        if machine.process.is_some() && (machine.has_packets() || machine.timer_due) {
            self.wake_when_free(host);
        }
    }

    pub(super) fn timer(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        if machine.timer_at != Some(self.now) {
            return;
        }
        machine.timer_at = None;
        let Some(process) = &machine.process else {
            return;
        };
        let Some(deadline) = process.totem.poll_timeout() else {
            return;
        };
        if deadline > machine.clock.local(self.now) {
            self.arm_timer(host);
            return;
        }
        machine.timer_due = true;
        self.wake_when_free(host);
    }

    fn arm_timer(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        let Some(process) = &machine.process else {
            return;
        };
        let Some(deadline) = process.totem.poll_timeout() else {
            return;
        };
        if machine.timer_due {
            return;
        }
        let at = machine
            .clock
            .global(deadline)
            .max(self.now + Duration::from_nanos(1));
        if machine.timer_at.is_none_or(|armed| at < armed) {
            machine.timer_at = Some(at);
            self.schedule(at, Happening::Timer(host));
        }
    }
}
