//! What signals ask of the daemon: a reload (`reload.rs`), its status, an orderly stop.

use std::time::Duration;

use totem::time::Time;
use unixproc::log;
use unixproc::signal::Signal;

use super::{Daemon, Stop};

/// How long an orderly stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

impl Daemon {
    pub(super) fn handle_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Hangup => self.begin_reload(),
                Signal::User1 => self.log_status(),
                Signal::Terminate | Signal::Interrupt => self.begin_stop(),
                Signal::Child => {}
            }
        }
    }

    fn log_status(&self) {
        let counters = self.sessions.counters();
        let ring = self.bus.view().ring;
        log::notice(
            "status",
            &[
                ("ring", &ring),
                ("members", &self.bus.view().members.len()),
                ("sessions", &self.sessions.count()),
                ("queued-bytes", &self.sessions.queued_bytes()),
                ("requests", &counters.requests),
                ("delivered", &counters.delivered),
                ("slow-disconnects", &(counters.slow + counters.evicted)),
                ("sealed", &self.sealed),
            ],
        );
    }

    /// Closes the door, and everything behind it in order. A second call ends it at once.
    fn begin_stop(&mut self) {
        if self.stop != Stop::Running {
            log::notice("stopped-at-once", &[]);
            self.stop = Stop::Over;
            return;
        }
        self.notify.stopping();
        log::notice("stopping", &[("sessions", &self.sessions.count())]);
        self.listeners.clear();
        self.sessions.close_all();
        self.stop = Stop::Closing(self.now() + STOP_TIMEOUT);
    }

    /// Does the next step of a stop.
    pub(super) fn advance_stop(&mut self, now: Time) -> anyhow::Result<()> {
        if let Stop::Closing(until) = self.stop
            && !self.sessions.has_work()
        {
            self.bus.leave(now);
            self.stop = Stop::Leaving(until);
            self.transmit(now)?;
        }
        match self.stop {
            Stop::Leaving(_) if self.bus.has_left() => self.stop = Stop::Over,
            Stop::Closing(until) | Stop::Leaving(until) if now >= until => {
                log::warning("stop-timeout", &[]);
                self.stop = Stop::Over;
            }
            Stop::Running | Stop::Closing(_) | Stop::Leaving(_) | Stop::Over => {}
        }
        Ok(())
    }
}
