//! A member's own share of the table: what it asks for, adds, removes and releases.

use std::time::{Duration, Instant};

use super::message::Message;
use super::mutant::planted;
use super::slot::{self, Local};
use super::{Bus, Command, Reason, Takeover};

/// A set that is answered for by nobody in the view, but by somebody, is asked for so often.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

impl Takeover {
    /// The set's addresses are in the kernel, or cannot be.
    pub fn handle_added(&mut self, set: usize, done: bool) {
        let slot = &mut self.slots[set];
        if !matches!(slot.local, Local::Adding(_)) {
            return;
        }
        if done {
            slot.local = Local::Held;
            slot.unheard = false;
            self.formers.remove(&set);
            self.commands.push_back(Command::Announce(set));
        } else {
            slot.local = Local::Free;
            self.settings.node.able.remove(set);
        }
        self.work();
    }

    /// The set's addresses are no longer in the kernel.
    pub fn handle_removed(&mut self, set: usize) {
        if self.slots[set].local == Local::Removing {
            self.slots[set].local = Local::Free;
            self.work();
        }
    }

    /// Whether somebody has answered for one of the set's addresses.
    pub fn handle_probed(&mut self, now: Instant, set: usize, answered: bool) {
        let running = matches!(self.bus, Bus::Run { .. }) && !self.transitional;
        let slot = &mut self.slots[set];
        if slot.local != Local::Probing || !running {
            return;
        }
        if answered && !planted("claim-though-answered") {
            slot.probe_at = Some(now + PROBE_INTERVAL);
        } else {
            self.add(set, Reason::Uncovered);
        }
    }

    /// Does what the table asks of this member. Nothing begins while a round is incomplete.
    pub(super) fn work(&mut self) {
        let Bus::Run { view, table } = &self.bus else {
            return;
        };
        if self.transitional {
            return;
        }
        let me = view.me;
        self.clock = self.clock.max(table.clock);
        if table.mature {
            self.mature = true;
            self.mature_at = None;
        }
        if self.told.as_ref() != Some(&self.settings.node) {
            self.told = Some(self.settings.node.clone());
            self.send(&Message::Node(self.settings.node.clone()));
        }
        let mut released = Vec::new();
        for set in 0..self.slots.len() {
            let generation = self.work_on(me, set);
            released.extend(generation.map(|generation| (generation, set)));
        }
        if !released.is_empty() {
            let sets = slot::by_generation(released.into_iter());
            self.send(&Message::Released { sets });
        }
    }

    /// Does what the table asks for one set; gives the generation whose release is to be told.
    fn work_on(&mut self, me: usize, set: usize) -> Option<u64> {
        let Bus::Run { table, .. } = &self.bus else {
            return None;
        };
        let entry = &table.entries[set];
        if let Some(generation) = table.to_release(me, set) {
            let reason = match entry.holder == Some(me) {
                false => Reason::Merged,
                true if table.nodes[me].leaving => Reason::Leaving,
                true => Reason::Moved,
            };
            return self.release(set, generation, reason);
        }
        let slot = &mut self.slots[set];
        if entry.holder != Some(me) {
            slot.stop();
            slot.handed_over = false;
            if slot.local == Local::Held {
                self.remove(set, Reason::Moved);
            }
            return None;
        }
        let able = self.settings.node.able.contains(set);
        let over = self.formers.get(&set).is_some_and(|former| former.over);
        match slot.local {
            Local::Held if slot.unheard && entry.losers.is_empty() => {
                slot.unheard = false;
                if !planted("no-announce-after-merge") {
                    self.commands.push_back(Command::Announce(set));
                }
            }
            Local::Free if entry.losers.is_empty() && able => {
                slot.generation = entry.generation;
                if slot.handed_over {
                    self.add(set, Reason::HandedOver);
                } else if over {
                    self.add(set, Reason::HolderDead);
                } else {
                    slot.local = Local::Probing;
                    self.commands.push_back(Command::Probe(set));
                }
            }
            // Its guardian has spoken while the wire was being asked.
            Local::Probing if over => self.add(set, Reason::HolderDead),
            _ => {}
        }
        None
    }

    /// Goes on with the release of a set; gives the generation once it is out of the kernel.
    fn release(&mut self, set: usize, generation: u64, reason: Reason) -> Option<u64> {
        let slot = &mut self.slots[set];
        let free = !matches!(slot.local, Local::Held | Local::Removing);
        if (free || planted("release-early")) && slot.released != Some(generation) {
            slot.released = Some(generation);
            slot.stop();
            return Some(generation);
        }
        if slot.local == Local::Held {
            self.remove(set, reason);
        }
        None
    }

    pub(super) fn remove(&mut self, set: usize, reason: Reason) {
        let slot = &mut self.slots[set];
        slot.local = Local::Removing;
        slot.handed_over = false;
        self.commands.push_back(Command::Remove(set, reason));
    }

    /// Removes all that is held.
    pub(super) fn remove_all(&mut self, reason: Reason) {
        for set in 0..self.slots.len() {
            if self.slots[set].local == Local::Held {
                self.remove(set, reason);
            }
        }
    }
}
