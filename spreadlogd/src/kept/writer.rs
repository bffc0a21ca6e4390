//! A thread that writes committed entries of a journal to the output files.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use mio::{Events, Poll, Token, Waker};
use unixproc::log;
use weblog::stream::{Entry, Stretch, StretchReader};

use super::manifest::{Checkpoint, Contents, Manifest};
use super::progress::Progress;
use super::recovery;
use super::segments::SegmentReader;
use crate::config::Log;
use crate::outputs::Outputs;
use crate::route::{Destination, Rotations, Route};
use crate::span::Span;
use crate::stamp::Time;

const COMMANDS: Token = Token(0);
const FIRST_PIPE: Token = Token(1);

/// Bound: bytes that wait for files and commands; then the journal is not read.
const QUEUE_BYTES_MAX: usize = 4 << 20;

/// After a crash, what was written in so long a time is written again.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// What could not be noted is tried again after so long.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Repeated failures are logged this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// What the thread is to do.
#[derive(Debug)]
enum Command {
    /// These entries, up to the end of the stretch, belong into the files.
    Write(Stretch),
    /// The files are to be opened by their names again, and be these.
    Reopen(Vec<Log>),
    /// Commands may have ended.
    Reap,
}

/// The thread, as the loop sees it. Dropping it has everything written and noted that can be.
#[derive(Debug)]
pub(crate) struct Writer {
    commands: Option<Sender<Command>>,
    waker: Waker,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

/// What a writer begins with.
#[derive(Debug)]
pub(crate) struct WriterConfig<'a> {
    /// Of the journal.
    pub(crate) directory: &'a Path,
    pub(crate) logs: &'a [Log],
    pub(crate) time_zone: TimeZone,
    /// Commands and stdout get no entries before this one: they may have had them.
    pub(crate) live_from: u64,
    /// To be told that something is to be looked at.
    pub(crate) loop_waker: Arc<Waker>,
}

impl Writer {
    /// Finds out where the files are, opens those with fixed names, and starts the thread.
    ///
    /// # Errors
    /// A file or the manifest cannot be read or written.
    pub(crate) fn start(config: WriterConfig) -> anyhow::Result<Writer> {
        let contents = Contents::read(config.directory)?;
        let ahead = recovery::files_ahead(&contents)?;
        let manifest = Manifest::create(config.directory, &contents)?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), COMMANDS)?;
        let (commands, input) = mpsc::channel();
        let progress = Arc::new(Progress::default());
        let position = contents.checkpoint.position;
        progress.position.store(position, Ordering::Relaxed);
        progress.checkpoint.store(position, Ordering::Relaxed);
        let now = Instant::now();
        let mut worker = Worker {
            outputs: Outputs::new(
                poll.registry().try_clone()?,
                FIRST_PIPE,
                true,
                QUEUE_BYTES_MAX / 2,
            ),
            poll,
            input,
            progress: progress.clone(),
            loop_waker: config.loop_waker,
            reader: SegmentReader::new(config.directory),
            manifest,
            routes: Vec::new(),
            rotations: contents.rotations,
            begun: Vec::new(),
            noted: contents.checkpoint.clone(),
            state: contents.checkpoint,
            zone: config.time_zone,
            live_from: config.live_from,
            current: None,
            stretches: VecDeque::new(),
            checkpoint_at: now + CHECKPOINT_INTERVAL,
            reopening: None,
            retry_at: None,
            throttle: log::Throttle::new(REPORT_INTERVAL),
        };
        for (path, span) in ahead {
            worker.outputs.adopt(&path, span);
        }
        let failed = worker.set_logs(config.logs);
        if let Some((name, error)) = failed.into_iter().next() {
            anyhow::bail!("cannot open {name}: {error}");
        }
        let thread = thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || worker.run())?;
        Ok(Writer {
            commands: Some(commands),
            waker,
            progress,
            thread: Some(thread),
        })
    }

    /// Entries up to the end of the stretch belong into the files.
    pub(crate) fn write(&self, stretch: Stretch) {
        self.ask(Command::Write(stretch));
    }

    /// Opens all files by their names again; they are those of these Log blocks from now on.
    pub(crate) fn reopen(&self, logs: Vec<Log>) {
        self.ask(Command::Reopen(logs));
    }

    /// Looks which commands have ended, after a SIGCHLD.
    pub(crate) fn reap(&self) {
        self.ask(Command::Reap);
    }

    fn ask(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // A thread that has ended says so by its progress.
            let _ = commands.send(command);
            let _ = self.waker.wake();
        }
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

struct Worker {
    poll: Poll,
    input: Receiver<Command>,
    progress: Arc<Progress>,
    loop_waker: Arc<Waker>,
    reader: SegmentReader,
    manifest: Manifest,
    outputs: Outputs,
    routes: Vec<Route>,
    rotations: Rotations,
    /// Spans that are not noted yet; until they are nothing is written. Bound: one for each file.
    begun: Vec<(String, Span)>,
    /// What the last checkpoint says, and how far the files are.
    noted: Checkpoint,
    state: Checkpoint,
    zone: TimeZone,
    live_from: u64,
    /// The stretch that is being read, and those that follow. Bound: one for each stretch of the
    /// journal, which are 1 MiB apart.
    current: Option<StretchReader>,
    stretches: VecDeque<Stretch>,
    checkpoint_at: Instant,
    /// Files are to be opened anew, and be those of these Log blocks, when it is noted how far the
    /// present ones are.
    reopening: Option<Vec<Log>>,
    retry_at: Option<Instant>,
    throttle: log::Throttle,
}

impl Worker {
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return self.fail(&error);
            }
            let open = self.take_commands();
            if let Err(error) = self.work(Instant::now()) {
                return self.fail(&error);
            }
            if !open && !self.has_more() && !self.outputs.has_more() {
                break;
            }
        }
        self.finish();
    }

    /// Gives whether more commands may come.
    fn take_commands(&mut self) -> bool {
        loop {
            match self.input.try_recv() {
                Ok(Command::Write(stretch)) => self.add_stretch(stretch),
                Ok(Command::Reopen(logs)) => self.reopening = Some(logs),
                Ok(Command::Reap) => self.outputs.reap(Instant::now()),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add_stretch(&mut self, stretch: Stretch) {
        if let Some(last) = self.stretches.back_mut() {
            if last.at == stretch.at {
                last.until = stretch.until;
                return;
            }
        } else if let Some(current) = &mut self.current
            && current.extend(&stretch)
        {
            return;
        }
        self.stretches.push_back(stretch);
    }

    /// One turn: some entries from the journal into the queues, and the queues into the files.
    fn work(&mut self, now: Instant) -> anyhow::Result<()> {
        self.reopen(now);
        while self.outputs.queued_bytes() < QUEUE_BYTES_MAX && self.read_block(now)? {}
        if self.retry_at.is_none_or(|at| at <= now) {
            self.retry_at = None;
            if let Err(error) = self.write(now) {
                self.retry_later(&error, now);
            }
        }
        if now >= self.checkpoint_at {
            self.outputs.close_idle(now);
            self.checkpoint_at = now + CHECKPOINT_INTERVAL;
            if let Err(error) = self.checkpoint() {
                self.retry_later(&error, now);
            }
        }
        Ok(())
    }

    /// Reads the next block of the journal; gives whether there was one.
    fn read_block(&mut self, now: Instant) -> anyhow::Result<bool> {
        let wants = loop {
            if let Some(wants) = self.current.as_ref().and_then(StretchReader::wants) {
                break wants;
            }
            match self.stretches.pop_front() {
                Some(stretch) => self.current = Some(StretchReader::new(stretch)),
                None => return Ok(false),
            }
        };
        let bytes = self.reader.read(wants.0, wants.1)?;
        let Some(mut reader) = self.current.take() else {
            return Ok(false);
        };
        reader.feed(&bytes, |position, entry| {
            if let Entry::Segment(second) = entry {
                // The first entries of a journal that does not begin at 0 have no other time.
                self.state.second = self.state.second.max(second);
                return;
            }
            // A stretch may begin before what is wanted of it; what lies between was never here.
            if position >= self.state.position {
                self.state.missed += position - self.state.position;
                self.state.position = position + 1;
                self.take_entry(position, entry, now);
            }
        })?;
        self.current = Some(reader);
        Ok(true)
    }

    fn take_entry(&mut self, position: u64, entry: Entry, now: Instant) {
        match entry {
            Entry::Lines(lines) => self.pass(position, &lines, now),
            Entry::Time(second) => self.state.second = second,
            Entry::Gap { lines, bytes } => {
                self.state.gaps += 1;
                self.state.gap_lines += lines;
                self.state.gap_bytes += bytes;
                let fields: log::Fields = &[("lines", &lines), ("bytes", &bytes)];
                log::error("gap", fields);
            }
            Entry::Forgotten(name) => {
                self.state.forgotten += 1;
                log::error("logger-forgotten", &[("name", &name)]);
            }
            Entry::Missed(entries) => {
                self.state.missed += entries;
                log::error("entries-missed", &[("entries", &entries)]);
            }
            Entry::Round | Entry::Segment(_) => {}
        }
    }

    fn pass(&mut self, position: u64, lines: &[u8], now: Instant) {
        let ended;
        let lines = match lines.ends_with(b"\n") {
            true => lines,
            false => {
                ended = [lines, b"\n"].concat();
                &ended
            }
        };
        let time = Time::from_second(self.state.second as i64, &self.zone);
        let live = position >= self.live_from;
        for route in &mut self.routes {
            let outputs = &mut self.outputs;
            route.pass(lines, &time, &mut self.rotations, |destination, bytes| {
                if live || matches!(destination, Destination::File { .. }) {
                    outputs.append(destination, bytes, now);
                }
            });
        }
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        self.begun.extend(named(self.outputs.prepare(now)));
        if !self.begun.is_empty() {
            self.manifest.begin(&self.begun)?;
            self.begun.clear();
        }
        self.outputs.write(now);
        if self.outputs.nobody_reads() {
            self.progress.nobody_reads.store(true, Ordering::Relaxed);
            let _ = self.loop_waker.wake();
        }
        self.progress
            .written_bytes
            .store(self.outputs.written_bytes(), Ordering::Relaxed);
        if !self.outputs.has_unwritten_files() {
            self.progress
                .position
                .store(self.state.position, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Notes how far the files are, unless something waits for one of them.
    fn checkpoint(&mut self) -> io::Result<()> {
        if self.state == self.noted || self.outputs.has_unwritten_files() {
            return Ok(());
        }
        let spans = named(self.outputs.changes()?);
        let rotations = self.rotations.iter();
        let rotations = rotations.map(|(name, rotation)| (name.clone(), *rotation));
        self.manifest
            .checkpoint(spans, rotations.collect(), self.state.clone())?;
        self.outputs.set_noted();
        self.noted = self.state.clone();
        self.progress
            .checkpoint
            .store(self.state.position, Ordering::Relaxed);
        Ok(())
    }

    fn retry_later(&mut self, error: &io::Error, now: Instant) {
        self.retry_at = Some(now + RETRY_DELAY);
        self.checkpoint_at = self.checkpoint_at.min(now + RETRY_DELAY);
        if let Some(repeated) = self.throttle.admit(now) {
            let fields: log::Fields = &[("error", error), ("repeated", &repeated)];
            log::error("manifest-failed", fields);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let room = self.outputs.queued_bytes() < QUEUE_BYTES_MAX;
        let writable = self.retry_at.is_none() && self.outputs.has_more();
        if writable || (self.has_more() && room) {
            return Some(Duration::ZERO);
        }
        let times = [
            Some(self.checkpoint_at),
            self.retry_at,
            self.outputs.next_retry(),
        ];
        let next = times.into_iter().flatten().min();
        next.map(|next| next.saturating_duration_since(now))
    }

    fn has_more(&self) -> bool {
        let current = self.current.as_ref();
        !self.stretches.is_empty() || current.is_some_and(|reader| reader.wants().is_some())
    }

    /// Opens the files anew, if that was asked for.
    fn reopen(&mut self, now: Instant) {
        let due = self.retry_at.is_none_or(|at| at <= now);
        let Some(logs) = self.reopening.take_if(|_| due) else {
            return;
        };
        if let Err(error) = self.write(now).and_then(|()| self.checkpoint()) {
            // After a crash, lines that are not noted come again, and must find them in these files.
            self.reopening = Some(logs);
            return self.retry_later(&error, now);
        }
        self.outputs.reopen();
        for (name, error) in self.set_logs(&logs) {
            log::error("open-failed", &[("file", &name), ("error", &error)]);
        }
    }

    /// Takes these Log blocks, and opens what has one name for all time; gives what could not be
    /// opened.
    fn set_logs(&mut self, logs: &[Log]) -> Vec<(String, io::Error)> {
        self.routes = logs.iter().map(Route::new).collect();
        let mut failed = Vec::new();
        for route in &mut self.routes {
            let Some(destination) = route.fixed_destination() else {
                continue;
            };
            if let Err(error) = self.outputs.open(destination) {
                failed.push((destination.to_string(), error));
            }
        }
        failed
    }

    fn fail(&mut self, error: &dyn std::fmt::Display) {
        log::error("journal-unreadable", &[("error", error)]);
        self.progress.failed.store(true, Ordering::Relaxed);
        let _ = self.loop_waker.wake();
    }

    fn finish(&mut self) {
        if let Err(error) = self.write(Instant::now()).and_then(|()| self.checkpoint()) {
            log::error("manifest-failed", &[("error", &error)]);
        }
        self.outputs.close();
    }
}

fn named(spans: Vec<(PathBuf, Span)>) -> Vec<(String, Span)> {
    let name = |(path, span): (PathBuf, Span)| (path.display().to_string(), span);
    spans.into_iter().map(name).collect()
}
