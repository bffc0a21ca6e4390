//! The command line.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use group::GroupName;
use weblog::format::Format;

/// Shows what happens on web servers now, as a web page.
#[derive(Debug, Parser)]
#[command(
    name = "logmon",
    version,
    after_help = "\
Example, the page at http://127.0.0.1:8080/:
  logmon example
See logmon(8)."
)]
pub(crate) struct Args {
    /// The log group
    pub(crate) group: GroupName,

    /// groupd's socket: a path, a port, or PORT@HOST
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) socket: Option<String>,

    /// Where browsers come to; at a loopback address if only a port is given
    #[arg(
        short,
        long,
        value_name = "[ADDRESS:]PORT",
        default_value = "127.0.0.1:8080",
        value_parser = status::listen_address
    )]
    pub(crate) listen: SocketAddr,

    /// Let in only who knows the first line of FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) password: Option<PathBuf>,

    /// The lines: common, combined, vhost_combined, json, or a LogFormat
    #[arg(long, value_name = "FORMAT", default_value = "combined", value_parser = Format::parse)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) daemon: unixproc::daemon::Options,
}

impl Args {
    /// What browsers must know, if anything.
    ///
    /// # Errors
    /// The file cannot be read, or its first line is empty.
    pub(crate) fn password(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(file) = &self.password else {
            return Ok(None);
        };
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or(b"");
        let password = line.strip_suffix(b"\r").unwrap_or(line);
        anyhow::ensure!(
            !password.is_empty(),
            "{}: no password in the first line",
            file.display()
        );
        Ok(Some(password.to_vec()))
    }
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
        let args = Args::parse_from(["logmon", "g", "-l", "80"]);
        assert_eq!(args.listen, ([127, 0, 0, 1], 80).into());
        assert!(Args::try_parse_from(["logmon", "g", "-l", "web"]).is_err());
    }
}
