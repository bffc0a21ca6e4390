//! What people, checks and interfaces want of a member, and the moves that follow from it.

use std::time::{Duration, Instant};

use super::message::{Message, PINS_MAX, SICK_LENGTH_MAX};
use super::slot::Local;
use super::table::Cause;
use super::{Bus, Settings, Takeover};
use crate::balance::{self, Failback, Fitness, Node, Pin};
use crate::indices::Indices;

/// Bound: planned moves in one message, whatever the configuration says.
const MOVES_MAX: usize = 500;

/// Who has given up everything stays in the view for so long. A view that follows a release at once
/// voids what the others were about to acquire because of it, and they ask the wire first.
const LINGER: Duration = Duration::from_millis(100);

/// Why a move or a pin that was asked for cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no complete round now.
    NoTable,
    /// No node of this name is in the view.
    NoSuchNode,
    /// The node cannot hold the set.
    Unfit,
    /// It is there already.
    Held,
    /// It is on its way somewhere, or two partitions have brought it along.
    Moving,
    /// It is not the same in all files.
    Disputed,
    /// As many sets as can be are pinned.
    TooManyPins,
}

impl Refusal {
    /// A sentence for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::NoTable => "there is no agreed table now, ask again",
            Refusal::NoSuchNode => "no such node is in the view",
            Refusal::Unfit => "that node cannot hold the set now",
            Refusal::Held => "that node holds the set",
            Refusal::Moving => "the set is moving, or held twice",
            Refusal::Disputed => "the set is not the same in all files",
            Refusal::TooManyPins => "too many sets are pinned",
        }
    }
}

impl Takeover {
    /// The sets that this member's interfaces can hold have changed.
    pub fn set_able(&mut self, able: Indices) {
        self.settings.node.able = able;
        self.work();
    }

    /// The sets that this member takes only if no other can.
    pub fn set_yields(&mut self, yields: Indices) {
        self.settings.node.yields = yields;
        self.work();
    }

    /// Gives up all sets to other members, or takes a share again.
    pub fn set_drained(&mut self, drained: bool) {
        self.settings.node.drained = drained;
        self.work();
    }

    /// What a check says is wrong with this member; none if nothing is.
    pub fn set_sick(&mut self, sick: Option<String>) {
        self.settings.node.sick = sick.map(|mut sick| {
            sick.truncate(sick.floor_char_boundary(SICK_LENGTH_MAX));
            sick
        });
        self.work();
    }

    /// What the configuration says has changed; the list of sets must be the same.
    pub fn set_settings(&mut self, settings: Settings) {
        let node = std::mem::take(&mut self.settings.node);
        self.settings = settings;
        self.settings.node = Node {
            weight: self.settings.node.weight,
            prefers: std::mem::take(&mut self.settings.node.prefers),
            ..node
        };
        self.work();
    }

    /// Takes a set that is in the kernel already for held: an earlier program has left it there for
    /// this one. It is kept for Grace, as when the bus is lost.
    pub fn adopt(&mut self, now: Instant, set: usize) {
        if let Bus::Offline { let_go_at } = &mut self.bus {
            *let_go_at = Some(now + self.settings.grace);
        }
        self.slots[set].local = Local::Held;
        self.slots[set].unheard = true;
    }

    /// Gives up all sets for good.
    pub fn leave(&mut self, now: Instant) {
        self.settings.node.leaving = true;
        if let Bus::Offline { let_go_at } = &mut self.bus {
            *let_go_at = Some(now);
            self.handle_timeout(now);
        }
        self.work();
    }

    /// Whether nothing is held, the group knows it, and others have had the time to acquire it: the
    /// member may end its session.
    pub fn has_left(&mut self, now: Instant) -> bool {
        if !self.has_given_up_all() {
            self.left_at = None;
            return false;
        }
        let left_at = *self.left_at.get_or_insert(now);
        let is_alone = match &self.bus {
            Bus::Run { view, .. } => view.members.len() == 1,
            _ => true,
        };
        is_alone || now >= left_at + LINGER
    }

    fn has_given_up_all(&self) -> bool {
        let known = match &self.bus {
            Bus::Offline { .. } => true,
            Bus::Gather(_) => false,
            Bus::Run { view, table } => {
                table.nodes[view.me].leaving && table.held_by(view.me).count() == 0
            }
        };
        self.settings.node.leaving && self.holds().is_empty() && known
    }

    /// Pins a set to a node, or ends its pin; the last word counts, whichever member said it.
    ///
    /// # Errors
    /// The table does not allow it now.
    pub fn pin(&mut self, set: usize, to: Option<&str>) -> Result<(), Refusal> {
        let Bus::Run { table, .. } = &self.bus else {
            return Err(Refusal::NoTable);
        };
        if let Some(name) = to {
            let node = table.nodes.iter().find(|node| node.name == name);
            let node = node.ok_or(Refusal::NoSuchNode)?;
            if node.fitness(set) == Fitness::Unfit {
                return Err(Refusal::Unfit);
            }
        }
        let pins = table.nodes.iter().flat_map(|node| &node.pins);
        let stamp = pins.map(|pin| pin.stamp).max().unwrap_or(0) + 1;
        let own = &mut self.settings.node.pins;
        own.retain(|pin| pin.set != set);
        if own.len() == PINS_MAX {
            return Err(Refusal::TooManyPins);
        }
        own.push(Pin {
            set,
            node: to.unwrap_or_default().to_owned(),
            stamp,
        });
        self.work();
        Ok(())
    }

    /// Moves a set to a node, once.
    ///
    /// # Errors
    /// The table does not allow it now.
    pub fn move_to(&mut self, set: usize, to: &str) -> Result<(), Refusal> {
        let Bus::Run { table, .. } = &self.bus else {
            return Err(Refusal::NoTable);
        };
        let node = table.nodes.iter().position(|node| node.name == to);
        let node = node.ok_or(Refusal::NoSuchNode)?;
        let entry = &table.entries[set];
        if self.transitional || !table.mature {
            Err(Refusal::NoTable)
        } else if table.nodes[node].fitness(set) == Fitness::Unfit {
            Err(Refusal::Unfit)
        } else if table.disputed.contains(set) {
            Err(Refusal::Disputed)
        } else if entry.target.is_some() || !entry.losers.is_empty() {
            Err(Refusal::Moving)
        } else if entry.holder == Some(node) {
            Err(Refusal::Held)
        } else {
            self.send_moves(&[(set, node)], Cause::Operator);
            Ok(())
        }
    }

    /// Plans moves, if this member is the one that does: the first of the view.
    pub(super) fn plan_moves(&mut self, now: Instant) {
        if let Bus::Run { view, .. } = &self.bus
            && view.me == 0
        {
            self.balance(now, self.settings.moves_max, false);
        }
    }

    /// Makes the loads even by planned moves, at most so many; gives how many were sent.
    ///
    /// By hand, what would go back only by hand goes back too.
    pub fn balance(&mut self, now: Instant, moves_max: usize, by_hand: bool) -> usize {
        let Bus::Run { table, .. } = &self.bus else {
            return 0;
        };
        if self.transitional || !table.mature || table.is_moving() {
            return 0;
        }
        let takes_back = |node: &Node| match self.settings.failback {
            Failback::Never => false,
            Failback::Manual => by_hand,
            Failback::After(time) => {
                let since = self.fit_since.get(&node.name);
                by_hand || since.is_some_and(|&since| now.duration_since(since) >= time)
            }
        };
        let takes_back: Vec<bool> = table.nodes.iter().map(takes_back).collect();
        let places = table.places();
        let moves_max = moves_max.min(MOVES_MAX);
        let back = balance::fail_back(&table.nodes, &places, &takes_back, moves_max);
        let mut then = places;
        for &(set, to) in &back {
            then[set] = Some(to);
        }
        let even = table.level(&then, moves_max - back.len());
        self.send_moves(&back, Cause::Failback);
        self.send_moves(&even, Cause::Balance);
        back.len() + even.len()
    }

    fn send_moves(&mut self, moves: &[(usize, usize)], cause: Cause) {
        let Bus::Run { table, .. } = &self.bus else {
            return;
        };
        let to = |member: usize| {
            let sets = moves.iter().filter(move |(_, to)| *to == member);
            (member, sets.map(|(set, _)| *set).collect::<Indices>())
        };
        let moves: Vec<_> = (0..table.nodes.len())
            .map(to)
            .filter(|(_, sets)| sets.count() > 0)
            .collect();
        if !moves.is_empty() {
            let round = table.round;
            self.send(&Message::Move {
                round,
                cause,
                moves,
            });
        }
    }

    /// Notes since when each node could take sets back.
    pub(super) fn watch_fitness(&mut self, now: Instant) {
        let Bus::Run { table, .. } = &self.bus else {
            return;
        };
        let fit = |node: &&Node| !node.leaving && !node.drained && node.sick.is_none();
        let fit: Vec<&String> = table
            .nodes
            .iter()
            .filter(fit)
            .map(|node| &node.name)
            .collect();
        self.fit_since.retain(|name, _| fit.contains(&name));
        for name in fit {
            self.fit_since.entry(name.clone()).or_insert(now);
        }
    }
}
