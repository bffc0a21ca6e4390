//! The command line.

use argh::{ArgsInfo, FromArgs};
use group::GroupName;

/// Purge URLs from every cache of the group, and wait until all have confirmed.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "{command_name} --expect 2 http://www.example.com/logo.gif",
    note = "See purge(1)."
)]
pub(crate) struct Args {
    /// groupd's socket: a path, a port, or PORT@HOST
    #[argh(option, short = 's', arg_name = "address")]
    pub(crate) socket: Option<String>,

    /// the caches' group; imgcache if not given
    #[argh(
        option,
        short = 'g',
        arg_name = "group",
        default = "\"imgcache\".parse().expect(\"a sound name\")"
    )]
    pub(crate) group: GroupName,

    /// purge paths, a tag or all of this site only
    #[argh(option, arg_name = "site")]
    pub(crate) site: Option<String>,

    /// purge what carries this tag (may be repeated)
    #[argh(option, arg_name = "key")]
    pub(crate) tag: Vec<String>,

    /// purge everything
    #[argh(switch)]
    pub(crate) all: bool,

    /// keep what is purged for the time that its origin fails
    #[argh(switch)]
    pub(crate) soft: bool,

    /// do not wait for confirmations
    #[argh(switch)]
    pub(crate) no_wait: bool,

    /// fail if fewer caches than this are there; 1 if not given
    #[argh(option, arg_name = "n", default = "1")]
    pub(crate) expect: usize,

    /// seconds to wait; 5 if not given
    #[argh(
        option,
        short = 't',
        arg_name = "seconds",
        default = "5.0",
        from_str_fn(seconds)
    )]
    pub(crate) timeout: f64,

    /// print JSON
    #[argh(switch, short = 'j')]
    pub(crate) json: bool,

    /// print what would be sent, and send nothing
    #[argh(switch, short = 'n')]
    pub(crate) dry_run: bool,

    /// URLs, paths for every site, patterns with *; - reads them from stdin
    #[argh(positional, arg_name = "url|path")]
    pub(crate) what: Vec<String>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &f64| (0.01..=3600.0).contains(number));
    number.ok_or_else(|| "must be 0.01 to 3600".to_owned())
}

impl Args {
    /// The commands for the caches, one per line; `lines` are those of stdin.
    ///
    /// # Errors
    /// There is nothing to purge, or something that no cache would understand.
    pub(crate) fn commands(&self, lines: &[String]) -> Result<Vec<String>, String> {
        let mut prefix = String::from("purge ");
        if self.soft {
            prefix.push_str("--soft ");
        }
        if let Some(site) = &self.site {
            word("--site", site)?;
            prefix.push_str(&format!("--site {site} "));
        }
        let mut commands = Vec::new();
        for tag in &self.tag {
            word("--tag", tag)?;
            commands.push(format!("{prefix}--tag {tag}\n"));
        }
        if self.all {
            commands.push(format!("{prefix}--all\n"));
        }
        for what in self.what.iter().filter(|what| *what != "-").chain(lines) {
            let is_url = what.starts_with("http://") || what.starts_with("https://");
            if !what.starts_with('/') && !is_url {
                return Err(format!("neither a URL nor a path: {what:?}"));
            }
            word("a URL", what)?;
            if is_url && self.site.is_some() {
                return Err(format!("--site makes no sense with a URL: {what:?}"));
            }
            commands.push(format!("{prefix}{what}\n"));
        }
        if commands.is_empty() {
            return Err("nothing to purge: give a URL, a path, --tag or --all".to_owned());
        }
        Ok(commands)
    }
}

fn word(name: &str, text: &str) -> Result<(), String> {
    match !text.is_empty() && text.len() <= 8192 && text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        true => Ok(()),
        false => Err(format!(
            "{name} must be one word of at most 8192 printable bytes, got {text:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use unixproc::argv::{self, Command};

    use super::*;

    fn commands(line: &str) -> Result<String, String> {
        let words = line.split(' ').map(OsString::from);
        match argv::parse("purge", "0", words).map_err(|failure| format!("{failure:?}"))? {
            Command::Run::<Args>(args) => args.commands(&[]).map(|commands| commands.concat()),
            Command::Print(text) => Err(text),
        }
    }

    #[test]
    fn what_is_sent() {
        assert_eq!(commands("/logo.gif").as_deref(), Ok("purge /logo.gif\n"));
        assert_eq!(
            commands("--soft --site=a.org /x --tag k --all").as_deref(),
            Ok(
                "purge --soft --site a.org --tag k\npurge --soft --site a.org --all\npurge --soft --site a.org /x\n"
            )
        );
        for line in [
            "-s4803",
            "x",
            "--site a http://a/",
            "ftp://a/",
            "--timeout 0 /x",
            "/\u{e9}",
        ] {
            assert!(commands(line).is_err(), "{line}");
        }
    }
}
