//! Random scripts, and random bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::bus::{Bus, Ending};
use super::group;
use crate::event::{Delivery, Service};
use crate::groups::{GroupName, SessionId};

const DAEMONS: usize = 5;
const GROUPS: [&str; 3] = ["f", "g", "h"];

#[derive(Clone, Debug)]
enum Step {
    Connect {
        daemon: usize,
        watches: bool,
    },
    Join {
        session: usize,
        group: usize,
    },
    Leave {
        session: usize,
        group: usize,
    },
    Disconnect {
        session: usize,
    },
    Send {
        session: usize,
        groups: Vec<usize>,
        private: Option<usize>,
        self_discard: bool,
    },
    Advance {
        daemon: usize,
    },
    Order {
        daemon: usize,
    },
    Deliver {
        daemon: usize,
        count: usize,
    },
    Flow,
    /// Daemons with the same number are in the same ring then.
    Change {
        rings: [usize; DAEMONS],
        restarted: Vec<usize>,
        ending: Ending,
    },
}

fn ending() -> impl Strategy<Value = Ending> {
    let share = || prop_oneof![Just(0), Just(255), any::<u8>()];
    (share(), share(), any::<bool>()).prop_map(|(regular, transitional, begun)| Ending {
        regular,
        transitional,
        begun,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let daemon = || 0..DAEMONS;
    let session = || 0..64usize;
    let group = || 0..GROUPS.len();
    let watches = prop::bool::weighted(0.9);
    let restarted = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(daemon(), 1..3)];
    prop_oneof![
        4 => (daemon(), watches).prop_map(|(daemon, watches)| Step::Connect { daemon, watches }),
        8 => (session(), group()).prop_map(|(session, group)| Step::Join { session, group }),
        3 => (session(), group()).prop_map(|(session, group)| Step::Leave { session, group }),
        1 => session().prop_map(|session| Step::Disconnect { session }),
        6 => (
            session(),
            prop::collection::vec(group(), 0..3),
            prop::option::of(session()),
            any::<bool>(),
        )
            .prop_map(|(session, groups, private, self_discard)| Step::Send {
                session, groups, private, self_discard
            }),
        12 => daemon().prop_map(|daemon| Step::Order { daemon }),
        8 => (daemon(), 1..6usize).prop_map(|(daemon, count)| Step::Deliver { daemon, count }),
        6 => daemon().prop_map(|daemon| Step::Advance { daemon }),
        2 => Just(Step::Flow),
        4 => (prop::array::uniform5(0..3usize), restarted, ending())
            .prop_map(|(rings, restarted, ending)| Step::Change { rings, restarted, ending }),
    ]
}

/// A session that may submit now.
fn speaker(bus: &Bus, number: usize) -> Option<SessionId> {
    let ready = |daemon: usize| bus.daemons[daemon].groups.ready();
    let able = |id: &SessionId| {
        let trace = &bus.oracle.sessions[id];
        trace.connected() && ready(trace.daemon)
    };
    let speakers: Vec<SessionId> = bus.oracle.sessions.keys().copied().filter(able).collect();
    speakers.get(number % speakers.len().max(1)).copied()
}

fn run(bus: &mut Bus, step: Step, number: usize) {
    match step {
        Step::Connect { daemon, watches } => {
            // Names that do not sort in the order of the connections.
            bus.connect(daemon, &format!("{}-{number}", (number * 7) % 10), watches);
        }
        Step::Join { session, group } => {
            if let Some(id) = speaker(bus, session) {
                bus.join(id, GROUPS[group]);
            }
        }
        Step::Leave { session, group } => {
            if let Some(id) = speaker(bus, session) {
                bus.leave(id, GROUPS[group]);
            }
        }
        Step::Disconnect { session } => {
            if let Some(id) = speaker(bus, session) {
                bus.disconnect(id);
            }
        }
        Step::Send {
            session,
            groups,
            private,
            self_discard,
        } => {
            let mut to: Vec<GroupName> = groups.iter().map(|name| group(GROUPS[*name])).collect();
            let target = private.and_then(|number| speaker(bus, number));
            to.extend(target.map(|id| bus.oracle.sessions[&id].private));
            if let Some(id) = speaker(bus, session) {
                bus.send(id, &to, self_discard);
            }
        }
        Step::Order { daemon } => {
            bus.order(daemon);
        }
        Step::Deliver { daemon, count } => (0..count).for_each(|_| {
            bus.deliver(daemon);
        }),
        Step::Advance { daemon } => {
            bus.advance(daemon);
        }
        Step::Flow => bus.flow(),
        Step::Change {
            rings,
            restarted,
            ending,
        } => {
            let ring = |number| {
                (0..DAEMONS)
                    .filter(|daemon| rings[*daemon] == number)
                    .collect::<Vec<_>>()
            };
            let rings: Vec<Vec<usize>> = (0..3).map(ring).filter(|ring| !ring.is_empty()).collect();
            let rings: Vec<&[usize]> = rings.iter().map(|ring| &ring[..]).collect();
            bus.change(&rings, &restarted, ending);
        }
    }
}

/// More cases than usual, and still more where the environment says so.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases.max(1000),
        ..usual
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_group_rules_hold_for_any_script(steps in prop::collection::vec(step(), 1..120)) {
        let mut bus = Bus::together(DAEMONS);
        for (number, step) in steps.into_iter().enumerate() {
            run(&mut bus, step, number);
        }
        bus.finish();
    }

    #[test]
    fn any_bytes_are_taken(data in prop::collection::vec(any::<u8>(), 0..200), kind in 0..8u8) {
        let mut bus = Bus::new(2);
        bus.change(&[&[0, 1]], &[], Ending::ORDERLY);
        let sender = bus.daemons[1].member.id;
        let data: Bytes = [kind].into_iter().chain(data).collect::<Vec<u8>>().into();
        let delivery = Delivery { sender, service: Service::Agreed, data };
        let mut out = Vec::new();
        bus.daemons[0].groups.handle_delivery(&delivery, &mut out);
        prop_assert!(out.is_empty(), "during an exchange nothing is told");
        prop_assert!(!bus.daemons[0].groups.ready());
    }
}
