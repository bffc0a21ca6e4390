//! The directory where lines wait: lanes, each written by one process and published by one.
//!
//! A lane is a directory, named after its stream. In it are `lane` (what it is; locked by whoever
//! writes), `acknowledged` (how far the loggers have it; locked by whoever publishes), `gaps`, and
//! the bytes in `spool.OFFSET` files. Mostly one process does both, but a lane may be published by
//! another one while it is written, and whoever finds a lane that nobody publishes may do it.
//!
//! Nothing is synced: the page cache survives every process, and the promise does not go further.

mod contents;
mod gaps;
mod identity;
mod reader;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use group::GroupName;
use unixproc::log;

pub(crate) use contents::Contents;
use gaps::Gaps;
pub(crate) use identity::{Identity, Origin, hex};
pub(crate) use reader::LaneReader;
pub(crate) use writer::LaneWriter;

const LANE: &str = "lane";
const ACKNOWLEDGED: &str = "acknowledged";
const GAPS: &str = "gaps";
/// Since when nobody has written to the lane: seconds since the machine was started, by a clock
/// that nobody sets.
const IDLE: &str = "idle";

/// What stands before the name of a lane that is being made or removed.
const UNFINISHED: &str = ".lane-";

/// A line that has no end waits so long for the rest, from whoever inherits the pipe.
const REST_PATIENCE: Duration = Duration::from_secs(60);

/// How often, and how far apart, a process asks for the lane of its pipe when it starts.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The lanes of one group in a directory.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    group: GroupName,
    boot: String,
}

/// What became of a lane that has nothing to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It is gone.
    Removed,
    /// It has got something to publish: an unfinished line, which was ended, or a gap.
    More {
        /// Whether a line was ended.
        ended_line: bool,
    },
    /// It is written to, or may be soon: it stays.
    Kept,
}

impl Spool {
    /// A spool in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(directory: &Path, group: GroupName) -> io::Result<Spool> {
        make(directory)?;
        let spool = Spool {
            directory: directory.to_owned(),
            group,
            boot: identity::boot(),
        };
        spool.tidy()?;
        Ok(spool)
    }

    /// A lane to write to: the one in which bytes of this origin stand already, or a new one.
    ///
    /// # Errors
    /// No lane can be made.
    pub(crate) fn writer(&self, origin: &Origin) -> io::Result<(Identity, LaneWriter)> {
        make(&self.directory)?;
        for directory in self.lanes()? {
            let Ok((identity, _)) = self.open_lane(&directory) else {
                continue;
            };
            if origin.continues(&identity.origin)
                && let Some(lock) = self.wait_for(&directory)?
            {
                match fs::remove_file(directory.join(IDLE)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                match LaneWriter::new(&directory, lock) {
                    Ok(writer) => return Ok((identity, writer)),
                    // The input goes on in another one.
                    Err(error) => {
                        let fields: log::Fields = &[("lane", &identity.name()), ("error", &error)];
                        log::error("lane-unreadable", fields);
                    }
                }
            }
        }
        let identity = Identity::new(origin.clone(), self.group)?;
        let (directory, lock) = self.create(&identity)?;
        Ok((identity, LaneWriter::new(&directory, lock)?))
    }

    /// The lock of a lane's writer. Whoever settles the lane has it for a moment, and this must not
    /// part the two halves of a line; another process on the same pipe may have it for good.
    fn wait_for(&self, directory: &Path) -> io::Result<Option<File>> {
        for _ in 0..LOCK_TRIES {
            let Ok((_, file)) = self.open_lane(directory) else {
                return Ok(None);
            };
            if let Some(lock) = lock(file, &directory.join(LANE))? {
                return Ok(Some(lock));
            }
            thread::sleep(LOCK_PAUSE);
        }
        Ok(None)
    }

    /// Makes a lane, which gets its name last, so that nobody sees half of it.
    fn create(&self, identity: &Identity) -> io::Result<(PathBuf, File)> {
        let _lock = self.lock_halves()?;
        let new = self
            .directory
            .join(format!("{UNFINISHED}{}", identity.name()));
        DirBuilder::new().mode(0o750).create(&new)?;
        let directory = self.path_of(identity);
        let made = fill(&new, identity).and_then(|lock| {
            fs::rename(&new, &directory)?;
            Ok(lock)
        });
        if made.is_err() {
            // A full disk, mostly. What cannot be removed is, when the next logpub starts.
            let _ = fs::remove_dir_all(&new);
        }
        Ok((directory, made?))
    }

    /// The right to publish a lane; none if another process has it, or the lane is gone.
    ///
    /// # Errors
    /// The lane cannot be read.
    pub(crate) fn reader(&self, identity: &Identity) -> io::Result<Option<LaneReader>> {
        self.reader_of(&self.path_of(identity))
    }

    /// The right to publish the lane in a directory, likewise.
    ///
    /// # Errors
    /// The lane cannot be read, or is another group's.
    pub(crate) fn reader_of(&self, directory: &Path) -> io::Result<Option<LaneReader>> {
        let (identity, _) = self.open_lane(directory)?;
        let path = directory.join(ACKNOWLEDGED);
        let file = File::options().read(true).write(true).open(&path)?;
        lock(file, &path)?
            .map(|locked| LaneReader::new(directory, identity, locked))
            .transpose()
    }

    /// Looks whether a lane that has nothing to publish is over, and removes it then.
    ///
    /// # Errors
    /// It cannot be removed, or not written.
    pub(crate) fn settle(&self, reader: &LaneReader) -> io::Result<Settled> {
        let directory = self.path_of(reader.identity());
        if self.is_waited_for(&directory)? == Some(true) {
            return Ok(Settled::Kept);
        }
        let path = directory.join(LANE);
        // Whoever holds it is going to write.
        let Some(lock) = lock(File::open(&path)?, &path)? else {
            return Ok(Settled::Kept);
        };
        let mut writer = LaneWriter::new(&directory, lock)?;
        let ended_line = writer.in_line();
        let unfinished = ended_line || writer.gap().is_some();
        if unfinished && self.may_go_on(reader.identity(), &directory)? {
            return Ok(Settled::Kept);
        }
        writer.end_line()?;
        writer.end_gap()?;
        if unfinished || writer.end() > writer.acknowledged()? {
            return Ok(Settled::More { ended_line });
        }
        self.remove(&directory)?;
        Ok(Settled::Removed)
    }

    /// Removes the own lane, which is over.
    ///
    /// # Errors
    /// As unlink(2).
    pub(crate) fn remove_own(&self, reader: &LaneReader, _: &LaneWriter) -> io::Result<()> {
        self.remove(&self.path_of(reader.identity()))
    }

    /// Removes a lane of which the caller holds both locks: first its name, so that nobody sees half
    /// of it.
    fn remove(&self, directory: &Path) -> io::Result<()> {
        let _lock = self.lock_halves()?;
        let name = directory.file_name().unwrap_or_default();
        let mut old = std::ffi::OsString::from(UNFINISHED);
        old.push(name);
        let old = self.directory.join(old);
        fs::rename(directory, &old)?;
        fs::remove_dir_all(old)
    }

    /// Held, together with others, while there is half of a lane that somebody is at work on.
    fn lock_halves(&self) -> io::Result<File> {
        let directory = File::open(&self.directory)?;
        directory.lock_shared()?;
        Ok(directory)
    }

    /// Removes what processes have left that were killed while they made or removed a lane. What
    /// cannot be removed does no harm.
    fn tidy(&self) -> io::Result<()> {
        // Where somebody is at work, nobody can tell what was left; the next logpub looks again.
        let Some(_lock) = lock(File::open(&self.directory)?, &self.directory)? else {
            return Ok(());
        };
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let unfinished = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED));
            if unfinished.is_some_and(identity::is_name) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    /// Whether the rest of an unfinished line may still come, from the same pipe; from the first
    /// such question on it has its time.
    fn may_go_on(&self, identity: &Identity, directory: &Path) -> io::Result<bool> {
        if identity.origin.boot != self.boot || identity.origin.input.is_empty() {
            return Ok(false);
        }
        if let Some(waits) = self.is_waited_for(directory)? {
            return Ok(waits);
        }
        // Without room for a note the time begins later.
        let _ = fs::write(directory.join(IDLE), format!("{}\n", uptime()?));
        Ok(true)
    }

    /// Whether an unfinished line still has time; none if nobody has asked yet.
    fn is_waited_for(&self, directory: &Path) -> io::Result<Option<bool>> {
        let since = fs::read_to_string(directory.join(IDLE)).ok();
        let since: Option<i64> = since.and_then(|text| text.trim().parse().ok());
        let now = uptime()?;
        Ok(since.map(|since| now < since + REST_PATIENCE.as_secs() as i64))
    }

    /// The directory of a lane.
    pub(crate) fn path_of(&self, identity: &Identity) -> PathBuf {
        self.directory.join(identity.name())
    }

    /// The directories that may be lanes, of any group, in order of their names.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub(crate) fn lanes(&self) -> io::Result<Vec<PathBuf>> {
        let mut lanes = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(identity::is_name) {
                lanes.push(entry.path());
            }
        }
        lanes.sort();
        Ok(lanes)
    }

    /// Opens the identity of a lane of this group.
    fn open_lane(&self, directory: &Path) -> io::Result<(Identity, File)> {
        let file = File::open(directory.join(LANE))?;
        let identity = Identity::load(&file)?;
        let name = directory.file_name().and_then(|name| name.to_str());
        if identity.group != self.group || name != Some(&identity.name()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok((identity, file))
    }
}

fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory)
}

/// Makes the files of a lane; gives the locked one.
fn fill(directory: &Path, identity: &Identity) -> io::Result<File> {
    let mut options = File::options();
    let options = options.write(true).create_new(true).mode(0o640);
    let mut acknowledged = options.open(directory.join(ACKNOWLEDGED))?;
    acknowledged.write_all(&reader::text(0))?;
    Gaps::create(options.open(directory.join(GAPS))?)?;
    let mut file = options.open(directory.join(LANE))?;
    file.write_all(&identity.encode())?;
    file.lock()?;
    Ok(file)
}

/// Seconds since the machine was started.
fn uptime() -> io::Result<i64> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split('.').next().and_then(|word| word.parse().ok());
    seconds.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/uptime: no number"))
}

/// Locks a file; none if another process has it, or if it is not the file of this name any more.
fn lock(file: File, path: &Path) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Its last owner may have removed it between our open and our lock.
    let opened = file.metadata()?;
    let same = fs::metadata(path)
        .is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino()));
    Ok(same.then_some(file))
}
