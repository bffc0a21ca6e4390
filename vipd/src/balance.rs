//! Who holds which set: pure functions of what every member knows, so that all decide alike.
//!
//! [`deal`] covers sets and moves none that is well placed. [`level`] proposes the planned moves
//! that bring sets back to whoever prefers them and make loads even, a few at a time. Neither looks
//! at the order of the nodes but by their names, so a different order of members changes nothing.

use std::cmp::Ordering;

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
    /// The sets whose interfaces it has.
    pub able: Indices,
    /// The sets that it wants.
    pub prefers: Indices,
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
    /// It cannot hold the set.
    Unfit,
}

impl Node {
    /// How good a place this node is for the set.
    pub fn fitness(&self, set: usize) -> Fitness {
        if self.leaving || !self.able.contains(set) {
            Fitness::Unfit
        } else if self.drained {
            Fitness::Drained
        } else if self.weight == 0 {
            Fitness::Standby
        } else {
            Fitness::Good
        }
    }

    /// The tie-break of a set and this node, different for each pair (rendezvous hashing).
    fn lot(&self, set: usize) -> u64 {
        let digest = Digest::new().number(set as u64);
        digest.part(self.name.as_bytes()).value()
    }
}

/// Gives every set a holder: the present one while no other node is more fit, else the fittest; of
/// those one that prefers it, of those the emptiest for its weight.
///
/// `holders` are indices of `nodes`. None in the result: no node can hold the set.
pub fn deal(nodes: &[Node], holders: &[Option<usize>]) -> Vec<Option<usize>> {
    let stays = |(set, &holder): (usize, &Option<usize>)| {
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
        let rank = |&node: &usize| {
            let prefers = nodes[node].prefers.contains(set);
            (nodes[node].fitness(set), !prefers)
        };
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

/// The next planned moves, at most `moves_max`: sets and the nodes that they go to.
///
/// With `failback`, sets that a good node prefers go there first. Then sets go from the fullest
/// node to the emptiest while that makes the greater of the two loads less; no set leaves a node
/// that prefers it for one that does not.
pub fn level(
    nodes: &[Node],
    holders: &[Option<usize>],
    moves_max: usize,
    failback: bool,
) -> Vec<(usize, usize)> {
    let mut holders = holders.to_vec();
    let mut loads = loads(nodes, &holders);
    let mut moves = Vec::new();
    let mut apply = |holders: &mut [Option<usize>], loads: &mut [u64], set: usize, to: usize| {
        if let Some(from) = holders[set].replace(to) {
            loads[from] -= 1;
        }
        loads[to] += 1;
        moves.push((set, to));
        moves.len() < moves_max
    };
    if moves_max == 0 {
        return Vec::new();
    }
    if failback {
        for set in 0..holders.len() {
            if let Some(to) = wanted_by(nodes, &loads, &holders, set)
                && !apply(&mut holders, &mut loads, set, to)
            {
                return moves;
            }
        }
    }
    // Bound: each move makes the sum of squared loads per weight less.
    while let Some((set, to)) = next_move(nodes, &loads, &holders) {
        if !apply(&mut holders, &mut loads, set, to) {
            break;
        }
    }
    moves
}

/// The node that a set should go back to, if it is held by one that does not prefer it.
fn wanted_by(
    nodes: &[Node],
    loads: &[u64],
    holders: &[Option<usize>],
    set: usize,
) -> Option<usize> {
    let holder = holders[set]?;
    if nodes[holder].prefers.contains(set) && nodes[holder].fitness(set) == Fitness::Good {
        return None;
    }
    (0..nodes.len())
        .filter(|&node| nodes[node].fitness(set) == Fitness::Good)
        .filter(|&node| nodes[node].prefers.contains(set))
        .min_by(|&left, &right| {
            compare_load(nodes, loads, 1, left, 1, right)
                .then_with(|| nodes[left].name.cmp(&nodes[right].name))
        })
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
                    && (!nodes[from].prefers.contains(set) || nodes[to].prefers.contains(set))
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
        assert_eq!(level(&nodes, &dealt, 40, true), []);
        // The standby serves when nobody else can.
        nodes[0].leaving = true;
        nodes[1].able = Indices::default();
        assert_eq!(counts(&nodes, &deal(&nodes, &dealt)), [0, 0, 40]);
    }

    #[test]
    fn preferences_decide_where_free_sets_go_and_what_goes_back() {
        let mut nodes = nodes(&["a", "b"], 4);
        nodes[1].prefers = [0, 1, 2].into_iter().collect();
        let dealt = deal(&nodes, &[None; 4]);
        assert_eq!(dealt, [Some(1), Some(1), Some(1), Some(0)]);
        assert_eq!(level(&nodes, &dealt, 4, true), []);
        let away = [Some(0); 4];
        assert_eq!(deal(&nodes, &away), away);
        assert_eq!(level(&nodes, &away, 2, true), [(0, 1), (1, 1)]);
        assert_eq!(level(&nodes, &away, 9, true).len(), 3);
        assert_eq!(level(&nodes, &away, 9, false).len(), 2);
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
            able in prop::collection::vec(prop::bool::weighted(0.8), sets),
            prefers in prop::collection::vec(prop::bool::weighted(0.2), sets),
        ) -> Node {
            let chosen = |bits: Vec<bool>| (0..sets).filter(|&set| bits[set]).collect();
            Node { name: String::new(), weight, drained, leaving,
                   able: chosen(able), prefers: chosen(prefers) }
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
            let moves: Vec<_> = level(&nodes, &holders, 5, true)
                .into_iter().map(|(set, node)| (set, index(node))).collect();
            prop_assert_eq!(level(&turned, &turned_holders, 5, true), moves);
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
            let moves = level(&nodes, &holders, usize::MAX, true);
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
