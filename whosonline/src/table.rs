//! The table and the time that it goes by: all that replicas must have in common.

use memchr::memchr_iter;

use crate::clock::StreamClock;
use crate::hits::Hits;
use crate::presence::{BATCH, Hit, Limits, Presence};

/// Names of a user and of the page that the user has loaded.
pub type UserAndPage<'a> = (&'a [u8], &'a [u8]);

/// What the ordered lines have made so far.
#[derive(Debug)]
pub struct Table {
    pub(crate) limits: Limits,
    pub(crate) clock: StreamClock,
    pub(crate) presence: Presence,
    /// Since which time of the stream no line was missed.
    pub(crate) since: Option<u64>,
}

impl Table {
    /// Nobody is online.
    pub fn new(limits: Limits) -> Table {
        Table {
            limits,
            clock: StreamClock::default(),
            presence: Presence::new(limits),
            since: None,
        }
    }

    /// Who is online.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// The time of the stream, in seconds since 1970; 0 before the first stamp.
    pub fn time(&self) -> u64 {
        self.clock.now()
    }

    /// Whether lines have come for as long as a user stays online.
    pub fn is_complete(&self) -> bool {
        let window = u64::from(self.limits.window);
        self.since.is_some_and(|since| self.time() - since > window)
    }

    /// Takes whole lines.
    pub fn take_lines(&mut self, hits: &mut Hits, lines: &[u8]) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut begin = 0;
        for end in memchr_iter(b'\n', lines) {
            let (stamp, hit) = hits.read(&lines[begin..end]);
            begin = end + 1;
            if let Some(stamp) = stamp {
                self.see(stamp);
            }
            if let Some(hit) = hit {
                let seen = self.seconds();
                batch.push(Hit { seen, ..hit });
                if batch.len() == BATCH {
                    self.presence.hit_all(&batch);
                    batch.clear();
                }
            }
        }
        self.presence.hit_all(&batch);
        self.presence.advance(self.seconds());
    }

    fn see(&mut self, stamp: u64) {
        let now = self.clock.see(stamp);
        self.since.get_or_insert(now);
    }

    pub(crate) fn seconds(&self) -> u32 {
        u32::try_from(self.clock.now()).unwrap_or(u32::MAX)
    }

    /// Takes what a line says: its stamp, and who has loaded which page.
    pub fn take(&mut self, stamp: Option<u64>, hit: Option<UserAndPage<'_>>) {
        if let Some(stamp) = stamp {
            self.see(stamp);
            self.presence.advance(self.seconds());
        }
        if let Some((user, page)) = hit {
            self.presence.hit(user, page);
        }
    }

    /// Lines are missing here; what they would have brought comes back within a window.
    pub fn interrupt(&mut self) {
        self.since = None;
    }
}
