//! The ring under the daemons: every message has one place in its ring's log, and a change follows
//! the rules of extended virtual synchrony.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::oracle::{Oracle, Trace};
use super::{group, private_name};
use crate::event::{Delivery, Service};
use crate::groups::{Attributes, GroupEvent, GroupName, Groups, SessionId};
use crate::view::{Incarnation, MemberId, RingId, Transition, View, ViewMember};

/// Position, id and name order differ, so that a list ordered by the wrong one is seen.
const DAEMONS: [(u32, &str); 5] = [
    (50, "mid"),
    (20, "zeta"),
    (40, "alpha"),
    (10, "omega"),
    (30, "beta"),
];

pub(super) struct Daemon {
    pub(super) member: ViewMember,
    pub(super) groups: Groups,
    queue: VecDeque<Bytes>,
    /// Index of its ring, and how much of the log it has delivered.
    ring: usize,
    delivered: usize,
    history: Vec<Transition>,
}

struct Ring {
    view: View,
    log: Vec<Delivery>,
}

/// How a ring ends for those of its members that go on together: all deliver a prefix of the log
/// in the regular configuration; in the transitional one a further stretch, and behind that what
/// the travellers have sent themselves. In 255ths of what is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) regular: u8,
    pub(super) transitional: u8,
    /// The first message in the queue was begun, and so stays in front of the state messages.
    pub(super) begun: bool,
}

impl Ending {
    /// Everything ordered is delivered before the change.
    pub(super) const ORDERLY: Ending = Ending {
        regular: 255,
        transitional: 255,
        begun: false,
    };
    /// Everything ordered that is not delivered yet is delivered in the transitional one.
    pub(super) const LATE: Ending = Ending {
        regular: 0,
        transitional: 255,
        begun: false,
    };
    /// What others have ordered and I have not delivered is lost to me.
    pub(super) const LOSING: Ending = Ending {
        regular: 0,
        transitional: 0,
        begun: false,
    };
}

pub(super) struct Bus {
    pub(super) daemons: Vec<Daemon>,
    rings: Vec<Ring>,
    sessions: u32,
    messages: u32,
    pub(super) oracle: Oracle,
}

impl Bus {
    /// Daemons, each alone.
    pub(super) fn new(count: usize) -> Bus {
        let mut bus = Bus {
            daemons: Vec::new(),
            rings: Vec::new(),
            sessions: 0,
            messages: 0,
            oracle: Oracle::new(DAEMONS.map(|(_, name)| name)),
        };
        for index in 0..count {
            let daemon = bus.start(index);
            bus.daemons.push(daemon);
            bus.install(bus.rings.len() - 1, &[index], Ending::ORDERLY);
        }
        bus
    }

    /// Daemons in one ring, with tables exchanged.
    pub(super) fn together(count: usize) -> Bus {
        let mut bus = Bus::new(count);
        bus.change(&[&(0..count).collect::<Vec<_>>()], &[], Ending::ORDERLY);
        bus.flow();
        bus
    }

    /// A new life of a daemon, in a ring of its own that is not installed yet.
    fn start(&mut self, index: usize) -> Daemon {
        let (id, _) = DAEMONS[index];
        let names = DAEMONS.map(|(id, name)| (MemberId(id), name.to_owned()));
        let lives = self
            .daemons
            .get(index)
            .map_or(0, |daemon| daemon.member.incarnation.0);
        let member = ViewMember {
            id: MemberId(id),
            incarnation: Incarnation(lives + 1),
        };
        let ring = self.form(vec![member]);
        Daemon {
            member,
            groups: Groups::new(member.id, BTreeMap::from(names)),
            queue: VecDeque::new(),
            ring,
            delivered: 0,
            history: Vec::new(),
        }
    }

    fn form(&mut self, members: Vec<ViewMember>) -> usize {
        let ring = RingId {
            counter: 1000 + self.rings.len() as u64,
            representative: members[0].id,
            incarnation: members[0].incarnation,
        };
        let view = View {
            ring,
            members: members.into(),
        };
        self.rings.push(Ring {
            view,
            log: Vec::new(),
        });
        self.rings.len() - 1
    }

    /// Connects a session called `name`.
    pub(super) fn connect(&mut self, daemon: usize, name: &str, watches: bool) -> SessionId {
        let id = SessionId(self.sessions);
        self.sessions += 1;
        let groups = &mut self.daemons[daemon].groups;
        groups
            .connect(id, private_name(name), watches)
            .expect("a name that is free");
        let private = groups.private_group(id).expect("a connected session");
        self.oracle
            .sessions
            .insert(id, Trace::new(daemon, private, watches));
        id
    }

    /// Connects a session that is told of memberships, and lets it join.
    pub(super) fn member(&mut self, daemon: usize, name: &str, groups: &[&str]) -> SessionId {
        let id = self.connect(daemon, name, true);
        for name in groups {
            self.join(id, name);
        }
        self.flow();
        id
    }

    fn submit(&mut self, id: SessionId, bytes: impl FnOnce(&mut Groups) -> Option<Bytes>) {
        let daemon = &mut self.daemons[self.oracle.sessions[&id].daemon];
        assert!(
            daemon.groups.ready(),
            "nothing is submitted during an exchange"
        );
        daemon
            .queue
            .push_back(bytes(&mut daemon.groups).expect("something to submit"));
    }

    pub(super) fn join(&mut self, id: SessionId, name: &str) {
        self.submit(id, |groups| {
            groups.join(id, group(name)).expect("room for a membership")
        });
        self.oracle.expect_join(id, group(name));
    }

    pub(super) fn leave(&mut self, id: SessionId, name: &str) {
        self.submit(id, |groups| groups.leave(id, group(name)));
        self.oracle.expect_leave(id, group(name));
    }

    pub(super) fn disconnect(&mut self, id: SessionId) {
        self.submit(id, |groups| groups.disconnect(id));
        self.oracle.expect_disconnect(id);
    }

    /// Sends a message and returns its number.
    pub(super) fn send(&mut self, id: SessionId, to: &[GroupName], self_discard: bool) -> u32 {
        let message = self.messages;
        self.messages += 1;
        let payload = message.to_le_bytes();
        let attributes = Attributes {
            type_bits: message,
            hint: payload,
        };
        self.submit(id, |groups| {
            groups.multicast(id, attributes, self_discard, to, &payload)
        });
        self.oracle.expect_message(message, id, to, self_discard);
        message
    }

    /// Gives the first queued message of a daemon its place; false if it has none.
    pub(super) fn order(&mut self, daemon: usize) -> bool {
        let sender = self.daemons[daemon].member.id;
        let Some(data) = self.daemons[daemon].queue.pop_front() else {
            return false;
        };
        let ring = self.daemons[daemon].ring;
        self.rings[ring].log.push(Delivery {
            sender,
            service: Service::Agreed,
            data,
        });
        true
    }

    /// Delivers the next message to a daemon; false if there is none.
    pub(super) fn deliver(&mut self, daemon: usize) -> bool {
        let Daemon {
            ring, delivered, ..
        } = self.daemons[daemon];
        let Some(delivery) = self.rings[ring].log.get(delivered).cloned() else {
            return false;
        };
        self.daemons[daemon].delivered += 1;
        self.hand_over(daemon, &delivery);
        true
    }

    fn hand_over(&mut self, daemon: usize, delivery: &Delivery) {
        let mut out = Vec::new();
        self.daemons[daemon]
            .groups
            .handle_delivery(delivery, &mut out);
        self.record(daemon, out);
    }

    /// Does a piece of what an exchange asks for; false if there is nothing to do.
    pub(super) fn advance(&mut self, daemon: usize) -> bool {
        let mut out = Vec::new();
        let goes_on = self.daemons[daemon].groups.advance(&mut out);
        self.record(daemon, out);
        goes_on
    }

    fn record(&mut self, daemon: usize, events: Vec<GroupEvent>) {
        let history = &self.daemons[daemon].history;
        for event in events {
            self.oracle.record(daemon, history, event);
        }
    }

    /// What a session has seen since this was asked last, one line each.
    pub(super) fn seen(&mut self, id: SessionId) -> Vec<String> {
        self.oracle
            .sessions
            .get_mut(&id)
            .expect("a session of this test")
            .take_log()
    }

    /// Orders and delivers all that is queued.
    pub(super) fn flow(&mut self) {
        let all = 0..self.daemons.len();
        loop {
            let ordered = all.clone().filter(|daemon| self.order(*daemon)).count();
            for daemon in all.clone() {
                while self.deliver(daemon) {}
                while self.advance(daemon) {}
            }
            if ordered == 0 {
                return;
            }
        }
    }

    /// Makes a ring of each list of daemons; those of `restarted` that are listed crash before.
    pub(super) fn change(&mut self, rings: &[&[usize]], restarted: &[usize], ending: Ending) {
        for index in restarted {
            self.oracle.crash(*index);
            let daemon = self.start(*index);
            self.daemons[*index] = daemon;
            self.install(self.daemons[*index].ring, &[*index], ending);
        }
        for daemons in rings {
            let mut daemons = daemons.to_vec();
            daemons.sort_unstable();
            let ring = self.form(
                daemons
                    .iter()
                    .map(|index| self.daemons[*index].member)
                    .collect(),
            );
            let mut left: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for index in &daemons {
                left.entry(self.daemons[*index].ring)
                    .or_default()
                    .push(*index);
            }
            for (from, travellers) in left {
                self.end(from, ring, &travellers, ending);
            }
            self.install(ring, &daemons, ending);
        }
    }

    fn end(&mut self, from: usize, to: usize, travellers: &[usize], ending: Ending) {
        let members: Arc<[ViewMember]> = travellers
            .iter()
            .map(|index| self.daemons[*index].member)
            .collect();
        let log = self.rings[from].log.clone();
        let part = |start: usize, of: u8| start + (log.len() - start) * usize::from(of) / 255;
        let seen = travellers
            .iter()
            .map(|index| self.daemons[*index].delivered)
            .max();
        let regular = part(seen.unwrap_or(0), ending.regular);
        let transitional = part(regular, ending.transitional);
        let transition = Transition {
            from: self.rings[from].view.ring,
            to: self.rings[to].view.ring,
            members: members.clone(),
        };
        for index in travellers {
            while self.daemons[*index].delivered < regular {
                self.deliver(*index);
            }
            let mut out = Vec::new();
            self.daemons[*index]
                .groups
                .handle_transitional(&transition, &mut out);
            self.record(*index, out);
            self.daemons[*index].history.push(transition.clone());
            for (at, delivery) in log.iter().enumerate().skip(regular) {
                if at < transitional || members.iter().any(|member| member.id == delivery.sender) {
                    self.hand_over(*index, delivery);
                }
            }
        }
    }

    fn install(&mut self, ring: usize, daemons: &[usize], ending: Ending) {
        let view = self.rings[ring].view.clone();
        for index in daemons {
            let (mut out, mut submit) = (Vec::new(), Vec::new());
            let daemon = &mut self.daemons[*index];
            (daemon.ring, daemon.delivered) = (ring, 0);
            daemon.groups.handle_regular(&view, &mut out, &mut submit);
            let behind = usize::from(ending.begun).min(daemon.queue.len());
            let rest = daemon.queue.split_off(behind);
            daemon.queue.extend(submit);
            daemon.queue.extend(rest);
            let settled = daemon.groups.ready();
            self.record(*index, out);
            if settled {
                self.oracle.settled(*index);
            }
        }
    }

    /// Joins all in one ring, delivers everything, and checks what all have seen.
    pub(super) fn finish(&mut self) {
        let all: Vec<usize> = (0..self.daemons.len()).collect();
        self.change(&[&all], &[], Ending::ORDERLY);
        self.flow();
        let hash = self.daemons[0].groups.table_hash();
        for (index, daemon) in self.daemons.iter().enumerate() {
            assert!(daemon.groups.ready(), "daemon {index} ends its exchange");
            assert_eq!(
                daemon.groups.table_hash(),
                hash,
                "daemon {index} has the same table"
            );
            assert_eq!(daemon.groups.stats().malformed, 0);
            self.oracle.check_table(&daemon.groups);
            self.oracle.check_quota(index, &daemon.groups);
            self.oracle.settled(index);
        }
        self.oracle.check();
    }
}
