//! What a member knows about its group and its sets, for people.

use super::{Bus, Takeover};
use crate::balance::{self, Node};

/// What a member knows.
#[derive(Clone, Debug)]
pub struct Overview<'a> {
    /// `offline`, `gather`, `run` or `transition`.
    pub phase: &'static str,
    /// The members, in the order of the view; empty but in `run`.
    pub nodes: &'a [Node],
    /// What differs in the files of the members.
    pub differences: &'a [String],
    /// Sessions that a round waits for.
    pub awaited: Vec<&'a str>,
    /// Whether sets are dealt.
    pub mature: bool,
    /// By index of the canonical list.
    pub sets: Vec<SetOverview>,
    /// Messages that were not understood.
    pub ignored: u64,
}

/// One set, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetOverview {
    /// The member that holds it, by index.
    pub holder: Option<usize>,
    /// The member that it is going to.
    pub target: Option<usize>,
    /// The member that it is pinned to.
    pub pinned: Option<usize>,
    /// Whether more than one member holds it.
    pub disputed: bool,
    /// Whether it is not the same in all files, and stays where it is.
    pub blocked: bool,
    /// How it is at this member.
    pub here: &'static str,
}

impl Takeover {
    /// What this member knows about its group and its sets.
    pub fn overview(&self) -> Overview<'_> {
        let (phase, table) = match &self.bus {
            Bus::Offline { .. } => ("offline", None),
            Bus::Gather(_) => ("gather", None),
            Bus::Run { .. } if self.transitional => ("transition", None),
            Bus::Run { table, .. } => ("run", Some(table)),
        };
        let awaited = match &self.bus {
            Bus::Gather(round) => {
                let name = |member: usize| round.view.members[member].as_str();
                round.missing().map(name).collect()
            }
            _ => Vec::new(),
        };
        let entries = table.map_or(&[][..], |table| &table.entries);
        let nodes = table.map_or(&[][..], |table| &table.nodes);
        let sets = self.slots.iter().enumerate().map(|(set, slot)| {
            let entry = entries.get(set);
            SetOverview {
                holder: entry.and_then(|entry| entry.holder),
                target: entry.and_then(|entry| entry.target),
                pinned: balance::pinned(nodes, set),
                disputed: entry.is_some_and(|entry| !entry.losers.is_empty()),
                blocked: table.is_some_and(|table| table.disputed.contains(set)),
                here: slot.local.as_str(),
            }
        });
        Overview {
            phase,
            nodes,
            differences: table.map_or(&[], |table| &table.differences),
            awaited,
            mature: self.mature,
            sets: sets.collect(),
            ignored: self.ignored,
        }
    }

    /// The members, in the order of the view; none while there is no agreed table.
    pub fn nodes(&self) -> Option<&[Node]> {
        match &self.bus {
            Bus::Run { table, .. } if !self.transitional => Some(&table.nodes),
            _ => None,
        }
    }

    /// Where each set would go if these nodes were gone, by index of [`Overview::nodes`]; none
    /// while there is no table.
    pub fn what_if(&self, down: &[String]) -> Option<Vec<Option<usize>>> {
        let Bus::Run { table, .. } = &self.bus else {
            return None;
        };
        let mut nodes = table.nodes.clone();
        for node in &mut nodes {
            node.leaving |= down.contains(&node.name);
        }
        Some(table.deal(&nodes))
    }
}
