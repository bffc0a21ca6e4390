//! What is wrong with each node of the group, since when, and what was moved because of it.

use std::collections::BTreeMap;

use vipd::balance::Node;
use vipd::history::Entry;
use vipd::takeover::Cause;

use super::{Daemon, unix_milliseconds};

/// Bound: nodes that are gone and still spoken of.
const GONE_MAX: usize = 64;

/// A node that is gone for so long is not missed any more, in milliseconds.
const MISSED_FOR: u64 = 24 * 3_600_000;

/// Bound: sets that a sentence names.
const NAMED_MAX: usize = 3;

/// Movements with these causes were made because of what is wrong with a node.
const BECAUSE: [Cause; 5] = [
    Cause::Sick,
    Cause::Unable,
    Cause::Yielded,
    Cause::HolderDead,
    Cause::HolderLost,
];

/// What is wrong with nodes, by name.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    nodes: BTreeMap<String, Trouble>,
    /// The nodes of the view that will be missed, and their weights.
    present: BTreeMap<String, u32>,
}

/// What is wrong with a node.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) wrong: String,
    /// In milliseconds since 1970.
    pub(super) since: u64,
    /// Its weight, if it is gone from the view.
    pub(super) gone: Option<u32>,
}

impl Troubles {
    pub(super) fn of(&self, node: &str) -> Option<&Trouble> {
        self.nodes.get(node)
    }

    /// The nodes that are gone, with their weights.
    pub(super) fn gone(&self) -> impl Iterator<Item = (&str, u32)> {
        let nodes = self.nodes.iter();
        nodes.filter_map(|(name, trouble)| Some((name.as_str(), trouble.gone?)))
    }

    /// What is wrong now, with who is not in the view and has not said that it goes.
    fn with_gone(
        &mut self,
        nodes: &[Node],
        mut now: BTreeMap<String, Trouble>,
        since: u64,
    ) -> BTreeMap<String, Trouble> {
        let missed = std::mem::take(&mut self.present);
        for node in nodes.iter().filter(|node| !node.leaving) {
            self.present.insert(node.name.clone(), node.weight);
        }
        let is_here = |name: &String| nodes.iter().any(|node| node.name == *name);
        for (name, trouble) in &self.nodes {
            let missed = trouble.gone.is_some() && trouble.since + MISSED_FOR > since;
            if missed && !is_here(name) {
                now.insert(name.clone(), trouble.clone());
            }
        }
        let left = missed.into_iter().filter(|(name, _)| !is_here(name));
        for (name, weight) in left.take(GONE_MAX.saturating_sub(now.len())) {
            let wrong = "not in the view".to_owned();
            let gone = Some(weight);
            now.insert(name, Trouble { wrong, since, gone });
        }
        now
    }
}

impl Daemon {
    /// Notes which nodes something is wrong with now, and which are well again; `since` is when this
    /// turn of the loop began, before anything was moved in it.
    pub(super) fn note_troubles(&mut self, since: u64) {
        let Some(nodes) = self.takeover.nodes() else {
            return;
        };
        let mut now = BTreeMap::new();
        for node in nodes {
            if let Some(wrong) = self.wrong_with(node) {
                let gone = None;
                now.insert(node.name.clone(), Trouble { wrong, since, gone });
            }
        }
        let mut troubles = std::mem::take(&mut self.troubles);
        let mut now = troubles.with_gone(nodes, now, since);
        let mut changes = Vec::new();
        for (name, trouble) in &mut now {
            match troubles.nodes.get(name) {
                // What is wrong may be something else now; it has been wrong since then.
                Some(before) if before.gone == trouble.gone => trouble.since = before.since,
                _ => {
                    let event = if trouble.gone.is_some() {
                        "gone"
                    } else {
                        "sick"
                    };
                    changes.push((name.clone(), event, trouble.wrong.clone()));
                }
            }
        }
        let well = troubles
            .nodes
            .into_keys()
            .filter(|name| !now.contains_key(name));
        changes.extend(well.map(|name| (name, "well", String::new())));
        self.troubles = Troubles {
            nodes: now,
            present: troubles.present,
        };
        for (node, event, cause) in changes {
            self.history.add(Entry {
                number: 0,
                at: unix_milliseconds(),
                event: event.to_owned(),
                set: None,
                from: Some(node),
                to: None,
                cause,
            });
        }
    }

    /// What keeps a node from holding sets as it should; none if nothing does.
    pub(super) fn wrong_with(&self, node: &Node) -> Option<String> {
        let mut wrong: Vec<String> = node.sick.iter().cloned().collect();
        if node.able.count() < self.config.sets.len() && !node.leaving {
            let own = (node.name == self.node).then(|| self.wrong_with_interfaces());
            let sets = (0..self.config.sets.len()).filter(|&set| !node.able.contains(set));
            match own.filter(|text| !text.is_empty()) {
                Some(text) => wrong.push(text),
                None => wrong.push(format!("cannot hold {}", self.named(sets))),
            }
        }
        if !node.yields.is_empty() {
            let sets = self.named(node.yields.iter());
            wrong.push(format!("somebody removes addresses of {sets}"));
        }
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }

    /// The interfaces of the file that cannot be used, and why.
    fn wrong_with_interfaces(&self) -> String {
        let addresses = self.config.sets.iter().flat_map(|set| &set.addresses);
        let mut names: Vec<&str> = addresses.map(|at| at.interface.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let wrong = names
            .into_iter()
            .filter_map(|name| match self.links.get(name) {
                None => Some(format!("there is no {name}")),
                Some(link) if !link.running => Some(format!("{name} has no carrier")),
                Some(_) => None,
            });
        wrong.collect::<Vec<_>>().join(", ")
    }

    /// The names of sets; only of the first ones.
    fn named(&self, sets: impl Iterator<Item = usize>) -> String {
        let names: Vec<String> = sets
            .filter_map(|set| Some(self.config.sets.get(set)?.name()))
            .collect();
        let more = names.len().saturating_sub(NAMED_MAX);
        let text = names[..names.len().min(NAMED_MAX)].join(", ");
        match more {
            0 => text,
            more => format!("{text} and {more} more"),
        }
    }

    /// The sets that have left a node because of what is wrong with it.
    pub(super) fn moved_because(&self, node: &str, trouble: &Trouble) -> Vec<String> {
        let entries = self.history.since(None, usize::MAX).into_iter();
        let because = entries.filter(|entry| {
            let cause = entry.cause.split(": ").next().unwrap_or_default();
            entry.at >= trouble.since
                && entry.event == "moved"
                && entry.from.as_deref() == Some(node)
                && BECAUSE.iter().any(|because| because.as_str() == cause)
        });
        because.filter_map(|entry| entry.set).collect()
    }
}
