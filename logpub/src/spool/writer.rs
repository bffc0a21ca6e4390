//! A lane as its writer sees it: bytes are appended, and given up where there is no room.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use memchr::memrchr;
use unixproc::{disk, splice};
use weblog::stream::Gap;

use super::contents::{Contents, broken};
use super::gaps::{Gaps, Slot};
use super::reader::load_acknowledged;
use super::segments::{SEGMENT_BYTES, Segments};

/// The right to append to a lane: the lock on its `lane`.
#[derive(Debug)]
pub(crate) struct LaneWriter {
    directory: PathBuf,
    /// Locked.
    _lock: File,
    acknowledged: File,
    gaps: Gaps,
    /// The last segment, and where it begins; none if the next byte begins one.
    segment: Option<(u64, File)>,
    /// Where the last whole line ends. Invariant: `whole <= end`.
    whole: u64,
    end: u64,
    /// The gap that grows at the end, and its slot.
    gap: Option<(usize, Gap)>,
}

impl LaneWriter {
    /// A lane whose `lane` has been locked: goes on where its last writer stopped.
    ///
    /// # Errors
    /// The lane cannot be read, or cannot be written.
    pub(super) fn new(directory: &Path, lock: File) -> io::Result<LaneWriter> {
        let acknowledged = File::open(directory.join(super::ACKNOWLEDGED))?;
        let mut options = File::options();
        let gaps = options
            .read(true)
            .write(true)
            .open(directory.join(super::GAPS))?;
        let gaps = Gaps::new(gaps);
        let known = load_acknowledged(&acknowledged)?;
        let slots = gaps.load(known.unwrap_or(0))?;
        let growing = slots.into_iter().find(|(_, slot)| slot.growing);
        let mut segments = Segments::new(directory)?;
        let contents = Contents::find(&mut segments, &gaps, known)?;
        let (mut whole, mut end) = (contents.whole, contents.end);
        if let Some((_, slot)) = growing {
            segments.truncate(slot.gap.start)?;
            (whole, end) = (slot.gap.end, slot.gap.end);
        }
        let last = segments.starts().next_back();
        let continues = segments.end()? == Some(end);
        let segment = match last.filter(|_| continues) {
            Some(start) => Some((start, Segments::open_to_write(directory, start)?)),
            None => None,
        };
        Ok(LaneWriter {
            directory: directory.to_owned(),
            _lock: lock,
            acknowledged,
            gaps,
            segment,
            whole,
            end,
            gap: growing.map(|(index, slot)| (index, slot.gap)),
        })
    }

    /// How far the lane is to be published: to the end of its last whole line, or to a gap that
    /// still grows.
    pub(crate) fn publishable(&self) -> u64 {
        self.gap.map_or(self.whole, |(_, gap)| gap.start)
    }

    /// Where the bytes end.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether the last line has no end yet.
    pub(crate) fn in_line(&self) -> bool {
        self.whole < self.end
    }

    /// How far the lane is acknowledged, by whoever publishes it.
    ///
    /// # Errors
    /// As read(2).
    pub(crate) fn acknowledged(&self) -> io::Result<u64> {
        Ok(load_acknowledged(&self.acknowledged)?.unwrap_or(0))
    }

    /// Bytes that are there and not acknowledged.
    ///
    /// # Errors
    /// As read(2).
    pub(crate) fn waiting_bytes(&self) -> io::Result<u64> {
        let acknowledged = self.acknowledged()?;
        let missing = self.gaps.load(acknowledged)?;
        let missing = missing.iter().map(|(_, slot)| slot.gap);
        let missing: u64 = missing.map(|gap| gap.end - gap.start).sum();
        Ok(self
            .end
            .saturating_sub(acknowledged)
            .saturating_sub(missing))
    }

    /// Moves bytes from a pipe into the lane; gives how many, 0 at the end of the pipe.
    ///
    /// # Errors
    /// As [`splice`](splice::splice): `WouldBlock` is the pipe's, `InvalidInput` says that there is
    /// no way, and anything else is the disk's. Nothing is lost.
    pub(crate) fn splice(&mut self, pipe: impl AsFd, bytes_max: u64) -> io::Result<usize> {
        let end = self.end;
        let (start, file) = self.segment()?;
        let room = (SEGMENT_BYTES - (end - *start)).min(bytes_max) as usize;
        let count = splice::splice(pipe, file, end - *start, room)?;
        // What cannot be read back now cannot be published either, and that will be said.
        let newline = last_newline(file, end - *start, count).unwrap_or(None);
        self.advance(count, newline);
        Ok(count)
    }

    /// Appends bytes; gives how many.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.end;
        let (start, file) = self.segment()?;
        let room = (SEGMENT_BYTES - (end - *start)).min(bytes.len() as u64) as usize;
        let count = file.write_at(&bytes[..room], end - *start)?;
        self.advance(count, memrchr(b'\n', &bytes[..count]));
        Ok(count)
    }

    /// Ends a line that has no end.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        while self.in_line() {
            self.append(b"\n")?;
        }
        Ok(())
    }

    /// A segment with room.
    fn segment(&mut self) -> io::Result<&mut (u64, File)> {
        let end = self.end;
        self.segment
            .take_if(|(start, _)| end - *start >= SEGMENT_BYTES);
        let segment = match self.segment.take() {
            Some(segment) => segment,
            None => (end, Segments::open_to_write(&self.directory, end)?),
        };
        Ok(self.segment.insert(segment))
    }

    /// So many bytes were appended, with the last newline there.
    fn advance(&mut self, count: usize, newline: Option<usize>) {
        if let Some(newline) = newline {
            self.whole = self.end + newline as u64 + 1;
        }
        self.end += count as u64;
        self.whole = broken(self.whole, self.end);
    }

    /// Gives the disk back what is acknowledged of the last segment; the others are gone already.
    ///
    /// # Errors
    /// The file system cannot do it: the segment goes as a whole, later.
    pub(crate) fn reclaim(&mut self) -> io::Result<()> {
        let acknowledged = self.acknowledged()?;
        match &self.segment {
            Some((start, file)) if acknowledged > *start => {
                disk::punch_hole(file, 0, acknowledged - *start)
            }
            _ => Ok(()),
        }
    }

    /// Bytes that are free on the disk of the lane.
    ///
    /// # Errors
    /// As fstatvfs(3).
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        disk::free_bytes(&self.acknowledged)
    }

    /// The gap that grows at the end.
    pub(crate) fn gap(&self) -> Option<Gap> {
        self.gap.map(|(_, gap)| gap)
    }

    /// From here on bytes are given up, with the line that has begun; none if the lane has no
    /// place for another gap.
    ///
    /// # Errors
    /// The gap cannot be written down.
    pub(crate) fn begin_gap(&mut self) -> io::Result<Option<Gap>> {
        let Some(index) = self.gaps.free_slot(self.acknowledged()?)? else {
            return Ok(None);
        };
        let gap = Gap {
            start: self.whole,
            end: self.end,
            lines: 0,
        };
        // Written down first: what is not there must be known to be missing.
        self.gaps.save(index, Slot { gap, growing: true })?;
        self.gap = Some((index, gap));
        let mut segments = Segments::new(&self.directory)?;
        segments.truncate(self.whole)?;
        self.segment.take_if(|(start, _)| *start > gap.start);
        self.whole = self.end;
        Ok(Some(gap))
    }

    /// Adds bytes that were given up to the gap.
    ///
    /// # Errors
    /// The gap cannot be written down.
    pub(crate) fn grow_gap(&mut self, bytes: u64, lines: u64) -> io::Result<()> {
        let Some((index, gap)) = &mut self.gap else {
            return Ok(());
        };
        gap.end += bytes;
        gap.lines += lines;
        (self.whole, self.end) = (gap.end, gap.end);
        let (gap, growing) = (*gap, true);
        self.gaps.save(*index, Slot { gap, growing })
    }

    /// Ends the gap: what comes now is kept.
    ///
    /// # Errors
    /// It cannot be written down: the gap stays.
    pub(crate) fn end_gap(&mut self) -> io::Result<Option<Gap>> {
        let Some((index, gap)) = self.gap else {
            return Ok(None);
        };
        let growing = false;
        self.gaps.save(index, Slot { gap, growing })?;
        self.gap = None;
        self.segment = None;
        Ok(Some(gap))
    }
}

/// The last newline among `count` bytes of a file, counted from `at`; looked for from the end.
fn last_newline(file: &File, at: u64, count: usize) -> io::Result<Option<usize>> {
    let mut buffer = [0; 4096];
    let mut length = count;
    while length > 0 {
        let bytes = &mut buffer[..length.min(4096)];
        length -= bytes.len();
        file.read_exact_at(bytes, at + length as u64)?;
        if let Some(newline) = memrchr(b'\n', bytes) {
            return Ok(Some(length + newline));
        }
    }
    Ok(None)
}
