//! How long a decision to take a set lasts: a program can be held up anywhere, by a signal, by a
//! busy machine or with its whole host, and the others go on without it.
//!
//! So to add a set is no command that waits in a queue: the executor asks for what is to be added
//! right before it does it, with [`Takeover::begin_adds`], and gets what is still to be. A decision
//! rests on what was known when the program was last known to be on time. Members that go on
//! without this one ask the wire three times in 30 ms before they take a set; a decision that is
//! carried out within 20 ms is answered for when they ask last. A later one is void, and this
//! member asks the wire itself.
//!
//! What is left is a program that is held up within the one system call; it looks at its guardian's
//! word behind it.

use std::time::{Duration, Instant};

use super::mutant::planted;
use super::slot::Local;
#[cfg(test)]
use super::slot::Slot;
use super::{Bus, Command, Reason, Takeover};

/// Bound: from one [`Takeover::handle_wake`] to the next, in a program that is not held up.
pub const WAKE_INTERVAL: Duration = Duration::from_millis(50);

/// A decision that is not carried out within this time is taken anew.
const DECISION_LASTS: Duration = Duration::from_millis(20);

/// Held up for so long, the program does not know what it holds any more: its addresses may have
/// expired, and others may have them.
const STALL: Duration = Duration::from_secs(2);

/// When the program was awake.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wakes {
    last: Option<Instant>,
    /// Until when the program was on time: what is decided now rests on what was known then.
    on_time: Option<Instant>,
}

impl Takeover {
    /// The program has its turn again: to be called before it looks at anything else. `fenced` is
    /// the guardian's word that it has removed all addresses, as vipd was silent.
    ///
    /// Gives how long the program was held up, if that was for so long that it lets everything go.
    pub fn handle_wake(&mut self, now: Instant, fenced: bool) -> Option<Duration> {
        let last = self.wakes.last.unwrap_or(now);
        self.wakes = Wakes {
            last: Some(now),
            on_time: Some(now.min(last + WAKE_INTERVAL)),
        };
        let held_up = now.saturating_duration_since(last);
        if held_up < STALL && !fenced {
            return None;
        }
        self.commands.push_back(Command::Reconnect);
        self.handle_stall(now);
        Some(held_up)
    }

    /// The sets to be put into the kernel now, and why: for each of them
    /// [`handle_added`](Takeover::handle_added) is to be called at once.
    pub fn begin_adds(&mut self, now: Instant) -> Vec<(usize, Reason)> {
        let mut adds = Vec::new();
        if self.transitional {
            return adds;
        }
        for set in 0..self.slots.len() {
            let Local::Adding(reason) = self.slots[set].local else {
                continue;
            };
            let decided_at = self.slots[set].decided_at;
            let age = decided_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            if age <= DECISION_LASTS || planted("old-decision") {
                adds.push((set, reason));
            } else {
                self.ask_again(set);
            }
        }
        adds
    }

    /// Until when what the decision to add a set rests on was known.
    #[cfg(test)]
    pub(super) fn decided_at(&self, set: usize) -> Option<Instant> {
        self.slots[set].decided_at
    }

    /// Whether a set is decided to be added, and is not yet.
    #[cfg(test)]
    pub(super) fn has_decided(&self) -> bool {
        let adding = |slot: &Slot| matches!(slot.local, Local::Adding(_));
        self.slots.iter().any(adding)
    }

    /// Decides to take a set.
    pub(super) fn add(&mut self, set: usize, reason: Reason) {
        let slot = &mut self.slots[set];
        slot.probe_at = None;
        slot.decided_at = self.wakes.on_time;
        slot.local = Local::Adding(reason);
    }

    /// What was known of the last holder may be over: only the wire can tell.
    fn ask_again(&mut self, set: usize) {
        let slot = &mut self.slots[set];
        slot.handed_over = false;
        slot.local = Local::Probing;
        if let Some(former) = self.formers.get_mut(&set) {
            former.doubt();
        }
        self.commands.push_back(Command::Probe(set));
    }

    /// The program was held up for longer than others wait for it, or its guardian has removed its
    /// addresses: it holds nothing that it can be sure of, and what it hears is of another time.
    pub(super) fn handle_stall(&mut self, now: Instant) {
        if planted("stale-after-pause") {
            return;
        }
        self.handle_bus_lost(now);
        self.remove_all(Reason::Stalled);
        if let Bus::Offline { let_go_at } = &mut self.bus {
            *let_go_at = None;
        }
    }
}
