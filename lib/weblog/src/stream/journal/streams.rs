//! Which bytes of which streams a journal has.

use std::collections::BTreeMap;

use super::super::StreamId;
use super::super::ranges::Ranges;

/// Bound: streams that are known. Each start of a publisher makes one, so there is no end to them:
/// the one to which nothing was added for the longest makes room for the next.
/// The tests' journals are small.
const STREAMS_MAX: usize = if cfg!(test) { 6 } else { 1 << 16 };

/// What is here of a stream.
#[derive(Clone, Debug, Default)]
struct Known {
    ranges: Ranges,
    /// Its key in the order.
    added_at: u64,
}

/// The streams, and the order in which something was added to them last. Both are functions of the
/// journal's entries, so that all who have the same entries forget the same stream.
#[derive(Debug, Default)]
pub(super) struct Streams {
    known: BTreeMap<StreamId, Known>,
    order: BTreeMap<u64, StreamId>,
    next: u64,
}

/// What [`Streams::add`] has changed besides the bytes, to be taken back with them.
#[derive(Clone, Debug)]
pub(super) struct Added {
    /// Where the stream stood in the order; none if it was not known.
    before: Option<u64>,
    forgotten: Option<(StreamId, Known)>,
}

impl Streams {
    /// Adds `start..end` to a stream, of which it was not here.
    pub(super) fn add(&mut self, stream: StreamId, start: u64, end: u64) -> Added {
        let before = self.known.get(&stream).map(|known| known.added_at);
        let forgotten = match before {
            Some(_) => None,
            None => self.make_room(),
        };
        self.place_last(stream).insert(start, end);
        Added { before, forgotten }
    }

    /// Takes back what was added last.
    pub(super) fn take_back(&mut self, stream: StreamId, start: u64, end: u64, added: Added) {
        let Some(mut known) = self.known.remove(&stream) else {
            return;
        };
        self.order.remove(&known.added_at);
        if let Some(before) = added.before {
            known.ranges.remove(start, end);
            known.added_at = before;
            self.put(stream, known);
        }
        if let Some((stream, known)) = added.forgotten {
            self.put(stream, known);
        }
    }

    /// These ranges of a stream are here, as the beginning of a segment says; one that is known
    /// keeps its place in the order.
    pub(super) fn know(&mut self, stream: StreamId, ranges: &[(u64, u64)]) {
        if !self.known.contains_key(&stream) {
            self.make_room();
            self.place_last(stream);
        }
        if let Some(known) = self.known.get_mut(&stream) {
            for &(start, end) in ranges {
                known.ranges.insert(start, end);
            }
        }
    }

    /// The parts of `start..end` that are not here.
    pub(super) fn missing(&self, stream: StreamId, start: u64, end: u64) -> Vec<(u64, u64)> {
        match self.known.get(&stream) {
            Some(known) => known.ranges.missing(start, end),
            None if start < end => vec![(start, end)],
            None => Vec::new(),
        }
    }

    /// The streams, the one that makes room next at the front.
    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &Ranges)> {
        let known = |stream: &StreamId| Some((*stream, &self.known.get(stream)?.ranges));
        self.order.values().filter_map(known)
    }

    fn make_room(&mut self) -> Option<(StreamId, Known)> {
        if self.known.len() < STREAMS_MAX {
            return None;
        }
        let (_, stream) = self.order.pop_first()?;
        let known = self.known.remove(&stream)?;
        Some((stream, known))
    }

    /// The stream becomes the one to which something was added last; gives its ranges.
    fn place_last(&mut self, stream: StreamId) -> &mut Ranges {
        let known = self.known.entry(stream).or_default();
        self.order.remove(&known.added_at);
        self.next += 1;
        known.added_at = self.next;
        self.order.insert(self.next, stream);
        &mut known.ranges
    }

    fn put(&mut self, stream: StreamId, known: Known) {
        self.order.insert(known.added_at, stream);
        self.known.insert(stream, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> StreamId {
        StreamId([number as u8; 16])
    }

    fn listed(streams: &Streams) -> Vec<(StreamId, Vec<(u64, u64)>)> {
        let list = streams.iter();
        list.map(|(stream, ranges)| (stream, ranges.iter().collect()))
            .collect()
    }

    /// Random adding and taking back, against lists that are copied before each step.
    #[test]
    fn the_stream_that_grew_last_stays_and_all_can_be_taken_back() {
        let mut state = 3_u64;
        let mut random = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % bound
        };
        let mut streams = Streams::default();
        let mut model: Vec<(StreamId, Vec<(u64, u64)>)> = Vec::new();
        let mut undo = Vec::new();
        let (mut offset, mut forgotten) = (0, 0);
        for step in 0..20_000 {
            if random(3) == 0 {
                if let Some((before, stream, start, added)) = undo.pop() {
                    streams.take_back(stream, start, start + 4, added);
                    model = before;
                }
            } else {
                let stream = id(random(9));
                // Ranges that do not touch, or the model would have to join them.
                offset += 5;
                let before = model.clone();
                let mut ranges = match model.iter().position(|(known, _)| *known == stream) {
                    Some(at) => model.remove(at).1,
                    None => Vec::new(),
                };
                if model.len() == STREAMS_MAX {
                    model.remove(0);
                    forgotten += 1;
                }
                ranges.push((offset, offset + 4));
                model.push((stream, ranges));
                let added = streams.add(stream, offset, offset + 4);
                undo.push((before, stream, offset, added));
            }
            undo.drain(..undo.len().saturating_sub(20));
            assert_eq!(listed(&streams), model, "step {step}");
            // A journal that begins behind a segment's head knows the same.
            let mut read = Streams::default();
            for (stream, ranges) in &model {
                read.know(*stream, ranges);
            }
            assert_eq!(listed(&read), model, "step {step}");
        }
        assert!(forgotten > 1000, "{forgotten} forgotten");
    }

    #[test]
    fn a_peer_that_tells_of_too_many_streams_is_not_believed_in_all_of_them() {
        let mut streams = Streams::default();
        for number in 0..200 {
            streams.know(id(number), &[(0, 10)]);
        }
        assert_eq!(streams.iter().count(), STREAMS_MAX);
        assert_eq!(streams.missing(id(199), 0, 10), []);
    }
}
