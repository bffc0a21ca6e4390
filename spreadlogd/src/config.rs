//! spreadlogd.conf: the grammar of the original, and what we have added to it.
//!
//! Read as written for the original, with three relaxations: statements may come in any order,
//! `=` needs no blanks around it behind a keyword, and a group may have many Log blocks.

mod keep;
mod log;
#[cfg(test)]
mod tests;

use conf::{Dialect, Errors, Reader, Word};
use group::Address;
use jiff::tz::TimeZone;

pub(crate) use keep::Keep;
use keep::KeepDraft;
pub(crate) use keep::host_name;
pub(crate) use log::{Filter, Log, Target};

/// The port of Spread, meant where only a Host is given.
const SPREAD_PORT: &str = "4803";

/// Bytes that may wait to be written, unless QueueBytes says otherwise.
const QUEUE_BYTES_DEFAULT: usize = 32 << 20;

const GLOBAL_KEYWORDS: [&str; 11] = [
    "Spread",
    "BufferSize",
    "QueueBytes",
    "TimeZone",
    "Name",
    "Loggers",
    "Quorum",
    "StateDir",
    "GroupCommit",
    "CatchupRate",
    "KeepForPeers",
];
const SPREAD_KEYWORDS: [&str; 3] = ["Port", "Host", "Log"];
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
    /// The loggers that keep one log together; none to write what comes.
    pub(crate) keep: Option<Keep>,
}

/// A Spread block.
#[derive(Debug)]
pub(crate) struct Bus {
    /// `PORT`, or `PORT@HOST`; none if the block names neither.
    pub(crate) address: Option<String>,
    /// Never empty.
    pub(crate) logs: Vec<Log>,
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
            keep: None,
        };
        let mut keep = KeepDraft::default();
        while let Some(keyword) = reader.keyword() {
            let result = match keyword.text.as_str() {
                "Name" | "Loggers" | "Quorum" | "StateDir" | "GroupCommit" | "CatchupRate"
                | "KeepForPeers" => keep.statement(&mut reader, &keyword),
                _ => config.global(&mut reader, &keyword),
            };
            if let Err(error) = result {
                reader.reject(error);
            }
        }
        config.keep = keep.finish(&mut reader);
        let mut logs = config.buses.iter().flat_map(|bus| &bus.logs);
        if config.keep.is_none() && logs.any(|log| log.rotate_bytes.is_some()) {
            reader.note(conf::Error::new(0, "RotateBytes needs Loggers"));
        }
        if config.keep.is_some() && config.buses.len() > 1 {
            reader.note(conf::Error::new(
                0,
                "with Loggers there can be one Spread block only",
            ));
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
                rotate_bytes: None,
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
            keep: None,
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
        (Some(port), Some(host)) if port.text.contains('@') => {
            return Err(host.error(format!("Port {:?} names a host already", port.text)));
        }
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
