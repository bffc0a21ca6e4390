//! What processes want done, and what becomes of it.

use bytes::Bytes;

use super::World;
use crate::stream::journal::Record;
use crate::stream::journal::record::Parsed;
use crate::stream::sim::bus::Outgoing;
use crate::stream::{LoggerAction, PublisherAction};

impl World {
    /// Does what a process wants, unless it dies in the middle.
    pub(super) fn act(&mut self, process: usize) {
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
            if logger.is_unfit() && self.reborn.contains(&index) {
                return self.fail(format!("l{index} is to begin anew once more"));
            }
            let Some(action) = logger.poll_action() else {
                return;
            };
            let step = match action {
                LoggerAction::Segment => {
                    self.outcome.saw("segment");
                    "segment"
                }
                LoggerAction::Append(bytes) => self.append(index, &bytes),
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
                    let bytes = Bytes::copy_from_slice(&bytes[..length.min(bytes.len())]);
                    logger.handle_read(&to, at, &bytes);
                    "entry read"
                }
                LoggerAction::Keep { at, data } => self.keep(index, at, &data),
                LoggerAction::ReadKept { at, length } => {
                    let kept = host.kept_live.get(at as usize..).unwrap_or_default();
                    let kept = Bytes::copy_from_slice(&kept[..length.min(kept.len())]);
                    logger.handle_kept_read(self.now, at, &kept);
                    self.outcome.saw("live lines taken in");
                    "kept lines read"
                }
                LoggerAction::DropKept => {
                    host.kept_live.fill(0);
                    "kept lines dropped"
                }
            };
            let odds = match step {
                "record sent" => 150,
                "base taken over" => 2,
                _ => 40,
            };
            // What is rare may come when everything else is over.
            let may = self.faults_left > 0 || step == "base taken over";
            if may && self.random.one_in(odds) {
                self.kill_logger(index, &format!("kill after: {step}"));
            }
        }
    }

    fn append(&mut self, index: usize, bytes: &Bytes) -> &'static str {
        let host = &self.loggers[index];
        let at = host.disk.bytes().len() as u64;
        let record = Record::parse(bytes, at);
        let is_base = matches!(record, Parsed::Record(Record::Base(base), ..) if base.position > 0);
        // Of a segment of its own or of a peer's?
        let taken_over = is_base && self.read_again(host, host.disk.bytes()).length() == 0;
        self.loggers[index].disk.append(bytes);
        match taken_over {
            true => "base taken over",
            false => "append",
        }
    }

    /// Writes what a learner keeps, if there is room for it.
    fn keep(&mut self, index: usize, at: u64, data: &[u8]) -> &'static str {
        let host = &mut self.loggers[index];
        let at = at as usize;
        if self.random.one_in(15) {
            let from = match self.random.one_in(2) {
                true => at as u64,
                // The journal needed the room.
                false => 0,
            };
            if let Some(logger) = &mut host.machine {
                logger.handle_kept_lost(self.now, from);
            }
            self.outcome.saw("live lines not kept");
            return "live lines not kept";
        }
        host.kept_live
            .resize(host.kept_live.len().max(at + data.len()), 0);
        host.kept_live[at..at + data.len()].copy_from_slice(data);
        "live lines kept"
    }

    pub(super) fn finish_sync(&mut self) -> bool {
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
}
