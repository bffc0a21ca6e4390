//! Storms: what befalls the cluster while one lasts, and how each fault ends.

use std::time::Duration;

use super::{Happening, Phase, World};
use crate::event::Class;
use crate::node::State;
use crate::sim::faults::Fault;
use crate::sim::network::{Act, Ambush, Host};
use crate::sim::scenario::Strike;

/// What ends a fault.
#[derive(Debug)]
pub(super) enum Relief {
    /// These links are joined again.
    Join(Vec<(Host, Host)>),
    /// These links flow again.
    Unclog(Vec<(Host, Host)>),
    /// These links lose nothing of their own any more.
    Lossless(Vec<(Host, Host)>),
    /// These links pass large packets again.
    Wide(Vec<(Host, Host)>),
    /// The clients of this host keep up again.
    KeepUp(Host),
    /// All hosts are in the configuration again.
    AllConfigured,
    /// This host is as fast as the others again.
    Quick(Host),
}

impl World<'_> {
    /// The next strike of the storm, unless it is over.
    pub(super) fn strike(&mut self, era: u32) {
        if self.era != era || self.phase != Phase::Storm {
            return;
        }
        let strike = *self.fate.pick(&self.scenario.strikes);
        self.tell(&format_args!(
            "{:>12.6} {strike:?}",
            self.now.0 as f64 / 1e9
        ));
        self.carry_out(strike);
        let gap = self.fate.exponential(self.scenario.strike_gap);
        self.schedule(self.now + gap, Happening::Strike(era));
    }

    fn carry_out(&mut self, strike: Strike) {
        let host = self.fate.index(self.machines.len());
        match strike {
            Strike::Lossy => self.lose(),
            Strike::OneWayCut => self.cut(Fault::OneWayCut, |_, _, chance| chance < 0.25),
            Strike::Partition => {
                let side: Vec<bool> = self
                    .machines
                    .iter()
                    .map(|_| self.fate.chance(0.5))
                    .collect();
                self.cut(Fault::Partition, |from, to, _| side[from] != side[to]);
            }
            Strike::Isolation => self.isolate(host),
            Strike::NonTransitive => {
                let other = self.fate.index(self.machines.len());
                let pair = [host, other];
                self.cut(Fault::NonTransitive, |from, to, _| {
                    pair.contains(&from) && pair.contains(&to)
                });
            }
            Strike::Clog => self.clog(),
            Strike::Crash => self.kill(host, Fault::Crash),
            Strike::CrashInPersist => self.machines[host].kill_in = Some(Fault::CrashInPersist),
            Strike::CrashInRecovery => self.machines[host].kill_in = Some(Fault::CrashInRecovery),
            Strike::RestartAll => {
                (0..self.machines.len()).for_each(|host| self.kill(host, Fault::RestartAll))
            }
            Strike::Pause => self.pause(host),
            Strike::Slow => self.slow_down(host),
            Strike::Narrow => self.narrow(),
            Strike::SlowReaders => self.slow_readers(host),
            Strike::Reconfigure => self.take_out(host),
            Strike::Twin => self.start_twin(host),
            Strike::Leave => self.leave(host),
            Strike::FalseRefusal => self.refuse_falsely(host),
            Strike::Ambush => self.lie_in_wait(),
            Strike::Plot => self.plot(),
        }
    }

    /// How long a fault lasts: from well below the timers to well above them.
    fn duration(&mut self) -> Duration {
        let token_loss = self.scenario.detection.timers().token_loss;
        let factor = *self.fate.pick(&[0.05, 0.3, 0.5, 1.0, 1.0, 1.5, 3.0, 8.0]);
        self.fate.exponential(token_loss.mul_f64(factor))
    }

    fn links(&mut self, mut chosen: impl FnMut(Host, Host, f64) -> bool) -> Vec<(Host, Host)> {
        let hosts = self.machines.len();
        let mut links = Vec::new();
        for from in 0..hosts {
            for to in (0..hosts).filter(|&to| to != from) {
                if chosen(from, to, self.fate.fraction()) {
                    links.push((from, to));
                }
            }
        }
        links
    }

    fn cut(&mut self, fault: Fault, chosen: impl FnMut(Host, Host, f64) -> bool) {
        let links = self.links(chosen);
        for &(from, to) in &links {
            self.network.cut(from, to, fault);
        }
        self.relieve_later(Relief::Join(links));
    }

    /// Cuts a host off.
    fn isolate(&mut self, host: Host) {
        self.cut(Fault::Isolation, |from, to, _| from == host || to == host);
    }

    /// Splits the hosts in two until all faults end.
    pub(super) fn split(&mut self) {
        let first = self.fate.between(1, self.machines.len() as u64 - 1) as usize;
        let links = self.links(|from, to, _| (from < first) != (to < first));
        for (from, to) in links {
            self.network.cut(from, to, Fault::Partition);
        }
    }

    /// Cuts a host off until the others have gone on without it.
    pub(super) fn isolate_for_long(&mut self, host: Host) {
        let links = self.links(|from, to, _| from == host || to == host);
        for &(from, to) in &links {
            self.network.cut(from, to, Fault::Isolation);
        }
        let long = self.scenario.detection.timers().token_loss * 2 + self.duration();
        let relief = Relief::Join(links);
        self.schedule(self.now + long, Happening::Relief(self.era, relief));
    }

    fn clog(&mut self) {
        let links = self.links(|_, _, chance| chance < 0.2);
        for &(from, to) in &links {
            self.network.clog(from, to);
        }
        self.relieve_later(Relief::Unclog(links));
    }

    fn lose(&mut self) {
        let links = self.links(|_, _, chance| chance < 0.3);
        let share = *self.fate.pick(&[0.05, 0.2, 0.5]);
        for &(from, to) in &links {
            self.network.set_loss(from, to, share);
        }
        self.relieve_later(Relief::Lossless(links));
    }

    /// Some hosts send large packets in vain.
    fn narrow(&mut self) {
        let links = self.links(|_, _, chance| chance < 0.2);
        for &(from, to) in &links {
            self.network.set_narrow(from, to, true);
        }
        self.relieve_later(Relief::Wide(links));
    }

    fn slow_readers(&mut self, host: Host) {
        self.count(Fault::SlowReaders);
        self.input(host, |totem, now| totem.set_congested(now, true));
        self.relieve_later(Relief::KeepUp(host));
    }

    /// All others leave a host out of their configuration, one after the other.
    fn take_out(&mut self, host: Host) {
        self.reconfigure_all(Some(host));
        self.relieve_later(Relief::AllConfigured);
    }

    fn reconfigure_all(&mut self, without: Option<Host>) {
        for other in (0..self.machines.len()).filter(|other| Some(*other) != without) {
            let delay = self.fate.exponential(Duration::from_millis(20));
            let reads = Happening::Reconfigure(self.era, other, without);
            self.schedule(self.now + delay, reads);
        }
    }

    fn pause(&mut self, host: Host) {
        if self.machines[host].process.is_none() {
            return;
        }
        self.count(Fault::Pause);
        let length = self
            .duration()
            .clamp(Duration::from_millis(1), Duration::from_secs(5));
        let machine = &mut self.machines[host];
        machine.busy_until = machine.busy_until.max(self.now + length);
    }

    fn slow_down(&mut self, host: Host) {
        self.count(Fault::Slow);
        self.machines[host].slowness = *self.fate.pick(&[10, 30, 100]);
        self.relieve_later(Relief::Quick(host));
    }

    fn refuse_falsely(&mut self, host: Host) {
        let Some(process) = self.machines[host]
            .process
            .as_ref()
            .map(|process| process.id)
        else {
            return;
        };
        let other = self.fate.index(self.machines.len());
        if other != host {
            self.count(Fault::FalseRefusal);
            let member = self.machines[other].id;
            self.schedule(self.now, Happening::Refused(host, process, member));
        }
    }

    fn lie_in_wait(&mut self) {
        let hosts = self.machines.len();
        let somebody = |world: &mut Self, chance: f64| {
            let host = world.fate.index(hosts);
            world.fate.chance(chance).then_some(host)
        };
        let class = *self
            .fate
            .pick(&[Class::Token, Class::Token, Class::Control, Class::Data]);
        let state = *self.fate.pick(&[
            None,
            Some(State::Operational),
            Some(State::Gather),
            Some(State::Form),
            Some(State::Form),
            Some(State::Recover),
            Some(State::Recover),
        ]);
        let delay = self.duration();
        let act = *self.fate.pick(&[
            Act::Drop,
            Act::Drop,
            Act::Delay(delay),
            Act::Delay(delay),
            Act::KillSender,
            Act::IsolateSender,
            Act::IsolateReceiver,
        ]);
        let count = if matches!(act, Act::Drop | Act::Delay(_)) {
            self.fate.between(1, 20) as u32
        } else {
            1
        };
        let ambush = Ambush {
            class,
            state,
            from: somebody(self, 0.5),
            to: somebody(self, 0.5),
            skip: self.fate.below(8) as u32,
            count,
            act,
        };
        self.network.add_ambush(ambush);
    }

    /// Faults that belong together.
    fn plot(&mut self) {
        for host in 0..self.machines.len() {
            self.burst(host);
        }
        match self.fate.below(4) {
            0 => self.plot_late_messages(),
            1 => self.plot_late_commit(),
            _ => self.plot_lost_messages(),
        }
    }

    /// Case 5: the commitment of a formation reaches somebody only when it is in the next one,
    /// which takes its time, while the members before it still wait in the first.
    fn plot_late_commit(&mut self) {
        let hosts = self.machines.len() as u64;
        let timers = self.scenario.detection.timers();
        let late = self.fate.index(self.machines.len());
        let death = self.fate.below(2 * hosts) as u32;
        let skip = self.fate.below(5) as u32;
        let delay = self
            .fate
            .span(Duration::from_millis(1), timers.form_timeout / 4);
        self.network.add_ambush(Ambush::once(
            Class::Token,
            State::Operational,
            death,
            Act::KillSender,
        ));
        self.network.add_ambush(Ambush {
            to: Some(late),
            count: 40,
            ..Ambush::once(Class::Control, State::Recover, 0, Act::Late)
        });
        self.network.add_ambush(Ambush {
            to: Some(late),
            count: 3,
            ..Ambush::once(Class::Control, State::Form, skip, Act::Delay(delay))
        });
    }

    /// Cases 41 and 44 of the reference: a run of messages is lost with its sender, those who are
    /// left recover from that, and at some hop of the recovery one of them is cut off, when others
    /// may already have installed the ring.
    fn plot_lost_messages(&mut self) {
        let hosts = self.machines.len() as u64;
        let mut at_hop = |state, act, from, to| {
            let skip = self.fate.between(from, to) as u32;
            let ambush = Ambush::once(Class::Token, state, skip, act);
            self.network.add_ambush(ambush);
        };
        at_hop(State::Operational, Act::KillSender, 0, 2 * hosts);
        // A recovery takes three rotations or a few more.
        at_hop(State::Recover, Act::IsolateReceiver, hosts, 4 * hosts);
        at_hop(State::Recover, Act::IsolateSender, 0, 10 * hosts);
    }

    /// Cases 22 and 42: messages of somebody who dies reach some of the others late, when these
    /// have said in a formation that they miss them; and the formation takes its time.
    fn plot_late_messages(&mut self) {
        let timers = self.scenario.detection.timers();
        let sender = self.fate.index(self.machines.len());
        let Some(process) = self.machines[sender]
            .process
            .as_ref()
            .map(|process| process.id)
        else {
            return;
        };
        self.network.add_ambush(Ambush {
            from: Some(sender),
            count: self.fate.between(4, 40) as u32,
            ..Ambush::once(
                Class::Data,
                State::Operational,
                self.fate.below(4) as u32,
                Act::Late,
            )
        });
        for _ in 0..3 {
            let delay = self.fate.span(Duration::ZERO, timers.form_timeout);
            let skip = self.fate.below(2 * self.machines.len() as u64) as u32;
            let ambush = Ambush::once(Class::Control, State::Form, skip, Act::Delay(delay));
            self.network.add_ambush(ambush);
        }
        let death = self
            .fate
            .span(Duration::from_micros(500), timers.idle_hold * 2);
        self.schedule(
            self.now + death,
            Happening::Kill(sender, process, Fault::Crash),
        );
    }

    fn relieve_later(&mut self, relief: Relief) {
        let length = self.duration();
        self.schedule(self.now + length, Happening::Relief(self.era, relief));
    }

    /// Ends a fault.
    pub(super) fn relieve(&mut self, relief: Relief) {
        match relief {
            Relief::Join(links) => links
                .into_iter()
                .for_each(|(from, to)| self.network.join(from, to)),
            Relief::Lossless(links) => {
                links
                    .into_iter()
                    .for_each(|(from, to)| self.network.set_loss(from, to, 0.0));
            }
            Relief::Wide(links) => links
                .iter()
                .for_each(|&(from, to)| self.network.set_narrow(from, to, false)),
            Relief::KeepUp(host) => {
                self.input(host, |totem, now| totem.set_congested(now, false));
            }
            Relief::AllConfigured => self.reconfigure_all(None),
            Relief::Quick(host) => self.machines[host].slowness = 1,
            Relief::Unclog(links) => {
                let mut arrivals = Vec::new();
                for (from, to) in links {
                    self.network.unclog(self.now, from, to, &mut arrivals);
                }
                self.schedule_arrivals(arrivals);
            }
        }
    }

    /// Ends all faults: nobody stands still, the network is whole, and most of the dead live
    /// again.
    pub(super) fn end_storm(&mut self) {
        self.era += 1;
        let mut arrivals = Vec::new();
        self.network
            .heal(self.now, self.scenario.calm.clone(), &mut arrivals);
        self.schedule_arrivals(arrivals);
        for host in 0..self.machines.len() {
            let machine = &mut self.machines[host];
            machine.busy_until = machine.busy_until.min(self.now);
            machine.slowness = 1;
            machine.kill_in = None;
            if self.machines[host].without.is_some() {
                self.reconfigure(host, None);
            }
            self.input(host, |totem, now| totem.set_congested(now, false));
            self.wake_when_free(host);
            let machine = &self.machines[host];
            if machine.process.is_none() && self.fate.chance(0.8) {
                let delay = self.fate.span(Duration::ZERO, Duration::from_millis(50));
                self.schedule(self.now + delay, Happening::Start(host, self.era));
            }
        }
    }
}
