//! vipctl: asks vipd, and tells it to move sets.

#![forbid(unsafe_code)]

mod import;
mod plan;
mod text;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unixproc::exit::{self, Failure, print};
use unixproc::options;
use vipd::alone;
use vipd::config::Config;
use vipd::control::{Done, Explanation, Log, Request, Status, Text, WhatIf};
use vipd::history::Entry;

/// Nobody answers at the control socket.
const NOT_RUNNING: u8 = 3;

/// Something is not as it should be.
const DEGRADED: u8 = 4;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// `watch` asks this often.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Most entries of an answer.
const ENTRIES_MAX: usize = 1000;

/// Bound: of a file that is imported.
const IMPORT_BYTES_MAX: u64 = 16 << 20;

const DEFAULT_CONFIG: &str = "/etc/covey/wackamole.conf";

/// Ask vipd which node holds which address, and move them.
#[derive(Debug, Parser)]
#[command(
    name = "vipctl",
    version,
    after_help = "\
Examples:
  vipctl status
  vipctl move 192.0.2.1 web2
See vipctl(8)."
)]
struct Args {
    /// Where vipd answers; otherwise what its file says
    #[arg(long, value_name = "PATH", global = true)]
    control: Option<PathBuf>,

    /// vipd's file [default: /etc/covey/wackamole.conf]
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print nodes and sets; exit 4 unless each set is held by one node and all are well
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print why a set is where it is
    Explain {
        /// One of its addresses
        set: String,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what has happened
    History {
        /// Most entries
        #[arg(short = 'n', long, default_value_t = 50)]
        count: usize,

        /// Print JSON, an entry a line
        #[arg(long)]
        json: bool,
    },
    /// Print what happens, until interrupted
    Watch {
        /// Print JSON, an entry a line
        #[arg(long)]
        json: bool,
    },
    /// Move a set to a node, once
    Move {
        /// One of its addresses
        set: String,
        /// The node's name
        node: String,
    },
    /// Move a set to a node and keep it there
    Pin {
        /// One of its addresses
        set: String,
        /// The node's name
        node: String,

        /// End the pin after this time, such as 2h
        #[arg(long = "for", value_name = "TIME", value_parser = time)]
        time: Option<Duration>,
    },
    /// End a pin
    Unpin {
        /// One of the set's addresses
        set: String,
    },
    /// Give up all sets of this node to the others
    Drain {
        /// Take a share again after this time, such as 30m
        #[arg(long = "for", value_name = "TIME", value_parser = time)]
        time: Option<Duration>,
    },
    /// Let this node take a share again
    Undrain,
    /// Make the loads even now
    Balance,
    /// Announce the addresses of this node again
    Announce {
        /// One of a set's addresses; all sets if there is none
        set: Option<String>,
    },
    /// Print which sets would move where if nodes were gone
    WhatIf {
        /// A node (may be repeated)
        #[arg(long, value_name = "NODE", required = true)]
        down: Vec<String>,

        /// Ask no vipd: do as if these nodes had this file and were well (may be repeated)
        #[arg(long, value_name = "NODE")]
        node: Vec<String>,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let vipd read its file again
    Reload,
    /// Remove all addresses that a vipd has left behind on this host; refused while one runs
    Purge,
    /// Print metrics as Prometheus reads them
    Metrics,
    /// Print a wackamole.conf from the vrrp part of a keepalived.conf
    Import {
        /// The file; - for standard input
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    exit::main("vipctl", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(exit::DONE);
    };
    match &args.command {
        Command::Import { file } => return import_file(file),
        Command::Purge => return purge(),
        Command::WhatIf { down, node, json } if !node.is_empty() => {
            return print_what_if(&plan(&args, node, down)?, *json);
        }
        _ => {}
    }
    let path = control_path(&args)?;
    match args.command {
        Command::Status { json } => {
            let status: Status = ask(&path, &Request::Status)?;
            print_either(json, &status, text::status)?;
            Ok(if status.is_fine() {
                exit::DONE
            } else {
                DEGRADED
            })
        }
        Command::Explain { set, json } => {
            let answer: Explanation = ask(&path, &Request::Explain { set })?;
            print_either(json, &answer, text::explanation)
        }
        Command::WhatIf { down, json, .. } => {
            print_what_if(&ask(&path, &Request::WhatIf { down })?, json)
        }
        Command::History { count, json } => {
            print_entries(&entries(&path, None, count)?, json)?;
            Ok(exit::DONE)
        }
        Command::Watch { json } => watch(&path, json),
        Command::Metrics => {
            let answer: Text = ask(&path, &Request::Metrics)?;
            print(&answer.text)?;
            Ok(exit::DONE)
        }
        command => order(&path, command),
    }
}

/// Commands that are answered by how many sets they concern.
fn order(path: &Path, command: Command) -> Result<u8, Failure> {
    let milliseconds = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
    let (request, what) = match command {
        Command::Drain { time } => {
            let milliseconds = milliseconds(time);
            (
                Request::Drain {
                    on: true,
                    milliseconds,
                },
                "sets to give up",
            )
        }
        Command::Undrain => {
            let milliseconds = None;
            (
                Request::Drain {
                    on: false,
                    milliseconds,
                },
                "sets held",
            )
        }
        Command::Move { set, node } => (Request::Move { set, node }, "set to move"),
        Command::Pin { set, node, time } => {
            let (node, milliseconds) = (Some(node), milliseconds(time));
            (
                Request::Pin {
                    set,
                    node,
                    milliseconds,
                },
                "set pinned",
            )
        }
        Command::Unpin { set } => {
            let (node, milliseconds) = (None, None);
            (
                Request::Pin {
                    set,
                    node,
                    milliseconds,
                },
                "set no longer pinned",
            )
        }
        Command::Balance => (Request::Balance, "sets to move"),
        Command::Announce { set } => (Request::Announce { set }, "sets announced"),
        Command::Reload => (Request::Reload, "sets in the file"),
        _ => unreachable!("answered in run"),
    };
    let done: Done = ask(path, &request)?;
    print(&format!("{} {what}\n", done.sets))?;
    Ok(exit::DONE)
}

fn entries(path: &Path, since: Option<u64>, count: usize) -> Result<Vec<Entry>, Failure> {
    let log: Log = ask(path, &Request::History { since, count })?;
    Ok(log.entries)
}

fn print_entries(entries: &[Entry], json: bool) -> Result<(), Failure> {
    let line = |entry: &Entry| match json {
        true => json_line(entry),
        false => text::entry(entry) + "\n",
    };
    print(&entries.iter().map(line).collect::<String>())?;
    Ok(())
}

/// Prints entries as they come; ends only with vipd, or when nobody reads any more.
fn watch(path: &Path, json: bool) -> Result<u8, Failure> {
    let last = entries(path, None, 1)?;
    let mut since = last.last().map_or(0, |entry| entry.number + 1);
    loop {
        let new = entries(path, Some(since), ENTRIES_MAX)?;
        print_entries(&new, json)?;
        since = new.last().map_or(since, |entry| entry.number + 1);
        thread::sleep(WATCH_INTERVAL);
    }
}

fn purge() -> Result<u8, Failure> {
    let purged = alone::purge().map_err(Failure::failed)?;
    print(&format!("{purged} addresses removed\n"))?;
    Ok(exit::DONE)
}

fn import_file(file: &Path) -> Result<u8, Failure> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => io::stdin().take(IMPORT_BYTES_MAX).read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(IMPORT_BYTES_MAX).read_to_string(&mut text)),
    };
    let name = file.display();
    read.map_err(|error| Failure::fatal(format!("{name}: {error}")))?;
    let output = import::import(&text);
    print(&output.map_err(|error| Failure::failed(format!("{name}: {error}")))?)?;
    Ok(exit::DONE)
}

/// A time with its unit, such as 90s, 30m, 2h; seconds without.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    let seconds = number
        .parse::<u32>()
        .ok()
        .map(|number| u64::from(number) * unit);
    match seconds {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a time such as 90s, 30m, 2h or 1d".to_owned()),
    }
}

/// Where vipd answers: the option, then its file, then the default of the file.
fn control_path(args: &Args) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.control {
        return Ok(path.clone());
    }
    Ok(match read_config(args)? {
        Some(config) => config.control,
        None => PathBuf::from("/run/vipd/control"),
    })
}

/// vipd's file, if there is one.
fn read_config(args: &Args) -> Result<Option<Config>, Failure> {
    let file = conf::choose(args.config.as_deref(), DEFAULT_CONFIG);
    let read = |file: PathBuf| conf::read(&file, Config::parse).map_err(Failure::fatal);
    file.map(read).transpose()
}

/// What would happen among these nodes; no vipd is asked.
fn plan(args: &Args, nodes: &[String], down: &[String]) -> Result<WhatIf, Failure> {
    let Some(config) = read_config(args)? else {
        return Err(Failure::usage(&format!(
            "there is no {DEFAULT_CONFIG}: give --config"
        )));
    };
    plan::what_if(&config, nodes, down).map_err(|error| Failure::usage(&error))
}

fn ask<A: DeserializeOwned>(path: &Path, request: &Request) -> Result<A, Failure> {
    status::call(path, request, TIMEOUT).map_err(|error| {
        let code = match error {
            status::CallError::Io(_) => NOT_RUNNING,
            status::CallError::Refused(_) => exit::FAILED,
            _ => exit::USAGE,
        };
        Failure::new(
            code,
            format!("cannot ask vipd at {}: {error}", path.display()),
        )
    })
}

/// The exit code says whether everything would be covered.
fn print_what_if(answer: &WhatIf, json: bool) -> Result<u8, Failure> {
    print_either(json, answer, text::what_if)?;
    let covered = answer.moves.iter().all(|change| change.to.is_some());
    Ok(if covered { exit::DONE } else { exit::FAILED })
}

fn print_either<A: Serialize>(
    json: bool,
    answer: &A,
    text: impl Fn(&A) -> String,
) -> Result<u8, Failure> {
    print(&if json {
        json_line(answer)
    } else {
        text(answer)
    })
}

fn json_line(answer: &impl Serialize) -> String {
    let mut text = serde_json::to_string(answer).expect("answers have text keys only");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(time("2h"), Ok(Duration::from_secs(7200)));
        for text in ["", "h", "0s", "2 h", "-1s", "99999999999s", "5x"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
