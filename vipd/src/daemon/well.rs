//! Checks, hooks, and wishes that end by themselves.

use std::time::Instant;

use unixproc::log;
use vipd::hooks::Job;
use vipd::takeover::Reason;

use super::Daemon;

impl Daemon {
    /// Takes what the checks have seen, and tells the group if the host is sick.
    pub(super) fn take_looks(&mut self, now: Instant) {
        let mut looked = false;
        while let Some((name, look)) = self.checks.next() {
            looked = true;
            let wrong = look.clone().unwrap_or_default();
            if self.health.take(&name, look, now) {
                let event = if wrong.is_empty() {
                    "check-well"
                } else {
                    "check-sick"
                };
                log::warning(event, &[("check", &name), ("error", &wrong)]);
            }
        }
        if looked {
            self.takeover.set_sick(self.health.sick());
        }
        for outcome in self.hooks.outcomes() {
            // The set may have gone from the file meanwhile.
            let set = self.config.sets.get(outcome.set);
            if let (Some(wrong), Some(set)) = (outcome.wrong, set) {
                let name = set.name();
                log::warning("hook-failed", &[("set", &name), ("error", &wrong)]);
                self.note("hook", Some(outcome.set), None, &wrong);
            }
        }
    }

    /// Puts the program for a set that has come or gone into its queue.
    pub(super) fn hook(&mut self, set: usize, acquired: bool, reason: Reason) {
        let command = match acquired {
            true => &self.config.on_acquire,
            false => &self.config.on_release,
        };
        let Some(command) = command.clone() else {
            return;
        };
        let of = &self.config.sets[set];
        let addresses: Vec<String> = of.addresses.iter().map(ToString::to_string).collect();
        let event = if acquired { "acquire" } else { "release" };
        let environment = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("VIPD_EVENT", event.to_owned()),
            ("VIPD_SET", of.name()),
            ("VIPD_ADDRESSES", addresses.join(" ")),
            ("VIPD_REASON", reason.as_str().to_owned()),
            ("VIPD_GENERATION", self.takeover.generation(set).to_string()),
            ("VIPD_NODE", self.node.clone()),
        ];
        self.hooks.put(Job {
            set,
            command,
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            timeout: self.config.hook_timeout,
        });
    }

    /// Ends drains and pins whose time is over.
    pub(super) fn end_wishes(&mut self, now: Instant) {
        if self.drained_until.is_some_and(|at| at <= now) {
            self.drained_until = None;
            self.takeover.set_drained(false);
            self.note("operator", None, None, "the drain is over");
        }
        while let Some((&set, _)) = self.pinned_until.iter().find(|(_, at)| **at <= now) {
            self.pinned_until.remove(&set);
            // Without a table it is tried again with the next round of the loop's timers.
            if self.takeover.pin(set, None).is_err() {
                self.pinned_until.insert(set, now + super::REFRESH_INTERVAL);
            } else {
                self.note("operator", Some(set), None, "the pin is over");
            }
        }
    }
}
