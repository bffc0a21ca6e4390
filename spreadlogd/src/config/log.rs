//! Log blocks: which lines of a group go where.

use std::path::{Path, PathBuf};

use conf::{Reader, Word};
use group::name::GroupName;
use regex::bytes::{Regex, RegexBuilder};

use super::unknown;
use crate::stamp::Pattern;

const LOG_KEYWORDS: [&str; 7] = [
    "Group",
    "File",
    "VhostDir",
    "Match",
    "NoMatch",
    "RewriteTimestamp",
    "RotateBytes",
];

/// A Log block.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The group whose lines it takes.
    pub(crate) group: GroupName,
    /// Where they go.
    pub(crate) target: Target,
    /// Which of them.
    pub(crate) filter: Filter,
    /// Replaces the first `[...]` of a line by the time of its arrival.
    pub(crate) rewrite_timestamp: Option<Pattern>,
    /// A file goes on in a next one before it would be longer than this.
    pub(crate) rotate_bytes: Option<u64>,
}

/// Where the lines of a Log block go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To a file, whose name may hold strftime's conversions.
    File(Pattern),
    /// To stdout.
    Stdout,
    /// To the stdin of a shell command.
    Command(String),
    /// To a file of this directory that is named by the line's first word.
    Vhosts(PathBuf),
}

/// Which lines are written: one of `any` matches if there are some, and none of `none`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Match.
    pub(crate) any: Vec<Regex>,
    /// NoMatch.
    pub(crate) none: Vec<Regex>,
}

impl Log {
    /// Reads a block; gives none if it lacks what it needs, which is noted.
    pub(super) fn parse(reader: &mut Reader, block: &Word) -> Result<Option<Log>, conf::Error> {
        reader.open(block)?;
        let mut draft = Draft::default();
        while let Some(keyword) = reader.keyword() {
            if let Err(error) = draft.statement(reader, &keyword) {
                draft.rejected = true;
                reader.reject(error);
            }
        }
        let Draft {
            group,
            target,
            filter,
            rewrite_timestamp,
            rotate_bytes,
            ..
        } = draft;
        if let (Some(group), Some(target)) = (group, target) {
            return Ok(Some(Log {
                group,
                target,
                filter,
                rewrite_timestamp,
                rotate_bytes,
            }));
        }
        if !draft.rejected {
            reader.note(block.error("a Log block needs a Group, and a File or a VhostDir"));
        }
        Ok(None)
    }
}

/// A Log block of which not everything has been read.
#[derive(Default)]
struct Draft {
    group: Option<GroupName>,
    target: Option<Target>,
    filter: Filter,
    rewrite_timestamp: Option<Pattern>,
    rotate_bytes: Option<u64>,
    rejected: bool,
}

impl Draft {
    fn statement(&mut self, reader: &mut Reader, keyword: &Word) -> Result<(), conf::Error> {
        if !LOG_KEYWORDS.contains(&keyword.text.as_str()) {
            return Err(unknown(keyword, &LOG_KEYWORDS));
        }
        let word = reader.value(keyword)?;
        match keyword.text.as_str() {
            "Group" => {
                let bad = |error| word.error(format!("Group {:?}: {error}", word.text));
                self.group = Some(word.text.parse().map_err(bad)?);
            }
            // As in the original, a File beside a VhostDir may be there, and is not written.
            "File" => {
                let bad = |message| word.error(format!("File {message}"));
                let target = Target::parse(&word.text).map_err(bad)?;
                if !matches!(self.target, Some(Target::Vhosts(_))) {
                    self.target = Some(target);
                }
            }
            "VhostDir" if word.text.is_empty() => {
                return Err(word.error("VhostDir needs a directory"));
            }
            "VhostDir" => self.target = Some(Target::Vhosts(Path::new(&word.text).to_owned())),
            "Match" => self.filter.any.push(regex(&word)?),
            "NoMatch" => self.filter.none.push(regex(&word)?),
            "RotateBytes" => {
                self.rotate_bytes = Some(word.integer("RotateBytes", 1..=u64::MAX)?);
            }
            _ => self.rewrite_timestamp = Some(timestamp(&word)?),
        }
        Ok(())
    }
}

impl Target {
    /// What a `File` stands for; the error is to be put behind its name.
    pub(super) fn parse(text: &str) -> Result<Target, String> {
        match text.strip_prefix('|') {
            _ if text == "-" => Ok(Target::Stdout),
            Some(command) if command.trim().is_empty() => {
                Err("needs a command behind '|'".to_owned())
            }
            Some(command) => Ok(Target::Command(command.to_owned())),
            None if text.is_empty() => Err("needs a file name, - or |command".to_owned()),
            None => Pattern::new(text)
                .map(Target::File)
                .map_err(|error| format!("{text:?}: {error}")),
        }
    }
}

fn timestamp(word: &Word) -> Result<Pattern, conf::Error> {
    if word.text == "CommonLogFormat" && !word.quoted {
        return Ok(Pattern::common_log_format());
    }
    Pattern::new(&word.text).map_err(|error| {
        word.error(format!(
            "RewriteTimestamp must be CommonLogFormat or a strftime format, got {:?}: {error}",
            word.text
        ))
    })
}

/// Compiles an expression; bytes are bytes, no encoding is assumed.
fn regex(word: &Word) -> Result<Regex, conf::Error> {
    RegexBuilder::new(&word.text)
        .unicode(false)
        .build()
        .map_err(|error| {
            // The last line of several says what is wrong; those before it draw a picture.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            word.error(format!(
                "{:?} is not a regular expression: {reason}",
                word.text
            ))
        })
}
