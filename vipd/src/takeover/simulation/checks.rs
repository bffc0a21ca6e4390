//! What must hold: the invariants of the notes, section 5.0, as far as they are this file's.
//!
//! I1 at the end each set is held once. I3 nobody adds, or restores, what another host that it can
//! reach has, unless the two have come together only after it asked. I4 at the end the client's
//! cache has the holder. I5 nothing comes to a host that has
//! never noted a cause for it. And: behind a transitional
//! signal nothing is claimed, and without a bus nothing is held for longer than Grace.

use std::time::{Duration, Instant};

use super::World;
use super::host::QUESTION;
use crate::takeover::Reason;

impl World {
    pub(super) fn check_add(&mut self, index: usize, set: usize, reason: Reason) {
        let silent = self.hosts[index].silent.remove(&set);
        let place = format!("seed {}, step {}: n{index}", self.seed, self.step);
        assert!(
            silent.is_some() || reason != Reason::Uncovered,
            "{place} adds set {set} unasked"
        );
        assert!(
            self.hosts[index].explained.contains(&set),
            "{place} adds set {set} ({reason:?}) without a recorded cause"
        );
        let host = &self.hosts[index];
        assert!(
            !host.transitional,
            "{place} adds set {set} behind a transitional signal"
        );
        for (rival, other) in self.hosts.iter().enumerate() {
            let Some(&(_, since)) = other.kernel.get(&set) else {
                continue;
            };
            if rival == index || other.component != host.component {
                continue;
            }
            let same_view = host.view.is_some() && other.view == host.view;
            let met = self.together[index][rival];
            // A host that came into reach after the question could not answer it.
            let asked = silent.is_some_and(|asked| asked > met) && !other.connected;
            let unasked = reason == Reason::HolderDead && since > met;
            // By a decision that is older than the other's question of the wire.
            let age = host.takeover.decided_at(set).map(|at| self.now(index) - at);
            let stale = age.is_some_and(|age| age >= QUESTION) && since > met;
            assert!(
                !same_view && !asked && !unasked && !stale,
                "{place} adds set {set} ({reason:?}), which n{rival} has"
            );
        }
    }

    /// A vipd restores what it takes for its own.
    pub(super) fn check_restored(&self, index: usize, set: usize) {
        for (rival, other) in self.hosts.iter().enumerate() {
            let reached = rival != index && other.component == self.hosts[index].component;
            let since = other.kernel.get(&set).map_or(0, |&(_, since)| since);
            assert!(
                !reached || since <= self.together[index][rival],
                "seed {}, step {}: n{index} restores set {set}, which n{rival} has",
                self.seed,
                self.step
            );
        }
    }

    pub(super) fn check_grace(&self, index: usize, now: Instant, grace: Duration) {
        let host = &self.hosts[index];
        let over = host.lost_at.is_some_and(|lost| now > lost + grace);
        let held = (0..self.set_count).any(|set| host.takeover.is_held(set));
        assert!(
            !over || !held,
            "seed {}, step {}: n{index} holds on without a bus",
            self.seed,
            self.step
        );
    }

    pub(super) fn check_end(&self) {
        for set in 0..self.set_count {
            let hosts = 0..self.hosts.len();
            let holders: Vec<usize> = hosts
                .filter(|&host| self.hosts[host].kernel.contains_key(&set))
                .collect();
            assert_eq!(
                holders.len(),
                1,
                "seed {}: set {set} is held by {holders:?}",
                self.seed
            );
            assert_eq!(
                self.cache[set],
                Some(holders[0]),
                "seed {}: the client looks for set {set} elsewhere",
                self.seed
            );
        }
    }
}
