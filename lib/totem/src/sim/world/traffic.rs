//! Datagrams from a process to the network, and from the network to a host.

use bytes::Bytes;

use super::machine::host_of;
use super::{Happening, World};
use crate::event::{Class, Destination, Transmit};
use crate::node::State;
use crate::sim::faults::Fault;
use crate::sim::network::{Host, Outcome, Packet};
use crate::time::Time;
use crate::view::MemberId;

/// Copies of a datagram on their way out.
struct Copies {
    from: Host,
    class: Class,
    bytes: Bytes,
    state: State,
    departure: Time,
}

impl World<'_> {
    pub(super) fn schedule_arrivals(&mut self, arrivals: Vec<(Time, Packet)>) {
        for (at, packet) in arrivals {
            self.schedule(at, Happening::Arrive(packet));
        }
    }

    pub(super) fn transmit(
        &mut self,
        from: Host,
        transmit: &Transmit,
        buffer: &[u8],
        state: State,
    ) -> Outcome {
        let machine = &mut self.machines[from];
        let datagrams = buffer.chunks(transmit.segment_size.max(1));
        machine.busy_until =
            machine.busy_until.max(self.now) + self.scenario.service / 4 * machine.slowness;
        let departure = machine.busy_until;
        let mut outcome = Outcome::Sent;
        for datagram in datagrams {
            let bytes = Bytes::copy_from_slice(datagram);
            let mut copies = Copies {
                from,
                class: transmit.class,
                bytes,
                state,
                departure,
            };
            let sent = match &transmit.destination {
                Destination::Member(member) => self.send_copies(&mut copies, &[*member], true),
                Destination::Segment(members) => {
                    self.send_copies(&mut copies, members, members.len() == 1)
                }
                Destination::Set(local, remote) => {
                    let near = self.send_copies(&mut copies, local, local.len() == 1);
                    let far = self.send_copies(&mut copies, remote, true);
                    if near == Outcome::Sent { far } else { near }
                }
            };
            if sent != Outcome::Sent {
                outcome = sent;
            }
        }
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (at, packet) in arrivals.drain(..) {
            self.schedule(at, Happening::Arrive(packet));
        }
        self.arrivals = arrivals;
        outcome
    }

    fn send_copies(&mut self, copies: &mut Copies, members: &[MemberId], unicast: bool) -> Outcome {
        let mut outcome = Outcome::Sent;
        if !unicast && !members.is_empty() && self.network.loses_multicast() {
            return outcome;
        }
        for member in members {
            let packet = Packet {
                from: copies.from,
                to: host_of(*member),
                class: copies.class,
                unicast,
                bytes: copies.bytes.clone(),
            };
            let sent =
                self.network
                    .send(copies.departure, packet, copies.state, &mut self.arrivals);
            if sent != Outcome::Sent {
                outcome = sent;
            }
        }
        outcome
    }

    pub(super) fn arrive(&mut self, packet: Packet) {
        let (from, to) = (packet.from, packet.to);
        let machine = &mut self.machines[to];
        if machine.process.is_none() {
            let member = machine.id;
            if packet.unicast
                && machine.refuses
                && let Some(sender) = &self.machines[from].process
            {
                self.totals.faults.count(Fault::Refusal);
                let at = self.now + self.scenario.latency.0;
                let id = sender.id;
                self.schedule(at, Happening::Refused(from, id, member));
            }
            return;
        }
        if !machine.receive(packet) {
            self.totals.faults.count(Fault::Overflow);
        } else {
            self.wake_when_free(to);
        }
    }
}
