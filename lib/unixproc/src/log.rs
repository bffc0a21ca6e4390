//! The log: one event per line on stderr, `prog: event-word key=value key=value`.
//!
//! No time stamps: journald, s6-log and multilog add them. Where stderr is the journal, a line
//! begins with its priority (`<5>`), as sd-daemon(3) has it. Values from outside cannot forge a
//! line or drive a terminal: they are quoted and escaped.

use std::fmt::{Display, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How important an event is; the numbers are syslog's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something does not work, and an administrator must act.
    Error = 3,
    /// Something went wrong, and the program copes.
    Warning = 4,
    /// A state that the operator must know: a view, a takeover, a reload.
    Notice = 5,
    /// Ordinary comings and goings, such as sessions.
    Info = 6,
    /// Single packets and requests.
    Debug = 7,
}

impl Level {
    /// The level for `-v` given `verbose` times and `-q`: notice, one step more for each `-v`,
    /// and warning for `-q`, which wins.
    pub fn from_flags(verbose: u8, quiet: bool) -> Level {
        match (quiet, verbose) {
            (true, _) => Level::Warning,
            (false, 0) => Level::Notice,
            (false, 1) => Level::Info,
            (false, _) => Level::Debug,
        }
    }
}

struct Sink {
    program: &'static str,
    journal: bool,
}

static SINK: OnceLock<Sink> = OnceLock::new();
static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);

/// Names the program and sets the least important level that is written.
///
/// The first call decides the name; a later one may change the level. Before it, lines are
/// written without a name.
pub fn init(program: &'static str, level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    SINK.get_or_init(|| Sink {
        program,
        journal: stderr_is_journal(),
    });
}

/// Fields of an event, in the order in which they are printed.
pub type Fields<'a> = &'a [(&'a str, &'a dyn Display)];

/// Writes an event of level error.
pub fn error(event: &str, fields: Fields) {
    write(Level::Error, event, fields);
}

/// Writes an event of level warning.
pub fn warning(event: &str, fields: Fields) {
    write(Level::Warning, event, fields);
}

/// Writes an event of level notice.
pub fn notice(event: &str, fields: Fields) {
    write(Level::Notice, event, fields);
}

/// Writes an event of level info.
pub fn info(event: &str, fields: Fields) {
    write(Level::Info, event, fields);
}

/// Writes an event of level debug.
pub fn debug(event: &str, fields: Fields) {
    write(Level::Debug, event, fields);
}

fn write(level: Level, event: &str, fields: Fields) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let sink = SINK.get();
    let line = format_line(
        sink.is_some_and(|sink| sink.journal).then_some(level),
        sink.map_or("", |sink| sink.program),
        event,
        fields,
    );
    // One write per line, so that lines of several processes do not mix. A log that cannot be
    // written has nowhere to complain.
    let _ = io::stderr().write_all(line.as_bytes());
}

fn format_line(priority: Option<Level>, program: &str, event: &str, fields: Fields) -> String {
    let mut line = String::with_capacity(128);
    if let Some(level) = priority {
        line.push_str(&format!("<{}>", level as u8));
    }
    if !program.is_empty() {
        line.push_str(program);
        line.push_str(": ");
    }
    line.push_str(event);
    for (key, value) in fields {
        line.push(' ');
        line.push_str(key);
        line.push('=');
        line.push_str(&escape(&value.to_string()));
    }
    line.push('\n');
    line
}

/// A value as it stands in a line: bare if it is one plain word, else quoted, with quotes,
/// backslashes and everything that is not printable escaped.
fn escape(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) && !value.contains(is_invisible) {
        return value.to_owned();
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || is_invisible(c) => {
                let _ = write!(quoted, "\\u{{{:x}}}", c as u32); // a String takes every write
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Characters that change the direction or the look of what follows, or break a line.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether systemd says that stderr is its journal: `JOURNAL_STREAM` names its device and inode.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stderr) = io::stderr().as_fd().try_clone_to_owned() else {
        return false;
    };
    let Ok(metadata) = File::from(stderr).metadata() else {
        return false;
    };
    stream == format!("{}:{}", metadata.dev(), metadata.ino())
}

/// Lets through one event per interval and counts those in between.
///
/// ```
/// use std::time::{Duration, Instant};
/// use unixproc::log::{self, Throttle};
///
/// let mut throttle = Throttle::new(Duration::from_secs(60));
/// if let Some(repeated) = throttle.admit(Instant::now()) {
///     log::warning("packet-refused", &[("from", &"10.0.0.9"), ("repeated", &repeated)]);
/// }
/// ```
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    next: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// At most one event per `interval`.
    pub fn new(interval: Duration) -> Throttle {
        Throttle {
            interval,
            next: None,
            suppressed: 0,
        }
    }

    /// Whether the event may be written now: how many were held back since the last one, if so.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.suppressed += 1;
            return None;
        }
        self.next = Some(now + self.interval);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_event_then_fields() {
        let line = format_line(
            None,
            "groupd",
            "view-installed",
            &[("members", &3), ("cause", &"network")],
        );
        assert_eq!(line, "groupd: view-installed members=3 cause=network\n");
    }

    #[test]
    fn the_journal_gets_a_priority() {
        assert_eq!(
            format_line(Some(Level::Notice), "x", "ready", &[]),
            "<5>x: ready\n"
        );
    }

    #[test]
    fn values_cannot_forge_lines() {
        assert_eq!(escape("plain"), "plain");
        assert_eq!(escape(""), "\"\"");
        assert_eq!(escape("a b"), "\"a b\"");
        assert_eq!(escape("a\nroot: all well"), "\"a\\nroot: all well\"");
        assert_eq!(escape("\u{1b}[2J"), "\"\\u{1b}[2J\"");
        assert_eq!(escape("a\"\\"), "\"a\\\"\\\\\"");
        assert_eq!(escape("x\u{202e}y"), "\"x\\u{202e}y\"");
    }

    #[test]
    fn flags_choose_the_level() {
        assert_eq!(Level::from_flags(0, false), Level::Notice);
        assert_eq!(Level::from_flags(1, false), Level::Info);
        assert_eq!(Level::from_flags(5, false), Level::Debug);
        assert_eq!(Level::from_flags(2, true), Level::Warning);
    }

    #[test]
    fn a_throttle_counts_what_it_holds_back() {
        let start = Instant::now();
        let mut throttle = Throttle::new(Duration::from_secs(10));
        assert_eq!(throttle.admit(start), Some(0));
        assert_eq!(throttle.admit(start + Duration::from_secs(1)), None);
        assert_eq!(throttle.admit(start + Duration::from_secs(9)), None);
        assert_eq!(throttle.admit(start + Duration::from_secs(10)), Some(2));
        assert_eq!(throttle.admit(start + Duration::from_secs(20)), Some(0));
    }
}
