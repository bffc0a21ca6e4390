//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser};
use group::GroupName;
use weblog::format::Format;

/// Shows what happens on web servers now, as a web page.
#[derive(Debug, Parser)]
#[command(
    name = "logmon",
    version,
    args_override_self = true,
    infer_long_args = true,
    help_template = "{usage-heading} {usage}\n\n{about}\n\n{options}"
)]
pub(crate) struct Args {
    /// The log group
    pub(crate) group: GroupName,

    /// groupd's socket: a path, a port, or PORT@HOST
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) socket: Option<String>,

    /// Where browsers come to
    #[arg(
        short,
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub(crate) listen: SocketAddr,

    /// The lines: common, combined, vhost_combined, json, or a LogFormat
    #[arg(long, value_name = "FORMAT", default_value = "combined", value_parser = Format::parse)]
    pub(crate) format: Format,

    /// Check the command line and exit
    #[arg(short = 't', long)]
    pub(crate) check: bool,

    /// Write the process number into FILE
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,

    /// Go into the background
    #[arg(long)]
    pub(crate) daemonize: bool,

    /// Log more (may be repeated)
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Log warnings and errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
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
    fn loopback_unless_told_otherwise() {
        assert!(Args::parse_from(["logmon", "g"]).listen.ip().is_loopback());
        let args = Args::parse_from(["logmon", "g", "-l", "[::]:80"]);
        assert_eq!(args.listen, "[::]:80".parse().unwrap());
        assert!(Args::try_parse_from(["logmon", "g", "-l", "80"]).is_err());
    }
}
