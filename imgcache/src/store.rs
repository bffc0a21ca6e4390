//! What is on disk, within its limit: bodies that are being written, and objects.
//!
//! A body is written into a temporary file at the top of the root and renamed into place when it
//! is complete, so a file with an object's name is never half an object. That takes the disk's time,
//! and does not need the [`Store`], which is shared by turns.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use imgcache::meta::Meta;
use imgcache::names;

use crate::root::{Object, Root, body};
use crate::space::{OVERHEAD, Space};

/// Space is reserved in such steps where the length of a body is not known.
const STEP: u64 = 1 << 20;

/// Bytes of a block, as a sidecar or a new directory takes one.
const BLOCK: u64 = 4096;

/// The root, and how much of it is used.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) root: Arc<Root>,
    pub(crate) space: Space,
    /// Objects deleted to make room, by site.
    pub(crate) evictions: BTreeMap<String, u64>,
}

/// A body that is being written. Only reserving space for it needs the [`Store`].
pub(crate) struct Draft {
    pub(crate) file: File,
    name: String,
    reserved: u64,
    pub(crate) length: u64,
    hash: Context,
}

/// What a body takes that has been given its name.
#[derive(Debug)]
pub(crate) struct Placed {
    path: String,
    /// Bytes of its blocks.
    bytes: u64,
    /// Directories that are new, or may have grown, and their bytes.
    directories: BTreeMap<String, u64>,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("name", &self.name)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Draft {
    /// Whether more space must be reserved before so many bytes are appended.
    pub(crate) fn is_short_of(&self, bytes: usize) -> bool {
        (self.length + bytes as u64).saturating_add(OVERHEAD) > self.reserved
    }

    /// Appends to the body.
    ///
    /// # Errors
    /// The disk cannot be written; what was written before can be read.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives a complete body its name. `meta` lacks what the body itself says. Takes the disk's
    /// time.
    ///
    /// # Errors
    /// The disk refuses it; the body is still a draft.
    pub(crate) fn place(&mut self, root: &Root, path: &str, mut meta: Meta) -> io::Result<Placed> {
        meta.era = root.era();
        meta.sha256 = names::hex(self.hash.clone().finish().as_ref());
        meta.body = body(&self.file.metadata()?);
        let mut directories = BTreeMap::new();
        let mut attempts = 0;
        let sidecar = loop {
            let made = root.make_parents(path)?;
            directories.extend(made.into_iter().map(|directory| (directory, BLOCK)));
            match self.link(root, path, &meta) {
                // An empty directory was deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < 3 => {
                    attempts += 1
                }
                linked => break linked?,
            }
        };
        if let Some((directory, _)) = path.rsplit_once('/')
            && let Ok(bytes) = root.directory_bytes(directory)
        {
            directories.insert(directory.to_owned(), bytes);
        }
        let blocks = self.file.metadata()?.blocks() * 512;
        Ok(Placed {
            path: path.to_owned(),
            bytes: blocks + if sidecar { BLOCK } else { 0 },
            directories,
        })
    }

    /// Whether there is a sidecar.
    fn link(&self, root: &Root, path: &str, meta: &Meta) -> io::Result<bool> {
        let sidecar = root.write_meta(path, &self.file, meta)?;
        root.place(&self.name, path)?;
        Ok(sidecar)
    }
}

impl Store {
    /// Takes possession of a root, see [`Root::open`].
    ///
    /// # Errors
    /// It cannot be made or written, or another cache has it.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Store> {
        let (root, used) = Root::open(path)?;
        Ok(Store {
            root: Arc::new(root),
            // If nobody knows what is there, nothing is stored until it has been counted.
            space: Space::new(limit, used.unwrap_or(limit)),
            evictions: BTreeMap::new(),
        })
    }

    /// Notes for the next run that all is in order.
    ///
    /// # Errors
    /// The file system refuses it; the next run will then check what it finds.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.root.close(self.space.used())
    }

    /// Begins a body of this length, if it is known. None if there is no room for it.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub(crate) fn create(&mut self, length: Option<u64>) -> io::Result<Option<Draft>> {
        let reserved = length
            .unwrap_or(STEP)
            .next_multiple_of(BLOCK)
            .saturating_add(OVERHEAD);
        if !self.reserve(reserved) {
            return Ok(None);
        }
        match self.root.temporary() {
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

    /// Reserves more for a body; whether there was room.
    pub(crate) fn extend(&mut self, draft: &mut Draft) -> bool {
        let granted = self.reserve(STEP);
        draft.reserved += if granted { STEP } else { 0 };
        granted
    }

    /// Takes note of a body that has been given its name. It may have lost it again.
    pub(crate) fn account(&mut self, draft: Draft, placed: Placed) {
        self.space.release(draft.reserved);
        for (directory, bytes) in placed.directories {
            self.space.set(&directory, bytes, true);
        }
        if draft
            .file
            .metadata()
            .is_ok_and(|metadata| metadata.nlink() > 0)
        {
            self.space.set(&placed.path, placed.bytes, false);
        }
    }

    /// Drops a body that is not complete, or not wanted.
    pub(crate) fn discard(&mut self, draft: Draft) {
        self.space.release(draft.reserved);
        self.root.remove_temporary(&draft.name);
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
        self.root.write_meta(&object.path, &file, &meta)?;
        Object::new(file, &object.path, meta)
    }

    /// Deletes an object; whether there was one.
    fn remove(&mut self, path: &str) -> bool {
        self.space.remove(path);
        self.root.remove(path)
    }

    /// Deletes a directory if it is empty; those above it too.
    fn remove_empty(&mut self, mut directory: &str) {
        while self.root.remove_directory(directory) {
            self.space.remove(directory);
            directory = directory.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }

    /// Takes note of an object that was deleted to make room, if it was there.
    pub(crate) fn count_eviction(&mut self, victim: &str, removed: bool) {
        if removed {
            let site = victim.split('/').next().unwrap_or_default();
            *self.evictions.entry(site.to_owned()).or_default() += 1;
        }
    }

    /// Reserves bytes, deleting what was not used for long: where more comes at once than is kept
    /// free, see [`Space::is_tight`].
    fn reserve(&mut self, bytes: u64) -> bool {
        while !self.space.reserve(bytes) {
            let Some(victim) = self.space.victim() else {
                return false;
            };
            let removed = self.remove(&victim);
            self.count_eviction(&victim, removed);
            if let Some((directory, _)) = victim.rsplit_once('/') {
                self.remove_empty(directory);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
