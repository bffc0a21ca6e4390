//! What the stream has said since the place of a snapshot that is still on its way.

use group::Name;
use group::name::NAME_LENGTH;
use memchr::memchr_iter;

use crate::hits::Hits;
use crate::table::{Table, UserAndPage};

/// Bound: bytes that are kept; what is more makes the snapshot fail.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// Stands for a line without a stamp.
const NO_STAMP: u64 = u64::MAX;

/// In the place of a user's length: no hit; what it is stands in the place of the page's length.
const NO_HIT: u16 = u16::MAX;

/// A line that is no hit.
const LINE: u16 = 0;

/// The tick of a logger, whose private group follows.
const TICK: u16 = 1;

/// The members of the control group, which follow; their number is in the place of the stamp.
const LOGGERS: u16 = 2;

/// Stamps and hits, ticks and loggers, in order, as bytes: the stamp in 8, the lengths of user and
/// page in 2 each, and both names.
#[derive(Debug, Default)]
pub(super) struct Backlog(Vec<u8>);

/// There is no room.
#[derive(Debug)]
pub(super) struct Full;

impl Backlog {
    pub(super) fn push_lines(&mut self, hits: &mut Hits, lines: &[u8]) -> Result<(), Full> {
        let mut begin = 0;
        for end in memchr_iter(b'\n', lines) {
            let (stamp, hit) = hits.read(&lines[begin..end]);
            self.push(stamp, hit.as_ref().map(|hit| (&*hit.user, &*hit.page)))?;
            begin = end + 1;
        }
        Ok(())
    }

    pub(super) fn push_tick(&mut self, logger: Name, second: u64) -> Result<(), Full> {
        self.push_head(second, [NO_HIT, TICK], NAME_LENGTH)?;
        self.0.extend(logger.to_field());
        Ok(())
    }

    pub(super) fn push_loggers(&mut self, members: &[Name]) -> Result<(), Full> {
        let bytes = members.len() * NAME_LENGTH;
        self.push_head(members.len() as u64, [NO_HIT, LOGGERS], bytes)?;
        self.0
            .extend(members.iter().flat_map(|name| name.to_field()));
        Ok(())
    }

    fn push(&mut self, stamp: Option<u64>, hit: Option<UserAndPage<'_>>) -> Result<(), Full> {
        // The table cuts names at the same length.
        let cut = |name: &'_ [u8]| name.len().min(usize::from(NO_HIT) - 1);
        let (user, page) = hit.unwrap_or_default();
        let (user, page) = (&user[..cut(user)], &page[..cut(page)]);
        let lengths = match hit {
            Some(_) => [user.len() as u16, page.len() as u16],
            None => [NO_HIT, LINE],
        };
        let stamp = stamp.unwrap_or(NO_STAMP);
        self.push_head(stamp, lengths, user.len() + page.len())?;
        self.0.extend(user);
        self.0.extend(page);
        Ok(())
    }

    /// Begins an entry, if there is room for it and so many bytes more.
    fn push_head(&mut self, number: u64, lengths: [u16; 2], more: usize) -> Result<(), Full> {
        if self.0.len() + 12 + more > BACKLOG_BYTES_MAX {
            return Err(Full);
        }
        self.0.extend(number.to_le_bytes());
        self.0
            .extend(lengths.into_iter().flat_map(u16::to_le_bytes));
        Ok(())
    }

    /// Tells a table everything, in the same order.
    pub(super) fn drain(self, table: &mut Table) {
        let mut rest = self.0.as_slice();
        while let Some((head, after)) = rest.split_first_chunk::<12>() {
            let [s0, s1, s2, s3, s4, s5, s6, s7, u0, u1, p0, p1] = *head;
            let number = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let stamp = (number != NO_STAMP).then_some(number);
            let lengths = (u16::from_le_bytes([u0, u1]), u16::from_le_bytes([p0, p1]));
            rest = match lengths {
                (NO_HIT, TICK) => {
                    let (logger, after) = after.split_at(NAME_LENGTH);
                    table.tick(Name::from_field(logger), number);
                    after
                }
                (NO_HIT, LOGGERS) => {
                    let (members, after) = after.split_at(number as usize * NAME_LENGTH);
                    let members: Vec<Name> =
                        members.chunks(NAME_LENGTH).map(Name::from_field).collect();
                    table.keep_loggers(&members);
                    after
                }
                (NO_HIT, _) => {
                    table.take(stamp, None);
                    after
                }
                (user, page) => {
                    let (user, after) = after.split_at(user.into());
                    let (page, after) = after.split_at(page.into());
                    table.take(stamp, Some((user, page)));
                    after
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::Limits;

    #[test]
    fn what_goes_in_comes_out() {
        let logger = Name::new(b"#sl1#h").unwrap();
        let mut backlog = Backlog::default();
        let (mut table, mut other) = ([(); 2].map(|()| {
            Table::new(Limits {
                window: 1800,
                users_max: 10,
                pages_max: 10,
            })
        }))
        .into();
        let lines: [(Option<u64>, Option<UserAndPage<'_>>); 4] = [
            (Some(7), Some((b"ann", b"/x"))),
            (None, None),
            (Some(9), None),
            (None, Some((b"", b"/y"))),
        ];
        for (stamp, hit) in lines {
            backlog.push(stamp, hit).unwrap();
            table.take(stamp, hit);
        }
        backlog.push_tick(logger, 1000).unwrap();
        table.tick(logger, 1000);
        backlog.push(Some(10), Some((b"bob", b"/x"))).unwrap();
        table.take(Some(10), Some((b"bob", b"/x")));
        backlog.push_loggers(&[logger, Name::EMPTY]).unwrap();
        backlog.push_loggers(&[]).unwrap();
        table.keep_loggers(&[]);
        backlog.drain(&mut other);
        assert_eq!(other.clock, table.clock);
        let visits = |table: &Table| format!("{:?}", table.presence.visits().collect::<Vec<_>>());
        assert_eq!(visits(&other), visits(&table));
        assert_eq!((other.time(), other.presence().user_count()), (10, 3));
    }

    #[test]
    fn it_is_bounded() {
        let mut backlog = Backlog::default();
        let page = [b'x'; 60_000];
        let count = (0..)
            .take_while(|_| backlog.push(Some(1), Some((b"ann", &page))).is_ok())
            .count();
        assert!(count > 1000);
        assert!(backlog.0.len() <= BACKLOG_BYTES_MAX);
    }
}
