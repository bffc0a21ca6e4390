//! What a URL names: a site, and a target on it.

use std::fmt;

/// A request target in the one spelling that is key, file name and what the origin is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Begins with `/`; every `%XX` upper case, and none of an unreserved character.
    pub path: String,
    /// Behind the first `?`, as it was written; none if there is no `?`.
    pub query: Option<String>,
}

/// Why bytes are no target that this cache serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetError(&'static str);

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for TargetError {}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

impl Target {
    /// Reads an origin-form target.
    ///
    /// # Errors
    /// Not a path, a `.` or `..` segment however it is spelled, a bad escape, or a byte that no
    /// target has.
    pub fn parse(text: &[u8]) -> Result<Target, TargetError> {
        if text.first() != Some(&b'/') {
            return Err(TargetError("a target begins with /"));
        }
        let allowed = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\');
        if !text.iter().all(allowed) {
            return Err(TargetError("a byte that no target has"));
        }
        let text = std::str::from_utf8(text).map_err(|_| TargetError("not ASCII"))?;
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (text, None),
        };
        let path = normalise(path)?;
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(TargetError("a segment is . or .."));
        }
        Ok(Target { path, query })
    }
}

/// Upper-case escapes, and none of an unreserved character.
fn normalise(path: &str) -> Result<String, TargetError> {
    const BAD: TargetError = TargetError("a bad % escape");
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        normal.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(BAD)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(BAD);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| BAD)?;
        match byte {
            0..=0x1f | 0x7f => return Err(TargetError("an escaped control character")),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                normal.push(char::from(byte));
            }
            _ => {
                normal.push('%');
                normal.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = &rest[at + 3..];
    }
    normal.push_str(rest);
    Ok(normal)
}

/// Whether a word of the configuration may name a site, and so a directory.
pub fn is_site_name(name: &str) -> bool {
    let legal =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(legal)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_leave_the_root_is_no_target() {
        for target in [
            "",
            "x",
            "/..",
            "/../x",
            "/a/../b",
            "/%2e%2E/x",
            "/./",
            "/.%2e",
            "/%00",
            "/a%1f",
            "/%",
            "/%4",
            "/%zz",
            "/a b",
            "/a#b",
            "/a\\b",
            "/\u{e9}",
            "/a\n",
            "http://h/",
            "/%+1",
        ] {
            assert!(Target::parse(target.as_bytes()).is_err(), "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn the_spelling_is_the_only_one(text in "/[!-~]{0,40}") {
            if let Ok(target) = Target::parse(text.as_bytes()) {
                let again = Target::parse(target.to_string().as_bytes());
                prop_assert_eq!(again, Ok(target));
            }
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(target) = Target::parse(&bytes) {
                prop_assert!(target.path.starts_with('/') && !target.path.contains("/../"));
            }
        }
    }
}
