//! The loop of a logpub with a spool: from the input into its lane, from lanes to the loggers.
//!
//! Two outlets: one for the own lane, one for those of others, one after the other, which their
//! processes have left behind. When the input has ended both are emptied, as far as the bus and
//! the loggers allow, and what is left waits for the next logpub.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use group::Address;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use unixproc::exit;
use unixproc::log;
use unixproc::signal::{Signal, Signals};
use weblog::stream::MESSAGE_BYTES_MAX;

use crate::args::Args;
use crate::intake::Intake;
use crate::outlet::Outlet;
use crate::publisher::{REPORT_INTERVAL, SIGNALS_CAUGHT};
use crate::spool::{Identity, LaneReader, LaneWriter, Settled, Spool, hex};

const SIGNALS: Token = Token(0);
const STDIN: Token = Token(1);
const OWN: Token = Token(2);
const ORPHAN: Token = Token(3);
const WAKER: Token = Token(4);

/// How often lanes are looked for that nobody publishes.
const ORPHANS_INTERVAL: Duration = Duration::from_secs(1);

/// A lane that cannot be used now is looked at again after this time.
const LANE_INTERVAL: Duration = Duration::from_millis(100);

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
    orphan: Outlet,
    /// Lanes that could not be published, and when to try again. Bound: one for each lane.
    put_off: BTreeMap<PathBuf, Instant>,
    orphans_at: Instant,
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
        let waker = Arc::new(Waker::new(registry, WAKER)?);
        let spool = Spool::new(directory, args.group);
        let outlet = |suffix, token| {
            let waker = Arc::clone(&waker);
            Outlet::new(address.clone(), args.group, suffix, token, waker)
        };
        let now = Instant::now();
        let mut spooler = Spooler {
            own: outlet("", OWN)?,
            orphan: outlet("a", ORPHAN)?,
            poll,
            signals,
            spool: spool.with_context(|| format!("no spool in {}", directory.display()))?,
            intake: intake.context("cannot read stdin")?,
            lane: None,
            put_off: BTreeMap::new(),
            orphans_at: now,
            lane_at: now,
            flush_after: Duration::from_millis(args.flush_ms),
            flush_at: None,
            announced: 0,
            drain_timeout: args.drain_timeout().unwrap_or(DRAIN_TIMEOUT),
            ended_at: None,
            progress_at: now,
            stopping: false,
            throttle: log::Throttle::new(REPORT_INTERVAL),
        };
        match spooler.hold_lane(now) {
            // Lanes that others have left may give it room.
            Err(error) if error.kind() != io::ErrorKind::StorageFull => {
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
                    OWN => self.own.handle_event(),
                    ORPHAN => self.orphan.handle_event(),
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
            self.announce(now);
            self.publish(now);
            self.adopt(now);
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
        let received = (self.own.is_readable() || self.orphan.is_readable()).then_some(now);
        let orphan = self.orphan.lane().and_then(|_| self.orphan.retry_at());
        let end = self.stuck_at();
        let times = [input, no_lane, received, orphan, end, self.flush_at];
        let bus = [self.own.retry_at(), Some(self.orphans_at)];
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
        if let Some(reader) = self.spool.reader(identity)? {
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
        let mut progress = false;
        match self.own.work(registry, now) {
            Ok(acknowledged) => progress |= acknowledged,
            Err(error) => {
                let reader = self.own.close();
                if self.throttle.admit(now).is_some() {
                    report_lane(reader.as_ref(), &error);
                }
                self.lane_at = now + ORPHANS_INTERVAL;
            }
        }
        if self.orphan.lane().is_some() {
            match self.orphan.work(registry, now) {
                Ok(acknowledged) => progress |= acknowledged,
                Err(error) => {
                    let reader = self.orphan.close();
                    report_lane(reader.as_ref(), &error);
                    if let Some(reader) = reader {
                        self.put_off(&reader, now + REPORT_INTERVAL);
                    }
                }
            }
        }
        if progress {
            self.progress_at = now;
        }
    }

    /// Looks for lanes that nobody publishes, one after the other.
    fn adopt(&mut self, now: Instant) {
        if self.orphan.lane().is_some() {
            if !self.orphan.is_drained() {
                return;
            }
            if let Some(reader) = self.orphan.close() {
                self.settle(&reader, now);
            }
            self.orphans_at = now;
        }
        if now < self.orphans_at {
            return;
        }
        self.orphans_at = now + ORPHANS_INTERVAL;
        self.put_off.retain(|_, at| *at > now);
        match self.find_orphan(now) {
            Ok(true) => {}
            Ok(false) => self.orphan.hang_up(),
            Err(error) => {
                if self.throttle.admit(now).is_some() {
                    log::warning("spool-unreadable", &[("error", &error)]);
                }
            }
        }
    }

    /// Takes the first lane that has anything to publish; gives whether there is one.
    fn find_orphan(&mut self, now: Instant) -> io::Result<bool> {
        let own = self.lane.as_ref().map(|(identity, _)| identity.name());
        for directory in self.spool.lanes()? {
            let name = directory.file_name().and_then(|name| name.to_str());
            if name == own.as_deref() || self.put_off.contains_key(&directory) {
                continue;
            }
            // One that cannot be opened may belong to another group, or be gone by now.
            let Ok(Some(reader)) = self.spool.reader_of(&directory) else {
                continue;
            };
            match self.orphan.open(reader) {
                Ok(contents) if contents.whole > contents.acknowledged => {
                    let waiting = contents.whole - contents.acknowledged;
                    let fields: log::Fields = &[("lane", &name.unwrap_or("")), ("bytes", &waiting)];
                    log::notice("lane-adopted", fields);
                    return Ok(true);
                }
                Ok(_) => {
                    if let Some(reader) = self.orphan.close() {
                        self.settle(&reader, now);
                    }
                }
                Err(error) => {
                    log::error(
                        "lane-unreadable",
                        &[("lane", &name.unwrap_or("")), ("error", &error)],
                    );
                    self.put_off.insert(directory, now + REPORT_INTERVAL);
                }
            }
        }
        Ok(false)
    }

    /// A lane of others has nothing to publish at present.
    fn settle(&mut self, reader: &LaneReader, now: Instant) {
        let lane = reader.identity().name();
        match self.spool.settle(reader) {
            Ok(Settled::Removed) => log::info("lane-removed", &[("lane", &lane)]),
            Ok(Settled::More { ended_line }) => {
                if ended_line {
                    log::warning("line-without-end", &[("lane", &lane)]);
                }
                self.orphans_at = now;
            }
            Ok(Settled::Kept) => self.put_off(reader, now + ORPHANS_INTERVAL),
            Err(error) => {
                report_lane(Some(reader), &error);
                self.put_off(reader, now + REPORT_INTERVAL);
            }
        }
    }

    fn put_off(&mut self, reader: &LaneReader, until: Instant) {
        let directory = self.spool.path_of(reader.identity());
        self.put_off.insert(directory, until);
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
            self.orphans_at = now;
            return None;
        }
        let looked = now < self.orphans_at && self.orphan.lane().is_none();
        let drained = self.intake.has_ended() && self.own.is_drained() && looked;
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
        let dropped = self.intake.counts().dropped_bytes > 0;
        let log = if dropped { log::notice } else { log::info };
        self.log_counts("finished", log);
        if drained {
            self.remove_lane();
            self.own.disconnect();
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
        own + self.orphan.waiting_bytes()
    }

    /// Logs the counts.
    fn log_counts(&self, event: &str, log: fn(&str, log::Fields)) {
        let counts = self.intake.counts();
        let lane = self
            .lane
            .as_ref()
            .map(|(identity, lane)| (hex(identity.stream), lane.end()));
        let (stream, spooled) = lane.unwrap_or_default();
        let fields: log::Fields = &[
            ("lane", &stream),
            ("spooled", &spooled),
            ("published", &self.own.published().unwrap_or(0)),
            ("acknowledged", &self.own.acknowledged().unwrap_or(0)),
            ("waiting-bytes", &self.waiting_bytes()),
            ("input-bytes", &counts.spooled_bytes),
            ("unterminated-lines", &counts.unterminated_lines),
            ("dropped-lines", &counts.dropped_lines),
            ("dropped-bytes", &counts.dropped_bytes),
            ("connected", &self.own.is_connected()),
        ];
        log(event, fields);
    }
}

fn report_lane(reader: Option<&LaneReader>, error: &io::Error) {
    let lane = reader.map(|reader| reader.identity().name());
    let fields: log::Fields = &[("lane", &lane.unwrap_or_default()), ("error", error)];
    log::error("lane-unreadable", fields);
}
