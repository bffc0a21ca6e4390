//! What a guardian says of a vipd that is dead or silent.

use super::*;

/// 5.2.
#[test]
fn what_a_guardian_releases_is_claimed_without_asking() {
    let mut group = Group::two_with_all();
    let dead = group.members[0].0.clone();
    let message = released_for(
        &dead,
        group.members[0].1.config(),
        &group.members[0].1.holds(),
    );
    group.view(&[1]);
    group.done.clear();
    // The wire would answer still; only the guardian's word makes the difference.
    let mut group = Group::two_with_all();
    let view = View {
        members: vec![group.members[1].0.clone()],
        me: 0,
    };
    let (now, sets) = (group.now, group.held(0));
    let (name, survivor) = &mut group.members[1];
    survivor.handle_view(now, view);
    let mut asked = Vec::new();
    let mut added = Vec::new();
    for told in [false, true] {
        if told {
            survivor.handle_message(now, "#vig1#n0", &message);
        }
        while let Some(command) = survivor.poll_command() {
            match command {
                Command::Send(data) => survivor.handle_message(now, name, &data),
                Command::Probe(set) => asked.push(set),
                _ => {}
            }
        }
        for (set, reason) in survivor.begin_adds(now) {
            assert!(told && reason == Reason::HolderDead);
            survivor.handle_added(set, true);
            added.push(set);
        }
    }
    assert_eq!((asked, added), (sets.clone(), sets));
}

#[test]
fn a_silent_member_is_left_out_of_its_view() {
    let mut group = Group::two_with_all();
    let sets = group.held(0);
    let message = released_for(
        &group.members[0].0.clone(),
        group.members[0].1.config(),
        &group.members[0].1.holds(),
    );
    // Its session is still there: no view comes. It hears nothing itself.
    let now = group.now;
    group.members[1].1.handle_message(now, "#vig1#n0", &message);
    group.settle(&[1]);
    assert_eq!(group.held(1).len(), SETS);
    for set in sets {
        assert!(
            group
                .done
                .contains(&(1, Did::Added(set, Reason::HolderDead)))
        );
    }
    let movement = group.members[1].1.poll_movement();
    assert!(movement.is_some());
    // When it wakes, it hears of its own end before anything else of that view.
    group.members[0].1.handle_message(now, "#vig1#n0", &message);
    group.settle(&[0]);
    assert!(group.held(0).is_empty());
    assert!(group.done.contains(&(0, Did::Obeyed(Command::Reconnect))));
}

#[test]
fn a_guardian_of_another_time_releases_nothing() {
    let mut group = Group::two_with_all();
    let set = group.held(0)[0];
    // All members may have begun anew since: then the generation is the same, the session is not.
    let generation = group.members[0].1.generation(set);
    let stale = released_for(
        "#vip0#n9",
        group.members[1].1.config(),
        &[(generation, [set, 9999].into_iter().collect())],
    );
    let now = group.now;
    group.members[1].1.handle_message(now, "#vig1#n0", &stale);
    let view = View {
        members: vec![group.members[1].0.clone()],
        me: 0,
    };
    let (name, survivor) = &mut group.members[1];
    survivor.handle_view(now, view);
    let mut asked = false;
    while let Some(command) = survivor.poll_command() {
        match command {
            Command::Send(data) => survivor.handle_message(now, name, &data),
            Command::Probe(of) => asked |= of == set,
            _ => {}
        }
    }
    assert!(asked);
    assert_eq!(survivor.begin_adds(now), []);
}

/// A newcomer may have completed the round of its view and taken the set, and have lost the bus then.
#[test]
fn behind_another_loss_a_guardians_word_is_no_proof() {
    for word_repeated in [false, true] {
        let mut group = Group::two_with_all();
        let (dead, now) = (group.members[0].0.clone(), group.now);
        let (config, holds) = (group.members[0].1.config(), group.members[0].1.holds());
        let word = released_for(&dead, config, &holds);
        let sets = group.held(0);
        let (own, survivor) = &mut group.members[1];
        let view = |members: &[&String]| View {
            members: members.iter().copied().cloned().collect(),
            me: 0,
        };
        survivor.handle_view(now, view(&[own]));
        survivor.handle_message(now, "#vig1#n0", &word);
        survivor.handle_view(now, view(&[own, &"#vip2#n0".to_owned()]));
        while survivor.poll_command().is_some() {}
        survivor.handle_view(now, view(&[own]));
        if word_repeated {
            survivor.handle_message(now, "#vig1#n0", &word);
        }
        group.done.clear();
        group.settle(&[1]);
        for set in sets {
            let asked = Did::Added(set, Reason::Uncovered);
            assert!(group.done.contains(&(1, asked)), "{:?}", group.done);
        }
    }
}

/// 5.4: others may have gone on without a member that was held up, before what it still hears.
#[test]
fn behind_a_pause_a_guardians_word_is_no_proof() {
    let mut group = Group::two_with_all();
    let (dead, sets) = (group.members[0].0.clone(), group.held(0));
    let (config, holds) = (group.members[0].1.config(), group.members[0].1.holds());
    let word = released_for(&dead, config, &holds);
    let mut now = group.now;
    group.members[1].1.handle_wake(now, false);
    group.members[1].1.handle_message(now, "#vig1#n0", &word);
    group.obey(&[1]);
    now += Duration::from_millis(21);
    let survivor = &mut group.members[1].1;
    assert_eq!(survivor.begin_adds(now), []);
    survivor.handle_wake(now, false);
    survivor.handle_message(now, "#vig1#n0", &word);
    assert_eq!(survivor.begin_adds(now), []);
    for &set in &sets {
        survivor.handle_probed(now, set, false);
    }
    let asked: Vec<_> = sets.iter().map(|&set| (set, Reason::Uncovered)).collect();
    assert_eq!(survivor.begin_adds(now), asked);
}
