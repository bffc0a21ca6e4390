//! The parts of a run: storms, and after each the proof that all is well again.
//!
//! ```text
//! storm -> (apart ->) settle -> calm -> drain -> storm ...
//! ```
//! A quiet or noisy run has one calm and no storm.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use super::machine::Machine;
use super::{Happening, World};
use crate::config::FailureDetection;
use crate::groups::GroupName;
use crate::node::State;
use crate::sim::scenario::Mood;
use crate::view::{MemberId, RingId};

/// The longest time for which a member does not take back one that it has shut out (case 9 of the
/// reference).
const SHUT_OUT_MAX: Duration = Duration::from_secs(31);
/// On a LAN, partitions merge within this time of healing.
const MERGE_BOUND: Duration = Duration::from_millis(1500);
/// A backlog that does not shrink by this much within the bound of E18 is stuck.
const DRAIN_STEP_BYTES: usize = 64 << 10;

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Faults and load.
    Storm,
    /// No faults but one cut that splits the hosts in two.
    Apart,
    /// No faults, load; the members come together.
    Settle,
    /// They are together, and stay.
    Calm,
    /// No load either; everything arrives.
    Drain,
}

impl World<'_> {
    fn enter(&mut self, phase: Phase, length: Duration) {
        self.tell(&format_args!(
            "{:>12.6} {phase:?} for {length:?}",
            self.now.0 as f64 / 1e9
        ));
        self.phase = phase;
        self.phase_began = self.now;
        self.schedule(self.now + length, Happening::NextPhase);
    }

    pub(super) fn next_phase(&mut self) {
        match self.phase {
            Phase::Storm if self.machines.len() > 1 && self.fate.chance(0.3) => self.begin_apart(),
            Phase::Storm | Phase::Apart => self.begin_settle(),
            Phase::Settle => self.end_settling(),
            Phase::Calm => self.begin_drain(),
            Phase::Drain => self.end_drain(),
        }
    }

    pub(super) fn begin_storm(&mut self) {
        let length = self.scenario.storm_length(&mut self.fate);
        self.enter(Phase::Storm, length);
        self.network.set_conditions(self.scenario.storm.clone());
        let gap = self.fate.exponential(self.scenario.strike_gap);
        self.schedule(self.now + gap, Happening::Strike(self.era));
        self.wake_clients();
    }

    fn begin_apart(&mut self) {
        self.end_storm();
        self.split();
        self.enter(Phase::Apart, self.scenario.settle_bound());
    }

    pub(super) fn begin_settle(&mut self) {
        let merges = self.are_whole_partitions();
        self.end_storm();
        self.together_since = None;
        self.shut_out = self.shuts_out();
        self.apart.clear();
        self.merging_since = merges.then_some(self.now);
        if merges {
            self.schedule(self.now + MERGE_BOUND, Happening::MergeDue(self.era));
        }
        self.enter(Phase::Settle, self.scenario.settle_bound());
    }

    /// Whether the members stand in several rings, each of them whole, and nothing but the network
    /// keeps these apart.
    fn are_whole_partitions(&self) -> bool {
        let calm = &self.scenario.calm;
        if self.scenario.detection == FailureDetection::Wan || calm.loss + calm.reorder > 0.0 {
            return false;
        }
        let mut rings: BTreeMap<RingId, usize> = BTreeMap::new();
        for machine in &self.machines {
            let Some(process) = &machine.process else {
                return false;
            };
            let stays = process.totem.state() == State::Operational && !process.leaving;
            let refused = process.totem.is_refused(machine.clock.local(self.now));
            if !stays || refused || self.shuts_out() {
                return false;
            }
            let view = process.totem.view();
            *rings.entry(view.ring).or_insert(view.members.len()) -= 1;
        }
        rings.len() > 1 && rings.values().all(|missing| *missing == 0)
    }

    /// E23.
    pub(super) fn merge_due(&mut self, era: u32) {
        if self.era != era {
            return;
        }
        if let Err(violation) = self.oracle.check_together(self.now) {
            self.break_rule("E23", violation.process, violation.seen);
            return;
        }
        self.totals.merges += 1;
        if let (Some(since), Some(together)) = (self.merging_since, self.together_since) {
            let after = together.since(since);
            self.totals.merged_after = self.totals.merged_after.max(after);
        }
    }

    /// Whether somebody makes another one wait for having been shut out.
    fn shuts_out(&self) -> bool {
        let mut machines = self.machines.iter();
        machines.any(|machine| self.shut_out_by(machine).next().is_some())
    }

    fn shut_out_by(&self, machine: &Machine) -> impl Iterator<Item = MemberId> {
        let local = machine.clock.local(self.now);
        let process = machine.process.iter();
        process.flat_map(move |process| process.totem.shut_out_members(local))
    }

    /// Pairs of rings that are apart although nobody of one has shut out anybody of the other.
    fn rings_without_reason(&self) -> BTreeSet<(RingId, RingId)> {
        let mut rings: BTreeMap<RingId, Vec<&Machine>> = BTreeMap::new();
        for machine in &self.machines {
            if let Some(process) = &machine.process {
                let ring = process.totem.view().ring;
                rings.entry(ring).or_default().push(machine);
            }
        }
        let refuses = |ring: &[&Machine], other: &[&Machine]| {
            let mut out = ring.iter().flat_map(|machine| self.shut_out_by(machine));
            out.any(|id| other.iter().any(|machine| machine.id == id))
        };
        let mut apart = BTreeSet::new();
        for (id, ring) in &rings {
            for (other_id, other) in rings.range((Bound::Excluded(*id), Bound::Unbounded)) {
                if !refuses(ring, other) && !refuses(other, ring) {
                    apart.insert((*id, *other_id));
                }
            }
        }
        apart
    }

    /// The members have had the time that E18 gives them. It begins when nobody has to wait any more
    /// for having been shut out; rings of which none has shut out anybody of the other do not wait.
    fn end_settling(&mut self) {
        let leaves = self
            .machines
            .iter()
            .filter_map(|machine| machine.process.as_ref())
            .any(|process| process.leaving);
        match self.oracle.check_together(self.now) {
            Ok(()) if !leaves => self.begin_calm(),
            Ok(()) => self.break_rule("E18", None, "a member that leaves is still there".into()),
            Err(_) if self.shut_out && self.now.since(self.phase_began) < SHUT_OUT_MAX => {
                self.shut_out = self.shuts_out();
                let apart = self.rings_without_reason();
                let before = std::mem::replace(&mut self.apart, apart);
                if let Some((one, other)) = before.intersection(&self.apart).next() {
                    let seen = format!("{one} and {other} stay apart, and nobody was shut out");
                    self.break_rule("E18", None, seen);
                }
                self.schedule(
                    self.now + self.scenario.settle_bound(),
                    Happening::NextPhase,
                );
            }
            Err(violation) => self.violation = Some(violation),
        }
    }

    fn begin_calm(&mut self) {
        self.totals.calms += 1;
        if let Some(since) = self.together_since {
            let after = since.since(self.phase_began);
            self.totals.settled_after = self.totals.settled_after.max(after);
            self.totals.settled_late += u64::from(after > self.scenario.settle_bound());
        }
        self.oracle.expect_no_change(true);
        let mut length = self.scenario.calm_length(&mut self.fate);
        if self.scenario.mood != Mood::Stormy || self.now + length > self.end {
            length = self.end.since(self.now).max(Duration::from_secs(1));
        }
        self.enter(Phase::Calm, length);
        self.wake_clients();
    }

    pub(super) fn begin_drain(&mut self) {
        self.backlog_bytes = self.queued_bytes();
        self.enter(Phase::Drain, self.scenario.arrival_bound());
    }

    /// Everything must have arrived by now, unless there was much to send, and it goes on.
    fn end_drain(&mut self) {
        let queued = self.queued_bytes();
        if queued + DRAIN_STEP_BYTES < self.backlog_bytes {
            self.begin_drain();
            return;
        }
        self.check_nothing_repeated();
        if let Err(violation) = self.oracle.check_caught_up(self.now) {
            self.violation = Some(violation);
        }
        self.check_groups();
        self.oracle.expect_no_change(false);
        if self.now >= self.end {
            self.over = true;
        } else {
            self.begin_storm();
        }
    }

    /// G8.
    fn check_groups(&mut self) {
        let mut joined: BTreeMap<GroupName, BTreeSet<GroupName>> = BTreeMap::new();
        let processes = || {
            self.machines
                .iter()
                .filter_map(|machine| machine.process.as_ref())
        };
        for client in processes().flat_map(|process| &process.clients) {
            for group in &client.groups {
                joined.entry(*group).or_default().insert(client.private);
            }
        }
        let mut hashes = BTreeSet::new();
        let mut verdict = Ok(());
        for process in processes() {
            let groups = process
                .groups
                .groups()
                .filter_map(|group| Some((group.name, process.groups.members(&group.name)?)));
            let groups = groups.collect();
            hashes.insert((process.groups.ready(), process.groups.table_hash()));
            verdict = verdict.and(
                self.group_oracle
                    .check_settled(self.now, process.id, &groups, &joined),
            );
        }
        if let Err(violation) = verdict {
            self.violation.get_or_insert(violation);
        } else if hashes.len() > 1 || hashes.iter().any(|(ready, _)| !ready) {
            self.break_rule(
                "G8",
                None,
                "tables differ, or are still being exchanged".into(),
            );
        }
    }

    pub(super) fn queued_bytes(&self) -> usize {
        let processes = self
            .machines
            .iter()
            .filter_map(|machine| machine.process.as_ref());
        processes.map(|process| process.totem.queued_bytes()).sum()
    }

    /// E22: on equal links without a loss, whatever is missing is on its way.
    fn check_nothing_repeated(&mut self) {
        if self.scenario.mood != Mood::Quiet {
            return;
        }
        let processes = self
            .machines
            .iter()
            .filter_map(|machine| machine.process.as_ref());
        let asked = processes.map(|process| (process.id, process.totem.stats().requested));
        if let Some((id, requested)) = asked.into_iter().find(|(_, requested)| *requested > 0) {
            self.break_rule(
                "E22",
                Some(id),
                format!("asked for {requested} packets that were not lost"),
            );
        }
    }
}
