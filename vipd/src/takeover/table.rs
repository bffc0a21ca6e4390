//! The table that all members of a view share: who holds what, as the ordered messages have it.
//!
//! It starts from a round of STATEs and changes by ordered messages alone, so it is the same at
//! every member after the same message.

use crate::balance::{self, Node};
use crate::digest::Digest;
use crate::indices::Indices;

use super::message::State;

/// The sets and members of a view after its round of STATEs.
#[derive(Debug)]
pub(super) struct Table {
    /// Digest of the round: moves are valid in the round that they name.
    pub(super) round: u64,
    /// In the order of the view.
    pub(super) nodes: Vec<Node>,
    /// By index of the canonical list.
    pub(super) entries: Vec<Entry>,
    /// Whether free sets are dealt.
    pub(super) mature: bool,
    /// Nodes whose configuration is another than the receiver's; while there are any, nothing is
    /// dealt and nothing moves.
    pub(super) strangers: Vec<String>,
    /// The greatest generation.
    pub(super) clock: u64,
}

/// One set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// The member that holds the set, or is to acquire it.
    pub(super) holder: Option<usize>,
    /// Of this holding; meaningless without a holder.
    pub(super) generation: u64,
    /// The member that gets the set once the holder has released it.
    pub(super) target: Option<usize>,
    /// Members that hold the set as well and must release it: two partitions have merged.
    pub(super) losers: Vec<(usize, u64)>,
}

/// What the release of a set has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has gone to the member that was to have it.
    HandedOver,
    /// It is free, and may be dealt.
    Freed,
    /// Its holder is the only one again.
    Undisputed,
}

impl Table {
    /// The table after a round: the STATE of every member, in the order of the view.
    ///
    /// `config` is the receiver's digest, `digest` that of the round.
    pub(super) fn new(states: Vec<State>, config: u64, set_count: usize, digest: Digest) -> Table {
        let mut table = Table {
            round: digest.value(),
            nodes: Vec::with_capacity(states.len()),
            entries: vec![Entry::default(); set_count],
            mature: states.iter().any(|state| state.mature),
            strangers: Vec::new(),
            // A member at the greatest generation would stop all others; it is not believed.
            clock: states
                .iter()
                .map(|state| state.clock)
                .max()
                .unwrap_or(0)
                .min(u64::MAX / 2)
                + 1,
        };
        let mut claims: Vec<Vec<(usize, u64)>> = vec![Vec::new(); set_count];
        for (member, state) in states.into_iter().enumerate() {
            if state.config == config {
                for (generation, sets) in &state.holds {
                    for set in sets.iter().take_while(|&set| set < set_count) {
                        claims[set].push((member, *generation));
                    }
                }
            } else {
                table.strangers.push(state.node.name.clone());
            }
            table.nodes.push(state.node);
        }
        for (set, mut claims) in claims.into_iter().enumerate() {
            let rank = |&(member, _): &(usize, u64)| {
                let node = &table.nodes[member];
                (node.fitness(set), !node.prefers.contains(set), member)
            };
            claims.sort_by_key(rank);
            // A member that claims a set twice is its own rival only in a broken STATE.
            claims.dedup_by_key(|claim| claim.0);
            let mut claims = claims.into_iter();
            if let Some((holder, generation)) = claims.next() {
                table.entries[set] = Entry {
                    holder: Some(holder),
                    generation,
                    target: None,
                    losers: claims.collect(),
                };
            }
        }
        table
    }

    /// Deals what is free, and finds a better place for what is badly held.
    pub(super) fn settle(&mut self) {
        if !self.mature || !self.strangers.is_empty() {
            return;
        }
        let places: Vec<Option<usize>> = self
            .entries
            .iter()
            .map(|entry| entry.target.or(entry.holder))
            .collect();
        let dealt = balance::deal(&self.nodes, &places);
        for ((set, entry), place) in self.entries.iter_mut().enumerate().zip(dealt) {
            if !entry.losers.is_empty() || place.is_none() {
                continue;
            }
            match (entry.holder, entry.target) {
                (None, _) => {
                    entry.holder = place;
                    entry.generation = self.clock;
                }
                (Some(holder), target) if place != target.or(Some(holder)) => {
                    // With a target the holder has been told to release: it goes on to another,
                    // and back to the holder itself only by way of its release.
                    let better = place.is_some_and(|place| {
                        self.nodes[place].fitness(set)
                            < self.nodes[target.unwrap_or(holder)].fitness(set)
                    });
                    if better {
                        entry.target = place;
                    }
                }
                _ => {}
            }
        }
    }

    /// Notes a planned move; gives whether it is one that can be made.
    pub(super) fn plan(&mut self, set: usize, to: usize) -> bool {
        let fit = self
            .nodes
            .get(to)
            .is_some_and(|node| node.fitness(set) != balance::Fitness::Unfit);
        let Some(entry) = self.entries.get_mut(set) else {
            return false;
        };
        let free = entry.target.is_none() && entry.losers.is_empty();
        let possible = fit && free && entry.holder.is_some_and(|holder| holder != to);
        if possible && self.strangers.is_empty() {
            entry.target = Some(to);
            if cfg!(mutant = "claim-before-released") {
                entry.holder = entry.target.take();
            }
            return true;
        }
        false
    }

    /// Notes that a member has released a set that it held in this generation.
    ///
    /// None if it did not hold it so: the message is of another time.
    pub(super) fn release(&mut self, member: usize, set: usize, generation: u64) -> Option<Change> {
        let entry = self.entries.get_mut(set)?;
        if let Some(at) = entry
            .losers
            .iter()
            .position(|&loser| loser == (member, generation))
        {
            entry.losers.remove(at);
            return entry.losers.is_empty().then_some(Change::Undisputed);
        }
        if entry.holder != Some(member) || entry.generation != generation {
            return None;
        }
        entry.holder = entry.target.take();
        entry.generation = self.clock;
        Some(match entry.holder {
            Some(_) => Change::HandedOver,
            None => Change::Freed,
        })
    }

    /// Where each set is, or is going.
    pub(super) fn places(&self) -> Vec<Option<usize>> {
        self.entries
            .iter()
            .map(|entry| entry.target.or(entry.holder))
            .collect()
    }

    /// Whether a planned move or a release is under way.
    pub(super) fn is_moving(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.target.is_some() || !entry.losers.is_empty())
    }

    /// The generation in which a member must release a set; none if it need not.
    pub(super) fn to_release(&self, member: usize, set: usize) -> Option<u64> {
        let entry = &self.entries[set];
        let leaving = self.nodes[member].leaving;
        if entry.holder == Some(member) && (entry.target.is_some() || leaving) {
            return Some(entry.generation);
        }
        if cfg!(mutant = "merge-keeps-both") {
            return None;
        }
        entry
            .losers
            .iter()
            .find(|loser| loser.0 == member)
            .map(|loser| loser.1)
    }

    /// Marks nodes that have the name of another one: all but the one that holds most, and of
    /// equals the first, go away.
    pub(super) fn dismiss_namesakes(&mut self) -> Vec<usize> {
        let held = |table: &Table, member: usize| {
            let of = |entry: &&Entry| entry.holder == Some(member);
            table.entries.iter().filter(of).count()
        };
        let mut dismissed = Vec::new();
        for member in 0..self.nodes.len() {
            let rivals = (0..self.nodes.len()).filter(|&other| {
                other != member && self.nodes[other].name == self.nodes[member].name
            });
            let own = held(self, member);
            if rivals.into_iter().any(|other| {
                let theirs = held(self, other);
                theirs > own || (theirs == own && other < member)
            }) {
                dismissed.push(member);
            }
        }
        for &member in &dismissed {
            self.nodes[member].leaving = true;
        }
        dismissed
    }

    /// The sets of a node, by its index.
    pub(super) fn held_by(&self, member: usize) -> Indices {
        let sets = self.entries.iter().enumerate();
        sets.filter(|(_, entry)| entry.holder == Some(member))
            .map(|(set, _)| set)
            .collect()
    }
}
