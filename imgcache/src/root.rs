//! The directory below which everything is stored, and the files in it.
//!
//! A file is the body and nothing else, its metadata is in an attribute, or in a sidecar where the
//! file system refuses that. No name is followed out of the root: everything is opened beneath a
//! descriptor of it, without symbolic links. Any thread may use it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use imgcache::meta::{ATTRIBUTE, Body, META_MAX, Meta};
use imgcache::names;
use rustix::fs::{Advice, AtFlags, FlockOperation, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

const LOCK: &str = "#lock";
const ERA: &str = "#era";
const USED: &str = "#used";
const TEMPORARY: &str = "#tmp.";

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// The root.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
    path: PathBuf,
    /// Held as long as the program runs: one cache per root.
    lock: File,
    era: u64,
    /// Numbers temporary files.
    count: AtomicU64,
    /// Whether there are sidecars, as far as is known; one that is left over is swept.
    has_sidecars: AtomicBool,
}

/// A complete object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) file: File,
    /// Relative to the root.
    pub(crate) path: String,
    pub(crate) meta: Meta,
    /// Changes whenever anything about the file does: its name, its links, its attributes.
    ctime: (i64, i64),
}

/// What is under a name.
#[derive(Debug)]
pub(crate) enum Found {
    Absent,
    /// Something that the cache has not written so.
    Foreign,
    Object(Box<Object>),
}

impl Root {
    /// Takes possession of a root: makes it if needed, and deletes what a former run left
    /// unfinished. Gives the bytes in use after the former run; none if nobody knows.
    ///
    /// # Errors
    /// It cannot be made or written, or another cache has it.
    pub(crate) fn open(path: &Path) -> io::Result<(Root, Option<u64>)> {
        fs::create_dir_all(path)?;
        let path = &path.canonicalize()?;
        let directory = OwnedFd::from(File::open(path)?);
        let lock = File::options()
            .create(true)
            .append(true)
            .open(path.join(LOCK))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another cache uses this directory"))?;
        let mut empty = true;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_file(entry.path())?;
            }
            empty &= name.to_string_lossy().starts_with('#');
        }
        let number = |name| {
            let text = fs::read_to_string(path.join(name)).ok()?;
            text.trim().parse::<u64>().ok()
        };
        // The file of the usage is there only after an orderly stop.
        let (era, used) = (number(ERA).unwrap_or(0), number(USED));
        let era = if used.is_some() { era } else { era + 1 };
        note_era(path, &directory, era)?;
        let _ = fs::remove_file(path.join(USED)); // absent after an unclean stop
        let root = Root {
            directory,
            path: path.to_owned(),
            lock,
            era,
            count: AtomicU64::new(0),
            has_sidecars: AtomicBool::new(false),
        };
        Ok((root, used.or(empty.then_some(0))))
    }

    /// Notes for the next run that all is in order.
    ///
    /// # Errors
    /// The file system refuses it; the next run will then check what it finds.
    pub(crate) fn close(&self, used: u64) -> io::Result<()> {
        fs::write(self.path.join(USED), format!("{used}\n"))?;
        rustix::fs::syncfs(&self.directory)?;
        self.lock.sync_all()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The run, as bodies that it wrote or checked carry it.
    pub(crate) fn era(&self) -> u64 {
        self.era
    }

    /// Sidecars are about, so they must be looked for.
    pub(crate) fn expect_sidecars(&self) {
        self.has_sidecars.store(true, Ordering::Relaxed);
    }

    fn open_beneath(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve)
    }

    /// Looks at what is under the name of an object of this URL.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub(crate) fn find(&self, path: &str, url: &str) -> io::Result<Found> {
        let file = match self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Found::Absent),
            Err(Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::ACCESS) => {
                return Ok(Found::Foreign);
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        let Some(mut meta) = self.read_meta(path, &file)? else {
            return Ok(Found::Foreign);
        };
        if !metadata.is_file() || meta.body != body(&metadata) || meta.url != url {
            return Ok(Found::Foreign);
        }
        if meta.era != self.era {
            // After an unclean stop a file may have its length and not its bytes.
            if checksum(&file)? != meta.sha256 {
                return Ok(Found::Foreign);
            }
            meta.era = self.era;
            self.write_meta(path, &file, &meta)?;
        }
        // What a loop is to send is read by other threads first: the kernel is not to begin with more
        // of it, for which the loop would wait. Where it does not listen, that may be.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Random);
        let object = Object::new(file, path, meta)?;
        Ok(Found::Object(Box::new(object)))
    }

    /// The metadata of a file, if the cache has written it, whether or not it is still so.
    pub(crate) fn meta_of(&self, path: &str) -> Option<Meta> {
        let file = self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK);
        self.read_meta(path, &File::from(file.ok()?)).ok()?
    }

    fn read_meta(&self, path: &str, file: &File) -> io::Result<Option<Meta>> {
        let mut text = vec![0; META_MAX];
        match rustix::fs::fgetxattr(file, ATTRIBUTE, text.as_mut_slice()) {
            Ok(length) => return Ok(Meta::read(&text[..length])),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => {}
            Err(error) => return Err(error.into()),
        }
        let name = names::sidecar_of(path);
        let Ok(sidecar) = self.open_beneath(&name, OFlags::RDONLY | OFlags::NONBLOCK) else {
            return Ok(None);
        };
        text.clear();
        File::from(sidecar)
            .take(META_MAX as u64)
            .read_to_end(&mut text)?;
        Ok(Meta::read(&text))
    }

    /// Writes the metadata of a body that is, or will be, under this name, in a directory that is
    /// there; whether in a sidecar.
    pub(crate) fn write_meta(&self, path: &str, file: &File, meta: &Meta) -> io::Result<bool> {
        let text = meta.write();
        let (directory, leaf) = path.rsplit_once('/').unwrap_or((".", path));
        let parent = || self.open_beneath(directory, OFlags::PATH | OFlags::DIRECTORY);
        let sidecar = names::sidecar_of(leaf);
        match rustix::fs::fsetxattr(file, ATTRIBUTE, &text, XattrFlags::empty()) {
            Ok(()) => {
                if self.has_sidecars.load(Ordering::Relaxed) {
                    // One of an earlier body: it would not match this one, but is of no use.
                    let _ = rustix::fs::unlinkat(parent()?, &sidecar, AtFlags::empty());
                }
                return Ok(false);
            }
            Err(Errno::NOTSUP | Errno::NOSPC | Errno::TOOBIG | Errno::RANGE | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        self.expect_sidecars();
        // Not both: an older attribute would win.
        let _ = rustix::fs::fremovexattr(file, ATTRIBUTE);
        let (name, mut temporary) = self.temporary()?;
        let written = temporary.write_all(&text);
        let moved = written.and_then(|()| {
            Ok(rustix::fs::renameat(
                &self.directory,
                &name,
                parent()?,
                &sidecar,
            )?)
        });
        if moved.is_err() {
            self.remove_temporary(&name);
        }
        moved.map(|()| true)
    }

    /// Makes the directories above a path that are missing; gives them, the uppermost first.
    pub(crate) fn make_parents(&self, path: &str) -> io::Result<Vec<String>> {
        let Some((directory, _)) = path.rsplit_once('/') else {
            return Ok(Vec::new());
        };
        match self.open_beneath(directory, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => return Ok(Vec::new()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // Bound: a path has at most 65 components.
        let mut made = self.make_parents(directory)?;
        let (above, name) = directory.rsplit_once('/').unwrap_or((".", directory));
        let above = self.open_beneath(above, OFlags::PATH | OFlags::DIRECTORY)?;
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => made.push(directory.to_owned()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(made)
    }

    /// Bytes of a directory's blocks.
    pub(crate) fn directory_bytes(&self, path: &str) -> io::Result<u64> {
        let directory = self.open_beneath(path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(rustix::fs::fstat(&directory)?.st_blocks as u64 * 512)
    }

    /// A new file at the top, to be renamed into place when it is complete.
    pub(crate) fn temporary(&self) -> io::Result<(String, File)> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TEMPORARY}{number}");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(&self.directory, &name, flags, mode)?;
        Ok((name, file.into()))
    }

    /// A new file that has no name: it is gone when it is closed.
    pub(crate) fn nameless(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, ".", flags, Mode::RUSR)?.into())
    }

    /// Puts a temporary file into its place.
    pub(crate) fn place(&self, name: &str, path: &str) -> io::Result<()> {
        let (directory, leaf) = path.rsplit_once('/').unwrap_or((".", path));
        let parent = self.open_beneath(directory, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(rustix::fs::renameat(&self.directory, name, parent, leaf)?)
    }

    /// Deletes a temporary file; if it stays, the next start deletes it.
    pub(crate) fn remove_temporary(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
    }

    /// Deletes an object; whether there was one.
    pub(crate) fn remove(&self, path: &str) -> bool {
        self.remover(0).remove(path)
    }

    /// To delete many objects, of which up to `room` are held.
    pub(crate) fn remover(&self, room: usize) -> Remover<'_> {
        Remover {
            root: self,
            directory: None,
            room,
            held: Vec::new(),
        }
    }

    /// Deletes a directory if it is empty; whether it was.
    pub(crate) fn remove_directory(&self, path: &str) -> bool {
        let Some((above, name)) = path.rsplit_once('/') else {
            return false;
        };
        self.open_beneath(above, OFlags::PATH | OFlags::DIRECTORY)
            .and_then(|parent| rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR))
            .is_ok()
    }

    /// The names in a directory; none of one that is not there.
    pub(crate) fn names_in(&self, directory: &str) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let entries = self
            .open_beneath(directory, flags)
            .and_then(rustix::fs::Dir::new);
        let names = entries.into_iter().flatten().filter_map(Result::ok);
        names
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
            .collect()
    }

    /// Whether this object is what its name leads to.
    pub(crate) fn is_named(&self, object: &Object) -> bool {
        let stat = self
            .open_beneath(&object.path, OFlags::PATH)
            .and_then(rustix::fs::fstat);
        stat.is_ok_and(|stat| stat.st_ino == object.meta.body.inode)
    }

    /// Whether there is a file of this name.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.open_beneath(path, OFlags::PATH).is_ok()
    }
}

/// Deletes objects; those of one directory, one behind the other, with little effort.
#[derive(Debug)]
pub(crate) struct Remover<'a> {
    root: &'a Root,
    /// The directory of the last one, and its path.
    directory: Option<(String, OwnedFd)>,
    room: usize,
    /// Deleted files that are open: to give their blocks back, which is most of the work, is left to
    /// whoever closes them.
    pub(crate) held: Vec<OwnedFd>,
}

impl Remover<'_> {
    /// Deletes an object; whether there was one.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        let (directory, leaf) = path.rsplit_once('/').unwrap_or((".", path));
        if self
            .directory
            .as_ref()
            .is_none_or(|(open, _)| open != directory)
        {
            let opened = self
                .root
                .open_beneath(directory, OFlags::PATH | OFlags::DIRECTORY);
            self.directory = opened.ok().map(|opened| (directory.to_owned(), opened));
        }
        let Some((_, directory)) = &self.directory else {
            return false;
        };
        if self.held.len() < self.room {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(directory, leaf, flags, Mode::empty());
            self.held.extend(opened);
        }
        let removed = rustix::fs::unlinkat(directory, leaf, AtFlags::empty()).is_ok();
        if self.root.has_sidecars.load(Ordering::Relaxed) {
            // There is one only where attributes are refused.
            let _ = rustix::fs::unlinkat(directory, names::sidecar_of(leaf), AtFlags::empty());
        }
        removed
    }
}

impl Object {
    pub(crate) fn new(file: File, path: &str, meta: Meta) -> io::Result<Object> {
        let metadata = file.metadata()?;
        Ok(Object {
            file,
            path: path.to_owned(),
            meta,
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether the file is still as it was when it was opened, under whatever name: it was not
    /// deleted, moved, or written.
    pub(crate) fn is_current(&self) -> io::Result<bool> {
        let stat = rustix::fs::fstat(&self.file)?;
        let ctime = (stat.st_ctime as i64, stat.st_ctime_nsec as i64);
        Ok(stat.st_nlink > 0 && self.ctime == ctime)
    }

    /// Whether to read these bytes may be to wait for the disk. Where the kernel does not tell, it
    /// may always be.
    pub(crate) fn is_cold(&self, bytes: Range<u64>) -> bool {
        !unixproc::disk::is_cached(&self.file, bytes).unwrap_or(false)
    }

    /// Reads these bytes, piece by piece, as far as the file goes; they are in the page cache then.
    ///
    /// # Errors
    /// The disk cannot be read, or `take` fails.
    pub(crate) fn read_through(
        &self,
        bytes: Range<u64>,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES.min((bytes.end - bytes.start) as usize)];
        let mut at = bytes.start;
        while at < bytes.end {
            let count = buffer.len().min((bytes.end - at) as usize);
            match self.file.read_at(&mut buffer[..count], at)? {
                0 => return Ok(()),
                count => {
                    take(&buffer[..count])?;
                    at += count as u64;
                }
            }
        }
        Ok(())
    }
}

/// Has the number of a run on disk before anything carries it, and never half of it: no number is to
/// come twice, also after a power failure.
fn note_era(path: &Path, directory: &OwnedFd, era: u64) -> io::Result<()> {
    let new = path.join(format!("{TEMPORARY}era"));
    let mut file = File::create(&new)?;
    file.write_all(format!("{era}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path.join(ERA))?;
    Ok(rustix::fs::fsync(directory)?)
}

/// The identity of a file's bytes.
pub(crate) fn body(metadata: &fs::Metadata) -> Body {
    Body {
        inode: metadata.ino(),
        size: metadata.len(),
        mtime: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
    }
}

fn checksum(file: &File) -> io::Result<String> {
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return Ok(names::hex(hash.finish().as_ref())),
            count => {
                hash.update(&buffer[..count]);
                at += count as u64;
            }
        }
    }
}
