//! The command line of groupd.

use std::path::PathBuf;

use clap::Parser;

/// Group communication daemon: ordered, reliable multicast and membership.
#[derive(Debug, Parser)]
#[command(
    name = "groupd",
    version,
    args_override_self = true,
    infer_long_args = true,
    help_template = "{usage-heading} {usage}\n\n{about}\n\n{options}"
)]
pub(crate) struct Args {
    /// Read this file, not /etc/covey/spread.conf
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Which daemon of the file this one is; otherwise the one that has an address of this host
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Where clients connect: a path, a port N (/tmp/N), or PORT@ADDRESS (TCP)
    #[arg(short, long, value_name = "WHERE")]
    pub(crate) socket: Option<String>,

    /// Check the configuration, and do nothing else
    #[arg(short = 't', long)]
    pub(crate) check: bool,

    /// Go into the background when ready
    #[arg(long)]
    pub(crate) daemonize: bool,

    /// Write the process number here when ready
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,

    /// Log more: sessions that come and go
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Log warnings and errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
