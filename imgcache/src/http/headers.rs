//! Header lines.

/// Header lines in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// None yet.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Adds a line; the value holds no control characters.
    pub fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// All values of this name, in any case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self
            .0
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_slice())
    }

    /// The first value of this name.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Whether there is a line of this name.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// The comma-separated words of all lines of this name, without blanks around them.
    pub fn words<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let words = self
            .all(name)
            .flat_map(|value| value.split(|&byte| byte == b','));
        words
            .map(<[u8]>::trim_ascii)
            .filter(|word| !word.is_empty())
    }

    /// Removes all lines of this name.
    pub fn remove(&mut self, name: &str) {
        self.0
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// Removes what concerns one connection only: the named ones, and those that `Connection` names.
    pub fn remove_hop_by_hop(&mut self) {
        let named: Vec<Vec<u8>> = self.words("connection").map(<[u8]>::to_vec).collect();
        self.0.retain(|(name, _)| {
            let name = name.as_bytes();
            !HOP_BY_HOP
                .iter()
                .any(|other| other.as_bytes().eq_ignore_ascii_case(name))
                && !named.iter().any(|other| other.eq_ignore_ascii_case(name))
        });
    }

    /// The lines.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Writes the lines as they stand in a head.
    pub fn write(&self, output: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            write_line(output, name, value);
        }
    }

    pub(super) fn read(lines: &[httparse::Header]) -> Headers {
        let lines = lines
            .iter()
            .map(|line| (line.name.to_owned(), line.value.trim_ascii().to_vec()));
        Headers(lines.collect())
    }
}

/// Headers of one connection, as old and new standards name them.
const HOP_BY_HOP: [&str; 9] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// Writes one line of a head.
pub fn write_line(output: &mut Vec<u8>, name: &str, value: &[u8]) {
    output.extend_from_slice(name.as_bytes());
    output.extend_from_slice(b": ");
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_go() {
        let mut headers = Headers::new();
        for (name, value) in [
            ("Connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("Upgrade", "h2c"),
            ("ETag", "\"a\""),
        ] {
            headers.push(name, value);
        }
        headers.remove_hop_by_hop();
        let left: Vec<_> = headers.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(left, ["ETag"]);
    }
}
