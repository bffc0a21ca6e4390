//! What lines have said since the place of a snapshot that is still on its way.

use memchr::memchr_iter;

use crate::hits::Hits;
use crate::table::UserAndPage;

/// Bound: bytes that are kept; what is more makes the snapshot fail.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// Stands for a line without a stamp.
const NO_STAMP: u64 = u64::MAX;

/// Stands for a line that is no hit.
const NO_HIT: u16 = u16::MAX;

/// Stamps and hits, in order, as bytes: the stamp in 8, the lengths of user and page in 2 each,
/// and both names.
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

    fn push(&mut self, stamp: Option<u64>, hit: Option<UserAndPage<'_>>) -> Result<(), Full> {
        // The table cuts names at the same length.
        let cut = |name: &'_ [u8]| name.len().min(usize::from(NO_HIT) - 1);
        let (user, page) = hit.unwrap_or_default();
        let (user, page) = (&user[..cut(user)], &page[..cut(page)]);
        if self.0.len() + 12 + user.len() + page.len() > BACKLOG_BYTES_MAX {
            return Err(Full);
        }
        let lengths = match hit {
            Some(_) => [user.len() as u16, page.len() as u16],
            None => [NO_HIT, 0],
        };
        self.0.extend(stamp.unwrap_or(NO_STAMP).to_le_bytes());
        self.0
            .extend(lengths.into_iter().flat_map(u16::to_le_bytes));
        self.0.extend(user);
        self.0.extend(page);
        Ok(())
    }

    /// Gives everything back in the same order.
    pub(super) fn drain(self, mut take: impl FnMut(Option<u64>, Option<UserAndPage<'_>>)) {
        let mut rest = self.0.as_slice();
        while let Some((head, after)) = rest.split_first_chunk::<12>() {
            let [s0, s1, s2, s3, s4, s5, s6, s7, u0, u1, p0, p1] = *head;
            let stamp = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let stamp = (stamp != NO_STAMP).then_some(stamp);
            let (user, page) = (u16::from_le_bytes([u0, u1]), u16::from_le_bytes([p0, p1]));
            if user == NO_HIT {
                take(stamp, None);
                rest = after;
                continue;
            }
            let (user, after) = after.split_at(user.into());
            let (page, after) = after.split_at(page.into());
            take(stamp, Some((user, page)));
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let lines: [(Option<u64>, Option<UserAndPage<'_>>); 4] = [
            (Some(7), Some((b"ann", b"/x"))),
            (None, None),
            (Some(0), None),
            (None, Some((b"", b""))),
        ];
        let mut backlog = Backlog::default();
        for (stamp, hit) in lines {
            backlog.push(stamp, hit).unwrap();
        }
        let mut got = 0;
        backlog.drain(|stamp, hit| {
            assert_eq!((stamp, hit), lines[got]);
            got += 1;
        });
        assert_eq!(got, lines.len());
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
