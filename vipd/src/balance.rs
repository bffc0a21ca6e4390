//! Who holds which set: pure functions of what every member knows, so that all decide alike.
//!
//! [`deal`] covers sets and moves none that is well placed. [`fail_back`] and [`level`] propose the
//! planned moves that bring sets back to whoever prefers them and make loads even. None looks at
//! the order of the nodes but by their names, so a different order of members changes nothing.
//!
//! A set's place, by what counts first: its pin; the fittest node; of those its present holder; of
//! those the one that prefers it most; of those the emptiest for its weight; of those a lot.

use std::cmp::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::indices::Indices;

/// What a node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name; no two are alike.
    pub name: String,
    /// Its share of the load; 0 for a node that only helps when no other can.
    pub weight: u32,
    /// It is to hold nothing that another can hold.
    pub drained: bool,
    /// It goes away, and holds nothing.
    pub leaving: bool,
    /// What a check says is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sick: Option<String>,
    /// The sets whose interfaces it has.
    pub able: Indices,
    /// The sets that it takes only if no other can: somebody on it removes their addresses.
    #[serde(default, skip_serializing_if = "Indices::is_empty")]
    pub yields: Indices,
    /// The sets that it wants, by rank: those first that it wants before all other nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefers: Vec<Indices>,
    /// What was pinned at it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
}

/// Somebody's wish that a set stays at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The set.
    pub set: usize,
    /// The node's name; empty if a pin was ended.
    pub node: String,
    /// Of several pins of a set, the one with the greatest stamp counts.
    pub stamp: u64,
}

/// When sets go back to nodes that prefer them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// They stay where they are.
    Never,
    /// When the node has been fit for so long.
    After(Duration),
    /// When somebody asks for it.
    Manual,
}

/// How good a place a node is for a set; the lesser the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// It takes its share.
    Good,
    /// Its weight is 0.
    Standby,
    /// It is drained.
    Drained,
    /// A check fails, or it yields the set.
    Sick,
    /// It cannot hold the set.
    Unfit,
}

impl Fitness {
    /// The word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Fitness::Good => "good",
            Fitness::Standby => "standby",
            Fitness::Drained => "drained",
            Fitness::Sick => "sick",
            Fitness::Unfit => "unfit",
        }
    }
}

impl Node {
    /// How good a place this node is for the set.
    pub fn fitness(&self, set: usize) -> Fitness {
        if self.leaving || !self.able.contains(set) {
            Fitness::Unfit
        } else if self.sick.is_some() || self.yields.contains(set) {
            Fitness::Sick
        } else if self.drained {
            Fitness::Drained
        } else if self.weight == 0 {
            Fitness::Standby
        } else {
            Fitness::Good
        }
    }

    /// How much it wants the set: 0 before all others, `usize::MAX` not at all.
    pub fn rank(&self, set: usize) -> usize {
        let rank = self.prefers.iter().position(|sets| sets.contains(set));
        rank.unwrap_or(usize::MAX)
    }

    /// The tie-break of a set and this node, different for each pair (rendezvous hashing).
    fn lot(&self, set: u64) -> u64 {
        let digest = Digest::new().number(set);
        digest.part(self.name.as_bytes()).value()
    }
}

/// The node that a set is pinned to, if that one can hold it and is not sick.
pub fn pinned(nodes: &[Node], set: usize) -> Option<usize> {
    let pins = nodes.iter().flat_map(|node| &node.pins);
    let last = pins
        .filter(|pin| pin.set == set)
        .max_by(|left, right| (left.stamp, &left.node).cmp(&(right.stamp, &right.node)))?;
    let node = nodes.iter().position(|node| node.name == last.node)?;
    (nodes[node].fitness(set) < Fitness::Sick).then_some(node)
}

/// Gives every set a holder; moves none that has one as fit as any.
///
/// `holders` are indices of `nodes`, `lots` what breaks ties, for each set; those in `left_out` are
/// not dealt. None in the result: no node can hold the set.
pub fn deal(
    nodes: &[Node],
    holders: &[Option<usize>],
    lots: &[u64],
    left_out: &Indices,
) -> Vec<Option<usize>> {
    let any_pin = nodes.iter().any(|node| !node.pins.is_empty());
    let stays = |(set, &holder): (usize, &Option<usize>)| {
        if left_out.contains(set) {
            return None;
        }
        if any_pin && let Some(node) = pinned(nodes, set) {
            return Some(node);
        }
        let best = nodes.iter().map(|node| node.fitness(set)).min()?;
        holder.filter(|&node| best != Fitness::Unfit && nodes[node].fitness(set) == best)
    };
    let mut dealt: Vec<Option<usize>> = holders.iter().enumerate().map(stays).collect();
    let mut loads = loads(nodes, &dealt);
    for (set, place) in dealt.iter_mut().enumerate() {
        if place.is_some() || left_out.contains(set) {
            continue;
        }
        let fit = |&node: &usize| nodes[node].fitness(set) != Fitness::Unfit;
        let rank = |&node: &usize| (nodes[node].fitness(set), nodes[node].rank(set));
        *place = (0..nodes.len()).filter(fit).min_by(|left, right| {
            rank(left)
                .cmp(&rank(right))
                .then_with(|| compare_load(nodes, &loads, 1, *left, 1, *right))
                .then_with(|| {
                    nodes[*left]
                        .lot(lots[set])
                        .cmp(&nodes[*right].lot(lots[set]))
                })
                .then_with(|| nodes[*left].name.cmp(&nodes[*right].name))
        });
        if let Some(node) = *place {
            loads[node] += 1;
        }
    }
    dealt
}

/// The moves, at most so many, that bring sets to a good node that prefers them more than their
/// holder does; `takes_back` says which nodes may get any.
pub fn fail_back(
    nodes: &[Node],
    holders: &[Option<usize>],
    takes_back: &[bool],
    moves_max: usize,
) -> Vec<(usize, usize)> {
    let mut loads = loads(nodes, holders);
    let mut moves = Vec::new();
    for (set, holder) in holders.iter().enumerate() {
        if moves.len() == moves_max {
            break;
        }
        let Some(holder) = holder.filter(|_| pinned(nodes, set).is_none()) else {
            continue;
        };
        let wants = |&node: &usize| {
            takes_back[node]
                && nodes[node].fitness(set) == Fitness::Good
                && nodes[node].rank(set) < nodes[holder].rank(set)
        };
        let to = (0..nodes.len()).filter(wants).min_by(|&left, &right| {
            let ranks = nodes[left].rank(set).cmp(&nodes[right].rank(set));
            ranks
                .then_with(|| compare_load(nodes, &loads, 1, left, 1, right))
                .then_with(|| nodes[left].name.cmp(&nodes[right].name))
        });
        if let Some(to) = to {
            loads[holder] -= 1;
            loads[to] += 1;
            moves.push((set, to));
        }
    }
    moves
}

/// The moves, at most so many, from the fullest node to the emptiest while that makes the greater
/// of the two loads less; no set leaves a node for one that prefers it less, nor its pin.
pub fn level(
    nodes: &[Node],
    holders: &[Option<usize>],
    moves_max: usize,
    lots: &[u64],
) -> Vec<(usize, usize)> {
    let mut holders = holders.to_vec();
    let mut loads = loads(nodes, &holders);
    let mut moves = Vec::new();
    // Bound: each move makes the sum of squared loads per weight less.
    while moves.len() < moves_max
        && let Some((set, to)) = next_move(nodes, &loads, &holders, lots)
    {
        if let Some(from) = holders[set].replace(to) {
            loads[from] -= 1;
        }
        loads[to] += 1;
        moves.push((set, to));
    }
    moves
}

/// The move from the fullest node to the emptiest that both allow.
fn next_move(
    nodes: &[Node],
    loads: &[u64],
    holders: &[Option<usize>],
    lots: &[u64],
) -> Option<(usize, usize)> {
    let mut order: Vec<usize> = (0..nodes.len()).filter(|&n| nodes[n].weight > 0).collect();
    order.sort_by(|&left, &right| {
        compare_load(nodes, loads, 0, left, 0, right)
            .then_with(|| nodes[left].name.cmp(&nodes[right].name))
    });
    for &from in order.iter().rev() {
        for &to in &order {
            // Also ends the search where `to` is `from`.
            if compare_load(nodes, loads, 0, from, 1, to) != Ordering::Greater {
                break;
            }
            let movable = |&set: &usize| {
                holders[set] == Some(from)
                    && nodes[to].fitness(set) == Fitness::Good
                    && nodes[to].rank(set) <= nodes[from].rank(set)
                    && pinned(nodes, set).is_none()
            };
            let sets = (0..holders.len()).filter(movable);
            if let Some(set) = sets.min_by_key(|&set| (nodes[to].lot(lots[set]), set)) {
                return Some((set, to));
            }
        }
    }
    None
}

/// Compares loads for weights, with so many sets added on either side.
fn compare_load(
    nodes: &[Node],
    loads: &[u64],
    more_left: u64,
    left: usize,
    more_right: u64,
    right: usize,
) -> Ordering {
    // A weight of 0 counts as 1 among its like: fitness has told it from the others.
    let weight = |node: usize| u64::from(nodes[node].weight.max(1));
    let left_load = (loads[left] + more_left) * weight(right);
    left_load.cmp(&((loads[right] + more_right) * weight(left)))
}

fn loads(nodes: &[Node], holders: &[Option<usize>]) -> Vec<u64> {
    let mut loads = vec![0; nodes.len()];
    for &holder in holders.iter().flatten() {
        loads[holder] += 1;
    }
    loads
}

#[cfg(test)]
mod tests;
