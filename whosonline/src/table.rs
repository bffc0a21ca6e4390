//! The table and the time that it goes by: all that replicas must have in common.

use group::Name;
use memchr::memchr_iter;

use crate::clock::StreamClock;
use crate::hits::Hits;
use crate::presence::{Hit, Limits, Presence};

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
        self.since
            .is_some_and(|since| self.time().saturating_sub(since) > window)
    }

    /// Takes whole lines.
    pub fn take_lines(&mut self, hits: &mut Hits, lines: &[u8]) {
        let mut arrivals = self.presence.arrivals();
        let mut begin = 0;
        for end in memchr_iter(b'\n', lines) {
            let (stamp, hit) = hits.read(&lines[begin..end]);
            begin = end + 1;
            if let Some(stamp) = stamp {
                self.clock.see(stamp);
            }
            if let Some(hit) = hit {
                let seen = self.clock.seconds();
                arrivals.push(Hit { seen, ..hit });
            }
        }
        arrivals.finish();
        self.keep_time();
    }

    /// Takes a logger's tick, in seconds since 1970.
    pub fn tick(&mut self, logger: Name, second: u64) {
        let before = (!self.clock.is_ticking()).then(|| self.clock.now());
        self.clock.tick(logger, second);
        // Lines of a replayed log say nothing about today.
        let window = u64::from(self.limits.window);
        if before.is_some_and(|before| self.clock.now().saturating_sub(before) > window) {
            self.since = None;
        }
        self.keep_time();
    }

    /// Takes the members of the control group, among them the loggers that are there.
    pub fn keep_loggers(&mut self, members: &[Name]) {
        self.clock.keep_loggers(members);
        self.keep_time();
    }

    /// Makes the time of the users that of the clock.
    fn keep_time(&mut self) {
        let (now, seconds) = (self.clock.now(), self.clock.seconds());
        if now == 0 {
            return;
        }
        if seconds < self.presence.now() {
            self.presence.set_back(seconds);
        } else {
            self.presence.advance(seconds);
        }
        let since = self.since.get_or_insert(now);
        *since = now.min(*since);
    }

    /// Takes what a line says: its stamp, and who has loaded which page.
    pub fn take(&mut self, stamp: Option<u64>, hit: Option<UserAndPage<'_>>) {
        if let Some(stamp) = stamp {
            self.clock.see(stamp);
            self.keep_time();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new(Limits {
            window: 1800,
            users_max: 10,
            pages_max: 10,
        })
    }

    fn logger() -> Name {
        Name::new(b"#sl1#h").unwrap()
    }

    #[test]
    fn ticks_let_users_go_when_no_lines_come() {
        let mut table = table();
        table.tick(logger(), 5000);
        // A line is written at the end of a request; this one took a day.
        table.take(Some(1), Some((b"ann", b"/x")));
        table.tick(logger(), 6800);
        assert_eq!(table.presence().find_user(b"ann").unwrap().age, 1800);
        table.tick(logger(), 6801);
        assert_eq!((table.presence().user_count(), table.time()), (0, 6801));
    }

    #[test]
    fn a_replayed_log_says_nothing_about_today() {
        let mut table = table();
        for stamp in [1000, 3000] {
            table.take(Some(stamp), Some((b"ann", b"/x")));
        }
        assert!(table.is_complete());
        table.tick(logger(), 9_000_000);
        assert!(!table.is_complete());
        assert_eq!(table.presence().user_count(), 0);
        table.take(Some(3001), Some((b"bob", b"/y")));
        table.keep_loggers(&[]);
        let bob = table.presence().find_user(b"bob").unwrap();
        assert_eq!((table.time(), bob.age), (3001, 0));
    }

    #[test]
    fn a_logger_that_comes_in_time_changes_nothing() {
        let mut table = table();
        for stamp in [1000, 3000] {
            table.take(Some(stamp), Some((b"ann", b"/x")));
        }
        table.tick(logger(), 2999);
        assert!(table.is_complete());
        assert_eq!(table.presence().find_user(b"ann").unwrap().age, 0);
    }
}
