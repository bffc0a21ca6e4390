//! The file that holds a daemon's process number, for those who run daemons the old way.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A pid file: locked while the process lives, removed when this is dropped.
///
/// The lock, not the file's presence, says that a daemon runs: a file left over by a crash is
/// taken over.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    // Held for its lock.
    file: File,
}

impl Pidfile {
    /// Takes the file for this process and for those that it forks, and empties it.
    ///
    /// To be called before anything that a second daemon must not do.
    ///
    /// # Errors
    /// `AddrInUse` if another process holds it; otherwise it cannot be created or written.
    pub fn claim(path: &Path) -> io::Result<Pidfile> {
        try_claim(path).map_err(|error| named(path, &error))
    }

    /// Writes this process's number into the file, to be called once the program is ready.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self) -> io::Result<()> {
        let written = writeln!(self.file, "{}", std::process::id());
        written.map_err(|error| named(&self.path, &error))
    }
}

fn try_claim(path: &Path) -> io::Result<Pidfile> {
    loop {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(&mut file)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Its last owner may have removed it between our open and our lock.
        if fs::metadata(path).is_ok_and(|named| same_file(&named, &file)) {
            file.set_len(0)?;
            return Ok(Pidfile {
                path: path.to_owned(),
                file,
            });
        }
    }
}

/// Says which file an error is about.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Names the process that holds the file, if it has written its number already.
fn held(file: &mut File) -> io::Error {
    let mut text = String::new();
    let mut message = "another process holds this pid file".to_owned();
    let number = file.take(32).read_to_string(&mut text).ok();
    if let Some(number) = number.and_then(|_| text.trim().parse::<u32>().ok()) {
        message.push_str(&format!(", {number}"));
    }
    io::Error::new(io::ErrorKind::AddrInUse, message)
}

fn same_file(named: &fs::Metadata, file: &File) -> bool {
    file.metadata()
        .is_ok_and(|opened| (opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|named| same_file(&named, &self.file)) {
            // Whoever comes next takes over what cannot be removed.
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_once_and_removed_at_the_end() {
        let path = std::env::temp_dir().join(format!("covey-pidfile-{}", std::process::id()));
        fs::write(&path, "left over by a crash\n").unwrap();
        let mut pidfile = Pidfile::claim(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        let error = Pidfile::claim(&path).unwrap_err();
        let held = format!("{}: another process holds this pid file", path.display());
        assert_eq!(error.to_string(), held);
        pidfile.write().unwrap();
        let id = std::process::id();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{id}\n"));
        let error = Pidfile::claim(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), format!("{held}, {id}"));
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_took_the_place_stays() {
        let path = std::env::temp_dir().join(format!("covey-pidfile-2-{}", std::process::id()));
        let pidfile = Pidfile::claim(&path).unwrap();
        let other = path.with_extension("other");
        fs::write(&other, "1\n").unwrap();
        fs::rename(&other, &path).unwrap();
        drop(pidfile);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::remove_file(&path).unwrap();
    }
}
