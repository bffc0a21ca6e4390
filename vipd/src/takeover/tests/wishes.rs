//! What people and files want.

use super::*;

#[test]
fn a_move_and_a_pin_go_where_they_are_told() {
    let mut group = Group::two_with_all();
    let set = group.held(0)[0];
    assert_eq!(
        group.members[1].1.move_to(set, "c"),
        Err(Refusal::NoSuchNode)
    );
    assert_eq!(group.members[1].1.move_to(set, "a"), Err(Refusal::Held));
    // Any member can be asked.
    group.members[0].1.move_to(set, "b").unwrap();
    group.settle(&[0, 1]);
    assert!(group.members[1].1.is_held(set));
    group.members[0].1.pin(set, Some("a")).unwrap();
    group.settle(&[0, 1]);
    assert!(group.members[0].1.is_held(set));
    group.members[1].1.set_able(Indices::default());
    group.members[1].1.set_able(Indices::all(SETS));
    group.settle(&[0, 1]);
    // The last word counts, whoever says it.
    group.members[1].1.pin(set, Some("b")).unwrap();
    group.settle(&[0, 1]);
    assert!(group.members[1].1.is_held(set));
    group.members[0].1.pin(set, None).unwrap();
    group.settle(&[0, 1]);
    assert_eq!(group.members[1].1.overview().sets[set].pinned, None);
}

#[test]
fn failback_waits_for_its_time_or_for_a_hand() {
    for (failback, soon, later, by_hand) in [
        (Failback::Never, 0, 0, 0),
        (Failback::Manual, 0, 0, 2),
        (Failback::After(Duration::from_secs(60)), 0, 2, 2),
    ] {
        let of = |name: &str| Settings {
            failback,
            node: Node {
                prefers: match name {
                    "a" => vec![[0, 1].into_iter().collect()],
                    _ => vec![[2, 3].into_iter().collect()],
                },
                ..settings(name).node
            },
            ..settings(name)
        };
        let mut group = Group::new(vec![Takeover::new(of("a")), Takeover::new(of("b"))]);
        group.view(&[1]);
        group.pass(Duration::from_secs(5), &[1]);
        assert_eq!(group.held(1).len(), SETS);
        group.view(&[0, 1]);
        let mut probe = |time: u64, by_hand: bool| {
            let now = group.now + Duration::from_secs(time);
            let first = &mut group.members[0].1;
            let moves = first.balance(now, 9, by_hand);
            let back: Vec<_> = std::iter::from_fn(|| first.poll_command()).collect();
            let failback = |command: &&Command| match command {
                Command::Send(data) => data.windows(8).any(|word| word == b"failback"),
                _ => false,
            };
            assert!(moves > 0 || back.is_empty());
            back.iter().filter(failback).count() * 2
        };
        assert_eq!(probe(1, false), soon, "{failback:?}");
        assert_eq!(probe(61, false), later, "{failback:?}");
        assert_eq!(probe(1, true), by_hand, "{failback:?}");
    }
}

/// 5.12.
#[test]
fn sets_that_are_not_the_same_in_all_files_stay_and_the_others_are_dealt() {
    let mut other = settings("b");
    // One more, one other, and all of them elsewhere in the list.
    other.sets = ["10.0.0.00/32", "10.0.0.1/24", "10.0.0.2/32", "10.0.0.3/32"]
        .map(String::from)
        .to_vec();
    other.sets.insert(0, "10.0.0.0/32".into());
    other.node.able = Indices::all(5);
    let mut group = Group::new(vec![Takeover::new(settings("a")), Takeover::new(other)]);
    group.view(&[0]);
    group.pass(Duration::from_secs(5), &[0]);
    group.done.clear();
    group.view(&[0, 1]);
    assert_eq!(group.members[0].1.overview().phase, "run");
    assert_eq!(group.members[1].1.overview().phase, "run");
    assert_eq!(
        group.members[0].1.overview().differences,
        [
            "10.0.0.00: not in this file, but in that of b",
            "10.0.0.1: addresses are 10.0.0.1/32 here, 10.0.0.1/24 in the file of b",
        ]
    );
    assert_eq!(group.members[1].1.overview().differences.len(), 2);
    // Nothing has moved; the sets that both have in common are levelled, the disputed one stays.
    let removed = |(_, did): &(usize, Did)| matches!(did, Did::Obeyed(Command::Remove(..)));
    assert!(!group.done.iter().any(removed));
    let now = group.now;
    assert_eq!(group.members[0].1.balance(now, 9, true), 1);
    group.settle(&[0, 1]);
    assert!(group.members[0].1.is_held(1));
    assert_eq!(group.held(0).len(), SETS - 1);
    assert_eq!(
        (0..5)
            .filter(|&set| group.members[1].1.is_held(set))
            .count(),
        1
    );
    // All that can go does go, and under the right name.
    group.members[0].1.set_drained(true);
    group.settle(&[0, 1]);
    assert_eq!(group.held(0), [1]);
    let held: Vec<usize> = (0..5)
        .filter(|&set| group.members[1].1.is_held(set))
        .collect();
    assert_eq!(held, [0, 3, 4]);
    // Its holder gone, a disputed set is not claimed by another definition.
    group.view(&[1]);
    assert!(group.members[1].1.is_held(0));
}

#[test]
fn a_new_list_moves_nothing_that_is_in_both() {
    let mut group = Group::two_with_all();
    let before = (group.held(0), group.held(1));
    let lost = before.0[0];
    let now = group.now;
    // One set fewer, one more in front of all.
    let mut sets: Vec<String> = settings("a").sets;
    sets.remove(lost);
    sets.insert(0, "10.0.0.00/32".into());
    for member in 0..2 {
        let name = ["a", "b"][member];
        let moved = group.members[member].1.prepare_relist(now, &sets);
        group.settle(&[member]);
        let settings = Settings {
            sets: sets.clone(),
            ..settings(name)
        };
        group.members[member].1.relist(settings, &moved);
    }
    assert_eq!(group.done, [(0, removed(lost, Reason::Leaving))]);
    group.done.clear();
    group.view(&[0, 1]);
    let removed = |(_, did): &(usize, Did)| matches!(did, Did::Obeyed(Command::Remove(..)));
    assert!(!group.done.iter().any(removed), "{:?}", group.done);
    let new = |set: usize| set + usize::from(set < lost);
    let kept: Vec<usize> = before.1.iter().map(|&set| new(set)).collect();
    assert!(kept.iter().all(|set| group.held(1).contains(set)));
    assert_eq!(group.held(0).len() + group.held(1).len(), SETS);
}

/// 5.18: what was moved one by one, as often, does not make STATE long.
#[test]
fn sets_that_moved_as_often_share_a_generation() {
    let mut group = Group::two_with_all();
    for node in ["a", "b", "a"] {
        for set in 0..SETS {
            // One that is there already is refused.
            let _ = group.members[0].1.move_to(set, node);
            group.settle(&[0, 1]);
        }
    }
    assert_eq!(group.held(0).len(), SETS);
    let holds = group.members[0].1.holds();
    assert!(holds.len() <= 2, "{holds:?}");
}
