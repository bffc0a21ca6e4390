//! All files and pipes that lines are written to, and the bound on what waits for them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use mio::{Registry, Token};
use unixproc::log;

use crate::file::LogFile;
use crate::pipe::{LogPipe, Reader, Written};
use crate::route::Destination;
use crate::span::Span;

/// Bound: files that are open at a time. Those opened first are closed, and opened
/// again.
const OPEN_FILES_MAX: usize = 128;

/// Bound: files of a kept log that are remembered; those used least recently are looked at anew.
const KEPT_FILES_MAX: usize = 20_000;

/// So many files are synced one by one; for more, their file systems are.
const SYNCED_FILES_MAX: usize = 64;

/// A file whose name varies is closed when no lines have come for so long.
const IDLE_CLOSE: Duration = Duration::from_secs(10);

/// The files and pipes in use.
#[derive(Debug)]
pub(crate) struct Outputs {
    registry: Registry,
    /// Whether what is written is remembered.
    kept: bool,
    /// Bound: open ones, and those that something is queued for; for a kept log also those that
    /// have changed, and [`KEPT_FILES_MAX`].
    files: HashMap<PathBuf, LogFile>,
    /// Files in the order in which they were opened. Bound: [`OPEN_FILES_MAX`], and those that
    /// were closed since.
    opened: VecDeque<PathBuf>,
    /// Files that something may be queued for.
    dirty: Vec<PathBuf>,
    /// Files with one name for all time, which stay open.
    fixed: Vec<PathBuf>,
    /// As many as the configuration names, and those of the former one until they are written.
    pipes: Vec<LogPipe>,
    next_token: usize,
    /// Commands that have been told to end by the end of their input.
    ending: Vec<Child>,
    /// Bound: bytes that wait for all pipes together, if there is anything else to write to. What
    /// comes for one that has its share is dropped, so that one that hangs does not stop the others.
    pipe_bytes_max: usize,
    queued_bytes: usize,
    written_bytes: u64,
    /// Attempts to open or write files that failed, those of files that are forgotten among them.
    file_failures: u64,
    nobody_reads: bool,
}

impl Outputs {
    /// Nothing is open yet; pipes take tokens from `first_token` on.
    pub(crate) fn new(
        registry: Registry,
        first_token: Token,
        kept: bool,
        pipe_bytes_max: usize,
    ) -> Outputs {
        Outputs {
            registry,
            kept,
            files: HashMap::new(),
            opened: VecDeque::new(),
            dirty: Vec::new(),
            fixed: Vec::new(),
            pipes: Vec::new(),
            next_token: first_token.0,
            ending: Vec::new(),
            pipe_bytes_max,
            queued_bytes: 0,
            written_bytes: 0,
            file_failures: 0,
            nobody_reads: false,
        }
    }

    /// Opens what has one name for all time, so that it is there before the first line.
    ///
    /// # Errors
    /// It cannot be opened; it will be tried again when there is something to write.
    pub(crate) fn open(&mut self, destination: Destination) -> io::Result<()> {
        match destination {
            Destination::File { path, .. } => {
                if !self.fixed.iter().any(|fixed| fixed == path) {
                    self.fixed.push(path.to_owned());
                }
                self.file(path, false, Instant::now()).open()
            }
            Destination::Stdout => {
                let index = self.pipe(Reader::Stdout);
                self.pipes[index].open(&self.registry)
            }
            Destination::Command(command) => {
                let index = self.pipe(Reader::Command(command.to_owned()));
                self.pipes[index].open(&self.registry)
            }
        }
    }

    /// Queues whole lines.
    pub(crate) fn append(&mut self, destination: Destination, lines: &[u8], now: Instant) {
        self.queued_bytes += lines.len();
        match destination {
            Destination::File {
                path,
                varies,
                series,
            } => {
                let file = self.file(path, varies, now);
                file.set_series(series);
                let first = file.queued_bytes() == 0;
                file.append(lines, now);
                if first {
                    self.dirty.push(path.to_owned());
                }
            }
            Destination::Stdout => {
                let index = self.pipe(Reader::Stdout);
                self.append_to_pipe(index, lines, now);
            }
            Destination::Command(command) => {
                let index = match self.pipes.iter().position(|pipe| pipe.is_command(command)) {
                    Some(index) => index,
                    None => self.pipe(Reader::Command(command.to_owned())),
                };
                self.append_to_pipe(index, lines, now);
            }
        }
    }

    fn append_to_pipe(&mut self, index: usize, lines: &[u8], now: Instant) {
        let alone = self.pipes.len() == 1 && self.files.is_empty();
        let share = self.pipe_bytes_max / self.pipes.len();
        let pipe = &mut self.pipes[index];
        if alone || pipe.queued_bytes() + lines.len() <= share {
            pipe.append(lines);
        } else {
            self.queued_bytes -= lines.len();
            pipe.drop_lines(lines, now);
        }
    }

    fn file(&mut self, path: &Path, varies: bool, now: Instant) -> &mut LogFile {
        // Two look-ups, as the path is only copied for a new one.
        if !self.files.contains_key(path) {
            let file = match self.kept {
                true => LogFile::new_kept(path, varies, now),
                false => LogFile::new(path, varies, now),
            };
            self.files.insert(path.to_owned(), file);
        }
        self.files.get_mut(path).expect("it was put there")
    }

    /// For a kept log: this file may be ahead of what is to be written.
    pub(crate) fn adopt(&mut self, path: &Path, span: Span) {
        let file = LogFile::new_ahead(path, span, Instant::now());
        self.files.insert(path.to_owned(), file);
    }

    /// For a kept log, before each [`write`](Self::write): what begins to be written, and has to be
    /// noted first.
    pub(crate) fn prepare(&mut self, now: Instant) -> Vec<(PathBuf, Span)> {
        let mut begun = Vec::new();
        for path in self.writable() {
            if !self.files.get(&path).is_some_and(LogFile::needs_span) {
                continue;
            }
            self.make_room_for(&path);
            if let Some(file) = self.files.get_mut(&path) {
                let before = file.failures();
                let span = file.begin_span(now);
                self.file_failures += file.failures() - before;
                begun.extend(span.map(|span| (path, span)));
            }
        }
        begun
    }

    /// The files that something is queued for, but of each series only the first one.
    fn writable(&self) -> Vec<PathBuf> {
        let mut series = HashSet::new();
        let mut is_first = |path: &&PathBuf| {
            let file = self.files.get(*path);
            let of = file.and_then(LogFile::series);
            of.is_none_or(|of| series.insert(of))
        };
        self.dirty
            .iter()
            .filter(|path| is_first(path))
            .cloned()
            .collect()
    }

    /// Whether a file can be written at once that had to wait for another one.
    pub(crate) fn has_more(&self) -> bool {
        let writable = self.writable();
        let mut files = writable.iter().filter_map(|path| self.files.get(path));
        files.any(|file| file.retry_at().is_none())
    }

    /// For a kept log, when nothing is queued for files: puts what has changed on the disk, and gives
    /// it, each time until it is [noted](Self::set_noted).
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn changes(&mut self) -> io::Result<Vec<(PathBuf, Span)>> {
        let changed = || self.files.iter().filter(|(_, file)| file.is_changed());
        if changed().count() <= SYNCED_FILES_MAX {
            for (_, file) in changed() {
                file.sync()?;
            }
        } else {
            let mut synced = Vec::new();
            for (path, file) in changed() {
                if let Some(device) = file.device()
                    && !synced.contains(&device)
                {
                    rustix::fs::syncfs(std::fs::File::open(path)?)?;
                    synced.push(device);
                }
            }
        }
        let change = |(path, file): (&PathBuf, &mut LogFile)| Some((path.clone(), file.change()?));
        Ok(self.files.iter_mut().filter_map(change).collect())
    }

    /// What has changed is noted.
    pub(crate) fn set_noted(&mut self) {
        self.files.values_mut().for_each(LogFile::set_noted);
    }

    /// Whether anything waits for a file.
    pub(crate) fn has_unwritten_files(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Writes what is queued, as far as files and readers take it: one write for each.
    pub(crate) fn write(&mut self, now: Instant) {
        for path in self.writable() {
            self.make_room_for(&path);
            if let Some(file) = self.files.get_mut(&path) {
                let before = file.failures();
                self.written_bytes += file.write(now) as u64;
                self.file_failures += file.failures() - before;
            }
        }
        let files = &self.files;
        self.dirty
            .retain(|path| files.get(path).is_some_and(|file| file.queued_bytes() > 0));
        for pipe in &mut self.pipes {
            match pipe.write(&self.registry, now) {
                Written::Bytes(count) => self.written_bytes += count as u64,
                Written::NobodyReads => self.nobody_reads = true,
            }
        }
        self.count_queued_bytes();
    }

    /// Counts anew: half a line that was taken back is queued again.
    fn count_queued_bytes(&mut self) {
        let files = self.dirty.iter().filter_map(|path| self.files.get(path));
        let files: usize = files.map(LogFile::queued_bytes).sum();
        self.queued_bytes = files + self.pipes.iter().map(LogPipe::queued_bytes).sum::<usize>();
    }

    /// Closes the file used least recently if too many are open for one more.
    fn make_room_for(&mut self, path: &Path) {
        if self.files.get(path).is_none_or(LogFile::is_open) {
            return;
        }
        self.opened.push_back(path.to_owned());
        while self.opened.len() > OPEN_FILES_MAX
            && let Some(oldest) = self.opened.pop_front()
        {
            self.close_file(&oldest);
        }
    }

    fn close_file(&mut self, path: &Path) {
        let Some(file) = self.files.get_mut(path) else {
            return;
        };
        file.close();
        if file.queued_bytes() == 0 && !self.kept {
            self.files.remove(path);
        }
    }

    /// Closes files that are not the current ones any more.
    pub(crate) fn close_idle(&mut self, now: Instant) {
        let fixed = &self.fixed;
        let mut remembered = 0;
        self.files.retain(|path, file| {
            let idle = file.queued_bytes() == 0
                && now >= file.last_used() + IDLE_CLOSE
                && !fixed.contains(path);
            if idle {
                file.close();
            }
            remembered += 1;
            !idle || file.is_changed() || (self.kept && remembered <= KEPT_FILES_MAX)
        });
        self.opened
            .retain(|path| self.files.get(path).is_some_and(LogFile::is_open));
    }

    /// Closes everything but stdout, so that it is opened by its name again: files may have been
    /// moved away, and the configuration may not name them any more.
    pub(crate) fn reopen(&mut self) {
        self.fixed.clear();
        self.opened.clear();
        self.files.retain(|_, file| {
            file.close();
            file.queued_bytes() > 0 || self.kept
        });
        for pipe in self
            .pipes
            .iter_mut()
            .filter(|pipe| *pipe.reader() != Reader::Stdout)
        {
            self.ending.extend(pipe.close());
        }
        self.pipes
            .retain(|pipe| pipe.queued_bytes() > 0 || *pipe.reader() == Reader::Stdout);
    }

    /// Closes everything: commands read the end of their input.
    pub(crate) fn close(&mut self) {
        self.files.clear();
        for pipe in &mut self.pipes {
            self.ending.extend(pipe.close());
        }
        self.pipes.clear();
    }

    /// Looks which commands have ended, after a SIGCHLD.
    pub(crate) fn reap(&mut self, now: Instant) {
        for pipe in &mut self.pipes {
            pipe.reap(now);
        }
        self.ending
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Whether commands that were told to end still run.
    pub(crate) fn has_ending_commands(&self) -> bool {
        !self.ending.is_empty()
    }

    /// Bytes that wait to be written, over all outputs.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Bytes written so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Whether stdout has lost its reader.
    pub(crate) fn nobody_reads(&self) -> bool {
        self.nobody_reads
    }

    /// When something that failed is to be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let files = self
            .dirty
            .iter()
            .filter_map(|path| self.files.get(path)?.retry_at());
        files
            .chain(self.pipes.iter().filter_map(LogPipe::restart_at))
            .min()
    }

    /// Attempts to open, start or write that failed, since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.file_failures + self.pipes.iter().map(LogPipe::failures).sum::<u64>()
    }

    /// Writes one line per output that is open or has something queued into the log.
    pub(crate) fn log_status(&self) {
        for (path, file) in &self.files {
            let fields: log::Fields = &[
                ("file", &path.display()),
                ("open", &file.is_open()),
                ("queued-bytes", &file.queued_bytes()),
                ("failures", &file.failures()),
            ];
            log::notice("status", fields);
        }
        for pipe in &self.pipes {
            let fields: log::Fields = &[
                ("file", pipe.reader()),
                ("queued-bytes", &pipe.queued_bytes()),
                ("dropped-bytes", &pipe.dropped_bytes()),
                ("failures", &pipe.failures()),
            ];
            log::notice("status", fields);
        }
    }

    fn pipe(&mut self, reader: Reader) -> usize {
        if let Some(index) = self.pipes.iter().position(|pipe| *pipe.reader() == reader) {
            return index;
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        self.pipes.push(LogPipe::new(reader, token));
        self.pipes.len() - 1
    }
}
