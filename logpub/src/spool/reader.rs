//! A lane as its publisher sees it: what is to be read, and what may go.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use unixproc::log;

use super::contents::Contents;
use super::gaps::Gaps;
use super::identity::Identity;
use super::segments::Segments;

/// Bytes of the text that says how far a lane is acknowledged: a number and a newline.
const TEXT_BYTES: usize = 21;

/// The right to publish a lane: the lock on its `acknowledged`, which nobody else writes.
#[derive(Debug)]
pub(crate) struct LaneReader {
    identity: Identity,
    /// Locked.
    acknowledged: File,
    gaps: Gaps,
    segments: Segments,
}

impl LaneReader {
    /// A lane whose `acknowledged` has been locked.
    ///
    /// # Errors
    /// The lane cannot be read.
    pub(super) fn new(
        directory: &Path,
        identity: Identity,
        acknowledged: File,
    ) -> io::Result<LaneReader> {
        Ok(LaneReader {
            identity,
            acknowledged,
            gaps: Gaps::new(File::open(directory.join(super::GAPS))?),
            segments: Segments::new(directory)?,
        })
    }

    /// Whose lane it is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Looks what there is to publish.
    ///
    /// # Errors
    /// The lane cannot be read.
    pub(crate) fn contents(&mut self) -> io::Result<Contents> {
        self.segments.refresh()?;
        let acknowledged = load_acknowledged(&self.acknowledged)?;
        Contents::find(&mut self.segments, &self.gaps, acknowledged)
    }

    /// Fills the buffer with what is in the stream there.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub(crate) fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.segments.read(offset, buffer)
    }

    /// Keeps in mind that everything before this offset is acknowledged, and lets it go.
    ///
    /// # Errors
    /// As unlink(2).
    pub(crate) fn acknowledge(&mut self, end: u64) -> io::Result<()> {
        if let Err(error) = self.acknowledged.write_all_at(&text(end), 0) {
            // A copy-on-write disk may be too full for it. What is removed tells as much, and what
            // is published again the loggers know.
            log::debug("not-kept", &[("acknowledged", &end), ("error", &error)]);
        }
        self.segments.release(end)
    }
}

/// The text of an `acknowledged`. It stands there from the beginning, so that no number needs room.
pub(super) fn text(acknowledged: u64) -> [u8; TEXT_BYTES] {
    let mut text = [b'\n'; TEXT_BYTES];
    let digits = format!("{acknowledged:020}");
    text[..TEXT_BYTES - 1].copy_from_slice(digits.as_bytes());
    text
}

/// How far a lane is acknowledged; none if that is not known.
///
/// # Errors
/// As read(2).
pub(super) fn load_acknowledged(file: &File) -> io::Result<Option<u64>> {
    let mut text = [0; TEXT_BYTES];
    let count = file.read_at(&mut text, 0)?;
    let number = std::str::from_utf8(&text[..count]).ok();
    let number = number.and_then(|text| text.strip_suffix('\n'));
    Ok(number.and_then(|number| number.parse().ok()))
}
