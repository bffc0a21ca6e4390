//! spreadlogd.conf: the grammar of the original, and what we have added to it.
//!
//! Read as written for the original, with three relaxations: statements may come in any order,
//! `=` needs no blanks around it behind a keyword, and a group may have many Log blocks.

use std::path::{Path, PathBuf};

use conf::{Dialect, Errors, Reader, Word};
use group::Address;
use group::name::GroupName;
use jiff::tz::TimeZone;
use regex::bytes::{Regex, RegexBuilder};

use crate::stamp::Pattern;

/// The port of Spread, meant where only a Host is given.
const SPREAD_PORT: &str = "4803";

/// Bytes that may wait to be written, unless QueueBytes says otherwise.
const QUEUE_BYTES_DEFAULT: usize = 32 << 20;

const GLOBAL_KEYWORDS: [&str; 4] = ["Spread", "BufferSize", "QueueBytes", "TimeZone"];
const SPREAD_KEYWORDS: [&str; 3] = ["Port", "Host", "Log"];
const LOG_KEYWORDS: [&str; 6] = [
    "Group",
    "File",
    "VhostDir",
    "Match",
    "NoMatch",
    "RewriteTimestamp",
];
const MODULE_KEYWORDS: [&str; 10] = [
    "ModuleDir",
    "LoadModule",
    "PerlLib",
    "PerlUse",
    "PythonLib",
    "PythonImport",
    "ModuleLog",
    "PerlLog",
    "PerlHup",
    "PythonLog",
];

/// What a configuration file says.
#[derive(Debug)]
pub(crate) struct Config {
    /// The daemons to connect to; never empty.
    pub(crate) buses: Vec<Bus>,
    /// Bound: bytes that may wait to be written, over all files.
    pub(crate) queue_bytes_max: usize,
    /// For file names and rewritten time stamps.
    pub(crate) time_zone: TimeZone,
}

/// A Spread block.
#[derive(Debug)]
pub(crate) struct Bus {
    /// `PORT`, or `PORT@HOST`; none if the block names neither.
    pub(crate) address: Option<String>,
    /// Never empty.
    pub(crate) logs: Vec<Log>,
}

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

impl Config {
    /// Reads a configuration; `file` is its name in messages.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Config, Errors> {
        let mut reader = Reader::new(file, text, Dialect::SPREADLOGD);
        let mut config = Config {
            buses: Vec::new(),
            queue_bytes_max: QUEUE_BYTES_DEFAULT,
            time_zone: TimeZone::UTC,
        };
        while let Some(keyword) = reader.keyword() {
            if let Err(error) = config.global(&mut reader, &keyword) {
                reader.reject(error);
            }
        }
        if config.buses.is_empty() {
            reader.note(conf::Error::new(
                0,
                "no Spread block, at least one is needed",
            ));
        }
        reader.finish()?;
        Ok(config)
    }

    /// The setting that `-g` and `-o` make.
    ///
    /// # Errors
    /// Not a group's name, or not a file's.
    pub(crate) fn from_options(groups: &[String], output: &str) -> Result<Config, String> {
        let target = Target::parse(output).map_err(|message| format!("--output {message}"))?;
        let log = |group: &String| {
            Ok(Log {
                group: group
                    .parse()
                    .map_err(|error| format!("group {group:?}: {error}"))?,
                target: target.clone(),
                filter: Filter::default(),
                rewrite_timestamp: None,
            })
        };
        let logs = groups.iter().map(log).collect::<Result<_, String>>()?;
        Ok(Config {
            buses: vec![Bus {
                address: None,
                logs,
            }],
            queue_bytes_max: QUEUE_BYTES_DEFAULT,
            time_zone: TimeZone::UTC,
        })
    }

    fn global(&mut self, reader: &mut Reader, keyword: &Word) -> Result<(), conf::Error> {
        match keyword.text.as_str() {
            "Spread" => {
                let bus = Bus::parse(reader, keyword)?;
                self.buses.push(bus);
            }
            // Nothing is cut at a buffer's end any more, so the number does not matter.
            "BufferSize" => {
                reader
                    .value(keyword)?
                    .integer::<u32>("BufferSize", 1..=u32::MAX)?;
            }
            "QueueBytes" => {
                let word = reader.value(keyword)?;
                self.queue_bytes_max = word.integer("QueueBytes", 1 << 20..=16 << 30)?;
            }
            "TimeZone" => {
                let word = reader.value(keyword)?;
                self.time_zone = time_zone(&word)?;
            }
            _ => return Err(unknown(keyword, &GLOBAL_KEYWORDS)),
        }
        Ok(())
    }
}

impl Bus {
    fn parse(reader: &mut Reader, spread: &Word) -> Result<Bus, conf::Error> {
        reader.open(spread)?;
        let (mut port, mut host, mut logs) = (None, None, Vec::new());
        let mut log_blocks = 0;
        while let Some(keyword) = reader.keyword() {
            let result = match keyword.text.as_str() {
                "Port" => reader.value(&keyword).map(|word| port = Some(word)),
                "Host" => reader.value(&keyword).map(|word| host = Some(word)),
                "Log" => {
                    log_blocks += 1;
                    Log::parse(reader, &keyword).map(|log| logs.extend(log))
                }
                _ => Err(unknown(&keyword, &SPREAD_KEYWORDS)),
            };
            if let Err(error) = result {
                reader.reject(error);
            }
        }
        if log_blocks == 0 {
            reader.note(spread.error("this Spread block has no Log block, at least one is needed"));
        }
        let address = join_address(port, host).unwrap_or_else(|error| {
            reader.note(error);
            None
        });
        Ok(Bus { address, logs })
    }
}

/// What libspread is told: a bare port, `port@host`, or what already stands so in Port.
fn join_address(port: Option<Word>, host: Option<Word>) -> Result<Option<String>, conf::Error> {
    let (word, address) = match (port, host) {
        (None, None) => return Ok(None),
        (Some(port), None) => (port.clone(), port.text),
        (port, Some(host)) => {
            let port = port.as_ref().map_or(SPREAD_PORT, |port| &port.text);
            (host.clone(), format!("{port}@{}", host.text))
        }
    };
    match address.parse::<Address>() {
        Ok(_) if !address.is_empty() => Ok(Some(address)),
        _ => Err(word.error(format!(
            "Port must be 1 to 65535 or PORT@HOST, got {address:?}"
        ))),
    }
}

impl Log {
    /// Reads a block; gives none if it lacks what it needs, which is noted.
    fn parse(reader: &mut Reader, block: &Word) -> Result<Option<Log>, conf::Error> {
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
            ..
        } = draft;
        if let (Some(group), Some(target)) = (group, target) {
            return Ok(Some(Log {
                group,
                target,
                filter,
                rewrite_timestamp,
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
            "VhostDir" => self.target = Some(Target::Vhosts(Path::new(&word.text).to_owned())),
            "Match" => self.filter.any.push(regex(&word)?),
            "NoMatch" => self.filter.none.push(regex(&word)?),
            _ => self.rewrite_timestamp = Some(timestamp(&word)?),
        }
        Ok(())
    }
}

impl Target {
    /// What a `File` stands for; the error is to be put behind its name.
    fn parse(text: &str) -> Result<Target, String> {
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

/// A zone of the system's time zone database; UTC needs none.
fn time_zone(word: &Word) -> Result<TimeZone, conf::Error> {
    if word.text == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(&word.text).map_err(|error| {
        word.error(format!(
            "TimeZone must be UTC or a name such as Europe/Paris, got {:?}: {error}",
            word.text
        ))
    })
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

fn unknown(keyword: &Word, allowed: &[&str]) -> conf::Error {
    if MODULE_KEYWORDS.contains(&keyword.text.as_str()) {
        return keyword.error(format!(
            "{}: Perl, Python and C modules are not supported, use File = |command, or a program \
             that joins the group",
            keyword.text
        ));
    }
    keyword.unknown(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Config {
        Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn bad(text: &str) -> Vec<String> {
        Config::parse("f", text)
            .unwrap_err()
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn target(log: &Log) -> String {
        match &log.target {
            Target::File(pattern) => pattern.to_string(),
            Target::Stdout => "-".to_owned(),
            Target::Command(command) => format!("|{command}"),
            Target::Vhosts(directory) => format!("{}/*", directory.display()),
        }
    }

    #[test]
    fn the_file_of_the_talk() {
        let config = good(
            r#"BufferSize = 65536
            Spread {
                Port = 4803
                Log {
                    RewriteTimestamp = CommonLogFormat
                    Group = "example"
                    File = /data/logs/apache/www.example.com/combined_log
                }
            }"#,
        );
        let bus = &config.buses[0];
        let log = &bus.logs[0];
        assert_eq!(bus.address.as_deref(), Some("4803"));
        assert_eq!(log.group.to_string(), "example");
        assert_eq!(
            target(log),
            "/data/logs/apache/www.example.com/combined_log"
        );
        assert_eq!(log.rewrite_timestamp, Some(Pattern::common_log_format()));
    }

    #[test]
    fn the_whole_grammar() {
        let config = good(
            "# globals\nQueueBytes=2000000 TimeZone = UTC\n\
             Spread { Host = log1 Log { Group=a File=/a } }\n\
             Spread { Port = 4913 Host=log2\n\
               Log { Group = a File = '|cat -u' Match = x Match = 'y z' NoMatch=\"^#\" }\n\
               Log { Group = a File = - RewriteTimestamp = \"[%s]\" }\n\
               Log { VhostDir = /v Group = b File = /unused } }\n\
             Spread { Port = 4914@log3 Log { Group = 'Log' File = /l/%Y=%m } }",
        );
        let addresses: Vec<_> = config
            .buses
            .iter()
            .map(|bus| bus.address.as_deref().unwrap())
            .collect();
        assert_eq!(addresses, ["4803@log1", "4913@log2", "4914@log3"]);
        assert_eq!(config.queue_bytes_max, 2_000_000);
        let logs: Vec<_> = config
            .buses
            .iter()
            .flat_map(|bus| &bus.logs)
            .map(target)
            .collect();
        assert_eq!(logs, ["/a", "|cat -u", "-", "/v/*", "/l/%Y=%m"]);
        let filter = &config.buses[1].logs[0].filter;
        assert_eq!((filter.any.len(), filter.none.len()), (2, 1));
    }

    #[test]
    fn without_port_and_host_the_default_socket_is_meant() {
        assert_eq!(
            good("Spread { Log { Group = a File = /a } }").buses[0].address,
            None
        );
    }

    #[test]
    fn every_mistake_is_reported() {
        let expected = [
            "f:1: unknown keyword \"BuferSize\", did you mean \"BufferSize\"? allowed here: ",
            "f:2: BufferSize must be 1 to 4294967295, got \"x\"",
            "f:4: Port must be 1 to 65535 or PORT@HOST, got \"x\"",
            "f:6: Group \"a b\": ",
            "f:7: \"(\" is not a regular expression: unclosed group",
            "f:8: RewriteTimestamp must be CommonLogFormat or a strftime format, got \"%!\": ",
            "f:9: File needs a command behind '|'",
            "f:12: TimeZone must be UTC or a name such as Europe/Paris, got \"Mars\": ",
        ];
        let errors = bad(
            "BuferSize = 1\nBufferSize = x\nSpread {\n Port = x\n Log {\n Group = 'a b'\n\
             Match = '('\n RewriteTimestamp = %!\n File = '|'\n }\n}\nTimeZone = Mars\n",
        );
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn incomplete_blocks_are_reported() {
        assert_eq!(bad(""), ["f: no Spread block, at least one is needed"]);
        assert_eq!(
            bad("Spread {}"),
            ["f:1: this Spread block has no Log block, at least one is needed"]
        );
        for log in ["Log {}", "Log { Group = a }", "Log { File = /a }"] {
            assert_eq!(
                bad(&format!("Spread {{ {log} }}")),
                ["f:1: a Log block needs a Group, and a File or a VhostDir"]
            );
        }
    }

    #[test]
    fn modules_have_one_clear_error_each() {
        let errors = bad("LoadModule online 8989\nSpread { Log {\nPerlLog X::log\n } }");
        assert_eq!(errors.len(), 2);
        assert_eq!(
            errors[0],
            "f:1: LoadModule: Perl, Python and C modules are not supported, use File = |command, or a \
             program that joins the group"
        );
        assert!(errors[1].starts_with("f:3: PerlLog: "), "{errors:?}");
    }

    #[test]
    fn options_make_a_setting() {
        let groups = ["a".to_owned(), "b".to_owned()];
        let config = Config::from_options(&groups, "-").unwrap();
        let logs: Vec<_> = config.buses[0].logs.iter().map(target).collect();
        assert_eq!(logs, ["-", "-"]);
        assert!(
            Config::from_options(&["a b".to_owned()], "-")
                .unwrap_err()
                .starts_with("group \"a b\": ")
        );
        assert!(
            Config::from_options(&groups, "|")
                .unwrap_err()
                .starts_with("--output needs ")
        );
    }
}
