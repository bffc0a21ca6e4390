//! Bodies on disk: a file is the body and nothing else, its metadata is in an attribute, or in a
//! sidecar where the file system refuses that.
//!
//! A body is written into a temporary file at the top of the root and renamed into place when it
//! is complete, so a file with an object's name is never half an object. No name is followed out
//! of the root: everything is opened beneath a descriptor of it, without symbolic links.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use imgcache::meta::{ATTRIBUTE, Body, META_MAX, Meta};
use imgcache::names;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use crate::space::{OVERHEAD, Space};

const LOCK: &str = "#lock";
const ERA: &str = "#era";
const USED: &str = "#used";
const TEMPORARY: &str = "#tmp.";

/// Space is reserved in such steps where the length of a body is not known.
const STEP: u64 = 1 << 20;

/// Bytes that are read at a time to check a body.
const CHECK_BYTES: usize = 256 << 10;

/// The root, and what is below it.
#[derive(Debug)]
pub(crate) struct Store {
    root: OwnedFd,
    path: PathBuf,
    /// Held as long as the program runs: one cache per root.
    lock: File,
    era: u64,
    /// Numbers temporary files.
    count: u64,
    /// Whether there are sidecars, as far as is known; one that is left over is swept.
    pub(crate) has_sidecars: bool,
    pub(crate) space: Space,
    pub(crate) evictions: u64,
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

/// A body that is being written.
pub(crate) struct Draft {
    pub(crate) file: File,
    name: String,
    reserved: u64,
    pub(crate) length: u64,
    hash: Context,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("name", &self.name)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Takes possession of a root: makes it if needed, and deletes what a former run left unfinished.
    ///
    /// # Errors
    /// It cannot be made or written, or another cache has it.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Store> {
        fs::create_dir_all(path)?;
        let root = OwnedFd::from(File::open(path)?);
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
            fs::read_to_string(path.join(name))
                .ok()?
                .trim()
                .parse::<u64>()
                .ok()
        };
        // The file of the usage is there only after an orderly stop.
        let (era, used) = (number(ERA).unwrap_or(0), number(USED));
        let era = if used.is_some() { era } else { era + 1 };
        let unseen = used.unwrap_or(if empty { 0 } else { limit });
        fs::write(path.join(ERA), format!("{era}\n"))?;
        let _ = fs::remove_file(path.join(USED)); // absent after an unclean stop
        let path = path.to_owned();
        Ok(Store {
            root,
            path,
            lock,
            era,
            count: 0,
            has_sidecars: false,
            space: Space::new(limit, unseen),
            evictions: 0,
        })
    }

    /// Notes for the next run that all is in order.
    ///
    /// # Errors
    /// The file system refuses it; the next run will then check what it finds.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        fs::write(self.path.join(USED), format!("{}\n", self.space.used()))?;
        rustix::fs::syncfs(&self.root)?;
        self.lock.sync_all()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn open_beneath(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    }

    /// Looks at what is under the name of an object of this URL.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub(crate) fn find(&mut self, path: &str, url: &str) -> io::Result<Found> {
        let file = match self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.space.remove(path);
                return Ok(Found::Absent);
            }
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
        let object = Object::new(file, path, meta)?;
        Ok(Found::Object(Box::new(object)))
    }

    fn read_meta(&self, path: &str, file: &File) -> io::Result<Option<Meta>> {
        let mut text = vec![0; META_MAX];
        match rustix::fs::fgetxattr(file, ATTRIBUTE, text.as_mut_slice()) {
            Ok(length) => return Ok(Meta::read(&text[..length])),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => {}
            Err(error) => return Err(error.into()),
        }
        let Ok(sidecar) =
            self.open_beneath(&names::sidecar_of(path), OFlags::RDONLY | OFlags::NONBLOCK)
        else {
            return Ok(None);
        };
        text.clear();
        File::from(sidecar)
            .take(META_MAX as u64)
            .read_to_end(&mut text)?;
        Ok(Meta::read(&text))
    }

    /// Writes the metadata of a body that is, or will be, under this name.
    fn write_meta(&mut self, path: &str, file: &File, meta: &Meta) -> io::Result<()> {
        let text = meta.write();
        let (parent, leaf) = self.parent(path)?;
        let sidecar = names::sidecar_of(leaf);
        match rustix::fs::fsetxattr(file, ATTRIBUTE, &text, XattrFlags::empty()) {
            Ok(()) => {
                if !self.has_sidecars {
                    return Ok(());
                }
                // One of an earlier body: it would not match this one, but is of no use.
                let _ = rustix::fs::unlinkat(&parent, &sidecar, AtFlags::empty());
                return Ok(());
            }
            Err(Errno::NOTSUP | Errno::NOSPC | Errno::TOOBIG | Errno::RANGE | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        self.has_sidecars = true;
        // Not both: an older attribute would win.
        let _ = rustix::fs::fremovexattr(file, ATTRIBUTE);
        let (name, mut temporary) = self.temporary()?;
        temporary.write_all(&text)?;
        rustix::fs::renameat(&self.root, &name, &parent, &sidecar)?;
        Ok(())
    }

    /// The directory of a path, made if needed, and the name in it.
    fn parent<'a>(&mut self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let Some((directory, leaf)) = path.rsplit_once('/') else {
            return Ok((self.open_beneath(".", flags)?, path));
        };
        match self.open_beneath(directory, flags) {
            Ok(parent) => return Ok((parent, leaf)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // Bound: a path has at most 65 components.
        let (above, name) = self.parent(directory)?;
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok((self.open_beneath(directory, flags)?, leaf))
    }

    fn temporary(&mut self) -> io::Result<(String, File)> {
        self.count += 1;
        let name = format!("{TEMPORARY}{}", self.count);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.root, &name, flags, Mode::from_raw_mode(0o644))?;
        Ok((name, file.into()))
    }

    /// Begins a body of this length, if it is known. None if there is no room for it.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub(crate) fn create(&mut self, length: Option<u64>) -> io::Result<Option<Draft>> {
        let reserved = length
            .unwrap_or(STEP)
            .next_multiple_of(4096)
            .saturating_add(OVERHEAD);
        if !self.reserve(reserved) {
            return Ok(None);
        }
        match self.temporary() {
            Ok((name, file)) => Ok(Some(Draft {
                file,
                name,
                reserved,
                length: 0,
                hash: Context::new(&SHA256),
            })),
            Err(error) => {
                self.space.release(reserved);
                Err(error)
            }
        }
    }

    /// Appends to a body.
    ///
    /// # Errors
    /// There is no room, or the disk cannot be written; what was written before can be read.
    pub(crate) fn append(&mut self, draft: &mut Draft, bytes: &[u8]) -> io::Result<()> {
        let length = draft.length + bytes.len() as u64;
        if length.saturating_add(OVERHEAD) > draft.reserved {
            if !self.reserve(STEP) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            draft.reserved += STEP;
        }
        draft.file.write_all_at(bytes, draft.length)?;
        draft.hash.update(bytes);
        draft.length = length;
        Ok(())
    }

    /// Gives a complete body its name. `meta` lacks what the body itself says.
    ///
    /// # Errors
    /// The disk refuses it; nothing is left.
    pub(crate) fn commit(
        &mut self,
        draft: Draft,
        path: &str,
        mut meta: Meta,
    ) -> io::Result<Object> {
        let Draft {
            file,
            name,
            reserved,
            hash,
            ..
        } = draft;
        self.space.release(reserved);
        meta.era = self.era;
        meta.sha256 = names::hex(hash.finish().as_ref());
        let mut rename = || -> io::Result<()> {
            meta.body = body(&file.metadata()?);
            self.write_meta(path, &file, &meta)?;
            let (parent, leaf) = self.parent(path)?;
            rustix::fs::renameat(&self.root, &name, &parent, leaf)?;
            let directory = path
                .rsplit_once('/')
                .map_or(".", |(directory, _)| directory);
            let blocks = rustix::fs::fstat(&parent)?.st_blocks as u64;
            self.space.set(directory, blocks * 512, true);
            Ok(())
        };
        if let Err(error) = rename() {
            let _ = rustix::fs::unlinkat(&self.root, &name, AtFlags::empty());
            return Err(error);
        }
        self.space.set(path, file.metadata()?.blocks() * 512, false);
        Object::new(file, path, meta)
    }

    /// Drops a body that is not complete, or not wanted.
    pub(crate) fn discard(&mut self, draft: Draft) {
        self.space.release(draft.reserved);
        // If it stays, the next start deletes it.
        let _ = rustix::fs::unlinkat(&self.root, &draft.name, AtFlags::empty());
    }

    /// Replaces the metadata of an object.
    ///
    /// # Errors
    /// The disk refuses it, or the file has changed meanwhile.
    pub(crate) fn refresh(&mut self, object: &Object, meta: Meta) -> io::Result<Object> {
        if !object.is_current()? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = object.file.try_clone()?;
        self.write_meta(&object.path, &file, &meta)?;
        Object::new(file, &object.path, meta)
    }

    /// Deletes an object; whether there was one.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        self.space.remove(path);
        let (directory, leaf) = path.rsplit_once('/').unwrap_or((".", path));
        let Ok(parent) = self.open_beneath(directory, OFlags::PATH | OFlags::DIRECTORY) else {
            return false;
        };
        let removed = rustix::fs::unlinkat(&parent, leaf, AtFlags::empty()).is_ok();
        if self.has_sidecars {
            // There is one only where attributes are refused.
            let _ = rustix::fs::unlinkat(&parent, names::sidecar_of(leaf), AtFlags::empty());
        }
        removed
    }

    /// Deletes a directory if it is empty; those above it too.
    pub(crate) fn remove_empty(&mut self, mut directory: &str) {
        while let Some((above, name)) = directory.rsplit_once('/') {
            let Ok(parent) = self.open_beneath(above, OFlags::PATH | OFlags::DIRECTORY) else {
                return;
            };
            if rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
            self.space.remove(directory);
            directory = above;
        }
    }

    /// Whether there is a file of this name.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.open_beneath(path, OFlags::PATH).is_ok()
    }

    /// Reserves bytes, deleting what was not used for long.
    fn reserve(&mut self, bytes: u64) -> bool {
        while !self.space.reserve(bytes) {
            let Some(victim) = self.space.victim() else {
                return false;
            };
            self.evictions += u64::from(self.remove(&victim));
            if let Some((directory, _)) = victim.rsplit_once('/') {
                self.remove_empty(directory);
            }
        }
        true
    }
}

impl Object {
    fn new(file: File, path: &str, meta: Meta) -> io::Result<Object> {
        let metadata = file.metadata()?;
        let ctime = (metadata.ctime(), metadata.ctime_nsec());
        Ok(Object {
            file,
            path: path.to_owned(),
            meta,
            ctime,
        })
    }

    /// Whether both are the same file in the same state.
    pub(crate) fn is_same(&self, other: &Object) -> bool {
        self.meta.body.inode == other.meta.body.inode && self.ctime == other.ctime
    }

    /// Whether the file is still as it was when it was opened, under whatever name: it was not
    /// deleted, moved, or written.
    pub(crate) fn is_current(&self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        Ok(metadata.nlink() > 0 && self.ctime == (metadata.ctime(), metadata.ctime_nsec()))
    }
}

fn body(metadata: &fs::Metadata) -> Body {
    Body {
        inode: metadata.ino(),
        size: metadata.len(),
        mtime: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
    }
}

fn checksum(file: &File) -> io::Result<String> {
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; CHECK_BYTES];
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

#[cfg(test)]
mod tests {
    use imgcache::freshness::Times;
    use imgcache::http::Headers;

    use super::*;

    const PATH: &str = "h/dir/a.gif";
    const URL: &str = "http://h/dir/a.gif";

    /// A directory that is there as long as the test runs.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Root {
            let path = std::env::temp_dir().join(format!("imgcache-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path); // of a former process with this number
            Root(path)
        }

        fn store(&self) -> Store {
            Store::open(&self.0, 1 << 20).unwrap()
        }

        fn file(&self) -> PathBuf {
            self.0.join(PATH)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0); // nothing that a later run would trip over
        }
    }

    fn meta(padding: usize) -> Meta {
        let mut headers = Headers::new();
        headers.push("X-Padding", vec![b'x'; padding]);
        Meta {
            url: URL.to_owned(),
            status: 200,
            headers,
            times: Times {
                request: 1,
                response: 2,
            },
            rule: 3,
            era: 0,
            generation: 4,
            selecting: String::new(),
            body: Body::default(),
            sha256: String::new(),
        }
    }

    fn put(store: &mut Store, body: &[u8], padding: usize) -> Object {
        let mut draft = store.create(Some(body.len() as u64)).unwrap().unwrap();
        store.append(&mut draft, body).unwrap();
        store.commit(draft, PATH, meta(padding)).unwrap()
    }

    fn word(found: io::Result<Found>) -> &'static str {
        match found.unwrap() {
            Found::Absent => "absent",
            Found::Foreign => "foreign",
            Found::Object(_) => "object",
        }
    }

    #[test]
    fn a_file_is_the_body_and_nothing_else() {
        let root = Root::new("body");
        let mut store = root.store();
        let object = put(&mut store, b"GIF89a", 0);
        assert_eq!(fs::read(root.file()).unwrap(), b"GIF89a");
        assert!(object.is_current().unwrap());
        assert_eq!(word(store.find(PATH, URL)), "object");
        assert_eq!(word(store.find(PATH, "http://h/other.gif")), "foreign");
        fs::remove_file(root.file()).unwrap();
        assert!(!object.is_current().unwrap());
        assert_eq!(word(store.find(PATH, URL)), "absent");
        assert_eq!(store.space.objects(), 0);
    }

    #[test]
    fn what_others_have_written_is_foreign() {
        let root = Root::new("foreign");
        let mut store = root.store();
        put(&mut store, b"one", 0);
        fs::write(root.file(), b"two").unwrap();
        assert_eq!(word(store.find(PATH, URL)), "foreign");
        put(&mut store, b"three", 0);
        assert_eq!(word(store.find(PATH, URL)), "object");
        fs::copy(root.file(), root.0.join("h/dir/b.gif")).unwrap();
        assert_eq!(word(store.find("h/dir/b.gif", URL)), "foreign");
        std::os::unix::fs::symlink(root.file(), root.0.join("h/link.gif")).unwrap();
        assert_eq!(word(store.find("h/link.gif", URL)), "foreign");
        std::os::unix::fs::symlink("/etc", root.0.join("h/etc")).unwrap();
        assert_eq!(word(store.find("h/etc/passwd", URL)), "foreign");
        assert_eq!(word(store.find("../etc/passwd", URL)), "foreign");
        assert_eq!(word(store.find("h/dir", URL)), "foreign");
    }

    #[test]
    fn long_metadata_is_in_a_sidecar() {
        let root = Root::new("sidecar");
        let mut store = root.store();
        // More than any file system takes as one attribute.
        let object = put(&mut store, b"body", 70_000);
        // And more than is read back: then it is a miss, not an error.
        assert_eq!(word(store.find(PATH, URL)), "foreign");
        drop(object);
        put(&mut store, b"body", 0);
        assert_eq!(word(store.find(PATH, URL)), "object");
        assert!(store.remove(PATH));
        assert!(!store.exists("h/dir/a.gif#m"));
        store.remove_empty("h/dir");
        assert!(!store.exists("h/dir"));
    }

    #[test]
    fn after_an_unclean_stop_bodies_are_checked() {
        let root = Root::new("unclean");
        let mut store = root.store();
        let object = put(&mut store, b"body", 0);
        fs::write(root.0.join("#tmp.9"), b"half").unwrap();
        drop(store);
        // A body of the right length and time that lost its bytes, as after a power failure.
        let times =
            fs::FileTimes::new().set_modified(object.file.metadata().unwrap().modified().unwrap());
        let writer = File::options().write(true).open(root.file()).unwrap();
        writer.write_all_at(&[0; 4], 0).unwrap();
        writer.set_times(times).unwrap();
        let mut store = root.store();
        assert!(!store.exists("#tmp.9"));
        assert_eq!(word(store.find(PATH, URL)), "foreign");
        assert!(
            store.create(Some(1)).unwrap().is_none(),
            "nobody knows what is in use"
        );
        store.space.end_count();
        put(&mut store, b"body", 0);
        store.close().unwrap();
        drop(store);
        let mut store = root.store();
        assert_eq!(word(store.find(PATH, URL)), "object");
        assert!(
            Store::open(&root.0, 1 << 20).is_err(),
            "two caches in one directory"
        );
    }

    #[test]
    fn room_is_made_before_it_is_used() {
        let root = Root::new("room");
        let mut store = root.store();
        put(&mut store, &[7; 500_000], 0);
        let draft = store.create(Some(400_000)).unwrap().unwrap();
        assert!(root.file().exists());
        store.discard(draft);
        let draft = store.create(Some(800_000)).unwrap().unwrap();
        assert!(!root.file().exists());
        assert_eq!(store.evictions, 1);
        assert!(
            store.create(Some(800_000)).unwrap().is_none(),
            "reserved is used"
        );
        store.discard(draft);
        assert!(store.create(Some(2 << 20)).unwrap().is_none());
    }
}
