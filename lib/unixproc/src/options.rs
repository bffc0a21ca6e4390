//! The command lines of programs that parse their options with clap, by the rules of GNU.
//!
//! The last value of an option wins, unique prefixes of long options will do, and `--help` shows
//! the usage, what the program is for, and its options, in this order.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use crate::exit::{Failure, print};

const HELP: &str = "{usage-heading} {usage}\n\n{about}\n\n{all-args}{after-help}";

/// The options of this process; `None` if help or the version was asked for, and printed.
///
/// # Errors
/// Wrong usage (code 2), or a failed write to stdout.
pub fn from_env<T: Parser>() -> Result<Option<T>, Failure> {
    match parse(std::env::args_os()) {
        Ok(args) => Ok(Some(args)),
        Err(error) if error.use_stderr() => Err(Failure::usage(&error.to_string())),
        Err(help) => print(&help.to_string()).map(|_| None),
    }
}

/// Parses arguments, the first of which is the program's name.
///
/// # Errors
/// Wrong usage; also where help or the version is asked for, as clap has it.
pub fn parse<T: Parser>(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<T, clap::Error> {
    let mut command = gnu::<T>();
    let matches = command.try_get_matches_from_mut(args)?;
    T::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn gnu<T: CommandFactory>() -> clap::Command {
    T::command()
        .args_override_self(true)
        .infer_long_args(true)
        .disable_help_subcommand(true)
        // Who gives no subcommand is told so, on stderr.
        .arg_required_else_help(false)
        .help_template(HELP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Options;

    /// does things
    #[derive(Debug, Parser)]
    #[command(name = "thingd", version = "1.2.3", after_help = "See thingd(8).")]
    struct Args {
        /// where to
        #[arg(short, long)]
        socket: Option<String>,
        #[command(flatten)]
        daemon: Options,
    }

    /// asks things
    #[derive(Debug, Parser)]
    #[command(name = "thingctl")]
    struct Tool {
        #[command(subcommand)]
        _command: Question,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Question {
        Status,
    }

    #[test]
    fn a_missing_subcommand_is_wrong_usage() {
        assert!(parse::<Tool>(["thingctl", "status"]).is_ok());
        let error = parse::<Tool>(["thingctl"]).unwrap_err();
        let text = error.to_string();
        let said = text.starts_with("error: 'thingctl' requires a subcommand");
        assert!(said && error.use_stderr(), "{text}");
    }

    fn parsed(line: &str) -> Result<Args, String> {
        parse(line.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        gnu::<Args>().debug_assert();
    }

    #[test]
    fn the_last_value_wins_and_prefixes_will_do() {
        let args = parsed("thingd -s a --sock=b -tvv --check --daemon -pc --pid d -q -q").unwrap();
        assert_eq!(args.socket.as_deref(), Some("b"));
        let Options {
            check,
            pidfile,
            daemonize,
            verbose,
            quiet,
        } = args.daemon;
        assert_eq!((check, daemonize, verbose, quiet), (true, true, 2, true));
        assert_eq!(pidfile, Some("d".into()));
    }

    #[test]
    fn help_says_what_it_is_for() {
        let help = parsed("thingd --help").unwrap_err();
        assert!(help.starts_with("Usage: thingd [OPTIONS]\n\ndoes things\n\nOptions:\n"));
        assert!(help.ends_with("\n\nSee thingd(8).\n"), "{help}");
        assert_eq!(parsed("thingd -V").unwrap_err(), "thingd 1.2.3\n");
    }
}
