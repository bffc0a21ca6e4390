//! Hits per second of the last minutes, by server and by class of status; and the top pages.
//!
//! A second is counted when its lines arrive, not when they are stamped: a server with a wrong
//! clock shows now, too.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

/// Seconds that are kept.
pub(crate) const SECONDS: usize = 600;

/// Bound: servers with a line of their own, and one for all others.
const SERVERS_MAX: usize = 16;

/// The server that all are who have no line of their own.
const OTHER: &str = "(other)";

/// Bound: pages that are counted in a minute; the others are not among the top pages.
const PAGES_MAX: usize = 20_000;

/// Longest name of a server or page on the page, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// Pages listed.
const TOP: usize = 10;

/// What came in one second.
#[derive(Clone, Debug, Default)]
struct Second {
    bytes: u64,
    /// By the first digit of the status; what has none is at 0.
    classes: [u64; 6],
    /// By server, in the order of [`Series::servers`]; may be shorter.
    servers: Vec<u64>,
}

/// Everything that the page shows of the log.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Full seconds, the oldest first.
    past: VecDeque<Second>,
    now: Second,
    /// Names, in the order in which they came; the last one may be that of all others.
    servers: Vec<String>,
    /// Which of them have sent nothing for as long as seconds are kept: others may take their
    /// places.
    idle: Vec<usize>,
    /// Whether names have changed since the last delta.
    names_changed: bool,
    /// Hits by page in this minute, and in the one before.
    pages: [HashMap<Box<[u8]>, u64>; 2],
    seconds: u64,
    pub(crate) unparsed: u64,
}

impl Series {
    /// A hit has arrived; the server is given by [`server`](Self::server).
    pub(crate) fn add(&mut self, server: usize, url: &[u8], status: u64, bytes: u64) {
        let class = if (100..600).contains(&status) {
            status as usize / 100
        } else {
            0
        };
        self.now.classes[class] += 1;
        self.now.bytes = self.now.bytes.saturating_add(bytes);
        if self.now.servers.len() <= server {
            self.now.servers.resize(server + 1, 0);
        }
        self.now.servers[server] += 1;
        let url = &url[..url.len().min(NAME_BYTES_MAX)];
        let pages = &mut self.pages[0];
        if let Some(count) = pages.get_mut(url) {
            *count += 1;
        } else if pages.len() < PAGES_MAX {
            pages.insert(url.into(), 1);
        }
    }

    /// The number of a server; it is good for this second.
    pub(crate) fn server(&mut self, name: &str) -> usize {
        let end = name.floor_char_boundary(NAME_BYTES_MAX);
        let name = &name[..end];
        if let Some(known) = self.servers.iter().position(|server| server == name) {
            self.idle.retain(|server| *server != known);
            return known;
        }
        self.names_changed |= !self.idle.is_empty() || self.servers.len() < SERVERS_MAX;
        if let Some(server) = self.idle.pop() {
            self.servers[server] = name.to_owned();
            return server;
        }
        match self.servers.len() {
            SERVERS_MAX => {}
            length if length + 1 == SERVERS_MAX => self.servers.push(OTHER.to_owned()),
            _ => self.servers.push(name.to_owned()),
        }
        self.servers.len() - 1
    }

    /// Looks for servers whose places others may take; all that is kept of them is zeros.
    fn find_idle(&mut self) {
        let hits = |server: usize| {
            let of = |second: &Second| second.servers.get(server).copied().unwrap_or(0);
            self.past.iter().map(of).sum::<u64>()
        };
        let named = self.servers.len().min(SERVERS_MAX - 1);
        let idle = (0..named).filter(|&server| hits(server) == 0);
        self.idle = idle.collect();
    }

    /// Ends a second; gives what it was, to be sent to those who look.
    pub(crate) fn end_second(&mut self) -> Value {
        let second = std::mem::take(&mut self.now);
        self.seconds += 1;
        let mut delta = row(&second);
        if std::mem::take(&mut self.names_changed) {
            delta["names"] = json!(self.servers);
        }
        delta["unparsed"] = json!(self.unparsed);
        if self.seconds.is_multiple_of(5) {
            delta["pages"] = self.top_pages();
        }
        if self.past.len() == SECONDS {
            self.past.pop_front();
        }
        self.past.push_back(second);
        if self.seconds.is_multiple_of(60) {
            self.pages.swap(0, 1);
            self.pages[0].clear();
            self.find_idle();
        }
        delta
    }

    /// All that is kept, for somebody who begins to look.
    pub(crate) fn history(&self) -> Value {
        json!({
            "past": self.past.iter().map(row).collect::<Vec<_>>(),
            "names": self.servers,
            "pages": self.top_pages(),
            "unparsed": self.unparsed,
        })
    }

    /// The pages of this minute and the one before.
    fn top_pages(&self) -> Value {
        let [now, before] = &self.pages;
        let sum = |page: &[u8], count: &u64| count + before.get(page).unwrap_or(&0);
        let mut pages: Vec<(u64, &[u8])> = now
            .iter()
            .map(|(page, count)| (sum(page, count), &**page))
            .collect();
        pages.extend(
            before
                .iter()
                .filter(|(page, _)| !now.contains_key(*page))
                .map(|(page, count)| (*count, &**page)),
        );
        let order = |a: &(u64, &[u8]), b: &(u64, &[u8])| b.0.cmp(&a.0).then(a.1.cmp(b.1));
        if pages.len() > TOP {
            pages.select_nth_unstable_by(TOP - 1, order);
            pages.truncate(TOP);
        }
        pages.sort_unstable_by(order);
        let page = |(count, url): (u64, &[u8])| json!([String::from_utf8_lossy(url), count]);
        pages.into_iter().map(page).collect()
    }
}

fn row(second: &Second) -> Value {
    json!({ "bytes": second.bytes, "classes": second.classes, "servers": second.servers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_what_came_in_it() {
        let mut series = Series::default();
        for (server, url, status, bytes) in [
            ("www1", &b"/a"[..], 200, 7),
            ("www2", b"/a", 503, 1),
            ("www2", b"/<script>", 999, 0),
        ] {
            let server = series.server(server);
            series.add(server, url, status, bytes);
        }
        let delta = series.end_second();
        assert_eq!(delta["classes"], json!([1, 0, 1, 0, 0, 1]));
        assert_eq!(
            (&delta["servers"], &delta["bytes"]),
            (&json!([1, 2]), &json!(8))
        );
        assert_eq!(delta["names"], json!(["www1", "www2"]));
        let delta = series.end_second();
        assert_eq!(delta["classes"], json!([0, 0, 0, 0, 0, 0]));
        assert_eq!(delta.get("names"), None);
        let history = series.history();
        assert_eq!(history["past"].as_array().unwrap().len(), 2);
        assert_eq!(history["names"], json!(["www1", "www2"]));
        assert_eq!(history["pages"], json!([["/a", 2], ["/<script>", 1]]));
    }

    #[test]
    fn everything_is_bounded() {
        let mut series = Series::default();
        for number in 0..PAGES_MAX + 10 {
            let name = number.to_string();
            let server = series.server(&name);
            series.add(server, name.as_bytes(), 200, u64::MAX);
        }
        assert_eq!(series.servers.len(), SERVERS_MAX);
        assert_eq!(series.servers.last().unwrap(), OTHER);
        assert_eq!(series.pages[0].len(), PAGES_MAX);
        let delta = series.end_second();
        let all = delta["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap());
        assert_eq!(all.sum::<u64>(), (PAGES_MAX + 10) as u64);
        for _ in 0..SECONDS + 10 {
            series.end_second();
        }
        assert_eq!(series.past.len(), SECONDS);
        assert_eq!(series.history()["pages"], json!([]));
    }

    #[test]
    fn who_is_gone_leaves_its_place_to_another() {
        let mut series = Series::default();
        for number in 0..SERVERS_MAX {
            let server = series.server(&format!("www{number}"));
            series.add(server, b"/", 200, 0);
        }
        assert_eq!(series.servers[SERVERS_MAX - 1], OTHER);
        let end_minute = |series: &mut Series| {
            for _ in 0..60 {
                series.end_second();
            }
        };
        for _ in 0..SECONDS / 60 {
            let server = series.server("www3");
            series.add(server, b"/", 200, 0);
            end_minute(&mut series);
            assert_eq!(series.server("new"), SERVERS_MAX - 1);
        }
        // All but one were silent for all that is kept, and one of those comes back.
        end_minute(&mut series);
        assert_eq!(series.server("www5"), 5);
        let new = series.server("new");
        assert!(new < SERVERS_MAX - 1 && new != 3 && new != 5);
        assert_eq!(series.end_second()["names"][new], "new");
        assert_eq!(series.end_second().get("names"), None);
    }
}
