//! What may be stored and for how long (RFC 9111, 9213, 5861).
//!
//! Times are milliseconds since 1970, lifetimes and ages seconds.

use crate::date;
use crate::http::{Headers, Request, Response};

/// Larger numbers mean "very long" (RFC 9111 section 1.2.2).
const SECONDS_MAX: u64 = 1 << 31;

/// Bound: a lifetime that nobody has given is at most a day.
const HEURISTIC_MAX: u64 = 86400;

/// What `Cache-Control`, or a field that is targeted at caches like this, says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Must not be stored.
    pub no_store: bool,
    /// Must be validated before each use.
    pub no_cache: bool,
    /// For one user only.
    pub private: bool,
    /// May be stored even where that is not the default.
    pub public: bool,
    /// Must not be used stale: must-revalidate, proxy-revalidate or s-maxage.
    pub must_revalidate: bool,
    /// `max-age`.
    pub max_age: Option<u64>,
    /// `s-maxage`.
    pub s_maxage: Option<u64>,
    /// Seconds that it may be used stale while it is validated.
    pub stale_while_revalidate: u64,
    /// Seconds that it may be used stale while the origin fails.
    pub stale_if_error: u64,
    /// The client wants no request to the origin.
    pub only_if_cached: bool,
}

impl Control {
    /// What `Cache-Control` says.
    pub fn read(headers: &Headers) -> Control {
        let mut control = Control::default();
        for value in headers.all("cache-control") {
            for directive in split_quoted(value) {
                control.take(directive);
            }
        }
        control
    }

    /// What holds for this cache: `CDN-Cache-Control` if it is there and sound, else
    /// `Cache-Control`.
    fn of_response(headers: &Headers) -> Control {
        let mut control = Control::default();
        let mut found = false;
        for value in headers.all("cdn-cache-control") {
            for directive in split_quoted(value) {
                // One bad member voids the whole structured field (RFC 8941 section 4.2).
                if !is_dictionary_member(directive) {
                    return Control::read(headers);
                }
                control.take(directive);
                found = true;
            }
        }
        if found {
            control
        } else {
            Control::read(headers)
        }
    }

    fn take(&mut self, directive: &[u8]) {
        let (name, value) = match directive.iter().position(|&byte| byte == b'=') {
            Some(at) => (&directive[..at], Some(&directive[at + 1..])),
            None => (directive, None),
        };
        let seconds = value.and_then(seconds);
        // Of several values the smaller one is the safer one; a bad one means stale at once.
        let smaller = |old: Option<u64>| {
            let new = seconds.unwrap_or(0);
            Some(old.map_or(new, |old| old.min(new)))
        };
        match name.to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" | b"proxy-revalidate" => self.must_revalidate = true,
            b"max-age" => self.max_age = smaller(self.max_age),
            b"s-maxage" => {
                self.s_maxage = smaller(self.s_maxage);
                self.must_revalidate = true;
            }
            b"stale-while-revalidate" => self.stale_while_revalidate = seconds.unwrap_or(0),
            b"stale-if-error" => self.stale_if_error = seconds.unwrap_or(0),
            b"only-if-cached" => self.only_if_cached = true,
            _ => {}
        }
    }
}

/// Splits at commas outside quotes.
fn split_quoted(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(move |&byte| {
        let ends = byte == b',' && !quoted;
        if escaped {
            escaped = false;
        } else {
            escaped = quoted && byte == b'\\';
            quoted ^= byte == b'"';
        }
        ends
    });
    parts
        .map(<[u8]>::trim_ascii)
        .filter(|part| !part.is_empty())
}

/// A key, and a number if the key is one of those that need one.
fn is_dictionary_member(directive: &[u8]) -> bool {
    let (name, value) = match directive.iter().position(|&byte| byte == b'=') {
        Some(at) => (&directive[..at], Some(&directive[at + 1..])),
        None => (directive, None),
    };
    let key =
        |&byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte);
    let number = |value: &[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let needs_number = [
        &b"max-age"[..],
        b"s-maxage",
        b"stale-while-revalidate",
        b"stale-if-error",
    ]
    .contains(&name);
    !name.is_empty() && name.iter().all(key) && (!needs_number || value.is_some_and(number))
}

/// Digits, in quotes or bare.
fn seconds(value: &[u8]) -> Option<u64> {
    let value = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    Some(text.parse().unwrap_or(SECONDS_MAX).min(SECONDS_MAX))
}

/// Whether and how a response is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    /// It is kept.
    Store,
    /// It is passed on only; the reason, for Cache-Status.
    Pass(&'static str),
}

/// Statuses that may be kept without an explicit lifetime (RFC 9110 section 15.1), less 206.
const HEURISTIC: [u16; 10] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414];

/// Decides whether the response to a request may be stored (RFC 9111 section 3).
pub fn may_store(request: &Request, response: &Response) -> Storing {
    let control = Control::of_response(&response.headers);
    let headers = &response.headers;
    let explicit =
        control.max_age.is_some() || control.s_maxage.is_some() || headers.has("expires");
    let heuristic = HEURISTIC.contains(&response.status) && has_validator(headers);
    let reason = if request.method != "GET" || request.framing != crate::http::Framing::Empty {
        "method"
    } else if response.status < 200 || response.status == 206 || response.status == 304 {
        "status"
    } else if control.no_store || Control::read(&request.headers).no_store {
        "no-store"
    } else if control.private {
        "private"
    } else if request.headers.has("authorization") && !control.public && !control.must_revalidate {
        "authorization"
    } else if headers.has("set-cookie") {
        "set-cookie"
    } else if headers.words("vary").any(|word| word == b"*") {
        "vary"
    } else if request.headers.has("range") && response.status != 200 {
        "range"
    } else if !explicit && !heuristic {
        "no-lifetime"
    } else {
        return Storing::Store;
    };
    Storing::Pass(reason)
}

/// Whether a stored response could be validated.
pub fn has_validator(headers: &Headers) -> bool {
    headers.has("etag") || headers.has("last-modified")
}

/// What is needed to tell how old a stored response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When the request was sent.
    pub request: i64,
    /// When the head of the response had come.
    pub response: i64,
}

/// How a stored response may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// As it is, for so many seconds more.
    Fresh(u64),
    /// As it is, while it is validated in the background.
    StaleWhileRevalidate,
    /// After it has been validated.
    Validate,
}

/// Decides how a stored response may be used now (RFC 9111 section 4.2).
pub fn how_to_use(headers: &Headers, times: Times, now: i64) -> Use {
    let control = Control::of_response(headers);
    let age = age(headers, times, now);
    let lifetime = lifetime(headers, &control, times);
    if control.no_cache {
        Use::Validate
    } else if age < lifetime {
        Use::Fresh(lifetime - age)
    } else if !control.must_revalidate && age - lifetime < control.stale_while_revalidate {
        Use::StaleWhileRevalidate
    } else {
        Use::Validate
    }
}

/// Whether a stale response may be used now that the origin fails (RFC 9111 section 4.2.4).
///
/// `unreachable`: there is no answer at all. Otherwise the origin says 5xx, and only
/// `stale-if-error` allows it.
pub fn may_use_on_error(headers: &Headers, times: Times, now: i64, unreachable: bool) -> bool {
    let control = Control::of_response(headers);
    if control.must_revalidate || control.no_cache {
        return false;
    }
    let stale = age(headers, times, now).saturating_sub(lifetime(headers, &control, times));
    unreachable || stale < control.stale_if_error
}

/// Seconds since the origin made the response, or found it unchanged (RFC 9111 section 4.2.3).
pub fn age(headers: &Headers, times: Times, now: i64) -> u64 {
    let received = headers.first("age").and_then(|value| {
        let first = value.split(|&byte| byte == b',').next()?.trim_ascii();
        if first.starts_with(b"\"") {
            None
        } else {
            seconds(first)
        }
    });
    let apparent = match date_of(headers, times) {
        Some(date) => (times.response / 1000 - date).max(0),
        None => 0,
    };
    let delay = (times.response - times.request).max(0) / 1000;
    let corrected = received.unwrap_or(0).saturating_add(delay as u64);
    let resident = (now - times.response).max(0) / 1000;
    (apparent as u64)
        .max(corrected)
        .saturating_add(resident as u64)
}

fn lifetime(headers: &Headers, control: &Control, times: Times) -> u64 {
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return seconds;
    }
    let received = times.response / 1000;
    let date = date_of(headers, times).unwrap_or(received);
    let mut expires = headers.all("expires");
    if let Some(value) = expires.next() {
        let time = date::parse(value, received).filter(|_| expires.next().is_none());
        return time.map_or(0, |time| (time - date).max(0) as u64);
    }
    let modified = headers
        .first("last-modified")
        .and_then(|value| date::parse(value, received));
    // A tenth of the time for which it has not changed (RFC 9111 section 4.2.2).
    modified.map_or(0, |modified| {
        ((date - modified).max(0) as u64 / 10).min(HEURISTIC_MAX)
    })
}

fn date_of(headers: &Headers, times: Times) -> Option<i64> {
    headers
        .first("date")
        .and_then(|value| date::parse(value, times.response / 1000))
}

/// The header lines that choose among variants, as they stand in this request: one spelling per
/// meaning, so equal texts mean the same variant. Empty if the response does not vary.
pub fn selecting(vary: &[String], request: &Headers) -> Vec<u8> {
    let mut text = Vec::new();
    for name in vary {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        for word in request.words(name) {
            text.extend(word.iter().filter(|byte| **byte != b' '));
            text.push(b',');
        }
        text.push(b'\n');
    }
    text
}

/// The names that `Vary` lists, lower case, sorted, each once.
pub fn vary(headers: &Headers) -> Vec<String> {
    let words = headers
        .words("vary")
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
    let mut names: Vec<String> = words.collect();
    names.sort();
    names.dedup();
    names
}

/// The tags that a purge may name: `Surrogate-Key` and `Cache-Groups`.
pub fn tags(headers: &Headers) -> Vec<String> {
    let keys = headers
        .all("surrogate-key")
        .flat_map(|value| value.split(|&byte| byte == b' '));
    let groups = headers.words("cache-groups").map(|word| word.trim_ascii());
    let unquoted = |word: &[u8]| {
        let word = word
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""))
            .unwrap_or(word);
        String::from_utf8_lossy(word).into_owned()
    };
    let is_tag = |tag: &String| !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_graphic());
    keys.chain(groups).map(unquoted).filter(is_tag).collect()
}

/// Puts the lines of a 304 in place of the stored ones (RFC 9111 section 3.2).
pub fn update(stored: &mut Headers, fresh: &Headers) {
    let mut fresh = fresh.clone();
    fresh.remove_hop_by_hop();
    for name in [
        "Content-Length",
        "Content-Encoding",
        "Content-Type",
        "Content-Range",
    ] {
        fresh.remove(name);
    }
    for (name, _) in fresh.iter() {
        stored.remove(name);
    }
    // A stored Age is of the old response.
    stored.remove("age");
    for (name, value) in fresh.iter() {
        stored.push(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{read_request, read_response};

    const NOW: i64 = 784_111_777_000;
    const TIMES: Times = Times {
        request: NOW,
        response: NOW,
    };

    fn headers(lines: &str) -> Headers {
        response(200, lines).headers
    }

    fn response(status: u16, lines: &str) -> Response {
        let text = format!("HTTP/1.1 {status} x\r\n{}\r\n", lines.replace('\n', "\r\n"));
        read_response(text.as_bytes(), "GET").unwrap().unwrap().0
    }

    fn request(lines: &str) -> Request {
        let text = format!(
            "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
            lines.replace('\n', "\r\n")
        );
        read_request(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn what_is_stored() {
        let stored = |status, lines: &str| {
            may_store(&request(""), &response(status, lines)) == Storing::Store
        };
        assert!(stored(200, "Cache-Control: max-age=1\n"));
        assert!(stored(599, "Cache-Control: max-age=1\n"));
        assert!(stored(200, "ETag: \"a\"\n"));
        assert!(stored(404, "Expires: 0\n"));
        assert!(!stored(200, ""));
        assert!(!stored(302, "ETag: \"a\"\n"));
        assert!(!stored(206, "Cache-Control: max-age=1\n"));
        assert!(!stored(200, "Cache-Control: max-age=1, no-store\n"));
        assert!(!stored(
            200,
            "Cache-Control: max-age=1\nCache-Control: Private\n"
        ));
        assert!(!stored(200, "Cache-Control: max-age=1\nVary: a, *\n"));
        assert!(!stored(200, "Cache-Control: max-age=1\nSet-Cookie: a\n"));
        let authorized = |lines: &str| {
            may_store(&request("Authorization: x\n"), &response(200, lines)) == Storing::Store
        };
        assert!(!authorized("Cache-Control: max-age=1\n"));
        assert!(authorized("Cache-Control: max-age=1, public\n"));
        assert!(authorized("Cache-Control: s-maxage=1\n"));
    }

    #[test]
    fn lifetimes() {
        let fresh = |lines: &str| match how_to_use(&headers(lines), TIMES, NOW) {
            Use::Fresh(seconds) => seconds,
            _ => 0,
        };
        assert_eq!(fresh("Cache-Control: max-age=60\n"), 60);
        assert_eq!(fresh("Cache-Control: max-age=60, s-maxage=10\n"), 10);
        assert_eq!(
            fresh("Cache-Control: max-age=60\nCDN-Cache-Control: max-age=5\n"),
            5
        );
        assert_eq!(
            fresh("Cache-Control: max-age=60\nCDN-Cache-Control: max-age=5, &&\n"),
            60
        );
        assert_eq!(
            fresh("Cache-Control: max-age=60\nCDN-Cache-Control: max-age=\"5\"\n"),
            60
        );
        assert_eq!(fresh("Cache-Control: ext=\"max-age=3600\"\n"), 0);
        assert_eq!(fresh("Cache-Control: max-age='3600'\n"), 0);
        assert_eq!(fresh("Cache-Control: max-age=003600\n"), 3600);
        assert_eq!(
            fresh("Cache-Control: max-age=99999999999999999999\n"),
            SECONDS_MAX
        );
        assert_eq!(fresh("Cache-Control: max-age=60\nAge: 20\n"), 40);
        assert_eq!(fresh("Cache-Control: max-age=60\nAge: 20, 50\n"), 40);
        assert_eq!(fresh("Cache-Control: max-age=60\nAge: 20.5\n"), 60);
        assert_eq!(
            fresh("Cache-Control: max-age=60\nDate: Sun, 06 Nov 1994 08:49:27 GMT\n"),
            50
        );
        let expires =
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\nExpires: Sun, 06 Nov 1994 08:50:37 GMT\n";
        assert_eq!(fresh(expires), 60);
        assert_eq!(fresh("Expires: Sun, 06 Nov 1994 08:50:37 UTC\n"), 0);
        assert_eq!(fresh("Last-Modified: Sun, 06 Nov 1994 08:32:57 GMT\n"), 100);
    }

    #[test]
    fn staleness() {
        let later = NOW + 100_000;
        let used = |lines: &str| how_to_use(&headers(lines), TIMES, later);
        assert_eq!(used("Cache-Control: max-age=60\n"), Use::Validate);
        assert_eq!(
            used("Cache-Control: max-age=60, stale-while-revalidate=50\n"),
            Use::StaleWhileRevalidate
        );
        assert_eq!(
            used("Cache-Control: max-age=60, stale-while-revalidate=40\n"),
            Use::Validate
        );
        assert_eq!(
            used("Cache-Control: max-age=600, no-cache\n"),
            Use::Validate
        );
        let on_error =
            |lines: &str, unreachable| may_use_on_error(&headers(lines), TIMES, later, unreachable);
        assert!(on_error("Cache-Control: max-age=60\n", true));
        assert!(!on_error("Cache-Control: max-age=60\n", false));
        assert!(on_error(
            "Cache-Control: max-age=60, stale-if-error=60\n",
            false
        ));
        assert!(!on_error(
            "Cache-Control: max-age=60, must-revalidate\n",
            true
        ));
        assert!(!on_error("Cache-Control: s-maxage=60\n", true));
    }

    #[test]
    fn variants_are_told_apart_by_meaning() {
        let names = vary(&headers("Vary: Accept-Language, B\nVary: b\n"));
        assert_eq!(names, ["accept-language", "b"]);
        let select = |lines: &str| selecting(&names, &request(lines).headers);
        assert_eq!(
            select("Accept-Language: en, de\n"),
            select("accept-language: en,  de\nC: d\n")
        );
        assert_eq!(select("B: x\nB: y\n"), select("B: x, y\n"));
        assert_ne!(select("B: x\n"), select(""));
    }

    #[test]
    fn a_304_updates_what_is_stored() {
        let mut stored = headers("ETag: \"a\"\nX: 1\nAge: 5\nContent-Length: 9\n");
        update(
            &mut stored,
            &headers("X: 2\nConnection: Y\nY: 1\nContent-Length: 0\n"),
        );
        assert_eq!(stored, headers("ETag: \"a\"\nContent-Length: 9\nX: 2\n"));
    }

    #[test]
    fn tags_of_both_kinds() {
        let found = tags(&headers("Surrogate-Key: a b\nCache-Groups: \"c\", \"d\"\n"));
        assert_eq!(found, ["a", "b", "c", "d"]);
    }
}
