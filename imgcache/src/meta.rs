//! What is known about a stored object, and the text in which it is kept beside the body.
//!
//! A line `imgcache 1`, lines of a keyword and its value, an empty line, the header lines.
//! The text is the same in the attribute `user.imgcache` and in a sidecar file.

use std::fmt::Write as _;

use crate::freshness::{Stored, Times};
use crate::http::{Headers, write_line};
use crate::variants;

/// The attribute that holds the text.
pub const ATTRIBUTE: &str = "user.imgcache";

/// Bound: a longer text is none of ours.
pub const META_MAX: usize = 64 << 10;

const MAGIC: &str = "imgcache 1";

/// Identity of a body on disk: with any other, the metadata does not belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Number of its inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When it was last written, nanoseconds since 1970.
    pub mtime: i128,
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Scheme, site and target.
    pub url: String,
    /// Status of the response.
    pub status: u16,
    /// Its headers, less those of one connection.
    pub headers: Headers,
    /// When it was asked for, or validated.
    pub times: Times,
    /// The last purge that had been seen when it was asked for.
    pub rule: u64,
    /// The run of the cache in which the body was written or checked.
    pub era: u64,
    /// What the variants of one URL have in common.
    pub generation: u64,
    /// The headers that choose this variant, as [`variants::selecting`] has them, hashed.
    pub selecting: String,
    /// The body.
    pub body: Body,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Meta {
    /// The text.
    pub fn write(&self) -> Vec<u8> {
        let mut text = format!("{MAGIC}\n");
        let mut line = |keyword: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{keyword} {value}").expect("a String takes all");
        };
        line("url", &self.url);
        line("status", &self.status);
        line("request", &self.times.request);
        line("response", &self.times.response);
        line("rule", &self.rule);
        line("era", &self.era);
        line("generation", &self.generation);
        line("selecting", &self.selecting);
        line("inode", &self.body.inode);
        line("size", &self.body.size);
        line("mtime", &self.body.mtime);
        line("sha256", &self.sha256);
        text.push('\n');
        let mut bytes = text.into_bytes();
        for (name, value) in self.headers.iter() {
            write_line(&mut bytes, name, value);
        }
        bytes
    }

    /// Reads the text; none if it is not exactly what [`write`](Self::write) makes.
    pub fn read(text: &[u8]) -> Option<Meta> {
        let end = memchr::memmem::find(text, b"\n\n")?;
        let mut lines = std::str::from_utf8(&text[..end]).ok()?.lines();
        if lines.next()? != MAGIC {
            return None;
        }
        let mut value = |keyword: &str| lines.next()?.strip_prefix(keyword)?.strip_prefix(' ');
        let meta = Meta {
            url: value("url")?.to_owned(),
            status: value("status")?.parse().ok()?,
            times: Times {
                request: value("request")?.parse().ok()?,
                response: value("response")?.parse().ok()?,
            },
            rule: value("rule")?.parse().ok()?,
            era: value("era")?.parse().ok()?,
            generation: value("generation")?.parse().ok()?,
            selecting: value("selecting")?.to_owned(),
            body: Body {
                inode: value("inode")?.parse().ok()?,
                size: value("size")?.parse().ok()?,
                mtime: value("mtime")?.parse().ok()?,
            },
            sha256: value("sha256")?.to_owned(),
            headers: read_headers(&text[end + 2..])?,
        };
        (200..=999).contains(&meta.status).then_some(meta)
    }

    /// The names of the headers that choose among variants.
    pub fn vary(&self) -> Vec<String> {
        variants::vary(&self.headers)
    }

    /// What of it tells how fresh it is.
    pub fn stored(&self) -> Stored<'_> {
        Stored {
            status: self.status,
            headers: &self.headers,
            times: self.times,
        }
    }
}

fn read_headers(text: &[u8]) -> Option<Headers> {
    let mut headers = Headers::new();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r\n")?;
        let colon = memchr::memmem::find(line, b": ")?;
        headers.push(
            std::str::from_utf8(&line[..colon]).ok()?,
            &line[colon + 2..],
        );
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        let mut headers = Headers::new();
        headers.push("Content-Type", "image/gif");
        headers.push("X-Odd", &b"\xff: \xfe"[..]);
        headers.push("X-Empty", "");
        Meta {
            url: "http://www.example.com/logo.gif".into(),
            status: 200,
            headers,
            times: Times {
                request: 5,
                response: 6,
            },
            rule: 7,
            era: 1,
            generation: u64::MAX,
            selecting: String::new(),
            body: Body {
                inode: 8,
                size: 9,
                mtime: -1,
            },
            sha256: "00".into(),
        }
    }

    #[test]
    fn metadata_reads_back() {
        assert_eq!(Meta::read(&meta().write()), Some(meta()));
    }

    #[test]
    fn torn_metadata_is_none() {
        let text = meta().write();
        for end in 0..text.len() {
            // Cut behind a whole header line it is a sound text of its own; an attribute is
            // written as a whole, and a sidecar is renamed into place.
            let sound = text[..end].ends_with(b"\r\n") || text[..end].ends_with(b"\n\n");
            assert_eq!(Meta::read(&text[..end]).is_some(), sound, "{end}");
        }
        assert_eq!(Meta::read(b"imgcache 2\n\n"), None);
    }
}
