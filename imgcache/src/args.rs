//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Serves images from a cache whose files are named like their URLs.
#[derive(Debug, Parser)]
#[command(
    name = "imgcache",
    version,
    after_help = "\
Example, the file checked first:
  imgcache -c /etc/covey/imgcache.conf -t
  imgcache -c /etc/covey/imgcache.conf
See imgcache(8), imgcache.conf(5) and imgcachectl(8)."
)]
pub(crate) struct Args {
    /// Configuration file [default: /etc/covey/imgcache.conf]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// groupd's socket: a path, a port, or PORT@HOST
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) socket: Option<String>,

    #[command(flatten)]
    pub(crate) daemon: unixproc::daemon::Options,
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
