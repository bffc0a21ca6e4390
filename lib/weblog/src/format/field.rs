//! What can be asked of a line, and what was found.

use std::borrow::Cow;
use std::str::FromStr;

use memchr::{memchr, memrchr};

use super::find::find_near_byte;
use super::json;

/// A field of a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The client: an address, a name, or what a proxy says of it (`%h`, `%a`).
    Host,
    /// The authenticated user (`%u`); may hold blanks.
    User,
    /// When the request came, without brackets (`%t`); see [`Clock`](super::Clock).
    Time,
    /// The request line (`%r`).
    Request,
    /// The method, out of the request line (`%m`).
    Method,
    /// What was asked for, with its query string, out of the request line.
    Url,
    /// The status code of the answer (`%>s`, `%s`).
    Status,
    /// The size of the answer (`%b`, `%B`, `%O`).
    Bytes,
    /// The page that the link stood on (`%{Referer}i`).
    Referer,
    /// The client's program (`%{User-Agent}i`).
    UserAgent,
    /// The virtual host (`%v`, `%V`).
    Vhost,
    /// Any other header, cookie or note by its name (`%{NAME}C`), or a key of JSON.
    Named(Box<str>),
}

impl FromStr for Field {
    type Err = std::convert::Infallible;

    /// Reads `host`, `user`, `time`, `request`, `method`, `url`, `status`, `bytes`, `referer`,
    /// `agent`, `vhost`; any other word is the name of a header or cookie.
    fn from_str(text: &str) -> Result<Field, Self::Err> {
        Ok(match text {
            "host" => Field::Host,
            "user" => Field::User,
            "time" => Field::Time,
            "request" => Field::Request,
            "method" => Field::Method,
            "url" => Field::Url,
            "status" => Field::Status,
            "bytes" => Field::Bytes,
            "referer" => Field::Referer,
            "agent" => Field::UserAgent,
            "vhost" => Field::Vhost,
            name => Field::Named(name.into()),
        })
    }
}

/// Whether all of a line was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All wanted fields are complete.
    Whole,
    /// The line ends early, or a quote is never closed: the last fields are missing or cut.
    Cut,
}

/// The line is not of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparsed;

/// The fields found in a line, by their index among the wanted ones.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    pub(super) values: [Option<&'a [u8]>; Fields::COUNT_MAX + 1],
    pub(super) outcome: Outcome,
    /// Whether values may hold escapes of JSON.
    pub(super) json: bool,
}

impl Default for Fields<'_> {
    /// No field was found.
    fn default() -> Self {
        Fields {
            values: [None; Fields::COUNT_MAX + 1],
            outcome: Outcome::Whole,
            json: false,
        }
    }
}

impl<'a> Fields<'a> {
    /// Most fields that a parser looks for: every one of ours, and a cookie.
    pub const COUNT_MAX: usize = 12;

    /// The place of what is not wanted.
    pub(super) const NOWHERE: usize = Fields::COUNT_MAX;

    /// Whether all wanted fields were complete.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// A field's bytes as the server logged them; none if the line has it not. `-`, by which
    /// servers write an absent value, is none too.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Cow<'a, [u8]>> {
        let value = self.values[index]?;
        if self.json && memchr(b'\\', value).is_some() {
            return Some(Cow::Owned(json::unescape(value)));
        }
        Some(Cow::Borrowed(value))
    }

    /// A field as a number; none if it is none, `-` among them.
    #[inline]
    pub fn number(&self, index: usize) -> Option<u64> {
        let digits = self.values[index]?;
        // Bound: 19 digits always fit.
        if digits.is_empty() || digits.len() > 19 {
            return None;
        }
        digits.iter().try_fold(0, |number, byte| {
            let digit = byte.wrapping_sub(b'0');
            (digit < 10).then(|| number * 10 + u64::from(digit))
        })
    }
}

/// Splits a request line into method and target; a protocol at its end is left out.
///
/// Clients send what they like, and servers log it: a target may hold blanks, the protocol may be
/// missing (HTTP/0.9), and what has no blank at all, such as `\x16\x03\x01` of TLS on a plain
/// port, has neither method nor target.
#[inline(always)]
pub(super) fn split_request(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = find_near_byte(b' ', line)?;
    let (method, rest) = (&line[..space], &line[space + 1..]);
    // What nearly all end in needs no search.
    if let Some((target, [protocol @ .., major, b'.', minor])) = rest.split_last_chunk::<9>()
        && protocol == b" HTTP/"
        && ![major, minor].contains(&&b' ')
    {
        return Some((method, target));
    }
    match memrchr(b' ', rest) {
        Some(last) if rest[last + 1..].starts_with(b"HTTP/") => Some((method, &rest[..last])),
        _ => Some((method, rest)),
    }
}
