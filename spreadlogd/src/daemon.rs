//! The loop: from the sessions into the files, reload, orderly stop.

mod control;
mod reload;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use group::{Address, AddressError, GroupName};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use status::ControlServer;
use unixproc::daemon::Process;
use unixproc::exit;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::{Signal, Signals};

use crate::bus::Bus;
use crate::config::{Config, Log};
use crate::kept::{KeptConfig, KeptLog};
use crate::outputs::Outputs;
use crate::route::Route;
use crate::stamp::Time;

const SIGNALS: Token = Token(0);

/// Threads wake the loop with this one.
const THREADS: Token = Token(1);

/// The control socket takes tokens from here on.
const FIRST_CONTROL: Token = Token(1 << 19);

/// Sessions take tokens from here on.
const FIRST_BUS: usize = 2;

/// Pipes take tokens from here on: there are fewer Spread blocks in a file of 1 MiB.
const FIRST_PIPE: Token = Token(1 << 20);

/// How often files are looked through for idle ones.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// Full queues are logged this often.
const FULL_REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// An orderly stop takes no longer than this.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The program at work.
#[derive(Debug)]
pub(crate) struct Daemon {
    poll: Poll,
    signals: Signals,
    notify: Notify,
    /// The file to read again on SIGHUP; none if the options were all.
    config_path: Option<PathBuf>,
    /// `--socket`, which wins over the file.
    socket: Option<String>,
    config: Config,
    /// What is written as it comes; empty if there are kept logs.
    buses: Vec<Bus>,
    kept: Vec<KeptLog>,
    /// For requests about kept logs.
    control: Option<ControlServer>,
    waker: Arc<Waker>,
    /// Sessions that the configuration does not name any more are dropped; this numbers all.
    bus_count: usize,
    outputs: Outputs,
    housekeeping_at: Instant,
    /// Whether the bus is not read because too much waits to be written.
    full: bool,
    full_throttle: log::Throttle,
    /// When a stop that was asked for gives up.
    stop_by: Option<Instant>,
    closed: bool,
}

impl Daemon {
    /// Opens the files with fixed names and prepares the sessions; nothing is connected yet.
    ///
    /// # Errors
    /// A file cannot be opened, an address makes no sense, or there are no descriptors left.
    pub(crate) fn new(
        process: Process,
        config: Config,
        config_path: Option<PathBuf>,
        socket: Option<String>,
    ) -> anyhow::Result<Daemon> {
        let Process { signals, notify } = process;
        let poll = Poll::new()?;
        poll.registry().register(
            &mut SourceFd(&signals.as_raw_fd()),
            SIGNALS,
            Interest::READABLE,
        )?;
        let waker = Arc::new(Waker::new(poll.registry(), THREADS)?);
        let outputs = {
            let pipe_bytes_max = config.queue_bytes_max / 2;
            Outputs::new(
                poll.registry().try_clone()?,
                FIRST_PIPE,
                false,
                pipe_bytes_max,
            )
        };
        let now = Instant::now();
        let mut daemon = Daemon {
            poll,
            signals,
            config_path,
            socket,
            config,
            buses: Vec::new(),
            kept: Vec::new(),
            control: None,
            waker,
            bus_count: 0,
            outputs,
            housekeeping_at: now + HOUSEKEEPING,
            notify,
            full: false,
            full_throttle: log::Throttle::new(FULL_REPORT_INTERVAL),
            stop_by: None,
            closed: false,
        };
        let addresses = daemon.addresses(&daemon.config)?;
        if daemon.config.keep.is_some() {
            daemon.open_kept(&addresses)?;
            daemon.listen()?;
            return Ok(daemon);
        }
        let failed = daemon.open_outputs();
        if !failed.is_empty() {
            let line = |(name, error): &(String, io::Error)| format!("cannot open {name}: {error}");
            anyhow::bail!(failed.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        daemon.connect_buses(addresses, now);
        Ok(daemon)
    }

    /// Tells whoever waits that the program does its work.
    pub(crate) fn announce(&self) {
        let groups: usize = self.config.buses.iter().map(|bus| bus.logs.len()).sum();
        let config = self.config_path.as_ref();
        let config = config.map_or("built-in".to_owned(), |path| path.display().to_string());
        let fields: log::Fields = &[("config", &config), ("logs", &groups)];
        log::notice("ready", fields);
        self.notify.ready();
    }

    /// Works until it is told to stop; gives the exit code.
    ///
    /// # Errors
    /// The event loop is broken.
    pub(crate) fn run(&mut self) -> io::Result<u8> {
        let mut events = Events::with_capacity(64);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                for bus in &mut self.buses {
                    bus.link().handle_event(event);
                }
                self.answer(event.token());
                for kept in &mut self.kept {
                    kept.link().handle_event(event);
                }
            }
            while let Some(signal) = self.signals.next() {
                if let Some(status) = self.handle_signal(signal) {
                    return Ok(status);
                }
            }
            self.work();
            if self.outputs.nobody_reads() || self.kept.iter().any(KeptLog::nobody_reads) {
                return Ok(exit::DONE);
            }
            if self.kept.iter().any(KeptLog::has_failed) {
                return Ok(exit::FAILED);
            }
            if let Some(status) = self.stopped() {
                return Ok(status);
            }
        }
    }

    /// One round: read from each session, write to each file.
    fn work(&mut self) {
        let now = Instant::now();
        let time = Time::now(&self.config.time_zone);
        for bus in &mut self.buses {
            if self.stop_by.is_none() {
                bus.connect(self.poll.registry(), now);
            }
            if !self.full && self.outputs.queued_bytes() < self.config.queue_bytes_max {
                bus.receive(&mut self.outputs, &time, now);
            }
        }
        for kept in &mut self.kept {
            if self.stop_by.is_none() {
                kept.connect(self.poll.registry(), now);
            }
            kept.work(now);
        }
        self.outputs.write(now);
        for bus in &mut self.buses {
            bus.publish_status(&self.outputs, now);
        }
        self.judge_fullness(now);
        if now >= self.housekeeping_at {
            self.outputs.close_idle(now);
            self.housekeeping_at = now + HOUSEKEEPING;
        }
        self.notify.alive(now);
    }

    /// Stops reading the bus when the queues are full, until half of what they hold is written.
    fn judge_fullness(&mut self, now: Instant) {
        let queued = self.outputs.queued_bytes();
        let max = self.config.queue_bytes_max;
        if !self.full && queued >= max {
            self.full = true;
            if let Some(repeated) = self.full_throttle.admit(now) {
                log::error(
                    "queue-full",
                    &[("queued-bytes", &queued), ("repeated", &repeated)],
                );
            }
        } else if self.full && queued <= max / 2 {
            self.full = false;
            log::info("queue-drained", &[("queued-bytes", &queued)]);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let readable = !self.full && self.buses.iter().any(Bus::is_readable);
        if readable || self.outputs.has_more() || self.kept.iter().any(KeptLog::is_busy) {
            return Some(Duration::ZERO);
        }
        let attempts = self
            .buses
            .iter()
            .filter_map(Bus::connect_at)
            .filter(|_| self.stop_by.is_none());
        let times = [
            Some(self.housekeeping_at),
            self.notify.alive_at(),
            self.stop_by,
            self.outputs.next_retry(),
        ];
        let statuses = self.buses.iter().map(Bus::status_at);
        let kept = self.kept.iter().filter_map(KeptLog::wake_at);
        let next = times
            .into_iter()
            .flatten()
            .chain(attempts)
            .chain(statuses)
            .chain(kept)
            .min();
        next.map(|next| next.saturating_duration_since(now))
    }

    /// Acts on a signal; gives the exit code if the program is to end at once.
    fn handle_signal(&mut self, signal: Signal) -> Option<u8> {
        match signal {
            Signal::Hangup if self.stop_by.is_none() => self.reload(),
            Signal::Hangup => {}
            Signal::Terminate | Signal::Interrupt if self.stop_by.is_some() => {
                log::warning(
                    "stopped",
                    &[("unwritten-bytes", &self.outputs.queued_bytes())],
                );
                return Some(exit::FAILED);
            }
            Signal::Terminate | Signal::Interrupt => {
                log::notice("stopping", &[]);
                self.notify.stopping();
                self.stop_by = Some(Instant::now() + STOP_TIMEOUT);
                for bus in &mut self.buses {
                    bus.leave_all();
                }
            }
            Signal::User1 => self.log_status(),
            Signal::Child => {
                self.outputs.reap(Instant::now());
                self.kept.iter().for_each(KeptLog::reap);
            }
        }
        None
    }

    /// Goes through the steps of an orderly stop; gives the exit code after the last one.
    ///
    /// The groups are left first: what was ordered before that still comes and is written. Then
    /// commands read the end of their input, and have the rest of the time to end.
    fn stopped(&mut self) -> Option<u8> {
        let stop_by = self.stop_by?;
        let now = Instant::now();
        let late = now >= stop_by;
        if !self.kept.is_empty() {
            // What is committed is written and noted; the rest is in the journals.
            self.kept.clear();
            log::notice("stopped", &[]);
            return Some(exit::DONE);
        }
        if !self.closed {
            if self.buses.iter().any(Bus::is_leaving) && !late {
                return None;
            }
            let time = Time::now(&self.config.time_zone);
            for bus in &mut self.buses {
                bus.disconnect(&mut self.outputs, &time, now);
            }
            self.outputs.write(now);
            if self.outputs.queued_bytes() > 0 && !late {
                return None;
            }
            self.closed = true;
            let unwritten = self.outputs.queued_bytes();
            if unwritten > 0 {
                log::error("stopped", &[("unwritten-bytes", &unwritten)]);
                return Some(exit::FAILED);
            }
            self.outputs.close();
            self.outputs.reap(now);
        }
        if self.outputs.has_ending_commands() && !late {
            return None;
        }
        log::notice(
            "stopped",
            &[("written-bytes", &self.outputs.written_bytes())],
        );
        Some(exit::DONE)
    }

    /// The address of each Spread block.
    fn addresses(&self, config: &Config) -> Result<Vec<Address>, AddressError> {
        let address = |bus: &crate::config::Bus| {
            Address::find(self.socket.as_deref(), bus.address.as_deref())
        };
        config.buses.iter().map(address).collect()
    }

    /// Makes the sessions those of the configuration. One session serves all blocks of a daemon.
    fn connect_buses(&mut self, addresses: Vec<Address>, now: Instant) {
        let mut wanted: Vec<(Address, Vec<Log>)> = Vec::new();
        for (address, bus) in addresses.into_iter().zip(&self.config.buses) {
            match wanted.iter_mut().find(|(known, _)| *known == address) {
                Some((_, logs)) => logs.extend_from_slice(&bus.logs),
                None => wanted.push((address, bus.logs.clone())),
            }
        }
        self.buses
            .retain(|bus| wanted.iter().any(|(address, _)| bus.address() == address));
        for (address, logs) in wanted {
            let index = self.buses.iter().position(|bus| *bus.address() == address);
            let index = index.unwrap_or_else(|| {
                let token = Token(FIRST_BUS + self.bus_count);
                self.buses
                    .push(Bus::new(address, token, self.bus_count, now));
                self.bus_count += 1;
                self.buses.len() - 1
            });
            self.buses[index].set_logs(&logs);
        }
    }

    /// Opens the journals and files of the groups whose logs are kept together with others.
    fn open_kept(&mut self, addresses: &[Address]) -> anyhow::Result<()> {
        let (Some(keep), Some(address)) = (&self.config.keep, addresses.first()) else {
            return Ok(());
        };
        let logs = self.config.buses.iter().flat_map(|bus| &bus.logs);
        let groups: BTreeSet<GroupName> = logs.map(|log| log.group).collect();
        for group in groups {
            self.kept.push(KeptLog::open(KeptConfig {
                group,
                keep,
                logs: &logs_of(&self.config, group),
                address: address.clone(),
                time_zone: self.config.time_zone.clone(),
                token: Token(FIRST_BUS + self.bus_count),
                index: self.bus_count,
                waker: self.waker.clone(),
            })?);
            self.bus_count += 1;
        }
        Ok(())
    }

    /// Opens what has one name for all time; gives what could not be opened.
    fn open_outputs(&mut self) -> Vec<(String, io::Error)> {
        let mut failed = Vec::new();
        for log in self.config.buses.iter().flat_map(|bus| &bus.logs) {
            let mut route = Route::new(log);
            let Some(destination) = route.fixed_destination() else {
                continue;
            };
            if let Err(error) = self.outputs.open(destination) {
                failed.push((destination.to_string(), error));
            }
        }
        failed
    }

    fn log_status(&self) {
        log::notice(
            "status",
            &[
                ("queued-bytes", &self.outputs.queued_bytes()),
                ("written-bytes", &self.outputs.written_bytes()),
                ("failures", &self.outputs.failures()),
                ("full", &self.full),
            ],
        );
        for bus in &self.buses {
            bus.log_status();
        }
        self.kept.iter().for_each(KeptLog::log_status);
        self.outputs.log_status();
    }
}

/// The Log blocks of a group.
fn logs_of(config: &Config, group: GroupName) -> Vec<Log> {
    let logs = config.buses.iter().flat_map(|bus| &bus.logs);
    logs.filter(|log| log.group == group).cloned().collect()
}
