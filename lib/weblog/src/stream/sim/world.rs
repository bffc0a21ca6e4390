//! Everything that happens in a run, and what must be true at each moment of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::super::journal::{Journal, Record};
use super::super::logger::Flaw;
use super::super::{
    Entry, Logger, LoggerAction, LoggerConfig, Publisher, PublisherAction, Quorum, SessionName,
    StreamId, StretchReader,
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

    /// A run does not end: what is wrong is in the files, or nothing moves.
    fn judge_stuck(&mut self) {
        let stages: Vec<_> = self
            .loggers
            .iter()
            .map(|host| Some((host.machine.as_ref()?.is_open(), host.output.len())))
            .collect();
        let lanes: Vec<_> = self
            .publishers
            .iter()
            .map(|host| {
                (
                    host.machine.as_ref().map(Publisher::acknowledged),
                    host.spool.len(),
                )
            })
            .collect();
        if self.publishers.iter().all(PublisherHost::is_drained) {
            self.judge_files();
        }
        self.fail(format!("stuck: {stages:?} {lanes:?}"));
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

    /// Entries become part of the output file; with a majority, of one sequence.
    fn write_output(&mut self, index: usize, position: u64) {
        let host = &mut self.loggers[index];
        while (host.output.len() as u64) < position {
            let next = host.output.len() as u64;
            let stretch = host.machine.as_ref().map(|logger| logger.stretch(next));
            let Some(Some(mut stretch)) = stretch else {
                return self.fail(format!("l{index}: committed entry {next} is not there"));
            };
            stretch.until = stretch.until.min(position);
            let mut reader = StretchReader::new(stretch);
            let mut records = Vec::new();
            while let Some((at, length)) = reader.wants() {
                // What is not on the disk must not be in the file.
                let bytes = host.disk.synced().get(at as usize..).unwrap_or_default();
                let bytes = &bytes[..length.min(bytes.len())];
                let result = reader.feed_records(bytes, |rest, record| {
                    if record.is_entry() && (next..position).contains(&rest.position) {
                        records.push(record);
                    }
                });
                if let Err(error) = result {
                    return self.fail(format!("l{index}: {error}"));
                }
            }
            for record in records {
                let message = Self::write_entry(host, &mut self.sequence, &self.scenario, record);
                if let Some(message) = message {
                    return self.fail(format!("l{index}: {message}"));
                }
            }
        }
    }

    /// An entry becomes part of a file; gives what is wrong with that.
    fn write_entry(
        host: &mut LoggerHost,
        sequence: &mut Vec<Record>,
        scenario: &Scenario,
        record: Record,
    ) -> Option<String> {
        let next = host.output.len();
        let mut lines = Bytes::new();
        match Entry::from(record.clone()) {
            Entry::Lines(data) => lines = data,
            Entry::Time(second) if second <= host.second => {
                return Some(format!("time goes from {} to {second}", host.second));
            }
            Entry::Time(second) if second > CLOCK_END && scenario.quorum == Quorum::Majority => {
                return Some(format!("a clock that is off was believed: {second}"));
            }
            Entry::Time(second) => host.second = second,
            _ => {}
        }
        host.output.push(lines);
        if scenario.quorum == Quorum::Majority {
            if sequence.len() == next {
                sequence.push(record);
            } else if sequence[next] != record {
                let expected = summary(&sequence[next]);
                let found = summary(&record);
                return Some(format!("entry {next} is {found}, elsewhere {expected}"));
            }
        }
        None
    }

    /// What nobody needs any more is removed from a journal, if all of it is on disk.
    fn remove_segments(&mut self, index: usize) {
        let host = &mut self.loggers[index];
        let Some(logger) = &mut host.machine else {
            return;
        };
        if host.disk.synced().len() < host.disk.bytes().len() {
            return;
        }
        let position = logger.kept_until().min(host.output.len() as u64);
        host.begin = logger.remove_before(position);
        let first = logger.first_position() as usize;
        if first > host.kept.len() {
            host.kept = host.output[..first].to_vec();
            *self.outcome.faults.entry("removal".to_owned()).or_default() += 1;
        }
    }

    /// What is acknowledged is on the disks, not only in the caches, that have to have it.
    fn judge_acknowledged(&mut self, process: usize, end: u64) {
        let stream = self.publishers[process].stream;
        let mut whole = 0;
        let mut nowhere = vec![(0, end)];
        for host in &self.loggers {
            let mut journal = Journal::new(self.scenario.quorum == Quorum::Majority);
            journal.begin_at(host.begin);
            journal.replay(&host.disk.synced()[host.begin as usize..]);
            whole += usize::from(journal.missing(stream, 0, end).is_empty());
            nowhere = nowhere
                .into_iter()
                .flat_map(|(start, end)| journal.missing(stream, start, end))
                .collect();
        }
        let enough = match self.scenario.quorum {
            Quorum::Majority => whole * 2 > self.loggers.len(),
            // Each byte was on all disks of a view, but not all bytes of one view.
            Quorum::None => nowhere.is_empty(),
        };
        if !enough {
            self.fail(format!(
                "p{process}: {end} acknowledged, on {whole} disks, {nowhere:?} on none"
            ));
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

    fn fault(&mut self, process: usize) {
        let first_logger = self.publishers.len();
        match self.random.below(10) {
            0 | 1 => self.kill(process, "kill at rest"),
            2 => {
                for index in 0..self.loggers.len() {
                    self.kill_logger(index, "kill of all loggers");
                }
            }
            3 | 4 => {
                self.count("pause");
                let length = Duration::from_millis(self.random.between(10, 9_000));
                self.presences[process].paused_until = self.now + length;
            }
            5 => {
                self.count("session lost");
                self.lose_session(process);
            }
            6..9 => {
                self.cuts_left = self.random.below(4);
                self.cut();
            }
            _ => {
                self.count("merge");
                let all = (0..self.presences.len()).collect();
                self.bus.rearrange(vec![all], &mut self.random);
            }
        }
        // Those who are down or paused come to the end of it before the next fault, or not.
        if process >= first_logger && self.random.one_in(3) {
            self.presences[process].down_until = self.now;
        }
    }

    /// Every daemon finds itself in one of up to three parts.
    fn cut(&mut self) {
        self.count("cut");
        let count = self.random.between(1, 3) as usize;
        let mut parts = vec![BTreeSet::new(); count];
        for process in 0..self.presences.len() {
            parts[self.random.index(count)].insert(process);
        }
        parts.retain(|part| !part.is_empty());
        self.bus.rearrange(parts, &mut self.random);
    }

    /// Uses up one fault; it counts if it hit with lines in flight.
    fn count(&mut self, kind: &str) {
        self.faults_left = self.faults_left.saturating_sub(1);
        let in_flight = !self.publishers.iter().all(PublisherHost::is_drained);
        if in_flight {
            *self.outcome.faults.entry(kind.to_owned()).or_default() += 1;
        }
    }

    fn kill(&mut self, process: usize, kind: &str) {
        if process >= self.publishers.len() {
            return self.kill_logger(process - self.publishers.len(), kind);
        }
        self.count("kill of a publisher");
        self.publishers[process].machine = None;
        self.go_down(process);
    }

    fn kill_logger(&mut self, index: usize, kind: &str) {
        let host = &mut self.loggers[index];
        if host.machine.take().is_none() {
            return;
        }
        // A kill leaves the page cache; a power failure does not.
        if self.random.one_in(2) {
            host.disk.lose_power(&mut self.random);
        }
        host.syncing = None;
        self.count(kind);
        self.go_down(self.publishers.len() + index);
    }

    fn go_down(&mut self, process: usize) {
        self.bus.disconnect(process, &mut self.random);
        let presence = &mut self.presences[process];
        presence.connected = false;
        presence.down_until = self.now + Duration::from_millis(self.random.below(4_000));
    }

    fn lose_session(&mut self, process: usize) {
        if !self.presences[process].connected {
            return;
        }
        self.bus.disconnect(process, &mut self.random);
        self.presences[process].connected = false;
        if process < self.publishers.len() {
            if let Some(publisher) = &mut self.publishers[process].machine {
                publisher.handle_disconnected();
            }
        } else if let Some(logger) = &mut self.loggers[process - self.publishers.len()].machine {
            logger.handle_disconnected();
        }
        self.act(process);
    }

    /// No more faults: everything is connected and runs.
    fn heal(&mut self) {
        self.healed = true;
        for presence in &mut self.presences {
            presence.down_until = self.now;
            presence.paused_until = self.now;
        }
        let all = (0..self.presences.len()).collect();
        self.bus.rearrange(vec![all], &mut self.random);
    }

    fn is_done(&self) -> bool {
        let total: usize = self.publishers.iter().map(|host| host.spool.len()).sum();
        let drained = self.publishers.iter().all(PublisherHost::is_drained);
        let complete = self.loggers.iter().all(|host| {
            let open = host.machine.as_ref().is_some_and(Logger::is_open);
            open && host.output.iter().map(Bytes::len).sum::<usize>() >= total
        });
        let quiet = (0..self.presences.len()).all(|process| !self.bus.has_mail(process));
        drained && complete && quiet
    }

    /// Every line once in each file, and with a majority the same file.
    fn judge_files(&mut self) {
        for index in 0..self.loggers.len() {
            let file = self.loggers[index].output.concat();
            let mut found: BTreeMap<&[u8], u64> = BTreeMap::new();
            for line in file.split(|&byte| byte == b'\n') {
                *found.entry(line).or_default() += 1;
            }
            // What follows the last newline is no line.
            found.remove(&b""[..]);
            let expected: BTreeSet<&[u8]> = self
                .publishers
                .iter()
                .flat_map(|host| host.lines.iter().map(Vec::as_slice))
                .collect();
            let lost = expected
                .iter()
                .filter(|line| !found.contains_key(**line))
                .count();
            let doubled = found.values().filter(|&&count| count > 1).count();
            let strange = found
                .keys()
                .filter(|line| !expected.contains(**line))
                .count();
            if lost + doubled + strange > 0 {
                return self.fail(format!(
                    "l{index}: {lost} lost, {doubled} twice, {strange} strange"
                ));
            }
        }
        let file = |host: &LoggerHost| host.output.concat();
        let same = self
            .loggers
            .windows(2)
            .all(|pair| file(&pair[0]) == file(&pair[1]));
        if self.scenario.quorum == Quorum::Majority && !same {
            self.fail("the files differ".to_owned());
        }
    }
}

fn summary(record: &Record) -> String {
    match record {
        Record::Batch {
            stream,
            offset,
            data,
        } => format!("stream {} {offset}+{}", stream.0[0], data.len()),
        other => format!("{other:?}"),
    }
}
