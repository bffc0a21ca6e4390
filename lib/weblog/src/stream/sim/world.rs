//! Everything that happens in a run, and what must be true at each moment of it.

mod faults;
mod judge;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::super::journal::Record;
use super::super::logger::Flaw;
use super::super::{
    Logger, LoggerAction, LoggerConfig, Publisher, PublisherAction, Quorum, SessionName, StreamId,
};
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
    /// Faults that hit with unacknowledged lines in flight, by kind.
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) lines: u64,
}

#[derive(Debug)]
struct PublisherHost {
    machine: Option<Publisher>,
    stream: StreamId,
    spool: Vec<u8>,
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
        if self.presences[process].down_until > self.now || self.is_paused(process) {
            return;
        }
        if process < self.publishers.len() {
            let host = &mut self.publishers[process];
            if host.machine.is_none() {
                let mut publisher = Publisher::new(host.stream, host.kept);
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
        let whole = logger.replay(&host.disk.bytes()[begin..]);
        host.disk.cut(begin + whole);
        // The file is rebuilt from the journal: what was committed is there again.
        host.output = host.kept.clone();
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

    /// Does what a process wants, unless it dies in the middle.
    fn act(&mut self, process: usize) {
        if process < self.publishers.len() {
            self.act_publisher(process);
        } else {
            self.act_logger(process - self.publishers.len());
        }
    }

    fn act_publisher(&mut self, process: usize) {
        loop {
            let host = &mut self.publishers[process];
            let Some(publisher) = &mut host.machine else {
                return;
            };
            match publisher.poll_action() {
                None => return,
                Some(PublisherAction::Read { offset, length }) => {
                    let bytes = &host.spool[offset as usize..][..length];
                    publisher.handle_read(offset, Bytes::copy_from_slice(bytes));
                }
                Some(PublisherAction::Control(data)) => {
                    self.bus.send(process, Outgoing::Control(data))
                }
                Some(PublisherAction::Data { hint, data }) => {
                    self.bus.send(process, Outgoing::Data { hint, data })
                }
                Some(PublisherAction::Acknowledged(end)) => {
                    if self.random.one_in(2) {
                        self.publishers[process].kept = end;
                    }
                    if self.random.one_in(8) {
                        self.judge_acknowledged(process, end);
                    }
                }
            }
        }
    }

    fn act_logger(&mut self, index: usize) {
        let process = self.publishers.len() + index;
        loop {
            let host = &mut self.loggers[index];
            let Some(logger) = &mut host.machine else {
                return;
            };
            let Some(action) = logger.poll_action() else {
                return;
            };
            let step = match action {
                LoggerAction::Segment => {
                    *self.outcome.faults.entry("segment".to_owned()).or_default() += 1;
                    "segment"
                }
                LoggerAction::Append(bytes) => {
                    host.disk.append(&bytes);
                    "append"
                }
                LoggerAction::Sync => {
                    assert!(host.syncing.is_none() || logger.flaw.is_some());
                    host.syncing = Some(host.disk.bytes().len());
                    "sync begins"
                }
                LoggerAction::Committed(position) => {
                    self.write_output(index, position);
                    "file written"
                }
                LoggerAction::Control(data) => {
                    self.bus.send(process, Outgoing::Control(data));
                    "record sent"
                }
                LoggerAction::Send { to, data } => {
                    self.bus.send(process, Outgoing::Private { to, data });
                    "answer sent"
                }
                LoggerAction::Read { to, at, length } => {
                    let bytes = &host.disk.bytes()[at as usize..];
                    let bytes = bytes[..length.min(bytes.len())].to_vec();
                    logger.handle_read(&to, at, &bytes);
                    "entry read"
                }
            };
            let odds = match step {
                "record sent" => 150,
                _ => 40,
            };
            if self.faults_left > 0 && self.random.one_in(odds) {
                self.kill_logger(index, &format!("kill after: {step}"));
            }
        }
    }

    fn finish_sync(&mut self) -> bool {
        let index = self.random.index(self.loggers.len());
        let process = self.publishers.len() + index;
        if self.is_paused(process) {
            return false;
        }
        let host = &mut self.loggers[index];
        let (Some(length), Some(logger)) = (host.syncing.take(), &mut host.machine) else {
            return false;
        };
        host.disk.sync(length);
        if self.faults_left > 0 && self.random.one_in(60) {
            self.kill_logger(index, "kill after: sync done");
            return true;
        }
        logger.handle_synced(self.now);
        self.act(process);
        self.remove_segments(index);
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
}
