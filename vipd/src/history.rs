//! What has happened, for people: the last movements and troubles, oldest first.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Bound: entries that are kept.
const ENTRIES_MAX: usize = 1000;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts all entries since the start of the program.
    pub number: u64,
    /// When it was noted, in milliseconds since 1970; for people, nothing depends on it.
    pub at: u64,
    /// `moved`, `sick`, `gone`, `well`, `acquire-failed`, `restored`, `yielded`, `foreign-claim`,
    /// `stalled`, `hook` or `operator`.
    pub event: String,
    /// The set concerned, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// The node that had it, or that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The node that has it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why.
    pub cause: String,
}

/// The last entries.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
    next: u64,
}

impl History {
    /// Adds an entry, which gets its number here.
    pub fn add(&mut self, mut entry: Entry) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        entry.number = self.next;
        self.next += 1;
        self.entries.push_back(entry);
    }

    /// The entries from this number on, at most so many: the last ones if `since` is none, else
    /// the first ones.
    pub fn since(&self, since: Option<u64>, count: usize) -> Vec<Entry> {
        match since {
            None => {
                let skipped = self.entries.len().saturating_sub(count);
                self.entries.iter().skip(skipped).cloned().collect()
            }
            Some(since) => {
                let later = self.entries.iter().filter(|entry| entry.number >= since);
                later.take(count).cloned().collect()
            }
        }
    }

    /// The last movement of a set.
    pub fn last_of(&self, set: &str) -> Option<&Entry> {
        let of = |entry: &&Entry| entry.set.as_deref() == Some(set) && entry.event == "moved";
        self.entries.iter().rev().find(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand() {
        let mut history = History::default();
        for number in 0..1500u64 {
            history.add(Entry {
                number: 0,
                at: 0,
                event: "moved".into(),
                set: Some(format!("s{}", number % 7)),
                from: None,
                to: None,
                cause: String::new(),
            });
        }
        let numbers =
            |entries: Vec<Entry>| entries.iter().map(|entry| entry.number).collect::<Vec<_>>();
        assert_eq!(numbers(history.since(None, 2)), [1498, 1499]);
        assert_eq!(numbers(history.since(Some(0), 2)), [500, 501]);
        assert_eq!(numbers(history.since(Some(1499), 9)), [1499]);
        assert_eq!(history.last_of("s1").unwrap().number, 1499);
        assert_eq!(history.last_of("x"), None);
    }
}
