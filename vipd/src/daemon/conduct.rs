//! Signals, pauses, stopping and reloading.

use std::collections::HashSet;
use std::time::Instant;

use unixproc::exit;
use unixproc::log;
use unixproc::signal::Signal;
use vipd::announce::Schedule;
use vipd::config::{AddressSet, Check, Config};
use vipd::netlink::LinkAddress;
use vipd::restore::Removals;
use vipd::takeover::Settings;

use super::open::{able, sets_by_address, settings, start_checks};
use super::{Daemon, STOP_TIMEOUT};

impl Daemon {
    /// The program has its turn. After a pause everything is let go before anything else is done:
    /// the guardian has removed it, or it may have expired, and what the bus has is of another time.
    pub(super) fn wake(&mut self) {
        let now = Instant::now();
        let fenced = self.ward.is_fenced();
        let Some(held_up) = self.takeover.handle_wake(now, fenced) else {
            return;
        };
        let milliseconds = held_up.as_millis();
        log::error(
            "stalled",
            &[("late-ms", &milliseconds), ("fenced", &fenced)],
        );
        self.note(
            "stalled",
            None,
            None,
            &format!("held up for {milliseconds} ms"),
        );
        self.obey(now);
        self.ward.unfence();
    }

    /// Acts on a signal; gives the exit code if the program is to end at once.
    pub(super) fn handle_signal(&mut self, signal: Signal) -> Option<u8> {
        match signal {
            Signal::Hangup => _ = self.reload(),
            Signal::Terminate | Signal::Interrupt if self.stop_by.is_some() => {
                // The guardian removes what is left.
                log::warning("stopped", &[("held", &self.held.len())]);
                return Some(exit::FAILED);
            }
            Signal::Terminate | Signal::Interrupt => return self.begin_stop(),
            Signal::User1 => {
                let overview = self.takeover.overview();
                let fields: log::Fields = &[
                    ("state", &overview.phase),
                    ("nodes", &overview.nodes.len()),
                    ("held", &self.held.len()),
                    ("ignored-messages", &overview.ignored),
                ];
                log::notice("status", fields);
            }
            // The guardian is looked after in every round.
            Signal::Child => {}
        }
        None
    }

    /// Hands over what is held, or leaves it to the next vipd.
    fn begin_stop(&mut self) -> Option<u8> {
        let now = Instant::now();
        log::notice("stopping", &[("held", &self.held.len())]);
        self.notify.stopping();
        if self.config.keep_on_exit {
            self.refresh(now);
            self.ward.write_keep();
            log::notice("stopped", &[("kept", &self.held.len())]);
            return Some(exit::DONE);
        }
        self.stop_by = Some(now + STOP_TIMEOUT);
        self.takeover.leave(now);
        None
    }

    /// The exit code, once a stop that was asked for is complete or late.
    pub(super) fn stopped(&mut self) -> Option<u8> {
        let now = Instant::now();
        let late = now >= self.stop_by?;
        if !late && !self.takeover.has_left(now) {
            return None;
        }
        let left: Vec<LinkAddress> = self.held.values().flatten().copied().collect();
        if let Err(error) = self.kernel.remove(&left) {
            log::error("release-failed", &[("error", &error)]);
        }
        if late {
            self.ward.write(None, self.takeover.config(), Vec::new());
        }
        log::notice("stopped", &[("late", &late)]);
        Some(match self.refused {
            true => exit::FAILED,
            false => exit::DONE,
        })
    }

    /// Reads the file again. What stands in it about group, sockets and name stays as it was until a
    /// restart; a file that changes that is refused.
    ///
    /// # Errors
    /// What is wrong with the file; nothing has changed then.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        self.notify.reloading();
        let result = self
            .read_config()
            .and_then(|config| self.adopt_config(config));
        if let Err(errors) = &result {
            for error in errors.lines() {
                log::error("reload-refused", &[("error", &error)]);
            }
        }
        self.notify.ready();
        result
    }

    fn adopt_config(&mut self, config: Config) -> Result<(), String> {
        if config.checks != self.config.checks {
            let started = start_checks(&config, self.waker.clone());
            let (mut health, checks) = started.map_err(|error| error.to_string())?;
            // What is looked at as before is as it was.
            let before = &self.config.checks;
            let same = |check: &&Check| {
                let named = before.iter().find(|old| old.name == check.name);
                named.is_some_and(|old| old.probe == check.probe)
            };
            for check in config.checks.iter().filter(same) {
                health.inherit(&check.name, &self.health);
            }
            (self.health, self.checks) = (health, checks);
            self.takeover.set_sick(self.health.sick());
        }
        self.bus.set_pauses(config.retry_interval, config.grace);
        let settings = settings(&config, &self.node, able(&config, &self.links));
        if config.sets == self.config.sets {
            self.config = config;
            self.takeover.set_settings(settings);
        } else {
            self.relist(config, settings);
        }
        log::notice("reloaded", &[("sets", &self.config.sets.len())]);
        Ok(())
    }

    /// Goes over to another list of sets: what is in both stays in the kernel.
    fn relist(&mut self, config: Config, settings: Settings) {
        let now = Instant::now();
        let before: HashSet<&AddressSet> = self.config.sets.iter().collect();
        let descriptions = config.descriptions().into_iter().zip(&config.sets);
        // An address that goes to another interface is another one for the kernel.
        let stays = descriptions.map(|(text, set)| match before.contains(set) {
            true => text,
            false => String::new(),
        });
        let stay: Vec<String> = stays.collect();
        self.bus.drop_session();
        let moved = self.takeover.prepare_relist(now, &stay);
        self.obey(now);
        let held = std::mem::take(&mut self.held);
        self.held = held
            .into_iter()
            .filter_map(|(set, addresses)| Some((moved[set]?, addresses)))
            .collect();
        let pinned = std::mem::take(&mut self.pinned_until);
        self.pinned_until = pinned
            .into_iter()
            .filter_map(|(set, at)| Some((moved[set]?, at)))
            .collect();
        self.config = config;
        self.sets = sets_by_address(&self.config);
        self.schedule = Schedule::default();
        self.removals = Removals::default();
        self.wires.forget_sets();
        self.takeover.relist(settings, &moved);
        for &set in self.held.keys() {
            self.schedule.begin(set, now);
        }
        self.write_page();
    }

    fn read_config(&self) -> Result<Config, String> {
        let config = conf::read(&self.config_path, Config::parse);
        let config = config.map_err(|errors| errors.to_string())?;
        let same = |old: &Config, new: &Config| {
            (&old.group, &old.spread, &old.control, &old.node)
                == (&new.group, &new.spread, &new.control, &new.node)
        };
        if !same(&self.config, &config) {
            return Err("Group, Spread, Control and Node need a restart".into());
        }
        Ok(config)
    }
}
