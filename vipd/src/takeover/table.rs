//! The table that all members of a view share: who holds what, as the ordered messages have it.
//!
//! It starts from a round of STATEs and changes by ordered messages alone, so it is the same at
//! every member after the same message.

use serde::{Deserialize, Serialize};

use super::catalog::{Comparison, Translation};
use super::message::State;
use super::mutant::planted;
use crate::balance::{self, Fitness, Node};
use crate::digest::Digest;
use crate::indices::Indices;

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
    /// How the sets of members with another list are called here, by member.
    translations: Vec<Option<Translation>>,
    /// Sets that are not the same in all files: they stay where they are.
    pub(super) disputed: Indices,
    /// What differs in the files, for people.
    pub(super) differences: Vec<String>,
    /// What ties are broken by: the same for a set at all members.
    lots: Vec<u64>,
    /// The first generation of the round: greater than all that its members know.
    begin: u64,
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
    /// How often the set was released in this round.
    releases: u64,
    /// The member that gets the set once the holder has released it.
    pub(super) target: Option<usize>,
    /// Why it goes there; meaningless without a target.
    pub(super) cause: Cause,
    /// Members that hold the set as well and must release it: two partitions have merged.
    pub(super) losers: Vec<(usize, u64)>,
}

/// Why a set gets another holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nobody is known to have had it.
    #[default]
    Uncovered,
    /// Its holder's guardian has released it.
    HolderDead,
    /// Its holder is gone from the view.
    HolderLost,
    /// Its holder leaves.
    Leaving,
    /// Its holder is drained.
    Drained,
    /// A check of its holder fails.
    Sick,
    /// Somebody removes its addresses from its holder again and again.
    Yielded,
    /// Its holder's interface cannot hold it.
    Unable,
    /// Its holder has the weight 0.
    Standby,
    /// Somebody has pinned it to its new holder.
    Pinned,
    /// The loads were not even.
    Balance,
    /// Its new holder is preferred.
    Failback,
    /// Somebody has moved it.
    Operator,
    /// Two partitions that had it have merged.
    Merged,
}

impl Cause {
    /// The word for logs and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Uncovered => "uncovered",
            Cause::HolderDead => "holder-dead",
            Cause::HolderLost => "holder-lost",
            Cause::Leaving => "leaving",
            Cause::Drained => "drained",
            Cause::Sick => "sick",
            Cause::Yielded => "yielded",
            Cause::Unable => "unable",
            Cause::Standby => "standby",
            Cause::Pinned => "pinned",
            Cause::Balance => "balance",
            Cause::Failback => "failback",
            Cause::Operator => "operator",
            Cause::Merged => "merged",
        }
    }

    /// Why a node should not keep a set that a better one can hold.
    fn of_unfit(node: &Node, set: usize) -> Cause {
        match node.fitness(set) {
            Fitness::Unfit if node.leaving => Cause::Leaving,
            Fitness::Unfit => Cause::Unable,
            Fitness::Sick if node.sick.is_none() => Cause::Yielded,
            Fitness::Sick => Cause::Sick,
            Fitness::Drained => Cause::Drained,
            Fitness::Standby => Cause::Standby,
            Fitness::Good => Cause::Pinned,
        }
    }
}

/// A set that has got another holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The set, by index of the canonical list.
    pub set: usize,
    /// The node that held it, if one is known.
    pub from: Option<String>,
    /// The node that holds it next; none if no node can.
    pub to: Option<String>,
    /// Why.
    pub cause: Cause,
    /// What exactly is wrong with the node that held it; empty if nothing is.
    pub detail: String,
}

/// What the release of a set has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has gone to the member that was to have it.
    HandedOver(Movement),
    /// It is free, and may be dealt.
    Freed,
    /// Its holder is the only one again.
    Undisputed,
}

impl Table {
    /// The table after a round: the STATE of every member, in the order of the view.
    ///
    /// `lists` are the receiver's own list and, if there are others, what they make of it; `digest`
    /// is that of the round.
    pub(super) fn new(
        states: Vec<State>,
        (own, comparison): (&[String], Option<Comparison>),
        digest: Digest,
    ) -> Table {
        let set_count = own.len();
        let lot = |(index, set): (usize, &String)| match &comparison {
            None => index as u64,
            Some(_) => Digest::new().part(set.as_bytes()).value(),
        };
        let lots = own.iter().enumerate().map(lot).collect();
        let mut comparison = comparison.unwrap_or_default();
        let clocks = states.iter().map(|state| state.clock);
        // A member at the greatest generation would stop all others; it is not believed.
        let begin = clocks.max().unwrap_or(0).min(u64::MAX / 2) + 1;
        let mut table = Table {
            round: digest.value(),
            nodes: Vec::with_capacity(states.len()),
            entries: vec![Entry::default(); set_count],
            mature: states.iter().any(|state| state.mature),
            translations: Vec::with_capacity(states.len()),
            disputed: comparison.disputed,
            differences: comparison.differences,
            lots,
            begin,
            clock: begin,
        };
        let mut claims: Vec<Vec<(usize, u64)>> = vec![Vec::new(); set_count];
        for (member, state) in states.into_iter().enumerate() {
            let translation = comparison.translations.get_mut(&state.config);
            table.translations.push(translation.cloned());
            for (generation, sets) in &state.holds {
                let sets = table.translated(member, sets);
                for set in sets.iter().take_while(|&set| set < set_count) {
                    claims[set].push((member, *generation));
                }
            }
            table.nodes.push(Node::default());
            table.set_node(member, state.node);
        }
        for (set, mut claims) in claims.into_iter().enumerate() {
            let rank = |&(member, _): &(usize, u64)| {
                let node = &table.nodes[member];
                (node.fitness(set), node.rank(set), member)
            };
            claims.sort_by_key(rank);
            // A member that claims a set twice is its own rival only in a broken STATE.
            claims.dedup_by_key(|claim| claim.0);
            let mut claims = claims.into_iter();
            if let Some((holder, generation)) = claims.next() {
                table.entries[set] = Entry {
                    holder: Some(holder),
                    generation,
                    losers: claims.collect(),
                    ..Entry::default()
                };
            }
        }
        table
    }

    /// What a member says of itself, in the receiver's indices. It can hold no disputed set that it
    /// does not have.
    pub(super) fn set_node(&mut self, member: usize, mut node: Node) {
        if let Some(translation) = &self.translations[member] {
            node.able = translation.sets(&node.able);
            node.yields = translation.sets(&node.yields);
            for sets in &mut node.prefers {
                *sets = translation.sets(sets);
            }
            node.pins.retain_mut(|pin| match translation.set(pin.set) {
                Some(set) => {
                    pin.set = set;
                    true
                }
                None => false,
            });
        }
        self.nodes[member] = node;
    }

    /// A member's sets in the receiver's indices.
    pub(super) fn translated(&self, member: usize, sets: &Indices) -> Indices {
        match &self.translations[member] {
            Some(translation) => translation.sets(sets),
            None => sets.clone(),
        }
    }

    /// Deals what is free, and finds a better place for what is badly held. Gives what was dealt.
    pub(super) fn settle(&mut self) -> Vec<Movement> {
        let mut movements = Vec::new();
        if !self.mature {
            return movements;
        }
        let dealt = self.deal(&self.nodes);
        for (set, place) in dealt.into_iter().enumerate() {
            let Some(place) = place.filter(|_| self.entries[set].losers.is_empty()) else {
                continue;
            };
            let entry = &mut self.entries[set];
            match entry.holder {
                None => {
                    entry.holder = Some(place);
                    entry.generation = self.begin + entry.releases;
                    movements.push(self.movement(set, None, Some(place), Cause::Uncovered));
                }
                // With a target the holder has been told to release: it goes on to another, and
                // back to the holder itself only by way of its release.
                Some(holder) => {
                    let present = entry.target.unwrap_or(holder);
                    if place != present && self.is_better(set, place, present) {
                        let entry = &mut self.entries[set];
                        entry.cause = Cause::of_unfit(&self.nodes[holder], set);
                        entry.target = Some(place);
                    }
                }
            }
        }
        movements
    }

    /// Where each set that is the same in all files belongs, if the nodes were these.
    pub(super) fn deal(&self, nodes: &[Node]) -> Vec<Option<usize>> {
        let mut dealt = balance::deal(nodes, &self.places(), &self.lots, &self.disputed);
        for set in self.disputed.iter() {
            dealt[set] = None;
        }
        dealt
    }

    /// The moves that make loads even, as [`balance::level`] has them.
    pub(super) fn level(&self, places: &[Option<usize>], moves_max: usize) -> Vec<(usize, usize)> {
        balance::level(&self.nodes, places, moves_max, &self.lots)
    }

    /// Whether a set must go to another node: one that is more fit, or that it is pinned to.
    fn is_better(&self, set: usize, place: usize, present: usize) -> bool {
        self.nodes[place].fitness(set) < self.nodes[present].fitness(set)
            || balance::pinned(&self.nodes, set) == Some(place)
    }

    fn movement(
        &self,
        set: usize,
        from: Option<usize>,
        to: Option<usize>,
        cause: Cause,
    ) -> Movement {
        let name = |member: usize| self.nodes[member].name.clone();
        let sick = from.and_then(|from| self.nodes[from].sick.clone());
        Movement {
            set,
            from: from.map(name),
            to: to.map(name),
            cause,
            detail: sick.filter(|_| cause == Cause::Sick).unwrap_or_default(),
        }
    }

    /// The sets that two partitions have brought along, each with who keeps it.
    pub(super) fn disputes(&self) -> Vec<Movement> {
        let sets = self.entries.iter().enumerate();
        sets.flat_map(|(set, entry)| {
            let losers = entry.losers.iter();
            losers.map(move |&(loser, _)| {
                self.movement(set, Some(loser), entry.holder, Cause::Merged)
            })
        })
        .collect()
    }

    /// Notes a planned move; gives whether it is one that can be made.
    pub(super) fn plan(&mut self, set: usize, to: usize, cause: Cause) -> bool {
        let fit = self
            .nodes
            .get(to)
            .is_some_and(|node| node.fitness(set) != Fitness::Unfit);
        let Some(entry) = self.entries.get_mut(set) else {
            return false;
        };
        let same = !self.disputed.contains(set);
        let free = entry.target.is_none() && entry.losers.is_empty() && same;
        let possible = fit && free && entry.holder.is_some_and(|holder| holder != to);
        if !possible {
            return false;
        }
        entry.target = Some(to);
        entry.cause = cause;
        if planted("claim-before-released") {
            entry.holder = entry.target.take();
        }
        true
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
        // Counted by set: so those that were released as often have the same one, and a STATE is
        // short; and this release is void if it comes again.
        entry.releases += 1;
        entry.generation = self.begin + entry.releases;
        self.clock = self.clock.max(entry.generation);
        let (holder, cause) = (entry.holder, entry.cause);
        Some(match holder {
            Some(_) => Change::HandedOver(self.movement(set, Some(member), holder, cause)),
            None => Change::Freed,
        })
    }

    /// Where each set that is the same in all files is, or is going.
    pub(super) fn places(&self) -> Vec<Option<usize>> {
        let entries = self.entries.iter().enumerate();
        entries
            .map(|(set, entry)| {
                let place = entry.target.or(entry.holder);
                place.filter(|_| !self.disputed.contains(set))
            })
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
        if planted("merge-keeps-both") {
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
