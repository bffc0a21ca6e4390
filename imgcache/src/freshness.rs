//! What may be stored and for how long (RFC 9111, 9213, 5861).
//!
//! Times are milliseconds since 1970, lifetimes and ages seconds.

use crate::date;
use crate::directives::{Directives, seconds};
use crate::http::{Headers, Request, Response};

/// Bound: a lifetime that nobody has given is at most a day.
const HEURISTIC_MAX: u64 = 86400;

/// What the configuration of a site says about its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether responses with `Set-Cookie` are stored.
    pub store_cookies: bool,
    /// Seconds for which "there is no such thing" is believed if the origin gives no lifetime.
    pub negative_seconds: u64,
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
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// Statuses that say that there is nothing.
const NEGATIVE: [u16; 2] = [404, 410];

/// Statuses whose meaning for a cache is known (RFC 9110 section 15, RFC 6585).
fn is_understood(status: u16) -> bool {
    matches!(
        status,
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 428 | 429 | 431
            | 451 | 500..=505 | 511
    )
}

/// Decides whether the response to a request may be stored (RFC 9111 section 3).
pub fn may_store(request: &Request, response: &Response, policy: Policy) -> Storing {
    let control = Directives::of_response(&response.headers);
    let headers = &response.headers;
    let explicit =
        control.max_age.is_some() || control.s_maxage.is_some() || headers.has("expires");
    let cacheable = HEURISTIC.contains(&response.status) || control.public;
    let heuristic = cacheable && has_validator(headers);
    let negative = NEGATIVE.contains(&response.status) && policy.negative_seconds > 0;
    let no_store = control.no_store && !control.must_understand;
    let reason = if request.method != "GET" || request.framing != crate::http::Framing::Empty {
        "method"
    } else if response.status < 200 || response.status == 206 || response.status == 304 {
        "status"
    } else if control.must_understand && !is_understood(response.status) {
        "must-understand"
    } else if no_store || Directives::read(&request.headers).no_store {
        "no-store"
    } else if control.private {
        "private"
    } else if request.headers.has("authorization") && !control.public && !control.must_revalidate {
        "authorization"
    } else if headers.has("set-cookie") && !policy.store_cookies {
        "set-cookie"
    } else if headers.words("vary").any(|word| word == b"*") {
        "vary"
    } else if request.headers.has("range") && response.status != 200 {
        "range"
    } else if !explicit && !heuristic && !negative {
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

/// A stored response, as far as its freshness is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: &'a Headers,
    /// When it was asked for, or validated.
    pub times: Times,
}

impl Stored<'_> {
    /// Decides how it may be used now (RFC 9111 section 4.2).
    pub fn how_to_use(&self, policy: Policy, now: i64) -> Use {
        let control = Directives::of_response(self.headers);
        let age = self.age(now);
        let lifetime = self.lifetime(&control, policy);
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

    /// Whether it may be used stale now that the origin fails (RFC 9111 section 4.2.4).
    ///
    /// `unreachable`: there is no answer at all. Otherwise the origin says 5xx, and only
    /// `stale-if-error` allows it.
    pub fn may_use_on_error(&self, policy: Policy, now: i64, unreachable: bool) -> bool {
        let control = Directives::of_response(self.headers);
        if control.must_revalidate || control.no_cache {
            return false;
        }
        let stale = self
            .age(now)
            .saturating_sub(self.lifetime(&control, policy));
        unreachable || stale < control.stale_if_error
    }

    /// Seconds since the origin made it, or found it unchanged (RFC 9111 section 4.2.3).
    pub fn age(&self, now: i64) -> u64 {
        let times = self.times;
        // The first of several is ours to use; what is no number is ignored (section 5.1).
        let received = self.headers.first("age").and_then(|value| {
            let first = value.split(|&byte| byte == b',').next()?.trim_ascii();
            if first.starts_with(b"\"") {
                None
            } else {
                seconds(first)
            }
        });
        let apparent = self
            .date()
            .map_or(0, |date| (times.response / 1000 - date).max(0));
        let delay = (times.response - times.request).max(0) / 1000;
        let corrected = received.unwrap_or(0).saturating_add(delay as u64);
        let resident = (now - times.response).max(0) / 1000;
        (apparent as u64)
            .max(corrected)
            .saturating_add(resident as u64)
    }

    fn lifetime(&self, control: &Directives, policy: Policy) -> u64 {
        if let Some(seconds) = control.s_maxage.or(control.max_age) {
            return seconds;
        }
        let received = self.times.response / 1000;
        let date = self.date().unwrap_or(received);
        let mut expires = self.headers.all("expires");
        if let Some(value) = expires.next() {
            let time = date::parse(value, received).filter(|_| expires.next().is_none());
            return time.map_or(0, |time| (time - date).max(0) as u64);
        }
        let modified = self.headers.first("last-modified");
        match modified.and_then(|value| date::parse(value, received)) {
            // A tenth of the time for which it has not changed (RFC 9111 section 4.2.2).
            Some(modified) => ((date - modified).max(0) as u64 / 10).min(HEURISTIC_MAX),
            None if NEGATIVE.contains(&self.status) => policy.negative_seconds,
            None => 0,
        }
    }

    fn date(&self) -> Option<i64> {
        let value = self.headers.first("date")?;
        date::parse(value, self.times.response / 1000)
    }
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

/// Whether the head of a response is about the stored body: what both say is the same.
pub fn agrees(stored: &Headers, length: u64, head: &Headers) -> bool {
    let same = |name| match (stored.first(name), head.first(name)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    let told = head.first("content-length");
    same("etag")
        && same("last-modified")
        && told.is_none_or(|told| told == length.to_string().as_bytes())
}

/// Puts the lines of a 304 in place of the stored ones (RFC 9111 section 3.2), but for those that
/// say what the bytes of the stored body are.
pub fn update(stored: &mut Headers, fresh: &Headers) {
    let mut fresh = fresh.clone();
    fresh.remove_hop_by_hop();
    for name in [
        "Content-Length",
        "Content-Encoding",
        "Content-MD5",
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

    const POLICY: Policy = Policy {
        store_cookies: false,
        negative_seconds: 5,
    };

    fn stored(status: u16, headers: &Headers) -> Stored<'_> {
        Stored {
            status,
            headers,
            times: TIMES,
        }
    }

    fn used(status: u16, lines: &str, now: i64) -> Use {
        stored(status, &headers(lines)).how_to_use(POLICY, now)
    }

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
            may_store(&request(""), &response(status, lines), POLICY) == Storing::Store
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
        let cookie = response(200, "Cache-Control: max-age=1\nSet-Cookie: a\n");
        let judged = |store_cookies| {
            let policy = Policy {
                store_cookies,
                ..POLICY
            };
            may_store(&request(""), &cookie, policy)
        };
        assert_eq!(judged(false), Storing::Pass("set-cookie"));
        assert_eq!(judged(true), Storing::Store);
        let understood = "Cache-Control: max-age=1, no-store, must-understand\n";
        assert!(stored(200, understood) && !stored(599, understood));
        assert!(stored(404, "") && !stored(403, ""));
        let authorized = |lines: &str| {
            may_store(
                &request("Authorization: x\n"),
                &response(200, lines),
                POLICY,
            ) == Storing::Store
        };
        assert!(!authorized("Cache-Control: max-age=1\n"));
        assert!(authorized("Cache-Control: max-age=1, public\n"));
        assert!(authorized("Cache-Control: s-maxage=1\n"));
    }

    #[test]
    fn heads_of_the_same_body_agree() {
        let stored = headers("ETag: \"a\"\n");
        for (head, expected) in [
            ("ETag: \"a\"\nContent-Length: 3\n", true),
            ("", true),
            ("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\n", true),
            ("ETag: \"b\"\nContent-Length: 3\n", false),
            ("ETag: W/\"a\"\n", false),
            ("Content-Length: 4\n", false),
        ] {
            assert_eq!(agrees(&stored, 3, &headers(head)), expected, "{head}");
        }
    }

    #[test]
    fn lifetimes() {
        let fresh = |lines: &str| match used(200, lines, NOW) {
            Use::Fresh(seconds) => seconds,
            _ => 0,
        };
        assert_eq!(fresh("Cache-Control: max-age=60\n"), 60);
        assert_eq!(fresh("Cache-Control: max-age=60, s-maxage=10\n"), 10);
        assert_eq!(
            fresh("Cache-Control: max-age=60\nCDN-Cache-Control: max-age=5\n"),
            5
        );
        assert_eq!(fresh("Cache-Control: max-age=60\nAge: 20\n"), 40);
        // RFC 9111 section 5.1: the first of several ages, and none that is no number.
        for (age, left) in [
            ("20, 50", 40),
            ("0,7200", 60),
            ("7200,0", 0),
            ("0\nAge: 7200", 60),
            ("7200\nAge: 0", 0),
            ("20, 20", 40),
            ("abc", 60),
            ("-7200", 60),
            ("20.5", 60),
            ("20;foo=111", 60),
        ] {
            assert_eq!(
                fresh(&format!("Cache-Control: max-age=60\nAge: {age}\n")),
                left,
                "{age}"
            );
        }
        assert_eq!(
            fresh("Cache-Control: max-age=60\nDate: Sun, 06 Nov 1994 08:49:27 GMT\n"),
            50
        );
        let expires =
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\nExpires: Sun, 06 Nov 1994 08:50:37 GMT\n";
        assert_eq!(fresh(expires), 60);
        assert_eq!(fresh("Expires: Sun, 06 Nov 1994 08:50:37 UTC\n"), 0);
        assert_eq!(fresh("Last-Modified: Sun, 06 Nov 1994 08:32:57 GMT\n"), 100);
        assert_eq!(used(404, "", NOW), Use::Fresh(5));
        assert_eq!(used(404, "Cache-Control: max-age=9\n", NOW), Use::Fresh(9));
    }

    #[test]
    fn staleness() {
        let later = NOW + 100_000;
        let used = |lines: &str| used(200, lines, later);
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
        let on_error = |lines: &str, unreachable| {
            stored(200, &headers(lines)).may_use_on_error(POLICY, later, unreachable)
        };
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
    fn a_304_updates_what_is_stored() {
        let mut stored = headers("ETag: \"a\"\nX: 1\nAge: 5\nContent-Length: 9\n");
        update(
            &mut stored,
            &headers("X: 2\nConnection: Y\nY: 1\nContent-Length: 0\nContent-MD5: 0\n"),
        );
        assert_eq!(stored, headers("ETag: \"a\"\nContent-Length: 9\nX: 2\n"));
    }

    #[test]
    fn tags_of_both_kinds() {
        let found = tags(&headers("Surrogate-Key: a b\nCache-Groups: \"c\", \"d\"\n"));
        assert_eq!(found, ["a", "b", "c", "d"]);
    }
}
