//! Two loggers and a publisher on a bus whose messages are changed on the way, then a journal of
//! any bytes.
//!
//! The input is a script, four bytes a step: what to do, and with what. Nobody panics, whatever a
//! member of the groups says. That the logs stay equal is not asked: members are trusted for that.
#![no_main]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weblog::stream::{
    Logger, LoggerAction, LoggerConfig, Publisher, PublisherAction, Quorum, SessionName, StreamId,
    ViewId,
};

const NAMES: [&[u8]; 3] = [b"#=a#one", b"#=b#two", b"#~p#two"];
const PUBLISHER: usize = 2;
/// Messages on the bus; more are lost.
const MESSAGES_MAX: usize = 64;

enum Message {
    Control(Bytes),
    Data(u16, Bytes),
    /// To the private group of one member.
    Private(usize, Bytes),
}

struct Bus {
    now: Duration,
    loggers: Vec<Logger>,
    journals: Vec<Vec<u8>>,
    publisher: Publisher,
    spooled: u64,
    /// In their order, with their senders.
    messages: VecDeque<(usize, Message)>,
}

fn logger(name: &str, quorum: Quorum) -> Logger {
    Logger::new(LoggerConfig {
        name: name.to_owned(),
        loggers: ["a", "b", "c"].map(str::to_owned).to_vec(),
        quorum,
        sync_interval: Duration::from_millis(5),
        learn_bytes: 1 << 20,
        catchup_percent: 25,
    })
}

/// The spool: a line of 16 bytes, again and again.
fn spool(offset: u64, length: usize) -> Bytes {
    (offset..offset + length as u64)
        .map(|at| if at % 16 == 15 { b'\n' } else { b'x' })
        .collect()
}

impl Bus {
    fn new(quorum: Quorum) -> Bus {
        Bus {
            now: Duration::from_secs(1),
            loggers: vec![logger("a", quorum), logger("b", quorum)],
            journals: vec![Vec::new(), Vec::new()],
            publisher: Publisher::new(StreamId([7; 16]), 0),
            spooled: 0,
            messages: VecDeque::new(),
        }
    }

    fn push(&mut self, sender: usize, message: Message) {
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push_back((sender, message));
        }
    }

    fn join(&mut self, index: u32, network: bool) {
        let members: Vec<SessionName> = NAMES.iter().map(|&name| name.into()).collect();
        let mut view = ViewId([0; 12]);
        view.0[8..].copy_from_slice(&index.to_be_bytes());
        for (logger, name) in self.loggers.iter_mut().zip(NAMES) {
            logger.handle_connected(name);
            logger.handle_membership(self.now, view, &members, network);
        }
        self.publisher.handle_membership(&members, network);
    }

    fn drain(&mut self) {
        for me in 0..self.loggers.len() {
            while let Some(action) = self.loggers[me].poll_action() {
                match action {
                    LoggerAction::Append(bytes) => self.journals[me].extend_from_slice(&bytes),
                    LoggerAction::Sync => self.loggers[me].handle_synced(self.now),
                    LoggerAction::Control(data) => self.push(me, Message::Control(data)),
                    LoggerAction::Send { to, data } => {
                        if let Some(to) = NAMES.iter().position(|&name| *name == *to) {
                            self.push(me, Message::Private(to, data));
                        }
                    }
                    LoggerAction::Read { to, at, length } => {
                        let journal = &self.journals[me];
                        let bytes = journal.iter().skip(at as usize).take(length).copied();
                        self.loggers[me].handle_read(&to, at, &bytes.collect());
                    }
                    // Its disk has no room for what a learner keeps.
                    LoggerAction::Keep { at, .. } => {
                        self.loggers[me].handle_kept_lost(self.now, at);
                    }
                    LoggerAction::ReadKept { at, .. } => {
                        self.loggers[me].handle_kept_read(self.now, at, &Bytes::new());
                    }
                    LoggerAction::Segment
                    | LoggerAction::Committed(_)
                    | LoggerAction::DropKept => {}
                }
            }
        }
        while let Some(action) = self.publisher.poll_action() {
            match action {
                PublisherAction::Read { offset, length } => {
                    self.publisher.handle_read(offset, spool(offset, length));
                }
                PublisherAction::Control(data) => self.push(PUBLISHER, Message::Control(data)),
                PublisherAction::Data { hint, data } => {
                    self.push(PUBLISHER, Message::Data(hint, data));
                }
                PublisherAction::Acknowledged(_) => {}
            }
        }
    }

    fn deliver(&mut self, change: impl Fn(&mut Vec<u8>)) {
        let Some((sender, message)) = self.messages.pop_front() else {
            return self.pass(Duration::from_millis(1));
        };
        let (now, from) = (self.now, NAMES[sender]);
        let changed = |data: &Bytes| {
            let mut data = data.to_vec();
            change(&mut data);
            Bytes::from(data)
        };
        match message {
            Message::Control(data) => {
                let data = changed(&data);
                for logger in &mut self.loggers {
                    logger.handle_control(now, from, &data);
                }
                self.publisher.handle_control(from, &data);
            }
            Message::Data(hint, data) => {
                let data = changed(&data);
                for logger in &mut self.loggers {
                    logger.handle_data(now, from, hint, &data);
                }
            }
            Message::Private(to, data) => {
                let data = changed(&data);
                if let Some(logger) = self.loggers.get_mut(to) {
                    logger.handle_private(now, from, &data);
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for logger in &mut self.loggers {
            logger.handle_timeout(self.now);
        }
    }
}

fuzz_target!(|script: &[u8]| {
    let quorum = match script.first() {
        Some(first) if first & 1 == 0 => Quorum::None,
        _ => Quorum::Majority,
    };
    let mut bus = Bus::new(quorum);
    bus.join(1, true);
    for (number, &[step, a, b, c]) in script.as_chunks::<4>().0.iter().enumerate() {
        bus.drain();
        match step % 8 {
            0 => (0..=a % 32).for_each(|_| {
                bus.deliver(|_| {});
                bus.drain();
            }),
            1 => bus.deliver(|data| {
                let at = (usize::from(a) << 8 | usize::from(b)) % data.len().max(1);
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= c;
                }
            }),
            2 => bus.deliver(|data| {
                let value = [b, c, b, c, b, c, b, c];
                let at = usize::from(a) % data.len().max(1);
                data.iter_mut()
                    .skip(at)
                    .zip(value)
                    .for_each(|(byte, value)| *byte = value);
            }),
            3 => bus.deliver(|data| data.truncate(usize::from(a))),
            4 => bus.pass(Duration::from_millis(u64::from(a) * 8)),
            5 => drop(bus.messages.pop_front()),
            6 => bus.join(number as u32 + 2, a & 1 == 0),
            _ => {
                bus.spooled += u64::from(a) << 4;
                bus.publisher.handle_spooled(bus.spooled);
            }
        }
    }
    // What stands on a disk may be anything, too.
    let mut again = logger("a", quorum);
    let taken = again.replay(&bus.journals[0].clone().into());
    assert!(taken <= bus.journals[0].len());
    let _ = logger("a", quorum).replay(&Bytes::copy_from_slice(script));
});
