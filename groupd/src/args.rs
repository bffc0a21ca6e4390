//! The command line of groupd.

use std::path::PathBuf;

use clap::Parser;

/// Group communication daemon: ordered, reliable multicast and membership.
#[derive(Debug, Parser)]
#[command(
    name = "groupd",
    version,
    after_help = "\
Without a file: one daemon on the loopback. Example, the daemon web1 of a file, checked first:
  groupd -c /etc/covey/spread.conf -n web1 -t
  groupd -c /etc/covey/spread.conf -n web1
Files, signals and the socket are described in groupd(8), the file in spread.conf(5)."
)]
pub(crate) struct Args {
    /// Configuration file [default: /etc/covey/spread.conf, if it exists]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Which daemon of the file this one is; otherwise the one that has an address of this host
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Where clients connect: a path, a port N (/tmp/N), or PORT@ADDRESS (TCP)
    #[arg(short, long, value_name = "WHERE")]
    pub(crate) socket: Option<String>,

    #[command(flatten)]
    pub(crate) daemon: unixproc::daemon::Options,
}
