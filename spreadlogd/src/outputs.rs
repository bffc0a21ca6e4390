//! All files and pipes that lines are written to, and the bound on what waits for them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use mio::{Registry, Token};
use unixproc::log;

use crate::file::LogFile;
use crate::pipe::{LogPipe, Reader, Written};
use crate::route::Destination;

/// Bound: files that are open at a time. Those used least recently are closed, and opened again.
const OPEN_FILES_MAX: usize = 128;

/// A file whose name varies is closed when no lines have come for so long.
const IDLE_CLOSE: Duration = Duration::from_secs(10);

/// The files and pipes in use.
#[derive(Debug)]
pub(crate) struct Outputs {
    registry: Registry,
    /// Bound: open ones, and those that something is queued for.
    files: HashMap<PathBuf, LogFile>,
    /// Files that something may be queued for.
    dirty: Vec<PathBuf>,
    /// Files with one name for all time, which stay open.
    fixed: Vec<PathBuf>,
    /// As many as the configuration names, and those of the former one until they are written.
    pipes: Vec<LogPipe>,
    next_token: usize,
    /// Commands that have been told to end by the end of their input.
    ending: Vec<Child>,
    queued_bytes: usize,
    written_bytes: u64,
    nobody_reads: bool,
}

impl Outputs {
    /// Nothing is open yet; pipes take tokens from `first_token` on.
    pub(crate) fn new(registry: Registry, first_token: Token) -> Outputs {
        Outputs {
            registry,
            files: HashMap::new(),
            dirty: Vec::new(),
            fixed: Vec::new(),
            pipes: Vec::new(),
            next_token: first_token.0,
            ending: Vec::new(),
            queued_bytes: 0,
            written_bytes: 0,
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
                let now = Instant::now();
                let file = self.files.entry(path.to_owned());
                file.or_insert_with(|| LogFile::new(path, false, now))
                    .open()
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
            Destination::File { path, varies } => {
                if !self.files.contains_key(path) {
                    self.files
                        .insert(path.to_owned(), LogFile::new(path, varies, now));
                }
                let Some(file) = self.files.get_mut(path) else {
                    return;
                };
                if file.queued_bytes() == 0 {
                    self.dirty.push(path.to_owned());
                }
                file.append(lines, now);
            }
            Destination::Stdout => {
                let index = self.pipe(Reader::Stdout);
                self.pipes[index].append(lines);
            }
            Destination::Command(command) => {
                let index = match self.pipes.iter().position(|pipe| pipe.is_command(command)) {
                    Some(index) => index,
                    None => self.pipe(Reader::Command(command.to_owned())),
                };
                self.pipes[index].append(lines);
            }
        }
    }

    /// Writes what is queued, as far as files and readers take it: one write for each.
    pub(crate) fn write(&mut self, now: Instant) {
        for path in std::mem::take(&mut self.dirty) {
            self.make_room_for(&path);
            let Some(file) = self.files.get_mut(&path) else {
                continue;
            };
            self.written_bytes += file.write(now) as u64;
            if file.queued_bytes() > 0 {
                self.dirty.push(path);
            }
        }
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
        let open = self.files.iter().filter(|(_, file)| file.is_open());
        if open.clone().count() < OPEN_FILES_MAX {
            return;
        }
        let oldest = open
            .min_by_key(|(_, file)| file.last_used())
            .map(|(path, _)| path.clone());
        if let Some(oldest) = oldest {
            self.close_file(&oldest);
        }
    }

    fn close_file(&mut self, path: &Path) {
        let Some(file) = self.files.get_mut(path) else {
            return;
        };
        file.close();
        if file.queued_bytes() == 0 {
            self.files.remove(path);
        }
    }

    /// Closes files that are not the current ones any more.
    pub(crate) fn close_idle(&mut self, now: Instant) {
        let fixed = &self.fixed;
        self.files.retain(|path, file| {
            file.queued_bytes() > 0 || now < file.last_used() + IDLE_CLOSE || fixed.contains(path)
        });
    }

    /// Closes everything but stdout, so that it is opened by its name again: files may have been
    /// moved away, and the configuration may not name them any more.
    pub(crate) fn reopen(&mut self) {
        self.fixed.clear();
        self.files.retain(|_, file| {
            file.close();
            file.queued_bytes() > 0
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

    /// Writes one line per output that is open or has something queued into the log.
    pub(crate) fn log_status(&self) {
        for (path, file) in &self.files {
            let fields: log::Fields = &[
                ("file", &path.display()),
                ("open", &file.is_open()),
                ("queued-bytes", &file.queued_bytes()),
            ];
            log::notice("status", fields);
        }
        for pipe in &self.pipes {
            let fields: log::Fields = &[
                ("file", pipe.reader()),
                ("queued-bytes", &pipe.queued_bytes()),
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
