//! What may claim an address, and when: a member's part, without I/O, clock or randomness.
//!
//! Inputs are `handle_*`, each followed by [`Takeover::poll_command`] until it gives none; time is
//! an argument, and [`Takeover::poll_timeout`] says when [`Takeover::handle_timeout`] is due.
//!
//! ```text
//! bus:   offline --view--> gather --all HELLOs, all STATEs--> run --view--> gather
//!        any --lost--> offline: what is held is kept until Grace ends, nothing is claimed
//!        a transitional signal freezes gather and run until the next view
//! set:   free --dealt--> probing --silent--> adding --done--> held --told--> removing --> free
//!        free --handed over by RELEASED--> adding
//! ```
//!
//! Why no two members of a view hold a set:
//! - A member says in STATE what is in its kernel or on the way there, and STATE is the last thing
//!   it says before the round is complete. Nothing is added while a round is incomplete.
//! - The table changes by messages delivered to all members of the view in one order. Behind a
//!   transitional signal a message may have been delivered to some only: nothing starts there.
//! - A set with a holder gets another one only by the holder's RELEASED.
//!
//! A holder that is gone without RELEASED may still answer: its vipd may be dead while its kernel
//! is not, or its bus lost while it is not. So a set that is dealt, not handed over, is asked for
//! on the wire first, and added when nobody answers, or when no dead man's addresses can be left.

mod message;
mod table;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::balance::{self, Node};
use crate::digest::Digest;
use crate::indices::Indices;

use message::{Message, State};
use table::{Change, Table};

/// A set that is answered for by nobody in the view is asked for so often.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// After this long a set is claimed although somebody answers: a vipd that lives has let go, and
/// the addresses of one that died have expired (their lifetime is 5 s).
const CLAIM_ANYWAY: Duration = Duration::from_secs(6);

/// Bound: planned moves in one message, whatever the configuration says.
const MOVES_MAX: usize = 500;

/// What the configuration says about this member.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This member as a node; `able` is what is known at the start.
    pub node: Node,
    /// A number that no other life of this member has: the time of its start will do.
    pub incarnation: u64,
    /// How many sets there are.
    pub set_count: usize,
    /// The digest of the canonical list of sets.
    pub config: u64,
    /// How long to wait for other members before sets are dealt for the first time.
    pub mature: Duration,
    /// How long a member that has lost the bus keeps its sets.
    pub grace: Duration,
    /// How often planned moves are made; none for never.
    pub balance_interval: Option<Duration>,
    /// Most planned moves at a time.
    pub moves_max: usize,
    /// Whether planned moves bring sets back to nodes that prefer them.
    pub failback: bool,
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
    /// Add the set's addresses, then call [`Takeover::handle_added`].
    Add(usize, Reason),
    /// Remove the set's addresses, then call [`Takeover::handle_removed`].
    Remove(usize, Reason),
    /// Tell the neighbours, now and again later, that the set's addresses are here.
    Announce(usize),
    /// Ask the wire for the set's addresses, then call [`Takeover::handle_probed`].
    Probe(usize),
    /// Send this to the group, in agreed service.
    Send(Vec<u8>),
    /// Another member of this name holds more: say so, and end.
    Refuse(String),
}

/// Why a set comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody in the view has it, and nobody on the wire.
    Uncovered,
    /// Somebody outside of the view has answered for it until the longest time was over.
    AnsweredTooLong,
    /// Its holder has released it to this member.
    HandedOver,
    /// It is to go to another member.
    Moved,
    /// Two partitions have merged, and another member keeps it.
    Merged,
    /// This member leaves.
    Leaving,
    /// The bus is lost, and Grace is over.
    BusLost,
}

impl Reason {
    /// The word for logs and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Uncovered => "uncovered",
            Reason::AnsweredTooLong => "answered-too-long",
            Reason::HandedOver => "handed-over",
            Reason::Moved => "moved",
            Reason::Merged => "merged",
            Reason::Leaving => "leaving",
            Reason::BusLost => "bus-lost",
        }
    }
}

/// One member.
#[derive(Debug)]
pub struct Takeover {
    settings: Settings,
    bus: Bus,
    /// Whether a transitional signal has come and no view after it.
    transitional: bool,
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
    /// Messages that were not understood or came from nobody in the view.
    ignored: u64,
    commands: VecDeque<Command>,
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

/// A round of HELLOs and STATEs that is not complete.
#[derive(Debug)]
struct Round {
    view: View,
    /// Who has said HELLO.
    hellos: Vec<bool>,
    /// The digest of the HELLOs, when all are there.
    tag: Option<u64>,
    states: Vec<Option<State>>,
    digest: Digest,
}

/// A set at this member.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    local: Local,
    /// In which it is held.
    generation: u64,
    /// The generation whose RELEASED has been sent in this round.
    released: Option<u64>,
    /// Whether the last holder's RELEASED came: nobody else has it.
    handed_over: bool,
    /// Whether the last rival's RELEASED came: the neighbours must hear who is left.
    undisputed: bool,
    /// Since when this member has been asking the wire for it.
    probed_since: Option<Instant>,
    probe_at: Option<Instant>,
}

/// Where a set's addresses are in this member's kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Local {
    #[default]
    Free,
    Probing,
    Adding,
    Held,
    Removing,
}

impl Local {
    fn as_str(self) -> &'static str {
        match self {
            Local::Free => "free",
            Local::Probing => "probing",
            Local::Adding => "adding",
            Local::Held => "held",
            Local::Removing => "removing",
        }
    }
}

/// What a member knows, for people.
#[derive(Clone, Debug)]
pub struct Overview<'a> {
    /// `offline`, `gather`, `run` or `transition`.
    pub phase: &'static str,
    /// The members, in the order of the view; empty but in `run`.
    pub nodes: &'a [Node],
    /// Members with another list of sets.
    pub strangers: &'a [String],
    /// Whether sets are dealt.
    pub mature: bool,
    /// By index of the canonical list.
    pub sets: Vec<SetOverview>,
    /// Messages that were not understood.
    pub ignored: u64,
}

/// One set, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetOverview {
    /// The member that holds it, by index.
    pub holder: Option<usize>,
    /// The member that it is going to.
    pub target: Option<usize>,
    /// Whether more than one member holds it.
    pub disputed: bool,
    /// How it is at this member.
    pub here: &'static str,
}

impl Takeover {
    /// A member that holds nothing and is in no view.
    pub fn new(settings: Settings) -> Takeover {
        Takeover {
            slots: vec![Slot::default(); settings.set_count],
            settings,
            bus: Bus::Offline { let_go_at: None },
            transitional: false,
            mature: false,
            mature_at: None,
            balance_at: None,
            clock: 0,
            serial: 0,
            told: None,
            ignored: 0,
            commands: VecDeque::new(),
        }
    }

    /// What is to be done next; commands are to be done in their order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
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

    /// A new view of the group: everybody says HELLO, then what it holds.
    ///
    /// A message of an earlier view may still come in this one, and the bus's ids of views may
    /// repeat. The digest of the HELLOs does not: each of them is delivered once.
    pub fn handle_view(&mut self, now: Instant, view: View) {
        self.transitional = false;
        self.balance_at = None;
        for slot in &mut self.slots {
            // A probe of an earlier round proves nothing in this one.
            if slot.local == Local::Probing {
                slot.local = Local::Free;
            }
            slot.probe_at = None;
            slot.released = None;
            slot.handed_over = false;
            slot.undisputed = false;
        }
        if !self.mature && self.mature_at.is_none() {
            self.mature_at = Some(now + self.settings.mature);
        }
        self.serial += 1;
        self.send(&Message::Hello {
            incarnation: self.settings.incarnation,
            serial: self.serial,
        });
        self.bus = Bus::Gather(Round {
            hellos: vec![false; view.members.len()],
            states: vec![None; view.members.len()],
            tag: None,
            digest: Digest::new(),
            view,
        });
    }

    /// The view ends: what follows until the next one may not have reached all members.
    pub fn handle_transition(&mut self) {
        self.transitional = !cfg!(mutant = "claim-in-transition");
    }

    /// The session with the bus is lost.
    pub fn handle_bus_lost(&mut self, now: Instant) {
        if matches!(self.bus, Bus::Offline { .. }) {
            return;
        }
        for slot in &mut self.slots {
            if slot.local == Local::Probing {
                slot.local = Local::Free;
            }
            slot.probe_at = None;
        }
        self.balance_at = None;
        self.told = None;
        self.bus = Bus::Offline {
            let_go_at: Some(now + self.settings.grace),
        };
    }

    /// A message of the group; `sender` is the session's name.
    pub fn handle_message(&mut self, now: Instant, sender: &str, data: &[u8]) {
        if self.transitional {
            return;
        }
        let members = match &self.bus {
            Bus::Offline { .. } => return,
            Bus::Gather(round) => &round.view.members,
            Bus::Run { view, .. } => &view.members,
        };
        let member = members.iter().position(|member| member == sender);
        let (Some(member), Some(message)) = (member, Message::decode(data)) else {
            self.ignored += 1;
            return;
        };
        match (&mut self.bus, message) {
            (Bus::Offline { .. }, _) => return,
            (Bus::Gather(round), Message::Hello { .. }) => {
                if round.greet(member, data) {
                    self.send_state();
                }
            }
            (Bus::Gather(round), Message::State(state)) => {
                round.take(member, state, data);
                if round.states.iter().all(Option::is_some) {
                    self.begin_run(now);
                }
            }
            // Said behind the sender's STATE, so it is newer.
            (Bus::Gather(round), Message::Node(node)) => {
                if let Some(state) = &mut round.states[member] {
                    state.node = node;
                }
            }
            (Bus::Gather(round), Message::Mature {}) => {
                if let Some(state) = &mut round.states[member] {
                    state.mature = true;
                }
            }
            // Said before the sender's STATE, which says the same, or in another round.
            (Bus::Gather(_), Message::Released { .. } | Message::Move { .. }) => return,
            (Bus::Run { table, .. }, message) => apply(table, &mut self.slots, member, message),
        }
        self.work(now);
    }

    /// The set's addresses are in the kernel, or cannot be.
    pub fn handle_added(&mut self, now: Instant, set: usize, done: bool) {
        let slot = &mut self.slots[set];
        if slot.local != Local::Adding {
            return;
        }
        slot.probed_since = None;
        if done {
            slot.local = Local::Held;
            // Where it has to go again at once, its next holder speaks.
            if !self.is_unwanted(set) {
                self.commands.push_back(Command::Announce(set));
            }
        } else {
            slot.local = Local::Free;
            self.settings.node.able.remove(set);
        }
        self.work(now);
    }

    /// The set's addresses are no longer in the kernel.
    pub fn handle_removed(&mut self, now: Instant, set: usize) {
        if self.slots[set].local == Local::Removing {
            self.slots[set].local = Local::Free;
            self.work(now);
        }
    }

    /// Whether somebody has answered for one of the set's addresses.
    pub fn handle_probed(&mut self, now: Instant, set: usize, answered: bool) {
        let running = matches!(self.bus, Bus::Run { .. }) && !self.transitional;
        let slot = &mut self.slots[set];
        if slot.local != Local::Probing || !running {
            return;
        }
        let since = *slot.probed_since.get_or_insert(now);
        let reason = match answered && !cfg!(mutant = "claim-though-answered") {
            false => Reason::Uncovered,
            true if now.saturating_duration_since(since) >= CLAIM_ANYWAY => Reason::AnsweredTooLong,
            true => {
                slot.probe_at = Some(now + PROBE_INTERVAL);
                return;
            }
        };
        self.add(set, reason);
    }

    /// The sets that this member's interfaces can hold have changed.
    pub fn set_able(&mut self, now: Instant, able: Indices) {
        self.settings.node.able = able;
        self.work(now);
    }

    /// Gives up all sets to other members, or takes a share again.
    pub fn set_drained(&mut self, now: Instant, drained: bool) {
        self.settings.node.drained = drained;
        self.work(now);
    }

    /// What the configuration says has changed; the list of sets must be the same.
    pub fn set_settings(&mut self, now: Instant, settings: Settings) {
        let Node {
            able,
            drained,
            leaving,
            ..
        } = self.settings.node.clone();
        self.settings = settings;
        self.settings.node = Node {
            able,
            drained,
            leaving,
            ..self.settings.node.clone()
        };
        self.work(now);
    }

    /// Gives up all sets for good.
    pub fn leave(&mut self, now: Instant) {
        self.settings.node.leaving = true;
        self.let_go(now);
        self.work(now);
    }

    /// Ends Grace now: a member without bus lets go of all it has.
    pub fn let_go(&mut self, now: Instant) {
        if let Bus::Offline { let_go_at } = &mut self.bus {
            *let_go_at = Some(now);
            self.handle_timeout(now);
        }
    }

    /// Whether nothing is held, and the group knows it: the member may leave it.
    pub fn has_left(&self) -> bool {
        let free = self
            .slots
            .iter()
            .all(|slot| matches!(slot.local, Local::Free | Local::Probing));
        let known = match &self.bus {
            Bus::Offline { .. } => true,
            Bus::Gather(_) => false,
            Bus::Run { view, table } => {
                table.nodes[view.me].leaving && table.held_by(view.me).count() == 0
            }
        };
        self.settings.node.leaving && free && known
    }

    /// What this member knows about its group and its sets.
    pub fn overview(&self) -> Overview<'_> {
        let (phase, table) = match &self.bus {
            Bus::Offline { .. } => ("offline", None),
            Bus::Gather(_) => ("gather", None),
            Bus::Run { .. } if self.transitional => ("transition", None),
            Bus::Run { table, .. } => ("run", Some(table)),
        };
        let entries = table.map_or(&[][..], |table| &table.entries);
        let sets = self
            .slots
            .iter()
            .enumerate()
            .map(|(set, slot)| SetOverview {
                holder: entries.get(set).and_then(|entry| entry.holder),
                target: entries.get(set).and_then(|entry| entry.target),
                disputed: entries
                    .get(set)
                    .is_some_and(|entry| !entry.losers.is_empty()),
                here: slot.local.as_str(),
            });
        Overview {
            phase,
            nodes: table.map_or(&[], |table| &table.nodes),
            strangers: table.map_or(&[], |table| &table.strangers),
            mature: self.mature,
            sets: sets.collect(),
            ignored: self.ignored,
        }
    }

    /// Where each set would go if these nodes were gone, by index of [`Overview::nodes`]; none
    /// while there is no table.
    pub fn what_if(&self, down: &[String]) -> Option<Vec<Option<usize>>> {
        let Bus::Run { table, .. } = &self.bus else {
            return None;
        };
        let mut nodes = table.nodes.clone();
        for node in &mut nodes {
            node.leaving |= down.contains(&node.name);
        }
        Some(balance::deal(&nodes, &table.places()))
    }

    /// Whether the set is in this member's kernel, as far as it knows.
    pub fn is_held(&self, set: usize) -> bool {
        self.slots[set].local == Local::Held
    }

    /// Does what was due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Bus::Offline { let_go_at } = &mut self.bus
            && let_go_at.is_some_and(|at| at <= now)
        {
            *let_go_at = None;
            for set in 0..self.slots.len() {
                if self.slots[set].local == Local::Held {
                    self.remove(set, Reason::BusLost);
                }
            }
        }
        if self.mature_at.is_some_and(|at| at <= now) && !matches!(self.bus, Bus::Offline { .. }) {
            self.mature_at = None;
            if !self.mature {
                self.send(&Message::Mature {});
            }
        }
        if self.balance_at.is_some_and(|at| at <= now) {
            self.balance_at = self
                .settings
                .balance_interval
                .map(|interval| now + interval);
            self.plan_moves();
        }
        for set in 0..self.slots.len() {
            let slot = &mut self.slots[set];
            if slot.probe_at.is_some_and(|at| at <= now) {
                slot.probe_at = None;
                self.commands.push_back(Command::Probe(set));
            }
        }
    }
}

impl Round {
    /// Takes a member's first HELLO; gives whether it was the last one that was missing.
    fn greet(&mut self, member: usize, data: &[u8]) -> bool {
        if std::mem::replace(&mut self.hellos[member], true) {
            return false;
        }
        self.digest = self.digest.number(member as u64).part(data);
        let complete = self.hellos.iter().all(|&said| said);
        self.tag = complete.then(|| self.digest.value());
        complete
    }

    /// Takes a STATE, if it belongs to this round and is the member's first.
    fn take(&mut self, member: usize, state: State, data: &[u8]) {
        if self.tag == Some(state.hellos) && self.states[member].is_none() {
            self.digest = self.digest.number(member as u64).part(data);
            self.states[member] = Some(state);
        }
    }
}

impl Takeover {
    /// Says what this member holds, to a view whose HELLOs are complete.
    fn send_state(&mut self) {
        let Bus::Gather(Round {
            tag: Some(hellos), ..
        }) = self.bus
        else {
            return;
        };
        self.told = Some(self.settings.node.clone());
        self.send(&Message::State(State {
            hellos,
            config: self.settings.config,
            mature: self.mature,
            clock: self.clock,
            node: self.settings.node.clone(),
            holds: self.holds(),
        }));
    }

    /// The table of a round that is complete, dealt.
    fn begin_run(&mut self, now: Instant) {
        let offline = Bus::Offline { let_go_at: None };
        let Bus::Gather(round) = std::mem::replace(&mut self.bus, offline) else {
            return;
        };
        let states = round.states.into_iter().flatten().collect();
        let config = self.settings.config;
        let mut table = Table::new(states, config, self.settings.set_count, round.digest);
        for member in table.dismiss_namesakes() {
            if member == round.view.me {
                let name = self.settings.node.name.clone();
                self.settings.node.leaving = true;
                self.commands.push_back(Command::Refuse(name));
            }
        }
        table.settle();
        self.balance_at = self
            .settings
            .balance_interval
            .map(|interval| now + interval);
        self.bus = Bus::Run {
            view: round.view,
            table,
        };
    }

    /// Does what the table asks of this member. Nothing begins while a round is incomplete.
    fn work(&mut self, now: Instant) {
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
        let mut released: Vec<(u64, Indices)> = Vec::new();
        for set in 0..self.slots.len() {
            if let Some(generation) = self.work_on(now, me, set) {
                match released.iter_mut().find(|(of, _)| *of == generation) {
                    Some((_, sets)) => sets.insert(set),
                    None => released.push((generation, [set].into_iter().collect())),
                }
            }
        }
        if !released.is_empty() {
            self.send(&Message::Released { sets: released });
        }
    }

    /// Does what the table asks for one set; gives the generation whose release is to be told.
    fn work_on(&mut self, now: Instant, me: usize, set: usize) -> Option<u64> {
        let Bus::Run { table, .. } = &self.bus else {
            return None;
        };
        let entry = &table.entries[set];
        let slot = &mut self.slots[set];
        if let Some(generation) = table.to_release(me, set) {
            let reason = match entry.holder == Some(me) {
                false => Reason::Merged,
                true if table.nodes[me].leaving => Reason::Leaving,
                true => Reason::Moved,
            };
            let free = matches!(slot.local, Local::Free | Local::Probing);
            if (free || cfg!(mutant = "release-early")) && slot.released != Some(generation) {
                slot.released = Some(generation);
                if free {
                    slot.local = Local::Free;
                    slot.probe_at = None;
                }
                return Some(generation);
            }
            match slot.local {
                Local::Held => self.remove(set, reason),
                // What is on its way there has to arrive before it can go.
                Local::Free | Local::Probing | Local::Adding | Local::Removing => {}
            }
            return None;
        }
        if entry.holder != Some(me) {
            slot.probed_since = None;
            slot.probe_at = None;
            slot.handed_over = false;
            match slot.local {
                Local::Probing => slot.local = Local::Free,
                Local::Held => self.remove(set, Reason::Moved),
                _ => {}
            }
            return None;
        }
        match slot.local {
            Local::Held if slot.undisputed => {
                slot.undisputed = false;
                self.commands.push_back(Command::Announce(set));
            }
            Local::Free if entry.losers.is_empty() && self.settings.node.able.contains(set) => {
                slot.generation = entry.generation;
                if slot.handed_over {
                    self.add(set, Reason::HandedOver);
                } else {
                    slot.probed_since.get_or_insert(now);
                    slot.local = Local::Probing;
                    self.commands.push_back(Command::Probe(set));
                }
            }
            _ => {}
        }
        None
    }

    /// Whether the table asks this member to release the set.
    fn is_unwanted(&self, set: usize) -> bool {
        match &self.bus {
            Bus::Run { view, table } => table.to_release(view.me, set).is_some(),
            _ => false,
        }
    }

    fn add(&mut self, set: usize, reason: Reason) {
        self.slots[set].local = Local::Adding;
        self.commands.push_back(Command::Add(set, reason));
    }

    fn remove(&mut self, set: usize, reason: Reason) {
        let slot = &mut self.slots[set];
        slot.local = Local::Removing;
        slot.handed_over = false;
        self.commands.push_back(Command::Remove(set, reason));
    }

    /// The sets that are in the kernel, or on the way there or back, by generation.
    fn holds(&self) -> Vec<(u64, Indices)> {
        let mut holds: Vec<(u64, Indices)> = Vec::new();
        for (set, slot) in self.slots.iter().enumerate() {
            let coming = slot.local == Local::Adding && cfg!(mutant = "state-omits-adding");
            if coming || matches!(slot.local, Local::Free | Local::Probing) {
                continue;
            }
            match holds
                .iter_mut()
                .find(|(generation, _)| *generation == slot.generation)
            {
                Some((_, sets)) => sets.insert(set),
                None => holds.push((slot.generation, [set].into_iter().collect())),
            }
        }
        holds
    }

    /// Plans moves, if this member is the one that does: the first of the view.
    fn plan_moves(&mut self) {
        if let Bus::Run { view, .. } = &self.bus
            && view.me == 0
        {
            self.balance(self.settings.moves_max, self.settings.failback);
        }
    }

    /// Makes the loads even by planned moves, at most so many; gives how many were sent.
    pub fn balance(&mut self, moves_max: usize, failback: bool) -> usize {
        let Bus::Run { table, .. } = &self.bus else {
            return 0;
        };
        let settled = table.mature && table.strangers.is_empty() && !table.is_moving();
        if self.transitional || !settled {
            return 0;
        }
        let moves_max = moves_max.min(MOVES_MAX);
        let moves = balance::level(&table.nodes, &table.places(), moves_max, failback);
        self.send_moves(&moves);
        moves.len()
    }

    fn send_moves(&mut self, moves: &[(usize, usize)]) {
        let Bus::Run { table, .. } = &self.bus else {
            return;
        };
        let to = |member: usize| {
            let sets = moves
                .iter()
                .filter(move |(_, to)| *to == member)
                .map(|(set, _)| *set);
            (member, sets.collect::<Indices>())
        };
        let moves: Vec<_> = (0..table.nodes.len())
            .map(to)
            .filter(|(_, sets)| sets.count() > 0)
            .collect();
        if !moves.is_empty() {
            let round = table.round;
            self.send(&Message::Move { round, moves });
        }
    }

    fn send(&mut self, message: &Message) {
        self.commands.push_back(Command::Send(message.encode()));
    }
}

/// Changes the table by a message that all members receive in the same order.
fn apply(table: &mut Table, slots: &mut [Slot], member: usize, message: Message) {
    match message {
        // A round is complete with the first one of each member.
        Message::Hello { .. } | Message::State(_) => return,
        Message::Node(node) => table.nodes[member] = node,
        Message::Mature {} => table.mature = true,
        Message::Released { sets } => {
            // So that this release is void if it comes again.
            table.clock += 1;
            for (generation, sets) in &sets {
                for set in sets.iter() {
                    match table.release(member, set, *generation) {
                        Some(Change::HandedOver) => slots[set].handed_over = true,
                        Some(Change::Undisputed) => slots[set].undisputed = true,
                        Some(Change::Freed) | None => {}
                    }
                }
            }
        }
        Message::Move { round, moves } => {
            if round != table.round {
                return;
            }
            for (to, sets) in &moves {
                for set in sets.iter() {
                    table.plan(set, *to);
                }
            }
        }
    }
    table.settle();
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
