//! A view's exchange: everybody says HELLO with numbers that it never says again, then STATE with
//! the digest of all HELLOs, and with the last STATE all members have the same table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::catalog::{self, Comparison, Lists};
use super::message::{Message, State};
use super::mutant::planted;
use super::slot::Former;
use super::table::{Cause, Movement, Table};
use super::{Bus, Command, Takeover, View};
use crate::digest::Digest;

/// A round of HELLOs and STATEs that is not complete.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) view: View,
    /// Who has said HELLO.
    hellos: Vec<bool>,
    /// The digest of the HELLOs, when all are there.
    tag: Option<u64>,
    pub(super) states: Vec<Option<State>>,
    /// Of the members whose files differ.
    pub(super) lists: Lists,
    digest: Digest,
}

impl Round {
    fn new(view: View) -> Round {
        Round {
            hellos: vec![false; view.members.len()],
            states: vec![None; view.members.len()],
            tag: None,
            lists: Lists::default(),
            digest: Digest::new(),
            view,
        }
    }

    /// Takes a member's first HELLO; gives whether it was the last one that was missing.
    pub(super) fn greet(&mut self, member: usize, data: &[u8]) -> bool {
        if std::mem::replace(&mut self.hellos[member], true) {
            return false;
        }
        self.digest = self.digest.number(member as u64).part(data);
        let complete = self.hellos.iter().all(|&said| said);
        self.tag = complete.then(|| self.digest.value());
        complete
    }

    /// Takes a STATE, if it belongs to this round and is the member's first.
    pub(super) fn take(&mut self, member: usize, state: State, data: &[u8]) {
        let belongs = self.tag == Some(state.hellos) || planted("state-of-another-view");
        if belongs && self.states[member].is_none() {
            self.digest = self.digest.number(member as u64).part(data);
            self.states[member] = Some(state);
        }
    }

    /// The digests of all members' lists; empty while a STATE is missing.
    fn configs(&self) -> BTreeSet<u64> {
        let states = match self.missing().next() {
            None => &self.states[..],
            Some(_) => &[],
        };
        states.iter().flatten().map(|state| state.config).collect()
    }

    /// The first member of the view with this list: the one that tells it.
    pub(super) fn teller(&self, config: u64) -> Option<usize> {
        let has =
            |state: &Option<State>| state.as_ref().is_some_and(|state| state.config == config);
        self.states.iter().position(has)
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn is_complete(&self) -> bool {
        let configs = self.configs();
        configs.len() == 1
            || !configs.is_empty()
                && configs
                    .iter()
                    .all(|&config| self.lists.get(config).is_some())
    }

    /// The own list beside those of others; none if all are the same.
    fn compare(&self, own: &[String], own_config: u64) -> Option<Comparison> {
        let mut configs = self.configs();
        configs.remove(&own_config);
        if configs.is_empty() {
            return None;
        }
        let list = |config: u64| (config, self.lists.get(config).unwrap_or_default());
        let others = configs.into_iter().map(list).collect();
        let mut names: BTreeMap<u64, String> = BTreeMap::new();
        for state in self.states.iter().flatten() {
            let whose = names.entry(state.config).or_default();
            if !whose.is_empty() {
                *whose += ", ";
            }
            *whose += &state.node.name;
        }
        Some(catalog::compare(own, &others, &names))
    }

    /// Who has not said its STATE yet, by index.
    pub(super) fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        let states = self.states.iter().enumerate();
        states
            .filter(|(_, state)| state.is_none())
            .map(|(member, _)| member)
    }
}

impl Takeover {
    /// A new view of the group: everybody says HELLO, then what it holds.
    ///
    /// A message of an earlier view may still come in this one, and the bus's ids of views may
    /// repeat. The digest of the HELLOs does not: each of them is delivered once.
    pub fn handle_view(&mut self, now: Instant, view: View) {
        self.transitional = false;
        self.balance_at = None;
        self.remember_holders();
        self.doubt_formers(&view);
        self.forget_decisions();
        self.acquainted
            .retain(|member| view.members.contains(member));
        for slot in &mut self.slots {
            slot.released = None;
            slot.handed_over = false;
        }
        if !self.mature && self.mature_at.is_none() {
            self.mature_at = Some(now + self.settings.mature);
        }
        self.serial += 1;
        self.send(&Message::Hello {
            incarnation: self.settings.incarnation,
            serial: self.serial,
        });
        self.bus = Bus::Gather(Round::new(view));
    }

    /// The view ends: what follows until the next one may not have reached all members.
    pub fn handle_transition(&mut self) {
        self.transitional = !planted("claim-in-transition");
    }

    /// A member's vipd is dead or silent, and its guardian has removed its addresses: the others
    /// go on without it, at the same place of the order.
    pub(super) fn dismiss(&mut self, now: Instant, session: &str) {
        let view = match &self.bus {
            Bus::Offline { .. } => return,
            Bus::Gather(round) => &round.view,
            Bus::Run { view, .. } => view,
        };
        let Some(dismissed) = view.members.iter().position(|member| member == session) else {
            return;
        };
        if dismissed == view.me {
            // It was only slow, and hears of its own end.
            self.commands.push_back(Command::Reconnect);
            self.handle_stall(now);
            return;
        }
        let mut view = view.clone();
        view.members.remove(dismissed);
        view.me -= usize::from(dismissed < view.me);
        self.handle_view(now, view);
    }

    /// Says what this member holds, to a view whose HELLOs are complete.
    pub(super) fn send_state(&mut self) {
        let Bus::Gather(Round {
            tag: Some(hellos),
            view,
            ..
        }) = &self.bus
        else {
            return;
        };
        let hellos = *hellos;
        let is_new = |member: &String| !self.acquainted.contains(member);
        let met = view.members.iter().any(is_new);
        self.told = Some(self.settings.node.clone());
        self.send(&Message::State(State {
            hellos,
            config: self.config,
            mature: self.mature,
            met,
            clock: self.clock,
            node: self.settings.node.clone(),
            holds: self.holds(),
        }));
    }

    /// With the last STATE: goes on, or first tells the own list if files differ and this member is
    /// the one that does.
    pub(super) fn complete(&mut self, now: Instant) {
        let Bus::Gather(round) = &self.bus else {
            return;
        };
        if round.is_complete() {
            self.begin_run(now);
        } else if round.teller(self.config) == Some(round.view.me) {
            for message in catalog::messages(&self.settings.sets) {
                self.send(&message);
            }
        }
    }

    /// The table of a round that is complete, dealt.
    pub(super) fn begin_run(&mut self, now: Instant) {
        let offline = Bus::Offline { let_go_at: None };
        let Bus::Gather(round) = std::mem::replace(&mut self.bus, offline) else {
            return;
        };
        let comparison = round.compare(&self.settings.sets, self.config);
        let states: Vec<State> = round.states.into_iter().flatten().collect();
        let anybody_new = states.iter().any(|state| state.met);
        let lists = (&self.settings.sets[..], comparison);
        let mut table = Table::new(states, lists, round.digest);
        for member in table.dismiss_namesakes() {
            if member == round.view.me {
                let name = self.settings.node.name.clone();
                self.settings.node.leaving = true;
                self.commands.push_back(Command::Refuse(name));
            }
        }
        table
            .disputes()
            .into_iter()
            .for_each(|movement| self.note(movement));
        for movement in table.settle() {
            let orphan = self.orphan(movement);
            self.note(orphan);
        }
        let interval = self.settings.balance_interval;
        self.balance_at = interval.map(|interval| now + interval);
        self.acquainted.clone_from(&round.view.members);
        self.bus = Bus::Run {
            view: round.view,
            table,
        };
        if anybody_new {
            // Partitions have met, though perhaps not all members know that they were apart; or a
            // member has come, and wants to know whom to ask. Neighbours may have heard another one
            // last.
            self.slots.iter_mut().for_each(|slot| slot.unheard = true);
        }
        self.watch_fitness(now);
    }

    /// What is known of a set that is dealt, and whose holder is not in the view.
    fn orphan(&self, movement: Movement) -> Movement {
        let former = self.formers.get(&movement.set);
        let cause = match former {
            None => Cause::Uncovered,
            Some(former) if former.over => Cause::HolderDead,
            Some(_) => Cause::HolderLost,
        };
        Movement {
            from: former.map(|former| former.node.clone()),
            cause,
            ..movement
        }
    }

    /// Notes the holdings of others in the table that ends: they may go on without the bus.
    pub(super) fn remember_holders(&mut self) {
        let Bus::Run { view, table } = &self.bus else {
            return;
        };
        for (set, entry) in table.entries.iter().enumerate() {
            if let Some(holder) = entry.holder.filter(|&holder| holder != view.me) {
                let session = &view.members[holder];
                let former = Former {
                    node: table.nodes[holder].name.clone(),
                    session: Some(session.clone()),
                    generation: entry.generation,
                    over: false,
                };
                let known = self.formers.get(&set);
                // Its guardian may have spoken already.
                if known.is_none_or(|known| !known.is_of(session, former.generation)) {
                    self.formers.insert(set, former);
                }
            }
        }
    }

    /// Who is gone may have completed a round that this member has not, or have heard more of the
    /// last one, and may hold what was another's: without the bus it does so until Grace ends. So
    /// of a holding that is over only the wire tells whether somebody else has begun one.
    fn doubt_formers(&mut self, next: &View) {
        let view = match &self.bus {
            Bus::Offline { .. } => return,
            Bus::Gather(round) => &round.view,
            Bus::Run { view, .. } => view,
        };
        for gone in &view.members {
            if next.members.contains(gone) {
                continue;
            }
            for former in self.formers.values_mut() {
                if former.session.as_ref() != Some(gone) {
                    former.doubt();
                }
            }
        }
    }

    /// A question or a decision of an earlier round proves nothing in this one.
    pub(super) fn forget_decisions(&mut self) {
        self.slots.iter_mut().for_each(super::Slot::stop);
    }
}
