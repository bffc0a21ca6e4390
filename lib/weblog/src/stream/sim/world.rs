//! Everything that happens in a run, and what must be true at each moment of it.

mod act;
mod faults;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::super::journal::Record;
use super::super::logger::Flaw;
use super::super::{Gap, Logger, LoggerConfig, Publisher, Quorum, SessionName, StreamId};
use super::Random;
use super::bus::{Bus, Item, Outgoing};
use super::disk::Disk;

/// A run that has not come to its end after so many steps is stuck.
const STEPS_MAX: u64 = 400_000;

/// What the clocks show at the beginning; no run is as long as one clock is off.
const CLOCK_START: u64 = 1_700_000_000;
const CLOCK_END: u64 = CLOCK_START + 3_000;

/// What a run is made of.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) quorum: Quorum,
    pub(super) publishers: usize,
    pub(super) loggers: usize,
    pub(super) faults: u64,
    pub(super) flaw: Option<Flaw>,
}

/// What went wrong, and what happened.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) failure: Option<String>,
    pub(super) steps: u64,
    /// Faults that hit with unacknowledged lines in flight, by kind, and what else has to happen in
    /// some run.
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) lines: u64,
}

impl Outcome {
    /// Something rare has happened, so that a test can tell that it did.
    fn saw(&mut self, kind: &str) {
        *self.faults.entry(kind.to_owned()).or_default() += 1;
    }
}

#[derive(Debug)]
struct PublisherHost {
    machine: Option<Publisher>,
    stream: StreamId,
    /// Where bytes were given up there are some that are no line.
    spool: Vec<u8>,
    gaps: Vec<Gap>,
    lines: Vec<Vec<u8>>,
    /// What the disk says of the acknowledged offset: it may lag.
    kept: u64,
}

impl PublisherHost {
    fn is_drained(&self) -> bool {
        let machine = self.machine.as_ref();
        machine.is_some_and(|publisher| publisher.acknowledged() == self.spool.len() as u64)
    }
}

#[derive(Debug)]
struct LoggerHost {
    machine: Option<Logger>,
    disk: Disk,
    /// The output file, entry by entry.
    output: Vec<Bytes>,
    /// The length that a sync under way covers.
    syncing: Option<usize>,
    /// Where the journal begins, and the file at that time.
    begin: u64,
    kept: Vec<Bytes>,
    /// What it keeps of live traffic while it catches up.
    kept_live: Vec<u8>,
    /// How far the clock is off, in seconds.
    clock_off: u64,
    /// The second of the ordered time in the file.
    second: u64,
}

/// When a process is there.
#[derive(Clone, Copy, Debug, Default)]
struct Presence {
    connected: bool,
    connections: u64,
    down_until: Duration,
    paused_until: Duration,
}

#[derive(Debug)]
pub(super) struct World {
    scenario: Scenario,
    random: Random,
    now: Duration,
    bus: Bus,
    publishers: Vec<PublisherHost>,
    loggers: Vec<LoggerHost>,
    presences: Vec<Presence>,
    lines_left: u64,
    faults_left: u64,
    /// Cuts that follow a cut while its rounds are under way.
    cuts_left: u64,
    healed: bool,
    learn_bytes: u64,
    /// Loggers that an administrator has given up: nothing was kept for them.
    forgotten: BTreeSet<usize>,
    /// With a majority: those of them that began anew with an empty disk since, and so come to all
    /// that the others have.
    reborn: BTreeSet<usize>,
    /// With a majority: whose disk is lost, and who has given it up. It does not start before that
    /// is on record.
    burial: Option<(usize, Option<usize>)>,
    /// With a majority: the one sequence that all committed journals are prefixes of.
    sequence: Vec<Record>,
    outcome: Outcome,
}

impl World {
    pub(super) fn new(scenario: Scenario) -> World {
        let mut random = Random(scenario.seed);
        let count = scenario.publishers + scenario.loggers;
        let publisher = |index: usize| PublisherHost {
            machine: None,
            stream: StreamId([index as u8 + 1; 16]),
            spool: Vec::new(),
            gaps: Vec::new(),
            lines: Vec::new(),
            kept: 0,
        };
        let logger = |index: usize| LoggerHost {
            machine: None,
            disk: Disk::default(),
            output: Vec::new(),
            syncing: None,
            begin: 0,
            kept: Vec::new(),
            kept_live: Vec::new(),
            clock_off: if index == 1 { 3600 } else { 0 },
            second: 0,
        };
        World {
            bus: Bus::new(count),
            publishers: (0..scenario.publishers).map(publisher).collect(),
            loggers: (0..scenario.loggers).map(logger).collect(),
            presences: vec![Presence::default(); count],
            now: Duration::from_secs(1),
            lines_left: random.between(50, 400),
            faults_left: scenario.faults,
            cuts_left: 0,
            healed: false,
            learn_bytes: [2_000, 1 << 30][random.index(2)],
            forgotten: BTreeSet::new(),
            reborn: BTreeSet::new(),
            burial: None,
            sequence: Vec::new(),
            outcome: Outcome::default(),
            scenario,
            random,
        }
    }

    /// Runs to the end, or to the first thing that is wrong.
    pub(super) fn run(mut self) -> Outcome {
        let mut idle = 0;
        while self.outcome.failure.is_none() {
            if self.outcome.steps >= STEPS_MAX {
                self.judge_stuck();
            }
            self.outcome.steps += 1;
            let worked = self.step();
            self.now += Duration::from_micros(self.random.below(1000));
            idle = if worked { 0 } else { idle + 1 };
            if idle > 40 {
                idle = 0;
                self.skip_ahead();
            }
            if self.lines_left == 0 && self.faults_left == 0 && !self.healed {
                self.heal();
            }
            if self.healed && self.outcome.steps.is_multiple_of(64) && self.is_done() {
                self.judge_files();
                break;
            }
        }
        self.outcome
    }

    fn fail(&mut self, message: String) {
        self.outcome.failure.get_or_insert(message);
    }

    /// One thing happens; gives whether there was something to do.
    fn step(&mut self) -> bool {
        let process = self.random.index(self.presences.len());
        self.appear(process);
        match self.random.below(16) {
            0..6 => self.bus.step(&mut self.random),
            6..12 => self.read_mail(process),
            12 => self.finish_sync(),
            13 => self.write_lines(),
            14 => self.wake(process),
            _ => {
                if self.faults_left > 0 && self.cuts_left > 0 && self.random.one_in(3) {
                    self.cuts_left -= 1;
                    self.cut();
                } else if self.faults_left > 0 && self.random.one_in(12) {
                    self.fault(process);
                }
                false
            }
        }
    }

    /// Nothing moves: goes to the next moment that something is due.
    fn skip_ahead(&mut self) {
        let timeouts = self
            .loggers
            .iter()
            .filter_map(|host| host.machine.as_ref()?.poll_timeout());
        let ends = self
            .presences
            .iter()
            .flat_map(|presence| [presence.down_until, presence.paused_until]);
        let next = timeouts.chain(ends).filter(|&at| at > self.now).min();
        self.now = next.unwrap_or(self.now + Duration::from_millis(100));
    }

    fn is_paused(&self, process: usize) -> bool {
        self.presences[process].paused_until > self.now
    }

    /// Starts and connects a process whose time has come.
    fn appear(&mut self, process: usize) {
        self.bury();
        let buried = |(lost, _)| self.publishers.len() + lost == process;
        let down = self.presences[process].down_until > self.now;
        if down || self.is_paused(process) || self.burial.is_some_and(buried) {
            return;
        }
        if process < self.publishers.len() {
            let host = &mut self.publishers[process];
            if host.machine.is_none() {
                let mut publisher = Publisher::new(host.stream, host.kept);
                for &gap in &host.gaps {
                    publisher.handle_spooled(gap.start);
                    publisher.handle_gap(gap);
                }
                publisher.handle_spooled(host.spool.len() as u64);
                host.machine = Some(publisher);
            }
        } else {
            self.start_logger(process - self.publishers.len());
        }
        if !self.presences[process].connected {
            self.connect(process);
        }
    }

    fn connect(&mut self, process: usize) {
        let presence = &mut self.presences[process];
        presence.connected = true;
        presence.connections += 1;
        let mark = if process < self.publishers.len() {
            '~'
        } else {
            '='
        };
        let session = format!("#{mark}{process}.{}#d{process}", presence.connections);
        let session: SessionName = session.as_bytes().into();
        if process >= self.publishers.len() {
            let host = &mut self.loggers[process - self.publishers.len()];
            if let Some(logger) = &mut host.machine {
                logger.handle_connected(&session);
            }
        }
        self.bus.send(process, Outgoing::Join(session));
    }

    fn start_logger(&mut self, index: usize) {
        let host = &mut self.loggers[index];
        if host.machine.is_some() {
            return;
        }
        let name = |index: usize| format!("l{index}");
        let mut logger = Logger::new(LoggerConfig {
            name: name(index),
            loggers: (0..self.scenario.loggers).map(name).collect(),
            quorum: self.scenario.quorum,
            sync_interval: Duration::from_millis(3),
            learn_bytes: self.learn_bytes,
            catchup_percent: 25,
        });
        logger.flaw = self.scenario.flaw;
        let begin = host.begin as usize;
        logger.begin_at(host.begin);
        let whole = logger.replay(&Bytes::copy_from_slice(&host.disk.bytes()[begin..]));
        host.disk.cut(begin + whole);
        // The file is rebuilt from the journal: what was committed is there again.
        host.output = host.kept.clone();
        host.kept_live.clear();
        host.second = 0;
        let committed = logger.committed();
        host.machine = Some(logger);
        self.write_output(index, committed);
    }

    fn read_mail(&mut self, process: usize) -> bool {
        if self.is_paused(process) || !self.presences[process].connected {
            return false;
        }
        let Some(item) = self.bus.receive(process) else {
            return false;
        };
        if process < self.publishers.len() {
            let Some(publisher) = &mut self.publishers[process].machine else {
                return false;
            };
            match item {
                Item::Control { sender, data } => publisher.handle_control(&sender, &data),
                Item::Membership {
                    members, network, ..
                } => publisher.handle_membership(&members, network),
                Item::Data { .. } | Item::Private { .. } | Item::Transition => {}
            }
        } else {
            let now = self.now;
            let index = process - self.publishers.len();
            let clock_off = self.loggers[index].clock_off;
            let Some(logger) = &mut self.loggers[index].machine else {
                return false;
            };
            logger.set_clock(CLOCK_START + now.as_secs() + clock_off);
            match item {
                Item::Data { sender, hint, data } => logger.handle_data(now, &sender, hint, &data),
                Item::Control { sender, data } => logger.handle_control(now, &sender, &data),
                Item::Private { sender, data } => logger.handle_private(now, &sender, &data),
                Item::Transition => logger.handle_transition(),
                Item::Membership {
                    view,
                    members,
                    network,
                } => logger.handle_membership(now, view, &members, network),
            }
        }
        self.act(process);
        true
    }

    fn wake(&mut self, process: usize) -> bool {
        if self.is_paused(process) {
            return false;
        }
        if process < self.publishers.len() {
            let host = &mut self.publishers[process];
            if let Some(publisher) = &mut host.machine {
                publisher.handle_spooled(host.spool.len() as u64);
                self.act(process);
            }
            return false;
        }
        let now = self.now;
        let host = &mut self.loggers[process - self.publishers.len()];
        let clock_off = host.clock_off;
        let Some(logger) = &mut host.machine else {
            return false;
        };
        if logger.poll_timeout().is_none_or(|at| at > now) {
            return false;
        }
        logger.set_clock(CLOCK_START + now.as_secs() + clock_off);
        logger.handle_timeout(now);
        self.act(process);
        true
    }

    /// A web server writes some lines.
    fn write_lines(&mut self) -> bool {
        let process = self.random.index(self.publishers.len());
        if self.lines_left == 0 || !self.random.one_in(3) {
            return false;
        }
        if self.random.one_in(25) && !self.is_paused(process) {
            return self.give_up_lines(process);
        }
        for _ in 0..self.random.between(1, 6).min(self.lines_left) {
            let length = match self.random.below(400) {
                0 => 300_000,
                _ => self.random.below(1200),
            };
            let host = &mut self.publishers[process];
            let mut line = format!("{process} {} ", host.lines.len()).into_bytes();
            line.extend(std::iter::repeat_n(b'x', length as usize));
            host.spool.extend_from_slice(&line);
            host.spool.push(b'\n');
            host.lines.push(line);
            self.lines_left -= 1;
            self.outcome.lines += 1;
        }
        let host = &mut self.publishers[process];
        let paused = self.presences[process].paused_until > self.now;
        if let Some(publisher) = &mut host.machine
            && !paused
        {
            publisher.handle_spooled(host.spool.len() as u64);
            self.act(process);
        }
        true
    }
    /// The disk of a spool is full: lines are dropped, of which there is a record.
    fn give_up_lines(&mut self, process: usize) -> bool {
        let host = &mut self.publishers[process];
        let Some(publisher) = &mut host.machine else {
            return false;
        };
        let start = host.spool.len() as u64;
        let gap = Gap {
            start,
            end: start + self.random.between(1, 3_000),
            lines: self.random.below(5),
        };
        host.spool.resize(gap.end as usize, b'?');
        host.gaps.push(gap);
        publisher.handle_gap(gap);
        self.outcome.saw("gap");
        self.act(process);
        true
    }
}
