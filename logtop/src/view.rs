//! What is shown of the tally: which rows, in which order, as JSON.

use std::cmp::Reverse;

use serde_json::{Value, json};

use crate::intake::Intake;
use crate::tally::{Counts, Item, Tally};

/// What rows are sorted by, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Requests,
    Bytes,
    /// A class of statuses, 2 to 5.
    Class(usize),
}

impl Sort {
    fn key(self, counts: &Counts) -> u64 {
        match self {
            Sort::Requests => counts.requests,
            Sort::Bytes => counts.bytes,
            Sort::Class(class) => counts.classes[class],
        }
    }
}

/// The first rows in an order; equal ones by name, so that they do not jump about.
pub(crate) fn sorted<'a>(
    mut rows: Vec<(&'a [u8], Counts)>,
    sort: Sort,
    count: usize,
) -> Vec<(&'a [u8], Counts)> {
    let key = |row: &(&'a [u8], Counts)| (Reverse(sort.key(&row.1)), row.0);
    if count > 0 && rows.len() > count {
        rows.select_nth_unstable_by_key(count - 1, key);
    }
    rows.truncate(count);
    rows.sort_unstable_by_key(key);
    rows
}

/// A line of JSON: the window's sums, the first rows of an item, and all servers.
pub(crate) fn report(tally: &Tally, intake: &Intake, item: Item, count: usize, span: u64) -> Value {
    let row = |(name, counts): (&[u8], Counts)| {
        let mut row = sums(&counts, span);
        row["name"] = json!(String::from_utf8_lossy(name));
        row
    };
    let rows = |item, count| -> Vec<Value> {
        sorted(tally.rows(item, None), Sort::Requests, count)
            .into_iter()
            .map(row)
            .collect()
    };
    json!({
        "all": sums(&tally.all, 0),
        "window": sums(&tally.window, span),
        "seconds": span,
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
        let counts = |requests, bytes| Counts {
            requests,
            bytes,
            classes: [0; 6],
        };
        let rows = vec![
            (&b"c"[..], counts(1, 9)),
            (b"a", counts(2, 0)),
            (b"b", counts(2, 5)),
        ];
        let names = |sort, count| -> Vec<&[u8]> {
            sorted(rows.clone(), sort, count)
                .into_iter()
                .map(|row| row.0)
                .collect()
        };
        assert_eq!(names(Sort::Requests, 2), [b"a", b"b"]);
        assert_eq!(names(Sort::Bytes, 9), [b"c", b"b", b"a"]);
        assert_eq!(names(Sort::Bytes, 0), [b""; 0]);
    }
}
