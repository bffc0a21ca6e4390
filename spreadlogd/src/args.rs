//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Writes the log lines that travel on the bus into files.
#[derive(Debug, Parser)]
#[command(
    name = "spreadlogd",
    version,
    after_help = "\
Examples, a file and a pipe:
  spreadlogd -c /etc/covey/spreadlogd.conf
  spreadlogd -g example -o - | awk '$9 >= 500'
See spreadlogd(8) and spreadlogd.conf(5)."
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

    /// Compare FILEs of kept logs with what was written, and with each other
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["group", "check"])]
    pub(crate) verify: Vec<PathBuf>,

    /// `forget NAME`: give up a logger whose disk is lost
    #[arg(value_names = ["forget", "NAME"], num_args = 2, hide = true, conflicts_with = "group")]
    pub(crate) request: Vec<String>,

    /// Stay in the foreground, as is the default
    #[arg(short = 'D', overrides_with = "daemonize")]
    pub(crate) foreground: bool,

    #[command(flatten)]
    pub(crate) daemon: unixproc::daemon::Options,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use unixproc::options;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_spellings_of_gnu() {
        let parse = |line: &str| options::parse::<Args>(line.split(' ')).unwrap();
        let args = parse("spreadlogd -gexample --group=b -o- -vvq -D");
        assert_eq!(args.group, ["example", "b"]);
        assert_eq!(args.output, "-");
        assert!(args.daemon.quiet && !args.daemon.daemonize);
        let args = parse("spreadlogd -c a --conf=b -tD --daemonize");
        assert_eq!(args.config, Some("b".into()));
        assert!(args.daemon.check && args.daemon.daemonize && !args.foreground);
        assert!(!parse("spreadlogd --daemonize -D").daemon.daemonize);
    }

    #[test]
    fn a_file_and_groups_exclude_each_other() {
        assert!(Args::try_parse_from(["spreadlogd", "-c", "f", "-g", "x"]).is_err());
        assert!(Args::try_parse_from(["spreadlogd", "-o", "f"]).is_err());
    }
}
