//! Counts over a window of the last seconds or the last hits, in constant time per hit.
//!
//! Each hit is kept as a few numbers until it leaves the window; then it is taken off what it was
//! added to. What has no room of its own is counted in the row [`OTHER`], so that sums are right
//! whatever strangers send.

#[cfg(test)]
mod tests;

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

/// Most bytes that one hit counts, 8 TB: a million of them in the window do not overflow.
const HIT_BYTES_MAX: u64 = 1 << 43;

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
        // Only the sum since the start can come near the end of its range.
        self.bytes = self.bytes.saturating_add(bytes);
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

/// What a name has in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) counts: Counts,
    /// For how many seconds it has been there, at most those of the window; at least one.
    pub(crate) span: u64,
}

/// The window.
#[derive(Debug)]
pub(crate) struct Tally {
    limits: Limits,
    /// The second that it is.
    now: u64,
    hits: VecDeque<Hit>,
    tables: [Table; Item::ALL.len()],
    /// Since the start, and in the window.
    pub(crate) all: Counts,
    pub(crate) window: Counts,
    /// Hits that left the window before their time.
    pub(crate) early: u64,
    /// The second of the newest hit, also of one that has left the window.
    pub(crate) last_hit: Option<u64>,
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
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    name: Box<[u8]>,
    counts: Counts,
    /// The second in which the first hit came since it had none.
    since: u64,
}

impl Tally {
    pub(crate) fn new(limits: Limits) -> Tally {
        let table = || Table {
            by_name: HashMap::new(),
            slots: vec![Slot {
                name: OTHER.into(),
                ..Slot::default()
            }],
            free: Vec::new(),
        };
        Tally {
            limits,
            now: 0,
            hits: VecDeque::new(),
            tables: std::array::from_fn(|_| table()),
            all: Counts::default(),
            window: Counts::default(),
            early: 0,
            last_hit: None,
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
        let bytes = bytes.min(HIT_BYTES_MAX);
        self.last_hit = Some(second);
        let mut rows = [0; Item::ALL.len()];
        for ((row, table), name) in rows.iter_mut().zip(&mut self.tables).zip(names) {
            *row = table.row(&name[..name.len().min(NAME_BYTES_MAX)], self.limits.rows);
            table.add(*row, second, bytes, class);
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
        self.now = second;
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
    pub(crate) fn span(&self) -> u64 {
        self.hits.front().map_or(1, |hit| self.age(hit.second))
    }

    /// The seconds from then to now, both included, that can be in the window.
    fn age(&self, second: u64) -> u64 {
        let age = self.now.saturating_sub(second) + 1;
        self.limits.seconds.map_or(age, |seconds| seconds.min(age))
    }

    /// All rows of an item, in no order.
    pub(crate) fn rows(&self, item: Item) -> Vec<Row<'_>> {
        let slots = &self.tables[item as usize].slots;
        let used = slots.iter().filter(|slot| slot.counts.requests > 0);
        used.map(|slot| self.row(slot)).collect()
    }

    /// The row of a name; none if the window has no hit of it.
    pub(crate) fn find(&self, item: Item, name: &[u8]) -> Option<Row<'_>> {
        let table = &self.tables[item as usize];
        let slot = &table.slots[table.find(name)? as usize];
        (slot.counts.requests > 0).then(|| self.row(slot))
    }

    fn row<'a>(&self, slot: &'a Slot) -> Row<'a> {
        Row {
            name: &slot.name,
            counts: slot.counts,
            // A row that is older than the window's hits has some of its own among the first.
            span: self.age(slot.since).min(self.span()),
        }
    }

    /// The rows of an item among the hits of another item's row, in no order.
    ///
    /// It costs the window's hits.
    pub(crate) fn rows_within(&self, item: Item, outer: Item, name: &[u8]) -> Vec<Row<'_>> {
        let Some(wanted) = self.tables[outer as usize].find(name) else {
            return Vec::new();
        };
        let mut sums: HashMap<u32, (Counts, u64)> = HashMap::new();
        let inside = |hit: &&Hit| hit.rows[outer as usize] == wanted;
        for hit in self.hits.iter().filter(inside) {
            let (counts, _) = sums
                .entry(hit.rows[item as usize])
                .or_insert((Counts::default(), hit.second));
            counts.add(hit.bytes, hit.class);
        }
        let slots = &self.tables[item as usize].slots;
        sums.into_iter()
            .map(|(row, (counts, first))| Row {
                name: &slots[row as usize].name,
                counts,
                span: self.age(first),
            })
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
        let slot = Slot {
            name: name.into(),
            ..Slot::default()
        };
        let row = match self.free.pop() {
            Some(row) => {
                self.slots[row as usize] = slot;
                row
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.by_name.insert(name.into(), row);
        row
    }

    fn add(&mut self, row: u32, second: u64, bytes: u64, class: u8) {
        let slot = &mut self.slots[row as usize];
        if slot.counts.requests == 0 {
            slot.since = second;
        }
        slot.counts.add(bytes, class);
    }

    fn subtract(&mut self, row: u32, hit: &Hit) {
        let slot = &mut self.slots[row as usize];
        slot.counts.subtract(hit.bytes, hit.class);
        if row != 0 && slot.counts.requests == 0 {
            self.by_name.remove(&slot.name);
            slot.name = Box::default();
            self.free.push(row);
        }
    }
}
