//! The command line.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Parser;
use group::GroupName;
use status::listen_address;
use weblog::format::{Field, Format};
use whosonline::hits::Rules;
use whosonline::presence::Limits;
use whosonline::replica::fnv1a;

/// Knows who is online, from the log lines that travel in a group.
#[derive(Debug, Parser)]
#[command(
    name = "whosonline",
    version,
    after_help = "\
Example, users named by a cookie, and the page of all who are online:
  whosonline --user SESSION --format '%h %t \"%r\" %>s %{SESSION}C' example
  online top
See whosonline(8) and online(1)."
)]
pub(crate) struct Args {
    /// The log group
    pub(crate) group: GroupName,

    /// groupd's socket: a path, a port, or PORT@HOST
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) socket: Option<String>,

    /// Where to be asked
    #[arg(long, value_name = "PATH", default_value = "/run/whosonline/control")]
    pub(crate) control: PathBuf,

    /// Answer HTTP here; at a loopback address if only a port is given
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = listen_address)]
    pub(crate) http: Option<SocketAddr>,

    /// Speak the binary protocol of 2004 here, whose port was 8989
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = listen_address)]
    pub(crate) historic: Option<SocketAddr>,

    /// The lines: common, combined, vhost_combined, json, or a LogFormat
    #[arg(long, value_name = "FORMAT", default_value = "combined", value_parser = Format::parse)]
    pub(crate) format: Format,

    /// What names the user: user, host, or the name of a cookie or header in the format
    #[arg(long, value_name = "FIELD", default_value = "user")]
    pub(crate) user: Field,

    /// Count those without a name by their address
    #[arg(long)]
    pub(crate) anonymous: bool,

    /// Seconds that a user stays online after a hit
    #[arg(long, value_name = "SECONDS", default_value = "1800",
        value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub(crate) window: u32,

    /// Statuses that count
    #[arg(long, value_name = "FIRST-LAST", default_value = "200-399", value_parser = statuses)]
    pub(crate) status: RangeInclusive<u16>,

    /// Methods that count
    #[arg(
        long,
        value_name = "LIST",
        default_value = "GET,POST",
        value_delimiter = ','
    )]
    pub(crate) methods: Vec<String>,

    /// Suffixes of what is no page; an empty list counts everything
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "css,gif,ico,jpeg,jpg,js,png,svg,webp,woff,woff2"
    )]
    pub(crate) skip: Vec<String>,

    /// Keep the query string as part of a page's name
    #[arg(long)]
    pub(crate) query: bool,

    /// Most users
    #[arg(long, value_name = "N", default_value = "2000000",
        value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) users_max: u32,

    /// Most pages; users on others are on "(other)"
    #[arg(long, value_name = "N", default_value = "100000",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) pages_max: u32,

    #[command(flatten)]
    pub(crate) daemon: unixproc::daemon::Options,
}

impl Args {
    /// What counts as a hit.
    ///
    /// # Errors
    /// The format does not have what names the user.
    pub(crate) fn rules(&self) -> Result<Rules, String> {
        if !self.format.has(&self.user) {
            return Err("--user names a field that is not in --format".to_owned());
        }
        Ok(Rules {
            format: self.format.clone(),
            user: self.user.clone(),
            anonymous: self.anonymous,
            status: (*self.status.start(), *self.status.end()),
            methods: self.methods.clone(),
            skipped_suffixes: self.skip.clone(),
            query: self.query,
        })
    }

    /// The bounds of the table.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            window: self.window,
            users_max: self.users_max,
            pages_max: self.pages_max,
        }
    }

    /// What must be equal for two tables to be equal, as a number.
    ///
    /// It is made of the rules as this version of the program writes them: replicas of another
    /// version do not share a table.
    pub(crate) fn settings(&self, rules: &Rules) -> u64 {
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("{version} {rules:?} {:?}", self.limits());
        fnv1a(text.bytes())
    }

    /// The second group, of those who know who is online from the lines of the first.
    ///
    /// # Errors
    /// Its name would be too long.
    pub(crate) fn replicas(&self) -> Result<GroupName, String> {
        let name = format!("{}@", self.group);
        name.parse()
            .map_err(|_| format!("a log group's name has at most 30 bytes: {}", self.group))
    }
}

fn statuses(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok().zip(last.parse().ok());
    range
        .filter(|(first, last)| first <= last && *last < 1000)
        .map(|(first, last)| first..=last)
        .ok_or_else(|| "must be a status, or two with a dash between them".to_owned())
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
    fn options_become_rules() {
        let line = "whosonline example --user SITE --format=%h|%{SITE}C|%s|%r --status 200 --skip=";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        let rules = args.rules().unwrap();
        assert_eq!(
            (rules.status, rules.user),
            ((200, 200), Field::Named("SITE".into()))
        );
        assert_eq!(rules.methods, ["GET", "POST"]);
        let args = Args::parse_from(["w", "g", "--http=8081", "--historic=[::]:8989"]);
        assert_eq!(args.http, Some(([127, 0, 0, 1], 8081).into()));
        assert_eq!(args.historic, "[::]:8989".parse().ok());
        for line in [
            "w g --user SITE",
            "w g --status=400-300",
            "w",
            "w g --format %h%s",
            "w g --http 80.80",
            "w g --http 70000",
        ] {
            let args = Args::try_parse_from(line.split(' '));
            assert!(
                args.is_err() || args.is_ok_and(|args| args.rules().is_err()),
                "{line}"
            );
        }
    }
}
