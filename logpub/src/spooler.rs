//! The loop of a logpub with a spool: from the input into its lane, from lanes to the loggers.
//!
//! The own lane has an outlet, and those that other processes have left behind have another. When
//! the input has ended both are emptied, as far as the bus and the loggers allow, and what is left
//! waits for the next logpub.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use group::Address;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use unixproc::exit;
use unixproc::log;
use unixproc::signal::{Signal, Signals};
use weblog::stream::MESSAGE_BYTES_MAX;

use crate::args::Args;
use crate::intake::Intake;
use crate::orphans::Orphans;
use crate::outlet::{Outlet, report_lane};
use crate::publisher::{REPORT_INTERVAL, SIGNALS_CAUGHT};
use crate::spool::{Identity, LaneWriter, Spool, hex};

const SIGNALS: Token = Token(0);
const STDIN: Token = Token(1);
const OWN: Token = Token(2);
const ORPHAN: Token = Token(3);

/// A lane that another process publishes is asked for again after this time.
const LANE_INTERVAL: Duration = Duration::from_millis(100);

/// The own lane, if it could not be read, is opened again after this time.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// At the end, nothing may come through for so long, unless something else was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Exit code: bytes stay in the spool.
const LEFT_IN_SPOOL: u8 = 3;

/// The program at work.
#[derive(Debug)]
pub(crate) struct Spooler {
    poll: Poll,
    signals: Signals,
    spool: Spool,
    intake: Intake,
    /// The own lane; none while the disk has no room for one.
    lane: Option<(Identity, LaneWriter)>,
    own: Outlet,
    orphans: Orphans,
    /// When to try again to get the own lane, or the right to publish it.
    lane_at: Instant,
    flush_after: Duration,
    /// When the whole lines that wait are to be published, and how far they have been.
    flush_at: Option<Instant>,
    announced: u64,
    drain_timeout: Duration,
    /// When the end of the input was seen, and when anything was acknowledged last.
    ended_at: Option<Instant>,
    progress_at: Instant,
    /// What somebody has removed before it was acknowledged.
    lost_bytes: u64,
    /// Told to stop after the input had ended.
    stopping: bool,
    throttle: log::Throttle,
}

impl Spooler {
    /// Opens the input and the spool; the bus is not connected yet.
    ///
    /// # Errors
    /// The input cannot be read, there can be no spool, or there are no descriptors left.
    pub(crate) fn new(args: &Args, directory: &Path, address: Address) -> anyhow::Result<Spooler> {
        let poll = Poll::new()?;
        let signals = Signals::install(&SIGNALS_CAUGHT)?;
        let registry = poll.registry();
        let mut source = SourceFd(&signals.as_raw_fd());
        registry.register(&mut source, SIGNALS, Interest::READABLE)?;
        let intake = Intake::new(registry, STDIN, args.when_full, args.spool_bytes());
        let spool = Spool::new(directory, args.group);
        let now = Instant::now();
        let outlet = |suffix, token| {
            let address = address.clone();
            Outlet::new(address, args.group, suffix, token, now)
        };
        let mut spooler = Spooler {
            own: outlet("", OWN)?,
            orphans: Orphans::new(outlet("a", ORPHAN)?, now),
            poll,
            signals,
            spool: spool.with_context(|| format!("no spool in {}", directory.display()))?,
            intake: intake.context("cannot read stdin")?,
            lane: None,
            lane_at: now,
            flush_after: Duration::from_millis(args.flush_ms),
            flush_at: None,
            announced: 0,
            drain_timeout: args.drain_timeout().unwrap_or(DRAIN_TIMEOUT),
            ended_at: None,
            progress_at: now,
            lost_bytes: 0,
            stopping: false,
            throttle: log::Throttle::new(REPORT_INTERVAL),
        };
        match spooler.hold_lane(now) {
            // Lanes that others have left may give it room; what cannot be published may be later.
            Err(error) if spooler.lane.is_none() && !is_full(&error) => {
                Err(error).with_context(|| format!("no lane in {}", directory.display()))
            }
            _ => Ok(spooler),
        }
    }

    /// Works until the input has ended and all is acknowledged or left to the next logpub; gives
    /// the exit code.
    ///
    /// # Errors
    /// The input or the event loop is broken.
    pub(crate) fn run(&mut self) -> anyhow::Result<u8> {
        let mut events = Events::with_capacity(16);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    STDIN => self.intake.handle_event(),
                    OWN => self.own.handle_event(event),
                    ORPHAN => self.orphans.handle_event(event),
                    _ => {}
                }
            }
            while let Some(signal) = self.signals.next() {
                self.handle_signal(signal);
            }
            let now = Instant::now();
            if let Err(error) = self.hold_lane(now)
                && self.throttle.admit(now).is_some()
            {
                log::warning("no-lane", &[("error", &error)]);
            }
            if let Some((_, lane)) = &mut self.lane {
                let worked = self.intake.work(lane, now);
                worked.context("cannot read stdin")?;
            }
            if self.intake.has_lost_lane() {
                self.leave_lane();
            }
            self.announce(now);
            self.publish(now);
            if let Some(status) = self.finished(now) {
                return Ok(status);
            }
        }
    }

    fn handle_signal(&mut self, signal: Signal) {
        match signal {
            // Whoever writes to us may go on after we were told to stop: the end of the input
            // decides. After that nothing is lost by stopping.
            Signal::Terminate | Signal::Interrupt => {
                self.stopping |= self.ended_at.is_some();
                self.intake.interrupt();
            }
            Signal::User1 => self.log_counts("status", log::notice),
            // There is nothing to reload, and no reason to end.
            Signal::Hangup | Signal::Child => {}
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let input = self.lane.as_ref().and_then(|_| self.intake.work_at(now));
        let no_lane = self.own.lane().is_none().then_some(self.lane_at);
        let received = self.own.is_readable().then_some(now);
        let times = [input, no_lane, received, self.stuck_at(), self.flush_at];
        let bus = [self.own.connect_at(), self.orphans.work_at(now)];
        let next = times.into_iter().chain(bus).flatten().min();
        next.map(|next| next.saturating_duration_since(now))
    }

    /// Gets a lane to write to, and the right to publish it; another logpub may be doing that.
    fn hold_lane(&mut self, now: Instant) -> io::Result<()> {
        if self.own.lane().is_some() || now < self.lane_at {
            return Ok(());
        }
        self.lane_at = now + LANE_INTERVAL;
        if self.lane.is_none() {
            let (identity, lane) = self.spool.writer(self.intake.origin())?;
            self.intake.resume(&lane);
            self.lane = Some((identity, lane));
        }
        let Some((identity, _)) = &self.lane else {
            return Ok(());
        };
        let reader = match self.spool.reader(identity) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.leave_lane();
                return Ok(());
            }
            reader => reader?,
        };
        if let Some(reader) = reader {
            let contents = self.own.open(reader)?;
            self.announced = contents.whole;
            if contents.end > contents.acknowledged {
                let waiting = contents.end - contents.acknowledged;
                let fields: log::Fields = &[("lane", &identity.name()), ("bytes", &waiting)];
                log::notice("lane-resumed", fields);
            }
        }
        Ok(())
    }

    /// Somebody has removed the own lane, with what was in it: the input goes on in another one.
    fn leave_lane(&mut self) {
        let waiting = self.waiting_bytes();
        if let Some((identity, _)) = self.lane.take() {
            let fields: log::Fields = &[("lane", &identity.name()), ("lost-bytes", &waiting)];
            log::error("lane-removed-by-others", fields);
            self.lost_bytes += waiting;
        }
        self.own.close();
        self.lane_at = Instant::now();
    }

    /// Tells the own outlet what there is to publish: soon, or at once if it fills a message.
    fn announce(&mut self, now: Instant) {
        let Some((_, lane)) = &self.lane else { return };
        // Whoever opens the lane will find them.
        let gaps = self.intake.take_gaps();
        if self.own.lane().is_none() {
            return;
        }
        let whole = lane.publishable();
        let due = self.flush_at.is_some_and(|at| at <= now)
            || whole - self.announced >= MESSAGE_BYTES_MAX as u64
            || self.intake.is_over()
            || !gaps.is_empty();
        if due {
            self.own.handle_spooled(&gaps, whole);
            self.announced = whole;
            self.flush_at = None;
        } else if whole > self.announced && self.flush_at.is_none() {
            self.flush_at = Some(now + self.flush_after);
        }
    }

    /// Sends and receives what can be.
    fn publish(&mut self, now: Instant) {
        let registry = self.poll.registry();
        let own = self.lane.as_ref().map(|(identity, _)| identity.name());
        let mut progress = self
            .orphans
            .work(registry, &self.spool, own.as_deref(), now);
        match self.own.work(registry, now) {
            Ok(acknowledged) => progress |= acknowledged,
            Err(error) => {
                let reader = self.own.close();
                if self.throttle.admit(now).is_some() {
                    report_lane(reader.as_ref(), &error);
                }
                self.lane_at = now + REOPEN_INTERVAL;
            }
        }
        if progress {
            self.progress_at = now;
        }
    }

    /// When the end is given up, unless something comes through; none before the end.
    fn stuck_at(&self) -> Option<Instant> {
        let at = self.ended_at?.max(self.progress_at);
        Some(at + self.drain_timeout)
    }

    /// The exit code, once the input is over, and all is acknowledged or must wait.
    fn finished(&mut self, now: Instant) -> Option<u8> {
        if !self.intake.is_over() {
            return None;
        }
        if self.ended_at.is_none() {
            self.ended_at = Some(now);
            // What others have left is part of the end: a last look.
            self.orphans.look_at(now);
            return None;
        }
        let no_orphan = self.orphans.is_idle(now);
        let drained = self.intake.has_ended() && self.own.is_drained() && no_orphan;
        let late = self.stuck_at().is_some_and(|at| at <= now);
        if !drained && !late && !self.stopping {
            return None;
        }
        if !drained {
            let fields: log::Fields = &[
                ("bytes", &self.waiting_bytes()),
                ("sent-by", &"the next logpub"),
            ];
            log::warning("left-in-spool", fields);
        }
        let dropped = self.intake.counts().dropped_bytes > 0 || self.lost_bytes > 0;
        let log = if dropped { log::notice } else { log::info };
        self.log_counts("finished", log);
        if drained {
            self.remove_lane();
            self.own.disconnect(now);
        }
        Some(match (dropped, drained) {
            (true, _) => exit::FAILED,
            (false, true) => exit::DONE,
            (false, false) => LEFT_IN_SPOOL,
        })
    }

    /// The own lane is over, and empty.
    fn remove_lane(&mut self) {
        if let (Some(reader), Some((_, writer))) = (self.own.close(), self.lane.take())
            && let Err(error) = self.spool.remove_own(&reader, &writer)
        {
            report_lane(Some(&reader), &error);
        }
    }

    /// Bytes of the lanes at hand that are not acknowledged.
    fn waiting_bytes(&self) -> u64 {
        let lane = self.lane.as_ref().map(|(_, lane)| lane);
        // What cannot be read is not known, and will be reported when it is published.
        let own = lane.map_or(0, |lane| lane.waiting_bytes().unwrap_or(0));
        own + self.orphans.waiting_bytes()
    }

    /// Logs the counts.
    fn log_counts(&self, event: &str, log: fn(&str, log::Fields)) {
        let counts = self.intake.counts();
        let lane = self
            .lane
            .as_ref()
            .map(|(identity, lane)| (hex(identity.stream), lane.end()));
        let (stream, spooled) = lane.unwrap_or_default();
        let broken = self.own.broken_lines() + self.orphans.broken_lines();
        let fields: log::Fields = &[
            ("lane", &stream),
            ("spooled", &spooled),
            ("published", &self.own.published().unwrap_or(0)),
            ("acknowledged", &self.own.acknowledged().unwrap_or(0)),
            ("waiting-bytes", &self.waiting_bytes()),
            ("input-bytes", &counts.spooled_bytes),
            ("unterminated-lines", &counts.unterminated_lines),
            ("broken-lines", &broken),
            ("dropped-lines", &counts.dropped_lines),
            ("dropped-bytes", &counts.dropped_bytes),
            ("connected", &self.own.is_connected()),
        ];
        log(event, fields);
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
