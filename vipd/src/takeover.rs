//! What may claim an address, and when: a member's part, without I/O, clock or randomness.
//!
//! Inputs are `handle_*` and `set_*`, each followed by [`Takeover::poll_command`] until it gives
//! none; then [`Takeover::begin_adds`] says what goes into the kernel. Time is an argument, and
//! [`Takeover::poll_timeout`] says when [`Takeover::handle_timeout`] is due.
//!
//! ```text
//! bus:   offline --view--> gather --all HELLOs, all STATEs--> run --view--> gather
//!        any --lost--> offline: what is held is kept until Grace ends, nothing is claimed
//!        a transitional signal freezes gather and run until the next view
//! set:   free --dealt--> probing --silent--> adding --done--> held --told--> removing --> free
//!        free --handed over, or released by a guardian--> adding
//! ```
//!
//! Why no two members of a view hold a set:
//! - A member says in STATE what is in its kernel or on the way there, and STATE is the last thing
//!   it says before the round is complete. Nothing is added while a round is incomplete.
//! - The table changes by messages delivered to all members of the view in one order. Behind a
//!   transitional signal a message may have been delivered to some only: nothing starts there.
//! - A set with a holder gets another one only by the holder's RELEASED, or by its guardian's.
//! - A decision to add is carried out within 20 ms, in the view that it was taken in, or not at all
//!   (`decision`): the others may have gone on without a member that was held up.
//!
//! A holder that is gone without RELEASED may still answer: its vipd may be dead while its kernel
//! is not, or its bus lost while it is not. So a set that is dealt, not handed over, is asked for
//! on the wire first, and added when nobody answers.
//!
//! Parts: `round` (a view's exchange of STATEs), `catalog` (members whose files differ), `deliver`
//! (messages), `work` (the member's own share of the table), `decision` (how long a decision lasts),
//! `operator` (what people and checks want), `overview` (what people see), `mutant` (known bugs, in
//! tests only).

mod catalog;
mod decision;
mod deliver;
mod message;
mod mutant;
mod operator;
mod overview;
mod relist;
mod round;
mod slot;
mod table;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::balance::{Failback, Node};
use crate::indices::Indices;

pub use decision::WAKE_INTERVAL;
pub use message::released_for;
pub use operator::Refusal;
pub use overview::{Overview, SetOverview};
pub use table::{Cause, Movement};

use decision::Wakes;
use message::Message;
use mutant::planted;
use round::Round;
use slot::{Former, Local, Slot};
use table::Table;

/// Bound: movements that nobody has taken yet; the oldest are dropped.
const MOVEMENTS_MAX: usize = 10_000;

/// What the configuration says about this member.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This member as a node; `able` is what is known at the start.
    pub node: Node,
    /// A number that no other life of this member has: the time of its start will do.
    pub incarnation: u64,
    /// The canonical list of sets: of each its addresses with their bits.
    pub sets: Vec<String>,
    /// How long to wait for other members before sets are dealt for the first time.
    pub mature: Duration,
    /// How long a member that has lost the bus keeps its sets.
    pub grace: Duration,
    /// How often planned moves are made; none for never.
    pub balance_interval: Option<Duration>,
    /// Most planned moves at a time.
    pub moves_max: usize,
    /// When planned moves bring sets back to nodes that prefer them.
    pub failback: Failback,
}

/// A view of the group, as the bus delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Names of the sessions, in the one order that all members see.
    pub members: Vec<String>,
    /// Which of them is this one.
    pub me: usize,
}

/// What the member wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Remove the set's addresses, then call [`Takeover::handle_removed`].
    Remove(usize, Reason),
    /// Tell the neighbours, now and again later, that the set's addresses are here.
    Announce(usize),
    /// Ask the wire for the set's addresses, then call [`Takeover::handle_probed`].
    Probe(usize),
    /// Send this to the group, in agreed service.
    Send(Vec<u8>),
    /// The others have gone on without this member: drop the session at once, nothing more of it
    /// may be delivered, and open a new one.
    Reconnect,
    /// Another member of this name holds more: say so, and end.
    Refuse(String),
}

/// Why a set comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody in the view has it, and nobody on the wire.
    Uncovered,
    /// Its holder has released it to this member.
    HandedOver,
    /// Its holder's guardian has released it.
    HolderDead,
    /// It is to go to another member.
    Moved,
    /// Two partitions have merged, and another member keeps it.
    Merged,
    /// This member leaves.
    Leaving,
    /// The bus is lost, and Grace is over.
    BusLost,
    /// This member was held up, and others may have it.
    Stalled,
}

impl Reason {
    /// The word for logs, hooks and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Uncovered => "uncovered",
            Reason::HandedOver => "handed-over",
            Reason::HolderDead => "holder-dead",
            Reason::Moved => "moved",
            Reason::Merged => "merged",
            Reason::Leaving => "leaving",
            Reason::BusLost => "bus-lost",
            Reason::Stalled => "stalled",
        }
    }
}

/// One member.
#[derive(Debug)]
pub struct Takeover {
    settings: Settings,
    /// The digest of the canonical list of sets.
    config: u64,
    bus: Bus,
    /// Whether a transitional signal has come and no view after it.
    transitional: bool,
    wakes: Wakes,
    slots: Vec<Slot>,
    /// Whether somebody has been serving, as far as is known.
    mature: bool,
    mature_at: Option<Instant>,
    balance_at: Option<Instant>,
    /// The greatest generation that was seen.
    clock: u64,
    /// How many views there were.
    serial: u64,
    /// The node that was last told to the group.
    told: Option<Node>,
    /// Since when each node of the view, by name, has been fit to take sets back.
    fit_since: BTreeMap<String, Instant>,
    /// Another member's holding that may still be on the wire, by set.
    formers: BTreeMap<usize, Former>,
    /// The sessions of the last complete round; empty once the bus was lost.
    acquainted: Vec<String>,
    /// Since when nothing is held that was to be given up for good, and the group knows it.
    left_at: Option<Instant>,
    /// Messages that were not understood or came from nobody in the view.
    ignored: u64,
    commands: VecDeque<Command>,
    movements: VecDeque<Movement>,
}

/// How far the member is with its group.
#[derive(Debug)]
enum Bus {
    /// Not in a view; what is held is let go then.
    Offline {
        let_go_at: Option<Instant>,
    },
    Gather(Round),
    Run {
        view: View,
        table: Table,
    },
}

impl Takeover {
    /// A member that holds nothing and is in no view.
    pub fn new(settings: Settings) -> Takeover {
        Takeover {
            slots: vec![Slot::default(); settings.sets.len()],
            config: catalog::digest(&settings.sets),
            settings,
            bus: Bus::Offline { let_go_at: None },
            transitional: false,
            wakes: Wakes::default(),
            mature: false,
            mature_at: None,
            balance_at: None,
            clock: 0,
            serial: 0,
            told: None,
            fit_since: BTreeMap::new(),
            formers: BTreeMap::new(),
            acquainted: Vec::new(),
            left_at: None,
            ignored: 0,
            commands: VecDeque::new(),
            movements: VecDeque::new(),
        }
    }

    /// What is to be done next; commands are to be done in their order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next change of a holder that this member has seen, oldest first, for people.
    pub fn poll_movement(&mut self) -> Option<Movement> {
        self.movements.pop_front()
    }

    /// When [`handle_timeout`](Takeover::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let let_go_at = match self.bus {
            Bus::Offline { let_go_at } => let_go_at,
            _ => None,
        };
        let probes = self.slots.iter().filter_map(|slot| slot.probe_at);
        let times = [let_go_at, self.mature_at, self.balance_at];
        times.into_iter().flatten().chain(probes).min()
    }

    /// Does what was due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Bus::Offline { let_go_at } = &mut self.bus
            && let_go_at.is_some_and(|at| at <= now)
        {
            *let_go_at = None;
            if !planted("keep-after-grace") {
                self.remove_all(Reason::BusLost);
            }
        }
        if self.mature_at.is_some_and(|at| at <= now) && !matches!(self.bus, Bus::Offline { .. }) {
            self.mature_at = None;
            if !self.mature {
                self.send(&Message::Mature {});
            }
        }
        if self.balance_at.is_some_and(|at| at <= now) {
            let interval = self.settings.balance_interval;
            self.balance_at = interval.map(|interval| now + interval);
            self.plan_moves(now);
        }
        for set in 0..self.slots.len() {
            let slot = &mut self.slots[set];
            if slot.probe_at.is_some_and(|at| at <= now) {
                slot.probe_at = None;
                self.commands.push_back(Command::Probe(set));
            }
        }
    }

    /// The session with the bus is lost.
    pub fn handle_bus_lost(&mut self, now: Instant) {
        if matches!(self.bus, Bus::Offline { .. }) {
            return;
        }
        self.forget_decisions();
        self.balance_at = None;
        self.told = None;
        self.acquainted.clear();
        // The others go on, and none of what they do is heard.
        self.formers.values_mut().for_each(Former::doubt);
        self.bus = Bus::Offline {
            let_go_at: Some(now + self.settings.grace),
        };
    }

    /// Whether the set is in this member's kernel, as far as it knows.
    pub fn is_held(&self, set: usize) -> bool {
        self.slots[set].local == Local::Held
    }

    /// The digest of the list of sets.
    pub fn config(&self) -> u64 {
        self.config
    }

    /// The sets that are in the kernel, or on the way there or back, by generation: what STATE
    /// says, and what a guardian has to release when this member is dead.
    pub fn holds(&self) -> Vec<(u64, Indices)> {
        slot::holds(&self.slots)
    }

    /// The generation in which the set is held here.
    pub fn generation(&self, set: usize) -> u64 {
        self.slots[set].generation
    }

    fn send(&mut self, message: &Message) {
        self.commands.push_back(Command::Send(message.encode()));
    }

    fn note(&mut self, movement: Movement) {
        if self.movements.len() == MOVEMENTS_MAX {
            self.movements.pop_front();
        }
        self.movements.push_back(movement);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
