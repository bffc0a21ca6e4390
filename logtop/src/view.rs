//! What is shown of the tally: which rows, in which order, as JSON.

use std::cmp::Reverse;

use serde_json::{Value, json};

use crate::intake::Intake;
use crate::tally::{Counts, Item, Row, Tally};

/// What rows are sorted by, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Requests,
    Rate,
    Bytes,
    ByteRate,
    /// A class of statuses, 2 to 5.
    Class(usize),
}

impl Sort {
    /// The sort that a key stands for.
    pub(crate) fn of_key(key: char) -> Option<Sort> {
        Some(match key {
            'r' => Sort::Requests,
            'R' => Sort::Rate,
            'b' => Sort::Bytes,
            'B' => Sort::ByteRate,
            '2'..='5' => Sort::Class(key as usize - '0' as usize),
            _ => return None,
        })
    }

    /// A number with more significant digits than a rate of the screen.
    fn key(self, row: &Row) -> u128 {
        let per_second = |number: u64| (u128::from(number) << 32) / u128::from(row.span);
        match self {
            Sort::Requests => row.counts.requests.into(),
            Sort::Rate => per_second(row.counts.requests),
            Sort::Bytes => row.counts.bytes.into(),
            Sort::ByteRate => per_second(row.counts.bytes),
            Sort::Class(class) => row.counts.classes[class].into(),
        }
    }
}

/// The first rows in an order; equal ones by name, so that they do not jump about.
pub(crate) fn sorted(mut rows: Vec<Row<'_>>, sort: Sort, count: usize) -> Vec<Row<'_>> {
    let order = |a: &Row, b: &Row| {
        let keys = |row: &Row| (Reverse(sort.key(row)), Reverse(row.counts.requests));
        keys(a).cmp(&keys(b)).then_with(|| a.name.cmp(b.name))
    };
    if count > 0 && rows.len() > count {
        rows.select_nth_unstable_by(count - 1, order);
    }
    rows.truncate(count);
    rows.sort_unstable_by(order);
    rows
}

/// A line of JSON: the window's sums, the first rows of an item, and all servers.
pub(crate) fn report(tally: &Tally, intake: &Intake, item: Item, count: usize) -> Value {
    let row = |row: Row| {
        let mut sums = sums(&row.counts, row.span);
        sums["name"] = json!(String::from_utf8_lossy(row.name));
        sums
    };
    let rows = |item, count| -> Vec<Value> {
        sorted(tally.rows(item), Sort::Requests, count)
            .into_iter()
            .map(row)
            .collect()
    };
    json!({
        "all": sums(&tally.all, 0),
        "window": sums(&tally.window, tally.span()),
        "seconds": tally.span(),
        "item": item.name(),
        "rows": rows(item, count),
        "servers": rows(Item::Server, 1000),
        "lines": intake.lines,
        "unparsed": intake.unparsed,
        "early": tally.early,
        "late": intake.late,
    })
}

/// Sums; with rates if they are over some seconds.
fn sums(counts: &Counts, seconds: u64) -> Value {
    let mut sums = json!({ "requests": counts.requests, "bytes": counts.bytes });
    for class in 1..6 {
        sums[format!("{class}xx")] = json!(counts.classes[class]);
    }
    if seconds > 0 {
        sums["rate"] = json!(counts.requests as f64 / seconds as f64);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_in_order() {
        let row = |name: &'static [u8], requests, bytes, span| Row {
            name,
            counts: Counts {
                requests,
                bytes,
                classes: [0, 0, requests, 0, 0, bytes],
            },
            span,
        };
        let rows = vec![row(b"c", 1, 9, 1), row(b"a", 2, 0, 8), row(b"b", 2, 5, 1)];
        let names = |key, count| -> Vec<&[u8]> {
            sorted(rows.clone(), Sort::of_key(key).unwrap(), count)
                .into_iter()
                .map(|row| row.name)
                .collect()
        };
        assert_eq!(names('r', 2), [b"a", b"b"]);
        assert_eq!(names('R', 3), [b"b", b"c", b"a"]);
        assert_eq!(names('b', 9), [b"c", b"b", b"a"]);
        assert_eq!(names('B', 1), [b"c"]);
        assert_eq!(names('2', 3), [b"a", b"b", b"c"]);
        assert_eq!(names('5', 3), [b"c", b"b", b"a"]);
        assert_eq!(names('b', 0), [b""; 0]);
        assert_eq!(Sort::of_key('x'), None);
    }
}
