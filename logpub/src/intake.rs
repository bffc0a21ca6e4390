//! From stdin into a lane of the spool.
//!
//! A pipe is spliced into the file: no byte is ever in this process's hands, so that none is lost
//! when it is killed. Other inputs are read into a buffer and written; what is in the buffer at
//! that moment is lost. Lines are looked for in the spool only.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use memchr::{memchr, memchr_iter};
use mio::{Registry, Token};
use unixproc::{log, splice};
use weblog::stream::{Gap, WhenFull};

use crate::publisher::{Input, REPORT_INTERVAL};
use crate::spool::{LaneWriter, Origin};
use crate::stdin::Stdin;

/// Bytes read at once, where the input cannot be spliced or is given up: what is lost by a kill.
const READ_BYTES: usize = 64 << 10;

/// What a pipe is asked to hold: a second's worth of a busy server while nobody reads.
const PIPE_BYTES: usize = 1 << 20;

/// Bound: pieces of input that are taken before the bus has its turn.
const TURNS_MAX: usize = 8;

/// A spool that takes nothing is tried again after this time.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A gap ends when there is room for this much again.
const RESUME_BYTES: u64 = 256 << 10;

/// What an intake has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IntakeCounts {
    /// Bytes that were put into the spool.
    pub(crate) spooled_bytes: u64,
    /// Inputs that had no newline at the end, and got one.
    pub(crate) unterminated_lines: u64,
    /// What was given up because the spool took nothing.
    pub(crate) dropped_lines: u64,
    pub(crate) dropped_bytes: u64,
}

/// The input, and the lane that it goes to.
#[derive(Debug)]
pub(crate) struct Intake {
    stdin: Stdin,
    origin: Origin,
    when_full: WhenFull,
    /// Bound: bytes of the lane that are not acknowledged, if not the disk alone decides.
    bytes_max: Option<u64>,
    splices: bool,
    /// What was read and has not found its place: `pending` of `buffer`.
    buffer: Box<[u8]>,
    pending: Range<usize>,
    /// Whether the last byte that was given up ended a line.
    dropped_line_end: bool,
    /// Gaps that have ended and are to be published. Bound: what the lane has places for.
    gaps: Vec<Gap>,
    /// When to try again what did not work.
    retry_at: Option<Instant>,
    /// Whether the last attempt to write failed.
    full: bool,
    throttle: log::Throttle,
    /// Whether somebody has removed the lane.
    gone: bool,
    /// The end of the input was seen; then, everything of it is in the lane.
    ending: bool,
    ended: bool,
    counts: IntakeCounts,
}

impl Intake {
    /// Prepares stdin; its events have this token.
    ///
    /// # Errors
    /// It is closed.
    pub(crate) fn new(
        registry: &Registry,
        token: Token,
        when_full: WhenFull,
        bytes_max: Option<u64>,
    ) -> io::Result<Intake> {
        let stdin = Stdin::new(registry, token)?;
        // More room lets the server go on for longer while nobody reads; some pipes cannot grow.
        if let Err(error) = splice::set_pipe_size(stdin.descriptor(), PIPE_BYTES) {
            log::debug("pipe-size", &[("error", &error)]);
        }
        Ok(Intake {
            origin: Origin::of(stdin.descriptor())?,
            stdin,
            when_full,
            bytes_max,
            splices: true,
            buffer: Box::default(),
            pending: 0..0,
            dropped_line_end: true,
            gaps: Vec::new(),
            retry_at: None,
            full: false,
            throttle: log::Throttle::new(REPORT_INTERVAL),
            gone: false,
            ending: false,
            ended: false,
            counts: IntakeCounts::default(),
        })
    }

    /// Where the bytes come from.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The input goes on into this lane. A gap that an earlier process has left growing may have
    /// been left in the middle of a line: the rest of that line belongs to it.
    pub(crate) fn resume(&mut self, lane: &LaneWriter) {
        self.dropped_line_end = lane.gap().is_none();
        self.gone = false;
    }

    /// Whether the lane is not there any more: another one is needed.
    pub(crate) fn has_lost_lane(&self) -> bool {
        self.gone
    }

    /// Whether nothing is left of the input, though the end of its last line may not be written.
    pub(crate) fn is_over(&self) -> bool {
        self.ending && self.pending.is_empty()
    }

    /// Whether everything of the input is in the lane, or given up.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What has gone through so far.
    pub(crate) fn counts(&self) -> IntakeCounts {
        self.counts
    }

    /// Takes note of an event of the input.
    pub(crate) fn handle_event(&mut self) {
        self.stdin.handle_event();
    }

    /// Whoever types the input wants to stop: that is its end. Other inputs go on to their own.
    pub(crate) fn interrupt(&mut self) {
        self.ending |= self.stdin.is_terminal();
    }

    /// Gaps that have ended since the last call.
    pub(crate) fn take_gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }

    /// When [`work`](Self::work) is to be called again; none if an event will tell.
    pub(crate) fn work_at(&self, now: Instant) -> Option<Instant> {
        let something = self.stdin.is_readable() || self.ending || !self.pending.is_empty();
        let at = self.retry_at.or(something.then_some(now));
        at.filter(|_| !self.ended)
    }

    /// Takes what is there of the input, as far as the lane has room.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(crate) fn work(&mut self, lane: &mut LaneWriter, now: Instant) -> io::Result<()> {
        for _ in 0..TURNS_MAX {
            if self.work_at(now).is_none_or(|at| at > now) {
                return Ok(());
            }
            self.retry_at = None;
            let more = match lane.gap() {
                None => self.take(lane, now)?,
                Some(_) => self.give_up(lane, now)?,
            };
            if !more {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Puts some input into the lane; gives whether to go on.
    fn take(&mut self, lane: &mut LaneWriter, now: Instant) -> io::Result<bool> {
        let result = match self.room(lane) {
            _ if self.is_over() => self.end(lane),
            Err(error) => Err(error),
            Ok(_) if !self.pending.is_empty() => self.append(lane),
            Ok(room) if self.splices => return Ok(self.splice(lane, room, now)),
            Ok(_) => return self.fill(),
        };
        Ok(self.settle(lane, result, now))
    }

    /// How many bytes may come.
    fn room(&self, lane: &LaneWriter) -> io::Result<u64> {
        let Some(bytes_max) = self.bytes_max else {
            return Ok(u64::MAX);
        };
        match bytes_max.saturating_sub(lane.waiting_bytes()?) {
            0 => Err(io::Error::other(
                "as many bytes wait as may (--queue-bytes)",
            )),
            room => Ok(room),
        }
    }

    fn append(&mut self, lane: &mut LaneWriter) -> io::Result<()> {
        let count = lane.append(&self.buffer[self.pending.clone()])?;
        self.pending.start += count;
        self.counts.spooled_bytes += count as u64;
        Ok(())
    }

    /// The input has ended: so does its last line.
    fn end(&mut self, lane: &mut LaneWriter) -> io::Result<()> {
        if lane.in_line() {
            lane.end_line()?;
            self.counts.unterminated_lines += 1;
        }
        self.ended = true;
        Ok(())
    }

    fn splice(&mut self, lane: &mut LaneWriter, room: u64, now: Instant) -> bool {
        match lane.splice(self.stdin.descriptor(), room) {
            Ok(0) => self.ending = true,
            Ok(count) => {
                self.full = false;
                self.counts.spooled_bytes += count as u64;
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.stdin.wait();
                    return false;
                }
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::InvalidInput => self.splices = false,
                _ => return self.settle(lane, Err(error), now),
            },
        }
        true
    }

    /// Reads some input into the buffer, which is empty; gives whether to go on.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer = match std::mem::take(&mut self.buffer) {
            buffer if buffer.is_empty() => vec![0; READ_BYTES].into_boxed_slice(),
            buffer => buffer,
        };
        match self.stdin.read(&mut self.buffer)? {
            Input::Bytes(count) => self.pending = 0..count,
            Input::End => self.ending = true,
            Input::Nothing | Input::Break => return Ok(false),
        }
        Ok(true)
    }

    /// What the disk said; gives whether to go on.
    fn settle(&mut self, lane: &mut LaneWriter, result: io::Result<()>, now: Instant) -> bool {
        let Err(error) = result else {
            self.full = false;
            return true;
        };
        if error.kind() == io::ErrorKind::NotFound {
            self.gone = true;
            return false;
        }
        self.reclaim(lane);
        if !self.full {
            // What is acknowledged of the last segment may have been the room that was needed.
            self.full = true;
            return true;
        }
        if self.throttle.admit(now).is_some() {
            let policy = match self.when_full {
                WhenFull::Block => "block",
                WhenFull::Drop => "drop",
            };
            log::warning("spool-full", &[("error", &error), ("when-full", &policy)]);
        }
        self.retry_at = Some(now + RETRY_INTERVAL);
        self.when_full == WhenFull::Drop && self.begin_gap(lane)
    }

    /// Begins to give up input; gives whether it may be.
    fn begin_gap(&mut self, lane: &mut LaneWriter) -> bool {
        match lane.begin_gap() {
            Ok(Some(gap)) => {
                let bytes = gap.end - gap.start;
                // Some of it may be what an earlier process has put there.
                self.counts.spooled_bytes = self.counts.spooled_bytes.saturating_sub(bytes);
                self.counts.dropped_bytes += bytes;
                self.dropped_line_end = bytes == 0;
                self.retry_at = None;
                return true;
            }
            // All places for gaps are taken, or none can be written: as nothing is given up in
            // silence, the input waits.
            Ok(None) => {}
            Err(error) => log::debug("gap-refused", &[("error", &error)]),
        }
        false
    }

    fn reclaim(&mut self, lane: &mut LaneWriter) {
        if let Err(error) = lane.reclaim() {
            log::debug("nothing-reclaimed", &[("error", &error)]);
        }
    }

    /// Drops some input, or ends the gap where there is room again; gives whether to go on.
    fn give_up(&mut self, lane: &mut LaneWriter, now: Instant) -> io::Result<bool> {
        let resume = self.ending || self.may_resume(lane);
        if resume && self.dropped_line_end {
            return Ok(self.end_gap(lane, now));
        }
        if self.pending.is_empty() && !self.ending {
            let more = self.fill()?;
            if !more {
                // The gap is to end soon after there is room, whether more input comes or not.
                self.retry_at = Some(now + RETRY_INTERVAL);
            }
            return Ok(more);
        }
        let bytes = &self.buffer[self.pending.clone()];
        let count = match memchr(b'\n', bytes) {
            Some(newline) if resume => newline + 1,
            _ => bytes.len(),
        };
        let mut lines = memchr_iter(b'\n', &bytes[..count]).count() as u64;
        if let Some(last) = bytes[..count].last() {
            self.dropped_line_end = *last == b'\n';
        }
        if self.ending && !self.dropped_line_end {
            lines += 1;
            self.dropped_line_end = true;
        }
        self.pending.start += count;
        self.counts.dropped_bytes += count as u64;
        self.counts.dropped_lines += lines;
        if let Err(error) = lane.grow_gap(count as u64, lines) {
            log::debug("gap-refused", &[("error", &error)]);
        }
        Ok(true)
    }

    fn may_resume(&mut self, lane: &mut LaneWriter) -> bool {
        self.reclaim(lane);
        let room = self.room(lane).unwrap_or(0);
        let free = lane.free_bytes().unwrap_or(0).min(room);
        // A lane that may not hold so much at all goes on when it is empty.
        free >= self
            .bytes_max
            .map_or(RESUME_BYTES, |max| max.min(RESUME_BYTES))
    }

    fn end_gap(&mut self, lane: &mut LaneWriter, now: Instant) -> bool {
        match lane.end_gap() {
            Ok(Some(gap)) => {
                let fields: log::Fields = &[
                    ("lines", &gap.lines),
                    ("bytes", &(gap.end - gap.start)),
                    ("offset", &gap.start),
                ];
                log::warning("gap", fields);
                self.gaps.push(gap);
                true
            }
            Ok(None) => true,
            Err(error) => {
                log::debug("gap-refused", &[("error", &error)]);
                self.retry_at = Some(now + RETRY_INTERVAL);
                false
            }
        }
    }
}
