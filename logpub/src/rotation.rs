//! What became of a log file whose name another one has now: rotated files, by the order in which
//! they were written.
//!
//! Rotation gives a file a name in the same directory that begins with its old one. A rotated file
//! was written to last before the files that came after it were, so their times tell the order.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::position::FileId;

/// Ends of names that are not logs, or not as they were written.
const OTHERS: [&str; 6] = [".gz", ".bz2", ".xz", ".zst", ".logpub", ".new"];

/// A file that has the name, or a name that begins so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rotated {
    pub(crate) path: PathBuf,
    pub(crate) id: FileId,
    /// When it was written to last.
    pub(crate) written: SystemTime,
}

/// The files that have the name or were rotated away from it, the one with the name last, the
/// others by the time when they were written to last.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn files(path: &Path) -> io::Result<Vec<Rotated>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let other = entry.file_name();
        let other = other.as_encoded_bytes();
        let rotated = other.starts_with(name.as_encoded_bytes())
            && !OTHERS.iter().any(|end| other.ends_with(end.as_bytes()));
        // One that is renamed at this moment is found the next time.
        if let Ok(metadata) = fs::metadata(entry.path())
            && rotated
            && metadata.is_file()
        {
            files.push(rotated_file(entry.path(), &metadata)?);
        }
    }
    let current = |file: &Rotated| file.path.file_name() == Some(name);
    files.sort_by_key(|file| (current(file), file.written));
    Ok(files)
}

fn rotated_file(path: PathBuf, metadata: &Metadata) -> io::Result<Rotated> {
    Ok(Rotated {
        path,
        id: FileId::of(metadata),
        written: metadata.modified()?,
    })
}

/// The file that was written after one that was written to last at `written`, and whether that is
/// certain: two files that end at the same time may have either order.
pub(crate) fn successor(
    files: &[Rotated],
    written: SystemTime,
    known: impl Fn(FileId) -> bool,
) -> Option<(&Rotated, bool)> {
    let (current, rotated) = files.split_last()?;
    let mut later = rotated
        .iter()
        .filter(|file| file.written >= written && !known(file.id));
    let Some(next) = later.next() else {
        return (!known(current.id)).then_some((current, true));
    };
    let rival = later
        .next()
        .is_some_and(|file| file.written == next.written);
    Some((next, !rival && next.written > written))
}
