//! Answers that are prepared, head and body in one file, for what is asked for very often.
//!
//! sendfile(2) puts nothing before a file, so a hit that is sent from its file takes one system call
//! for the head and one for the body. An object that is sent more often than it is worth is therefore
//! copied behind its head, by a thread of the disk, into a file without a name. Such an answer is true
//! for the one second in which `Age` and `ttl` have its values. Then another one is made, as the
//! kernel may still be sending it. A file that lives so shortly is in memory only, as a rule; one of
//! memfd_create(2) was slower, as the page cache has larger pages for a disk's files.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::entry::Entry;
use crate::root::{Object, Root};

/// Longer bodies are not copied: their heads are a small part of the effort.
pub(crate) const BODY_MAX: u64 = 1 << 20;

/// An object is prepared if it is sent so often in a second, and once more for each so many bytes:
/// about what a system call costs beside copying them.
const HITS_MIN: u64 = 64;
const BYTES_PER_HIT: u64 = 4 << 10;

/// Bound: all of them together take this part of the memory for bodies, beside it.
const SHARE: usize = 4;

/// No answer is of use for longer.
const LIFE: Duration = Duration::from_secs(1);

/// What a head says that is true for a second only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Second {
    /// The age, in seconds.
    pub(crate) age: u64,
    /// Seconds for which it is fresh.
    pub(crate) ttl: u64,
}

/// An answer in a file, which nobody changes.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) file: File,
    /// Bytes of the head.
    pub(crate) head: u64,
    /// Bytes of head and body.
    pub(crate) length: u64,
    made: Instant,
}

impl Prepared {
    /// Copies all of an object behind a head. Takes the disk's time.
    ///
    /// # Errors
    /// There is no room, or not all of the body can be read.
    fn new(mut file: File, object: &Object, head: &[u8], length: u64) -> io::Result<Prepared> {
        file.write_all(head)?;
        object.read_through(0..object.meta.body.size, |piece| file.write_all(piece))?;
        if file.metadata()?.len() != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Prepared {
            file,
            head: head.len() as u64,
            length,
            made: Instant::now(),
        })
    }
}

/// How often an object is asked for, and the answer that is prepared for it.
#[derive(Debug, Default)]
pub(crate) struct Demand(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    second: Second,
    /// In this second.
    hits: u64,
    /// In the second before.
    hits_before: u64,
    /// Whether it is being prepared for this second.
    is_ordered: bool,
    prepared: Weak<Prepared>,
    prepared_for: Second,
}

/// What is to be done about a hit.
#[derive(Debug)]
pub(crate) enum Supply {
    Ready(Arc<Prepared>),
    /// To be prepared, for the hits that follow.
    Due,
    /// To be sent from its file.
    Plain,
}

impl Demand {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a hit of an object of this size.
    pub(crate) fn hit(&self, second: Second, size: u64) -> Supply {
        if size > BODY_MAX {
            return Supply::Plain;
        }
        let mut counts = self.counts();
        if counts.second != second {
            let follows = counts.second.age + 1 == second.age;
            counts.hits_before = if follows { counts.hits } else { 0 };
            counts.second = second;
            counts.hits = 0;
            counts.is_ordered = false;
        }
        counts.hits += 1;
        if counts.prepared_for == second
            && let Some(prepared) = counts.prepared.upgrade()
        {
            return Supply::Ready(prepared);
        }
        let worth = HITS_MIN + size / BYTES_PER_HIT;
        if counts.is_ordered || counts.hits.max(counts.hits_before) < worth {
            return Supply::Plain;
        }
        counts.is_ordered = true;
        Supply::Due
    }

    /// Here is the answer that was due.
    fn supply(&self, prepared: &Arc<Prepared>, second: Second) {
        let mut counts = self.counts();
        counts.prepared = Arc::downgrade(prepared);
        counts.prepared_for = second;
    }
}

/// All that are prepared. To close a file is to delete it, which may be to wait for the disk, so
/// those that nobody sends any more are dropped here and not where they were sent.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: Vec<Arc<Prepared>>,
    bytes: usize,
}

impl Answers {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept().bytes == 0
    }

    /// Prepares the answer with a head and all of its object, if there is room beside `memory_max`
    /// bytes for bodies. Takes the disk's time.
    pub(crate) fn prepare(
        &self,
        root: &Root,
        entry: &Entry,
        head: &[u8],
        second: Second,
        memory_max: usize,
    ) {
        let length = head.len() as u64 + entry.object.meta.body.size;
        if !self.take(length as usize, memory_max) {
            return;
        }
        let prepared = root
            .nameless()
            .and_then(|file| Prepared::new(file, &entry.object, head, length));
        match prepared {
            Ok(prepared) => {
                let prepared = Arc::new(prepared);
                entry.demand.supply(&prepared, second);
                self.kept().answers.push(prepared);
            }
            // Not every file system has files without names. Hits are sent as before.
            Err(_) => self.kept().bytes -= length as usize,
        }
    }

    /// Takes so many bytes of the room; whether they are there.
    fn take(&self, bytes: usize, memory_max: usize) -> bool {
        let mut kept = self.kept();
        let is_room = kept.bytes + bytes <= memory_max / SHARE;
        kept.bytes += if is_room { bytes } else { 0 };
        is_room
    }

    /// Drops those whose second was over by this time and that nobody sends any more. Takes the
    /// disk's time.
    pub(crate) fn tidy(&self, now: Instant) {
        let is_over = |answer: &mut Arc<Prepared>| {
            now.saturating_duration_since(answer.made) > LIFE && Arc::strong_count(answer) == 1
        };
        let mut kept = self.kept();
        let over: Vec<_> = kept.answers.extract_if(.., is_over).collect();
        kept.bytes -= over
            .iter()
            .map(|answer| answer.length as usize)
            .sum::<usize>();
        drop(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 100_000;

    fn second(age: u64) -> Second {
        Second {
            age,
            ttl: 100 - age,
        }
    }

    fn prepared(length: u64) -> Arc<Prepared> {
        Arc::new(Prepared {
            file: File::open("/dev/null").unwrap(),
            head: 0,
            length,
            made: Instant::now(),
        })
    }

    /// Hits until one is due; none if none is in that many.
    fn due_after(demand: &Demand, second: Second, hits: u64) -> Option<u64> {
        (1..=hits).find(|_| matches!(demand.hit(second, SIZE), Supply::Due))
    }

    #[test]
    fn what_is_asked_for_often_is_prepared_once_a_second() {
        let (demand, answer) = (Demand::default(), prepared(1));
        let worth = HITS_MIN + SIZE / BYTES_PER_HIT;
        assert_eq!(due_after(&demand, second(1), 1000), Some(worth));
        assert_eq!(due_after(&demand, second(1), 1000), None, "it is under way");
        demand.supply(&answer, second(1));
        assert!(matches!(demand.hit(second(1), SIZE), Supply::Ready(_)));
        // What was wanted in the second before is wanted at once, and what was prepared is old.
        assert_eq!(due_after(&demand, second(2), 1000), Some(1));
        demand.supply(&answer, second(2));
        assert!(matches!(demand.hit(second(2), SIZE), Supply::Ready(_)));
        // Not after a pause, nor after a second in which it was hardly asked for.
        assert_eq!(due_after(&demand, second(4), worth - 1), None);
        assert_eq!(due_after(&demand, second(6), 1), None);
        assert_eq!(due_after(&demand, second(7), worth - 1), None);
    }

    #[test]
    fn an_answer_is_for_its_age_and_ttl_only() {
        let (demand, answer) = (Demand::default(), prepared(1));
        demand.supply(&answer, second(1));
        assert!(matches!(demand.hit(second(1), SIZE), Supply::Ready(_)));
        let other = Second { age: 1, ttl: 5 };
        assert!(matches!(demand.hit(other, SIZE), Supply::Plain));
    }

    #[test]
    fn long_bodies_are_not_prepared() {
        let demand = Demand::default();
        let is_plain = |_| matches!(demand.hit(second(1), BODY_MAX + 1), Supply::Plain);
        assert!((0..10_000).all(is_plain));
    }

    #[test]
    fn room_is_bounded_and_given_back_when_nobody_sends_any_more() {
        let answers = Answers::default();
        assert!(answers.take(1000, 8000) && answers.take(1000, 8000));
        assert!(!answers.take(1, 8000));
        let sent = prepared(1000);
        answers.kept().answers = vec![Arc::clone(&sent), prepared(1000)];
        let later = Instant::now() + LIFE;
        answers.tidy(later - LIFE);
        assert_eq!(answers.kept().bytes, 2000, "its second is not over");
        answers.tidy(later + LIFE);
        assert_eq!(answers.kept().bytes, 1000, "one is being sent");
        drop(sent);
        answers.tidy(later + LIFE);
        assert!(answers.is_empty());
    }
}
