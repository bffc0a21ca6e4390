//! imgcachectl: asks imgcache about itself and about its objects.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use imgcache::control::{Request, Show, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unixproc::exit::{self, DONE, FAILED, Failure, USAGE};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks imgcache.
#[derive(Debug, Parser)]
#[command(
    name = "imgcachectl",
    version,
    args_override_self = true,
    infer_long_args = true
)]
struct Args {
    /// imgcache's control socket
    #[arg(
        short = 'S',
        long,
        value_name = "PATH",
        default_value = "/run/imgcache/control",
        global = true
    )]
    control: PathBuf,

    /// Print JSON
    #[arg(short, long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the cache at a glance
    Status,
    /// Show where a URL is stored, or what a file stands for, and the metadata
    Show {
        /// http://SITE/PATH, or a file below the cache's root
        #[arg(value_name = "URL|FILE")]
        what: String,
    },
}

fn main() -> ExitCode {
    exit::main("imgcachectl", run)
}

fn run() -> Result<u8, Failure> {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            return Err(Failure::usage(&error.render().to_string()));
        }
        Err(help) => return print(&help.render().to_string(), DONE),
    };
    match &args.command {
        Command::Status => {
            let status: Status = ask(&args, &Request::Status)?;
            print(
                &if args.json {
                    json(&status)
                } else {
                    status_text(&status)
                },
                DONE,
            )
        }
        Command::Show { what } => {
            let show: Show = ask(&args, &Request::Show { what: what.clone() })?;
            let code = if show.state == "stored" { DONE } else { FAILED };
            print(
                &if args.json {
                    json(&show)
                } else {
                    show_text(&show)
                },
                code,
            )
        }
    }
}

fn ask<A: DeserializeOwned>(args: &Args, request: &Request) -> Result<A, Failure> {
    status::call(&args.control, request, TIMEOUT).map_err(|error| {
        Failure::new(
            USAGE,
            format!("cannot ask imgcache at {}: {error}", args.control.display()),
        )
    })
}

fn json(answer: &impl Serialize) -> String {
    let mut text = serde_json::to_string(answer).expect("answers have text keys only");
    text.push('\n');
    text
}

fn status_text(status: &Status) -> String {
    let mut text = String::new();
    let mut line =
        |key: &str, value: String| writeln!(text, "{key:<13}{value}").expect("a String takes all");
    let session = status.session.clone().unwrap_or_else(|| "none".to_owned());
    line(
        "session",
        format!(
            "{session}{}",
            if status.isolated {
                ", may miss purges"
            } else {
                ""
            }
        ),
    );
    line("members", status.members.join(" "));
    line("purge", status.purge.to_string());
    line(
        "connections",
        format!("{}, {} to origins", status.connections, status.fetches),
    );
    let counted = if status.counted {
        ""
    } else {
        ", not all counted yet"
    };
    line("objects", format!("{}{counted}", status.objects));
    line(
        "used",
        format!(
            "{} kB of {} kB",
            status.used_bytes >> 10,
            status.size_bytes >> 10
        ),
    );
    line("evictions", status.evictions.to_string());
    for (name, site) in &status.sites {
        line(
            "site",
            format!(
                "{name}: {} hits, {} misses, {} bytes",
                site.hits, site.misses, site.bytes
            ),
        );
    }
    line("uptime", format!("{} s", status.uptime_seconds));
    text
}

fn show_text(show: &Show) -> String {
    // The values come from an origin: nothing in them may drive the terminal.
    let printable = |c: char| if c.is_control() && c != '\n' { '?' } else { c };
    let metadata: String = show
        .metadata
        .iter()
        .flat_map(|text| text.chars())
        .map(printable)
        .collect();
    let separator = if metadata.is_empty() { "" } else { "\n" };
    format!(
        "{}\n{}\n{}\n{separator}{metadata}",
        show.url, show.file, show.state
    )
}

fn print(text: &str, code: u8) -> Result<u8, Failure> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::stdout)?;
    Ok(code)
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
