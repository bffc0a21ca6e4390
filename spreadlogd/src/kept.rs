//! A group whose log is kept together with other loggers: the session, the machine that says what
//! to do, and the threads that do it.

mod disk;
mod identity;
mod live;
pub(crate) mod manifest;
mod progress;
mod recovery;
mod report;
mod segments;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use group::{Address, Cause, Event, GroupName, Link, Message, Name, Options, Received, Service};
use jiff::tz::TimeZone;
use mio::{Registry, Token, Waker};
use unixproc::log;
use weblog::stream::{ForgetError, LOGGER_MARK, Logger, LoggerAction, LoggerConfig, SessionName};

use crate::config::{Keep, Log};
use disk::{Command, Disk, Done};
use identity::{session_name, view_id};
use progress::Progress;
use segments::Segments;
pub(crate) use segments::directory;
use writer::{Writer, WriterConfig};

/// Bound: bytes taken from a session before others have their turn.
const ROUND_BYTES: usize = 1 << 20;

/// Bound: bytes that wait for the journal's disk; then the bus is not read.
const DISK_BYTES_MAX: usize = 16 << 20;

/// Bound: bytes that wait for the bus: answers to other loggers, mostly.
const OUTPUT_BYTES_MAX: usize = 8 << 20;

/// A logger whose journal lacks more than this is not waited for.
const LEARN_BYTES: u64 = 64 << 20;

/// How often segments that nobody needs are looked for, and how soon after one was removed.
const TRIM_INTERVAL: Duration = Duration::from_secs(5);
const TRIM_PAUSE: Duration = Duration::from_millis(100);

/// A kept log.
#[derive(Debug)]
pub(crate) struct KeptLog {
    group: GroupName,
    control: GroupName,
    keep: Keep,
    link: Link,
    logger: Logger,
    disk: Disk,
    /// None for a witness.
    writer: Option<Writer>,
    directory: PathBuf,
    /// Zero of the machine's time.
    start: Instant,
    /// Up to which position the writer has been told.
    given: u64,
    trim_at: Instant,
    status_at: Instant,
    joined: bool,
    was_open: bool,
    lines_read: u64,
    /// Whether this log is of no use any more, for which the reason has been logged.
    failed: bool,
}

/// What a kept log begins with.
#[derive(Debug)]
pub(crate) struct KeptConfig<'a> {
    pub(crate) group: GroupName,
    pub(crate) keep: &'a Keep,
    pub(crate) logs: &'a [Log],
    pub(crate) address: Address,
    pub(crate) time_zone: TimeZone,
    /// For the session's events.
    pub(crate) token: Token,
    /// Which of this process's sessions it is.
    pub(crate) index: usize,
    pub(crate) waker: Arc<Waker>,
}

impl KeptLog {
    /// Reads the journal, restores the files, and starts the threads.
    ///
    /// # Errors
    /// The journal is damaged or used by another program, or a file cannot be opened.
    pub(crate) fn open(config: KeptConfig) -> anyhow::Result<KeptLog> {
        let keep = config.keep.clone();
        let directory = directory(&keep.state_dir, &config.group);
        let mut logger = Logger::new(LoggerConfig {
            name: keep.name.clone(),
            loggers: keep.loggers.clone(),
            quorum: keep.quorum,
            sync_interval: keep.group_commit,
            learn_bytes: LEARN_BYTES,
            catchup_percent: keep.catchup_percent,
        });
        let context =
            |error: anyhow::Error| error.context(format!("journal {}", directory.display()));
        let segments = Segments::open(&directory, keep.quorum, &mut logger).map_err(context)?;
        let writer = match keep.witness {
            true => None,
            false => Some(
                Writer::start(WriterConfig {
                    directory: &directory,
                    logs: config.logs,
                    time_zone: config.time_zone,
                    live_from: logger.committed(),
                    loop_waker: config.waker.clone(),
                })
                .map_err(context)?,
            ),
        };
        let disk = Disk::start(segments, &directory, config.waker)?;
        let now = Instant::now();
        let mut options = Options::new(config.address);
        options.name = session_name(config.index).parse().ok();
        options.membership = true;
        options.output_bytes_max = OUTPUT_BYTES_MAX;
        let control: GroupName = format!("{}~", config.group).parse()?;
        let mut link = Link::new(options, &[LOGGER_MARK], config.token, now);
        link.join(config.group);
        link.join(control);
        let mut kept = KeptLog {
            group: config.group,
            control,
            link,
            given: writer
                .as_ref()
                .map_or(0, |writer| writer.progress().position()),
            logger,
            disk,
            writer,
            keep,
            directory,
            start: now,
            trim_at: now + TRIM_INTERVAL,
            status_at: now,
            joined: false,
            was_open: false,
            lines_read: 0,
            failed: false,
        };
        kept.give(kept.logger.committed());
        Ok(kept)
    }

    /// The group.
    pub(crate) fn group(&self) -> GroupName {
        self.group
    }

    /// The session, if there is one.
    pub(crate) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Goes on with opening the session if there is none.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        if self.logger.is_unfit() || !self.link.connect(registry, now) {
            return;
        }
        if let Some(own) = self.link.private_group() {
            self.logger.handle_connected(own.as_bytes());
        }
    }

    /// One turn: what the disk has done, what the bus has, what is due.
    pub(crate) fn work(&mut self, now: Instant) {
        self.set_clock();
        while let Some(done) = self.disk.done() {
            match done {
                Done::Synced => self.logger.handle_synced(self.elapsed(now)),
                Done::Read { to, at, bytes } => self.logger.handle_read(&to, at, &bytes),
                Done::KeptRead { at, bytes } => {
                    self.logger.handle_kept_read(self.elapsed(now), at, &bytes)
                }
                Done::KeptLost { from } => self.logger.handle_kept_lost(self.elapsed(now), from),
                Done::Failed(error) => {
                    log::error(
                        "journal-failed",
                        &[("group", &self.group), ("error", &error)],
                    );
                    self.failed = true;
                }
            }
            self.act();
        }
        self.receive(now);
        let elapsed = self.elapsed(now);
        if self.logger.poll_timeout().is_some_and(|at| at <= elapsed) {
            self.logger.handle_timeout(elapsed);
            self.act();
        }
        self.watch();
        if now >= self.trim_at {
            // One at a time: how old the next one is the disk tells when this one is gone.
            let pause = match self.trim() {
                true => TRIM_PAUSE,
                false => TRIM_INTERVAL,
            };
            self.trim_at = now + pause;
        }
        self.publish_status(now);
        if let Some(session) = self.link.session()
            && let Err(error) = session.flush()
        {
            self.lose(&error);
        }
    }

    fn set_clock(&mut self) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.logger
            .set_clock(since.map_or(0, |since| since.as_secs()));
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// Whether the bus may be read: not while the disk is behind.
    fn has_room(&self) -> bool {
        self.disk.queued_bytes() < DISK_BYTES_MAX
    }

    /// Whether there may be something to do at once.
    pub(crate) fn is_busy(&self) -> bool {
        self.link.is_readable() && self.has_room()
    }

    /// When something is due at the latest.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let due = self.logger.poll_timeout().map(|at| self.start + at);
        let connect_at = self.link.connect_at();
        let connect_at = connect_at.filter(|_| !self.logger.is_unfit());
        // While the disk is behind nobody tells when it has caught up.
        let room = (!self.has_room()).then(|| Instant::now() + Duration::from_millis(20));
        [
            due,
            connect_at,
            room,
            Some(self.trim_at),
            Some(self.status_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn receive(&mut self, now: Instant) {
        let mut taken = 0;
        while taken < ROUND_BYTES
            && self.has_room()
            && let Some(received) = self.link.receive(now)
        {
            match received {
                Received::Event(event) => taken += self.handle(event, now),
                Received::Lost => self.forget_session(),
            }
        }
    }

    /// Handles an event; gives about how many bytes it took.
    fn handle(&mut self, event: Event, now: Instant) -> usize {
        let elapsed = self.elapsed(now);
        let taken = match event {
            Event::Message(message) => self.handle_message(message, elapsed),
            Event::Membership(membership) if membership.group == self.control.name() => {
                let members: Vec<SessionName> = membership
                    .members
                    .iter()
                    .map(|member| member.as_bytes().into())
                    .collect();
                let view = view_id(membership.gid);
                let network = membership.cause == Cause::Network;
                let fields: log::Fields = &[
                    ("group", &self.group),
                    ("members", &members.len()),
                    ("network", &network),
                ];
                if self.joined {
                    log::info("membership", fields);
                } else {
                    log::notice("joined", fields);
                    self.joined = true;
                }
                self.logger
                    .handle_membership(elapsed, view, &members, network);
                members.len() * 32
            }
            Event::Transition { group, .. } if group == self.control.name() => {
                self.logger.handle_transition();
                48
            }
            _ => 48,
        };
        self.act();
        taken
    }

    fn handle_message(&mut self, message: Message, elapsed: Duration) -> usize {
        let Message {
            sender,
            groups,
            mess_type,
            data,
            ..
        } = message;
        let taken = data.len() + 48;
        let sender = sender.as_bytes();
        for name in groups.iter() {
            if name == self.group.name() {
                self.lines_read += memchr::memchr_iter(b'\n', &data).count() as u64;
                self.logger.handle_data(elapsed, sender, mess_type, &data);
            } else if name == self.control.name() {
                self.logger.handle_control(elapsed, sender, &data);
            } else if name.is_private() {
                self.logger.handle_private(elapsed, sender, &data);
            }
        }
        taken
    }

    /// Does what the machine wants.
    fn act(&mut self) {
        while let Some(action) = self.logger.poll_action() {
            match action {
                LoggerAction::Segment => self.disk.ask(Command::Segment),
                LoggerAction::Append(bytes) => self.disk.ask(Command::Append(bytes)),
                LoggerAction::Sync => self.disk.ask(Command::Sync),
                LoggerAction::Read { to, at, length } => {
                    self.disk.ask(Command::Read { to, at, length })
                }
                LoggerAction::Keep { at, data } => self.disk.ask(Command::Keep { at, data }),
                LoggerAction::ReadKept { at, length } => {
                    self.disk.ask(Command::ReadKept { at, length })
                }
                LoggerAction::DropKept => self.disk.ask(Command::DropKept),
                LoggerAction::Committed(position) => self.give(position),
                LoggerAction::Control(data) => self.send(self.control.name(), &data),
                LoggerAction::Send { to, data } => {
                    if let Ok(to) = Name::new(&to) {
                        self.send(to, &data);
                    }
                }
            }
        }
    }

    fn send(&mut self, to: Name, data: &[u8]) {
        let Some(session) = self.link.session() else {
            return;
        };
        if let Err(error) = session.queue(Service::Agreed, &[to], 0, data) {
            self.lose(&error);
        }
    }

    /// Tells the writer which entries have become part of the files.
    fn give(&mut self, position: u64) {
        let Some(writer) = &self.writer else {
            return;
        };
        let first = self.logger.first_position();
        if self.given < first && position > first {
            let fields: log::Fields = &[("group", &self.group), ("entries", &(first - self.given))];
            log::error("entries-missed", fields);
            self.given = first;
        }
        while self.given < position
            && let Some(mut stretch) = self.logger.stretch(self.given)
        {
            stretch.until = stretch.until.min(position);
            self.given = stretch.until;
            writer.write(stretch);
        }
    }

    fn lose(&mut self, error: &dyn std::fmt::Display) {
        self.link.lose(error, Instant::now());
        self.forget_session();
    }

    fn forget_session(&mut self) {
        self.joined = false;
        self.logger.handle_disconnected();
        self.act();
    }

    /// Logs what has changed since the last turn, and leaves if this logger is of no use.
    fn watch(&mut self) {
        let open = self.logger.is_open();
        if open != self.was_open {
            self.was_open = open;
            self.status_at = Instant::now();
            let loggers = self.logger.participants().join(",");
            let position = self.logger.position();
            let fields: log::Fields = &[
                ("group", &self.group),
                ("loggers", &loggers),
                ("position", &position),
            ];
            match open {
                true => log::notice("round-open", fields),
                false => log::notice("round-closed", fields),
            }
        }
        self.report_misfits();
        self.report_forgotten();
        if self.logger.is_unfit() && self.link.is_connected() {
            let event = match self.logger.counts().diverged > 0 {
                true => "journal-diverged",
                false => "journal-too-old",
            };
            let directory = self.directory.display();
            log::error(event, &[("group", &self.group), ("directory", &directory)]);
            self.link.close(Instant::now());
            self.forget_session();
        }
        let progress = self.writer.as_ref().map(Writer::progress);
        self.failed |= progress.is_some_and(Progress::has_failed);
    }

    /// Removes segments that are in the files and that every other logger has, or that are too old
    /// to be kept for them; gives whether there was one.
    fn trim(&mut self) -> bool {
        let first = self.logger.first_position();
        let written = self.writer.as_ref();
        let written = written.map_or(u64::MAX, |writer| writer.progress().checkpoint());
        let mut kept_until = self.logger.kept_until();
        if self.disk.first_age() > self.keep.keep_for_peers {
            kept_until = kept_until.max(self.logger.first_segment_end());
        }
        let offset = self.logger.remove_before(written.min(kept_until));
        self.disk.ask(Command::Remove(offset));
        self.logger.first_position() > first
    }

    /// Files are to be opened by their names again; they are those of these Log blocks.
    pub(crate) fn reopen(&mut self, logs: Vec<Log>) {
        if let Some(writer) = &self.writer {
            writer.reopen(logs);
        }
    }

    /// Looks which commands have ended, after a SIGCHLD.
    pub(crate) fn reap(&self) {
        if let Some(writer) = &self.writer {
            writer.reap();
        }
    }

    /// Gives up a logger; gives whether it was given up before, and has not been back.
    ///
    /// # Errors
    /// It cannot be given up, or not now.
    pub(crate) fn forget(&mut self, name: &str) -> Result<bool, ForgetError> {
        let before = self.logger.forget(name)?;
        self.act();
        Ok(before)
    }

    /// Whether nobody reads stdout any more.
    pub(crate) fn nobody_reads(&self) -> bool {
        let progress = self.writer.as_ref().map(Writer::progress);
        progress.is_some_and(Progress::nobody_reads)
    }

    /// Whether the journal is lost; the program has to end.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }
}
