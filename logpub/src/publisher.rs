//! The loop: from the input through the outbox to the bus, until the end of the input is ordered.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use group::Address;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use unixproc::exit;
use unixproc::log;
use unixproc::signal::{Signal, Signals};
use weblog::stream::{Cutter, Limits, Outbox, WhenFull};

use crate::args::Args;
use crate::bus::Bus;
use crate::follow::Follow;
use crate::stdin::Stdin;

const SIGNALS: Token = Token(0);
const STDIN: Token = Token(1);
const BUS: Token = Token(2);

/// Bytes asked for in one read: what a pipe holds by default.
const READ_BYTES: usize = 64 << 10;

/// Bound: reads before the bus has its turn.
const READS_MAX: usize = 8;

/// The signals that mean something here.
pub(crate) const SIGNALS_CAUGHT: [Signal; 4] = [
    Signal::Hangup,
    Signal::Terminate,
    Signal::Interrupt,
    Signal::User1,
];

/// Trouble that lasts is logged this often.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// At the end, the bus may take so long without a word about it.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// At the end, nothing may come through for so long, unless something else was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// What came of an attempt to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// What follows does not continue the line that came last.
    Break,
    /// There will be nothing more.
    End,
}

#[derive(Debug)]
enum Source {
    Stdin(Stdin),
    Follow(Box<Follow>),
}

/// The program at work.
#[derive(Debug)]
pub(crate) struct Publisher {
    poll: Poll,
    signals: Signals,
    source: Source,
    buffer: Box<[u8]>,
    cutter: Cutter,
    outbox: Outbox,
    bus: Bus,
    flush_after: Duration,
    /// When the lines that wait in the cutter are to be sent.
    flush_at: Option<Instant>,
    drain_timeout: Duration,
    when_full: WhenFull,
    /// When we were told to stop once the input ends.
    stopping_at: Option<Instant>,
    /// When the end of the input was seen.
    ended_at: Option<Instant>,
    /// When the bus confirmed something last.
    progress_at: Instant,
    /// Whether input waits because the bus is down and the queue full.
    blocked: bool,
    reported_dropped_lines: u64,
    throttle: log::Throttle,
}

impl Publisher {
    /// Opens the input; the bus is not connected yet.
    ///
    /// # Errors
    /// The input cannot be read, or there are no descriptors left.
    pub(crate) fn new(args: &Args, address: Address) -> anyhow::Result<Publisher> {
        let poll = Poll::new()?;
        let signals = Signals::install(&SIGNALS_CAUGHT)?;
        let registry = poll.registry();
        registry.register(
            &mut SourceFd(&signals.as_raw_fd()),
            SIGNALS,
            Interest::READABLE,
        )?;
        let now = Instant::now();
        let source = match &args.follow {
            None => Source::Stdin(Stdin::new(registry, STDIN).context("cannot read stdin")?),
            Some(path) => {
                let default = Follow::default_position_path(path);
                let position = args.position.as_ref().unwrap_or(&default);
                let follow = Follow::new(path, position, now);
                let follow = follow.with_context(|| format!("cannot follow {}", path.display()))?;
                Source::Follow(Box::new(follow))
            }
        };
        let limits = if args.one_line {
            Limits::ONE_LINE
        } else {
            Limits::BATCHED
        };
        Ok(Publisher {
            poll,
            signals,
            source,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            cutter: Cutter::new(limits),
            outbox: Outbox::new(args.when_full, args.queue_bytes()),
            bus: Bus::new(address, args.group, BUS, now),
            flush_after: Duration::from_millis(args.flush_ms),
            flush_at: None,
            drain_timeout: args.drain_timeout().unwrap_or(DRAIN_TIMEOUT),
            when_full: args.when_full,
            stopping_at: None,
            ended_at: None,
            progress_at: now,
            blocked: false,
            reported_dropped_lines: 0,
            throttle: log::Throttle::new(REPORT_INTERVAL),
        })
    }

    /// Works until the end of the input is in the order of the bus; gives the exit code.
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
                match (event.token(), &mut self.source) {
                    (STDIN, Source::Stdin(stdin)) => stdin.handle_event(),
                    (BUS, _) => self.bus.handle_event(event),
                    _ => {}
                }
            }
            while let Some(signal) = self.signals.next() {
                self.handle_signal(signal);
            }
            let now = Instant::now();
            self.bus.connect(self.poll.registry(), now);
            self.read(now)?;
            self.flush_if_due(now);
            let confirmed = self.bus.work(&mut self.outbox, now);
            if confirmed > 0 {
                self.progress_at = now;
            }
            if let Source::Follow(follow) = &mut self.source {
                follow.confirm(confirmed, now);
            }
            self.report(now);
            if let Some(status) = self.finished(now) {
                return Ok(status);
            }
        }
    }

    /// Reads what is there, as far as the queue has room.
    fn read(&mut self, now: Instant) -> anyhow::Result<()> {
        for _ in 0..READS_MAX {
            if self.ended_at.is_some() || !self.outbox.wants_input() || !self.may_read() {
                return Ok(());
            }
            let input = match &mut self.source {
                Source::Stdin(stdin) => {
                    stdin.read(&mut self.buffer).context("cannot read stdin")?
                }
                Source::Follow(follow) => follow
                    .read(&mut self.buffer, now)
                    .context("cannot read the followed file")?,
            };
            match input {
                Input::Bytes(count) => self.cutter.push(&self.buffer[..count]),
                Input::Break => self.cutter.finish(),
                Input::End => {
                    self.cutter.finish();
                    self.ended_at = Some(now);
                }
                Input::Nothing
                    if self.stopping_at.is_some() && matches!(self.source, Source::Follow(_)) =>
                {
                    // The end of what is there; an unfinished line is left for the next start.
                    self.cutter.flush();
                    self.ended_at = Some(now);
                }
                Input::Nothing => return Ok(()),
            }
            self.queue_messages(now);
        }
        Ok(())
    }

    fn may_read(&self) -> bool {
        match &self.source {
            Source::Stdin(stdin) => stdin.is_readable(),
            Source::Follow(_) => true,
        }
    }

    /// Moves the messages that are ready into the outbox.
    fn queue_messages(&mut self, now: Instant) {
        let mut some = false;
        while let Some(message) = self.cutter.poll_message() {
            some = true;
            self.outbox.push(message);
        }
        if !self.cutter.has_waiting_lines() {
            self.flush_at = None;
        } else if some || self.flush_at.is_none() {
            self.flush_at = Some(now + self.flush_after);
        }
    }

    fn flush_if_due(&mut self, now: Instant) {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.cutter.flush();
            self.queue_messages(now);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let can_read = self.ended_at.is_none() && self.outbox.wants_input();
        let next_read = match &self.source {
            Source::Stdin(stdin) if can_read && stdin.is_readable() => Some(now),
            Source::Follow(follow) if can_read => follow.check_at().or(Some(now)),
            _ => None,
        };
        // While the end waits for the bus, there is something to say now and then.
        let report = self.stuck_since().map(|_| now + DRAIN_PATIENCE);
        let received = self.bus.is_readable().then_some(now);
        let times = [
            self.flush_at,
            next_read,
            report,
            received,
            self.bus.connect_at(),
        ];
        let next = times.into_iter().flatten().min();
        next.map(|next| next.saturating_duration_since(now))
    }

    fn handle_signal(&mut self, signal: Signal) {
        match signal {
            // Whoever writes to us may go on after we were told to stop: the end of the input
            // decides, however often we are told. A person at a terminal means now.
            Signal::Terminate | Signal::Interrupt => {
                self.stopping_at.get_or_insert_with(Instant::now);
                if matches!(&self.source, Source::Stdin(stdin) if stdin.is_terminal())
                    && self.ended_at.is_none()
                {
                    self.cutter.finish();
                    self.ended_at = Some(Instant::now());
                    self.queue_messages(Instant::now());
                }
            }
            Signal::User1 => self.log_counts("status"),
            // There is nothing to reload, and no reason to end.
            Signal::Hangup | Signal::Child => {}
        }
    }

    /// Says what is wrong, once at first, then now and then while it lasts.
    fn report(&mut self, now: Instant) {
        let (dropped_lines, _) = self.outbox.dropped();
        if dropped_lines > self.reported_dropped_lines && self.throttle.admit(now).is_some() {
            self.reported_dropped_lines = dropped_lines;
            log::warning("dropping", &[("dropped-lines", &dropped_lines)]);
        }
        // With a session it is the bus's pace, and no news.
        let blocked = !self.outbox.wants_input() && !self.bus.is_connected();
        if blocked && !self.blocked {
            log::warning("queue-full", &[("input", &"waits")]);
        }
        self.blocked = blocked;
        if self
            .stuck_since()
            .is_some_and(|since| now >= since + DRAIN_PATIENCE)
            && !self.outbox.is_drained()
            && self.throttle.admit(now).is_some()
        {
            let pending = self.outbox.pending_lines();
            log::warning(
                "draining",
                &[
                    ("pending-lines", &pending),
                    ("connected", &self.bus.is_connected()),
                ],
            );
        }
    }

    /// Since when the end has waited for the bus without any progress; none before the end.
    ///
    /// A followed file is not lost if it is not read to its end: there it is the end already that
    /// we are told to stop.
    fn stuck_since(&self) -> Option<Instant> {
        let ending_at = match &self.source {
            Source::Stdin(_) => self.ended_at,
            Source::Follow(_) => self.ended_at.or(self.stopping_at),
        };
        ending_at.map(|at| at.max(self.progress_at))
    }

    /// The exit code, once everything is in the order of the bus, or is given up.
    fn finished(&mut self, now: Instant) -> Option<u8> {
        let late = now >= self.stuck_since()? + self.drain_timeout;
        let drained = self.ended_at.is_some() && self.outbox.is_drained();
        if !drained && !late {
            return None;
        }
        if let Source::Follow(follow) = &mut self.source {
            follow.save();
        }
        let unsent = self.outbox.pending_lines();
        let (dropped, _) = self.outbox.dropped();
        if unsent > 0 {
            log::error("given-up", &[("unsent-lines", &unsent)]);
        }
        self.log_counts("finished");
        self.bus.disconnect(now);
        Some(if unsent > 0 || dropped > 0 {
            exit::FAILED
        } else {
            exit::DONE
        })
    }

    /// Logs the counts: as a notice if they are asked for or unusual.
    fn log_counts(&self, event: &str) {
        let counts = self.cutter.counts();
        let (dropped_lines, dropped_bytes) = self.outbox.dropped();
        let policy = if self.when_full == WhenFull::Block {
            "block"
        } else {
            "drop"
        };
        let resent = self.outbox.resent_lines();
        let fields: log::Fields = &[
            ("lines", &counts.lines),
            ("pending-lines", &self.outbox.pending_lines()),
            ("cut-lines", &counts.cut_lines),
            ("cut-bytes", &counts.cut_bytes),
            ("unterminated-lines", &counts.unterminated_lines),
            ("dropped-lines", &dropped_lines),
            ("dropped-bytes", &dropped_bytes),
            ("resent-lines", &resent),
            ("when-full", &policy),
            ("connected", &self.bus.is_connected()),
        ];
        let unusual = counts.cut_lines > 0 || dropped_lines > 0 || resent > 0;
        if unusual || event == "status" {
            log::notice(event, fields)
        } else {
            log::info(event, fields)
        }
    }
}
