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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    /// A file that is gone when this is.
    struct Log(PathBuf);

    impl Log {
        fn new(name: &str) -> Log {
            let name = format!("logtop-{}-{name}", std::process::id());
            let log = Log(std::env::temp_dir().join(name));
            fs::write(&log.0, "old\n").unwrap();
            log
        }

        fn append(&self, text: &str) {
            let mut file = File::options().append(true).open(&self.0).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    impl Drop for Log {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// What a source has now, and whether there may be more.
    fn read(source: &mut Source) -> (String, More) {
        let mut text = String::new();
        let take = |_: &str, lines: &[u8]| text.push_str(str::from_utf8(lines).unwrap());
        let more = source.read(take).unwrap();
        (text, more)
    }

    #[test]
    fn a_file_is_followed_from_its_end_line_by_line() {
        let log = Log::new("followed");
        let mut source = Source::open(&log.0, false).unwrap();
        assert_eq!(read(&mut source), (String::new(), More::Later));
        log.append("one\ntw");
        assert_eq!(read(&mut source), ("one\n".into(), More::Now));
        log.append("o\n");
        assert_eq!(read(&mut source), ("two\n".into(), More::Now));
    }

    #[test]
    fn a_new_file_of_the_name_is_read_from_its_beginning() {
        let (log, rotated) = (Log::new("moved"), Log::new("moved.1"));
        let mut source = Source::open(&log.0, false).unwrap();
        fs::rename(&log.0, &rotated.0).unwrap();
        rotated.append("last\n");
        assert_eq!(read(&mut source), ("last\n".into(), More::Now));
        // There is none yet.
        assert_eq!(read(&mut source), (String::new(), More::Later));
        fs::write(&log.0, "first\n").unwrap();
        assert_eq!(read(&mut source), (String::new(), More::Later));
        assert_eq!(read(&mut source), ("first\n".into(), More::Now));
        // As copytruncate does.
        assert_eq!(read(&mut source), (String::new(), More::Later));
        fs::write(&log.0, "x\n").unwrap();
        assert_eq!(read(&mut source), (String::new(), More::Later));
        assert_eq!(read(&mut source), ("x\n".into(), More::Now));
    }

    #[test]
    fn a_whole_file_ends_with_its_last_line() {
        let log = Log::new("whole");
        log.append("no newline");
        let mut source = Source::open(&log.0, true).unwrap();
        assert_eq!(read(&mut source), ("old\n".into(), More::Now));
        assert_eq!(read(&mut source), ("no newline".into(), More::Never));
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let log = Log::new("long");
        let mut source = Source::open(&log.0, false).unwrap();
        log.append(&"x".repeat(LINE_BYTES_MAX + 1));
        assert_eq!(read(&mut source).0.len(), LINE_BYTES_MAX + 1);
        assert_eq!(source.partial.len(), 0);
    }
}
