//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

/// Writes the log lines that travel on the bus into files.
#[derive(Debug, Parser)]
#[command(
    name = "spreadlogd",
    version,
    args_override_self = true,
    infer_long_args = true,
    help_template = "{usage-heading} {usage}\n\n{about}\n\n{options}"
)]
pub(crate) struct Args {
    /// Configuration file [default: /etc/covey/spreadlogd.conf]
    #[arg(short, long, value_name = "FILE", conflicts_with = "group")]
    pub(crate) config: Option<PathBuf>,

    /// Log this group, without a configuration file (may be repeated)
    #[arg(short, long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,

    /// Where to with -g: a file name as in the configuration, - for stdout
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "-",
        requires = "group"
    )]
    pub(crate) output: String,

    /// groupd's socket: a path, a port, or PORT@HOST
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) socket: Option<String>,

    /// Check the configuration and exit
    #[arg(short = 't', long)]
    pub(crate) check: bool,

    /// Compare FILEs of kept logs with what was written, and with each other
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["group", "check"])]
    pub(crate) verify: Vec<PathBuf>,

    /// `forget NAME`: give up a logger whose disk is lost
    #[arg(value_names = ["forget", "NAME"], num_args = 2, hide = true, conflicts_with = "group")]
    pub(crate) request: Vec<String>,

    /// Write the process number into FILE
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,

    /// Go into the background
    #[arg(long, overrides_with = "foreground")]
    pub(crate) daemonize: bool,

    /// Stay in the foreground, as is the default
    #[arg(short = 'D', overrides_with = "daemonize")]
    pub(crate) foreground: bool,

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
    fn the_spellings_of_gnu() {
        let args = Args::parse_from(["spreadlogd", "-gexample", "--group=b", "-o-", "-vvq", "-D"]);
        assert_eq!(args.group, ["example", "b"]);
        assert_eq!(args.output, "-");
        assert_eq!((args.verbose, args.quiet, args.daemonize), (2, true, false));
        let args = Args::parse_from(["spreadlogd", "-c", "a", "--conf=b", "-tD", "--daemonize"]);
        assert_eq!(args.config, Some("b".into()));
        assert!(args.check && args.daemonize);
    }

    #[test]
    fn a_file_and_groups_exclude_each_other() {
        assert!(Args::try_parse_from(["spreadlogd", "-c", "f", "-g", "x"]).is_err());
        assert!(Args::try_parse_from(["spreadlogd", "-o", "f"]).is_err());
    }
}
