//! What goes wrong: kills, pauses, cuts.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{PublisherHost, World};
use crate::stream::Quorum;
use crate::stream::sim::disk::Disk;

impl World {
    pub(super) fn fault(&mut self, process: usize) {
        let first_logger = self.publishers.len();
        match self.random.below(11) {
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
            6 => match self.scenario.quorum {
                Quorum::Majority => self.begin_burial(),
                Quorum::None => self.forget(),
            },
            7..10 => {
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

    /// Without a majority: a logger that is away is given up, if another one is able to say so.
    fn forget(&mut self) {
        let lost = self.random.index(self.loggers.len());
        let said = self.say_forget(lost);
        if said.is_some() && self.random.one_in(2) && self.stands_elsewhere(lost) {
            self.kill_logger(lost, "disk lost");
            self.lose_disk(lost);
        }
    }

    /// Has somebody who can say that a logger is given up; gives who, and whether it is already.
    fn say_forget(&mut self, lost: usize) -> Option<(usize, bool)> {
        let name = format!("l{lost}");
        let (speaker, already) = (0..self.loggers.len()).find_map(|index| {
            let paused = self.is_paused(self.publishers.len() + index);
            let logger = self.loggers[index].machine.as_mut();
            let logger = logger.filter(|_| index != lost && !paused);
            Some((index, logger?.forget(&name).ok()?))
        })?;
        self.count("forget");
        self.forgotten.insert(lost);
        self.reborn.remove(&lost);
        self.act(self.publishers.len() + speaker);
        Some((speaker, already))
    }

    /// With a majority a vote is lost with a disk: the others have to have it on record first.
    fn begin_burial(&mut self) {
        if self.burial.is_none() {
            let lost = self.random.index(self.loggers.len());
            self.kill_logger(lost, "kill at rest");
            self.burial = Some((lost, None));
        }
    }

    /// Goes on with a burial, if there is one: the word, the record of it, an empty disk.
    pub(super) fn bury(&mut self) {
        let Some((lost, speaker)) = self.burial else {
            return;
        };
        let Some(speaker) = speaker else {
            if let Some((speaker, already)) = self.say_forget(lost) {
                // Of an older record nobody here knows what came after it.
                self.burial = (!already).then_some((lost, Some(speaker)));
            }
            return;
        };
        let logger = self.loggers[speaker].machine.as_ref();
        if logger.is_some_and(|logger| logger.is_settled_without(&format!("l{lost}"))) {
            self.count("disk lost");
            self.lose_disk(lost);
            self.reborn.insert(lost);
            // It is interrupted while it begins, more than once.
            self.cuts_left = self.random.below(8);
            self.faults_left += self.cuts_left;
            self.burial = None;
        }
    }

    fn lose_disk(&mut self, index: usize) {
        let host = &mut self.loggers[index];
        host.disk = Disk::default();
        host.begin = 0;
        host.kept.clear();
    }

    /// Every daemon finds itself in one of up to three parts.
    pub(super) fn cut(&mut self) {
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
    pub(super) fn count(&mut self, kind: &str) {
        self.faults_left = self.faults_left.saturating_sub(1);
        let in_flight = !self.publishers.iter().all(PublisherHost::is_drained);
        if in_flight {
            self.outcome.saw(kind);
        }
    }

    pub(super) fn kill(&mut self, process: usize, kind: &str) {
        if process >= self.publishers.len() {
            return self.kill_logger(process - self.publishers.len(), kind);
        }
        self.count("kill of a publisher");
        self.publishers[process].machine = None;
        self.go_down(process);
    }

    pub(super) fn kill_logger(&mut self, index: usize, kind: &str) {
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

    pub(super) fn go_down(&mut self, process: usize) {
        self.bus.disconnect(process, &mut self.random);
        let presence = &mut self.presences[process];
        presence.connected = false;
        presence.down_until = self.now + Duration::from_millis(self.random.below(4_000));
    }

    pub(super) fn lose_session(&mut self, process: usize) {
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
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.burial = None;
        for presence in &mut self.presences {
            presence.down_until = self.now;
            presence.paused_until = self.now;
        }
        let all = (0..self.presences.len()).collect();
        self.bus.rearrange(vec![all], &mut self.random);
    }
}
