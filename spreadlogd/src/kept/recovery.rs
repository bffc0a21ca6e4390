//! After a crash: output files as they were at the last checkpoint.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use unixproc::log;

use super::manifest::Contents;
use crate::span::Span;

/// Cuts every file to what the manifest says that it held. A file that has been renamed is found in
/// its directory; one that is gone, or shorter, is reported.
///
/// # Errors
/// A file cannot be cut.
pub(crate) fn restore_files(contents: &mut Contents) -> io::Result<()> {
    let mut renamed = Renamed::default();
    for (path, spans) in &mut contents.files {
        let Some(span) = spans.last() else {
            continue;
        };
        let path = Path::new(path);
        let found = fs::metadata(path).is_ok_and(|metadata| span.is_in(&metadata));
        let found = match found {
            true => Some(path.to_owned()),
            false => renamed.find(path, span),
        };
        match found {
            Some(found) => restore(&found, span)?,
            None => log::info("file-gone", &[("file", &path.display())]),
        }
    }
    Ok(())
}

fn restore(path: &Path, span: &Span) -> io::Result<()> {
    let file = OpenOptions::new().append(true).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == span.end() {
        return Ok(());
    }
    let fields: log::Fields = &[
        ("file", &path.display()),
        ("bytes", &metadata.len()),
        ("written", &span.end()),
    ];
    if metadata.len() < span.end() {
        log::warning("file-changed", fields);
        return Ok(());
    }
    // What follows is in the journal, and is written again.
    log::notice("file-cut", fields);
    file.set_len(span.end())?;
    file.sync_all()
}

/// Looks for files under other names, each directory once.
#[derive(Debug, Default)]
struct Renamed {
    directories: HashMap<PathBuf, HashMap<u64, PathBuf>>,
}

impl Renamed {
    fn find(&mut self, path: &Path, span: &Span) -> Option<PathBuf> {
        let directory = path.parent()?;
        let listed = self.directories.entry(directory.to_owned());
        let by_inode = listed.or_insert_with(|| list(directory));
        let found = by_inode.get(&span.ino)?.clone();
        let metadata = fs::metadata(&found).ok()?;
        // Inodes are used again: only what holds our lines is ours.
        let ours = span.is_in(&metadata) && holds(&found, span).unwrap_or(false);
        ours.then_some(found)
    }
}

/// Whether a file holds the lines of a span where they should be.
fn holds(path: &Path, span: &Span) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(span.base))?;
    let mut reader = BufReader::new(file.take(span.bytes));
    let mut found = Span {
        bytes: 0,
        lines: 0,
        hash: 0,
        ..span.clone()
    };
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        found.add(&line);
        line.clear();
    }
    Ok(found == *span)
}

fn list(directory: &Path) -> HashMap<u64, PathBuf> {
    let mut by_inode = HashMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if let Ok(metadata) = entry.metadata() {
            by_inode.insert(metadata.ino(), entry.path());
        }
    }
    by_inode
}
