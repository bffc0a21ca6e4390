//! A journal's files: each holds a segment and is named by its offset in the journal.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use group::name::GroupName;
use weblog::stream::{Logger, Quorum};

/// What the files' names begin with; the offset follows in 20 digits.
const PREFIX: &str = "journal.";

/// Bytes read at a time when a journal is read again.
const REPLAY_BYTES: usize = 1 << 20;

/// Longest record, as far as reading again is concerned.
const RECORD_BYTES_MAX: usize = 2 << 20;

/// The directory of a group's journal, locked.
#[derive(Debug)]
pub(crate) struct Segments {
    directory: PathBuf,
    /// Offsets of the segments, in order.
    starts: Vec<u64>,
    /// The last one, for appending.
    file: File,
    /// Offset of the end of the journal.
    end: u64,
    /// Held as long as this program uses the directory.
    _lock: File,
}

impl Segments {
    /// Opens a journal, and has the logger read it; a torn end is cut off.
    ///
    /// # Errors
    /// Another process uses it, it is damaged, or the system says no.
    pub(crate) fn open(
        directory: &Path,
        quorum: Quorum,
        logger: &mut Logger,
    ) -> anyhow::Result<Segments> {
        fs::create_dir_all(directory)?;
        let lock = lock(&directory.join("lock"))?;
        check_quorum(&directory.join("quorum"), quorum)?;
        let mut starts = list(directory)?;
        if starts.is_empty() {
            starts.push(0);
        }
        logger.begin_at(starts[0]);
        let mut end = starts[0];
        for (index, &start) in starts.iter().enumerate() {
            if start != end {
                anyhow::bail!("{} does not begin where the one before ends", name(start));
            }
            let path = directory.join(name(start));
            let (whole, length) = replay(&path, logger)?;
            end = start + whole;
            if whole < length && index + 1 < starts.len() {
                // A segment is synced before the next one begins, so no crash has done this.
                anyhow::bail!("{} is damaged at byte {whole}", path.display());
            }
        }
        let last = starts.last().copied().unwrap_or(0);
        let file = open_segment(&directory.join(name(last)))?;
        file.set_len(end - last)?;
        // What is told to others, or written to files, must not be lost any more.
        file.sync_all()?;
        File::open(directory)?.sync_all()?;
        Ok(Segments {
            directory: directory.to_owned(),
            starts,
            file,
            end,
            _lock: lock,
        })
    }

    /// Appends to the last segment.
    ///
    /// # Errors
    /// The system says no; then nothing is appended, and it can be tried again.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // Half a record would make the rest unreadable.
            let start = self.starts.last().copied().unwrap_or(0);
            self.file.set_len(self.end - start)?;
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Puts everything appended on the disk.
    ///
    /// # Errors
    /// Nobody knows what is on the disk; there is no use in trying again.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Begins a new segment, everything before it on the disk.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        if self.starts.last() == Some(&self.end) {
            return Ok(());
        }
        self.sync()?;
        self.file = open_segment(&self.directory.join(name(self.end)))?;
        File::open(&self.directory)?.sync_all()?;
        self.starts.push(self.end);
        Ok(())
    }

    /// Removes the segments before this offset, at which one begins.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn remove_before(&mut self, offset: u64) -> io::Result<()> {
        while self.starts.len() > 1 && self.starts[1] <= offset {
            fs::remove_file(self.directory.join(name(self.starts[0])))?;
            self.starts.remove(0);
        }
        Ok(())
    }

    /// How long the first segment has been full; none if it is the only one.
    pub(crate) fn first_age(&self) -> Option<Duration> {
        let &[first, _, ..] = &self.starts[..] else {
            return None;
        };
        let metadata = fs::metadata(self.directory.join(name(first))).ok()?;
        SystemTime::now()
            .duration_since(metadata.modified().ok()?)
            .ok()
    }
}

/// Reads a journal that another thread appends to.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    directory: PathBuf,
    /// The segment that was read last, and its offset.
    current: Option<(u64, File)>,
    /// Its memory is used again when nobody has what was read last any more.
    buffer: BytesMut,
}

impl SegmentReader {
    /// Nothing is open yet.
    pub(crate) fn new(directory: &Path) -> SegmentReader {
        SegmentReader {
            directory: directory.to_owned(),
            current: None,
            buffer: BytesMut::new(),
        }
    }

    /// Reads up to `length` bytes at this offset, from one segment.
    ///
    /// # Errors
    /// There is no such segment, or the system says no.
    pub(crate) fn read(&mut self, at: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.resize(length, 0);
        let mut count = self.read_current(at, &mut bytes)?;
        if count == 0 {
            let starts = list(&self.directory)?;
            let start = starts.iter().rfind(|start| **start <= at);
            let start = *start.ok_or(io::ErrorKind::NotFound)?;
            let file = File::open(self.directory.join(name(start)))?;
            self.current = Some((start, file));
            count = self.read_current(at, &mut bytes)?;
        }
        let read = bytes.split_to(count).freeze();
        bytes.clear();
        self.buffer = bytes;
        Ok(read)
    }

    fn read_current(&self, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let Some((start, file)) = self.current.as_ref().filter(|(start, _)| *start <= at) else {
            return Ok(0);
        };
        let mut count = 0;
        while count < bytes.len() {
            match file.read_at(&mut bytes[count..], at - start + count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

/// The directory of a group's journal: its name, with what may not be in a file's name as `%` and
/// two digits.
pub(crate) fn directory(state_dir: &Path, group: &GroupName) -> PathBuf {
    let mut text = String::new();
    for (index, &byte) in group.name().as_bytes().iter().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if plain || (byte == b'.' && index > 0) {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    state_dir.join(text)
}

/// Two programs with one journal would destroy it.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!("another spreadlogd uses it"),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// What one quorum has written cannot be read under another one: it says when an entry stays.
fn check_quorum(path: &Path, quorum: Quorum) -> anyhow::Result<()> {
    let own = match quorum {
        Quorum::None => "none\n",
        Quorum::Majority => "majority\n",
    };
    match fs::read_to_string(path) {
        Ok(text) if text == own => Ok(()),
        Ok(text) => anyhow::bail!(
            "it was written with Quorum = {}, move it away to begin anew",
            text.trim()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(fs::write(path, own)?),
        Err(error) => Err(error.into()),
    }
}

fn name(start: u64) -> String {
    format!("{PREFIX}{start:020}")
}

/// The offsets of the segments in a directory, in order.
fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let file_name = entry?.file_name();
        let digits = file_name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX));
        starts.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    starts.sort_unstable();
    Ok(starts)
}

fn open_segment(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Has the logger read a segment; gives how many bytes were whole records, and how many there are.
fn replay(path: &Path, logger: &mut Logger) -> io::Result<(u64, u64)> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let (mut whole, mut rest) = (0, Bytes::new());
    let mut at = 0;
    while at < length {
        let mut bytes = rest.to_vec();
        bytes.resize(rest.len() + REPLAY_BYTES.min((length - at) as usize), 0);
        file.read_exact_at(&mut bytes[rest.len()..], at)?;
        at += (bytes.len() - rest.len()) as u64;
        let bytes = Bytes::from(bytes);
        let taken = logger.replay(&bytes);
        whole += taken as u64;
        rest = bytes.slice(taken..);
        if rest.len() > RECORD_BYTES_MAX {
            break;
        }
    }
    Ok((whole, length))
}
