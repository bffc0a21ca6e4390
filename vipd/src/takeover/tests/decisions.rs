//! How long a decision lasts, in a program that is held up and in views that follow each other.

use super::*;

/// 5.4: a member that was held up between its decision and the kernel asks the wire first.
#[test]
fn a_decision_that_is_too_old_is_taken_anew() {
    for (held_up, asks) in [(20, false), (21, true)] {
        let mut group = Group::two_with_all();
        let set = group.held(0)[0];
        group.now += WAKE_INTERVAL;
        for member in 0..2 {
            let now = group.now;
            assert_eq!(group.members[member].1.handle_wake(now, false), None);
        }
        group.members[0].1.set_drained(true);
        while group.obey(&[0, 1]) {}
        group.now += Duration::from_millis(held_up);
        let adds = group.members[1].1.begin_adds(group.now);
        assert_eq!(adds.is_empty(), asks, "{held_up} ms");
        let asked = group.members[1].1.poll_command();
        assert_eq!(asked == Some(Command::Probe(set)), asks, "{held_up} ms");
        if asks {
            // Nobody answers: that is news.
            let now = group.now + Duration::from_millis(30);
            assert_eq!(group.members[1].1.handle_wake(now, false), None);
            group.members[1].1.handle_probed(now, set, false);
            assert_eq!(
                group.members[1].1.begin_adds(now),
                [(set, Reason::Uncovered)]
            );
        }
    }
}

/// 5.4: what was read after a pause was said before it.
#[test]
fn what_is_decided_by_a_program_that_is_late_is_asked_for() {
    let mut group = Group::two_with_all();
    let now = group.now;
    group.members[1].1.handle_wake(now, false);
    group.now += WAKE_INTERVAL + Duration::from_millis(21);
    let now = group.now;
    assert_eq!(group.members[1].1.handle_wake(now, false), None);
    group.members[0].1.set_drained(true);
    while group.obey(&[0, 1]) {}
    assert_eq!(group.members[1].1.begin_adds(now), []);
}

/// 5.4: held up for two seconds, or fenced, a member lets go of all before anything else.
#[test]
fn who_was_held_up_for_too_long_lets_everything_go() {
    for (milliseconds, fenced) in [(2000, false), (60, true)] {
        let mut group = Group::two_with_all();
        let now = group.now;
        assert_eq!(group.members[0].1.handle_wake(now, false), None);
        group.now += Duration::from_millis(milliseconds);
        let now = group.now;
        let held_up = group.members[0].1.handle_wake(now, fenced);
        assert_eq!(held_up, Some(Duration::from_millis(milliseconds)));
        group.settle(&[0]);
        assert_eq!(group.done[0], (0, Did::Obeyed(Command::Reconnect)));
        assert_eq!(group.done.len(), 3);
        assert!(group.held(0).is_empty());
    }
}

/// 5.17: views that follow each other faster than their rounds: what was known before the first of
/// them counts, and the last one is dealt.
#[test]
fn a_cascade_keeps_what_was_known_before_it() {
    let mut group = Group::two_with_all();
    let lost = group.held(0);
    let kept = group.held(1);
    let now = group.now;
    let survivor = group.members[1].0.clone();
    for with_another in [false, true, false] {
        let mut members = vec![survivor.clone()];
        if with_another {
            members.push("#vip9#n9".to_owned());
        }
        let view = View { members, me: 0 };
        group.members[1].1.handle_view(now, view);
    }
    group.settle(&[1]);
    assert_eq!(group.held(1).len(), SETS);
    let movements = std::iter::from_fn(|| group.members[1].1.poll_movement());
    let from_lost = |movement: &Movement| {
        movement.cause == Cause::HolderLost && movement.from.as_deref() == Some("a")
    };
    let moved: Vec<usize> = movements
        .filter(from_lost)
        .map(|movement| movement.set)
        .collect();
    assert_eq!(moved, lost);
    let removed = |(_, did): &(usize, Did)| matches!(did, Did::Obeyed(Command::Remove(..)));
    assert!(
        !group.done.iter().any(removed),
        "{kept:?}: {:?}",
        group.done
    );
}

/// 5.17: what was decided in a view and not begun is void in the next.
#[test]
fn a_decision_does_not_outlive_its_view() {
    let mut group = Group::two_with_all();
    group.members[0].1.set_drained(true);
    while group.obey(&[0, 1]) {}
    let view = View {
        members: vec![group.members[1].0.clone()],
        me: 0,
    };
    let now = group.now;
    group.members[1].1.handle_view(now, view);
    assert_eq!(group.members[1].1.begin_adds(now), []);
    assert_eq!(group.members[1].1.holds()[0].1.count(), 2);
}
