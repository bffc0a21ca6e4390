//! Replicas on a simulated bus: one order for all of a side, each reads it at its own pace.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use weblog::format::{Field, Format};

use super::*;
use crate::hits::Rules;
use crate::snapshot::PART_BYTES_MAX;

const LIMITS: Limits = Limits {
    window: 100,
    users_max: 60,
    pages_max: 9,
};

#[derive(Clone, Debug)]
enum Delivery {
    Line(u64, u8, u8),
    Tick(Name, u64),
    Loggers(Vec<Name>),
    Members(Membership),
    Message(Name, Vec<u8>),
    Private(Name, Vec<u8>),
}

struct Session {
    replica: Replica,
    inbox: VecDeque<Delivery>,
    /// Where it is in the order, and the side of the partition that it is on.
    position: (GroupId, u64),
    side: usize,
}

/// The bus. What a session sends is ordered at once, which is one of the orders that can be.
struct World {
    hits: Hits,
    sessions: BTreeMap<Name, Session>,
    now: Instant,
    time: u64,
    views: i32,
    /// Loggers that tell their clocks, and the side that each is on.
    loggers: Vec<(Name, usize)>,
    /// What holders had at each position.
    known: HashMap<(GroupId, u64, u64), String>,
    comparisons: usize,
}

impl World {
    fn new() -> World {
        let rules = Rules {
            format: Format::parse("%u %{%s}t %>s \"%r\"").unwrap(),
            user: Field::User,
            anonymous: false,
            status: (200, 399),
            methods: vec!["GET".to_owned()],
            skipped_suffixes: Vec::new(),
            query: false,
        };
        World {
            hits: Hits::new(rules),
            sessions: BTreeMap::new(),
            now: Instant::now(),
            time: 1000,
            views: 0,
            loggers: Vec::new(),
            known: HashMap::new(),
            comparisons: 0,
        }
    }

    fn deliver(&mut self, side: usize, delivery: &Delivery) {
        for session in self.sessions.values_mut().filter(|one| one.side == side) {
            session.inbox.push_back(delivery.clone());
        }
    }

    fn change(&mut self, side: usize, cause: Cause, sets: Option<Vec<Vec<Name>>>) {
        self.views += 1;
        let on_side = self.sessions.iter().filter(|(_, one)| one.side == side);
        let members: Vec<Name> = on_side.map(|(name, _)| *name).collect();
        let sets = sets.unwrap_or_else(|| vec![members.clone()]);
        let gid = GroupId {
            proc_id: side as i32,
            time: 0,
            index: self.views,
        };
        for (name, session) in self.sessions.iter_mut().filter(|(_, one)| one.side == side) {
            let own_set = sets.iter().position(|set| set.contains(name)).unwrap();
            session.inbox.push_back(Delivery::Members(Membership {
                group: Name::new(b"web@").unwrap(),
                cause,
                gid,
                members: members.clone(),
                vs_sets: sets.clone(),
                own_set,
            }));
        }
    }

    fn join(&mut self, number: u32, side: usize) {
        let name = Name::new(format!("#wo{number}#h").as_bytes()).unwrap();
        let session = Session {
            replica: Replica::new(LIMITS, 7),
            inbox: VecDeque::new(),
            position: (GroupId::default(), 0),
            side,
        };
        self.sessions.insert(name, session);
        self.change(side, Cause::Join, None);
    }

    fn kill(&mut self, index: usize) {
        let name = *self
            .sessions
            .keys()
            .nth(index % self.sessions.len())
            .unwrap();
        let side = self.sessions.remove(&name).unwrap().side;
        self.change(side, Cause::Disconnect, None);
    }

    /// A logger that begins or ends; its clock is wrong.
    fn change_loggers(&mut self, number: u32) {
        let name = Name::new(format!("#sl{number}#h").as_bytes()).unwrap();
        match self.loggers.iter().position(|(logger, _)| *logger == name) {
            Some(index) => _ = self.loggers.remove(index),
            None => self.loggers.push((name, number as usize % 2)),
        }
        self.tell_loggers();
    }

    fn tell_loggers(&mut self) {
        let cut = self.sessions.values().any(|one| one.side == 1);
        for side in [0, 1] {
            let on_side = self.loggers.iter().filter(|one| !cut || one.1 == side);
            let members = on_side.map(|(logger, _)| *logger).collect();
            self.deliver(side, &Delivery::Loggers(members));
        }
    }

    fn tick(&mut self, value: u32) {
        let cut = self.sessions.values().any(|one| one.side == 1);
        if let Some(&(logger, at)) = self.loggers.get(value as usize % 3) {
            let second = self.time + u64::from(value % 50);
            for side in [0, 1] {
                if !cut || at == side {
                    self.deliver(side, &Delivery::Tick(logger, second));
                }
            }
        }
    }

    /// A partition in two, by the bits of `mask`; or the end of one.
    fn cut(&mut self, mask: u32) {
        for (index, session) in self.sessions.values_mut().enumerate() {
            session.side = (mask >> (index % 32) & 1) as usize;
        }
        self.change(0, Cause::Network, None);
        self.change(1, Cause::Network, None);
        self.tell_loggers();
    }

    fn heal(&mut self) {
        let on = |side| -> Vec<Name> {
            let on_side = self.sessions.iter().filter(|(_, one)| one.side == side);
            on_side.map(|(name, _)| *name).collect()
        };
        let mut sets = vec![on(0), on(1)];
        sets.retain(|set| !set.is_empty());
        for session in self.sessions.values_mut() {
            session.side = 0;
        }
        self.change(0, Cause::Network, Some(sets));
        self.tell_loggers();
    }

    fn line(&mut self, pause: u64, user: u8, page: u8) {
        self.time += pause;
        for side in [0, 1] {
            // The sides of a partition do not see the same lines.
            self.deliver(side, &Delivery::Line(self.time, user + side as u8, page));
        }
    }

    /// Lets one session read its next delivery, and compares what it has.
    fn step(&mut self, index: usize) {
        let name = *self
            .sessions
            .keys()
            .nth(index % self.sessions.len())
            .unwrap();
        let session = self.sessions.get_mut(&name).unwrap();
        let Some(delivery) = session.inbox.pop_front() else {
            return;
        };
        let replica = &mut session.replica;
        match delivery {
            Delivery::Line(time, user, page) => {
                session.position.1 += 1;
                // Some have no name, which is a stamp without a hit.
                let user = if user == 0 {
                    "-".to_owned()
                } else {
                    format!("u{user}")
                };
                let line = format!("{user} {time} 200 \"GET /{page} HTTP/1.1\"\n");
                replica.handle_lines(&mut self.hits, line.as_bytes(), self.now);
            }
            Delivery::Tick(logger, second) => {
                session.position.1 += 1;
                replica.handle_tick(logger, second, self.now);
            }
            Delivery::Loggers(members) => {
                session.position.1 += 1;
                replica.handle_loggers(&members, self.now);
            }
            Delivery::Members(membership) => {
                session.position = (membership.gid, 0);
                replica.handle_membership(&membership, name, self.now);
            }
            Delivery::Message(sender, data) => replica.handle_message(&sender, &data, self.now),
            Delivery::Private(sender, data) => replica.handle_private(&sender, &data, self.now),
        }
        if let Some(lineage) = replica.lineage() {
            let visits: Vec<_> = replica.table().presence().visits().collect();
            let contents = format!("{} {visits:?}", replica.table().time());
            let (gid, messages) = session.position;
            let known = self.known.entry((gid, messages, lineage));
            let known = known.or_insert_with(|| contents.clone());
            assert_eq!(*known, contents, "{name:?} at {:?}", session.position);
            self.comparisons += 1;
        }
        self.send(name);
    }

    fn send(&mut self, name: Name) {
        let session = self.sessions.get_mut(&name).unwrap();
        let side = session.side;
        for send in std::iter::from_fn(|| session.replica.poll_send()).collect::<Vec<_>>() {
            match send {
                Send::All(data) => self.deliver(side, &Delivery::Message(name, data)),
                Send::To(to, data) => {
                    if let Some(to) = self.sessions.get_mut(&to).filter(|to| to.side == side) {
                        to.inbox.push_back(Delivery::Private(name, data));
                    }
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for name in self.sessions.keys().copied().collect::<Vec<_>>() {
            let session = self.sessions.get_mut(&name).unwrap();
            session.replica.handle_timeout(self.now);
            self.send(name);
        }
    }

    /// Reads everything, and lets time pass until all hold.
    fn calm(&mut self) {
        for _ in 0..200 {
            while self.sessions.values().any(|one| !one.inbox.is_empty()) {
                for index in 0..self.sessions.len() {
                    self.step(index);
                }
            }
            if self.sessions.values().all(|one| one.replica.is_holding()) {
                return;
            }
            self.pass(Duration::from_millis(100));
        }
        panic!("somebody has no table after 20 s of calm");
    }
}

#[test]
fn a_second_one_has_the_table_of_the_first() {
    let mut world = World::new();
    world.join(1, 0);
    for user in 1..50 {
        world.line(1, user, user % 7);
    }
    world.calm();
    world.join(2, 0);
    world.line(1, 99, 3);
    world.calm();
    let counts = world
        .sessions
        .values()
        .map(|one| one.replica.table().presence().user_count());
    assert_eq!(counts.collect::<Vec<_>>(), [50, 50]);
    let events = world
        .sessions
        .values_mut()
        .map(|one| one.replica.poll_event());
    assert_eq!(
        events.collect::<Vec<_>>(),
        [Some(Event::Began), Some(Event::Taken)]
    );
}

#[test]
fn a_second_one_has_the_clocks_of_the_loggers() {
    let mut world = World::new();
    world.join(1, 0);
    world.line(1, 1, 1);
    world.change_loggers(2);
    world.change_loggers(3);
    world.time += 1000;
    world.tick(0);
    world.tick(1);
    world.calm();
    world.join(2, 0);
    world.calm();
    // Time is told by the logger whose tick the second one never saw.
    let clocks = |world: &World| -> Vec<_> {
        let sessions = world.sessions.values();
        sessions.map(|one| one.replica.table().time()).collect()
    };
    assert_eq!(clocks(&world), [2001, 2001]);
    world.change_loggers(2);
    world.line(70, 2, 1);
    world.calm();
    assert_eq!(clocks(&world), [2002, 2002]);
    world.change_loggers(3);
    world.line(1, 3, 1);
    world.calm();
    assert_eq!(clocks(&world), [2072, 2072]);
}

#[test]
fn other_settings_are_another_table() {
    let mut world = World::new();
    world.join(1, 0);
    world.line(1, 5, 5);
    world.calm();
    world.join(2, 0);
    let second = world.sessions.values_mut().nth(1).unwrap();
    second.replica = Replica::new(LIMITS, 8);
    for _ in 0..20 {
        world.step(1);
        world.step(0);
    }
    let second = world.sessions.values_mut().nth(1).unwrap();
    assert_eq!(second.replica.poll_event(), Some(Event::Began));
    assert_eq!(second.replica.table().presence().user_count(), 0);
}

#[test]
fn a_source_that_dies_is_replaced() {
    let mut world = World::new();
    world.join(1, 0);
    world.line(1, 5, 5);
    world.calm();
    world.join(2, 0);
    world.calm();
    world.join(3, 0);
    // The third has taken its place in the order when the source goes away.
    while !matches!(
        world.sessions.values().nth(2).unwrap().replica.standing,
        Standing::Taking(_)
    ) {
        (0..3).for_each(|index| world.step(index));
    }
    world.kill(0);
    world.line(1, 6, 6);
    world.calm();
    let counts = world
        .sessions
        .values()
        .map(|one| one.replica.table().presence().user_count());
    assert_eq!(counts.collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn a_snapshot_is_paced_and_given_up_when_nobody_takes_it() {
    let now = Instant::now();
    let parts: VecDeque<_> = (0..9).map(|_| vec![0; PART_BYTES_MAX]).collect();
    let name = Name::new(b"#wo1#h").unwrap();
    let mut taker = Taker::new(name, 1, parts, now);
    let second = Duration::from_secs(1);
    assert!(taker.poll_part(now).is_some() && taker.poll_part(now).is_none());
    let pace = taker.due_at() - now;
    assert_eq!(
        (PART_BYTES_MAX as f64 / pace.as_secs_f64()).round() as u64,
        BYTES_PER_SECOND
    );
    for _ in 0..3 {
        assert!(taker.poll_part(now + second).is_none() || taker.due_at() > now);
    }
    let sent = (1..100).filter(|n| taker.poll_part(now + second + pace * *n).is_some());
    assert!(sent.count() <= 3);
    assert!(!taker.is_over(now + second) && taker.is_over(now + PATIENCE));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whoever holds has what others had at the same position, whatever happens; and in calm all
    /// hold.
    #[test]
    fn holders_at_one_position_agree(
        acts in proptest::collection::vec((0..23_u8, any::<u32>()), 1..250),
    ) {
        let mut world = World::new();
        world.join(0, 0);
        let mut cut = false;
        for (number, (act, value)) in acts.iter().enumerate() {
            match act {
                0 if world.sessions.len() < 5 => world.join(number as u32 + 1, 0),
                1 if world.sessions.len() > 1 => world.kill(*value as usize),
                2 if !cut => {
                    world.cut(*value);
                    cut = true;
                }
                3 if cut => {
                    world.heal();
                    cut = false;
                }
                4 => world.change_loggers(value % 5),
                5..=7 => world.tick(*value),
                8 => world.pass(Duration::from_millis(u64::from(value % 1500))),
                9..=14 => world.line(u64::from(value % 3), (value >> 8) as u8 % 90, (value >> 16) as u8 % 14),
                _ => (0..value % 12).for_each(|n| world.step((value >> 8) as usize + n as usize)),
            }
        }
        if cut {
            world.heal();
        }
        world.calm();
        world.line(1, 1, 1);
        world.calm();
        prop_assert!(world.comparisons > 0);
    }
}
