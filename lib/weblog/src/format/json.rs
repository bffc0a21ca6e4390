//! Lines of JSON: nginx with `escape=json`, whose keys are what the configuration calls them, and
//! Caddy, which nests the request.
//!
//! A line is walked once from its left, without building a tree, until all that is wanted is
//! found. A key below another is known by both names, `request.uri`; deeper ones by the last two
//! as well, and lists give their first value, so that `headers.User-Agent` is found where Caddy
//! puts it.

use memchr::memchr2;

use super::field::{Field, Fields, Outcome, Unparsed, split_request};

/// Bound: what is nested deeper is not a log.
const DEPTH_MAX: usize = 8;

/// The keys under which servers write each field, ours first.
fn names(field: &Field) -> &'static [&'static str] {
    match field {
        Field::Host => &[
            "remote_addr",
            "request.client_ip",
            "request.remote_ip",
            "host",
            "client",
        ],
        Field::User => &["remote_user", "user_id", "user"],
        Field::Time => &[
            "time_local",
            "time_iso8601",
            "msec",
            "ts",
            "time",
            "timestamp",
        ],
        Field::Request => &["request"],
        Field::Method => &["request_method", "request.method", "method"],
        Field::Url => &["request_uri", "request.uri", "uri", "url"],
        Field::Status => &["status"],
        Field::Bytes => &["body_bytes_sent", "bytes_sent", "size", "bytes"],
        Field::Referer => &["http_referer", "headers.Referer", "referer"],
        Field::UserAgent => &[
            "http_user_agent",
            "headers.User-Agent",
            "user_agent",
            "agent",
        ],
        Field::Vhost => &["server_name", "request.host", "http_host", "vhost"],
        Field::Named(_) => &[],
    }
}

/// Which keys lead to which fields.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Key, index of the field, and how early the key stands among the field's names.
    keys: Vec<(Box<[u8]>, usize, usize)>,
    /// Where the request line goes to be split, if method or target are wanted.
    request: Option<usize>,
}

impl Keys {
    pub(super) fn new(wanted: &[Field]) -> Keys {
        let mut keys = Vec::new();
        for (index, field) in wanted.iter().enumerate() {
            for (rank, name) in names(field).iter().enumerate() {
                keys.push((name.as_bytes().into(), index, rank));
            }
            if let Field::Named(name) = field {
                keys.push((name.as_bytes().into(), index, 0));
            }
        }
        let wants = |field| wanted.contains(&field);
        let request = (wants(Field::Method) || wants(Field::Url)).then_some(wanted.len());
        if let Some(slot) = request
            && !wants(Field::Request)
        {
            keys.push((b"request".as_slice().into(), slot, 0));
        }
        Keys { keys, request }
    }

    pub(super) fn find<'a>(
        &self,
        line: &'a [u8],
        wanted: &[Field],
        fields: &mut Fields<'a>,
    ) -> Result<(), Unparsed> {
        let mut walk = Walk {
            keys: self,
            rest: line.trim_ascii_start(),
            values: [None; Fields::COUNT_MAX + 1],
            ranks: [usize::MAX; Fields::COUNT_MAX + 1],
            left: wanted.len(),
        };
        if !walk.rest.starts_with(b"{") {
            return Err(Unparsed);
        }
        let whole = walk.object(b"", 0).is_some() || walk.left == 0;
        fields.json = true;
        fields.values[..wanted.len()].copy_from_slice(&walk.values[..wanted.len()]);
        self.split_request(wanted, &walk.values, fields);
        if !whole {
            let status = wanted.iter().position(|field| *field == Field::Status);
            let found = status.map_or_else(
                || fields.values.iter().any(Option::is_some),
                |index| fields.values[index].is_some(),
            );
            if !found {
                return Err(Unparsed);
            }
            fields.outcome = Outcome::Cut;
        }
        Ok(())
    }

    /// Method and target out of the request line, where they have no keys of their own.
    fn split_request<'a>(
        &self,
        wanted: &[Field],
        values: &[Option<&'a [u8]>],
        fields: &mut Fields<'a>,
    ) {
        let Some(slot) = self.request else { return };
        let own = wanted.iter().position(|field| *field == Field::Request);
        let Some((method, url)) = values[own.unwrap_or(slot)].and_then(split_request) else {
            return;
        };
        for (index, field) in wanted.iter().enumerate() {
            match field {
                Field::Method => fields.values[index] = fields.values[index].or(Some(method)),
                Field::Url => fields.values[index] = fields.values[index].or(Some(url)),
                _ => {}
            }
        }
    }
}

/// A walk over a line; none from its steps where the line ends or makes no sense.
struct Walk<'a, 'k> {
    keys: &'k Keys,
    rest: &'a [u8],
    values: [Option<&'a [u8]>; Fields::COUNT_MAX + 1],
    ranks: [usize; Fields::COUNT_MAX + 1],
    /// Wanted fields that have not got the best of their keys yet.
    left: usize,
}

impl<'a> Walk<'a, '_> {
    /// An object that stands under the key `parent`.
    fn object(&mut self, parent: &[u8], depth: usize) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            return self.take(b'}');
        }
        loop {
            self.peek()?;
            let key = self.string()?;
            self.peek()?;
            self.take(b':')?;
            self.value(parent, key, depth)?;
            if self.left == 0 {
                return Some(());
            }
            match self.peek()? {
                b',' => self.take(b',')?,
                _ => return self.take(b'}'),
            }
        }
    }

    fn value(&mut self, parent: &[u8], key: &'a [u8], depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' if depth < DEPTH_MAX => self.object(key, depth + 1),
            b'[' if depth < DEPTH_MAX => {
                self.take(b'[')?;
                let mut first = true;
                while self.peek()? != b']' {
                    let (parent, key) = if first {
                        (parent, key)
                    } else {
                        (&b""[..], &b""[..])
                    };
                    self.value(parent, key, depth + 1)?;
                    first = false;
                    if self.peek()? == b',' {
                        self.take(b',')?;
                    }
                }
                self.take(b']')
            }
            b'"' => {
                let value = self.string()?;
                self.found(parent, key, value);
                Some(())
            }
            _ => {
                let length = self
                    .rest
                    .iter()
                    .position(|byte| b",}] \t\r\n".contains(byte))?;
                let (value, rest) = self.rest.split_at(length);
                self.rest = rest;
                // An empty scalar would never move on.
                (length > 0).then(|| self.found(parent, key, value))
            }
        }
    }

    fn found(&mut self, parent: &[u8], key: &[u8], value: &'a [u8]) {
        if value.is_empty() || value == b"-" || value == b"null" {
            return;
        }
        for (name, index, rank) in &self.keys.keys {
            let matches = match name.strip_suffix(key) {
                Some([]) => true,
                Some(front) => !key.is_empty() && front.strip_suffix(b".") == Some(parent),
                None => false,
            };
            if matches && *rank < self.ranks[*index] {
                self.left -= usize::from(*rank == 0 && self.keys.request != Some(*index));
                self.ranks[*index] = *rank;
                self.values[*index] = Some(value);
            }
        }
    }

    /// The next byte that is no blank, not taken.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    /// A string without its quotes, its escapes as they are.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let text = self.rest;
        let mut at = 0;
        loop {
            at += memchr2(b'"', b'\\', text.get(at..)?)?;
            if text[at] == b'"' {
                self.rest = &text[at + 1..];
                return Some(&text[..at]);
            }
            at += 2;
        }
    }
}

/// Resolves the escapes of a string; what is no escape stays as it is.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let simple = match (byte, after.first()) {
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b't')) => b'\t',
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'b')) => 8,
            (b'\\', Some(b'f')) => 12,
            (b'\\', Some(&byte @ (b'"' | b'\\' | b'/'))) => byte,
            (b'\\', Some(b'u')) => match code_unit(after) {
                Some((character, rest_after)) => {
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = rest_after;
                    continue;
                }
                None => {
                    out.push(byte);
                    rest = after;
                    continue;
                }
            },
            _ => {
                out.push(byte);
                rest = after;
                continue;
            }
        };
        out.push(simple);
        rest = &after[1..];
    }
    out
}

/// The character of `uXXXX`, or of two of them that are a surrogate pair, and what follows.
fn code_unit(text: &[u8]) -> Option<(char, &[u8])> {
    let hex = |text: &[u8]| {
        let digits = std::str::from_utf8(text.get(1..5)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let high = hex(text)?;
    let rest = &text[5..];
    if !(0xd800..0xdc00).contains(&high) {
        return Some((
            char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER),
            rest,
        ));
    }
    let low = rest
        .strip_prefix(b"\\")
        .filter(|low| low.first() == Some(&b'u'));
    match low.and_then(hex) {
        Some(code @ 0xdc00..0xe000) => {
            let joined = 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00);
            Some((char::from_u32(joined)?, &rest[6..]))
        }
        _ => Some((char::REPLACEMENT_CHARACTER, rest)),
    }
}
