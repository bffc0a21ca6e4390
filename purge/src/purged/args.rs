//! The command line of purged.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use group::GroupName;
use unixproc::daemon::Options;

/// Delete pre-rendered pages when they are purged on the bus.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "{command_name} --root /srv/www --allow '/news/*.html' imgcache",
    note = "See purged(8)."
)]
pub(crate) struct Args {
    /// groupd's socket: a path, a port, or PORT@HOST
    #[argh(option, short = 's', arg_name = "address")]
    pub(crate) socket: Option<String>,

    /// the directory that the web server serves
    #[argh(option, short = 'r', arg_name = "directory")]
    pub(crate) root: PathBuf,

    /// pages that may be deleted: a URL path, * stands for any bytes (may be repeated)
    #[argh(option, short = 'a', arg_name = "pattern")]
    pub(crate) allow: Vec<String>,

    /// a name of the site; purges of other sites are nothing to it (may be repeated)
    #[argh(option, arg_name = "host")]
    pub(crate) site: Vec<String>,

    /// check the command line and exit
    #[argh(switch, short = 't')]
    pub(crate) check: bool,

    /// hold this file while running, with the process number in it
    #[argh(option, short = 'p', arg_name = "file")]
    pub(crate) pidfile: Option<PathBuf>,

    /// go into the background when ready
    #[argh(switch)]
    pub(crate) daemonize: bool,

    /// log more (may be repeated)
    #[argh(switch, short = 'v')]
    pub(crate) verbose: u8,

    /// log warnings and errors only
    #[argh(switch, short = 'q')]
    pub(crate) quiet: bool,

    /// the group in which purges travel
    #[argh(positional)]
    pub(crate) group: GroupName,
}

impl Args {
    /// The options that all daemons have.
    pub(crate) fn daemon(&self) -> Options {
        Options {
            check: self.check,
            pidfile: self.pidfile.clone(),
            daemonize: self.daemonize,
            verbose: self.verbose,
            quiet: self.quiet,
        }
    }

    /// What argh does not check.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.allow.is_empty() {
            return Err("nothing may be deleted: give --allow".to_owned());
        }
        for pattern in &self.allow {
            if !pattern.starts_with('/') {
                return Err(format!("--allow must begin with /, got {pattern:?}"));
            }
        }
        for site in &self.site {
            if !purges::is_site_name(site) {
                return Err(format!(
                    "--site must be a host name in lower case, got {site:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use unixproc::argv::{self, Command};

    use super::*;

    fn check(line: &str) -> Result<(), String> {
        let words = line.split(' ').map(OsString::from);
        match argv::parse("purged", "0", words).map_err(|failure| format!("{failure:?}"))? {
            Command::Run::<Args>(args) => args.validate(),
            Command::Print(text) => Err(text),
        }
    }

    #[test]
    fn what_is_checked() {
        let good = "--root=/www --allow /a/*.html -a /b --site a.org -vv imgcache";
        assert_eq!(check(good), Ok(()));
        for bad in [
            "--allow /a imgcache",
            "--root /www imgcache",
            "--root /www --allow a imgcache",
            "--root /www --allow /a --site A imgcache",
            "--root /www --allow /a",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
