//! Objects deleted, one by one, or to make room. The lock is not held while the disk works.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use crate::cache::Cache;

/// Bound: deleted files that are still open.
const DELETED_MAX: usize = 8192;

/// So many files are deleted without more ado.
const FEW: usize = 64;

/// Deleted files that are taken note of in one go.
const NOTED_AT_ONCE: usize = 64;

impl Cache {
    /// Does not keep an object open any more.
    pub(crate) fn close(&self, file: &str) {
        let closed = self.lock().forget(file);
        // The last descriptor of a deleted file frees its blocks, and nobody is to wait for that.
        drop(closed);
    }

    /// Deletes an object; whether there was one. Takes the disk's time.
    pub(crate) fn remove(&self, file: &str) -> bool {
        let removed = self.root.remove(file);
        self.note_removed(&[file]);
        removed
    }

    /// Files have been deleted. One that has been stored again meanwhile stays as it is.
    pub(crate) fn note_removed(&self, files: &[&str]) {
        for some in files.chunks(NOTED_AT_ONCE) {
            let mut inner = self.lock();
            let mut closed = Vec::new();
            for file in some {
                closed.extend(inner.forget(file));
                if !self.root.exists(file) {
                    inner.store.space.remove(file);
                }
            }
            drop(inner);
            drop(closed);
        }
    }

    fn deleted(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of so many files may be kept open when they are deleted.
    pub(crate) fn room_for_deleted(&self, count: usize) -> usize {
        match count > FEW {
            true => DELETED_MAX.saturating_sub(self.deleted().len()),
            false => 0,
        }
    }

    /// Keeps deleted files open until somebody has time for them.
    pub(crate) fn keep_deleted(&self, files: Vec<OwnedFd>) {
        self.deleted().extend(files);
    }

    /// Whether deleted files are still open.
    pub(crate) fn has_deleted(&self) -> bool {
        !self.deleted().is_empty()
    }

    /// Gives the blocks of deleted files back. Takes the disk's time.
    pub(crate) fn close_deleted(&self) {
        let files = std::mem::take(&mut *self.deleted());
        drop(files);
    }

    /// Deletes a directory if it is empty; those above it too. Takes the disk's time.
    pub(crate) fn remove_empty(&self, mut directory: &str) {
        while self.root.remove_directory(directory) {
            self.lock().store.space.remove(directory);
            directory = directory.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }

    /// Whether objects should be deleted to keep some room free, and nobody does so: then the
    /// caller has it done.
    pub(crate) fn wants_eviction(&self) -> bool {
        self.lock().store.space.is_tight() && !self.evicting.swap(true, Ordering::Relaxed)
    }

    /// Deletes what was not used for long until some room is free. Takes the disk's time.
    pub(crate) fn evict(&self) {
        loop {
            let mut inner = self.lock();
            let tight = inner.store.space.is_tight();
            let Some(victim) = inner.store.space.victim().filter(|_| tight) else {
                break;
            };
            drop(inner);
            let removed = self.root.remove(&victim);
            self.note_removed(&[&victim]);
            self.lock().store.count_eviction(&victim, removed);
            if let Some((directory, _)) = victim.rsplit_once('/') {
                self.remove_empty(directory);
            }
        }
        self.give_up_eviction();
    }

    /// Nobody makes room now.
    pub(crate) fn give_up_eviction(&self) {
        self.evicting.store(false, Ordering::Relaxed);
    }
}
