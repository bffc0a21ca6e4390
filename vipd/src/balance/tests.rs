use super::*;
use proptest::prelude::*;

/// As among members whose files are the same.
fn deal(nodes: &[Node], holders: &[Option<usize>]) -> Vec<Option<usize>> {
    super::deal(nodes, holders, &lots(holders.len()), &Indices::default())
}

fn level(nodes: &[Node], holders: &[Option<usize>], moves_max: usize) -> Vec<(usize, usize)> {
    super::level(nodes, holders, moves_max, &lots(holders.len()))
}

fn lots(count: usize) -> Vec<u64> {
    (0..count as u64).collect()
}

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

/// 5.27.
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

/// 5.27.
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
fn a_yielded_set_goes_to_another_and_stays_if_there_is_none() {
    let mut nodes = nodes(&["a", "b"], 2);
    nodes[0].yields = [0].into_iter().collect();
    assert_eq!(deal(&nodes, &[Some(0), Some(0)]), [Some(1), Some(0)]);
    nodes[1].leaving = true;
    assert_eq!(deal(&nodes, &[Some(1), Some(0)]), [Some(0), Some(0)]);
}

/// 5.26.
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
    /// 5.27: no more moves than must be.
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

    /// 5.27: against all ways to be even, by brute force.
    #[test]
    fn no_way_to_be_even_needs_fewer_moves(
        (count, holders) in (1usize..4).prop_flat_map(|count| {
            (Just(count), prop::collection::vec(0..count, 0..7))
        }),
    ) {
        let names = ["a", "b", "c"];
        let nodes = nodes(&names[..count], holders.len());
        let is_even = |places: &[usize]| {
            let loads = (0..count).map(|node| places.iter().filter(|&&at| at == node).count());
            let loads: Vec<usize> = loads.collect();
            loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1
        };
        let ways = (0..count.pow(holders.len() as u32)).map(|way| {
            let digit = |set: usize| way / count.pow(set as u32) % count;
            (0..holders.len()).map(digit).collect::<Vec<usize>>()
        });
        let moves = |places: &Vec<usize>| {
            places.iter().zip(&holders).filter(|(to, from)| to != from).count()
        };
        let fewest = ways.filter(|places| is_even(places)).map(|places| moves(&places)).min();
        let placed: Vec<Option<usize>> = holders.iter().copied().map(Some).collect();
        prop_assert_eq!(Some(level(&nodes, &placed, usize::MAX).len()), fewest);
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
