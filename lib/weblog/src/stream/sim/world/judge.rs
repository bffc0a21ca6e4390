//! What must be true, and of the output files at the end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{CLOCK_END, LoggerHost, PublisherHost, Scenario, World};
use crate::stream::journal::{Journal, Record};
use crate::stream::{Entry, Logger, Publisher, Quorum, StretchReader};

impl World {
    /// A run does not end: what is wrong is in the files, or nothing moves.
    pub(super) fn judge_stuck(&mut self) {
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

    /// Entries become part of the output file; with a majority, of one sequence.
    pub(super) fn write_output(&mut self, index: usize, position: u64) {
        let host = &mut self.loggers[index];
        let first = host.machine.as_ref().map_or(0, Logger::first_position) as usize;
        let begins = host.output.is_empty() || self.scenario.quorum == Quorum::None;
        if host.output.len() < first && begins && self.forgotten.contains(&index) {
            self.outcome.saw("entries missed");
            host.output.resize(first, Bytes::new());
        }
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
                let bytes = Bytes::copy_from_slice(&bytes[..length.min(bytes.len())]);
                let result = reader.feed_records(&bytes, |rest, record| {
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
    pub(super) fn write_entry(
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

    /// What nobody needs any more is removed from a journal.
    pub(super) fn remove_segments(&mut self, index: usize) {
        let host = &mut self.loggers[index];
        let Some(logger) = &mut host.machine else {
            return;
        };
        let position = logger.kept_until().min(host.output.len() as u64);
        host.begin = logger.remove_before(position);
        let first = logger.first_position() as usize;
        // Of a draft nothing is in the file.
        if first > host.kept.len() && first <= host.output.len() {
            host.kept = host.output[..first].to_vec();
            self.outcome.saw("removal");
        }
    }

    pub(super) fn read_again(&self, host: &LoggerHost, disk: &[u8]) -> Journal {
        let mut journal = Journal::new(self.scenario.quorum == Quorum::Majority);
        journal.begin_at(host.begin);
        journal.replay(&Bytes::copy_from_slice(&disk[host.begin as usize..]));
        journal
    }

    /// Whether a logger's disk has no lines that are on no other one: with those nobody promises
    /// anything should it be lost.
    pub(super) fn stands_elsewhere(&self, index: usize) -> bool {
        let lost = &self.loggers[index];
        let lost = self.read_again(lost, lost.disk.bytes());
        let others = self.loggers.iter().enumerate();
        let others = others.filter(|(other, _)| *other != index);
        let others = others.map(|(_, host)| self.read_again(host, host.disk.synced()));
        let others: Vec<Journal> = others.collect();
        self.publishers.iter().all(|host| {
            let mut nowhere = vec![(0, host.spool.len() as u64)];
            for journal in &others {
                nowhere = nowhere
                    .into_iter()
                    .flat_map(|(start, end)| journal.missing(host.stream, start, end))
                    .collect();
            }
            nowhere
                .into_iter()
                .all(|(start, end)| lost.missing(host.stream, start, end) == [(start, end)])
        })
    }

    /// What is acknowledged is on the disks, not only in the caches, that have to have it.
    pub(super) fn judge_acknowledged(&mut self, process: usize, end: u64) {
        let stream = self.publishers[process].stream;
        let mut whole = 0;
        let mut nowhere = vec![(0, end)];
        for host in &self.loggers {
            let journal = self.read_again(host, host.disk.synced());
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

    /// How many bytes the publishers have given up.
    fn given_up_bytes(&self) -> u64 {
        let gaps = self.publishers.iter().flat_map(|host| &host.gaps);
        gaps.map(|gap| gap.end - gap.start).sum()
    }

    /// Whether all is written, and nothing is on its way.
    pub(super) fn is_done(&self) -> bool {
        let lines = self.publishers.iter().flat_map(|host| &host.lines);
        let total: usize = lines.map(|line| line.len() + 1).sum();
        let drained = self.publishers.iter().all(PublisherHost::is_drained);
        let complete = self.loggers.iter().enumerate().all(|(index, host)| {
            let logger = host.machine.as_ref().filter(|logger| logger.is_open());
            let gaps = logger.is_some_and(|logger| logger.gap_bytes() >= self.given_up_bytes());
            let lines = host.output.iter().map(Bytes::len).sum::<usize>();
            match self.reborn.contains(&index) {
                true => logger.is_some() && host.output.len() >= self.sequence.len(),
                false => self.forgotten.contains(&index) || gaps && lines >= total,
            }
        });
        let quiet = (0..self.presences.len()).all(|process| !self.bus.has_mail(process));
        drained && complete && quiet
    }

    /// Every line once in each file, and with a majority the same file.
    pub(super) fn judge_files(&mut self) {
        for index in 0..self.loggers.len() {
            if self.forgotten.contains(&index) {
                // With a majority, what it has was compared as it came.
                continue;
            }
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
            let given_up = self.given_up_bytes();
            let on_record = self.loggers[index].machine.as_ref().map(Logger::gap_bytes);
            if on_record != Some(given_up) {
                return self.fail(format!(
                    "l{index}: gaps of {on_record:?} bytes, {given_up} were given up"
                ));
            }
            if lost + doubled + strange > 0 {
                return self.fail(format!(
                    "l{index}: {lost} lost, {doubled} twice, {strange} strange"
                ));
            }
        }
        for _ in 0..self.reborn.len() {
            self.outcome.saw("begun anew");
        }
        let kept = self.loggers.iter().enumerate();
        let kept = kept.filter(|(index, _)| !self.forgotten.contains(index));
        let files: Vec<_> = kept.map(|(_, host)| host.output.concat()).collect();
        let same = files.windows(2).all(|pair| pair[0] == pair[1]);
        if self.scenario.quorum == Quorum::Majority && !same {
            self.fail("the files differ".to_owned());
        }
        self.judge_order();
        self.judge_known();
    }

    /// With a majority, a journal with all entries, however it came by what they come to, takes
    /// none of them again.
    fn judge_known(&mut self) {
        for (index, host) in self.loggers.iter().enumerate() {
            let journal = self.read_again(host, host.disk.bytes());
            let all = !self.sequence.is_empty() && journal.length() >= self.sequence.len() as u64;
            let known = |publisher: &PublisherHost| {
                let end = publisher.spool.len() as u64;
                journal.missing(publisher.stream, 0, end).is_empty()
            };
            if all && !self.publishers.iter().all(known) {
                return self.fail(format!("l{index} does not know all that it has"));
            }
        }
    }

    /// With a majority, what a stream holds stands in its order, each gap in its place.
    fn judge_order(&mut self) {
        let mut ends = BTreeMap::new();
        for record in &self.sequence {
            let (stream, start, end) = match record {
                Record::Batch {
                    stream,
                    offset,
                    data,
                } => (*stream, *offset, offset + data.len() as u64),
                Record::Gap {
                    stream, start, end, ..
                } => (*stream, *start, *end),
                _ => continue,
            };
            if ends.insert(stream, end).unwrap_or(0) != start {
                return self.fail(format!("{} is out of its order", summary(record)));
            }
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
