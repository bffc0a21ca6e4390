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
    /// A check fails.
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
        } else if self.sick.is_some() {
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
    fn lot(&self, set: usize) -> u64 {
        let digest = Digest::new().number(set as u64);
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
/// `holders` are indices of `nodes`. None in the result: no node can hold the set.
pub fn deal(nodes: &[Node], holders: &[Option<usize>]) -> Vec<Option<usize>> {
    let any_pin = nodes.iter().any(|node| !node.pins.is_empty());
    let stays = |(set, &holder): (usize, &Option<usize>)| {
        if any_pin && let Some(node) = pinned(nodes, set) {
            return Some(node);
        }
        let best = nodes.iter().map(|node| node.fitness(set)).min()?;
        holder.filter(|&node| best != Fitness::Unfit && nodes[node].fitness(set) == best)
    };
    let mut dealt: Vec<Option<usize>> = holders.iter().enumerate().map(stays).collect();
    let mut loads = loads(nodes, &dealt);
    for (set, place) in dealt.iter_mut().enumerate() {
        if place.is_some() {
            continue;
        }
        let fit = |&node: &usize| nodes[node].fitness(set) != Fitness::Unfit;
        let rank = |&node: &usize| (nodes[node].fitness(set), nodes[node].rank(set));
        *place = (0..nodes.len()).filter(fit).min_by(|left, right| {
            rank(left)
                .cmp(&rank(right))
                .then_with(|| compare_load(nodes, &loads, 1, *left, 1, *right))
                .then_with(|| nodes[*left].lot(set).cmp(&nodes[*right].lot(set)))
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
pub fn level(nodes: &[Node], holders: &[Option<usize>], moves_max: usize) -> Vec<(usize, usize)> {
    let mut holders = holders.to_vec();
    let mut loads = loads(nodes, &holders);
    let mut moves = Vec::new();
    // Bound: each move makes the sum of squared loads per weight less.
    while moves.len() < moves_max
        && let Some((set, to)) = next_move(nodes, &loads, &holders)
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
fn next_move(nodes: &[Node], loads: &[u64], holders: &[Option<usize>]) -> Option<(usize, usize)> {
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
            if let Some(set) = sets.min_by_key(|&set| (nodes[to].lot(set), set)) {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes(names: &[&str], sets: usize) -> Vec<Node> {
        names
            .iter()
            .map(|name| Node {
                name: (*name).to_owned(),
                weight: 1,
                able: Indices::all(sets),
                ..Node::default()
            })
            .collect()
    }

    fn counts(nodes: &[Node], holders: &[Option<usize>]) -> Vec<u64> {
        loads(nodes, holders)
    }

    #[test]
    fn weights_are_shares() {
        let mut nodes = nodes(&["a", "b", "c"], 40);
        nodes[1].weight = 3;
        nodes[2].weight = 0;
        let dealt = deal(&nodes, &[None; 40]);
        assert_eq!(counts(&nodes, &dealt), [10, 30, 0]);
        assert_eq!(level(&nodes, &dealt, 40), []);
        // The standby serves when nobody else can.
        nodes[0].leaving = true;
        nodes[1].able = Indices::default();
        assert_eq!(counts(&nodes, &deal(&nodes, &dealt)), [0, 0, 40]);
    }

    #[test]
    fn preferences_decide_where_free_sets_go_and_what_goes_back() {
        let mut nodes = nodes(&["a", "b"], 4);
        nodes[1].prefers = vec![[0, 1, 2].into_iter().collect()];
        let dealt = deal(&nodes, &[None; 4]);
        assert_eq!(dealt, [Some(1), Some(1), Some(1), Some(0)]);
        assert_eq!(level(&nodes, &dealt, 4), []);
        let away = [Some(0); 4];
        assert_eq!(deal(&nodes, &away), away);
        assert_eq!(fail_back(&nodes, &away, &[true; 2], 2), [(0, 1), (1, 1)]);
        assert_eq!(fail_back(&nodes, &away, &[true; 2], 9).len(), 3);
        assert_eq!(fail_back(&nodes, &away, &[true, false], 9), []);
        assert_eq!(level(&nodes, &away, 9).len(), 2);
    }

    #[test]
    fn preferences_are_ordered() {
        let mut nodes = nodes(&["a", "b", "c"], 1);
        let only: Indices = [0].into_iter().collect();
        nodes[2].prefers = vec![only.clone()];
        nodes[1].prefers = vec![Indices::default(), only];
        assert_eq!(deal(&nodes, &[None]), [Some(2)]);
        nodes[2].leaving = true;
        assert_eq!(deal(&nodes, &[Some(2)]), [Some(1)]);
        nodes[2].leaving = false;
        assert_eq!(deal(&nodes, &[Some(1)]), [Some(1)]);
        assert_eq!(fail_back(&nodes, &[Some(1)], &[true; 3], 9), [(0, 2)]);
        assert_eq!(
            fail_back(&nodes, &[Some(0)], &[true, true, false], 9),
            [(0, 1)]
        );
    }

    #[test]
    fn a_pin_counts_while_its_node_is_well() {
        let mut nodes = nodes(&["a", "b"], 2);
        let pin = |node: &str, stamp| Pin {
            set: 0,
            node: node.into(),
            stamp,
        };
        nodes[0].pins = vec![pin("b", 1)];
        assert_eq!(deal(&nodes, &[Some(0), Some(0)]), [Some(1), Some(0)]);
        nodes[1].sick = Some("tcp".into());
        assert_eq!(deal(&nodes, &[Some(1), Some(0)]), [Some(0), Some(0)]);
        nodes[1].sick = None;
        // The last word counts, whoever said it; the empty name ends a pin.
        nodes[1].pins = vec![pin("a", 2)];
        assert_eq!(deal(&nodes, &[Some(1), Some(0)]), [Some(0), Some(0)]);
        nodes[0].pins = vec![pin("", 3)];
        assert_eq!(deal(&nodes, &[Some(1), Some(0)]), [Some(1), Some(0)]);
        assert_eq!(pinned(&nodes, 1), None);
    }

    #[test]
    fn all_sick_is_least_bad() {
        let mut nodes = nodes(&["a", "b"], 1);
        nodes[0].sick = Some("exec".into());
        assert_eq!(deal(&nodes, &[Some(0)]), [Some(1)]);
        nodes[1].drained = true;
        assert_eq!(deal(&nodes, &[Some(0)]), [Some(1)]);
        nodes[1].sick = Some("exec".into());
        assert_eq!(deal(&nodes, &[Some(0)]), [Some(0)]);
    }

    #[test]
    fn all_drained_is_least_bad() {
        let mut nodes = nodes(&["a", "b"], 2);
        nodes[0].drained = true;
        assert_eq!(deal(&nodes, &[Some(0), Some(0)]), [Some(1), Some(1)]);
        nodes[1].drained = true;
        assert_eq!(deal(&nodes, &[Some(0), Some(0)]), [Some(0), Some(0)]);
        nodes[0].leaving = true;
        nodes[1].leaving = true;
        assert_eq!(deal(&nodes, &[Some(0), None]), [None, None]);
    }

    prop_compose! {
        fn node(sets: usize)(
            weight in 0u32..4,
            drained in prop::bool::weighted(0.2),
            leaving in prop::bool::weighted(0.1),
            sick in prop::bool::weighted(0.2),
            able in prop::collection::vec(prop::bool::weighted(0.8), sets),
            prefers in prop::collection::vec(prop::bool::weighted(0.2), sets),
        ) -> Node {
            let chosen = |bits: Vec<bool>| (0..sets).filter(|&set| bits[set]).collect();
            Node { weight, drained, leaving, able: chosen(able), prefers: vec![chosen(prefers)],
                   sick: sick.then(|| "tcp".to_owned()), ..Node::default() }
        }
    }

    prop_compose! {
        fn site()(sets in 0usize..30, count in 1usize..6)(
            nodes in prop::collection::vec(node(sets), count),
            holders in prop::collection::vec(prop::option::of(0..count), sets),
        ) -> (Vec<Node>, Vec<Option<usize>>) {
            let named = nodes.into_iter().enumerate();
            let nodes = named.map(|(i, node)| Node { name: format!("n{i}"), ..node }).collect();
            (nodes, holders)
        }
    }

    proptest! {
        #[test]
        fn everything_is_covered_and_nothing_well_placed_moves((nodes, holders) in site()) {
            let dealt = deal(&nodes, &holders);
            for (set, place) in dealt.iter().enumerate() {
                let best = nodes.iter().map(|node| node.fitness(set)).min().unwrap();
                match place {
                    None => prop_assert_eq!(best, Fitness::Unfit),
                    Some(node) => prop_assert_eq!(nodes[*node].fitness(set), best),
                }
                let stays = holders[set].filter(|&node| nodes[node].fitness(set) == best);
                prop_assert!(best == Fitness::Unfit || stays.is_none() || stays == *place);
            }
            prop_assert_eq!(deal(&nodes, &dealt), dealt);
        }

        #[test]
        fn the_order_of_members_does_not_matter((nodes, holders) in site(), turn in 0usize..6) {
            let turn = turn % nodes.len();
            let mut turned = nodes.clone();
            turned.rotate_left(turn);
            let index = |node: usize| (node + nodes.len() - turn) % nodes.len();
            let turned_holders: Vec<_> = holders.iter().map(|h| h.map(index)).collect();
            let expected: Vec<_> = deal(&nodes, &holders).into_iter().map(|h| h.map(index)).collect();
            prop_assert_eq!(deal(&turned, &turned_holders), expected);
            let moves: Vec<_> = level(&nodes, &holders, 5)
                .into_iter().map(|(set, node)| (set, index(node))).collect();
            prop_assert_eq!(level(&turned, &turned_holders, 5), moves);
            let all = vec![true; nodes.len()];
            let moves: Vec<_> = fail_back(&nodes, &holders, &all, 5)
                .into_iter().map(|(set, node)| (set, index(node))).collect();
            prop_assert_eq!(fail_back(&turned, &turned_holders, &all, 5), moves);
        }

        #[test]
        fn levelling_ends_and_equal_nodes_end_even(sets in 0usize..40, count in 1usize..6, seed: u64) {
            let names: Vec<String> = (0..count).map(|i| format!("n{i}")).collect();
            let nodes = nodes(&names.iter().map(String::as_str).collect::<Vec<_>>(), sets);
            let mut holders: Vec<_> = (0..sets)
                .map(|set| Some((Digest::new().number(seed).number(set as u64).value() % count as u64) as usize))
                .collect();
            let before = counts(&nodes, &holders);
            let share = sets.div_ceil(count) as u64;
            let moves = level(&nodes, &holders, usize::MAX);
            // No more moves than sets that are above the share, or missing below it.
            let above: u64 = before.iter().map(|&load| load.saturating_sub(sets as u64 / count as u64)).sum();
            prop_assert!(moves.len() as u64 <= above);
            for (set, to) in moves {
                holders[set] = Some(to);
            }
            let after = counts(&nodes, &holders);
            prop_assert!(after.iter().all(|&load| load <= share && load + 1 >= share.min(sets as u64 / count as u64 + 1)));
        }
    }
}
