//! Messages of the group, in the one order that all members of a view see.

use std::time::Instant;

use super::message::Message;
use super::slot::Slot;
use super::table::{Change, Movement, Table};
use super::{Bus, Takeover};
use crate::indices::Indices;

impl Takeover {
    /// A message of the group; `sender` is the session's name.
    pub fn handle_message(&mut self, now: Instant, sender: &str, data: &[u8]) {
        let message = Message::decode(data);
        if let Some(Message::ReleasedFor {
            session,
            config,
            sets,
        }) = &message
        {
            // Of another list nothing is known; its sets are asked for on the wire.
            let known = *config == self.config;
            self.handle_guardian(now, session, if known { sets } else { &[] });
            return;
        }
        if self.transitional {
            return;
        }
        let members = match &self.bus {
            Bus::Offline { .. } => return,
            Bus::Gather(round) => &round.view.members,
            Bus::Run { view, .. } => &view.members,
        };
        let member = members.iter().position(|member| member == sender);
        let (Some(member), Some(message)) = (member, message) else {
            self.ignored += 1;
            return;
        };
        match &mut self.bus {
            Bus::Offline { .. } => return,
            Bus::Gather(_) => self.gather(now, member, message, data),
            Bus::Run { table, .. } => {
                let movements = apply(table, &mut self.slots, member, message);
                movements
                    .into_iter()
                    .for_each(|movement| self.note(movement));
                self.watch_fitness(now);
            }
        }
        self.work();
    }

    /// A guardian's RELEASED: what its vipd held is out of the kernel.
    ///
    /// That is a fact wherever it stands in the order; the view changes by it only before a
    /// transitional signal, where all members see it. A guardian repeats itself.
    fn handle_guardian(&mut self, now: Instant, session: &str, sets: &[(u64, Indices)]) {
        self.remember_holders();
        for (generation, sets) in sets {
            for set in sets.iter() {
                if let Some(former) = self.formers.get_mut(&set) {
                    former.over |= former.is_of(session, *generation);
                }
            }
        }
        if !self.transitional {
            self.dismiss(now, session);
            self.work();
        }
    }

    /// A message of a round that is not complete.
    fn gather(&mut self, now: Instant, member: usize, message: Message, data: &[u8]) {
        let Bus::Gather(round) = &mut self.bus else {
            return;
        };
        if let Message::Hello { .. } = message {
            if round.greet(member, data) {
                self.send_state();
            }
            return;
        }
        let said = round.states[member].as_mut();
        match (message, said) {
            (Message::State(state), _) => {
                let was_missing = round.missing().next().is_some();
                round.take(member, state, data);
                if was_missing && round.missing().next().is_none() {
                    self.complete(now);
                }
            }
            (Message::Sets(part), _) => {
                if round.teller(part.config) == Some(member) {
                    round.lists.take(part);
                }
                if round.is_complete() {
                    self.begin_run(now);
                }
            }
            // Said behind the sender's STATE, so it is newer.
            (Message::Node(node), Some(state)) => state.node = node,
            (Message::Mature {}, Some(state)) => state.mature = true,
            // Said before the sender's STATE, which says the same, or in another round.
            _ => {}
        }
    }
}

/// Changes the table by a message that all members receive in the same order.
fn apply(table: &mut Table, slots: &mut [Slot], member: usize, message: Message) -> Vec<Movement> {
    let mut movements = Vec::new();
    match message {
        // A round is complete with the first one of each member; a guardian is no member.
        Message::Hello { .. }
        | Message::State(_)
        | Message::Sets(_)
        | Message::ReleasedFor { .. } => {
            return movements;
        }
        Message::Node(node) => table.set_node(member, node),
        Message::Mature {} => table.mature = true,
        Message::Released { sets } => {
            for (generation, sets) in &sets {
                for set in table.translated(member, sets).iter() {
                    match table.release(member, set, *generation) {
                        Some(Change::HandedOver(movement)) => {
                            slots[set].handed_over = true;
                            movements.push(movement);
                        }
                        // Dealt next, to whom nobody needs to be asked for either.
                        Some(Change::Freed) => slots[set].handed_over = true,
                        Some(Change::Undisputed) => slots[set].unheard = true,
                        None => {}
                    }
                }
            }
        }
        Message::Move {
            round,
            cause,
            moves,
        } => {
            if round != table.round {
                return movements;
            }
            for (to, sets) in &moves {
                for set in table.translated(member, sets).iter() {
                    table.plan(set, *to, cause);
                }
            }
        }
    }
    movements.extend(table.settle());
    movements
}
