//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use group::{Address, GroupName};
use weblog::stream::WhenFull;

/// Longest name of a log group: one byte less than a group's name may have, because the group that
/// controls it is named after it, with a `~`.
const LOG_GROUP_BYTES_MAX: usize = 30;

/// Publish the log lines on stdin to a group of the bus.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "CustomLog \"|/usr/bin/logpub example\" combined",
    note = "See logpub(1)."
)]
pub(crate) struct Args {
    /// groupd's socket: a path, a port, or PORT@HOST
    #[argh(option, short = 's', arg_name = "address")]
    pub(crate) socket: Option<String>,

    /// read FILE instead of stdin, and go on as it grows
    #[argh(option, short = 'f', arg_name = "file")]
    pub(crate) follow: Option<PathBuf>,

    /// with --follow: keep the position here; FILE.logpub if not given
    #[argh(option, arg_name = "file")]
    pub(crate) position: Option<PathBuf>,

    /// send each line in a message of its own, of at most 8191 bytes
    #[argh(switch)]
    pub(crate) one_line: bool,

    /// keep lines in this directory until the loggers have them on disk
    #[argh(option, arg_name = "directory")]
    pub(crate) spool: Option<PathBuf>,

    /// when the queue or the spool's disk is full: block (the default)
    /// or drop
    #[argh(
        option,
        arg_name = "policy",
        default = "WhenFull::Block",
        from_str_fn(when_full)
    )]
    pub(crate) when_full: WhenFull,

    /// bytes that may wait; if not given 8 MiB, or with --spool what the
    /// disk holds
    #[argh(option, arg_name = "n", from_str_fn(queue_bytes))]
    pub(crate) queue_bytes: Option<usize>,

    /// wait so long for more lines to send together; 5 if not given
    #[argh(option, arg_name = "n", default = "5", from_str_fn(flush_ms))]
    pub(crate) flush_ms: u64,

    /// at the end, give up when nothing gets through for so long; 60 if
    /// not given, 10 with --spool
    #[argh(option, arg_name = "n")]
    pub(crate) drain_seconds: Option<u32>,

    /// log more (may be repeated)
    #[argh(switch, short = 'v')]
    pub(crate) verbose: u8,

    /// log warnings and errors only
    #[argh(switch, short = 'q')]
    pub(crate) quiet: bool,

    /// the group to send to
    #[argh(positional, from_str_fn(log_group))]
    pub(crate) group: GroupName,
}

impl Args {
    /// Where the bus is.
    ///
    /// # Errors
    /// What is wrong with the options, taken together.
    pub(crate) fn check(&self) -> Result<Address, String> {
        if self.follow.is_some() && self.when_full == WhenFull::Drop {
            return Err(
                "--when-full drop makes no sense with --follow: a file can wait".to_owned(),
            );
        }
        if self.spool.is_some() && self.follow.is_some() {
            return Err("--spool makes no sense with --follow: the file is a spool".to_owned());
        }
        if self.spool.is_some() && self.one_line {
            return Err(
                "--spool makes no sense with --one-line: only our loggers answer".to_owned(),
            );
        }
        if self.follow.is_none() && self.position.is_some() {
            return Err("--position needs --follow".to_owned());
        }
        Address::find(self.socket.as_deref(), None).map_err(|error| error.to_string())
    }

    /// Bytes that may wait for the bus in memory.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.queue_bytes.unwrap_or(8 << 20)
    }

    /// Bytes that may wait in the spool, if not the disk alone decides.
    pub(crate) fn spool_bytes(&self) -> Option<u64> {
        self.queue_bytes.map(|bytes| bytes as u64)
    }

    /// How long nothing may come through at the end, if it is given.
    pub(crate) fn drain_timeout(&self) -> Option<Duration> {
        let seconds = self.drain_seconds?;
        Some(Duration::from_secs(seconds.into()))
    }
}

fn log_group(text: &str) -> Result<GroupName, String> {
    if text.len() > LOG_GROUP_BYTES_MAX {
        return Err(format!(
            "a log group's name has at most {LOG_GROUP_BYTES_MAX} bytes"
        ));
    }
    text.parse()
        .map_err(|error: group::NameError| error.to_string())
}

fn when_full(text: &str) -> Result<WhenFull, String> {
    match text {
        "block" => Ok(WhenFull::Block),
        "drop" => Ok(WhenFull::Drop),
        _ => Err("must be block or drop".to_owned()),
    }
}

fn queue_bytes(text: &str) -> Result<usize, String> {
    const RANGE: std::ops::RangeInclusive<usize> = 1 << 18..=1 << 40;
    let number = text.parse().ok().filter(|number| RANGE.contains(number));
    number.ok_or_else(|| format!("must be {} to {}", RANGE.start(), RANGE.end()))
}

fn flush_ms(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number <= 10_000);
    number.ok_or_else(|| "must be 0 to 10000".to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use unixproc::argv::{self, Command};

    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        let words = line.split(' ').map(OsString::from);
        match argv::parse("logpub", "0", words).map_err(|failure| format!("{failure:?}"))? {
            Command::Run(args) => Ok(args),
            Command::Print(text) => Err(text),
        }
    }

    #[test]
    fn every_option() {
        let args = parse(
            "example -s4803 --follow=/log --position /p --one-line --when-full=block \
             --queue-bytes=1000000 --flush-ms 0 --drain-seconds=1 -vvq",
        )
        .unwrap();
        assert_eq!(args.group.to_string(), "example");
        assert_eq!(args.check(), Ok(Address::Port(4803)));
        assert_eq!(
            (args.follow, args.position),
            (Some("/log".into()), Some("/p".into()))
        );
        assert_eq!(
            (args.queue_bytes, args.flush_ms, args.drain_seconds),
            (Some(1_000_000), 0, Some(1))
        );
        assert_eq!(parse("g --spool /s").unwrap().spool, Some("/s".into()));
        assert!(args.one_line && args.quiet && args.verbose == 2);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, why) in [
            ("-v", "required positional arguments not provided: group"),
            ("a b", "unrecognized argument: b"),
            ("a --when-full=spill", "must be block or drop"),
            ("a --queue-bytes=0", "must be 262144 to 1099511627776"),
            ("a --flush-ms=-1", "must be 0 to 10000"),
            (
                "a-group-name-of-thirty-one-bytes",
                "a log group's name has at most 30 bytes",
            ),
            ("a@b/\u{e9}", "a name "),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(why), "{line}: {message}");
        }
        assert!(
            parse("g --follow x --when-full drop")
                .unwrap()
                .check()
                .is_err()
        );
        for line in [
            "g --position x",
            "g --spool x --follow y",
            "g --spool x --one-line",
        ] {
            assert!(parse(line).unwrap().check().is_err(), "{line}");
        }
        assert!(parse("g --socket x").unwrap().check().is_err());
    }

    #[test]
    fn help_names_every_option() {
        let help = parse("--help").unwrap_err();
        for word in [
            "--socket",
            "--follow",
            "--position",
            "--one-line",
            "--when-full",
            "--spool",
            "-V, --version",
        ] {
            assert!(help.contains(word), "{help}");
        }
    }
}
