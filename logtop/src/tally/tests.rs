use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn names(url: &[u8]) -> Names<'_> {
    let mut names: Names = [b""; Item::ALL.len()];
    names[Item::Url as usize] = url;
    names[Item::Host as usize] = b"h";
    names
}

fn tally(seconds: Option<u64>) -> Tally {
    Tally::new(Limits {
        seconds,
        hits: 100,
        rows: 10,
    })
}

#[test]
fn hits_leave_the_window_in_time() {
    let mut tally = tally(Some(10));
    tally.add(100, names(b"/a"), 200, 7);
    tally.add(105, names(b"/a"), 404, 1);
    tally.advance(109);
    assert_eq!((tally.window.requests, tally.span()), (2, 10));
    tally.advance(110);
    let counts = Counts {
        requests: 1,
        bytes: 1,
        classes: [0, 0, 0, 0, 1, 0],
    };
    let name = &b"/a"[..];
    let span = 6;
    assert_eq!(tally.rows(Item::Url), [Row { name, counts, span }]);
    assert_eq!(tally.span(), 6);
    tally.advance(115);
    assert_eq!(tally.rows(Item::Url), []);
    assert_eq!((tally.window, tally.all.requests), (Counts::default(), 2));
    assert_eq!((tally.span(), tally.last_hit), (1, Some(105)));
}

#[test]
fn a_part_is_what_belongs_to_a_row() {
    let mut tally = tally(None);
    tally.add(1, names(b"/a"), 200, 0);
    tally.add(3, names(b"/b"), 999, 0);
    tally.advance(4);
    let counts = Counts {
        requests: 1,
        bytes: 0,
        classes: [1, 0, 0, 0, 0, 0],
    };
    let (name, span) = (&b"h"[..], 2);
    let part = tally.rows_within(Item::Host, Item::Url, b"/b");
    assert_eq!(part, [Row { name, counts, span }]);
    assert_eq!(tally.rows_within(Item::Host, Item::Url, b"/c"), []);
    assert_eq!(tally.find(Item::Url, b"/b").unwrap().counts, counts);
    assert_eq!(tally.find(Item::Url, b"/c"), None);
}

#[test]
fn a_row_is_as_old_as_its_hits() {
    let mut tally = tally(Some(10));
    let span = |tally: &Tally, url| tally.find(Item::Url, url).map(|row| row.span);
    tally.add(0, names(b"/old"), 200, 0);
    tally.add(6, names(b"/new"), 200, 0);
    tally.add(7, names(b"/old"), 200, 0);
    tally.advance(8);
    assert_eq!(
        (span(&tally, b"/old"), span(&tally, b"/new")),
        (Some(9), Some(3))
    );
    // The first hits have left.
    tally.advance(16);
    assert_eq!(
        (span(&tally, b"/old"), span(&tally, b"/new")),
        (Some(10), None)
    );
    tally.add(30, names(b"/old"), 200, 0);
    assert_eq!(span(&tally, b"/old"), Some(1));
}

#[test]
fn no_sum_overflows() {
    let mut tally = tally(None);
    for _ in 0..200 {
        tally.add(1, names(b"/a"), 200, u64::MAX);
    }
    assert_eq!(tally.window.bytes, 100 * HIT_BYTES_MAX);
    tally.all.bytes = u64::MAX - 1;
    tally.add(1, names(b"/a"), 200, 7);
    assert_eq!(tally.all.bytes, u64::MAX);
}

/// The same, by looking at all hits again and again.
struct Naive {
    limits: Limits,
    /// Second, page, whether it had a row of its own, bytes, class.
    hits: Vec<(u64, u8, bool, u64, usize)>,
}

impl Naive {
    fn advance(&mut self, second: u64) {
        if let Some(seconds) = self.limits.seconds {
            self.hits.retain(|hit| second < hit.0 + seconds);
        }
    }

    fn add(&mut self, second: u64, url: u8, status: u64, bytes: u64) {
        self.advance(second);
        if self.hits.len() == self.limits.hits {
            self.hits.remove(0);
        }
        let with_row = self.hits.iter().filter(|hit| hit.2).map(|hit| hit.1);
        let known: BTreeSet<u8> = with_row.collect();
        let own = known.contains(&url) || known.len() < self.limits.rows;
        let class = if (100..600).contains(&status) {
            status / 100
        } else {
            0
        };
        self.hits.push((second, url, own, bytes, class as usize));
    }

    fn rows(&self) -> BTreeMap<Vec<u8>, Counts> {
        let mut rows = BTreeMap::<Vec<u8>, Counts>::new();
        for &(_, url, own, bytes, class) in &self.hits {
            let name = if own { vec![url] } else { OTHER.to_vec() };
            let counts = rows.entry(name).or_default();
            counts.requests += 1;
            counts.bytes += bytes;
            counts.classes[class] += 1;
        }
        rows
    }
}

proptest! {
    /// The rows are those of the hits in the window, whatever comes when, and no table outgrows
    /// its bound.
    #[test]
    fn rows_are_those_of_the_hits_in_the_window(
        hits in proptest::collection::vec((0..4u64, 0..9u8, 0..700u64, 0..1000u64), 1..200),
        seconds in proptest::option::of(1..9u64),
        hits_max in 1..20usize,
        rows in 0..6usize,
    ) {
        let limits = Limits { seconds, hits: hits_max, rows };
        let mut tally = Tally::new(limits);
        let mut naive = Naive { limits, hits: Vec::new() };
        let mut now = 0;
        for (pause, url, status, bytes) in hits {
            now += pause;
            tally.advance(now);
            naive.advance(now);
            tally.add(now, names(&[url]), status, bytes);
            naive.add(now, url, status, bytes);
            let found = tally.rows(Item::Url);
            prop_assert!(found.len() <= rows + 1);
            let found = found.into_iter().map(|row| (row.name.to_vec(), row.counts));
            prop_assert_eq!(found.collect::<BTreeMap<_, _>>(), naive.rows());
            prop_assert_eq!(tally.window.requests, naive.hits.len() as u64);
            prop_assert_eq!(tally.span(), now - naive.hits[0].0 + 1);
        }
    }
}
