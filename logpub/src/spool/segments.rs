//! The files of a lane that hold its bytes.
//!
//! A segment is named after the offset in the stream at which it begins. It ends where the next
//! one begins, or at a gap. Whoever writes makes the next one; whoever publishes removes those that
//! are acknowledged, never the last one that it knows.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use memchr::{memchr, memrchr};

/// A new segment begins after so many bytes.
pub(crate) const SEGMENT_BYTES: u64 = 4 << 20;

const PREFIX: &str = "spool.";

/// Bytes looked at in one step for the end of a line.
const SEARCH_BYTES: u64 = 16 << 10;

/// The segments of one lane, for reading.
#[derive(Debug)]
pub(crate) struct Segments {
    directory: PathBuf,
    /// Where they begin, in order. Bound: what the disk holds, eight bytes for each segment.
    starts: VecDeque<u64>,
    /// The segment that was read last.
    open: Option<(u64, File)>,
}

impl Segments {
    /// The segments that are there.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn new(directory: &Path) -> io::Result<Segments> {
        let mut segments = Segments {
            directory: directory.to_owned(),
            starts: VecDeque::new(),
            open: None,
        };
        segments.refresh()?;
        Ok(segments)
    }

    /// Looks again what is there.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn refresh(&mut self) -> io::Result<()> {
        let mut starts = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            starts.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        starts.sort_unstable();
        self.starts = starts.into();
        Ok(())
    }

    /// Opens a segment for writing; makes it if it is not there.
    ///
    /// # Errors
    /// As open(2).
    pub(crate) fn open_to_write(directory: &Path, start: u64) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o640);
        options.open(path(directory, start))
    }

    /// Where the segments begin, in order.
    pub(crate) fn starts(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.starts.iter().copied()
    }

    /// Where a segment ends at present.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn end_of(&self, start: u64) -> io::Result<u64> {
        Ok(start + fs::metadata(path(&self.directory, start))?.len())
    }

    /// Where the last segment ends; none if there is no segment.
    ///
    /// # Errors
    /// It is not there any more.
    pub(crate) fn end(&self) -> io::Result<Option<u64>> {
        let last = self.starts.back();
        last.map(|&start| self.end_of(start)).transpose()
    }

    /// Fills the buffer with what is in the stream there.
    ///
    /// # Errors
    /// `UnexpectedEof` if not all of it is there.
    pub(crate) fn read(&mut self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let mut refreshed = false;
        while !buffer.is_empty() {
            let count = self.read_some(offset, buffer)?;
            if count > 0 {
                offset += count as u64;
                buffer = &mut buffer[count..];
            } else if refreshed {
                let message = format!("nothing at offset {offset} of the spool");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            } else {
                // The next segment may have been made meanwhile.
                self.refresh()?;
            }
            refreshed = count == 0;
        }
        Ok(())
    }

    fn read_some(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let after = self.starts.partition_point(|&start| start <= offset);
        let Some(index) = after.checked_sub(1) else {
            return Ok(0);
        };
        let start = self.starts[index];
        let file = match &mut self.open {
            Some((opened, file)) if *opened == start => file,
            open => {
                &mut open
                    .insert((start, File::open(path(&self.directory, start))?))
                    .1
            }
        };
        file.read_at(buffer, offset - start)
    }

    /// Removes what lies before an offset, in whole segments.
    ///
    /// # Errors
    /// As unlink(2); what could not be removed is tried again.
    pub(crate) fn release(&mut self, acknowledged: u64) -> io::Result<()> {
        while let Some(&next) = self.starts.get(1)
            && next <= acknowledged
        {
            self.remove_first()?;
        }
        Ok(())
    }

    fn remove_first(&mut self) -> io::Result<()> {
        if let Some(&start) = self.starts.front() {
            match fs::remove_file(path(&self.directory, start)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.starts.pop_front(),
            };
            self.open.take_if(|(opened, _)| *opened == start);
        }
        Ok(())
    }

    /// Takes away what lies behind an offset.
    ///
    /// # Errors
    /// As unlink(2) and truncate(2).
    pub(crate) fn truncate(&mut self, end: u64) -> io::Result<()> {
        while let Some(&start) = self.starts.back()
            && start > end
        {
            fs::remove_file(path(&self.directory, start))?;
            self.starts.pop_back();
            self.open = None;
        }
        match self.starts.back() {
            Some(&start) if self.end_of(start)? > end => {
                Segments::open_to_write(&self.directory, start)?.set_len(end - start)
            }
            _ => Ok(()),
        }
    }

    /// Where the last line that ends in `from..to` ends.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn last_line_end(&mut self, from: u64, to: u64) -> io::Result<Option<u64>> {
        let mut buffer = [0; SEARCH_BYTES as usize];
        let mut end = to;
        while end > from {
            let start = from.max(end.saturating_sub(SEARCH_BYTES));
            let bytes = &mut buffer[..(end - start) as usize];
            self.read(start, bytes)?;
            if let Some(newline) = memrchr(b'\n', bytes) {
                return Ok(Some(start + newline as u64 + 1));
            }
            end = start;
        }
        Ok(None)
    }

    /// Where the first line that ends in `from..to` ends.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn first_line_end(&mut self, from: u64, to: u64) -> io::Result<Option<u64>> {
        let mut buffer = [0; SEARCH_BYTES as usize];
        let mut start = from;
        while start < to {
            let end = to.min(start + SEARCH_BYTES);
            let bytes = &mut buffer[..(end - start) as usize];
            self.read(start, bytes)?;
            if let Some(newline) = memchr(b'\n', bytes) {
                return Ok(Some(start + newline as u64 + 1));
            }
            start = end;
        }
        Ok(None)
    }
}

fn path(directory: &Path, start: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{start:020}"))
}
