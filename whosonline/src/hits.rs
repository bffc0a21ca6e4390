//! Which lines are hits: who loaded which page, and when.

use std::borrow::Cow;

use memchr::{memchr, memrchr};
use weblog::format::{Clock, Field, Fields, Format, Parser};
use weblog::stream::MESSAGE_BYTES_MAX;

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

/// A user has loaded a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<'a> {
    /// The user's name, or the address.
    pub user: Cow<'a, [u8]>,
    /// The page.
    pub page: Cow<'a, [u8]>,
}

/// Finds the hits among lines.
#[derive(Debug)]
pub struct Hits {
    rules: Rules,
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
        if rules.user != Field::Host {
            wanted.push(Field::Host);
        }
        let parser = Parser::new(&rules.format, &wanted);
        Hits {
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

    /// Reads a line: its stamp, and the hit if it is one.
    pub fn read<'a>(&mut self, line: &'a [u8]) -> (Option<u64>, Option<Hit<'a>>) {
        self.counts.lines += 1;
        // A longer line comes in several messages, and who has just joined sees the last of them.
        let parsed = (line.len() <= MESSAGE_BYTES_MAX).then(|| self.parser.parse(line));
        let Some(Ok(fields)) = parsed else {
            self.counts.unparsed += 1;
            return (None, None);
        };
        let stamp = fields.get(TIME).and_then(|stamp| self.clock.read(&stamp));
        let hit = self.hit(&fields);
        self.counts.hits += u64::from(hit.is_some());
        (stamp, hit)
    }

    fn hit<'a>(&self, fields: &Fields<'a>) -> Option<Hit<'a>> {
        let (first, last) = self.rules.status;
        let status = fields.number(STATUS)?;
        if !(u64::from(first)..=u64::from(last)).contains(&status) {
            return None;
        }
        let method = fields.get(METHOD)?;
        if !self
            .rules
            .methods
            .iter()
            .any(|one| one.as_bytes() == &*method)
        {
            return None;
        }
        let page = match fields.get(URL)? {
            page if self.rules.query => page,
            page => before_query(page),
        };
        if page.is_empty() || self.is_skipped(&page) {
            return None;
        }
        // An empty user is logged as two quote characters.
        let named = fields
            .get(USER)
            .filter(|user| !matches!(&**user, b"" | b"\"\""));
        let address = || fields.get(HOST).filter(|_| self.rules.anonymous);
        Some(Hit {
            user: named.or_else(address)?,
            page,
        })
    }

    fn is_skipped(&self, page: &[u8]) -> bool {
        let path = &page[..memchr(b'?', page).unwrap_or(page.len())];
        let Some(dot) = memrchr(b'.', path) else {
            return false;
        };
        let suffix = &path[dot + 1..];
        self.rules
            .skipped_suffixes
            .iter()
            .any(|one| suffix.eq_ignore_ascii_case(one.as_bytes()))
    }
}

fn before_query(page: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match (memchr(b'?', &page), page) {
        (None, page) => page,
        (Some(end), Cow::Borrowed(page)) => Cow::Borrowed(&page[..end]),
        (Some(end), Cow::Owned(mut page)) => {
            page.truncate(end);
            Cow::Owned(page)
        }
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
