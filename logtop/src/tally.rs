//! Counts over a window of the last seconds or the last hits, in constant time per hit.
//!
//! Each hit is kept as a few numbers until it leaves the window; then it is taken off what it was
//! added to. What has no room of its own is counted in the row [`OTHER`], so that sums are right
//! whatever strangers send.

use std::collections::{HashMap, VecDeque};

/// What rows can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Url,
    Host,
    Referer,
    Agent,
    Status,
    Vhost,
    User,
    Server,
}

impl Item {
    pub(crate) const ALL: [Item; 8] = [
        Item::Url,
        Item::Host,
        Item::Referer,
        Item::Agent,
        Item::Status,
        Item::Vhost,
        Item::User,
        Item::Server,
    ];

    /// The name, as options, the screen and JSON have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Item::Url => "url",
            Item::Host => "host",
            Item::Referer => "referer",
            Item::Agent => "agent",
            Item::Status => "status",
            Item::Vhost => "vhost",
            Item::User => "user",
            Item::Server => "server",
        }
    }

    pub(crate) fn next(self) -> Item {
        Item::ALL[(self as usize + 1) % Item::ALL.len()]
    }
}

/// The row of what has no room.
pub(crate) const OTHER: &[u8] = b"(other)";

/// Longest name of a row, in bytes; a longer one is cut.
const NAME_BYTES_MAX: usize = 512;

/// Sums of hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    /// By the first digit of the status; what has none is at 0.
    pub(crate) classes: [u64; 6],
}

impl Counts {
    fn add(&mut self, bytes: u64, class: u8) {
        self.requests += 1;
        self.bytes += bytes;
        self.classes[usize::from(class)] += 1;
    }

    fn subtract(&mut self, bytes: u64, class: u8) {
        self.requests -= 1;
        self.bytes -= bytes;
        self.classes[usize::from(class)] -= 1;
    }
}

/// What a hit was about, by item; none is the empty name.
pub(crate) type Names<'a> = [&'a [u8]; Item::ALL.len()];

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Hits older than so many seconds leave the window; none if it goes by hits.
    pub(crate) seconds: Option<u64>,
    /// Most hits in the window; when more come, the oldest leave it.
    pub(crate) hits: usize,
    /// Most rows of each item.
    pub(crate) rows: usize,
}

/// The window.
#[derive(Debug)]
pub(crate) struct Tally {
    limits: Limits,
    hits: VecDeque<Hit>,
    tables: [Table; Item::ALL.len()],
    /// Since the start, and in the window.
    pub(crate) all: Counts,
    pub(crate) window: Counts,
    /// Hits that left the window before their time.
    pub(crate) early: u64,
}

#[derive(Debug)]
struct Hit {
    second: u64,
    bytes: u64,
    class: u8,
    rows: [u32; Item::ALL.len()],
}

/// The rows of one item; the first is [`OTHER`].
#[derive(Debug)]
struct Table {
    by_name: HashMap<Box<[u8]>, u32>,
    rows: Vec<(Box<[u8]>, Counts)>,
    free: Vec<u32>,
}

impl Tally {
    pub(crate) fn new(limits: Limits) -> Tally {
        let table = || Table {
            by_name: HashMap::new(),
            rows: vec![(OTHER.into(), Counts::default())],
            free: Vec::new(),
        };
        Tally {
            limits,
            hits: VecDeque::new(),
            tables: std::array::from_fn(|_| table()),
            all: Counts::default(),
            window: Counts::default(),
            early: 0,
        }
    }

    /// Adds a hit; `second` does not go back.
    pub(crate) fn add(&mut self, second: u64, names: Names<'_>, status: u64, bytes: u64) {
        self.advance(second);
        if self.hits.len() == self.limits.hits {
            self.early += u64::from(self.limits.seconds.is_some());
            self.drop_oldest();
        }
        let class = if (100..600).contains(&status) {
            (status / 100) as u8
        } else {
            0
        };
        // What one hit can add is bounded, so that no sum overflows.
        let bytes = bytes.min(1 << 48);
        let mut rows = [0; Item::ALL.len()];
        for ((row, table), name) in rows.iter_mut().zip(&mut self.tables).zip(names) {
            *row = table.row(&name[..name.len().min(NAME_BYTES_MAX)], self.limits.rows);
            table.rows[*row as usize].1.add(bytes, class);
        }
        self.all.add(bytes, class);
        self.window.add(bytes, class);
        self.hits.push_back(Hit {
            second,
            bytes,
            class,
            rows,
        });
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, second: u64) {
        let Some(seconds) = self.limits.seconds else {
            return;
        };
        while self
            .hits
            .front()
            .is_some_and(|hit| hit.second + seconds <= second)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(hit) = self.hits.pop_front() else {
            return;
        };
        self.window.subtract(hit.bytes, hit.class);
        for (row, table) in hit.rows.into_iter().zip(&mut self.tables) {
            table.subtract(row, &hit);
        }
    }

    /// Empties the window.
    pub(crate) fn clear(&mut self) {
        while !self.hits.is_empty() {
            self.drop_oldest();
        }
    }

    /// Over how many seconds the window's hits are spread, up to now; at least one.
    pub(crate) fn span(&self, second: u64) -> u64 {
        let age = self
            .hits
            .front()
            .map_or(0, |hit| second.saturating_sub(hit.second));
        self.limits
            .seconds
            .map_or(age + 1, |seconds| seconds.min(age + 1))
            .max(1)
    }

    /// All rows of an item, in no order; `within` looks only at hits of another item's row.
    ///
    /// The whole table costs its rows, a part of it the window's hits.
    pub(crate) fn rows(&self, item: Item, within: Option<(Item, &[u8])>) -> Vec<(&[u8], Counts)> {
        let table = &self.tables[item as usize];
        let Some((outer, name)) = within else {
            let used = table.rows.iter().filter(|(_, counts)| counts.requests > 0);
            return used.map(|(name, counts)| (&**name, *counts)).collect();
        };
        let Some(wanted) = self.tables[outer as usize].find(name) else {
            return Vec::new();
        };
        let mut sums: HashMap<u32, Counts> = HashMap::new();
        for hit in self
            .hits
            .iter()
            .filter(|hit| hit.rows[outer as usize] == wanted)
        {
            sums.entry(hit.rows[item as usize])
                .or_default()
                .add(hit.bytes, hit.class);
        }
        sums.into_iter()
            .map(|(row, counts)| (&*table.rows[row as usize].0, counts))
            .collect()
    }
}

impl Table {
    fn find(&self, name: &[u8]) -> Option<u32> {
        if name == OTHER {
            Some(0)
        } else {
            self.by_name.get(name).copied()
        }
    }

    fn row(&mut self, name: &[u8], rows_max: usize) -> u32 {
        if let Some(row) = self.find(name) {
            return row;
        }
        if self.by_name.len() >= rows_max {
            return 0;
        }
        let value = (name.into(), Counts::default());
        let row = match self.free.pop() {
            Some(row) => {
                self.rows[row as usize] = value;
                row
            }
            None => {
                self.rows.push(value);
                (self.rows.len() - 1) as u32
            }
        };
        self.by_name.insert(name.into(), row);
        row
    }

    fn subtract(&mut self, row: u32, hit: &Hit) {
        let (name, counts) = &mut self.rows[row as usize];
        counts.subtract(hit.bytes, hit.class);
        if row != 0 && counts.requests == 0 {
            self.by_name.remove(name);
            *name = Box::default();
            self.free.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn names(url: &[u8]) -> Names<'_> {
        let mut names: Names = [b""; Item::ALL.len()];
        names[Item::Url as usize] = url;
        names[Item::Host as usize] = b"h";
        names
    }

    #[test]
    fn hits_leave_the_window_in_time() {
        let mut tally = Tally::new(Limits {
            seconds: Some(10),
            hits: 100,
            rows: 10,
        });
        tally.add(100, names(b"/a"), 200, 7);
        tally.add(105, names(b"/a"), 404, 1);
        tally.advance(109);
        assert_eq!(tally.window.requests, 2);
        tally.advance(110);
        let rows = tally.rows(Item::Url, None);
        let counts = Counts {
            requests: 1,
            bytes: 1,
            classes: [0, 0, 0, 0, 1, 0],
        };
        assert_eq!(rows, [(&b"/a"[..], counts)]);
        assert_eq!(tally.span(110), 6);
        tally.advance(115);
        assert_eq!(tally.rows(Item::Url, None), []);
        assert_eq!((tally.window, tally.all.requests), (Counts::default(), 2));
    }

    #[test]
    fn a_part_is_what_belongs_to_a_row() {
        let mut tally = Tally::new(Limits {
            seconds: None,
            hits: 100,
            rows: 10,
        });
        tally.add(1, names(b"/a"), 200, 0);
        tally.add(1, names(b"/b"), 999, 0);
        let part = tally.rows(Item::Host, Some((Item::Url, b"/b")));
        let counts = Counts {
            requests: 1,
            bytes: 0,
            classes: [1, 0, 0, 0, 0, 0],
        };
        assert_eq!(part, [(&b"h"[..], counts)]);
        assert_eq!(tally.rows(Item::Host, Some((Item::Url, b"/c"))), []);
    }

    proptest! {
        /// The sums of all rows are those of the last hits, and no table outgrows its bound.
        #[test]
        fn sums_are_right_whatever_comes(
            hits in proptest::collection::vec((0..9u8, 0..700u64, 0..1000u64), 1..200),
            window in 1..20usize,
            rows_max in 0..6usize,
        ) {
            let limits = Limits { seconds: None, hits: window, rows: rows_max };
            let mut tally = Tally::new(limits);
            for (at, (url, status, bytes)) in hits.iter().enumerate() {
                tally.add(at as u64, names(&[*url]), *status, *bytes);
                let last = &hits[(at + 1).saturating_sub(window)..=at];
                let rows = tally.rows(Item::Url, None);
                prop_assert!(rows.len() <= rows_max + 1);
                let sum = rows.iter().map(|row| row.1.bytes).sum::<u64>();
                prop_assert_eq!(sum, last.iter().map(|hit| hit.2).sum::<u64>());
                let requests = rows.iter().map(|row| row.1.requests).sum::<u64>();
                prop_assert_eq!(requests, last.len() as u64);
                if rows_max == 5 && last.iter().all(|hit| hit.0 < 5) {
                    let mut naive = BTreeMap::<Vec<u8>, u64>::new();
                    for hit in last {
                        *naive.entry(vec![hit.0]).or_default() += 1;
                    }
                    for (name, counts) in rows.iter().filter(|row| row.0 != OTHER) {
                        prop_assert!(counts.requests <= naive[*name]);
                    }
                }
            }
        }
    }
}
