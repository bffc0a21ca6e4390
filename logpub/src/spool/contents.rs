//! What there is to publish of a lane: found in its files, whoever wrote them and however it ended.

use std::io;

use weblog::stream::{Gap, LINE_BREAK_BYTES};

use super::gaps::Gaps;
use super::segments::Segments;

/// The part of a lane that is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Everything before it is acknowledged.
    pub(crate) acknowledged: u64,
    /// The gaps after that, in order.
    pub(crate) gaps: Vec<Gap>,
    /// Where the last whole line ends.
    pub(crate) whole: u64,
    /// Where the bytes end. What lies between is the beginning of a line.
    pub(crate) end: u64,
    /// Where bytes are missing that nobody has given up: a disk has lost them.
    pub(crate) damage: Vec<Gap>,
}

impl Contents {
    /// Looks through the files.
    ///
    /// `acknowledged` is none if that was lost: then everything that is there counts as new, and
    /// the loggers know better.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn find(
        segments: &mut Segments,
        gaps: &Gaps,
        acknowledged: Option<u64>,
    ) -> io::Result<Contents> {
        let slots = gaps.load(acknowledged.unwrap_or(0))?;
        let growing = slots.iter().find(|(_, slot)| slot.growing);
        let limit = growing.map_or(u64::MAX, |(_, slot)| slot.gap.start);
        let closed = slots.iter().filter(|(_, slot)| !slot.growing);
        let gaps: Vec<Gap> = closed.map(|(_, slot)| slot.gap).collect();
        // What was removed is acknowledged, even if that could not be written down.
        let acknowledged = acknowledged.unwrap_or(0).max(first_offset(segments, &gaps));
        let mut contents = Contents {
            acknowledged,
            whole: acknowledged,
            end: acknowledged,
            gaps: Vec::new(),
            damage: Vec::new(),
        };
        contents.add_gaps(segments, gaps)?;
        contents.add_lines(segments, limit)?;
        Ok(contents)
    }

    /// Takes the known gaps and those between segments, in order.
    fn add_gaps(&mut self, segments: &mut Segments, known: Vec<Gap>) -> io::Result<()> {
        let mut gaps = known.clone();
        let starts: Vec<u64> = segments.starts().collect();
        for pair in starts.windows(2) {
            let (end, next) = (segments.end_of(pair[0])?, pair[1]);
            // As far as gaps, one behind the other, say what is missing.
            let end = known.iter().fold(end.max(self.acknowledged), |end, gap| {
                match gap.start <= end {
                    true => end.max(gap.end),
                    false => end,
                }
            });
            if end < next {
                let damage = self.widen(segments, end, next, &gaps)?;
                self.damage.push(damage);
                gaps.push(damage);
            }
        }
        gaps.retain(|gap| gap.end > self.acknowledged);
        gaps.sort_by_key(|gap| gap.start);
        self.gaps = gaps;
        Ok(())
    }

    /// A hole in the bytes, with the lines that it has torn.
    fn widen(
        &self,
        segments: &mut Segments,
        end: u64,
        next: u64,
        known: &[Gap],
    ) -> io::Result<Gap> {
        let before = known.iter().filter(|gap| gap.end <= end);
        let from = before.map(|gap| gap.end).max().unwrap_or(0);
        let from = from.max(self.acknowledged);
        // Only what is in one piece can be read.
        let piece = segments.starts().take_while(|&start| start <= end).last();
        let from = from.max(piece.unwrap_or(0));
        let start = segments.last_line_end(from, end)?.unwrap_or(from);
        let last = segments.end_of(next)?;
        let end = segments.first_line_end(next, last)?.unwrap_or(last);
        let lines = 0;
        Ok(Gap { start, end, lines })
    }

    /// Finds where the whole lines end.
    fn add_lines(&mut self, segments: &mut Segments, limit: u64) -> io::Result<()> {
        let bytes_end = segments.end()?.unwrap_or(0).min(limit);
        let gaps_end = self.gaps.last().map_or(0, |gap| gap.end);
        let base = self.acknowledged.max(gaps_end);
        self.whole = base;
        self.end = base.max(bytes_end);
        if bytes_end > base {
            let line_end = segments.last_line_end(base, bytes_end)?;
            self.whole = line_end.unwrap_or(base);
        }
        self.whole = broken(self.whole, self.end);
        Ok(())
    }
}

/// Where the publishable part ends, if a line begins at `line` and has not ended before `end`.
pub(crate) fn broken(line: u64, end: u64) -> u64 {
    line + (end - line) / LINE_BREAK_BYTES * LINE_BREAK_BYTES
}

/// The first offset of which anything is there.
fn first_offset(segments: &Segments, gaps: &[Gap]) -> u64 {
    let first = segments.starts().next();
    let first = first.or(gaps.first().map(|gap| gap.start)).unwrap_or(0);
    let before = |start, gap: &Gap| if gap.end == start { gap.start } else { start };
    gaps.iter().rev().fold(first, before)
}
