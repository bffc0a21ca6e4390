//! Lines into the tally, through the filters.

use std::borrow::Cow;
use std::time::SystemTime;

use memchr::{memchr, memchr_iter};
use regex::bytes::Regex;
use weblog::format::{Clock, Field, Format, Outcome, Parser};

use crate::tally::{Item, Names, Tally};

/// Shows only hits whose item matches, or does not.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) item: Item,
    pub(crate) negated: bool,
    pub(crate) pattern: Regex,
}

/// Fields in the order of the items, then those that are none.
const WANTED: [Field; 9] = [
    Field::Url,
    Field::Host,
    Field::Referer,
    Field::UserAgent,
    Field::Status,
    Field::Vhost,
    Field::User,
    Field::Bytes,
    Field::Time,
];
const BYTES: usize = 7;
const TIME: usize = 8;

/// A line whose stamp is so many seconds behind the newest one is late.
const LATE_SECONDS: u64 = 60;

/// Reads lines.
#[derive(Debug)]
pub(crate) struct Intake {
    parser: Parser,
    query: bool,
    pub(crate) filters: Vec<Filter>,
    pub(crate) lines: u64,
    pub(crate) unparsed: u64,
    pub(crate) cut: u64,
    pub(crate) filtered: u64,
    /// Lines whose stamp is long past: of a server that was cut off, or whose clock is wrong.
    pub(crate) late: u64,
    clock: Clock,
    newest: u64,
    /// The latest stamp that can be true, by this machine's clock.
    latest: u64,
}

impl Intake {
    pub(crate) fn new(format: &Format, query: bool) -> Intake {
        Intake {
            parser: Parser::new(format, &WANTED),
            query,
            filters: Vec::new(),
            lines: 0,
            unparsed: 0,
            cut: 0,
            filtered: 0,
            late: 0,
            clock: Clock::default(),
            newest: 0,
            latest: 0,
        }
    }

    /// Takes whole lines of a server.
    pub(crate) fn take(&mut self, server: &str, lines: &[u8], second: u64, tally: &mut Tally) {
        let today = SystemTime::UNIX_EPOCH.elapsed();
        self.latest = today.map_or(u64::MAX, |today| today.as_secs() + LATE_SECONDS);
        let mut begin = 0;
        for end in memchr_iter(b'\n', lines).chain((!lines.ends_with(b"\n")).then_some(lines.len()))
        {
            self.take_line(server, &lines[begin..end], second, tally);
            begin = end + 1;
        }
    }

    fn take_line(&mut self, server: &str, line: &[u8], second: u64, tally: &mut Tally) {
        self.lines += 1;
        let Ok(fields) = self.parser.parse(line) else {
            self.unparsed += 1;
            return;
        };
        let wants_end = fields.outcome() == Outcome::Cut && fields.get(2).is_some();
        self.cut += u64::from(wants_end);
        if let Some(stamp) = fields.get(TIME).and_then(|stamp| self.clock.read(&stamp)) {
            // One server whose clock is wrong must not make all others late.
            if stamp <= self.latest {
                self.newest = self.newest.max(stamp);
            }
            self.late += u64::from(stamp.saturating_add(LATE_SECONDS) < self.newest);
        }
        let values: [Cow<[u8]>; 7] =
            std::array::from_fn(|index| fields.get(index).unwrap_or(Cow::Borrowed(b"-")));
        let mut names: Names = [b"-"; Item::ALL.len()];
        for (name, value) in names.iter_mut().zip(&values) {
            *name = value;
        }
        names[Item::Server as usize] = server.as_bytes();
        let url = &mut names[Item::Url as usize];
        if !self.query {
            *url = &url[..memchr(b'?', url).unwrap_or(url.len())];
        }
        let passes = |filter: &Filter| {
            filter.pattern.is_match(names[filter.item as usize]) != filter.negated
        };
        if !self.filters.iter().all(passes) {
            self.filtered += 1;
            return;
        }
        let status = fields.number(Item::Status as usize).unwrap_or(0);
        tally.add(second, names, status, fields.number(BYTES).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Limits;

    fn tally() -> Tally {
        Tally::new(Limits {
            seconds: None,
            hits: 100,
            rows: 100,
        })
    }

    const LINES: &[u8] =
        b"h1 - - [10/Oct/2000:13:55:36 -0700] \"GET /a?q HTTP/1.0\" 200 5 \"-\" \"x\"\n\
        garbage\n\
        h2 - - [10/Oct/2000:13:55:36 -0700] \"GET /b HTTP/1.0\" 503 - \"-\" \"y";

    #[test]
    fn lines_are_counted_by_all_items() {
        let (mut intake, mut tally) = (Intake::new(&Format::combined(), false), tally());
        intake.take("www1", LINES, 1, &mut tally);
        assert_eq!((intake.lines, intake.unparsed, intake.cut), (3, 1, 0));
        let names = |item| {
            let rows = tally.rows(item).into_iter();
            let mut names: Vec<_> = rows.map(|row| row.name).collect();
            names.sort();
            names.join(&b' ')
        };
        assert_eq!(names(Item::Url), b"/a /b");
        assert_eq!(names(Item::Host), b"h1 h2");
        assert_eq!(names(Item::Agent), b"x y");
        assert_eq!(names(Item::Status), b"200 503");
        assert_eq!(names(Item::Server), b"www1");
        assert_eq!((tally.all.bytes, tally.all.classes[5]), (5, 1));
    }

    #[test]
    fn lines_a_minute_behind_the_newest_are_late() {
        let (mut intake, mut tally) = (Intake::new(&Format::combined(), false), tally());
        let year = |second, year| {
            let (minute, second) = (second / 60, second % 60);
            format!(
                "h - - [10/Oct/{year}:13:{minute:02}:{second:02} +0000] \"GET / HTTP/1.0\" 200 5\n"
            )
        };
        for (second, late) in [(0, 0), (120, 0), (60, 0), (59, 1), (121, 1), (60, 2)] {
            // A clock that is far ahead changes nothing.
            intake.take("www2", year(0, 2999).as_bytes(), 1, &mut tally);
            let line = year(second, 2000);
            intake.take("www1", line.as_bytes(), 1, &mut tally);
            assert_eq!(intake.late, late, "{line}");
        }
    }

    #[test]
    fn filters_let_pass_or_hold_back() {
        for (item, negated, pattern, urls) in [
            (Item::Url, false, "^/a", &b"/a"[..]),
            (Item::Url, true, "^/a", b"/b"),
            (Item::Status, false, "^5", b"/b"),
        ] {
            let (mut intake, mut tally) = (Intake::new(&Format::combined(), false), tally());
            intake.filters.push(Filter {
                item,
                negated,
                pattern: Regex::new(pattern).unwrap(),
            });
            intake.take("www1", LINES, 1, &mut tally);
            assert_eq!(tally.rows(Item::Url)[0].name, urls);
            assert_eq!(intake.filtered, 1);
        }
    }
}
