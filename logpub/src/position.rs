//! How far a followed file has come on the bus, kept in a small file beside it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A file, whatever it is called at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The identity of a file.
    pub(crate) fn of(metadata: &Metadata) -> FileId {
        FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A place in a file: everything before it is on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) file: FileId,
    pub(crate) offset: u64,
}

impl Position {
    /// The position that is kept in `path`; none if there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub(crate) fn load(path: &Path) -> io::Result<Option<Position>> {
        match fs::read_to_string(path) {
            Ok(text) => text.parse().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the position in `path`. A reader sees the old one or the new one, nothing between.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        fs::write(
            &new,
            format!("{} {} {}\n", self.file.device, self.file.inode, self.offset),
        )?;
        fs::rename(&new, path)
    }
}

impl FromStr for Position {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Position> {
        let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[device, inode, offset]) => Ok(Position {
                file: FileId { device, inode },
                offset,
            }),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a position: device, inode, offset",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let path = std::env::temp_dir().join(format!("logpub-position-{}", std::process::id()));
        assert_eq!(Position::load(&path).unwrap(), None);
        let position = Position {
            file: FileId {
                device: 1,
                inode: 2,
            },
            offset: u64::MAX,
        };
        position.save(&path).unwrap();
        assert_eq!(Position::load(&path).unwrap(), Some(position));
        fs::write(&path, "1 2\n").unwrap();
        assert_eq!(
            Position::load(&path).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        fs::remove_file(&path).unwrap();
    }
}
