//! What an origin tells caches: `Cache-Control` (RFC 9111), the same targeted at caches like this
//! one (RFC 9213), and `Surrogate-Control` as the Edge Architecture note has it.

use crate::http::Headers;

/// Larger numbers mean "very long" (RFC 9111 section 1.2.2).
pub(crate) const SECONDS_MAX: u64 = 1 << 31;

/// What this cache is called where a field may name one.
pub const TOKEN: &str = "imgcache";

/// The directives of one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
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
    /// To be stored only by who knows what the status means; then `no_store` does not count.
    pub must_understand: bool,
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

impl Directives {
    /// What `Cache-Control` says.
    pub fn read(headers: &Headers) -> Directives {
        let mut found = Directives::default();
        for value in headers.all("cache-control") {
            split_quoted(value).for_each(|directive| found.take(directive));
        }
        found
    }

    /// What holds for this cache: the most narrowly targeted field that is there and sound.
    pub(crate) fn of_response(headers: &Headers) -> Directives {
        Directives::read_cdn(headers)
            .or_else(|| Directives::read_surrogate(headers))
            .unwrap_or_else(|| Directives::read(headers))
    }

    /// `CDN-Cache-Control`, a structured field: one bad member voids it (RFC 8941 section 4.2).
    fn read_cdn(headers: &Headers) -> Option<Directives> {
        let mut found = None;
        for directive in headers.all("cdn-cache-control").flat_map(split_quoted) {
            if !is_dictionary_member(directive) {
                return None;
            }
            found
                .get_or_insert_with(Directives::default)
                .take(directive);
        }
        found
    }

    /// `Surrogate-Control`, less what is meant for others.
    fn read_surrogate(headers: &Headers) -> Option<Directives> {
        let mut found = None;
        for directive in headers.all("surrogate-control").flat_map(split_quoted) {
            let mut parts = directive
                .split(|&byte| byte == b';')
                .map(<[u8]>::trim_ascii);
            let directive = parts.next().unwrap_or_default();
            if parts.next().is_none_or(|target| target == TOKEN.as_bytes()) {
                // `max-age=600+60`: a grace may follow, which is not for a cache that can ask.
                let end = directive.iter().position(|&byte| byte == b'+');
                found
                    .get_or_insert_with(Directives::default)
                    .take(&directive[..end.unwrap_or(directive.len())]);
            }
        }
        found
    }

    /// Whether `CDN-Loop` says that the cache with this identity has sent the request (RFC 8586).
    pub fn is_in_loop(request: &Headers, id: &str) -> bool {
        let own = format!("{TOKEN}; id={id}");
        request.words("cdn-loop").any(|word| word == own.as_bytes())
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
            b"must-understand" => self.must_understand = true,
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
pub(crate) fn seconds(value: &[u8]) -> Option<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn age(lines: &[(&str, &str)]) -> Option<u64> {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(name, *value);
        }
        Directives::of_response(&headers).max_age
    }

    const PLAIN: (&str, &str) = ("Cache-Control", "max-age=60");

    #[test]
    fn the_narrowest_target_wins() {
        let cdn = ("CDN-Cache-Control", "max-age=5");
        let surrogate = ("Surrogate-Control", "max-age=7+3, content=\"ESI/1.0\"");
        assert_eq!(age(&[PLAIN]), Some(60));
        assert_eq!(age(&[PLAIN, surrogate]), Some(7));
        assert_eq!(age(&[surrogate, PLAIN, cdn]), Some(5));
    }

    #[test]
    fn a_bad_structured_field_is_none() {
        for bad in ["max-age=5, &&", "max-age=\"5\"", "MaX-aGe=5", "max-age"] {
            assert_eq!(age(&[PLAIN, ("CDN-Cache-Control", bad)]), Some(60), "{bad}");
        }
    }

    #[test]
    fn what_is_meant_for_another_surrogate_is_not_ours() {
        let field = |value| age(&[PLAIN, ("Surrogate-Control", value)]);
        assert_eq!(field("max-age=5;other"), Some(60));
        assert_eq!(field("max-age=5;imgcache"), Some(5));
        assert_eq!(field("max-age=9, max-age=5;other"), Some(9));
    }

    #[test]
    fn quotes_and_odd_numbers() {
        let plain = |value| age(&[("Cache-Control", value)]);
        assert_eq!(plain("ext=\"max-age=3600\""), None);
        assert_eq!(plain("ext=\"a\\\", max-age=3600\", max-age=\"1\""), Some(1));
        assert_eq!(plain("max-age='3600'"), Some(0));
        assert_eq!(plain("max-age=-1"), Some(0));
        assert_eq!(plain("max-age=003600"), Some(3600));
        assert_eq!(plain("max-age=9, max-age=5"), Some(5));
        assert_eq!(plain("max-age=99999999999999999999"), Some(SECONDS_MAX));
    }
}
