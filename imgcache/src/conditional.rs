//! Conditions and ranges of requests, answered from what is stored (RFC 9110 sections 13 and 14).

use std::ops::Range;

use crate::date;
use crate::http::Headers;

/// What of a stored 200 a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it.
    Whole,
    /// These bytes, as 206; never empty.
    Part(Range<u64>),
    /// None: the client has it, 304.
    NotModified,
    /// None: a precondition failed, 412.
    Failed,
    /// None: the range is not there, 416.
    Unsatisfiable,
}

/// Judges the conditions in the order of RFC 9110 section 13.2.2. `length` is that of the stored
/// body, `now` in seconds.
pub fn select(request: &Headers, stored: &Headers, length: u64, now: i64) -> Selection {
    let etag = stored.first("etag");
    let modified = stored
        .first("last-modified")
        .and_then(|value| date::parse(value, now));
    // What was never modified was as it is when it was made (RFC 9111 section 4.3.2).
    let dated = || {
        let date = stored.first("date")?;
        date::parse(date, now)
    };
    let time = |name| {
        request
            .first(name)
            .and_then(|value| date::parse(value, now))
    };
    if request.has("if-match") {
        if !request
            .words("if-match")
            .any(|word| word == b"*" || is_strong_match(etag, word))
        {
            return Selection::Failed;
        }
    } else if let Some(time) = time("if-unmodified-since")
        && modified.is_some_and(|modified| modified > time)
    {
        return Selection::Failed;
    }
    if request.has("if-none-match") {
        if request
            .words("if-none-match")
            .any(|word| word == b"*" || is_weak_match(etag, word))
        {
            return Selection::NotModified;
        }
    } else if let Some(time) = time("if-modified-since")
        && modified.or_else(dated).is_some_and(|made| made <= time)
    {
        return Selection::NotModified;
    }
    match request.first("range") {
        Some(range) if may_range(request, etag, stored) => part(range, length),
        _ => Selection::Whole,
    }
}

fn may_range(request: &Headers, etag: Option<&[u8]>, stored: &Headers) -> bool {
    match request.first("if-range") {
        None => true,
        Some(value) if value.ends_with(b"\"") => is_strong_match(etag, value),
        // Exactly the date that was sent, not one that is later.
        Some(value) => stored.first("last-modified") == Some(value),
    }
}

/// One range of bytes; several, and what is no range, get the whole.
fn part(value: &[u8], length: u64) -> Selection {
    let Some(range) = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.strip_prefix("bytes="))
    else {
        return Selection::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else {
        return Selection::Whole;
    };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Some(text.parse::<u64>().unwrap_or(u64::MAX)),
        false => None,
    };
    let range = match (
        first.is_empty(),
        last.is_empty(),
        number(first),
        number(last),
    ) {
        (true, false, _, Some(suffix)) => length.saturating_sub(suffix)..length,
        (false, true, Some(first), _) => first..length,
        (false, false, Some(first), Some(last)) if first <= last => {
            first..length.min(last.saturating_add(1))
        }
        _ => return Selection::Whole,
    };
    if range.is_empty() {
        Selection::Unsatisfiable
    } else {
        Selection::Part(range)
    }
}

fn is_strong_match(stored: Option<&[u8]>, word: &[u8]) -> bool {
    stored == Some(word) && !word.starts_with(b"W/")
}

fn is_weak_match(stored: Option<&[u8]>, word: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
    stored.is_some_and(|stored| opaque(stored) == opaque(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(name, *value);
        }
        headers
    }

    fn asked(lines: &[(&str, &str)]) -> Selection {
        let stored = headers(&[
            ("ETag", "\"a\""),
            ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ]);
        select(&headers(lines), &stored, 10, 784_111_777)
    }

    #[test]
    fn conditions_in_their_order() {
        assert_eq!(asked(&[]), Selection::Whole);
        assert_eq!(
            asked(&[("If-None-Match", "\"b\", W/\"a\"")]),
            Selection::NotModified
        );
        assert_eq!(asked(&[("If-None-Match", "*")]), Selection::NotModified);
        let since = ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(asked(&[since]), Selection::NotModified);
        assert_eq!(
            asked(&[("If-None-Match", "\"b\""), since]),
            Selection::Whole
        );
        assert_eq!(
            asked(&[("If-Modified-Since", "Sun, 06 Nov 1994 08:49:36 GMT")]),
            Selection::Whole
        );
        assert_eq!(asked(&[("If-Match", "W/\"a\"")]), Selection::Failed);
        assert_eq!(asked(&[("If-Match", "\"a\"")]), Selection::Whole);
        let before = ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:36 GMT");
        assert_eq!(asked(&[before]), Selection::Failed);
    }

    #[test]
    fn ranges() {
        let range = |text| asked(&[("Range", text)]);
        assert_eq!(range("bytes=2-4"), Selection::Part(2..5));
        assert_eq!(range("bytes=2-"), Selection::Part(2..10));
        assert_eq!(range("bytes=-3"), Selection::Part(7..10));
        assert_eq!(range("bytes=-30"), Selection::Part(0..10));
        assert_eq!(
            range("bytes=5-99999999999999999999999"),
            Selection::Part(5..10)
        );
        assert_eq!(range("bytes=10-"), Selection::Unsatisfiable);
        assert_eq!(range("bytes=-0"), Selection::Unsatisfiable);
        for text in [
            "bytes=4-2",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=-",
            "bytes=+1-2",
            "bytes=a-b",
        ] {
            assert_eq!(range(text), Selection::Whole, "{text}");
        }
        assert_eq!(
            asked(&[("Range", "bytes=0-1"), ("If-Range", "\"b\"")]),
            Selection::Whole
        );
        assert_eq!(
            asked(&[("Range", "bytes=0-1"), ("If-Range", "\"a\"")]),
            Selection::Part(0..2)
        );
    }
}
