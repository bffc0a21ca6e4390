//! The file of what a learner hears while it catches up.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Live lines that are to be taken in later, by their offset. Nothing of it is synced, and nothing
/// of it is of use to the next process.
#[derive(Debug)]
pub(crate) struct LiveFile {
    path: PathBuf,
    /// Open while there is something in it.
    file: Option<File>,
}

impl LiveFile {
    /// Empty, whatever a former process has left.
    ///
    /// # Errors
    /// The system does not let it be removed.
    pub(crate) fn new(directory: &Path) -> io::Result<LiveFile> {
        let mut live = LiveFile {
            path: directory.join("live"),
            file: None,
        };
        live.empty()?;
        Ok(live)
    }

    /// Writes bytes at this offset.
    ///
    /// # Errors
    /// The system says no; then nothing after the offset is of use.
    pub(crate) fn write(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true);
            self.file = Some(options.mode(0o600).open(&self.path)?);
        }
        match &self.file {
            Some(file) => file.write_all_at(data, at),
            None => Ok(()),
        }
    }

    /// Reads so many bytes at this offset.
    ///
    /// # Errors
    /// They are not there, or the system says no.
    pub(crate) fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.file.is_none()
    }

    /// Gives its room back to the disk.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn empty(&mut self) -> io::Result<()> {
        self.file = None;
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_on_when_it_was_emptied_and_nothing_of_before_is_there() {
        let directory = std::env::temp_dir().join(format!("covey-live-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("live"), b"of another process").unwrap();
        let mut live = LiveFile::new(&directory).unwrap();
        assert!(live.is_empty() && live.read(0, 1).is_err());
        live.write(0, b"one\n").unwrap();
        live.write(4, b"two\n").unwrap();
        assert_eq!(live.read(2, 4).unwrap(), b"e\ntw");
        assert!(live.read(4, 5).is_err(), "shorter than that");
        live.empty().unwrap();
        assert!(!directory.join("live").exists());
        live.write(8, b"three\n").unwrap();
        assert_eq!(live.read(8, 6).unwrap(), b"three\n");
        assert_eq!(live.read(0, 4).unwrap(), b"\0\0\0\0");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
