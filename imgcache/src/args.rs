//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

/// Serves images from a cache whose files are named like their URLs.
#[derive(Debug, Parser)]
#[command(
    name = "imgcache",
    version,
    args_override_self = true,
    infer_long_args = true,
    help_template = "{usage-heading} {usage}\n\n{about}\n\n{options}"
)]
pub(crate) struct Args {
    /// Configuration file [default: /etc/covey/imgcache.conf]
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
}
