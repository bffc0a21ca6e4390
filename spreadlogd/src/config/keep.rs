//! Loggers that keep one log: who they are, and what this one does for it.

use std::path::PathBuf;
use std::time::Duration;

use conf::{Next, Reader, Word};
use weblog::stream::Quorum;

/// Longest name of a logger.
const NAME_BYTES_MAX: usize = 64;

/// Most loggers of a list.
const LOGGERS_MAX: usize = 64;

/// Marks a logger that keeps no file.
const WITNESS: &str = ":witness";

/// How this logger keeps one log with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Which of the loggers this one is.
    pub(crate) name: String,
    /// All loggers, witnesses included.
    pub(crate) loggers: Vec<String>,
    /// Whether this one keeps no file.
    pub(crate) witness: bool,
    /// Which loggers there have to be.
    pub(crate) quorum: Quorum,
    /// Where the journals are.
    pub(crate) state_dir: PathBuf,
    /// How long lines wait for others to be synced with.
    pub(crate) group_commit: Duration,
    /// The share of the bus that catching up may have, in percent.
    pub(crate) catchup_percent: u64,
    /// How long what others have not fetched is kept for them.
    pub(crate) keep_for_peers: Duration,
}

/// The statements that have been read.
#[derive(Debug, Default)]
pub(super) struct KeepDraft {
    name: Option<Word>,
    loggers: Vec<Word>,
    quorum: Option<(Word, Quorum)>,
    state_dir: Option<PathBuf>,
    group_commit: Option<Duration>,
    catchup_percent: Option<u64>,
    keep_for_peers: Option<Duration>,
}

impl KeepDraft {
    pub(super) fn statement(
        &mut self,
        reader: &mut Reader,
        keyword: &Word,
    ) -> Result<(), conf::Error> {
        let word = reader.value(keyword)?;
        match keyword.text.as_str() {
            "Name" => self.name = Some(word),
            "Loggers" => {
                self.loggers = vec![word];
                while let Next::Word(next) = reader.peek()? {
                    if next.line != keyword.line {
                        break;
                    }
                    self.loggers.push(reader.word("Loggers")?);
                }
            }
            "Quorum" => {
                let choices = [("none", Quorum::None), ("majority", Quorum::Majority)];
                let quorum = word.choice("Quorum", &choices)?;
                self.quorum = Some((word, quorum));
            }
            "StateDir" => self.state_dir = Some(word.text.into()),
            "GroupCommit" => {
                let units = [("us", 1), ("ms", 1000), ("s", 1_000_000)];
                let micros = quantity(&word, "GroupCommit", &units, 0..=1_000_000)?;
                self.group_commit = Some(Duration::from_micros(micros));
            }
            "CatchupRate" => {
                self.catchup_percent = Some(quantity(&word, "CatchupRate", &[("%", 1)], 1..=100)?);
            }
            _ => {
                let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
                let seconds = quantity(&word, "KeepForPeers", &units, 0..=3650 * 86400)?;
                self.keep_for_peers = Some(Duration::from_secs(seconds));
            }
        }
        Ok(())
    }

    /// What the statements come to; what is wrong with them is noted.
    pub(super) fn finish(self, reader: &mut Reader) -> Option<Keep> {
        let first = self.loggers.first()?.clone();
        let mut loggers: Vec<String> = Vec::new();
        let mut witnesses = Vec::new();
        for word in &self.loggers {
            let name = word.text.strip_suffix(WITNESS).unwrap_or(&word.text);
            if let Err(message) = check_name(name, &loggers) {
                reader.note(word.error(format!("Loggers: {message}")));
            }
            loggers.push(name.to_owned());
            if name.len() < word.text.len() {
                witnesses.push(name.to_owned());
            }
        }
        if loggers.len() > LOGGERS_MAX {
            reader.note(first.error(format!("Loggers: at most {LOGGERS_MAX} names")));
        }
        let name = match self.name {
            Some(word) => word,
            None => Word {
                text: host_name(),
                ..first.clone()
            },
        };
        if !loggers.contains(&name.text) {
            reader.note(name.error(format!(
                "this logger's Name is {:?}, which Loggers does not list",
                name.text
            )));
        }
        if loggers.len() == witnesses.len() {
            reader.note(first.error("Loggers: one of them must keep files"));
        }
        let (word, quorum) = self.quorum.unwrap_or((first, Quorum::None));
        if quorum == Quorum::Majority && loggers.len() < 3 {
            reader.note(word.error("Quorum = majority needs three Loggers or more"));
        }
        Some(Keep {
            witness: witnesses.contains(&name.text),
            name: name.text,
            loggers,
            quorum,
            state_dir: self.state_dir.unwrap_or("/var/lib/spreadlogd".into()),
            group_commit: self.group_commit.unwrap_or(Duration::from_millis(5)),
            catchup_percent: self.catchup_percent.unwrap_or(25),
            keep_for_peers: self
                .keep_for_peers
                .unwrap_or(Duration::from_secs(7 * 86400)),
        })
    }
}

fn check_name(name: &str, before: &[String]) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(format!(
            "a name is 1 to {NAME_BYTES_MAX} letters, digits, '.', '_' and '-', \
             and \"{WITNESS}\" behind one that keeps no file, got {name:?}"
        ));
    }
    match before.iter().any(|other| other == name) {
        true => Err(format!("{name:?} stands there twice")),
        false => Ok(()),
    }
}

/// A number with one of these units, in the smallest of them.
fn quantity(
    word: &Word,
    name: &str,
    units: &[(&str, u64)],
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, conf::Error> {
    let digits = word.text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = &word.text[digits.len()..];
    let factor = units.iter().find(|(known, _)| *known == unit);
    let value = digits.parse::<u64>().ok().zip(factor);
    let value = value.and_then(|(number, (_, factor))| number.checked_mul(*factor));
    value.filter(|value| range.contains(value)).ok_or_else(|| {
        let names: Vec<&str> = units.iter().map(|(unit, _)| *unit).collect();
        word.error(format!(
            "{name} must be a number with {} behind it, {} to {} {}, got {:?}",
            names.join(", "),
            range.start(),
            range.end(),
            names[0],
            word.text
        ))
    })
}

/// The machine's name up to the first dot.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    name.split('.').next().unwrap_or_default().to_owned()
}
