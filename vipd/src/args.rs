//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Holds a share of the public addresses, and takes over those of hosts that are gone.
#[derive(Debug, Parser)]
#[command(
    name = "vipd",
    version,
    after_help = "\
Example, the file checked first:
  vipd -c /etc/covey/wackamole.conf -t
  vipd -c /etc/covey/wackamole.conf
It needs CAP_NET_ADMIN and CAP_NET_RAW. See vipd(8), wackamole.conf(5) and vipctl(8)."
)]
pub(crate) struct Args {
    /// Configuration file [default: /etc/covey/wackamole.conf]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// groupd's socket: a path, a port, or PORT@HOST
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) socket: Option<String>,

    /// Remove addresses that a vipd has left behind, and exit
    #[arg(long)]
    pub(crate) purge: bool,

    #[command(flatten)]
    pub(crate) daemon: unixproc::daemon::Options,

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
}
