//! imgcachectl: asks imgcache about itself and about its objects.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use imgcache::control::{Request, Show, Site, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unixproc::exit::{self, DONE, FAILED, Failure, USAGE};
use unixproc::options;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks imgcache.
#[derive(Debug, Parser)]
#[command(
    name = "imgcachectl",
    version,
    after_help = "\
Examples:
  imgcachectl status
  imgcachectl show http://www.example.com/logo.gif
See imgcachectl(8)."
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
    /// Print the same as Prometheus reads it
    Metrics,
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
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(DONE);
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
        Command::Metrics => {
            let status: Status = ask(&args, &Request::Status)?;
            print(&metrics(&status), DONE)
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
                "{name}: {} hits, {} misses, {} bytes, {} objects, {} evictions",
                site.hits, site.misses, site.bytes, site.objects, site.evictions
            ),
        );
    }
    for origin in &status.origins_down {
        line("down", origin.clone());
    }
    line("uptime", format!("{} s", status.uptime_seconds));
    text
}

/// The status in Prometheus' text format.
fn metrics(status: &Status) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, values: &[(String, u64)]| {
        writeln!(text, "# TYPE imgcache_{name} {kind}").expect("a String takes all");
        for (labels, value) in values {
            writeln!(text, "imgcache_{name}{labels} {value}").expect("a String takes all");
        }
    };
    let one = |value| [(String::new(), value)];
    // Names of sites hold nothing that would have to be escaped.
    let by_site = |count: fn(&Site) -> u64| -> Vec<(String, u64)> {
        let sites = status.sites.iter();
        sites
            .map(|(name, site)| (format!("{{site=\"{name}\"}}"), count(site)))
            .collect()
    };
    family("hits_total", "counter", &by_site(|site| site.hits));
    family("misses_total", "counter", &by_site(|site| site.misses));
    family("sent_bytes_total", "counter", &by_site(|site| site.bytes));
    family(
        "evictions_total",
        "counter",
        &by_site(|site| site.evictions),
    );
    let dropped = one(status.log_lines_dropped);
    family("log_lines_dropped_total", "counter", &dropped);
    family("purges_total", "counter", &one(status.purge));
    family("connections", "gauge", &one(status.connections));
    family("fetches", "gauge", &one(status.fetches));
    family("objects", "gauge", &by_site(|site| site.objects));
    let down = status.origins_down.len() as u64;
    family("origins_down", "gauge", &one(down));
    family("objects_open", "gauge", &one(status.open));
    family("used_bytes", "gauge", &one(status.used_bytes));
    family("size_bytes", "gauge", &one(status.size_bytes));
    family("isolated", "gauge", &one(u64::from(status.isolated)));
    family("uptime_seconds", "gauge", &one(status.uptime_seconds));
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
    fn metrics_are_by_site() {
        let site = Site {
            hits: 3,
            misses: 1,
            bytes: 100,
            objects: 2,
            evictions: 0,
        };
        let status = Status {
            session: None,
            isolated: true,
            members: Vec::new(),
            purge: 7,
            connections: 0,
            fetches: 0,
            objects: 2,
            open: 1,
            used_bytes: 8192,
            size_bytes: 1 << 20,
            counted: true,
            evictions: 0,
            log_lines_dropped: 0,
            origins_down: vec!["a.org 10.0.0.1:80".to_owned()],
            sites: [("a.org".to_owned(), site)].into(),
            uptime_seconds: 9,
        };
        let text = metrics(&status);
        for line in [
            "# TYPE imgcache_hits_total counter",
            "imgcache_hits_total{site=\"a.org\"} 3",
            "imgcache_sent_bytes_total{site=\"a.org\"} 100",
            "imgcache_isolated 1",
            "imgcache_objects{site=\"a.org\"} 2",
            "imgcache_origins_down 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }
}
