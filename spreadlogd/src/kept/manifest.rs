//! What the output files of a kept log held at some position of its journal.
//!
//! The manifest is appended to: spans of files as they begin, and now and then, behind a sync of
//! the files, what has changed, closed by a checkpoint. After a crash files are cut to what the
//! last checkpoint says, and written on from its position.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weblog::stream::hash;

use crate::route::Rotation;
use crate::span::Span;

const FILE_NAME: &str = "manifest";

/// A manifest is written anew when it is longer than this, and than twice what it would be.
const COMPACT_BYTES: u64 = 16 << 20;

/// A line of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// A span of this file begins; it counts at once.
    Begin {
        path: String,
        span: Span,
    },
    /// It counts with the next checkpoint, as all that follow.
    Span {
        path: String,
        span: Span,
    },
    /// The file that this name stands for, where names are numbered.
    Rotation {
        name: String,
        rotation: Rotation,
    },
    Checkpoint(Checkpoint),
}

/// How far the files are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Count of the journal's entries that are in the files.
    pub(crate) position: u64,
    /// The ordered time there.
    pub(crate) second: u64,
    /// Places where a publisher has given up lines, and their bytes and lines as far as known.
    pub(crate) gaps: u64,
    pub(crate) gap_bytes: u64,
    pub(crate) gap_lines: u64,
    /// Loggers that were given up.
    pub(crate) forgotten: u64,
    /// Entries that this logger never had.
    pub(crate) missed: u64,
}

/// What a manifest says.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) checkpoint: Checkpoint,
    /// By path, the spans in the order in which they were begun.
    pub(crate) files: BTreeMap<String, Vec<Span>>,
    pub(crate) rotations: BTreeMap<String, Rotation>,
}

impl Contents {
    /// Reads a manifest; a torn end is left out.
    ///
    /// # Errors
    /// It cannot be read. One that is not there is an empty one.
    pub(crate) fn read(directory: &Path) -> io::Result<Contents> {
        let mut contents = Contents::default();
        let file = match File::open(directory.join(FILE_NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(contents),
            Err(error) => return Err(error),
        };
        let mut pending = Vec::new();
        for text in BufReader::new(file).split(b'\n') {
            match decode(&text?) {
                None => break,
                Some(Line::Begin { path, span }) => contents.set_span(path, span),
                Some(Line::Checkpoint(checkpoint)) => {
                    for line in pending.drain(..) {
                        match line {
                            Line::Span { path, span } => contents.set_span(path, span),
                            Line::Rotation { name, rotation } => {
                                contents.rotations.insert(name, rotation);
                            }
                            Line::Begin { .. } | Line::Checkpoint(_) => {}
                        }
                    }
                    contents.checkpoint = checkpoint;
                }
                Some(line) => pending.push(line),
            }
        }
        Ok(contents)
    }

    fn set_span(&mut self, path: String, span: Span) {
        let spans = self.files.entry(path).or_default();
        match spans.iter_mut().find(|known| known.is_same(&span)) {
            Some(known) => *known = span,
            None => spans.push(span),
        }
    }
}

/// The manifest of a kept log, open for appending.
#[derive(Debug)]
pub(crate) struct Manifest {
    directory: PathBuf,
    file: File,
    bytes: u64,
    compacted_bytes: u64,
}

impl Manifest {
    /// Writes what is known anew, without files that are not there any more, and goes on from
    /// there.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn create(directory: &Path, contents: &Contents) -> io::Result<Manifest> {
        let mut text = Vec::new();
        for (path, spans) in &contents.files {
            let there = fs::metadata(path).is_ok();
            for span in spans.iter().filter(|_| there) {
                encode(
                    &Line::Span {
                        path: path.clone(),
                        span: span.clone(),
                    },
                    &mut text,
                )?;
            }
        }
        for (name, rotation) in &contents.rotations {
            encode(
                &Line::Rotation {
                    name: name.clone(),
                    rotation: *rotation,
                },
                &mut text,
            )?;
        }
        encode(&Line::Checkpoint(contents.checkpoint.clone()), &mut text)?;
        let (path, draft) = (directory.join(FILE_NAME), directory.join("manifest.new"));
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o644)
            .open(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(directory)?.sync_all()?;
        let bytes = text.len() as u64;
        Ok(Manifest {
            directory: directory.to_owned(),
            file,
            bytes,
            compacted_bytes: bytes,
        })
    }

    /// Notes that spans begin, on the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn begin(&mut self, begun: &[(String, Span)]) -> io::Result<()> {
        let mut text = Vec::new();
        for (path, span) in begun.iter().cloned() {
            encode(&Line::Begin { path, span }, &mut text)?;
        }
        self.append(&text)
    }

    /// Notes how far the files are, which must be on the disk, on the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn checkpoint(
        &mut self,
        spans: Vec<(String, Span)>,
        rotations: Vec<(String, Rotation)>,
        checkpoint: Checkpoint,
    ) -> io::Result<()> {
        let mut text = Vec::new();
        for (path, span) in spans {
            encode(&Line::Span { path, span }, &mut text)?;
        }
        for (name, rotation) in rotations {
            encode(&Line::Rotation { name, rotation }, &mut text)?;
        }
        encode(&Line::Checkpoint(checkpoint), &mut text)?;
        self.append(&text)?;
        if self.bytes > COMPACT_BYTES && self.bytes > 2 * self.compacted_bytes {
            *self = Manifest::create(&self.directory, &Contents::read(&self.directory)?)?;
        }
        Ok(())
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(text) {
            // A torn line would hide those that follow.
            self.file.set_len(self.bytes)?;
            io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.bytes))?;
            return Err(error);
        }
        self.bytes += text.len() as u64;
        self.file.sync_data()
    }
}

/// A checksum in 16 digits, a blank, JSON, a newline.
fn encode(line: &Line, out: &mut Vec<u8>) -> io::Result<()> {
    let json = serde_json::to_vec(line)?;
    write!(out, "{:016x} ", hash(0, &json))?;
    out.extend_from_slice(&json);
    out.push(b'\n');
    Ok(())
}

fn decode(text: &[u8]) -> Option<Line> {
    let (sum, json) = text.split_at_checked(17)?;
    let sum = std::str::from_utf8(sum.strip_suffix(b" ")?).ok()?;
    if u64::from_str_radix(sum, 16).ok()? != hash(0, json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(base: u64, bytes: u64) -> Span {
        Span {
            dev: 1,
            ino: 2,
            base,
            bytes,
            lines: 1,
            hash: 3,
        }
    }

    #[test]
    fn what_no_checkpoint_follows_does_not_count_and_torn_lines_are_left_out() {
        let scratch =
            std::env::temp_dir().join(format!("spreadlogd-manifest-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        let path = || "/".to_owned();
        let mut manifest = Manifest::create(&scratch, &Contents::default()).unwrap();
        manifest.begin(&[(path(), span(0, 0))]).unwrap();
        let checkpoint = Checkpoint {
            position: 7,
            ..Checkpoint::default()
        };
        let rotation = Rotation {
            number: 2,
            bytes: 9,
        };
        manifest
            .checkpoint(
                vec![(path(), span(0, 50))],
                vec![("n".to_owned(), rotation)],
                checkpoint,
            )
            .unwrap();
        manifest.begin(&[(path(), span(50, 0))]).unwrap();
        let later = Line::Span {
            path: path(),
            span: span(50, 5),
        };
        let mut text = Vec::new();
        encode(&later, &mut text).unwrap();
        manifest.append(&text).unwrap();
        manifest.append(&text[..text.len() - 9]).unwrap();
        let contents = Contents::read(&scratch).unwrap();
        assert_eq!(contents.checkpoint.position, 7);
        assert_eq!(contents.files["/"], [span(0, 50), span(50, 0)]);
        assert_eq!(contents.rotations["n"], rotation);
        // Written anew it says the same; what is not there any more is left out.
        let mut more = contents;
        more.files.insert("/not/there".to_owned(), vec![span(0, 1)]);
        Manifest::create(&scratch, &more).unwrap();
        let again = Contents::read(&scratch).unwrap();
        assert_eq!(again.files["/"], [span(0, 50), span(50, 0)]);
        assert_eq!((again.files.len(), again.checkpoint.position), (1, 7));
        fs::remove_dir_all(&scratch).unwrap();
    }
}
