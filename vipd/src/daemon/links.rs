//! Interfaces that come and go, and what others do to our addresses.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use unixproc::log;
use vipd::config::AddressSet;
use vipd::netlink::{Link, LinkAddress};
use vipd::restore::Remedy;

use super::open::able;
use super::{Daemon, RETRY_INTERVAL};

impl Daemon {
    /// Looks at the kernel if something has changed there, or if it is time to try again.
    pub(super) fn look_if_due(&mut self, now: Instant) {
        let restore = self.removals.next_due().is_some_and(|at| at <= now);
        if self.look_at.is_some_and(|at| at <= now) || restore {
            self.look_at = None;
            self.look(now);
        }
        if self.retry_at <= now {
            self.retry_at = now + RETRY_INTERVAL;
            self.forget_claims(now);
            self.look(now);
        }
    }

    /// Looks at the interfaces, restores what others have removed, and says what can be held.
    fn look(&mut self, now: Instant) {
        let links = match self.kernel.links() {
            Ok(links) => links,
            Err(error) => {
                log::warning("interfaces-unknown", &[("error", &error)]);
                return;
            }
        };
        let was_running = |name: &String| self.links.get(name).is_some_and(|link| link.running);
        let came_up = links
            .iter()
            .filter(|(name, link)| link.running && !was_running(name));
        let up: Vec<String> = came_up.map(|(name, _)| name.clone()).collect();
        let changed = links != self.links;
        self.links = links;
        self.restore(now, &up);
        for &set in self.held.keys() {
            let mut addresses = self.config.sets[set].addresses.iter();
            if addresses.any(|at| up.contains(&at.interface)) {
                self.schedule.begin(set, now);
            }
        }
        if changed || self.retry_at > now {
            self.takeover.set_able(able(&self.config, &self.links));
        }
        let sets = 0..self.config.sets.len();
        let yields = sets.filter(|&set| self.removals.is_yielded(set, now));
        self.takeover.set_yields(yields.collect());
    }

    /// Adds again what should be there and is not.
    fn restore(&mut self, now: Instant, up: &[String]) {
        for (set, addresses) in &mut self.held {
            if let Some(resolved) = resolve(&self.config.sets[*set], &self.links) {
                *addresses = resolved;
            }
        }
        let Ok(there) = self.kernel.tagged() else {
            return;
        };
        let there: HashSet<LinkAddress> = there.into_iter().collect();
        let held = self.held.iter();
        let missing: Vec<usize> = held
            .filter(|(_, addresses)| addresses.iter().any(|at| !there.contains(at)))
            .map(|(&set, _)| set)
            .collect();
        for set in missing {
            let mut addresses = self.config.sets[set].addresses.iter();
            // IPv6 addresses go with their link, and nobody has removed them.
            let with_link = addresses.any(|at| {
                let running = self
                    .links
                    .get(&at.interface)
                    .is_some_and(|link| link.running);
                !running || up.contains(&at.interface)
            });
            let remedy = match with_link {
                true => Remedy::Restore,
                false => self.removals.missing(set, now),
            };
            match remedy {
                Remedy::Restore => self.restore_set(set, now),
                Remedy::Wait => {}
                Remedy::Yield => {
                    let name = self.config.sets[set].name();
                    log::warning("yielded", &[("set", &name)]);
                    let cause = "somebody removes it again and again";
                    self.note("yielded", Some(set), None, cause);
                }
            }
        }
    }

    fn restore_set(&mut self, set: usize, now: Instant) {
        if self.ward.is_fenced() {
            return;
        }
        let addresses = &self.held[&set];
        let name = self.config.sets[set].name();
        if let Err(error) = self.kernel.refresh(addresses) {
            log::info("restore-failed", &[("set", &name), ("error", &error)]);
            return;
        }
        log::warning("restored", &[("set", &name)]);
        self.totals.restored += 1;
        self.schedule.begin(set, now);
        self.note(
            "restored",
            Some(set),
            None,
            "it was removed by somebody else",
        );
    }

    /// Makes what is held last for another lifetime.
    ///
    /// A refresh brings back what has vanished, but not what the guardian has removed.
    pub(super) fn refresh(&mut self, now: Instant) {
        if self.ward.is_fenced() {
            return;
        }
        let held: Vec<LinkAddress> = self.held.values().flatten().copied().collect();
        if let Err(error) = self.kernel.refresh(&held)
            && let Some(repeated) = self.refresh_throttle.admit(now)
        {
            let fields: log::Fields = &[("error", &error), ("repeated", &repeated)];
            log::warning("refresh-failed", fields);
        }
    }
}

/// The set's addresses with the interfaces' numbers of now; none if one is missing.
pub(super) fn resolve(
    set: &AddressSet,
    links: &BTreeMap<String, Link>,
) -> Option<Vec<LinkAddress>> {
    let attached = set.addresses.iter().map(|attached| {
        Some(LinkAddress {
            interface: links.get(&attached.interface)?.index,
            address: attached.address,
            prefix: attached.prefix,
        })
    });
    attached.collect()
}
