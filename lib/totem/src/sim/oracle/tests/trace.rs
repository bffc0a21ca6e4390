//! A trace made by hand, of three members that are together at first.

use std::sync::Arc;

use super::super::*;
use crate::view::{Incarnation, Transition, View};

/// A trace in the making. Processes are numbered in the order of their starts.
pub(super) struct Trace {
    pub(super) oracle: Oracle,
    pub(super) members: Vec<ViewMember>,
    pub(super) submitted: Vec<u32>,
    pub(super) services: BTreeMap<MessageId, Service>,
    pub(super) verdict: Result<(), Violation>,
    pub(super) now: u64,
}

pub(super) const A: u32 = 0;
pub(super) const B: u32 = 1;
pub(super) const C: u32 = 2;

pub(super) fn order() -> Vec<MemberId> {
    (1..=3).map(MemberId).collect()
}

pub(super) fn ring(counter: u64) -> RingId {
    RingId {
        counter,
        representative: MemberId(1),
        incarnation: Incarnation(1),
    }
}

impl Trace {
    /// Members 1, 2, 3, as processes A, B, C, each alone in a ring, and then together in ring 10.
    pub(super) fn together() -> Trace {
        let mut trace = Trace {
            oracle: Oracle::default(),
            members: Vec::new(),
            submitted: Vec::new(),
            services: BTreeMap::new(),
            verdict: Ok(()),
            now: 0,
        };
        for id in 1..=3 {
            trace.start(id, 1);
        }
        for p in [A, B, C] {
            trace.go(p, 1 + u64::from(p), 10, &[p], &[A, B, C]);
        }
        trace
    }

    pub(super) fn record(&mut self, p: u32, what: What) {
        self.now += 1;
        if self.verdict.is_ok() {
            self.verdict = self.oracle.observe(&Record {
                at: Time(self.now),
                process: ProcessId(p),
                what,
            });
        }
    }

    pub(super) fn start(&mut self, id: u32, life: u64) {
        let member = ViewMember {
            id: MemberId(id),
            incarnation: Incarnation(life),
        };
        let p = self.members.len() as u32;
        self.members.push(member);
        self.submitted.push(0);
        self.record(
            p,
            What::Start {
                member,
                order: order(),
                disk_lost: false,
            },
        );
        self.regular(p, u64::from(id) + (life - 1) * 100, &[p]);
    }

    pub(super) fn list(&self, processes: &[u32]) -> Arc<[ViewMember]> {
        processes
            .iter()
            .map(|&p| self.members[p as usize])
            .collect()
    }

    pub(super) fn regular(&mut self, p: u32, counter: u64, members: &[u32]) {
        let members = self.list(members);
        self.record(
            p,
            What::Regular(View {
                ring: ring(counter),
                members,
            }),
        );
    }

    pub(super) fn transitional(&mut self, p: u32, from: u64, to: u64, members: &[u32]) {
        let members = self.list(members);
        self.record(
            p,
            What::Transitional(Transition {
                from: ring(from),
                to: ring(to),
                members,
            }),
        );
    }

    pub(super) fn go(&mut self, p: u32, from: u64, to: u64, with: &[u32], members: &[u32]) {
        self.transitional(p, from, to, with);
        self.regular(p, to, members);
    }

    pub(super) fn submit_as(&mut self, p: u32, service: Service) -> MessageId {
        let sequence = self.submitted[p as usize];
        self.submitted[p as usize] += 1;
        let message = MessageId {
            process: ProcessId(p),
            lane: Lane::Queue,
            sequence,
        };
        self.services.insert(message, service);
        self.record(
            p,
            What::Submit {
                message,
                service,
                hash: 7,
            },
        );
        message
    }

    pub(super) fn submit(&mut self, p: u32) -> MessageId {
        self.submit_as(p, Service::Agreed)
    }

    pub(super) fn deliver(&mut self, p: u32, message: MessageId) {
        let sender = self.members[message.process.0 as usize].id;
        let service = self.services[&message];
        self.record(
            p,
            What::Deliver {
                message: Some(message),
                sender,
                service,
                hash: 7,
            },
        );
    }

    pub(super) fn rule(&self) -> &'static str {
        self.verdict
            .as_ref()
            .err()
            .map_or("none", |violation| violation.rule)
    }
}
