//! Lines from files and stdin.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use memchr::memrchr;

/// Bound: bytes taken from one source before the next has its turn.
const ROUND_BYTES: u64 = 4 << 20;

/// A longer line is cut into lines.
const LINE_BYTES_MAX: usize = 1 << 20;

/// A file, or stdin.
#[derive(Debug)]
pub(crate) struct Source {
    /// What the screen calls the server.
    name: String,
    path: Option<PathBuf>,
    reader: Reader,
    partial: Vec<u8>,
    /// Whether what comes after its present end is waited for.
    follow: bool,
}

#[derive(Debug)]
enum Reader {
    Stdin(io::Stdin),
    File(File),
}

/// Whether more can be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// There is more at once.
    Now,
    /// Perhaps later.
    Later,
    /// Never.
    Never,
}

impl Source {
    pub(crate) fn stdin() -> Source {
        let reader = Reader::Stdin(io::stdin());
        Source {
            name: "stdin".into(),
            path: None,
            reader,
            partial: Vec::new(),
            follow: false,
        }
    }

    /// Opens a file, to be read from its beginning or followed from its end.
    pub(crate) fn open(path: &Path, from_beginning: bool) -> io::Result<Source> {
        let mut file = File::open(path)?;
        if !from_beginning {
            file.seek(SeekFrom::End(0))?;
        }
        Ok(Source {
            name: path.display().to_string(),
            path: Some(path.to_owned()),
            reader: Reader::File(file),
            partial: Vec::new(),
            follow: !from_beginning,
        })
    }

    pub(crate) fn is_stdin(&self) -> bool {
        self.path.is_none()
    }

    /// Reads what is there; `take` is given the source's name and whole lines.
    ///
    /// Stdin is read once, as a second read may wait.
    pub(crate) fn read(&mut self, mut take: impl FnMut(&str, &[u8])) -> io::Result<More> {
        let more = match &mut self.reader {
            Reader::Stdin(stdin) => {
                let mut buffer = [0; 64 << 10];
                let count = stdin.lock().read(&mut buffer)?;
                self.partial.extend_from_slice(&buffer[..count]);
                if count == 0 { More::Never } else { More::Now }
            }
            Reader::File(file) => match file.take(ROUND_BYTES).read_to_end(&mut self.partial)? {
                0 if self.follow => More::Later,
                0 => More::Never,
                _ => More::Now,
            },
        };
        let whole = match memrchr(b'\n', &self.partial) {
            Some(at) => at + 1,
            None if more == More::Never || self.partial.len() > LINE_BYTES_MAX => {
                self.partial.len()
            }
            None => 0,
        };
        if whole > 0 {
            take(&self.name, &self.partial[..whole]);
            self.partial.drain(..whole);
        }
        if more == More::Later {
            self.reopen_if_moved();
        }
        Ok(more)
    }

    /// Goes on with the file that has the name now, if that is another one or was truncated.
    fn reopen_if_moved(&mut self) {
        let (Some(path), Reader::File(file)) = (&self.path, &mut self.reader) else {
            return;
        };
        // While there is none of that name, the old one is all there is.
        let (Ok(named), Ok(open), Ok(at)) =
            (path.metadata(), file.metadata(), file.stream_position())
        else {
            return;
        };
        let moved = (named.dev(), named.ino()) != (open.dev(), open.ino());
        if (moved || open.len() < at)
            && let Ok(new) = File::open(path)
        {
            *file = new;
            self.partial.clear();
        }
    }
}
