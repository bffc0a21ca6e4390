//! A run: hosts, network, clients and oracle under one clock and one seed.
//!
//! Everything that happens is an event in a heap, in the order of time and then of its making, so
//! that a seed has one history. A process has one thread: it takes a datagram or its timers, is
//! busy for as long as that costs, and what it sends leaves when it is done.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use super::clients::daemon_name;
use super::faults::{Fault, Tally};
use super::group_oracle::{GroupOracle, LetterId};
use super::machine::{Clock, Machine, Process};
use super::network::{Host, Network, Outcome, Packet};
use super::oracle::{Oracle, Violation};
use super::random::Random;
use super::scenario::{Mood, Scenario};
use super::trace::{Digest, Lane, MessageId, ProcessId, Record, What};
use crate::config::{Config, Key, MemberConfig, Start};
use crate::event::{Class, Delivery, Destination, Event, Service, Transmit};
use crate::groups::{GroupEvent, GroupName, Groups};
use crate::node::{State, Totem};
use crate::time::Time;
use crate::view::{Incarnation, MemberId, Transition, View, ViewMember};

/// A datagram waits behind so many others before a timer that is due goes first.
const PACKETS_BEFORE_TIMER: u32 = 32;
/// What the wall clock of the hosts shows when the simulation begins, in seconds.
const WALL_CLOCK_SECONDS: u64 = 1_700_000_000;

/// The longest time for which a member does not take back another one (case 9 of the reference).
const DAMPING_MAX: Duration = Duration::from_secs(31);
const SETTLE_STEP: Duration = Duration::from_millis(500);
/// A backlog that does not shrink by this much within the bound of E18 is stuck.
const DRAIN_STEP_BYTES: usize = 64 << 10;

/// What a run amounted to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Runs.
    pub seeds: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Messages delivered, counted at each member.
    pub deliveries: u64,
    /// Regular configurations, counted once each.
    pub views: u64,
    /// Regular configurations, counted at each member.
    pub installs: u64,
    /// Times that a member in a formation or recovery had to gather again.
    pub interrupted: u64,
    /// Calms in which all came together.
    pub calms: u64,
    /// The longest time that took.
    pub settled_after: Duration,
    /// Calms that began late because members made each other wait.
    pub settled_late: u64,
    /// The faults.
    pub faults: Tally,
}

impl Totals {
    /// Adds another run.
    pub fn add(&mut self, other: &Totals) {
        self.seeds += other.seeds;
        self.simulated += other.simulated;
        self.deliveries += other.deliveries;
        self.views += other.views;
        self.installs += other.installs;
        self.interrupted += other.interrupted;
        self.calms += other.calms;
        self.settled_late += other.settled_late;
        self.settled_after = self.settled_after.max(other.settled_after);
        self.faults.add(&other.faults);
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it amounted to.
    pub totals: Totals,
    /// Digest of the trace: equal for two runs of a seed.
    pub digest: u64,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Faults and load.
    Storm,
    /// No faults, load; the members come together.
    Settle,
    /// They are together, and stay.
    Calm,
    /// No load either; everything arrives.
    Drain,
}

/// An event of the simulation.
#[derive(Debug)]
pub(super) enum Happening {
    Arrive(Packet),
    Wake(Host),
    Timer(Host),
    Persisted(Host, ProcessId, u64),
    Refused(Host, ProcessId, MemberId),
    Start(Host, u32),
    Clients(Host, ProcessId),
    Strike(u32),
    Relief(u32, super::storm::Relief),
    Kill(Host, ProcessId, Fault),
    NextPhase,
}

#[derive(Debug)]
struct Scheduled {
    at: Time,
    order: u64,
    happening: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.order == other.order
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Takes a line of the history.
pub type Observer<'a> = &'a mut dyn FnMut(&dyn fmt::Display);

/// Runs a seed for about `length` of simulated time; each line of its history goes to `observer`.
pub fn run(seed: u64, length: Duration, observer: Option<Observer<'_>>) -> Report {
    World::new(Scenario::draw(seed), length, observer).run()
}

pub(super) struct World<'a> {
    pub(super) scenario: Scenario,
    pub(super) now: Time,
    end: Time,
    over: bool,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    pub(super) machines: Vec<Machine>,
    pub(super) network: Network,
    arrivals: Vec<(Time, Packet)>,
    /// Random numbers of the faults, the clients, and what is drawn for a process.
    pub(super) fate: Random,
    pub(super) clients: Random,
    lives: Random,
    processes: u32,
    pub(super) phase: Phase,
    phase_began: Time,
    together_since: Option<Time>,
    backlog_bytes: usize,
    /// Grows at the end of each storm: what a storm has scheduled is then void.
    pub(super) era: u32,
    oracle: Oracle,
    pub(super) group_oracle: GroupOracle,
    violation: Option<Violation>,
    /// Messages of sessions so far.
    pub(super) letters: u64,
    digest: Digest,
    totals: Totals,
    observer: Option<Observer<'a>>,
    buffer: Vec<u8>,
}

impl<'a> World<'a> {
    fn new(scenario: Scenario, length: Duration, observer: Option<Observer<'a>>) -> World<'a> {
        let random = Random::new(scenario.seed);
        let hosts = scenario.segments.len();
        let mut lives = random.fork("lives");
        let machines: Vec<Machine> = (0..hosts)
            .map(|host| {
                let ppm =
                    lives.between(0, 2 * scenario.drift_ppm) as i64 - scenario.drift_ppm as i64;
                let clock = Clock {
                    offset: lives.below(1 << 50),
                    ppm,
                };
                Machine::new(member_id(host), clock, scenario.receive_buffer_bytes)
            })
            .collect();
        World {
            now: Time(0),
            end: Time(0) + length,
            over: false,
            events: BinaryHeap::new(),
            scheduled: 0,
            network: Network::new(random.fork("network"), hosts, scenario.latency),
            arrivals: Vec::new(),
            fate: random.fork("faults"),
            clients: random.fork("clients"),
            lives,
            processes: 0,
            phase: Phase::Settle,
            phase_began: Time(0),
            together_since: None,
            backlog_bytes: 0,
            era: 0,
            oracle: Oracle::new(machines.iter().map(|machine| machine.id).collect()),
            machines,
            group_oracle: GroupOracle::default(),
            violation: None,
            letters: 0,
            digest: Digest::default(),
            totals: Totals {
                seeds: 1,
                ..Totals::default()
            },
            observer,
            buffer: Vec::new(),
            scenario,
        }
    }

    fn run(mut self) -> Report {
        let scenario = self.scenario.clone();
        self.tell(&format_args!("{scenario:?}"));
        for host in 0..self.machines.len() {
            let delay = self.fate.span(Duration::ZERO, Duration::from_millis(200));
            self.schedule(self.now + delay, Happening::Start(host, self.era));
        }
        if self.scenario.mood == Mood::Stormy && self.fate.chance(0.5) {
            self.begin_storm();
        } else {
            self.begin_settle();
        }
        while !self.over
            && self.violation.is_none()
            && let Some(Reverse(next)) = self.events.pop()
        {
            self.now = next.at;
            self.handle(next.happening);
        }
        self.totals.simulated = Duration::from_nanos(self.now.0);
        self.totals.views = self.oracle.views();
        self.totals.faults.add(&self.network.tally);
        Report {
            totals: self.totals,
            digest: self.digest.value(),
            violation: self.violation,
        }
    }

    pub(super) fn schedule(&mut self, at: Time, happening: Happening) {
        self.scheduled += 1;
        self.events.push(Reverse(Scheduled {
            at,
            order: self.scheduled,
            happening,
        }));
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Persisted(host, ..)
            | Happening::Refused(host, ..)
            | Happening::Clients(host, _)
                if self.machines[host].busy_until > self.now =>
            {
                self.schedule(self.machines[host].busy_until, happening);
            }
            Happening::Arrive(packet) => self.arrive(packet),
            Happening::Wake(host) if self.machines[host].wake_at == Some(self.now) => {
                self.machines[host].wake_at = None;
                self.wake_when_free(host);
            }
            Happening::Wake(_) => {}
            Happening::Timer(host) => self.timer(host),
            Happening::Persisted(host, process, counter) => self.persisted(host, process, counter),
            Happening::Refused(host, process, member) => {
                if self.machines[host].is(process) {
                    self.input(host, |totem, now| totem.handle_refused(now, member));
                }
            }
            Happening::Start(host, era) => {
                if self.era == era && self.machines[host].process.is_none() {
                    self.start(host);
                }
            }
            Happening::Clients(host, process) => {
                if self.machines[host].is(process) {
                    self.act(host);
                }
            }
            Happening::Strike(era) => self.strike(era),
            Happening::Relief(era, relief) => {
                if self.era == era {
                    self.relieve(relief);
                }
            }
            Happening::Kill(host, process, fault) => {
                if self.machines[host].is(process) {
                    self.kill(host, fault);
                }
            }
            Happening::NextPhase => self.next_phase(),
        }
    }

    // --- phases ---

    fn enter(&mut self, phase: Phase, length: Duration) {
        self.tell(&format_args!(
            "{:>12.6} {phase:?} for {length:?}",
            self.now.0 as f64 / 1e9
        ));
        self.phase = phase;
        self.phase_began = self.now;
        self.schedule(self.now + length, Happening::NextPhase);
    }

    fn next_phase(&mut self) {
        match self.phase {
            Phase::Storm => self.begin_settle(),
            Phase::Settle => self.end_settling(),
            Phase::Calm => self.begin_drain(),
            Phase::Drain => self.end_drain(),
        }
    }

    fn begin_storm(&mut self) {
        let length = self.scenario.storm_length(&mut self.fate);
        self.enter(Phase::Storm, length);
        self.network.set_conditions(self.scenario.storm.clone());
        let gap = self.fate.exponential(self.scenario.strike_gap);
        self.schedule(self.now + gap, Happening::Strike(self.era));
        self.wake_clients();
    }

    fn begin_settle(&mut self) {
        self.end_storm();
        self.together_since = None;
        self.enter(Phase::Settle, self.scenario.settle_bound());
    }

    /// The members have had the time that E18 gives them, and after a storm more, because those
    /// that lost each other again and again, or could not receive, make each other wait.
    fn end_settling(&mut self) {
        let leaves = self
            .machines
            .iter()
            .filter_map(|machine| machine.process.as_ref())
            .any(|process| process.leaving);
        match self.oracle.check_together(self.now) {
            Ok(()) if !leaves => self.begin_calm(),
            Ok(()) => self.break_rule("E18", None, "a member that leaves is still there".into()),
            Err(_) if self.now.since(self.phase_began) < self.settle_bound() => {
                self.schedule(self.now + SETTLE_STEP, Happening::NextPhase);
            }
            Err(violation) => self.violation = Some(violation),
        }
    }

    fn settle_bound(&self) -> Duration {
        self.scenario.settle_bound()
            + if self.era > 1 {
                DAMPING_MAX
            } else {
                Duration::ZERO
            }
    }

    fn begin_calm(&mut self) {
        self.totals.calms += 1;
        if let Some(since) = self.together_since {
            let after = since.since(self.phase_began);
            self.totals.settled_after = self.totals.settled_after.max(after);
            self.totals.settled_late += u64::from(after > self.scenario.settle_bound());
        }
        self.oracle.expect_no_change(true);
        let mut length = self.scenario.calm_length(&mut self.fate);
        if self.scenario.mood != Mood::Stormy || self.now + length > self.end {
            length = self.end.since(self.now).max(Duration::from_secs(1));
        }
        self.enter(Phase::Calm, length);
        self.wake_clients();
    }

    fn begin_drain(&mut self) {
        self.backlog_bytes = self.queued_bytes();
        self.enter(Phase::Drain, self.scenario.arrival_bound());
    }

    /// Everything must have arrived by now, unless there was much to send, and it goes on.
    fn end_drain(&mut self) {
        let queued = self.queued_bytes();
        if queued + DRAIN_STEP_BYTES < self.backlog_bytes {
            self.begin_drain();
            return;
        }
        self.check_nothing_repeated();
        if let Err(violation) = self.oracle.check_caught_up(self.now) {
            self.violation = Some(violation);
        }
        self.check_groups();
        self.oracle.expect_no_change(false);
        if self.now >= self.end {
            self.over = true;
        } else {
            self.begin_storm();
        }
    }

    /// G8.
    fn check_groups(&mut self) {
        let mut joined: BTreeMap<GroupName, BTreeSet<GroupName>> = BTreeMap::new();
        let processes = || {
            self.machines
                .iter()
                .filter_map(|machine| machine.process.as_ref())
        };
        for client in processes().flat_map(|process| &process.clients) {
            for group in &client.groups {
                joined.entry(*group).or_default().insert(client.private);
            }
        }
        let mut hashes = BTreeSet::new();
        let mut verdict = Ok(());
        for process in processes() {
            let groups = process
                .groups
                .groups()
                .filter_map(|group| Some((group.name, process.groups.members(&group.name)?)));
            let groups = groups.collect();
            hashes.insert((process.groups.ready(), process.groups.table_hash()));
            verdict = verdict.and(
                self.group_oracle
                    .check_settled(self.now, process.id, &groups, &joined),
            );
        }
        if let Err(violation) = verdict {
            self.violation.get_or_insert(violation);
        } else if hashes.len() > 1 || hashes.iter().any(|(ready, _)| !ready) {
            self.break_rule(
                "G8",
                None,
                "tables differ, or are still being exchanged".into(),
            );
        }
    }

    fn queued_bytes(&self) -> usize {
        let processes = self
            .machines
            .iter()
            .filter_map(|machine| machine.process.as_ref());
        processes.map(|process| process.totem.queued_bytes()).sum()
    }

    /// E22: on equal links without a loss, whatever is missing is on its way.
    fn check_nothing_repeated(&mut self) {
        if self.scenario.mood != Mood::Quiet {
            return;
        }
        let processes = self
            .machines
            .iter()
            .filter_map(|machine| machine.process.as_ref());
        let asked = processes.map(|process| (process.id, process.totem.stats().requested));
        if let Some((id, requested)) = asked.into_iter().find(|(_, requested)| *requested > 0) {
            self.break_rule(
                "E22",
                Some(id),
                format!("asked for {requested} packets that were not lost"),
            );
        }
    }

    // --- processes ---

    fn start(&mut self, host: Host) {
        let scenario = &self.scenario;
        let machine = &mut self.machines[host];
        machine.incarnation += self.lives.between(1, 1000);
        let member = ViewMember {
            id: machine.id,
            incarnation: Incarnation(machine.incarnation),
        };
        let config = Config {
            me: machine.id,
            members: members(&scenario.segments),
            key: scenario.sealed.then(|| Key([7; 32])),
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
        let id = ProcessId(self.processes);
        self.processes += 1;
        let names = (0..scenario.segments.len()).map(|host| (member_id(host), daemon_name(host)));
        let groups = Groups::new(machine.id, names.collect());
        machine.process = Some(Process::new(id, totem, groups));
        machine.busy_until = self.now;
        let disk_lost = std::mem::take(&mut machine.disk_lost);
        if disk_lost {
            self.group_oracle.lose_disk(machine.id);
        }
        self.record(id, What::Start { member, disk_lost });
        self.drain(host);
        self.schedule_clients(host);
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
    fn close(&mut self, host: Host) {
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

    /// Gives a living process an input, and takes its outputs.
    fn input(&mut self, host: Host, give: impl FnOnce(&mut Totem, Time)) {
        let machine = &mut self.machines[host];
        let Some(process) = &mut machine.process else {
            return;
        };
        give(&mut process.totem, machine.clock.local(self.now));
        self.drain(host);
    }

    pub(super) fn drain(&mut self, host: Host) {
        while self.drain_once(host) {}
        self.note_state(host);
        self.arm_timer(host);
    }

    /// Takes all outputs that are there; whether there were any.
    fn drain_once(&mut self, host: Host) -> bool {
        let mut progress = false;
        let local = self.machines[host].clock.local(self.now);
        if let Some(process) = &mut self.machines[host].process
            && let Some(counter) = process.totem.poll_persist()
        {
            let id = process.id;
            self.persist(host, id, counter);
            progress = true;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(process) = &mut self.machines[host].process
            && let Some(transmit) = process.totem.poll_transmit(local, &mut buffer)
        {
            progress = true;
            let state = process.totem.state();
            match self.transmit(host, &transmit, &buffer, state) {
                Outcome::Sent => {}
                Outcome::KillSender => self.kill(host, Fault::CrashAfterSend),
                Outcome::Isolate(host) => self.isolate(host),
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

    fn event(&mut self, host: Host, event: Event) {
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
            }
        }
    }

    fn deliver(&mut self, host: Host, id: ProcessId, delivery: Delivery) {
        self.totals.deliveries += 1;
        let Delivery {
            sender,
            service,
            data,
        } = delivery;
        let message = MessageId::decode(&data);
        self.record(
            id,
            What::Deliver {
                message,
                sender,
                service,
                hash: Digest::of(&data),
            },
        );
        let Some(process) = self.machines[host]
            .process
            .as_mut()
            .filter(|_| message.is_some())
        else {
            return;
        };
        let delivery = Delivery {
            sender,
            service,
            data: data.slice(MessageId::BYTES..),
        };
        let mut events = Vec::new();
        process.groups.handle_delivery(&delivery, &mut events);
        self.group_events(id, &events);
    }

    fn transitional(&mut self, host: Host, id: ProcessId, transition: Transition) {
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        process.exchanged = process.groups.ready();
        process.came_along = transition.members.len();
        let mut events = Vec::new();
        process.groups.handle_transitional(&transition, &mut events);
        self.record(id, What::Transitional(transition.clone()));
        // What waited for tables comes out now and belongs to the ring before.
        self.group_events(id, &events);
        self.group_oracle.travel(id, &transition);
    }

    fn regular(&mut self, host: Host, id: ProcessId, view: View) {
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let (mut events, mut submit) = (Vec::new(), Vec::new());
        process
            .groups
            .handle_regular(&view, &mut events, &mut submit);
        let subtractive = process.exchanged && process.came_along == view.members.len();
        self.record(id, What::Regular(view));
        if subtractive && let Err(violation) = self.group_oracle.subtract(self.now, id, &events) {
            self.violation.get_or_insert(violation);
        }
        self.group_events(id, &events);
        if !submit.is_empty() {
            self.submit_first(host, submit);
        }
    }

    fn group_events(&mut self, id: ProcessId, events: &[GroupEvent]) {
        for event in events {
            if self.observer.is_some() {
                self.tell_group_event(id, event);
            }
            if let Err(violation) = self.group_oracle.observe(self.now, id, event) {
                self.violation.get_or_insert(violation);
            }
        }
        self.digest.word(events.len() as u64);
    }

    fn tell_group_event(&mut self, id: ProcessId, event: &GroupEvent) {
        let at = self.now.0 as f64 / 1e9;
        if let GroupEvent::Message {
            to,
            destinations,
            payload,
            ..
        } = event
        {
            let letter = LetterId::read(payload);
            let destinations: Vec<GroupName> = destinations.iter().collect();
            self.tell(&format_args!(
                "{at:>12.6} p{:<3} {letter:?} for {destinations:?} to {to:?}",
                id.0
            ));
        } else {
            self.tell(&format_args!("{at:>12.6} p{:<3} {event:?}", id.0));
        }
    }

    /// Submits a message with its identity in front, into a queue that is not full.
    pub(super) fn submit(&mut self, host: Host, service: Service, body: &[u8]) {
        let machine = &mut self.machines[host];
        let Some(process) = &mut machine.process else {
            return;
        };
        let (message, data) = process.address(Lane::Queue, body);
        let hash = Digest::of(&data);
        let submitted = process
            .totem
            .submit(machine.clock.local(self.now), service, data);
        let id = process.id;
        if submitted.is_err() {
            self.break_rule(
                "E19",
                Some(id),
                "refuses a message although its queue is not full".into(),
            );
            return;
        }
        self.record(
            id,
            What::Submit {
                message,
                service,
                hash,
            },
        );
    }

    fn submit_first(&mut self, host: Host, bodies: Vec<Bytes>) {
        let machine = &mut self.machines[host];
        let Some(process) = &mut machine.process else {
            return;
        };
        let id = process.id;
        let batch: Vec<(MessageId, Bytes)> = bodies
            .iter()
            .map(|body| process.address(Lane::First, body))
            .collect();
        let records: Vec<What> = batch
            .iter()
            .map(|(message, data)| What::Submit {
                message: *message,
                service: Service::Agreed,
                hash: Digest::of(data),
            })
            .collect();
        let batch = batch.into_iter().map(|(_, data)| data).collect();
        process
            .totem
            .submit_first(machine.clock.local(self.now), Service::Agreed, batch);
        for record in records {
            self.record(id, record);
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
    fn note_state(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        let Some(process) = &mut machine.process else {
            return;
        };
        let was = std::mem::replace(&mut process.state, process.totem.state());
        let recovers = |state| matches!(state, State::Form | State::Recover);
        if recovers(was) && process.state == State::Gather {
            self.totals.interrupted += 1;
        }
        if was == process.state {
            return;
        }
        let (id, now) = (process.id, process.state);
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

    // --- disk ---

    fn persist(&mut self, host: Host, id: ProcessId, counter: u64) {
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

    fn persisted(&mut self, host: Host, id: ProcessId, counter: u64) {
        if self.machines[host].is(id) {
            self.machines[host].disk = counter;
            self.record(id, What::Persisted(counter));
            self.input(host, |totem, now| totem.persisted(now, counter));
        }
    }

    // --- packets and timers ---

    fn transmit(
        &mut self,
        from: Host,
        transmit: &Transmit,
        buffer: &[u8],
        state: State,
    ) -> Outcome {
        let machine = &mut self.machines[from];
        let datagrams = buffer.chunks(transmit.segment_size.max(1));
        machine.busy_until =
            machine.busy_until.max(self.now) + self.scenario.service / 4 * machine.slowness;
        let departure = machine.busy_until;
        let mut outcome = Outcome::Sent;
        for datagram in datagrams {
            let bytes = Bytes::copy_from_slice(datagram);
            let mut copies = Copies {
                from,
                class: transmit.class,
                bytes,
                state,
                departure,
            };
            let sent = match &transmit.destination {
                Destination::Member(member) => self.send_copies(&mut copies, &[*member], true),
                Destination::Segment(members) => {
                    self.send_copies(&mut copies, members, members.len() == 1)
                }
                Destination::Set(local, remote) => {
                    let near = self.send_copies(&mut copies, local, local.len() == 1);
                    let far = self.send_copies(&mut copies, remote, true);
                    if near == Outcome::Sent { far } else { near }
                }
            };
            if sent != Outcome::Sent {
                outcome = sent;
            }
        }
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (at, packet) in arrivals.drain(..) {
            self.schedule(at, Happening::Arrive(packet));
        }
        self.arrivals = arrivals;
        outcome
    }

    fn send_copies(&mut self, copies: &mut Copies, members: &[MemberId], unicast: bool) -> Outcome {
        let mut outcome = Outcome::Sent;
        if !unicast && !members.is_empty() && self.network.loses_multicast() {
            return outcome;
        }
        for member in members {
            let packet = Packet {
                from: copies.from,
                to: host_of(*member),
                class: copies.class,
                unicast,
                bytes: copies.bytes.clone(),
            };
            let sent =
                self.network
                    .send(copies.departure, packet, copies.state, &mut self.arrivals);
            if sent != Outcome::Sent {
                outcome = sent;
            }
        }
        outcome
    }

    fn arrive(&mut self, packet: Packet) {
        let (from, to) = (packet.from, packet.to);
        let machine = &mut self.machines[to];
        if machine.process.is_none() {
            let member = machine.id;
            if packet.unicast
                && machine.refuses
                && let Some(sender) = &self.machines[from].process
            {
                self.totals.faults.count(Fault::Refusal);
                let at = self.now + self.scenario.latency.0;
                let id = sender.id;
                self.schedule(at, Happening::Refused(from, id, member));
            }
            return;
        }
        if !machine.receive(packet) {
            self.totals.faults.count(Fault::Overflow);
        } else {
            self.wake_when_free(to);
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
    fn wake(&mut self, host: Host) {
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

    fn timer(&mut self, host: Host) {
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

    // --- records ---

    pub(super) fn record(&mut self, process: ProcessId, what: What) {
        let record = Record {
            at: self.now,
            process,
            what,
        };
        self.digest.record(&record);
        self.tell(&record);
        if self.violation.is_none()
            && let Err(violation) = self.oracle.observe(&record)
        {
            self.violation = Some(violation);
        }
    }

    fn break_rule(&mut self, rule: &'static str, process: Option<ProcessId>, seen: String) {
        let violation = Violation {
            rule,
            at: self.now,
            process,
            seen,
        };
        self.violation.get_or_insert(violation);
    }

    pub(super) fn tell(&mut self, line: &dyn fmt::Display) {
        if let Some(observer) = &mut self.observer {
            observer(line);
        }
    }

    pub(super) fn count(&mut self, fault: Fault) {
        self.totals.faults.count(fault);
    }
}

/// Copies of a datagram on their way out.
struct Copies {
    from: Host,
    class: Class,
    bytes: Bytes,
    state: State,
    departure: Time,
}

fn member_id(host: Host) -> MemberId {
    MemberId(u32::from(Ipv4Addr::new(10, 0, 0, host as u8 + 1)))
}

fn host_of(member: MemberId) -> Host {
    (member.0 & 0xff) as usize - 1
}

fn address(host: Host, class: Class) -> SocketAddr {
    let port = if class == Class::Data { 4803 } else { 4804 };
    SocketAddr::from((Ipv4Addr::from(member_id(host).0), port))
}

fn members(segments: &[u16]) -> Vec<MemberConfig> {
    let hosts = segments.iter().enumerate();
    hosts
        .map(|(host, &segment)| MemberConfig {
            id: member_id(host),
            segment,
        })
        .collect()
}
