//! GNU manners for programs that parse their options with argh.
//!
//! argh keeps images small, but it knows neither `--socket=x`, `-abc`, `-n3`, a lone `-`, nor
//! options after operands that win over earlier ones. So the arguments are rewritten into what it
//! reads: one long option after the other, each value on its own, then `--` and the operands.
//! `-h`, `--help`, `-V`, `--version` and unique prefixes of long options work in every program.
//!
//! The program's struct derives `FromArgs` and `ArgsInfo`, and says
//! `#[argh(help_triggers("-h", "--help"))]`.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};

use argh::{ArgsInfo, FlagInfo, FlagInfoKind, Optionality, TopLevelCommand};

use crate::exit::Failure;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<T> {
    /// To run with these options.
    Run(T),
    /// To print this text on stdout and end.
    Print(String),
}

/// The options of this process; `None` if help or the version was asked for, and printed.
///
/// # Errors
/// Wrong usage (code 2), or a failed write to stdout.
pub fn from_env<T: TopLevelCommand + ArgsInfo>(
    program: &str,
    version: &str,
) -> Result<Option<T>, Failure> {
    match parse(program, version, env::args_os().skip(1))? {
        Command::Run(args) => Ok(Some(args)),
        Command::Print(text) => {
            io::stdout()
                .write_all(text.as_bytes())
                .map_err(Failure::stdout)?;
            Ok(None)
        }
    }
}

/// Parses arguments (without the program's name) by the rules of GNU.
///
/// # Errors
/// Wrong usage.
pub fn parse<T: TopLevelCommand + ArgsInfo>(
    program: &str,
    version: &str,
    args: impl Iterator<Item = OsString>,
) -> Result<Command<T>, Failure> {
    let info = T::get_args_info();
    let rewritten = match rewrite(info.flags, args).map_err(|message| Failure::usage(&message))? {
        Request::Version => return Ok(Command::Print(format!("{program} {version}\n"))),
        Request::Help => vec!["--help".to_owned()],
        Request::Run(args) => args,
    };
    let args: Vec<&str> = rewritten.iter().map(String::as_str).collect();
    match T::from_args(&[program], &args) {
        Ok(args) => Ok(Command::Run(args)),
        Err(early) if early.status.is_ok() => Ok(Command::Print(name_version(&early.output))),
        Err(early) => Err(Failure::usage(&uncapitalized(&early.output))),
    }
}

/// What a command line says, still in strings.
enum Request {
    Run(Vec<String>),
    Help,
    Version,
}

/// The options and operands seen so far, in the words of argh.
struct Rewriter<'a> {
    flags: &'a [FlagInfo<'a>],
    /// The long name of each option given, with its value unless it is a switch.
    options: Vec<(&'a str, Option<String>)>,
    operands: Vec<String>,
}

fn rewrite(flags: &[FlagInfo], args: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let mut rewriter = Rewriter {
        flags,
        options: Vec::new(),
        operands: Vec::new(),
    };
    let mut args = args.map(|arg| {
        arg.into_string()
            .map_err(|arg| format!("argument {:?} is not UTF-8", arg.to_string_lossy()))
    });
    while let Some(arg) = args.next().transpose()? {
        if arg == "--" {
            rewriter
                .operands
                .extend(args.by_ref().collect::<Result<Vec<_>, _>>()?);
        } else if let Some(long) = arg.strip_prefix("--") {
            if let Some(request) = rewriter.long_option(long, &mut args)? {
                return Ok(request);
            }
        } else if arg.len() > 1 && arg.starts_with('-') {
            if let Some(request) = rewriter.short_options(&arg[1..], &mut args)? {
                return Ok(request);
            }
        } else {
            rewriter.operands.push(arg);
        }
    }
    Ok(Request::Run(rewriter.finish()))
}

impl<'a> Rewriter<'a> {
    /// Takes `name` or `name=value`; says so if it asks for help or the version.
    fn long_option(
        &mut self,
        text: &str,
        args: &mut impl Iterator<Item = Result<String, String>>,
    ) -> Result<Option<Request>, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some(flag) = self.find_long(name)? else {
            let help = "help".starts_with(name);
            if value.is_some() {
                let name = if help { "help" } else { "version" };
                return Err(format!("option '--{name}' doesn't allow an argument"));
            }
            return Ok(Some(if help {
                Request::Help
            } else {
                Request::Version
            }));
        };
        match (&flag.kind, value) {
            (FlagInfoKind::Switch, None) => self.options.push((flag.long, None)),
            (FlagInfoKind::Switch, Some(_)) => {
                return Err(format!("option '{}' doesn't allow an argument", flag.long));
            }
            (FlagInfoKind::Option { .. }, Some(value)) => self.set(flag, value),
            (FlagInfoKind::Option { .. }, None) => {
                let missing = || format!("option '{}' requires an argument", flag.long);
                let value = args.next().ok_or_else(missing)??;
                self.set(flag, value);
            }
        }
        Ok(None)
    }

    /// Takes `abc`, `n3` or `n` with its value in the next argument; says so if help or the
    /// version is among them.
    fn short_options(
        &mut self,
        text: &str,
        args: &mut impl Iterator<Item = Result<String, String>>,
    ) -> Result<Option<Request>, String> {
        let mut rest = text.chars();
        while let Some(name) = rest.next() {
            match name {
                'h' => return Ok(Some(Request::Help)),
                'V' => return Ok(Some(Request::Version)),
                _ => {}
            }
            let flag = self.flags.iter().find(|flag| flag.short == Some(name));
            let flag = flag.ok_or_else(|| format!("invalid option -- '{name}'"))?;
            if matches!(flag.kind, FlagInfoKind::Switch) {
                self.options.push((flag.long, None));
                continue;
            }
            let value = match rest.as_str() {
                "" => args
                    .next()
                    .ok_or_else(|| format!("option requires an argument -- '{name}'"))??,
                attached => attached.to_owned(),
            };
            self.set(flag, value);
            break;
        }
        Ok(None)
    }

    /// The option of this name or unique prefix; `None` for help and version.
    fn find_long(&self, name: &str) -> Result<Option<&'a FlagInfo<'a>>, String> {
        let own = |flag: &&FlagInfo| flag.long != "--help";
        if let Some(flag) = self
            .flags
            .iter()
            .filter(own)
            .find(|flag| flag.long[2..] == *name)
        {
            return Ok(Some(flag));
        }
        let mut meant: Vec<&str> = Vec::new();
        if !name.is_empty() {
            let longs = self.flags.iter().filter(own).map(|flag| &flag.long[2..]);
            meant = longs
                .chain(["help", "version"])
                .filter(|long| long.starts_with(name))
                .collect();
        }
        match meant[..] {
            [] => Err(format!("unrecognized option '--{name}'")),
            [long] => Ok(self
                .flags
                .iter()
                .filter(own)
                .find(|flag| flag.long[2..] == *long)),
            _ => Err(format!(
                "option '--{name}' is ambiguous; it may be --{}",
                meant.join(" or --")
            )),
        }
    }

    /// The last value wins, unless the option collects them.
    fn set(&mut self, flag: &'a FlagInfo<'a>, value: String) {
        if flag.optionality != Optionality::Repeating {
            self.options.retain(|(long, _)| *long != flag.long);
        }
        self.options.push((flag.long, Some(value)));
    }

    fn finish(self) -> Vec<String> {
        let mut args = Vec::with_capacity(2 * self.options.len() + 1 + self.operands.len());
        for (long, value) in self.options {
            args.push(long.to_owned());
            args.extend(value);
        }
        args.push("--".to_owned());
        args.extend(self.operands);
        args
    }
}

/// argh does not know of `--version`: its line is put below that of `--help`.
fn name_version(help: &str) -> String {
    let mut text = String::with_capacity(help.len() + 64);
    for line in help.trim_end().lines() {
        text.push_str(line);
        text.push('\n');
        if line.starts_with("  -h, --help") {
            text.push_str("  -V, --version     display the version\n");
        }
    }
    text
}

fn uncapitalized(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use argh::FromArgs;

    /// sends things.
    #[derive(FromArgs, ArgsInfo, Debug, PartialEq, Default)]
    #[argh(help_triggers("-h", "--help"))]
    struct Args {
        /// where to
        #[argh(option, short = 's')]
        socket: Option<String>,
        /// how many
        #[argh(option, short = 'n', default = "0")]
        number: i32,
        /// collected
        #[argh(option)]
        host: Vec<String>,
        /// say more
        #[argh(switch, short = 'v')]
        verbose: u8,
        /// force
        #[argh(switch, short = 'f')]
        force: bool,
        /// operands
        #[argh(positional)]
        files: Vec<String>,
    }

    fn parsed(line: &str) -> Result<Command<Args>, String> {
        let args = line
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(OsString::from);
        parse("send", "1.2.3", args).map_err(|failure| {
            assert_eq!(failure.status(), crate::exit::USAGE);
            format!("{failure:?}")
        })
    }

    fn run(line: &str) -> Args {
        match parsed(line) {
            Ok(Command::Run(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str, why: &str) {
        let message = parsed(line).unwrap_err();
        assert!(message.contains(why), "{line}: {message}");
    }

    #[test]
    fn every_spelling_of_an_option() {
        for line in [
            "-s x -n 3",
            "-sx -n3",
            "--socket=x --number=3",
            "--socket x --number 3",
            "--so x --num=3",
        ] {
            assert_eq!(
                run(line),
                Args {
                    socket: Some("x".into()),
                    number: 3,
                    ..Args::default()
                },
                "{line}"
            );
        }
        assert_eq!(run("-vvfn-3").verbose, 2);
        assert_eq!(run("-vvfn-3").number, -3);
        assert_eq!(run("--socket=").socket.as_deref(), Some(""));
        assert_eq!(run("--socket=a=b").socket.as_deref(), Some("a=b"));
    }

    #[test]
    fn the_last_value_wins_and_lists_collect() {
        assert_eq!(run("-n1 --number 2").number, 2);
        assert_eq!(run("--host a --host=b").host, ["a", "b"]);
    }

    #[test]
    fn operands_may_stand_anywhere() {
        assert_eq!(run("a -v - -- -b --c").files, ["a", "-", "-b", "--c"]);
        assert_eq!(run("help -v").files, ["help"]);
    }

    #[test]
    fn help_and_version() {
        let Ok(Command::Print(help)) = parsed("-vh") else {
            panic!("no help")
        };
        assert!(help.starts_with("Usage: send "), "{help}");
        assert!(
            help.contains("\n  -V, --version     display the version\n"),
            "{help}"
        );
        assert_eq!(parsed("--help"), Ok(Command::Print(help)));
        assert_eq!(
            parsed("x --version -z"),
            Ok(Command::Print("send 1.2.3\n".into()))
        );
        assert_eq!(parsed("-fV"), Ok(Command::Print("send 1.2.3\n".into())));
    }

    #[test]
    fn wrong_usage_is_explained() {
        refused("--nope", "unrecognized option '--nope'");
        refused("--=x", "unrecognized option '--'");
        refused("-x", "invalid option -- 'x'");
        refused("--force=yes", "option '--force' doesn't allow an argument");
        refused("--help=x", "option '--help' doesn't allow an argument");
        refused("-n", "option requires an argument -- 'n'");
        refused("--socket", "option '--socket' requires an argument");
        refused(
            "--ver x",
            "option '--ver' is ambiguous; it may be --verbose or --version",
        );
        refused(
            "-nx",
            "error parsing option '--number' with value 'x': invalid digit",
        );
    }
}
