//! `--verify`: are the files what was written, and those of other loggers the same?

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use unixproc::exit::{self, Failure};
use weblog::stream::{Quorum, hash};

use crate::config::{Config, Keep};
use crate::kept;
use crate::kept::manifest::Contents;
use crate::span::Span;

/// The files are as written, but publishers or loggers have lost lines before.
const GAPS: u8 = 3;

/// Nothing wrong was found, but not everything could be judged.
const UNJUDGED: u8 = 4;

/// What was found, the worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Findings {
    wrong: bool,
    gaps: bool,
    unjudged: bool,
}

impl Findings {
    fn status(self) -> u8 {
        match self {
            Findings { wrong: true, .. } => exit::FAILED,
            Findings { gaps: true, .. } => GAPS,
            Findings { unjudged: true, .. } => UNJUDGED,
            _ => exit::DONE,
        }
    }
}

/// Compares files with the manifests of this configuration's logs, and with each other.
///
/// # Errors
/// There are no kept logs, or something cannot be read.
pub(crate) fn run(config: &Config, files: &[PathBuf]) -> Result<u8, Failure> {
    let Some(keep) = &config.keep else {
        return Err(Failure::usage(
            "--verify needs a configuration with Loggers",
        ));
    };
    let fatal =
        |path: &Path, error: io::Error| Failure::fatal(format!("{}: {error}", path.display()));
    let mut findings = Findings::default();
    let mut out = String::new();
    let mut known = Known::default();
    let logs = config.buses.iter().flat_map(|bus| &bus.logs);
    let mut groups: Vec<_> = logs.map(|log| log.group).collect();
    groups.sort();
    groups.dedup();
    for group in groups {
        let directory = kept::directory(&keep.state_dir, &group);
        let contents = Contents::read(&directory).map_err(|error| fatal(&directory, error))?;
        findings.gaps |= report_gaps(&contents, &group.to_string(), &mut out);
        known.add(contents);
    }
    let mut others = Vec::new();
    let mut own = BTreeMap::new();
    for path in files {
        match known.spans(path).map_err(|error| fatal(path, error))? {
            None => others.push(path),
            Some(spans) => {
                check_file(path, &spans, &mut findings, &mut out)
                    .map_err(|error| fatal(path, error))?;
                own.insert(path.file_name(), path);
            }
        }
    }
    // What another logger has written has the same name there.
    for other in others {
        match own.get(&other.file_name()) {
            Some(own) => compare(own, other, keep, &mut findings, &mut out)
                .map_err(|error| fatal(other, error))?,
            None => {
                findings.unjudged = true;
                let name = other.display();
                say(&mut out, format_args!("{name}: not written by this logger"));
            }
        }
    }
    exit::print(&out)?;
    Ok(findings.status())
}

/// Says what publishers and loggers have lost; gives whether that is anything.
fn report_gaps(contents: &Contents, group: &str, out: &mut String) -> bool {
    let checkpoint = &contents.checkpoint;
    let mut found = false;
    let losses = [
        (checkpoint.gaps, "gaps where publishers gave up lines"),
        (checkpoint.forgotten, "loggers that were given up"),
        (checkpoint.missed, "entries that this logger never had"),
    ];
    for (count, what) in losses {
        if count > 0 {
            found = true;
            say(out, format_args!("group {group}: {count} {what}"));
        }
    }
    if checkpoint.gap_bytes > 0 {
        let (bytes, lines) = (checkpoint.gap_bytes, checkpoint.gap_lines);
        say(
            out,
            format_args!("group {group}: {bytes} bytes given up, in {lines} lines or more"),
        );
    }
    found
}

/// What was written, by file.
#[derive(Debug, Default)]
struct Known {
    /// By device and inode: files may have been renamed.
    files: BTreeMap<(u64, u64), Vec<Span>>,
    paths: BTreeMap<String, Vec<Span>>,
}

impl Known {
    fn add(&mut self, contents: Contents) {
        for (path, spans) in contents.files {
            for span in &spans {
                let file = self.files.entry((span.dev, span.ino)).or_default();
                file.push(span.clone());
            }
            self.paths.insert(path, spans);
        }
    }

    /// What was written to this file.
    fn spans(&self, path: &Path) -> io::Result<Option<Vec<Span>>> {
        let metadata = fs::metadata(path)?;
        let absolute = fs::canonicalize(path)?;
        let in_file = |spans: &[Span]| -> Vec<Span> {
            let own = spans.iter().filter(|span| span.is_in(&metadata));
            own.cloned().collect()
        };
        let by_path = self.paths.get(&path.display().to_string());
        let by_path = by_path.or_else(|| self.paths.get(&absolute.display().to_string()));
        // By its name first, as inodes are used again; then by its inode, as files are renamed.
        let found = by_path.map(|spans| in_file(spans)).unwrap_or_default();
        if !found.is_empty() {
            return Ok(Some(found));
        }
        let own = Span::new(&metadata);
        if let Some(spans) = self.files.get(&(own.dev, own.ino)) {
            return Ok(Some(spans.clone()));
        }
        // A file that was put in the place of ours.
        Ok(by_path
            .and_then(|spans| spans.last())
            .map(|span| vec![span.clone()]))
    }
}

fn check_file(
    path: &Path,
    spans: &[Span],
    findings: &mut Findings,
    out: &mut String,
) -> io::Result<()> {
    let name = path.display();
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.base);
    let mut reader = LineReader::open(path)?;
    let mut unjudged = 0;
    for span in &spans {
        unjudged += reader.skip_to(span.base)?;
        let found = reader.span_to(span)?;
        if found != *span {
            findings.wrong = true;
            let what = match found.bytes.cmp(&span.bytes) {
                std::cmp::Ordering::Less => "lines are missing at the end of",
                _ => "other lines than were written in",
            };
            let (lines, end) = (span.lines, span.end());
            say(
                out,
                format_args!(
                    "{name}: {what} the {lines} lines of bytes {} to {end}",
                    span.base
                ),
            );
            return Ok(());
        }
    }
    unjudged += reader.skip_to(u64::MAX)?;
    let lines: u64 = spans.iter().map(|span| span.lines).sum();
    if unjudged > 0 {
        findings.unjudged = true;
        say(
            out,
            format_args!(
                "{name}: {lines} lines as written; {unjudged} bytes are not in the manifest, or not yet"
            ),
        );
    } else {
        say(out, format_args!("{name}: {lines} lines as written"));
    }
    Ok(())
}

/// Compares two loggers' files: byte by byte if they keep one order, else by their lines.
fn compare(
    first: &Path,
    other: &Path,
    keep: &Keep,
    findings: &mut Findings,
    out: &mut String,
) -> io::Result<()> {
    let names = format!("{} and {}", first.display(), other.display());
    match keep.quorum {
        Quorum::Majority => match first_difference(first, other)? {
            Difference::None => say(out, format_args!("{names}: the same bytes")),
            Difference::Prefix { bytes } => {
                findings.unjudged = true;
                let text = format_args!("{names}: one has {bytes} bytes more than the other");
                say(out, text);
            }
            Difference::Line { number, at } => {
                findings.wrong = true;
                let text = format_args!("{names}: line {number}, at byte {at}, differs");
                say(out, text);
            }
        },
        Quorum::None => {
            let (one, two) = (Lines::count(first)?, Lines::count(other)?);
            if one == two {
                say(out, format_args!("{names}: the same {} lines", one.count));
            } else {
                findings.wrong = true;
                let (one, two) = (one.count, two.count);
                say(
                    out,
                    format_args!("{names}: not the same lines, {one} and {two}"),
                );
            }
        }
    }
    Ok(())
}

/// Where two files differ.
enum Difference {
    None,
    Prefix { bytes: u64 },
    Line { number: u64, at: u64 },
}

fn first_difference(first: &Path, other: &Path) -> io::Result<Difference> {
    let mut readers = [LineReader::open(first)?, LineReader::open(other)?];
    for number in 1.. {
        let at = readers[0].at;
        let [one, two] = &mut readers;
        let ends = (one.next()?, two.next()?);
        match ends {
            (false, false) => break,
            (true, true) if one.line == two.line => {}
            (true, true) => return Ok(Difference::Line { number, at }),
            _ => {
                let bytes = one.length.abs_diff(two.length);
                return Ok(Difference::Prefix { bytes });
            }
        }
    }
    Ok(Difference::None)
}

/// Lines whatever their order: how many, and the sums of two hashes of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    count: u64,
    sums: [u64; 2],
}

impl Lines {
    fn count(path: &Path) -> io::Result<Lines> {
        let mut lines = Lines::default();
        let mut reader = LineReader::open(path)?;
        while reader.next()? {
            lines.count += 1;
            for (sum, seed) in lines.sums.iter_mut().zip([1, 2]) {
                *sum = sum.wrapping_add(hash(seed, &reader.line));
            }
        }
        Ok(lines)
    }
}

/// A file, line by line; the last one may lack its newline.
struct LineReader {
    reader: BufReader<File>,
    length: u64,
    at: u64,
    line: Vec<u8>,
}

impl LineReader {
    fn open(path: &Path) -> io::Result<LineReader> {
        let file = File::open(path)?;
        Ok(LineReader {
            length: file.metadata()?.len(),
            reader: BufReader::with_capacity(256 << 10, file),
            at: 0,
            line: Vec::new(),
        })
    }

    /// Takes the next line; gives whether there was one.
    fn next(&mut self) -> io::Result<bool> {
        self.line.clear();
        let count = self.reader.read_until(b'\n', &mut self.line)?;
        self.at += count as u64;
        Ok(count > 0)
    }

    /// Passes over lines up to an offset; gives how many bytes.
    fn skip_to(&mut self, offset: u64) -> io::Result<u64> {
        let start = self.at;
        while self.at < offset && self.next()? {}
        Ok(self.at - start)
    }

    /// What is in the place of a span.
    fn span_to(&mut self, span: &Span) -> io::Result<Span> {
        let mut found = Span {
            base: self.at,
            bytes: 0,
            lines: 0,
            hash: 0,
            ..span.clone()
        };
        while self.at < span.end() && self.next()? {
            found.add(&self.line);
        }
        Ok(found)
    }
}

fn say(out: &mut String, line: std::fmt::Arguments) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir()
                .join(format!("spreadlogd-verify-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const TEXT: &[u8] = b"old\none\ntwo\nthree\nfour\n";

    /// What is said of a file of which everything but the first line was written, and then changed.
    fn check(name: &str, change: impl Fn(&mut Vec<u8>)) -> (Findings, String) {
        let scratch = Scratch::new(name);
        let path = scratch.0.join("log");
        fs::write(&path, &TEXT[..4]).unwrap();
        let mut span = Span::new(&fs::metadata(&path).unwrap());
        span.add(&TEXT[4..]);
        let mut text = TEXT.to_vec();
        change(&mut text);
        fs::write(&path, text).unwrap();
        let (mut findings, mut out) = (Findings::default(), String::new());
        check_file(&path, &[span], &mut findings, &mut out).unwrap();
        (findings, out)
    }

    #[test]
    fn a_loss_a_double_and_a_swap_are_found_in_one_file() {
        let (findings, out) = check("whole", |_| {});
        assert_eq!(
            findings.status(),
            UNJUDGED,
            "the line before it is not ours: {out}"
        );
        type Change = fn(&mut Vec<u8>);
        let changes: [(&str, Change); 5] = [
            ("loss", |text| drop(text.drain(8..12))),
            ("loss-at-end", |text| text.truncate(18)),
            ("double", |text| drop(text.splice(12..12, *b"two\n"))),
            ("swap", |text| drop(text.splice(4..12, *b"two\none\n"))),
            ("byte", |text| text[13] ^= 1),
        ];
        for (name, change) in changes {
            let (findings, out) = check(name, change);
            assert_eq!(findings.status(), exit::FAILED, "{name}: {out}");
        }
        let (findings, out) = check("more", |text| text.extend(b"later\n"));
        assert!(
            !findings.wrong && out.contains("10 bytes are not in the manifest"),
            "{out}"
        );
    }

    #[test]
    fn files_of_two_loggers_are_compared_as_their_order_allows() {
        let scratch = Scratch::new("compare");
        let paths = [scratch.0.join("a"), scratch.0.join("b")];
        let keep = |quorum| Keep {
            quorum,
            ..Config::parse(
                "f",
                "Name = a Loggers = a b c\nSpread { Log { Group = g File = /l } }",
            )
            .unwrap()
            .keep
            .unwrap()
        };
        let cases: [(&[u8], Quorum, u8); 6] = [
            (TEXT, Quorum::Majority, exit::DONE),
            (b"old\none\n", Quorum::Majority, UNJUDGED),
            (
                b"old\ntwo\none\nthree\nfour\n",
                Quorum::Majority,
                exit::FAILED,
            ),
            (b"old\ntwo\none\nthree\nfour\n", Quorum::None, exit::DONE),
            (b"old\none\ntwo\ntwo\nfour\n", Quorum::None, exit::FAILED),
            (b"old\none\ntwo\nthree\n", Quorum::None, exit::FAILED),
        ];
        for (other, quorum, status) in cases {
            fs::write(&paths[0], TEXT).unwrap();
            fs::write(&paths[1], other).unwrap();
            let (mut findings, mut out) = (Findings::default(), String::new());
            compare(&paths[0], &paths[1], &keep(quorum), &mut findings, &mut out).unwrap();
            assert_eq!(findings.status(), status, "{out}");
        }
    }
}
