//! Output to sessions: each message is encoded once, however many sessions of this daemon get it.
//!
//! The messages of one turn of the loop are encoded one after the other into a [`Page`]; each
//! session notes which ranges of the page are its own, neighbours joined, and at the end of the turn
//! writes them straight from it. Only what a socket does not take is kept, as references into one
//! copy of the page that the late sessions share.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::stream::Stream;

/// Pieces in one vectored write.
const SLICES_MAX: usize = 128;

/// The messages of one turn.
#[derive(Default)]
pub(crate) struct Page {
    bytes: Vec<u8>,
    shared: Option<Bytes>,
    /// Bytes of all that was kept and still is.
    kept: Arc<AtomicUsize>,
}

/// Part of the store: what sessions refer to, and nothing else does.
struct Kept {
    bytes: Vec<u8>,
    total: Arc<AtomicUsize>,
}

impl Kept {
    fn share(bytes: Vec<u8>, total: &Arc<AtomicUsize>) -> Bytes {
        // Relaxed: there is one thread; it is atomic as Bytes could go to others.
        total.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Kept {
            bytes,
            total: total.clone(),
        })
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Page {
    /// Appends what `encode` writes, and says where it is.
    pub(crate) fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.bytes.len();
        encode(&mut self.bytes);
        start..self.bytes.len()
    }

    /// How many bytes it holds.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes in memory for all sessions together, each counted once however many wait for it.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Forgets the turn; what was shared lives as long as sessions hold it.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.shared = None;
    }

    /// References to these ranges that outlive the turn.
    ///
    /// A session that gets little of the page must not hold all of it in memory: it gets a copy, so
    /// that a queue pins at most four times what it counts.
    fn keep(&mut self, ranges: &[Range<usize>]) -> Vec<Bytes> {
        if ranges.is_empty() {
            return Vec::new();
        }
        let total: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        if total * 4 >= self.bytes.len() {
            let (bytes, kept) = (&self.bytes, &self.kept);
            let shared = self
                .shared
                .get_or_insert_with(|| Kept::share(bytes.clone(), kept));
            return ranges
                .iter()
                .map(|range| shared.slice(range.clone()))
                .collect();
        }
        let mut own = Vec::with_capacity(total);
        for range in ranges {
            own.extend_from_slice(&self.bytes[range.clone()]);
        }
        let own = Kept::share(own, &self.kept);
        let mut at = 0;
        let mut piece = |range: &Range<usize>| {
            at += range.len();
            own.slice(at - range.len()..at)
        };
        ranges.iter().map(&mut piece).collect()
    }
}

/// What one session still has to be sent.
#[derive(Default)]
pub(crate) struct Output {
    /// Left over from earlier turns; the first may have been written in part.
    // Bound: the daemon disconnects a session that holds more than SessionQueueBytes, and the
    // session that holds most when the store has more than QueueBytes.
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Bytes that the socket has taken, ever.
    written_bytes: u64,
    /// This session's parts of the page, in order. Bound: the page is.
    ranges: Vec<Range<usize>>,
    /// The socket took less than it was given, and has not said since that it has room.
    full: bool,
    /// Nobody reads any more: everything is dropped.
    closed: bool,
    one_per_write: bool,
}

impl Output {
    /// The output of a session on this stream.
    pub(crate) fn new(stream: &Stream) -> Output {
        Output {
            one_per_write: stream.one_message_per_write(),
            ..Output::default()
        }
    }

    /// Adds a message of the page; says whether it is the session's first in this turn.
    pub(crate) fn push(&mut self, message: Range<usize>) -> bool {
        if self.closed {
            return false;
        }
        let first = self.ranges.is_empty();
        match self.ranges.last_mut() {
            Some(last) if last.end == message.start && !self.one_per_write => {
                last.end = message.end;
            }
            _ => self.ranges.push(message),
        }
        first
    }

    /// Bytes that the socket has not taken, those of the running turn aside.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Bytes that the socket has taken since the session began.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Drops everything, and what is yet to come.
    pub(crate) fn give_up(&mut self) {
        *self = Output {
            closed: true,
            ..Output::default()
        };
    }

    /// The socket has room again.
    pub(crate) fn room(&mut self) {
        self.full = false;
    }

    /// Ends the turn: writes what the socket takes, and keeps the rest.
    ///
    /// Errors: the other side is gone; nothing more can be written.
    pub(crate) fn flush(&mut self, stream: &mut Stream, page: &mut Page) -> io::Result<()> {
        let result = self
            .write_queue(stream)
            .and_then(|()| self.write_ranges(stream, page));
        let kept = page.keep(&self.ranges);
        self.ranges.clear();
        self.queued_bytes += kept.iter().map(Bytes::len).sum::<usize>();
        self.queue.extend(kept);
        result
    }

    fn write_queue(&mut self, stream: &mut Stream) -> io::Result<()> {
        while !self.full && !self.queue.is_empty() {
            let slices_max = if self.one_per_write { 1 } else { SLICES_MAX };
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            let mut offered = 0;
            for (slice, bytes) in slices[..slices_max].iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(bytes);
                offered += bytes.len();
                count += 1;
            }
            let written = write(stream, &slices[..count])?;
            self.full = written < offered;
            self.queued_bytes -= written;
            self.written_bytes += written as u64;
            self.drop_written(written);
        }
        Ok(())
    }

    fn drop_written(&mut self, mut written: usize) {
        while let Some(first) = self.queue.front_mut() {
            if written < first.len() {
                drop(first.split_to(written));
                return;
            }
            written -= first.len();
            self.queue.pop_front();
        }
    }

    /// Leaves in `ranges` what was not written.
    fn write_ranges(&mut self, stream: &mut Stream, page: &Page) -> io::Result<()> {
        let mut done = 0;
        while !self.full && done < self.ranges.len() {
            let slices_max = if self.one_per_write { 1 } else { SLICES_MAX };
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            let mut offered = 0;
            for (slice, range) in slices[..slices_max].iter_mut().zip(&self.ranges[done..]) {
                *slice = IoSlice::new(&page.bytes[range.clone()]);
                offered += range.len();
                count += 1;
            }
            let mut written = write(stream, &slices[..count])?;
            self.written_bytes += written as u64;
            self.full = written < offered;
            while let Some(range) = self.ranges.get_mut(done) {
                if written < range.len() {
                    range.start += written;
                    break;
                }
                written -= range.len();
                done += 1;
            }
        }
        self.ranges.drain(..done);
        Ok(())
    }
}

/// Writes once; a full socket takes nothing.
fn write(stream: &mut Stream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match stream.write(slices) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use mio::net::UnixStream;
    use socket2::{Domain, Type};

    use super::*;

    fn message(page: &mut Page, byte: u8, length: usize) -> Range<usize> {
        page.append(|bytes| bytes.resize(bytes.len() + length, byte))
    }

    fn read_available(stream: &mut impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
        }
        bytes
    }

    #[test]
    fn neighbours_are_joined_and_what_is_not_taken_is_kept_in_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::Unix(ours);
        let mut output = Output::new(&stream);
        let mut page = Page::default();
        let mut expected = Vec::new();
        let mut received = Vec::new();
        for turn in 0..200_u8 {
            for part in 0..3 {
                let range = message(&mut page, turn.wrapping_add(part), 10_000);
                assert_eq!(output.push(range.clone()), part == 0);
                expected.extend_from_slice(&page.bytes[range]);
            }
            assert_eq!(output.ranges.len(), 1);
            output.flush(&mut stream, &mut page).unwrap();
            page.clear();
            if turn % 50 == 49 {
                assert!(output.queued_bytes() > 0, "a socket takes less than 1.5 MB");
                received.extend(read_available(&mut theirs));
                output.room();
            }
        }
        while output.queued_bytes() > 0 {
            output.room();
            output.flush(&mut stream, &mut page).unwrap();
            received.extend(read_available(&mut theirs));
        }
        received.extend(read_available(&mut theirs));
        assert!(
            received == expected,
            "{} bytes of {}",
            received.len(),
            expected.len()
        );
    }

    #[test]
    fn a_small_part_of_a_page_is_copied_and_a_large_one_shared() {
        let mut page = Page::default();
        let small = message(&mut page, 1, 100);
        let large = message(&mut page, 2, 900);
        let kept = page.keep(std::slice::from_ref(&small));
        assert_eq!(kept, [Bytes::from(vec![1; 100])]);
        assert!(page.shared.is_none());
        assert_eq!(page.kept_bytes(), 100);
        drop(kept);
        let kept = page.keep(&[small, large]);
        assert_eq!(kept[1], vec![2; 900]);
        assert!(page.shared.is_some());
        assert_eq!(page.kept_bytes(), 1000);
        let another_session = page.keep(std::slice::from_ref(&(0..1000)));
        assert_eq!(page.kept_bytes(), 1000, "each byte counts once");
        page.clear();
        drop(kept);
        assert_eq!(page.kept_bytes(), 1000);
        drop(another_session);
        assert_eq!(page.kept_bytes(), 0);
    }

    /// The writes that flush three messages, some of which may not be taken at once.
    fn writes(one_per_write: bool) -> Vec<Vec<u8>> {
        // Records keep the ends of writes, which a stream does not show.
        let (ours, theirs) = socket2::Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let ours = std::os::unix::net::UnixStream::from(OwnedFd::from(ours));
        let mut stream = Stream::Unix(UnixStream::from_std(ours));
        let mut output = Output::new(&stream);
        output.one_per_write = one_per_write;
        let mut page = Page::default();
        for byte in 0..3 {
            let range = message(&mut page, byte, 5);
            output.push(range);
        }
        output.flush(&mut stream, &mut page).unwrap();
        let mut theirs = std::fs::File::from(OwnedFd::from(theirs));
        std::iter::from_fn(|| {
            let mut record = vec![0; 100];
            let length = theirs.read(&mut record).ok().filter(|&length| length > 0)?;
            record.truncate(length);
            Some(record)
        })
        .collect()
    }

    #[test]
    fn tcp_gets_one_message_per_write_and_others_get_all_at_once() {
        assert_eq!(writes(true), [[0; 5], [1; 5], [2; 5]]);
        assert_eq!(writes(false), [[[0; 5], [1; 5], [2; 5]].concat()]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = Stream::Tcp(mio::net::TcpStream::from_std(theirs));
        assert!(Output::new(&stream).one_per_write);
    }

    #[test]
    fn a_closed_connection_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut stream = Stream::Unix(ours);
        let mut output = Output::new(&stream);
        let mut page = Page::default();
        let range = message(&mut page, 1, 1);
        output.push(range);
        let error = output.flush(&mut stream, &mut page).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
