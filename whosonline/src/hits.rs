//! Which lines are hits: who loaded which page, and when.

use std::borrow::Cow;

use memchr::memrchr;
use weblog::format::{Clock, Field, Fields, Format, Parser, find_byte};
use weblog::stream::MESSAGE_BYTES_MAX;

use crate::presence::{Hit, is_same};

/// What counts as a hit, and as whose.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How lines are written.
    pub format: Format,
    /// Which field names the user.
    pub user: Field,
    /// Whether who has no name goes by the address of the client.
    pub anonymous: bool,
    /// The statuses that count, both ends included.
    pub status: (u16, u16),
    /// The methods that count.
    pub methods: Vec<String>,
    /// Pages whose name ends in `.` and one of these do not count.
    pub skipped_suffixes: Vec<String>,
    /// Whether the query string is part of a page's name.
    pub query: bool,
}

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HitCounts {
    /// Lines that came.
    pub lines: u64,
    /// Those that could not be read.
    pub unparsed: u64,
    /// Those that counted.
    pub hits: u64,
}

/// Finds the hits among lines.
#[derive(Debug)]
pub struct Hits {
    rules: Rules,
    /// The last bytes of the suffixes, in small letters: most pages end in another one.
    suffix_ends: [bool; 256],
    parser: Parser,
    clock: Clock,
    counts: HitCounts,
}

/// Indices of the wanted fields.
const TIME: usize = 0;
const METHOD: usize = 1;
const URL: usize = 2;
const STATUS: usize = 3;
const USER: usize = 4;
const HOST: usize = 5;

impl Hits {
    /// Goes by these rules.
    pub fn new(rules: Rules) -> Hits {
        let mut wanted = vec![
            Field::Time,
            Field::Method,
            Field::Url,
            Field::Status,
            rules.user.clone(),
        ];
        // What is not wanted is not looked for.
        if rules.anonymous && rules.user != Field::Host {
            wanted.push(Field::Host);
        }
        let parser = Parser::new(&rules.format, &wanted);
        let mut suffix_ends = [false; 256];
        for suffix in &rules.skipped_suffixes {
            let end = suffix.as_bytes().last().unwrap_or(&b'.');
            suffix_ends[usize::from(end.to_ascii_lowercase())] = true;
        }
        Hits {
            suffix_ends,
            rules,
            parser,
            clock: Clock::default(),
            counts: HitCounts::default(),
        }
    }

    /// What became of the lines so far.
    pub fn counts(&self) -> HitCounts {
        self.counts
    }

    /// Reads a line: its stamp, and the hit if it is one, whose time is not set yet.
    #[inline]
    pub fn read<'a>(&mut self, line: &'a [u8]) -> (Option<u64>, Option<Hit<'a>>) {
        self.counts.lines += 1;
        let mut fields = Fields::default();
        // A longer line comes in several messages, and who has just joined sees the last of them.
        if line.len() > MESSAGE_BYTES_MAX || self.parser.parse_into(line, &mut fields).is_err() {
            self.counts.unparsed += 1;
            return (None, None);
        }
        let stamp = fields.get(TIME).and_then(|stamp| self.clock.read(&stamp));
        let hit = self.hit(&fields);
        self.counts.hits += u64::from(hit.is_some());
        (stamp, hit)
    }

    #[inline]
    fn hit<'a>(&self, fields: &Fields<'a>) -> Option<Hit<'a>> {
        let (first, last) = self.rules.status;
        let status = fields.number(STATUS)?;
        if status < first.into() || status > last.into() {
            return None;
        }
        let method = fields.get(METHOD)?;
        let methods = &self.rules.methods;
        if !methods.iter().any(|one| is_same(one.as_bytes(), &method)) {
            return None;
        }
        let mut page = fields.get(URL)?;
        let path = find_byte(b'?', &page).unwrap_or(page.len());
        if self.is_skipped(&page[..path]) {
            return None;
        }
        if !self.rules.query {
            truncate(&mut page, path);
        }
        let user = match fields.get(USER) {
            // An empty user is logged as two quote characters.
            Some(user) if !matches!(&*user, b"" | b"\"\"") => user,
            _ if self.rules.anonymous => fields.get(HOST)?,
            _ => return None,
        };
        let seen = 0;
        Some(Hit { seen, user, page })
    }

    /// Whether what has this path is no page.
    #[inline]
    fn is_skipped(&self, path: &[u8]) -> bool {
        let Some(end) = path.last() else {
            return true;
        };
        self.suffix_ends[usize::from(end.to_ascii_lowercase())] && self.has_skipped_suffix(path)
    }

    fn has_skipped_suffix(&self, path: &[u8]) -> bool {
        let Some(dot) = memrchr(b'.', path) else {
            return false;
        };
        let suffix = &path[dot + 1..];
        let mut skipped = self.rules.skipped_suffixes.iter();
        skipped.any(|one| suffix.eq_ignore_ascii_case(one.as_bytes()))
    }
}

fn truncate(text: &mut Cow<'_, [u8]>, length: usize) {
    match text {
        Cow::Borrowed(text) => *text = &text[..length],
        Cow::Owned(text) => text.truncate(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            format: Format::combined(),
            user: Field::User,
            anonymous: false,
            status: (200, 399),
            methods: vec!["GET".to_owned(), "POST".to_owned()],
            skipped_suffixes: vec!["gif".to_owned()],
            query: false,
        }
    }

    fn read(rules: Rules, user: &str, request: &str, status: &str) -> Option<(String, String)> {
        let line =
            format!("h - {user} [01/Jan/1970:00:01:00 +0000] \"{request}\" {status} 7 \"-\" \"-\"");
        let mut hits = Hits::new(rules);
        let (stamp, hit) = hits.read(line.as_bytes());
        assert_eq!(stamp, Some(60));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        hit.map(|hit| (text(&hit.user), text(&hit.page)))
    }

    #[test]
    fn what_counts() {
        let ann = |page: &str| Some(("ann".to_owned(), page.to_owned()));
        assert_eq!(read(rules(), "ann", "GET /a?b HTTP/1.1", "200"), ann("/a"));
        assert_eq!(read(rules(), "ann", "POST /a HTTP/1.1", "304"), ann("/a"));
        assert_eq!(read(rules(), "ann", "HEAD /a HTTP/1.1", "200"), None);
        assert_eq!(read(rules(), "ann", "GET /a HTTP/1.1", "404"), None);
        assert_eq!(read(rules(), "ann", "GET /a HTTP/1.1", "-"), None);
        assert_eq!(
            read(rules(), "ann", "GET /a.GIF?x=.b HTTP/1.1", "200"),
            None
        );
        assert_eq!(
            read(rules(), "ann", "GET /a.gif/b HTTP/1.1", "200"),
            ann("/a.gif/b")
        );
        assert_eq!(read(rules(), "ann", "-", "408"), None);
        let kept = Rules {
            query: true,
            ..rules()
        };
        assert_eq!(read(kept, "ann", "GET /a?b HTTP/1.1", "200"), ann("/a?b"));
    }

    #[test]
    fn who_has_no_name() {
        let anonymous = Rules {
            anonymous: true,
            ..rules()
        };
        for user in ["-", "\"\""] {
            assert_eq!(read(rules(), user, "GET / HTTP/1.1", "200"), None);
            let hit = read(anonymous.clone(), user, "GET / HTTP/1.1", "200");
            assert_eq!(hit, Some(("h".to_owned(), "/".to_owned())));
        }
        let by_address = Rules {
            user: Field::Host,
            ..rules()
        };
        let hit = read(by_address, "ann", "GET / HTTP/1.1", "200");
        assert_eq!(hit, Some(("h".to_owned(), "/".to_owned())));
    }

    #[test]
    fn what_is_no_line_is_counted() {
        let mut hits = Hits::new(rules());
        assert_eq!(hits.read(b"garbage\n"), (None, None));
        assert_eq!(
            hits.counts(),
            HitCounts {
                lines: 1,
                unparsed: 1,
                hits: 0
            }
        );
    }
}
