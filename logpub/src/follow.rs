//! A log file that grows, is moved away, or is truncated.
//!
//! The file is looked at a few times a second. When its name belongs to another file, the old one
//! is read on until nothing has come for a while (a web server writes to it until it has been told
//! to open the new one), then those that were rotated since, and at last the one with the name.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use unixproc::log;

use crate::position::{FileId, Position};
use crate::publisher::{Input, REPORT_INTERVAL};
use crate::rotation;

/// How often a file at whose end we are is looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A file that was moved away is left when nothing has come for so long.
const MOVED_QUIET: Duration = Duration::from_secs(2);

/// Bound: files that are known to have been read.
const READ_FILES_MAX: usize = 64;

/// The position is written at most this often.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// A file that is followed, and how far the bus has confirmed it.
#[derive(Debug)]
pub(crate) struct Follow {
    path: PathBuf,
    position_path: PathBuf,
    /// None until the file appears.
    file: Option<(File, FileId)>,
    /// Where the next byte of the open file is.
    offset: u64,
    /// Bytes read so far, over all files.
    read_bytes: u64,
    /// Bytes confirmed so far, over all files.
    confirmed_bytes: u64,
    /// The files that are not confirmed to their ends, the oldest first. Bound: one per rotation
    /// that the queue can hold.
    parts: VecDeque<Part>,
    /// Whether the last attempt to read found nothing.
    at_end: bool,
    check_at: Instant,
    /// Since when the name has belonged to another file, and nothing more has come.
    moved_since: Option<Instant>,
    /// The files that were read to their ends, the last one last.
    read_files: VecDeque<FileId>,
    throttle: log::Throttle,
    save_at: Instant,
    saved: Option<Position>,
}

/// The part of the input that is one file.
#[derive(Debug)]
struct Part {
    file: FileId,
    /// How many bytes of the whole input come before it.
    starts_at: u64,
    /// Where in the file it begins.
    offset: u64,
}

impl Follow {
    /// Follows the file of this name, from the position that was kept, or from its beginning.
    ///
    /// # Errors
    /// The position's file makes no sense, or the file cannot be read.
    pub(crate) fn new(path: &Path, position_path: &Path, now: Instant) -> io::Result<Follow> {
        let mut follow = Follow {
            path: path.to_owned(),
            position_path: position_path.to_owned(),
            file: None,
            offset: 0,
            read_bytes: 0,
            confirmed_bytes: 0,
            parts: VecDeque::new(),
            at_end: false,
            check_at: now,
            moved_since: None,
            read_files: VecDeque::new(),
            throttle: log::Throttle::new(REPORT_INTERVAL),
            save_at: now,
            saved: Position::load(position_path)?,
        };
        if let Some(position) = follow.saved {
            follow.resume(position)?;
        }
        if follow.file.is_none() {
            follow.open(path)?;
        }
        Ok(follow)
    }

    /// Where the position is kept if nothing else is said.
    pub(crate) fn default_position_path(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".logpub");
        PathBuf::from(name)
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<Input> {
        if let Some((file, _)) = &mut self.file {
            let count = file.read(buffer)?;
            if count > 0 {
                self.offset += count as u64;
                self.read_bytes += count as u64;
                self.moved_since = self.moved_since.map(|_| now);
                self.at_end = false;
                return Ok(Input::Bytes(count));
            }
        }
        self.at_end = true;
        if now < self.check_at {
            return Ok(Input::Nothing);
        }
        self.check_at = now + CHECK_INTERVAL;
        self.check(now)
    }

    /// At the end of the file: has it been truncated or moved away?
    fn check(&mut self, now: Instant) -> io::Result<Input> {
        let looked = self.look(now);
        looked.or_else(|error| {
            // A new file may be another's for a moment, or its directory: it is tried again.
            if self.throttle.admit(now).is_some() {
                let path = self.path.display();
                log::warning("file-unreadable", &[("file", &path), ("error", &error)]);
            }
            Ok(Input::Nothing)
        })
    }

    fn look(&mut self, now: Instant) -> io::Result<Input> {
        let Some((file, id)) = &mut self.file else {
            self.open(&self.path.clone())?;
            return Ok(Input::Nothing);
        };
        let named = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Input::Nothing),
            Err(error) => return Err(error),
        };
        if FileId::of(&named) == *id {
            self.moved_since = None;
            if named.len() >= self.offset {
                return Ok(Input::Nothing);
            }
            log::notice(
                "file-truncated",
                &[("file", &self.path.display()), ("read-bytes", &self.offset)],
            );
            file.seek(SeekFrom::Start(0))?;
            let id = *id;
            self.begin_part(id, 0);
            return Ok(Input::Break);
        }
        let since = *self.moved_since.get_or_insert(now);
        if now < since + MOVED_QUIET {
            return Ok(Input::Nothing);
        }
        self.move_on()
    }

    /// The file is read to its end and has another name: goes on with the next one.
    fn move_on(&mut self) -> io::Result<Input> {
        let Some((file, id)) = &self.file else {
            return Ok(Input::Nothing);
        };
        let (id, written) = (*id, file.metadata()?.modified()?);
        let files = rotation::files(&self.path)?;
        let known = |file| file == id || self.read_files.contains(&file);
        let Some((next, certain)) = rotation::successor(&files, written, known) else {
            return Ok(Input::Nothing);
        };
        let fields: log::Fields = &[
            ("file", &self.path.display()),
            ("read-bytes", &self.offset),
            ("next", &next.path.display()),
        ];
        match certain {
            true => log::info("file-rotated", fields),
            false => log::warning("file-order-uncertain", fields),
        }
        if !self.open(&next.path)? {
            return Ok(Input::Nothing);
        }
        self.moved_since = None;
        self.read_files.push_back(id);
        if self.read_files.len() > READ_FILES_MAX {
            self.read_files.pop_front();
        }
        Ok(Input::Break)
    }

    /// Goes on where an earlier process stopped, if its file can still be found; else with the
    /// oldest that was written to since.
    fn resume(&mut self, position: Position) -> io::Result<()> {
        let files = rotation::files(&self.path)?;
        let Some(found) = files.iter().find(|file| file.id == position.file) else {
            let saved = fs::metadata(&self.position_path)?.modified()?;
            let next = rotation::successor(&files, saved, |_| false);
            let next = next.map_or(&self.path, |(next, _)| &next.path).clone();
            let fields: log::Fields = &[
                ("file", &self.path.display()),
                ("reason", &"rotated away"),
                ("next", &next.display()),
            ];
            log::warning("position-lost", fields);
            self.open(&next)?;
            return Ok(());
        };
        let mut file = File::open(&found.path)?;
        let metadata = file.metadata()?;
        if FileId::of(&metadata) != position.file {
            return Ok(());
        }
        // Shorter than what was read of it: it was truncated meanwhile.
        let offset = if metadata.len() < position.offset {
            0
        } else {
            position.offset
        };
        file.seek(SeekFrom::Start(offset))?;
        self.file = Some((file, position.file));
        self.begin_part(position.file, offset);
        Ok(())
    }

    /// Opens a file at its beginning; gives whether it is there.
    fn open(&mut self, path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let id = FileId::of(&file.metadata()?);
        self.file = Some((file, id));
        self.begin_part(id, 0);
        Ok(true)
    }

    fn begin_part(&mut self, file: FileId, offset: u64) {
        self.offset = offset;
        self.parts.push_back(Part {
            file,
            starts_at: self.read_bytes,
            offset,
        });
    }

    /// So many more bytes of the input are on the bus; the position is saved now and then.
    pub(crate) fn confirm(&mut self, bytes: u64, now: Instant) {
        self.confirmed_bytes += bytes;
        while self
            .parts
            .get(1)
            .is_some_and(|next| next.starts_at <= self.confirmed_bytes)
        {
            self.parts.pop_front();
        }
        if now >= self.save_at {
            self.save_at = now + SAVE_INTERVAL;
            self.save();
        }
    }

    /// Saves the position if it has changed. One that cannot be saved is logged; it would only
    /// cause lines to be sent again.
    pub(crate) fn save(&mut self) {
        let Some(part) = self.parts.front() else {
            return;
        };
        let offset = part.offset + self.confirmed_bytes.saturating_sub(part.starts_at);
        let position = Position {
            file: part.file,
            offset,
        };
        if self.saved == Some(position) {
            return;
        }
        match position.save(&self.position_path) {
            Ok(()) => self.saved = Some(position),
            Err(error) => {
                let path = self.position_path.display();
                log::warning("position-not-saved", &[("file", &path), ("error", &error)]);
            }
        }
    }

    /// When it is to be read again, as nothing tells us that it has grown; none for at once.
    pub(crate) fn check_at(&self) -> Option<Instant> {
        self.at_end.then_some(self.check_at)
    }
}
