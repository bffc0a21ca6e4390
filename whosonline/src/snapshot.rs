//! A table as bytes, for another whosonline.
//!
//! A snapshot is what the table holds as one hit per user, the oldest first: who takes it repeats
//! those hits and has the same table, each list in the same order. It travels in parts of whole
//! records. Numbers are little-endian. The first part begins with the head: time of the stream
//! (8 bytes), its latest stamp (8) and doubtful stamps (4), since when it is whole (8; all ones for
//! never), how many loggers tell their clocks (1), and of each the last tick (8) and the private
//! group (32, padded with zeros). A record is the time of the hit (4), the number of the page (4), where that is the next new one its length
//! (2) and name, then the length of the user's name (1) and the name.

use std::collections::{HashMap, VecDeque};

use group::Name;
use group::name::NAME_LENGTH;

use crate::clock::{LOGGERS_MAX, Stamps, StreamClock};
use crate::presence::{Limits, PAGE_BYTES_MAX};
use crate::table::Table;

/// Most bytes of a part.
pub const PART_BYTES_MAX: usize = 64 << 10;

/// No record is longer than this: a part is full when another one might not fit.
const RECORD_BYTES_MAX: usize = 4 + 4 + 2 + PAGE_BYTES_MAX + 1 + 255;

/// Writes a table; there is always a first part.
pub fn write(table: &Table) -> VecDeque<Vec<u8>> {
    let mut parts = VecDeque::new();
    let mut part = head(table);
    let mut pages: HashMap<&[u8], u32> = HashMap::new();
    for visit in table.presence.visits() {
        if part.len() + RECORD_BYTES_MAX > PART_BYTES_MAX {
            parts.push_back(std::mem::take(&mut part));
        }
        part.extend((table.presence.now() - visit.age).to_le_bytes());
        let next = pages.len() as u32;
        let page = *pages.entry(visit.page).or_insert(next);
        part.extend(page.to_le_bytes());
        if page == next {
            part.extend((visit.page.len() as u16).to_le_bytes());
            part.extend(visit.page);
        }
        part.push(visit.user.len() as u8);
        part.extend(visit.user);
    }
    parts.push_back(part);
    parts
}

fn head(table: &Table) -> Vec<u8> {
    let clock = &table.clock;
    let mut head = clock.now.to_le_bytes().to_vec();
    head.extend(clock.stamps.latest.to_le_bytes());
    head.extend(clock.stamps.ahead.to_le_bytes());
    head.extend(table.since.unwrap_or(u64::MAX).to_le_bytes());
    head.push(clock.ticks.len() as u8);
    for (logger, second) in &clock.ticks {
        head.extend(second.to_le_bytes());
        head.extend(logger.to_field());
    }
    head
}

/// The bytes are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Makes a table out of the parts of a snapshot.
///
/// Memory is bounded by the table's own limits, whatever the parts say.
#[derive(Debug)]
pub struct Reader {
    table: Table,
    clock: Option<StreamClock>,
    since: Option<u64>,
    pages: Vec<Box<[u8]>>,
}

impl Reader {
    /// For a table with these limits.
    pub fn new(limits: Limits) -> Reader {
        Reader {
            table: Table::new(limits),
            clock: None,
            since: None,
            pages: Vec::new(),
        }
    }

    /// Takes the next part.
    ///
    /// Errors: it is not one; the snapshot is of no use any more.
    pub fn take(&mut self, part: &[u8]) -> Result<(), Malformed> {
        let mut rest = Bytes(part);
        if self.clock.is_none() {
            self.take_head(&mut rest)?;
        }
        while !rest.0.is_empty() {
            let seen = u32::from_le_bytes(rest.array()?);
            let page = u32::from_le_bytes(rest.array()?) as usize;
            if page == self.pages.len() {
                let length = u16::from_le_bytes(rest.array()?);
                let name = rest.take(length.into())?;
                // Bound: a table has so many pages, and the page of all others.
                if self.pages.len() > self.table.limits.pages_max as usize {
                    return Err(Malformed);
                }
                self.pages.push(name.into());
            }
            let page = self.pages.get(page).ok_or(Malformed)?;
            let [length] = rest.array()?;
            let user = rest.take(length.into())?;
            self.table.presence.advance(seen);
            self.table.presence.hit(user, page);
        }
        Ok(())
    }

    fn take_head(&mut self, rest: &mut Bytes<'_>) -> Result<(), Malformed> {
        let mut clock = StreamClock {
            now: u64::from_le_bytes(rest.array()?),
            stamps: Stamps {
                latest: u64::from_le_bytes(rest.array()?),
                ahead: u32::from_le_bytes(rest.array()?),
            },
            ..StreamClock::default()
        };
        let since = u64::from_le_bytes(rest.array()?);
        self.since = (since != u64::MAX).then_some(since);
        let [loggers] = rest.array()?;
        if self.since.is_some_and(|since| since > clock.now) || usize::from(loggers) > LOGGERS_MAX {
            return Err(Malformed);
        }
        for _ in 0..loggers {
            let second = u64::from_le_bytes(rest.array()?);
            let logger = Name::from_field(&rest.array::<NAME_LENGTH>()?);
            clock.ticks.insert(logger, second);
        }
        self.clock = Some(clock);
        Ok(())
    }

    /// The table, after the last part.
    ///
    /// Errors: there was none.
    pub fn finish(mut self) -> Result<Table, Malformed> {
        self.table.clock = self.clock.ok_or(Malformed)?;
        self.table.since = self.since;
        self.table.presence.advance(self.table.clock.seconds());
        Ok(self.table)
    }
}

/// The rest of a part.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        window: 50,
        users_max: 40,
        pages_max: 6,
    };

    /// All that can be asked of a table.
    fn contents(table: &Table) -> String {
        let presence = table.presence();
        let visits: Vec<_> = presence.visits().collect();
        let top = presence.top_pages(1000);
        let lists: Vec<_> = top
            .iter()
            .map(|(page, _)| presence.visits_on(page).collect::<Vec<_>>())
            .collect();
        let clock = (&table.clock, table.since);
        format!("{clock:?} {visits:?} {top:?} {lists:?}")
    }

    fn read(parts: &VecDeque<Vec<u8>>) -> Result<Table, Malformed> {
        let mut reader = Reader::new(LIMITS);
        for part in parts {
            reader.take(part)?;
        }
        reader.finish()
    }

    #[test]
    fn many_parts() {
        let limits = Limits {
            users_max: 20_000,
            pages_max: 20_000,
            ..LIMITS
        };
        let mut table = Table::new(limits);
        for number in 0..20_000 {
            let (user, page) = (format!("user {number}"), format!("/{}", number % 9999));
            table.take(Some(1000), Some((user.as_bytes(), page.as_bytes())));
        }
        let parts = write(&table);
        assert!(parts.len() > 5 && parts.iter().all(|part| part.len() <= PART_BYTES_MAX));
        let mut reader = Reader::new(limits);
        for part in &parts {
            reader.take(part).unwrap();
        }
        assert_eq!(contents(&reader.finish().unwrap()), contents(&table));
    }

    proptest! {
        /// What happens after a snapshot is the same in both tables, too.
        #[test]
        fn a_table_goes_on_as_its_source_does(
            lines in proptest::collection::vec((0..9_u64, 0..60_u8, 0..9_u8), 0..200),
            at in 0..200_usize,
        ) {
            let at = at.min(lines.len());
            let mut source = Table::new(LIMITS);
            let mut copy = None;
            let mut time = 1000;
            for (index, (pause, user, page)) in lines.iter().enumerate() {
                if index == at {
                    copy = Some(read(&write(&source)).unwrap());
                }
                time += pause;
                // Stamps step back, and some are from a broken clock.
                let stamp = if user % 7 == 0 { time + 90_000 } else { time - pause / 2 };
                let logger = Name::new(&[b'#', b'a' + page, b'#', b'h']).unwrap();
                for table in [Some(&mut source), copy.as_mut()].into_iter().flatten() {
                    match user {
                        0..5 => table.tick(logger, time - u64::from(page % 2) * 20),
                        5..7 => table.keep_loggers(&[logger]),
                        _ => table.take(Some(stamp), Some((&[*user], &[b'/', *page]))),
                    }
                }
            }
            let copy = match copy {
                Some(copy) => copy,
                None => read(&write(&source)).unwrap(),
            };
            prop_assert_eq!(contents(&copy), contents(&source));
        }

        #[test]
        fn nonsense_is_refused_or_read_and_never_harms(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
            whole in any::<bool>(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            if whole {
                let mut table = Table::new(LIMITS);
                for user in 0..20_u8 {
                    table.take(Some(1000), Some((&[user], &[b'/', user % 7])));
                }
                bytes = write(&table).remove(0).unwrap();
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(table) = read(&VecDeque::from([bytes])) {
                prop_assert!(table.presence().user_count() <= LIMITS.users_max as usize);
                prop_assert!(table.presence().page_count() <= LIMITS.pages_max as usize);
            }
        }
    }
}
