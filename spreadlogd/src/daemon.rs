//! The loop: from the sessions into the files, reload, orderly stop.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use group::{Address, AddressError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use unixproc::exit;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::{Signal, Signals};

use crate::bus::Bus;
use crate::config::{Config, Log};
use crate::outputs::Outputs;
use crate::route::Route;
use crate::stamp::Time;

const SIGNALS: Token = Token(0);

/// Sessions take tokens from here on.
const FIRST_BUS: usize = 1;

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
    buses: Vec<Bus>,
    /// Sessions that the configuration does not name any more are dropped; this numbers all.
    bus_count: usize,
    outputs: Outputs,
    housekeeping_at: Instant,
    alive_at: Option<Instant>,
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
        config: Config,
        config_path: Option<PathBuf>,
        socket: Option<String>,
    ) -> anyhow::Result<Daemon> {
        let poll = Poll::new()?;
        let signals = Signals::install(&[
            Signal::Hangup,
            Signal::Terminate,
            Signal::Interrupt,
            Signal::User1,
            Signal::Child,
        ])?;
        poll.registry().register(
            &mut SourceFd(&signals.as_raw_fd()),
            SIGNALS,
            Interest::READABLE,
        )?;
        let notify = Notify::from_env()?;
        let outputs = Outputs::new(poll.registry().try_clone()?, FIRST_PIPE);
        let now = Instant::now();
        let mut daemon = Daemon {
            poll,
            signals,
            config_path,
            socket,
            config,
            buses: Vec::new(),
            bus_count: 0,
            outputs,
            housekeeping_at: now + HOUSEKEEPING,
            alive_at: notify.watchdog_interval().map(|interval| now + interval),
            notify,
            full: false,
            full_throttle: log::Throttle::new(FULL_REPORT_INTERVAL),
            stop_by: None,
            closed: false,
        };
        let failed = daemon.open_outputs();
        if !failed.is_empty() {
            let line = |(name, error): &(String, io::Error)| format!("cannot open {name}: {error}");
            anyhow::bail!(failed.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        let addresses = daemon.addresses(&daemon.config)?;
        daemon.connect_buses(addresses, now);
        Ok(daemon)
    }

    /// Tells whoever waits that the program does its work.
    pub(crate) fn announce(&self) {
        let groups: usize = self.config.buses.iter().map(|bus| bus.logs.len()).sum();
        log::notice("ready", &[("buses", &self.buses.len()), ("logs", &groups)]);
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
                let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                for bus in &mut self.buses {
                    bus.handle_event(event.token(), readable, event.is_writable());
                }
            }
            while let Some(signal) = self.signals.next() {
                if let Some(status) = self.handle_signal(signal) {
                    return Ok(status);
                }
            }
            self.work();
            if self.outputs.nobody_reads() {
                return Ok(exit::DONE);
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
        self.outputs.write(now);
        self.judge_fullness(now);
        if now >= self.housekeeping_at {
            self.outputs.close_idle(now);
            self.housekeeping_at = now + HOUSEKEEPING;
        }
        if let Some(interval) = self.notify.watchdog_interval()
            && self.alive_at.is_some_and(|at| at <= now)
        {
            self.notify.alive();
            self.alive_at = Some(now + interval);
        }
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
        if !self.full && self.buses.iter().any(Bus::is_readable) {
            return Some(Duration::ZERO);
        }
        let retries = self
            .buses
            .iter()
            .filter_map(Bus::retry_at)
            .filter(|_| self.stop_by.is_none());
        let times = [
            Some(self.housekeeping_at),
            self.alive_at,
            self.stop_by,
            self.outputs.next_retry(),
        ];
        let next = times.into_iter().flatten().chain(retries).min();
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
            Signal::Child => self.outputs.reap(Instant::now()),
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

    /// Reads the configuration again and opens all files anew. With an error in the file the old
    /// configuration stays, but files are opened anew all the same.
    fn reload(&mut self) {
        self.notify.reloading();
        let now = Instant::now();
        self.outputs.write(now);
        match self.read_config() {
            Ok(Some((config, addresses))) => {
                self.config = config;
                self.connect_buses(addresses, now);
            }
            Ok(None) => {}
            Err(errors) => {
                for error in errors {
                    log::error("reload-refused", &[("error", &error)]);
                }
            }
        }
        self.outputs.reopen();
        for (name, error) in self.open_outputs() {
            log::error("open-failed", &[("file", &name), ("error", &error)]);
        }
        log::notice("reloaded", &[("buses", &self.buses.len())]);
        self.notify.ready();
    }

    /// The configuration file as it is now; none if there is no file, or all errors.
    fn read_config(&self) -> Result<Option<(Config, Vec<Address>)>, Vec<String>> {
        let Some(path) = &self.config_path else {
            return Ok(None);
        };
        let lines = |errors: conf::Errors| -> Vec<String> {
            errors.to_string().lines().map(str::to_owned).collect()
        };
        let text = conf::load(path).map_err(lines)?;
        let config = Config::parse(&path.display().to_string(), &text).map_err(lines)?;
        let addresses = self
            .addresses(&config)
            .map_err(|error| vec![error.to_string()])?;
        Ok(Some((config, addresses)))
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
                ("full", &self.full),
            ],
        );
        for bus in &self.buses {
            bus.log_status();
        }
        self.outputs.log_status();
    }
}
