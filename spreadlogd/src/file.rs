//! A log file: opened when there is something to write, whole lines whatever happens.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use unixproc::log;

use crate::queue::Queue;
use crate::span::Span;

/// How long a file that cannot be written is left alone.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Repeated failures of a file are logged this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// A file and the lines that wait for it.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// Whether missing directories are made.
    make_directories: bool,
    /// None until there is something to write, and after a failure.
    file: Option<File>,
    queue: Queue,
    last_used: Instant,
    trouble: Option<Trouble>,
    failures: u64,
    kept: Option<Kept>,
    series: Option<u64>,
}

/// What is known of a file that is written for a kept log.
#[derive(Debug, Default)]
struct Kept {
    /// What is written, and what is queued; none until the file has been opened.
    span: Option<Span>,
    /// Whether it has changed since it was last [noted](LogFile::set_noted).
    changed: bool,
    /// Whether the file may hold lines that are to come: they were written before a crash.
    ahead: bool,
}

impl Kept {
    /// Whether a file is the one that was written, and holds what was, so many bytes not yet.
    fn fits(&self, file: &fs::Metadata, queued: usize) -> bool {
        self.span.as_ref().is_some_and(|span| {
            let length = file.len() + queued as u64;
            let fits = length == span.end() || (self.ahead && length > span.end());
            span.is_in(file) && fits
        })
    }
}

/// Since when and how often a file could not be written.
#[derive(Debug)]
struct Trouble {
    retry_at: Instant,
    failures: u64,
    throttle: log::Throttle,
}

impl LogFile {
    /// A file that is not opened yet.
    pub(crate) fn new(path: &Path, make_directories: bool, now: Instant) -> LogFile {
        LogFile {
            path: path.to_owned(),
            make_directories,
            file: None,
            queue: Queue::default(),
            last_used: now,
            trouble: None,
            failures: 0,
            kept: None,
            series: None,
        }
    }

    /// The same, for a kept log: what is written is remembered.
    pub(crate) fn new_kept(path: &Path, make_directories: bool, now: Instant) -> LogFile {
        LogFile {
            kept: Some(Kept::default()),
            ..LogFile::new(path, make_directories, now)
        }
    }

    /// The same, for a file that was written before a crash: what is there behind the span is
    /// compared with what is to be written, and left as it is as far as it is the same.
    pub(crate) fn new_ahead(path: &Path, span: Span, now: Instant) -> LogFile {
        LogFile {
            kept: Some(Kept {
                span: Some(span),
                changed: false,
                ahead: true,
            }),
            ..LogFile::new(path, true, now)
        }
    }

    /// For a kept log: whether a span has to begin before anything is written, as the file is not
    /// the one that was written before.
    pub(crate) fn needs_span(&self) -> bool {
        let Some(kept) = &self.kept else {
            return false;
        };
        let fits = |metadata| kept.fits(&metadata, self.queue.len());
        kept.span.is_none() || (self.file.is_none() && !fs::metadata(&self.path).is_ok_and(fits))
    }

    /// Begins a span, which is given and has to be noted before anything is written.
    pub(crate) fn begin_span(&mut self, now: Instant) -> Option<Span> {
        if self.retry_at().is_some_and(|at| now < at) {
            return None;
        }
        let opened = self.open().and_then(|()| match &self.file {
            Some(file) => file.metadata(),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        let metadata = match opened {
            Ok(metadata) => metadata,
            Err(error) => {
                self.report_failure(&error, now);
                return None;
            }
        };
        let mut span = Span::new(&metadata);
        let begun = span.clone();
        span.add(self.queue.unwritten());
        self.kept = Some(Kept {
            span: Some(span),
            changed: true,
            ahead: false,
        });
        Some(begun)
    }

    /// What has been written, if that is not noted yet; nothing may be queued. Whoever shortened the
    /// file meanwhile has taken lines away, which is reported.
    pub(crate) fn change(&mut self) -> Option<Span> {
        let kept = self.kept.as_mut().filter(|kept| kept.changed)?;
        let span = kept.span.as_mut()?;
        let metadata = match &self.file {
            Some(file) => file.metadata(),
            None => fs::metadata(&self.path),
        };
        if let Ok(metadata) = metadata
            && span.is_in(&metadata)
            && metadata.is_file()
            && (metadata.len() < span.end() || (metadata.len() > span.end() && !kept.ahead))
        {
            let fields: log::Fields = &[
                ("file", &self.path.display()),
                ("bytes", &metadata.len()),
                ("written", &span.end()),
            ];
            log::warning("file-changed", fields);
            *span = Span::new(&metadata);
        }
        Some(span.clone())
    }

    /// What has been written is noted.
    pub(crate) fn set_noted(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.changed = false;
        }
    }

    /// Whether something was written that is not noted yet.
    pub(crate) fn is_changed(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.changed)
    }

    /// Says which files it follows.
    pub(crate) fn set_series(&mut self, series: Option<u64>) {
        self.series = series;
    }

    /// The files that it follows.
    pub(crate) fn series(&self) -> Option<u64> {
        self.series
    }

    /// The device that it is on, as far as it is known.
    pub(crate) fn device(&self) -> Option<u64> {
        Some(self.kept.as_ref()?.span.as_ref()?.dev)
    }

    /// Puts what is written on the disk.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.sync_data(),
            None => File::open(&self.path)?.sync_data(),
        }
    }

    /// Queues whole lines.
    pub(crate) fn append(&mut self, lines: &[u8], now: Instant) {
        self.queue.append(lines);
        self.last_used = now;
        if let Some(kept) = &mut self.kept
            && let Some(span) = &mut kept.span
        {
            span.add(lines);
            kept.changed = true;
        }
    }

    /// Opens the file if it is not open.
    ///
    /// # Errors
    /// It cannot be opened, or another process has locked it.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        if self.make_directories
            && let Some(directory) = self.path.parent()
        {
            fs::create_dir_all(directory)?;
        }
        // Without O_NONBLOCK a FIFO that nobody reads would stop the whole program here.
        let file = OpenOptions::new()
            .append(true)
            .read(self.kept.as_ref().is_some_and(|kept| kept.ahead))
            .create(true)
            .mode(0o644)
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.path)?;
        lock(&file)?;
        if let Some(kept) = &mut self.kept
            && !kept.fits(&file.metadata()?, self.queue.len())
        {
            // Another file has taken its place.
            kept.span = None;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Writes what is queued, unless a failure was too recent; gives how many bytes.
    ///
    /// A failure is logged and counted; what could not be written stays queued.
    pub(crate) fn write(&mut self, now: Instant) -> usize {
        if self
            .trouble
            .as_ref()
            .is_some_and(|trouble| now < trouble.retry_at)
        {
            return 0;
        }
        // What is not noted must not be written.
        if self.kept.as_ref().is_some_and(|kept| kept.span.is_none()) {
            return 0;
        }
        let before = self.queue.len();
        match self.try_write() {
            Ok(()) => self.report_recovery(),
            Err(error) => {
                self.take_back_half_line();
                // Opened anew at the next try: it may have been replaced.
                self.file = None;
                self.report_failure(&error, now);
            }
        }
        before.saturating_sub(self.queue.len())
    }

    fn try_write(&mut self) -> io::Result<()> {
        self.open()?;
        self.pass_over()?;
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        while !self.queue.is_empty() {
            match file.write(self.queue.unwritten()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.queue.consume(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Passes over what is queued and stands in the file already; what is there instead of it is
    /// cut off.
    fn pass_over(&mut self) -> io::Result<()> {
        let Some(kept) = self.kept.as_mut().filter(|kept| kept.ahead) else {
            return Ok(());
        };
        let (Some(span), Some(file)) = (&kept.span, &self.file) else {
            return Ok(());
        };
        let at = span.end() - self.queue.len() as u64;
        let there = file.metadata()?.len().saturating_sub(at);
        let count = usize::try_from(there).unwrap_or(usize::MAX);
        let mut found = vec![0; count.min(self.queue.len())];
        file.read_exact_at(&mut found, at)?;
        if self.queue.unwritten().starts_with(&found) {
            kept.ahead = there > found.len() as u64;
            self.queue.consume(found.len());
            return Ok(());
        }
        kept.ahead = false;
        let fields: log::Fields = &[("file", &self.path.display()), ("bytes", &at)];
        log::warning("file-cut", fields);
        file.set_len(at)
    }

    /// A full disk takes half a line: it is cut off again, so that the file ends in a whole one
    /// whoever reads it meanwhile.
    fn take_back_half_line(&mut self) {
        let half = self.queue.half_line() as u64;
        let Some(file) = &self.file else { return };
        if half == 0 {
            return;
        }
        let length = file.metadata().map(|metadata| {
            if metadata.is_file() {
                metadata.len()
            } else {
                0
            }
        });
        match length {
            // We hold the lock, so the last bytes are ours.
            Ok(length) if length >= half && file.set_len(length - half).is_ok() => {
                self.queue.take_back_half_line();
            }
            // Not a regular file: if it is the same when it is opened again, the line goes on there.
            _ => {}
        }
    }

    fn report_failure(&mut self, error: &io::Error, now: Instant) {
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            retry_at: now,
            failures: 0,
            throttle: log::Throttle::new(REPORT_INTERVAL),
        });
        trouble.failures += 1;
        self.failures += 1;
        trouble.retry_at = now + RETRY_DELAY;
        if trouble.throttle.admit(now).is_some() {
            log::error(
                "write-failed",
                &[
                    ("file", &self.path.display()),
                    ("error", error),
                    ("failures", &trouble.failures),
                    ("queued-bytes", &self.queue.len()),
                ],
            );
        }
    }

    fn report_recovery(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            log::notice(
                "write-resumed",
                &[
                    ("file", &self.path.display()),
                    ("failures", &trouble.failures),
                ],
            );
        }
    }

    /// Closes the file; it is opened again when there is something to write.
    pub(crate) fn close(&mut self) {
        self.file = None;
        if let Some(trouble) = &mut self.trouble {
            // Whoever asks for it has probably removed the cause.
            trouble.retry_at = Instant::now();
        }
    }

    /// Whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Attempts to open or write it that failed, since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.len()
    }

    /// When it may be written again, if it could not be.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.retry_at)
    }

    /// When lines came for it last.
    pub(crate) fn last_used(&self) -> Instant {
        self.last_used
    }
}

/// Two loggers must not write one file; devices and FIFOs are shared, and so are file systems
/// that know no locks.
fn lock(file: &File) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process has locked it",
        )),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}
