//! The list of loggers: who of those that are there counts as which of its names.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{Logger, LoggerConfig, Quorum, SessionName, State};
use crate::stream::hash::hash;

/// Why a logger that is there does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// It goes by another list than this one, or another quorum.
    OtherList,
    /// Another session has its name.
    NameTaken,
}

impl LoggerConfig {
    /// A hash of what all loggers must be told alike.
    pub(super) fn list_hash(&self) -> u64 {
        let mut names: Vec<&str> = self.loggers.iter().map(String::as_str).collect();
        names.sort_unstable();
        let quorum = match self.quorum {
            Quorum::None => 0,
            Quorum::Majority => 1,
        };
        hash(quorum, names.join(" ").as_bytes())
    }
}

impl Logger {
    /// The loggers that have not counted since the last call, and did before; with their names and
    /// sessions. Of two that go by different lists each sees the other one.
    pub fn take_misfits(&mut self) -> Vec<(Misfit, String, SessionName)> {
        std::mem::take(&mut self.new_misfits)
    }

    /// Those who count, by name, and why the others do not.
    ///
    /// Two lists at once could acknowledge a line that only one of them has, so one list counts:
    /// that of the most, of two with as many always the same one.
    pub(super) fn find_misfits(&mut self) -> BTreeMap<String, SessionName> {
        let mut counts = BTreeMap::<u64, usize>::new();
        for state in self.states.values() {
            *counts.entry(state.list).or_default() += 1;
        }
        let most = counts
            .into_iter()
            .max_by_key(|&(list, count)| (count, list));
        let list = most.map(|(list, _)| list);
        let own_list = self.config.list_hash();
        let mut names = BTreeMap::new();
        let before = std::mem::take(&mut self.misfits);
        for (session, state) in &self.states {
            let State { name, .. } = state;
            if state.list != own_list {
                let misfit = (Misfit::OtherList, name.clone(), session.clone());
                self.misfits.push(misfit);
            } else if names.contains_key(name) {
                let misfit = (Misfit::NameTaken, name.clone(), session.clone());
                self.misfits.push(misfit);
            } else if list == Some(own_list) && self.config.loggers.contains(name) {
                names.insert(name.clone(), session.clone());
            }
        }
        let new = self
            .misfits
            .iter()
            .filter(|misfit| !before.contains(misfit));
        self.new_misfits = new.cloned().collect();
        names
    }
}
