//! What a process delivers: E1 to E3, E9, E10, E12, E13 and E16.

use super::{Oracle, Verdict, broken};
use crate::event::Service;
use crate::sim::trace::{Lane, MessageId, ProcessId};
use crate::view::MemberId;

impl Oracle {
    pub(super) fn deliver(
        &mut self,
        p: ProcessId,
        id: Option<MessageId>,
        sender: MemberId,
        service: Service,
        hash: u64,
    ) -> Verdict {
        let Some(id) = id else {
            return broken("E1", format!("delivers from {sender} what nobody sent"));
        };
        self.check_sent(id, sender, service, hash)?;
        let Some(ring) = self.processes[p.0 as usize].ring else {
            return broken(
                "E6",
                format!("delivers {id} before its first configuration"),
            );
        };
        self.place(id, ring)?;
        let in_order = self.deliver_in_order(p, id, ring);
        self.check_first_in_first_out(p, id)?;
        in_order
    }

    fn check_sent(&self, id: MessageId, sender: MemberId, service: Service, hash: u64) -> Verdict {
        let Some(sent) = self.messages.get(id) else {
            return broken("E1", format!("delivers {id}, which was not sent"));
        };
        if self.processes[id.process.0 as usize].member.id != sender {
            return broken("E1", format!("delivers {id} as from {sender}"));
        }
        if sent.service != service {
            return broken(
                "E1",
                format!("delivers {id} as {service:?}, sent as {:?}", sent.service),
            );
        }
        if sent.hash != hash {
            return broken("E1", format!("delivers {id} with other bytes"));
        }
        Ok(())
    }

    /// E3: the first delivery says which ring a message belongs to.
    fn place(&mut self, id: MessageId, ring: u32) -> Verdict {
        let here = &self.rings[ring as usize];
        let sent = *self.messages.get(id).expect("checked to be sent");
        if let Some(placed) = sent.placed {
            if placed != ring {
                let there = self.rings[placed as usize].id;
                return broken(
                    "E3",
                    format!("delivers {id} in {}, others in {there}", here.id),
                );
            }
            return Ok(());
        }
        let member = self.processes[id.process.0 as usize].member;
        if !here.members.contains(&member) {
            return broken(
                "E3",
                format!(
                    "delivers {id} in {}, of which its sender is no member",
                    here.id
                ),
            );
        }
        let submitted = self.rings[sent.ring as usize].id;
        if here.id < submitted {
            return broken(
                "E3",
                format!(
                    "delivers {id} in {}, but it was submitted later, in {submitted}",
                    here.id
                ),
            );
        }
        self.messages.get_mut(id).placed = Some(ring);
        Ok(())
    }

    /// E9, E10, E13 and the causal half of E12.
    fn deliver_in_order(&mut self, p: ProcessId, id: MessageId, ring: u32) -> Verdict {
        let process = &mut self.processes[p.0 as usize];
        let sent = *self.messages.get(id).expect("checked to be sent");
        let seen_by_sender = if sent.ring == ring && sent.cursor != u32::MAX {
            sent.cursor
        } else {
            0
        };
        if let Some(transition) = process.transition {
            let cursor = process.transitional_cursor;
            process.transitional_cursor += 1;
            if sent
                .position
                .is_some_and(|position| position < process.causal_cursor)
            {
                return broken(
                    "E12",
                    format!("delivers {id} after a message that was sent in knowledge of it"),
                );
            }
            process.causal_cursor = process.causal_cursor.max(seen_by_sender);
            return self.rings[ring as usize].deliver_transitional(transition, cursor, id);
        }
        if process.cursor < seen_by_sender {
            return broken(
                "E12",
                format!("delivers {id} before what its sender had delivered"),
            );
        }
        let cursor = process.cursor;
        process.cursor += 1;
        self.rings[ring as usize].deliver_regular(cursor, id, &mut self.messages)
    }

    /// E2, E16 and the first-in-first-out half of E12. A batch of the lane `First` goes ahead of
    /// earlier batches, so that lane has no such order.
    fn check_first_in_first_out(&mut self, p: ProcessId, id: MessageId) -> Verdict {
        let process = &mut self.processes[p.0 as usize];
        let own = id.process == p;
        process.own[id.lane as usize] += usize::from(own);
        // Where it stood before this delivery.
        let transition = process
            .transition
            .map(|way| (way, process.transitional_cursor - 1));
        let cursor = process.cursor - u32::from(transition.is_none());
        let ring = &self.rings[process.ring.expect("delivers in a ring") as usize];
        if id.lane == Lane::First {
            if ring.has_delivered(cursor, transition, id, &self.messages) {
                return broken("E2", format!("delivers {id} twice"));
            }
            return Ok(());
        }
        let last = process.last_from.insert(id.process, id.sequence);
        if let Some(last) = last
            && id.sequence <= last
        {
            return if last == id.sequence
                || ring.has_delivered(cursor, transition, id, &self.messages)
            {
                broken("E2", format!("delivers {id} twice"))
            } else {
                broken(
                    "E12",
                    format!("delivers {id} after number {last} of that sender"),
                )
            };
        }
        let expected = last.map_or(0, |last| last + 1);
        if own && id.sequence != expected {
            return broken(
                "E16",
                format!("delivers its own {id}, but never number {expected}"),
            );
        }
        Ok(())
    }
}
