//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use group::GroupName;
use weblog::format::Format;

use crate::tally::{Item, Limits};

/// A window that goes by time holds at most so many hits.
const HITS_MAX: usize = 1_000_000;

/// Shows what happens on web servers now, from their log lines.
#[derive(Debug, Parser)]
#[command(
    name = "logtop",
    version,
    after_help = "\
Examples, a group of the bus, a file that grows, and a program's output:
  logtop -g example
  logtop /var/log/apache2/access.log
  zcat access.log.1.gz | logtop --json
See logtop(1)."
)]
pub(crate) struct Args {
    /// Files to follow from their end; - is stdin
    #[arg(value_name = "FILE", conflicts_with = "group")]
    pub(crate) files: Vec<PathBuf>,

    /// Show the log group GROUP
    #[arg(short, long, value_name = "GROUP")]
    pub(crate) group: Option<GroupName>,

    /// groupd's socket: a path, a port, or PORT@HOST
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) socket: Option<String>,

    /// Read files from their beginning, and end with them
    #[arg(short, long)]
    pub(crate) all: bool,

    /// The lines: common, combined, vhost_combined, json, or a LogFormat
    #[arg(long, value_name = "FORMAT", default_value = "combined", value_parser = Format::parse)]
    pub(crate) format: Format,

    /// Count the hits of the last seconds
    #[arg(short = 'T', long, value_name = "SECONDS", default_value = "30",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) time: u64,

    /// Count so many last hits
    #[arg(short = 'H', long, value_name = "N", conflicts_with = "time",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) hits: Option<u64>,

    /// Most rows of each item; what has no room is "(other)"
    #[arg(long, value_name = "N", default_value = "20000",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rows: u64,

    /// Show rows by url, host, referer, agent, status, vhost, user or server
    #[arg(short, long, value_name = "ITEM", default_value = "url", value_parser = item)]
    pub(crate) item: Item,

    /// Keep query strings
    #[arg(long)]
    pub(crate) query: bool,

    /// Refresh so often: 0.1 to 3600, with or without an s
    #[arg(short = 'd', long, visible_alias = "every", value_name = "SECONDS", default_value = "1",
        value_parser = interval)]
    pub(crate) delay: Duration,

    /// Print a line of JSON instead of each screen
    #[arg(long)]
    pub(crate) json: bool,

    /// Rows in each line of JSON
    #[arg(short, long, value_name = "N", default_value = "20",
        value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(crate) number: u64,
}

impl Args {
    pub(crate) fn limits(&self) -> Limits {
        let rows = self.rows as usize;
        match self.hits {
            Some(hits) => Limits {
                seconds: None,
                hits: hits as usize,
                rows,
            },
            None => Limits {
                seconds: Some(self.time),
                hits: HITS_MAX,
                rows,
            },
        }
    }
}

fn item(text: &str) -> Result<Item, String> {
    let found = Item::ALL.into_iter().find(|item| item.name() == text);
    found.ok_or_else(|| {
        "must be url, host, referer, agent, status, vhost, user or server".to_owned()
    })
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    seconds
        .filter(|seconds| (0.1..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be 0.1 to 3600 seconds".to_owned())
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
    fn windows_and_intervals() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        let args = parse("logtop -g example --json --every 2s").unwrap();
        assert_eq!(
            (args.delay, args.limits().seconds),
            (Duration::from_secs(2), Some(30))
        );
        let args = parse("logtop -H5000 -i host a b -").unwrap();
        assert_eq!(
            (args.limits().hits, args.item, args.files.len()),
            (5000, Item::Host, 3)
        );
        for line in [
            "-d 0",
            "-i x",
            "-g a file",
            "-T 0",
            "-H 2 -T 3",
            "-d inf",
            "-d nan",
        ] {
            assert!(parse(&format!("logtop {line}")).is_err(), "{line}");
        }
    }
}
