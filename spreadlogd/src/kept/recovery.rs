//! After a crash: which output files are further than the last checkpoint.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use unixproc::log;

use super::manifest::Contents;
use crate::span::Span;

/// Gives the files that hold more than the manifest says: after a crash, lines that will come again
/// from the journal. A file that has been renamed since is found in its directory, and what is more
/// in it is cut off, as its name stands for another file now. One that is gone, or shorter, is
/// reported.
///
/// # Errors
/// A file cannot be cut.
pub(crate) fn files_ahead(contents: &Contents) -> io::Result<Vec<(PathBuf, Span)>> {
    let mut ahead = Vec::new();
    let mut renamed = Renamed::default();
    for (path, spans) in &contents.files {
        let Some(span) = spans.last() else {
            continue;
        };
        let path = Path::new(path);
        match fs::metadata(path) {
            Ok(metadata) if span.is_in(&metadata) => {
                let fields: log::Fields = &[
                    ("file", &path.display()),
                    ("bytes", &metadata.len()),
                    ("written", &span.end()),
                ];
                match metadata.len().cmp(&span.end()) {
                    Ordering::Less => log::warning("file-changed", fields),
                    Ordering::Equal => {}
                    Ordering::Greater => ahead.push((path.to_owned(), span.clone())),
                }
            }
            _ => match renamed.find(path, span) {
                Some(found) => cut(&found, span)?,
                None => log::info("file-gone", &[("file", &path.display())]),
            },
        }
    }
    Ok(ahead)
}

fn cut(path: &Path, span: &Span) -> io::Result<()> {
    let file = OpenOptions::new().append(true).open(path)?;
    let length = file.metadata()?.len();
    if length <= span.end() {
        return Ok(());
    }
    let fields: log::Fields = &[
        ("file", &path.display()),
        ("bytes", &length),
        ("written", &span.end()),
    ];
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
