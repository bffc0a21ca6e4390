//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

/// Holds a share of the public addresses, and takes over those of hosts that are gone.
#[derive(Debug, Parser)]
#[command(
    name = "vipd",
    version,
    args_override_self = true,
    infer_long_args = true,
    help_template = "{usage-heading} {usage}\n\n{about}\n\n{options}"
)]
pub(crate) struct Args {
    /// Configuration file [default: /etc/covey/wackamole.conf]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// groupd's socket: a path, a port, or PORT@HOST
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) socket: Option<String>,

    /// Check the configuration and exit
    #[arg(short = 't', long)]
    pub(crate) check: bool,

    /// Write the process number into FILE
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,

    /// Go into the background
    #[arg(long)]
    pub(crate) daemonize: bool,

    /// Remove addresses that a vipd has left behind, and exit
    #[arg(long)]
    pub(crate) purge: bool,

    /// Log more (may be repeated)
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Log warnings and errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Be the guardian of the vipd with this process number: what vipd starts beside itself
    #[arg(long, hide = true, value_name = "PID", requires = "group")]
    pub(crate) guardian: Option<i32>,

    /// The group that the guardian tells
    #[arg(long, hide = true)]
    pub(crate) group: Option<String>,
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
    fn the_spellings_of_gnu() {
        let args = Args::parse_from(["vipd", "-c", "a", "--conf=b", "-tvv", "-q", "--daemon"]);
        assert_eq!(args.config, Some("b".into()));
        assert!(args.check && args.quiet && args.daemonize);
        assert_eq!(args.verbose, 2);
    }
}
