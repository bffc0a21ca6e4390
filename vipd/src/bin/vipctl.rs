//! vipctl: asks vipd, and tells it to move sets.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unixproc::exit::{self, Failure};
use vipd::config::Config;
use vipd::control::{Done, Request, Status, WhatIf};

/// Nobody answers at the control socket.
const NOT_RUNNING: u8 = 3;

/// Something is not as it should be.
const DEGRADED: u8 = 4;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

const DEFAULT_CONFIG: &str = "/etc/covey/wackamole.conf";

/// Ask vipd which node holds which address, and move them.
#[derive(Debug, Parser)]
#[command(
    name = "vipctl",
    version,
    args_override_self = true,
    infer_long_args = true,
    disable_help_subcommand = true,
    help_template = "{usage-heading} {usage}\n\n{about}\n\n{all-args}"
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
    /// Print nodes and sets; exit 4 unless each set is held by one node
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print which sets would move where if nodes were gone
    WhatIf {
        /// A node (may be repeated)
        #[arg(long, value_name = "NODE", required = true)]
        down: Vec<String>,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give up all sets of this node to the others
    Drain,
    /// Let this node take a share again
    Undrain,
    /// Make the loads even now
    Balance,
    /// Announce the addresses of this node again
    Announce,
}

fn main() -> ExitCode {
    exit::main("vipctl", run)
}

fn run() -> Result<u8, Failure> {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            return Err(Failure::usage(&error.render().to_string()));
        }
        Err(help) => {
            print(&help.render().to_string())?;
            return Ok(exit::DONE);
        }
    };
    let path = control_path(&args)?;
    match args.command {
        Command::Status { json } => {
            let status: Status = ask(&path, &Request::Status)?;
            print(&if json {
                json_line(&status)
            } else {
                status_text(&status)
            })?;
            Ok(if status.is_fine() {
                exit::DONE
            } else {
                DEGRADED
            })
        }
        Command::WhatIf { down, json } => {
            let answer: WhatIf = ask(&path, &Request::WhatIf { down })?;
            print(&if json {
                json_line(&answer)
            } else {
                what_if_text(&answer)
            })?;
            let covered = answer.moves.iter().all(|change| change.to.is_some());
            Ok(if covered { exit::DONE } else { exit::FAILED })
        }
        Command::Drain => tell(&path, &Request::Drain { on: true }, "sets to give up"),
        Command::Undrain => tell(&path, &Request::Drain { on: false }, "sets held"),
        Command::Balance => tell(&path, &Request::Balance, "sets to move"),
        Command::Announce => tell(&path, &Request::Announce, "sets announced"),
    }
}

/// Where vipd answers: the option, then its file, then the default of the file.
fn control_path(args: &Args) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.control {
        return Ok(path.clone());
    }
    let file = match &args.config {
        Some(file) => file.as_path(),
        None if Path::new(DEFAULT_CONFIG).exists() => Path::new(DEFAULT_CONFIG),
        None => return Ok(PathBuf::from("/run/vipd/control")),
    };
    let config =
        conf::load(file).and_then(|text| Config::parse(&file.display().to_string(), &text));
    Ok(config
        .map_err(|errors| Failure::new(exit::USAGE, errors))?
        .control)
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

fn tell(path: &Path, request: &Request, what: &str) -> Result<u8, Failure> {
    let done: Done = ask(path, request)?;
    print(&format!("{} {what}\n", done.sets))?;
    Ok(exit::DONE)
}

fn status_text(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes all");
    let waiting = if status.mature {
        ""
    } else {
        ", waits for others"
    };
    line(format!(
        "node {}  group {}  {}{waiting}",
        status.node, status.group, status.state
    ));
    for node in &status.nodes {
        let state = match (node.leaving, node.drained) {
            (true, _) => "  leaving",
            (_, true) => "  drained",
            _ => "",
        };
        let name = node.name.escape_debug();
        line(format!(
            "  {name:<20} {} sets, weight {}{state}",
            node.sets, node.weight
        ));
    }
    for name in &status.other_config {
        line(format!(
            "  {} has other addresses in its file: nothing moves",
            name.escape_debug()
        ));
    }
    for set in &status.sets {
        let holder = set.holder.as_deref().unwrap_or("nobody").escape_debug();
        let target = set
            .target
            .as_ref()
            .map(|target| format!(" -> {}", target.escape_debug()));
        let disputed = if set.disputed { "  held twice" } else { "" };
        let here = if set.here == "free" {
            String::new()
        } else {
            format!("  {} here", set.here)
        };
        line(format!(
            "{:<22} {holder}{}{here}{disputed}",
            set.name,
            target.unwrap_or_default()
        ));
    }
    text
}

fn what_if_text(answer: &WhatIf) -> String {
    if answer.moves.is_empty() {
        return "nothing would move\n".to_owned();
    }
    let name = |name: &Option<String>| match name {
        Some(name) => name.escape_debug().to_string(),
        None => "nobody".to_owned(),
    };
    let moves = answer.moves.iter();
    moves
        .map(|change| {
            format!(
                "{:<22} {} -> {}\n",
                change.set,
                name(&change.from),
                name(&change.to)
            )
        })
        .collect()
}

fn json_line(answer: &impl Serialize) -> String {
    let mut text = serde_json::to_string(answer).expect("answers have text keys only");
    text.push('\n');
    text
}

/// Writes text to stdout at once.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Failure::stdout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }
}
