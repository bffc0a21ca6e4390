//! What signals ask of the daemon: a reload, its status, an orderly stop.

use std::time::Duration;

use anyhow::anyhow;
use mio::Interest;
use mio::unix::SourceFd;
use totem::time::Time;
use unixproc::log;
use unixproc::signal::Signal;

use super::start::bounds;
use super::{Daemon, SEGMENT, Source, Stop};
use crate::config::{Config, Settings};
use crate::ports::Port;

/// How long an orderly stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

impl Daemon {
    pub(super) fn handle_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Hangup => self.reload(),
                Signal::User1 => self.log_status(),
                Signal::Terminate | Signal::Interrupt => self.begin_stop(),
                Signal::Child => {}
            }
        }
    }

    /// The file's daemons and bounds take effect; what cannot change while the daemon runs does not.
    fn reload(&mut self) {
        self.notify.reloading();
        if let Err(error) = self.try_reload() {
            let reason = format!("{error:#}");
            log::error("reload-failed", &[("reason", &reason)]);
        }
        self.notify.ready();
    }

    fn try_reload(&mut self) -> anyhow::Result<()> {
        let source = Source {
            path: self.source.path.clone(),
            name: Some(self.config.daemons[self.me].name.clone()),
        };
        let (config, me) = source.load()?;
        let (old, new) = (self.config.layout(self.me), config.layout(me));
        if config.daemons[me].id() != self.config.daemons[self.me].id() || old.local != new.local {
            return Err(anyhow!(
                "the address or port of this daemon changed: restart it"
            ));
        }
        let kept = |config: &Config| {
            let settings = config.settings.clone();
            Settings {
                session_queue_bytes: 0,
                queue_bytes: 0,
                ignored: Vec::new(),
                ..settings
            }
        };
        if kept(&config) != kept(&self.config) {
            log::warning(
                "restart-needed",
                &[(
                    "reason",
                    &"only daemons, SessionQueueBytes and QueueBytes change by a reload",
                )],
            );
        }
        self.ports.reconfigure(new)?;
        self.register_ports()?;
        self.config = config;
        self.me = me;
        self.sessions.set_bounds(bounds(&self.config));
        let now = self.now();
        self.bus.reconfigure(now, &self.config);
        log::notice("reloaded", &[("daemons", &self.config.daemons.len())]);
        Ok(())
    }

    /// The segment's socket may be another one now.
    fn register_ports(&mut self) -> anyhow::Result<()> {
        for (port, fd) in self.ports.descriptors() {
            if port == Port::Segment {
                // Gone with its socket if that was replaced, else to be made anew.
                drop(self.poll.registry().deregister(&mut SourceFd(&fd)));
                self.poll
                    .registry()
                    .register(&mut SourceFd(&fd), SEGMENT, Interest::READABLE)?;
            }
        }
        self.data_ready = true;
        Ok(())
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
