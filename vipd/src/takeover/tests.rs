//! One member at a time, by hand.

mod decisions;
mod guardians;
mod wishes;

use super::*;

const SETS: usize = 4;

fn settings(name: &str) -> Settings {
    Settings {
        node: Node {
            name: name.to_owned(),
            weight: 1,
            able: Indices::all(SETS),
            ..Node::default()
        },
        incarnation: 1,
        sets: (0..SETS).map(|set| format!("10.0.0.{set}/32")).collect(),
        mature: Duration::from_secs(5),
        grace: Duration::from_secs(2),
        balance_interval: None,
        moves_max: 1,
        failback: Failback::After(Duration::ZERO),
    }
}

/// Members that all get every message at once, in order.
struct Group {
    now: Instant,
    members: Vec<(String, Takeover)>,
    /// What the members did, but for sending and asking.
    done: Vec<(usize, Did)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Did {
    Added(usize, Reason),
    Obeyed(Command),
}

fn removed(set: usize, reason: Reason) -> Did {
    Did::Obeyed(Command::Remove(set, reason))
}

fn announced(set: usize) -> Did {
    Did::Obeyed(Command::Announce(set))
}

impl Group {
    fn new(members: Vec<Takeover>) -> Group {
        let named = |(index, member)| (format!("#vip#n{index}"), member);
        Group {
            now: Instant::now(),
            members: members.into_iter().enumerate().map(named).collect(),
            done: Vec::new(),
        }
    }

    /// A view of these members, and all that follows from it.
    fn view(&mut self, members: &[usize]) {
        let names: Vec<String> = members.iter().map(|&m| self.members[m].0.clone()).collect();
        for (me, &member) in members.iter().enumerate() {
            let view = View {
                members: names.clone(),
                me,
            };
            self.members[member].1.handle_view(self.now, view);
        }
        self.settle(members);
    }

    /// Carries out all commands; kernels obey and the wire is silent.
    fn settle(&mut self, members: &[usize]) {
        while self.obey(members) || self.add(members) {}
    }

    /// Puts into the kernels what is to be added now; gives whether there was anything.
    fn add(&mut self, members: &[usize]) -> bool {
        let mut any = false;
        for &member in members {
            for (set, reason) in self.members[member].1.begin_adds(self.now) {
                any = true;
                self.members[member].1.handle_added(set, true);
                self.done.push((member, Did::Added(set, reason)));
            }
        }
        any
    }

    /// Carries out commands until there are none; gives whether there were any.
    fn obey(&mut self, members: &[usize]) -> bool {
        let now = self.now;
        let mut any = false;
        while let Some((member, command)) = members
            .iter()
            .find_map(|&m| self.members[m].1.poll_command().map(|command| (m, command)))
        {
            any = true;
            match &command {
                Command::Send(data) => {
                    let sender = self.members[member].0.clone();
                    for &other in members {
                        self.members[other].1.handle_message(now, &sender, data);
                    }
                    continue;
                }
                Command::Probe(set) => {
                    self.members[member].1.handle_probed(now, *set, false);
                    continue;
                }
                Command::Remove(set, _) => self.members[member].1.handle_removed(*set),
                Command::Announce(_) | Command::Refuse(_) | Command::Reconnect => {}
            }
            self.done.push((member, Did::Obeyed(command)));
        }
        any
    }

    fn pass(&mut self, time: Duration, members: &[usize]) {
        self.now += time;
        for &member in members {
            self.members[member].1.handle_timeout(self.now);
        }
        self.settle(members);
    }

    fn held(&self, member: usize) -> Vec<usize> {
        (0..SETS)
            .filter(|&set| self.members[member].1.is_held(set))
            .collect()
    }

    fn two_with_all() -> Group {
        let mut group = Group::new(vec![
            Takeover::new(settings("a")),
            Takeover::new(settings("b")),
        ]);
        group.view(&[0, 1]);
        group.pass(Duration::from_secs(5), &[0, 1]);
        assert_eq!(group.held(0).len() + group.held(1).len(), SETS);
        group.done.clear();
        group
    }
}

/// 5.16.
#[test]
fn nothing_is_dealt_before_somebody_is_mature() {
    let mut group = Group::new(vec![
        Takeover::new(settings("a")),
        Takeover::new(settings("b")),
    ]);
    group.view(&[0]);
    assert!(group.held(0).is_empty());
    group.view(&[0, 1]);
    assert_eq!(
        group.members[0].1.poll_timeout(),
        Some(group.now + Duration::from_secs(5))
    );
    group.pass(Duration::from_secs(5), &[0, 1]);
    assert_eq!((group.held(0).len(), group.held(1).len()), (2, 2));
}

#[test]
fn who_joins_members_that_serve_does_not_wait_and_takes_nothing() {
    let mut group = Group::new(vec![
        Takeover::new(settings("a")),
        Takeover::new(settings("b")),
    ]);
    group.view(&[0]);
    group.pass(Duration::from_secs(5), &[0]);
    assert_eq!(group.held(0).len(), SETS);
    group.view(&[0, 1]);
    assert_eq!(group.held(0).len(), SETS);
    assert_eq!(group.members[1].1.poll_timeout(), None);
    let now = group.now;
    assert_eq!(group.members[0].1.balance(now, usize::MAX, true), 2);
    group.settle(&[0, 1]);
    assert_eq!((group.held(0).len(), group.held(1).len()), (2, 2));
}

#[test]
fn the_holder_releases_before_the_other_adds() {
    let mut group = Group::two_with_all();
    let set = group.held(0)[0];
    group.members[0].1.set_drained(true);
    group.settle(&[0, 1]);
    let at = |wanted: &Did| group.done.iter().position(|(_, did)| did == wanted);
    let removed = at(&removed(set, Reason::Moved)).unwrap();
    let added = at(&Did::Added(set, Reason::HandedOver)).unwrap();
    let announced = at(&announced(set)).unwrap();
    assert!(removed < added && added < announced);
    assert!(group.held(0).is_empty());
}

/// 5.23.
#[test]
fn a_clean_stop_hands_everything_over() {
    let mut group = Group::two_with_all();
    group.members[0].1.leave(group.now);
    assert!(!group.members[0].1.has_left(group.now));
    group.settle(&[0, 1]);
    assert_eq!(group.held(1).len(), SETS);
    // It stays in the view until the other one has surely had the time to add them.
    assert!(!group.members[0].1.has_left(group.now));
    let later = group.now + Duration::from_millis(99);
    assert!(!group.members[0].1.has_left(later));
    assert!(
        group.members[0]
            .1
            .has_left(later + Duration::from_millis(1))
    );
    // Alone, the last one lets go as well.
    group.view(&[1]);
    group.members[1].1.leave(group.now);
    group.settle(&[1]);
    assert!(group.members[1].1.has_left(group.now));
    assert!(group.held(1).is_empty());
}

/// 5.3.
#[test]
fn without_a_bus_sets_are_kept_for_grace_and_no_longer() {
    let mut group = Group::two_with_all();
    group.members[0].1.handle_bus_lost(group.now);
    group.pass(Duration::from_millis(1999), &[0]);
    assert_eq!(group.held(0).len(), 2);
    group.pass(Duration::from_millis(1), &[0]);
    assert!(group.held(0).is_empty());
    assert!(
        group
            .done
            .iter()
            .all(|(_, did)| matches!(did, Did::Obeyed(Command::Remove(_, Reason::BusLost))))
    );
}

/// 5.3.
#[test]
fn a_bus_that_comes_back_within_grace_moves_nothing() {
    let mut group = Group::two_with_all();
    group.members[0].1.handle_bus_lost(group.now);
    group.members[1].1.handle_bus_lost(group.now);
    group.pass(Duration::from_secs(1), &[0, 1]);
    group.view(&[0, 1]);
    group.pass(Duration::from_secs(5), &[0, 1]);
    let announced = |(_, did): &(usize, Did)| matches!(did, Did::Obeyed(Command::Announce(_)));
    assert!(group.done.iter().all(announced), "{:?}", group.done);
}

#[test]
fn a_set_that_is_answered_for_is_claimed_when_the_answers_end() {
    let mut group = Group::two_with_all();
    let set = group.held(0)[0];
    let view = View {
        members: vec![group.members[1].0.clone()],
        me: 0,
    };
    let (name, survivor) = &mut group.members[1];
    let mut now = group.now;
    survivor.handle_view(now, view);
    let silent_at = now + Duration::from_secs(2);
    while !survivor.is_held(set) {
        for (added, reason) in survivor.begin_adds(now) {
            assert_eq!(reason, Reason::Uncovered);
            assert!(now >= silent_at && now < silent_at + Duration::from_millis(20));
            survivor.handle_added(added, true);
        }
        match survivor.poll_command() {
            Some(Command::Send(data)) => survivor.handle_message(now, name, &data),
            Some(Command::Probe(asked)) => survivor.handle_probed(now, asked, now < silent_at),
            Some(_) => {}
            None if survivor.is_held(set) => {}
            None => {
                now = survivor.poll_timeout().expect("it asks again");
                survivor.handle_timeout(now);
            }
        }
    }
}

#[test]
fn after_a_merge_one_lets_go_and_the_other_announces() {
    let mut group = Group::two_with_all();
    group.view(&[0]);
    group.view(&[1]);
    assert_eq!((group.held(0).len(), group.held(1).len()), (SETS, SETS));
    group.done.clear();
    group.view(&[0, 1]);
    assert_eq!(group.held(0).len() + group.held(1).len(), SETS);
    for set in 0..SETS {
        let of = |wanted: &Did| group.done.iter().position(|(_, did)| did == wanted);
        assert!(of(&removed(set, Reason::Merged)) < of(&announced(set)));
    }
}

/// 5.19.
#[test]
fn what_a_kernel_refuses_goes_to_another() {
    let mut group = Group::new(vec![
        Takeover::new(settings("a")),
        Takeover::new(settings("b")),
    ]);
    group.view(&[0, 1]);
    group.members[0].1.set_able(Indices::default());
    group.pass(Duration::from_secs(5), &[0, 1]);
    assert_eq!(group.held(1).len(), SETS);
    // An interface that comes and refuses.
    group.members[0].1.set_able(Indices::all(SETS));
    group.settle(&[0, 1]);
    group.members[1].1.set_drained(true);
    let mut refused = false;
    for _ in 0..100 {
        for member in 0..2 {
            match group.members[member].1.poll_command() {
                Some(Command::Send(data)) => {
                    let sender = group.members[member].0.clone();
                    for other in 0..2 {
                        group.members[other]
                            .1
                            .handle_message(group.now, &sender, &data);
                    }
                }
                Some(Command::Remove(set, _)) => group.members[member].1.handle_removed(set),
                Some(Command::Probe(set)) => {
                    group.members[member].1.handle_probed(group.now, set, false)
                }
                _ => {}
            }
            for (set, _) in group.members[member].1.begin_adds(group.now) {
                refused |= member == 0;
                group.members[member].1.handle_added(set, member == 1);
            }
        }
    }
    assert!(refused);
    assert_eq!((group.held(0).len(), group.held(1).len()), (0, SETS));
}

#[test]
fn a_release_of_another_time_changes_nothing() {
    let mut group = Group::two_with_all();
    let set = group.held(1)[0];
    let stale = Message::Released {
        sets: vec![(0, [set, 9999].into_iter().collect())],
    };
    let sender = group.members[1].0.clone();
    for member in 0..2 {
        group.members[member]
            .1
            .handle_message(group.now, &sender, &stale.encode());
    }
    group.settle(&[0, 1]);
    assert_eq!(group.done, []);
}

#[test]
fn behind_a_transitional_signal_nothing_is_believed() {
    let mut group = Group::two_with_all();
    let set = group.held(1)[0];
    group.members[0].1.handle_transition();
    group.members[1].1.set_drained(true);
    group.settle(&[0, 1]);
    assert_eq!(group.held(0).len(), 2);
    assert!(!group.members[0].1.is_held(set));
    group.view(&[0, 1]);
    assert_eq!(group.held(0).len(), SETS);
}

/// 5.15.
#[test]
fn the_second_of_a_name_refuses() {
    let mut group = Group::new(vec![
        Takeover::new(settings("a")),
        Takeover::new(settings("a")),
    ]);
    group.view(&[1]);
    group.pass(Duration::from_secs(5), &[1]);
    group.done.clear();
    group.view(&[0, 1]);
    let refused = Command::Refuse("a".to_owned());
    assert_eq!(group.done[0], (0, Did::Obeyed(refused)));
    assert_eq!(group.held(1).len(), SETS);
    let now = group.now;
    group.members[0].1.has_left(now);
    assert!(group.members[0].1.has_left(now + Duration::from_secs(1)));
}

/// 5.28.
#[test]
fn strangers_and_nonsense_are_counted() {
    let mut group = Group::two_with_all();
    group.members[0]
        .1
        .handle_message(group.now, "#other#host", &Message::Mature {}.encode());
    let sender = group.members[1].0.clone();
    group.members[0]
        .1
        .handle_message(group.now, &sender, b"{\"v\":1,\"fly\":{}}");
    assert_eq!(group.members[0].1.overview().ignored, 2);
    assert_eq!(group.done, []);
}
