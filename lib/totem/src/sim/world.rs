//! A run: hosts, network, clients and oracle under one clock and one seed.
//!
//! Everything that happens is an event in a heap, in the order of time and then of its making, so
//! that a seed has one history. A process has one thread: it takes a datagram or its timers, is
//! busy for as long as that costs, and what it sends leaves when it is done.

mod bounds;
mod clients;
mod delivery;
mod driver;
mod letters;
mod lives;
mod machine;
mod phases;
mod stability;
mod stalls;
mod storm;
#[cfg(test)]
mod tests;
mod traffic;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;
use std::time::Duration;

use self::machine::{Clock, Machine, member_id};
use self::phases::Phase;
use self::storm::Relief;
use super::faults::Fault;
use super::group_oracle::GroupOracle;
use super::network::{Host, Network, Packet};
use super::oracle::{Oracle, Violation};
use super::random::Random;
use super::scenario::{Mood, Scenario};
use super::totals::{Report, Totals};
use super::trace::{Digest, ProcessId, Record, What};
use crate::time::Time;
use crate::view::{MemberId, RingId};

/// An event of the simulation.
#[derive(Debug)]
enum Happening {
    Arrive(Packet),
    Wake(Host),
    Timer(Host),
    Persisted(Host, ProcessId, u64),
    Refused(Host, ProcessId, MemberId),
    Start(Host, u32),
    Clients(Host, ProcessId),
    Strike(u32),
    Relief(u32, Relief),
    Kill(Host, ProcessId, Fault),
    Reconfigure(u32, Host, Option<Host>),
    MergeDue(u32),
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

/// Runs a seed without telling its history; a panic of a member breaks the rule `panic`.
pub fn judge(seed: u64, length: Duration) -> Report {
    std::panic::catch_unwind(|| run(seed, length, None)).unwrap_or_else(|_| Report {
        totals: Totals::default(),
        digest: 0,
        violation: Some(Violation {
            rule: "panic",
            at: Time(0),
            process: None,
            seen: "a member panicked".into(),
        }),
    })
}

struct World<'a> {
    scenario: Scenario,
    now: Time,
    end: Time,
    over: bool,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    machines: Vec<Machine>,
    network: Network,
    arrivals: Vec<(Time, Packet)>,
    /// Random numbers of the faults, the clients, and what is drawn for a process.
    fate: Random,
    clients: Random,
    lives: Random,
    processes: u32,
    phase: Phase,
    phase_began: Time,
    together_since: Option<Time>,
    /// When last looked at, somebody had to wait for having been shut out.
    shut_out: bool,
    /// Pairs of rings that were apart then without such a reason.
    apart: BTreeSet<(RingId, RingId)>,
    /// Partitions meet in this phase, since.
    merging_since: Option<Time>,
    /// Rings whose recovery somebody gave up.
    interrupted: BTreeSet<RingId>,
    backlog_bytes: usize,
    /// Grows at the end of each storm: what a storm has scheduled is then void.
    era: u32,
    oracle: Oracle,
    group_oracle: GroupOracle,
    violation: Option<Violation>,
    /// Messages of sessions so far.
    letters: u64,
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
            shut_out: false,
            apart: BTreeSet::new(),
            merging_since: None,
            interrupted: BTreeSet::new(),
            backlog_bytes: 0,
            era: 0,
            oracle: Oracle::default(),
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
        self.begin();
        while !self.over && self.violation.is_none() && self.step() {}
        self.totals.simulated = Duration::from_nanos(self.now.0);
        self.totals.views = self.oracle.views();
        self.totals.views_of_several = self.oracle.views_of_several();
        self.totals.faults.add(&self.network.tally);
        Report {
            totals: self.totals,
            digest: self.digest.value(),
            violation: self.violation,
        }
    }

    fn begin(&mut self) {
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
    }

    /// The next event; false if there is none.
    fn step(&mut self) -> bool {
        let Some(Reverse(next)) = self.events.pop() else {
            return false;
        };
        self.now = next.at;
        self.handle(next.happening);
        true
    }

    fn schedule(&mut self, at: Time, happening: Happening) {
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
            Happening::Reconfigure(era, host, without) => {
                if self.era == era {
                    self.reconfigure(host, without);
                }
            }
            Happening::MergeDue(era) => self.merge_due(era),
            Happening::NextPhase => self.next_phase(),
        }
    }

    fn record(&mut self, process: ProcessId, what: What) {
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

    fn tell(&mut self, line: &dyn fmt::Display) {
        if let Some(observer) = &mut self.observer {
            observer(line);
        }
    }

    fn count(&mut self, fault: Fault) {
        self.totals.faults.count(fault);
    }
}
