//! The ordered time, what others still need of the journal, and loggers that are given up.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::{Control, Logger, Marks, Quorum, Record, Stage};

/// How often a participant tells its clock.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// Why a logger cannot be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetError {
    /// No round is open here, so nothing can be ordered.
    NotOpen,
    /// It is not on the list.
    Unknown,
    /// It is at work.
    TakesPart,
}

impl fmt::Display for ForgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ForgetError::NotOpen => "the loggers do not accept anything now",
            ForgetError::Unknown => "no logger of the list has this name",
            ForgetError::TakesPart => "this logger is at work",
        })
    }
}

impl Error for ForgetError {}

impl Logger {
    /// Tells the own clock, and what is here of the others' journals, once a second.
    pub(super) fn tick(&mut self, now: Duration) {
        if !self.is_open() || now < self.tick_at {
            return;
        }
        self.tick_at = now + TICK_INTERVAL;
        self.keep_marks(0);
        if self.synced_bytes >= self.needed_bytes {
            self.synced_marks = self.own_marks();
        }
        // What is not on disk yet is told with a later tick.
        let marks = self.synced_marks.clone();
        self.multicast(Control::Tick {
            round: self.round_id(),
            second: self.second,
            marks,
        });
    }

    /// How far this journal has those of the others.
    pub(super) fn own_marks(&self) -> Marks {
        let others = self.config.loggers.iter();
        let others = others.filter(|name| **name != self.config.name);
        others
            .map(|name| {
                let position = match self.config.quorum {
                    Quorum::Majority => self.journal.commit(),
                    // Whose journal may be a new one has nothing here yet.
                    Quorum::None if self.is_to_be_checked(name) => 0,
                    Quorum::None => self.journal.mark(name).length,
                };
                (name.clone(), position)
            })
            .collect()
    }

    pub(super) fn handle_tick(&mut self, sender: &[u8], second: u64, marks: Marks) {
        let open = self.stage == Stage::Open;
        let Some(round) = self.round.as_mut().filter(|_| open) else {
            return;
        };
        let Some(participant) = round.participants.get(sender) else {
            return;
        };
        let name = participant.name.clone();
        round.clocks.insert(sender.into(), second);
        if !marks.is_empty() {
            self.peer_marks.insert(name, marks);
        }
    }

    /// The ordered time: the median of the participants' clocks, of two the earlier one, and never
    /// back. So one clock that is far off does not count.
    pub fn time(&self) -> u64 {
        self.clock().max(self.journal.time())
    }

    /// The median of the participants' clocks; 0 where there are none.
    pub(super) fn clock(&self) -> u64 {
        let clocks = self.round.iter().flat_map(|round| round.clocks.values());
        let mut clocks: Vec<u64> = clocks.copied().collect();
        clocks.sort_unstable();
        let median = clocks.get(clocks.len().saturating_sub(1) / 2);
        median.copied().unwrap_or(0)
    }

    /// The entries that follow belong to this second.
    pub(super) fn append_time(&mut self, second: u64) {
        if second > self.journal.time() {
            self.append(&Record::Time(second));
        }
    }

    /// Up to which position every logger of the list has this one's journal, or does not count any
    /// more.
    pub fn kept_until(&self) -> u64 {
        let own = &self.config.name;
        let others = self.config.loggers.iter();
        // One that was given up counts when it is heard again.
        let others = others.filter(|name| *name != own && !self.journal.is_forgotten(name));
        let passed = |name: &String| {
            let marks = self.peer_marks.get(name)?;
            let mark = marks.iter().find(|(of, _)| of == own)?;
            Some(mark.1)
        };
        others
            .map(|name| passed(name).unwrap_or(0))
            .min()
            .unwrap_or(u64::MAX)
            .min(self.journal.commit())
    }

    /// Gives up a logger whose disk is lost: nothing is kept for it any more, and an entry says so
    /// to everybody. Gives whether there is such an entry already, as far as this logger knows; it
    /// is the order that decides whether another one follows.
    ///
    /// # Errors
    /// It cannot be given up, or not now.
    pub fn forget(&mut self, name: &str) -> Result<bool, ForgetError> {
        if !self.is_open() {
            return Err(ForgetError::NotOpen);
        }
        if !self.config.loggers.iter().any(|known| known == name) {
            return Err(ForgetError::Unknown);
        }
        if self.participants().contains(&name) {
            return Err(ForgetError::TakesPart);
        }
        self.multicast(Control::Forget {
            name: name.to_owned(),
        });
        Ok(self.journal.is_forgotten(name))
    }

    /// Whether this logger is given up, and all that is here is committed in a round without it.
    #[cfg(test)]
    pub(in crate::stream) fn is_settled_without(&self, name: &str) -> bool {
        self.is_open()
            && !self.participants().contains(&name)
            && self.journal.is_forgotten(name)
            && self.journal.commit() == self.journal.length()
    }

    /// Loggers that were given up again since the last call, without having been back.
    pub fn take_forgotten_again(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.forgotten_again)
    }

    pub(super) fn handle_forget(&mut self, name: String) {
        let valid = self.stage == Stage::Open
            && self.config.loggers.contains(&name)
            && !self.participants().contains(&name.as_str());
        if valid {
            self.peer_marks.remove(&name);
            if self.takes_part() && self.journal.is_forgotten(&name) {
                self.forgotten_again.insert(name.clone());
            }
            self.enter(Record::Forget(name));
            self.deliver(None);
        }
    }
}
