//! Which file a line goes to, and what it looks like there. No I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use memchr::{memchr, memchr_iter};
use serde::{Deserialize, Serialize};
use weblog::stream::hash;

use crate::config::{Filter, Log, Target};
use crate::stamp::{Expansion, Time};

/// The file of a VhostDir for lines whose first word cannot name a file. Such lines keep that word.
const INVALID_VHOST: &str = "_invalid";

/// Longest name of a virtual host, which is what the DNS allows.
const VHOST_BYTES_MAX: usize = 253;

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination<'a> {
    /// To the end of a file.
    File {
        /// Its path, time and virtual host filled in.
        path: &'a Path,
        /// Whether the path is only one of many: then missing directories are made.
        varies: bool,
        /// Files of one series follow each other: none begins before those before it are written.
        series: Option<u64>,
    },
    /// To stdout.
    Stdout,
    /// To the stdin of a shell command.
    Command(&'a str),
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::File { path, .. } => path.display().fmt(f),
            Destination::Stdout => f.write_str("-"),
            Destination::Command(command) => write!(f, "|{command}"),
        }
    }
}

/// The file that a name stands for, where names are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rotation {
    /// Behind the name, from 1 on.
    pub(crate) number: u64,
    /// How many bytes the file with this number has been given.
    pub(crate) bytes: u64,
}

/// Files that have been rotated by their size, by the name without the number. A function of the
/// lines alone, so that all loggers rotate at the same one.
pub(crate) type Rotations = BTreeMap<String, Rotation>;

/// The way of a group's lines through one Log block.
#[derive(Debug)]
pub(crate) struct Route {
    filter: Filter,
    timestamp: Option<Expansion>,
    rotate_bytes: Option<u64>,
    end: End,
    /// Lines on their way; empty between calls.
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum End {
    File {
        name: Expansion,
        series: Option<u64>,
    },
    Stdout,
    Command(String),
    Vhosts(Vhosts),
}

#[derive(Debug)]
struct Vhosts {
    directory: PathBuf,
    /// The path last made, kept for its memory.
    path: PathBuf,
}

impl Route {
    /// The way that a Log block describes.
    pub(crate) fn new(log: &Log) -> Route {
        let end = match &log.target {
            Target::File(pattern) => End::File {
                series: pattern
                    .changes()
                    .then(|| hash(0, pattern.to_string().as_bytes())),
                name: Expansion::new(pattern.clone()),
            },
            Target::Stdout => End::Stdout,
            Target::Command(command) => End::Command(command.clone()),
            Target::Vhosts(directory) => End::Vhosts(Vhosts {
                directory: directory.clone(),
                path: PathBuf::new(),
            }),
        };
        Route {
            filter: log.filter.clone(),
            timestamp: log.rewrite_timestamp.clone().map(Expansion::new),
            rotate_bytes: log.rotate_bytes,
            end,
            scratch: Vec::new(),
        }
    }

    /// Where the lines go if that is one place for all time.
    pub(crate) fn fixed_destination(&mut self) -> Option<Destination<'_>> {
        match &mut self.end {
            End::File {
                series: Some(_), ..
            }
            | End::Vhosts(_) => None,
            End::File { .. } if self.rotate_bytes.is_some() => None,
            end => Some(end.destination(&Time::EPOCH)),
        }
    }

    /// Passes whole lines on to `sink`, those that are not filtered out, as they are to be written.
    pub(crate) fn pass(
        &mut self,
        lines: &[u8],
        time: &Time,
        rotations: &mut Rotations,
        mut sink: impl FnMut(Destination, &[u8]),
    ) {
        if let Some(limit) = self.rotate_bytes {
            let sink = |destination: Destination, lines: &[u8]| {
                rotate(destination, lines, limit, rotations, &mut sink);
            };
            return self.pass_unrotated(lines, time, sink);
        }
        self.pass_unrotated(lines, time, sink);
    }

    fn pass_unrotated(
        &mut self,
        lines: &[u8],
        time: &Time,
        mut sink: impl FnMut(Destination, &[u8]),
    ) {
        let as_they_are = self.filter.passes_all() && self.timestamp.is_none();
        if let End::Vhosts(vhosts) = &mut self.end {
            for line in split_lines(lines).filter(|line| self.filter.passes(line)) {
                let (path, line) = vhosts.divide(line);
                rewrite(line, self.timestamp.as_mut(), time, &mut self.scratch);
                let destination = Destination::File {
                    path,
                    varies: true,
                    series: None,
                };
                sink(destination, &self.scratch);
                self.scratch.clear();
            }
            return;
        }
        let destination = self.end.destination(time);
        if as_they_are {
            return sink(destination, lines);
        }
        for line in split_lines(lines).filter(|line| self.filter.passes(line)) {
            rewrite(line, self.timestamp.as_mut(), time, &mut self.scratch);
        }
        if !self.scratch.is_empty() {
            sink(destination, &self.scratch);
            self.scratch.clear();
        }
    }
}

/// Divides lines among the numbered files of a name, at the line that would make one too long.
fn rotate(
    destination: Destination,
    lines: &[u8],
    limit: u64,
    rotations: &mut Rotations,
    sink: &mut impl FnMut(Destination, &[u8]),
) {
    let Destination::File { path, series, .. } = destination else {
        return sink(destination, lines);
    };
    let name = path.display().to_string();
    let series = series.or(Some(hash(0, name.as_bytes())));
    let mut rotation = rotations.get(&name).copied().unwrap_or(Rotation {
        number: 1,
        bytes: 0,
    });
    let numbered = |number: u64| PathBuf::from(format!("{name}.{number}"));
    let (mut start, mut end) = (0, 0);
    let mut flush = |number: u64, part: &[u8]| {
        if !part.is_empty() {
            let destination = Destination::File {
                path: &numbered(number),
                varies: true,
                series,
            };
            sink(destination, part);
        }
    };
    for line in split_lines(lines) {
        let length = line.len() as u64 + 1;
        if rotation.bytes > 0 && rotation.bytes + length > limit {
            flush(rotation.number, &lines[start..end]);
            start = end;
            rotation.number += 1;
            rotation.bytes = 0;
        }
        rotation.bytes += length;
        end += length as usize;
    }
    flush(rotation.number, &lines[start..]);
    rotations.insert(name, rotation);
}

impl End {
    fn destination(&mut self, time: &Time) -> Destination<'_> {
        match self {
            End::File { name, series } => Destination::File {
                path: Path::new(name.at(time)),
                varies: series.is_some(),
                series: *series,
            },
            End::Stdout => Destination::Stdout,
            End::Command(command) => Destination::Command(command),
            End::Vhosts(vhosts) => Destination::File {
                path: &vhosts.directory,
                varies: true,
                series: None,
            },
        }
    }
}

impl Vhosts {
    /// The file for a line, and what is to be written there.
    fn divide<'a>(&mut self, line: &'a [u8]) -> (&Path, &'a [u8]) {
        let length = memchr(b' ', line).unwrap_or(line.len());
        let (name, rest) = match vhost_name(&line[..length]) {
            Some(name) => (name, line.get(length + 1..).unwrap_or_default()),
            None => (INVALID_VHOST, line),
        };
        self.path.clear();
        self.path.push(&self.directory);
        self.path.push(name);
        (&self.path, rest)
    }
}

/// A word as a file's name, if it is safe as one: it must stay in its directory, be visible, and
/// not be ours.
fn vhost_name(word: &[u8]) -> Option<&str> {
    let allowed = |&byte: &u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let named = matches!(word.first(), Some(first) if !b"._".contains(first));
    if !named || word.len() > VHOST_BYTES_MAX || !word.iter().all(allowed) {
        return None;
    }
    std::str::from_utf8(word).ok()
}

impl Filter {
    fn passes_all(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// Whether a line, without its newline, is to be written.
    fn passes(&self, line: &[u8]) -> bool {
        (self.any.is_empty() || self.any.iter().any(|regex| regex.is_match(line)))
            && !self.none.iter().any(|regex| regex.is_match(line))
    }
}

/// The lines of a text that ends in a newline, without their newlines.
fn split_lines(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b'\n', lines).map(move |end| {
        let line = &lines[start..end];
        start = end + 1;
        line
    })
}

/// Appends a line and its newline, its first `[...]` replaced by the time if there is one.
fn rewrite(line: &[u8], timestamp: Option<&mut Expansion>, time: &Time, out: &mut Vec<u8>) {
    let brackets = timestamp.and_then(|stamp| {
        let open = memchr(b'[', line)?;
        let close = open + memchr(b']', &line[open..])?;
        Some((open, close, stamp.at(time)))
    });
    match brackets {
        Some((open, close, stamp)) => {
            out.extend_from_slice(&line[..open]);
            out.extend_from_slice(stamp.as_bytes());
            out.extend_from_slice(&line[close + 1..]);
        }
        None => out.extend_from_slice(line),
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::config::Config;

    /// What a Log block with these statements does to lines, as `destination: text`.
    fn pass(statements: &str, lines: &[u8]) -> Vec<String> {
        let text = format!("Name = a Loggers = a\nSpread {{ Log {{ Group = g {statements} }} }}");
        let config = Config::parse("f", &text).unwrap();
        let mut route = Route::new(&config.buses[0].logs[0]);
        let time = Time::from_second(971_211_336, &TimeZone::UTC);
        let mut out = Vec::new();
        let mut rotations = Rotations::new();
        route.pass(lines, &time, &mut rotations, |destination, bytes| {
            out.push(format!("{destination}: {}", bytes.escape_ascii()));
        });
        out
    }

    #[test]
    fn lines_pass_as_they_are() {
        assert_eq!(
            pass("File = /l", b"a\n\0\xff\n\n"),
            ["/l: a\\n\\x00\\xff\\n\\n"]
        );
        assert_eq!(pass("File = /l-%Y", b"a\n"), ["/l-2000: a\\n"]);
        assert_eq!(pass("File = -", b"a\n"), ["-: a\\n"]);
        assert_eq!(pass("File = '|cat >x'", b"a\n"), ["|cat >x: a\\n"]);
    }

    #[test]
    fn filters_let_matching_lines_pass() {
        let lines = b"GET /a.gif\nGET /a.html\nPOST /b.gif\n";
        assert_eq!(
            pass("File=/l Match=gif$", lines),
            ["/l: GET /a.gif\\nPOST /b.gif\\n"]
        );
        assert_eq!(pass("File=/l NoMatch=gif$", lines), ["/l: GET /a.html\\n"]);
        assert_eq!(
            pass("File=/l Match=gif Match=html NoMatch=^POST", lines),
            ["/l: GET /a.gif\\nGET /a.html\\n"]
        );
        assert_eq!(pass("File=/l Match=none", lines), [""; 0]);
        assert_eq!(pass("File=/l Match=^.$", b"\xff\n"), ["/l: \\xff\\n"]);
    }

    #[test]
    fn time_stamps_are_replaced() {
        let line = b"h - - [01/Jan/1970:00:00:00 +0100] \"GET /[x] HTTP/1.0\" 200 1\n";
        assert_eq!(
            pass("File=/l RewriteTimestamp=CommonLogFormat", line),
            ["/l: h - - [10/Oct/2000:20:55:36 +0000] \\\"GET /[x] HTTP/1.0\\\" 200 1\\n"]
        );
        assert_eq!(
            pass("File=/l RewriteTimestamp='<%H:%M>'", line)[0][..16],
            *"/l: h - - <20:55"
        );
        for unchanged in [&b"no brackets\n"[..], b"] only one [\n", b"\n"] {
            let expected = [format!("/l: {}", unchanged.escape_ascii())];
            assert_eq!(
                pass("File=/l RewriteTimestamp=CommonLogFormat", unchanged),
                expected
            );
        }
    }

    #[test]
    fn virtual_hosts_have_their_files() {
        assert_eq!(
            pass("VhostDir=/v", b"www.example.com GET /\nb:8080 x y\nw\n"),
            [
                "/v/www.example.com: GET /\\n",
                "/v/b:8080: x y\\n",
                "/v/w: \\n"
            ]
        );
    }

    #[test]
    fn virtual_hosts_stay_in_their_directory() {
        let hostile: [&[u8]; 9] = [
            b"../x",
            b"/etc/passwd",
            b".hidden",
            b"a/b",
            b"",
            b"..",
            b"_invalid",
            b"a\0b",
            b"\xff",
        ];
        for word in hostile {
            let line = [word, b" rest\n"].concat();
            let expected = [format!("/v/_invalid: {}", line.escape_ascii())];
            assert_eq!(pass("VhostDir=/v", &line), expected);
        }
        let long = [&[b'x'; 254][..], b" rest\n"].concat();
        assert!(pass("VhostDir=/v", &long)[0].starts_with("/v/_invalid: "));
    }

    #[test]
    fn files_are_rotated_by_time_and_size_in_the_middle_of_a_batch() {
        let lines = b"one\ntwo\na line that is too long\n\nthree\n";
        assert_eq!(
            pass("File=/l-%Y RotateBytes=10", lines),
            [
                "/l-2000.1: one\\ntwo\\n",
                "/l-2000.2: a line that is too long\\n",
                "/l-2000.3: \\nthree\\n"
            ]
        );
        assert_eq!(
            pass("VhostDir=/v RotateBytes=5", b"a one\nb x\na two\n"),
            ["/v/a.1: one\\n", "/v/b.1: x\\n", "/v/a.2: two\\n"]
        );
        // What is written does not depend on how the lines come.
        let config =
            "Name = a Loggers = a b\nSpread { Log { Group = g File = /l RotateBytes = 20 } }";
        let log = &Config::parse("f", config).unwrap().buses[0].logs[0];
        let text: String = (0..100).map(|number| format!("line {number}\n")).collect();
        let mut outcomes = Vec::new();
        for batch in [1, 3, 50, 100] {
            let (mut route, mut rotations) = (Route::new(log), Rotations::new());
            let mut files = BTreeMap::<String, Vec<u8>>::new();
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            for lines in lines.chunks(batch) {
                let lines = lines.concat();
                route.pass(
                    lines.as_bytes(),
                    &Time::EPOCH,
                    &mut rotations,
                    |to, bytes| {
                        files.entry(to.to_string()).or_default().extend(bytes);
                    },
                );
            }
            outcomes.push((files, rotations));
        }
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
        assert!(outcomes[0].0.len() > 30 && outcomes[0].0.values().all(|file| file.len() <= 20));
    }

    #[test]
    fn only_some_destinations_are_fixed() {
        let fixed = |target: &str| {
            let config = Config::from_options(&["g".to_owned()], target).unwrap();
            let mut route = Route::new(&config.buses[0].logs[0]);
            route
                .fixed_destination()
                .map(|destination| format!("{destination:?}"))
        };
        assert_eq!(
            fixed("/l").as_deref(),
            Some("File { path: \"/l\", varies: false, series: None }")
        );
        assert_eq!(fixed("-").as_deref(), Some("Stdout"));
        assert_eq!(fixed("/l-%Y"), None);
    }
}
