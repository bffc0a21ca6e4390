//! What the ring shows goes to the group layer, and what that shows to the oracle; and what is
//! submitted goes the other way.

use bytes::Bytes;

use super::World;
use super::machine::{daemon_name, host_of};
use crate::event::{Delivery, Service};
use crate::groups::{GroupEvent, GroupName};
use crate::sim::group_oracle::LetterId;
use crate::sim::network::Host;
use crate::sim::trace::{Digest, Lane, MessageId, ProcessId, What};
use crate::view::{Transition, View};

impl World<'_> {
    pub(super) fn deliver(&mut self, host: Host, id: ProcessId, delivery: Delivery) {
        self.totals.deliveries += 1;
        let Delivery {
            sender,
            service,
            data,
        } = delivery;
        let message = MessageId::decode(&data);
        self.record(
            id,
            What::Deliver {
                message,
                sender,
                service,
                hash: Digest::of(&data),
            },
        );
        let Some(process) = self.machines[host]
            .process
            .as_mut()
            .filter(|_| message.is_some())
        else {
            return;
        };
        let delivery = Delivery {
            sender,
            service,
            data: data.slice(MessageId::BYTES..),
        };
        let mut events = Vec::new();
        process.groups.handle_delivery(&delivery, &mut events);
        while process.groups.advance(&mut events) {}
        self.group_events(host, id, &events);
        self.connect_awaited(host);
    }

    pub(super) fn transitional(&mut self, host: Host, id: ProcessId, transition: Transition) {
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        process.exchanged = process.groups.ready();
        process.came_along = transition.members.len();
        let mut events = Vec::new();
        process.groups.handle_transitional(&transition, &mut events);
        self.record(id, What::Transitional(transition.clone()));
        // What waited for tables comes out now and belongs to the ring before.
        self.group_events(host, id, &events);
        self.group_oracle.travel(id, &transition);
    }

    pub(super) fn regular(&mut self, host: Host, id: ProcessId, view: View) {
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let (mut events, mut submit) = (Vec::new(), Vec::new());
        process
            .groups
            .handle_regular(&view, &mut events, &mut submit);
        let subtractive = process.exchanged && process.came_along == view.members.len();
        let ring = view.members.iter();
        let ring = ring.map(|member| daemon_name(host_of(member.id))).collect();
        self.group_oracle.enter_ring(id, ring);
        self.record(id, What::Regular(view));
        if subtractive && let Err(violation) = self.group_oracle.subtract(self.now, id, &events) {
            self.violation.get_or_insert(violation);
        }
        self.group_events(host, id, &events);
        if !submit.is_empty() {
            self.submit_first(host, submit);
        }
    }

    fn group_events(&mut self, host: Host, id: ProcessId, events: &[GroupEvent]) {
        self.leave_unread(host, events);
        for event in events {
            if self.observer.is_some() {
                self.tell_group_event(id, event);
            }
            if let Err(violation) = self.group_oracle.observe(self.now, id, event) {
                self.violation.get_or_insert(violation);
            }
        }
        self.digest.word(events.len() as u64);
    }

    fn tell_group_event(&mut self, id: ProcessId, event: &GroupEvent) {
        let at = self.now.0 as f64 / 1e9;
        if let GroupEvent::Message {
            to,
            destinations,
            payload,
            ..
        } = event
        {
            let letter = LetterId::read(payload);
            let destinations: Vec<GroupName> = destinations.iter().collect();
            self.tell(&format_args!(
                "{at:>12.6} p{:<3} {letter:?} for {destinations:?} to {to:?}",
                id.0
            ));
        } else {
            self.tell(&format_args!("{at:>12.6} p{:<3} {event:?}", id.0));
        }
    }

    /// Submits a message with its identity in front, into a queue that is not full.
    pub(super) fn submit(&mut self, host: Host, service: Service, body: &[u8]) {
        let machine = &mut self.machines[host];
        let Some(process) = &mut machine.process else {
            return;
        };
        let (message, data) = process.address(Lane::Queue, body);
        let hash = Digest::of(&data);
        let submitted = process
            .totem
            .submit(machine.clock.local(self.now), service, data);
        let id = process.id;
        if submitted.is_err() {
            self.break_rule(
                "E19",
                Some(id),
                "refuses a message although its queue is not full".into(),
            );
            return;
        }
        self.record(
            id,
            What::Submit {
                message,
                service,
                hash,
            },
        );
    }

    fn submit_first(&mut self, host: Host, bodies: Vec<Bytes>) {
        let machine = &mut self.machines[host];
        let Some(process) = &mut machine.process else {
            return;
        };
        let id = process.id;
        let batch: Vec<(MessageId, Bytes)> = bodies
            .iter()
            .map(|body| process.address(Lane::First, body))
            .collect();
        let records: Vec<What> = batch
            .iter()
            .map(|(message, data)| What::Submit {
                message: *message,
                service: Service::Agreed,
                hash: Digest::of(data),
            })
            .collect();
        let batch = batch.into_iter().map(|(_, data)| data).collect();
        process
            .totem
            .submit_first(machine.clock.local(self.now), Service::Agreed, batch);
        for record in records {
            self.record(id, record);
        }
    }
}
