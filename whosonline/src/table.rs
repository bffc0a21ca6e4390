//! The table and the time that it goes by: all that replicas must have in common.

use crate::clock::StreamClock;
use crate::presence::{Limits, Presence};

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

    /// Takes what a line says: its stamp, and who has loaded which page.
    pub fn take(&mut self, stamp: Option<u64>, hit: Option<UserAndPage<'_>>) {
        if let Some(stamp) = stamp {
            let now = self.clock.see(stamp);
            self.since.get_or_insert(now);
            self.presence
                .advance(u32::try_from(now).unwrap_or(u32::MAX));
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
