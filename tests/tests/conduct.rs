//! What all programs do with their command line, stdin, stdout and stderr: each of them, each way.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output, Stdio};

use tests::{Scratch, programs};

/// A program, and a command line that is right but for what it leads to.
struct Program {
    name: &'static str,
    /// What must be given.
    needs: &'static [&'static str],
    /// Where the path of groupd's, or the daemon's own, socket goes; it comes last, so that an
    /// option behind it is of the same subcommand.
    socket: Option<&'static str>,
    daemon: bool,
}

const PROGRAMS: [Program; 14] = [
    daemon("groupd", &[]),
    daemon("imgcache", &[]),
    daemon("logmon", &["example"]),
    daemon("purged", &["--root=/", "--allow=/a", "imgcache"]),
    daemon("spreadlogd", &["--group=example"]),
    daemon("vipd", &[]),
    daemon("whosonline", &["example"]),
    tool("groupctl", &["send", "example", "text"], "--socket"),
    tool("imgcachectl", &["status"], "--control"),
    tool("logpub", &["example"], "--socket"),
    tool("logtop", &["--json", "--group=example"], "--socket"),
    tool("online", &["/page"], "--control"),
    tool("purge", &["http://a/b"], "--socket"),
    tool("vipctl", &["status"], "--control"),
];

const fn daemon(name: &'static str, needs: &'static [&'static str]) -> Program {
    Program {
        name,
        needs,
        socket: None,
        daemon: true,
    }
}

const fn tool(name: &'static str, needs: &'static [&'static str], socket: &'static str) -> Program {
    Program {
        name,
        needs,
        socket: Some(socket),
        daemon: false,
    }
}

impl Program {
    fn command(&self) -> Command {
        let path = programs().join(self.name);
        assert!(
            path.exists(),
            "{} is not built: run `make test`",
            path.display()
        );
        let mut command = Command::new(path);
        command.stdin(Stdio::null());
        // No daemon of this machine is meant.
        command.env("GROUPD_SOCKET", "/nonexistent/groupd");
        command
    }

    fn run(&self, args: &[&OsStr]) -> Output {
        self.command().args(args).output().expect("a program")
    }

    /// Runs it and says all that is not as it is for wrong usage, told with these words.
    fn refuses(&self, args: &[&OsStr], word: &str) -> Vec<String> {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut lines = errors.lines();
        let (first, second) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let hint = format!("Try '{} --help' for more information.", self.name);
        let begin = first
            .strip_prefix(&format!("{}: ", self.name))
            .unwrap_or("");
        let facts = [
            (output.status.code() == Some(2), "exit code 2"),
            (output.stdout.is_empty(), "nothing on stdout"),
            (
                begin.starts_with(|c: char| !c.is_uppercase()),
                "NAME: lower case",
            ),
            (!first.ends_with('.'), "no full stop"),
            (first.contains(word), "what is wrong"),
            (second == hint, "where to find help"),
            (lines.next().is_none(), "two lines"),
        ];
        let wrong = facts.iter().filter(|(holds, _)| !holds);
        wrong
            .map(|(_, fact)| {
                format!(
                    "{} {args:?}: no {fact}: {:?} {errors}",
                    self.name, output.status
                )
            })
            .collect()
    }
}

fn words<'a>(text: &[&'a str]) -> Vec<&'a OsStr> {
    text.iter().map(|&word| OsStr::new(word)).collect()
}

fn all_hold(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn each(check: impl Fn(&Program) -> Vec<String>) {
    all_hold(PROGRAMS.iter().flat_map(check).collect());
}

/// One line if the fact does not hold.
fn unless(holds: bool, program: &Program, what: &str, output: &Output) -> Vec<String> {
    match holds {
        true => Vec::new(),
        false => vec![format!("{}: {what}: {output:?}", program.name)],
    }
}

#[test]
fn help_teaches() {
    each(|program| {
        let short = program.run(&words(&["-h"]));
        let long = program.run(&words(&["--help"]));
        let text = String::from_utf8_lossy(&long.stdout);
        let page = format!("{}(", program.name);
        let holds = long.status.success()
            && short.stdout == long.stdout
            && long.stderr.is_empty()
            && text.starts_with(&format!("Usage: {}", program.name))
            && ["-h, --help", "-V, --version", &page]
                .iter()
                .all(|word| text.contains(word));
        unless(holds, program, "help", &long)
    });
}

#[test]
fn the_version_is_a_line() {
    each(|program| {
        let line = format!("{} {}\n", program.name, env!("CARGO_PKG_VERSION"));
        let outputs = ["-V", "--version", "--vers"].map(|option| program.run(&words(&[option])));
        let wrong = outputs
            .iter()
            .find(|output| output.stdout != line.as_bytes() || !output.status.success());
        wrong.map_or(Vec::new(), |output| {
            unless(false, program, "version", output)
        })
    });
}

#[test]
fn wrong_usage_is_explained() {
    let bad = OsStr::from_bytes(b"a\xff");
    each(|program| {
        let mut wrong = program.refuses(&words(&["--no-such-option"]), "'--no-such-option'");
        let mut given = words(program.needs);
        given.push(OsStr::new("-~"));
        wrong.extend(program.refuses(&given, "-"));
        let option = if program.daemon {
            "--pidfile"
        } else {
            "--socket"
        };
        let option = program.socket.unwrap_or(option);
        given.pop();
        given.push(OsStr::new(option));
        wrong.extend(program.refuses(&given, option));
        given.pop();
        // One operand more than there can be, and not even text.
        given.extend([bad; 4]);
        if program.name != "logtop" {
            wrong.extend(program.refuses(&given, ""));
        }
        wrong
    });
}

#[test]
fn what_must_be_given_is_named() {
    each(|program| match program.needs {
        // A daemon of a file.
        [] => Vec::new(),
        // Without a group there may be a file, or stdin; without a page all are counted.
        _ if matches!(program.name, "spreadlogd" | "logtop" | "online") => Vec::new(),
        _ => program.refuses(&[], ""),
    });
}

#[test]
fn the_last_value_counts() {
    each(|program| {
        let Some(option) = program.socket else {
            return Vec::new();
        };
        // logpub and logtop wait for a bus.
        if matches!(program.name, "logpub" | "logtop") {
            return Vec::new();
        }
        let mut given = words(program.needs);
        let last = format!("{option}=/nonexistent/second");
        given.extend(words(&[option, "/nonexistent/first", &last]));
        let output = program.run(&given);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let holds = errors.contains("/nonexistent/second")
            && !errors.contains("first")
            && errors
                .lines()
                .all(|line| line.starts_with(&format!("{}: ", program.name)))
            && output.stdout.is_empty()
            && output.status.code().is_some_and(|code| code >= 2);
        unless(holds, program, "nobody listens at the second one", &output)
    });
}

#[test]
fn an_empty_argument_is_no_default() {
    each(|program| {
        let mut given = words(program.needs);
        let option = match program.socket {
            None => "--pidfile=",
            Some("--control") => "--control=",
            // libspread's name of its default port.
            Some(_) => return Vec::new(),
        };
        given.push(OsStr::new(option));
        let output = program.run(&given);
        let errors = String::from_utf8_lossy(&output.stderr);
        let holds = !output.status.success() && errors.starts_with(&format!("{}: ", program.name));
        unless(holds, program, option, &output)
    });
}

#[test]
fn a_reader_who_goes_away_is_no_failure_and_a_full_disk_is_one() {
    each(|program| {
        let write_to = |option: &str, stdout: Stdio| {
            let mut command = program.command();
            command.arg(option).stdout(stdout).stderr(Stdio::piped());
            command.output().expect("a program")
        };
        let mut wrong = Vec::new();
        for option in ["--help", "--version"] {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let output = write_to(option, writer.into());
            let silent = output.status.success() && output.stderr.is_empty();
            wrong.extend(unless(silent, program, "a closed pipe", &output));
            let full = File::options().write(true).open("/dev/full");
            let output = write_to(option, full.expect("/dev/full").into());
            let message = format!("{}: cannot write to stdout: ", program.name);
            let said = output.stderr.starts_with(message.as_bytes());
            let holds = said && output.status.code() == Some(2);
            wrong.extend(unless(holds, program, "a full disk", &output));
        }
        wrong
    });
}

#[test]
fn closed_descriptors_are_no_files_of_ours() {
    each(|program| {
        let path = programs().join(program.name);
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).arg(&path).stdin(Stdio::null());
            command.output().expect("sh")
        };
        let mut wrong = Vec::new();
        for (script, code) in [
            ("exec \"$0\" --version <&-", 0),
            ("exec \"$0\" --version >&-", 0),
            ("exec \"$0\" --version <&- >&- 2>&-", 0),
            ("exec \"$0\" --no-such-option 2>&-", 2),
            ("exec \"$0\" --no-such-option <&- >&- 2>&-", 2),
        ] {
            let output = shell(script);
            let holds = output.status.code() == Some(code);
            wrong.extend(unless(holds, program, script, &output));
        }
        wrong
    });
}

#[test]
fn a_configuration_is_checked_without_being_used() {
    let scratch = Scratch::new("conduct-check");
    let file = |name: &str, text: &str| -> OsString {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.into()
    };
    let good = [
        (
            "groupd",
            "Spread_Segment 127.0.0.255:4803 { a 127.0.0.1 }\n",
        ),
        ("imgcache", "Site a { Origin = http://127.0.0.1/ }\n"),
        (
            "spreadlogd",
            "Spread { Log { Group = a File = /nonexistent/a } }\n",
        ),
        ("vipd", "VirtualInterfaces { lo:192.0.2.1/32 }\n"),
    ];
    let is_ok = |output: &Output| {
        output.stdout == b"configuration ok\n"
            && output.stderr.is_empty()
            && output.status.success()
    };
    let mut wrong = Vec::new();
    for program in PROGRAMS.iter().filter(|program| program.daemon) {
        let check = |args: &[&OsStr]| program.run(args);
        let Some((_, text)) = good.iter().find(|(name, _)| *name == program.name) else {
            let mut args = words(program.needs);
            args.push(OsStr::new("-t"));
            let output = check(&args);
            wrong.extend(unless(
                is_ok(&output),
                program,
                "a good command line",
                &output,
            ));
            continue;
        };
        let right = file("right.conf", text);
        let mistaken = file("wrong.conf", &format!("{text}\nWrng = 1\n}}\n"));
        let [t, c] = [OsStr::new("-t"), OsStr::new("-c")];
        // The last file counts.
        let output = check(&[c, &mistaken, t, c, &right]);
        wrong.extend(unless(is_ok(&output), program, "a good file", &output));
        let output = check(&[t, c, &mistaken]);
        let errors = String::from_utf8_lossy(&output.stderr);
        let begin = format!("{}: {}:", program.name, mistaken.to_string_lossy());
        let holds = output.status.code() == Some(2)
            && output.stdout.is_empty()
            && errors.lines().count() == 2
            && errors.lines().all(|line| line.starts_with(&begin))
            && errors.contains("unknown keyword \"Wrng\"");
        wrong.extend(unless(holds, program, "a file with two mistakes", &output));
        let missing = OsStr::from_bytes(b"/nonexistent/\xff");
        for path in [missing, OsStr::new("")] {
            let output = check(&[t, c, path]);
            let errors = String::from_utf8_lossy(&output.stderr);
            let said =
                errors.contains(": cannot read it: ") || errors.contains("'--config <FILE>'");
            let holds = output.status.code() == Some(2) && said;
            wrong.extend(unless(holds, program, "a file that is not there", &output));
        }
    }
    all_hold(wrong);
}
