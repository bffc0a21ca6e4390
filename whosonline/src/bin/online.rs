//! online: asks whosonline who is online.

#![forbid(unsafe_code)]

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use argh::{ArgsInfo, FromArgs};
use serde_json::Value;
use unixproc::argv;
use unixproc::exit::{self, Failure};

/// How long the daemon may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer, in bytes: more than a thousand users and pages take.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Ask whosonline who is online; without a page or option, how many.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "{command_name} --top 10",
    note = "See online(1)."
)]
struct Args {
    /// where whosonline listens; /run/whosonline/control if not given
    #[argh(option, short = 'c', arg_name = "path", default = "default_control()")]
    control: PathBuf,

    /// list at most so many; 30 if not given
    #[argh(option, short = 'n', arg_name = "n", default = "30")]
    number: usize,

    /// list the pages with most users, at most so many
    #[argh(option, arg_name = "n")]
    top: Option<usize>,

    /// say where this user is
    #[argh(option, arg_name = "name")]
    user: Option<String>,

    /// print the answer as JSON
    #[argh(switch)]
    json: bool,

    /// how many and who are on this page, newest first
    #[argh(positional)]
    page: Option<String>,
}

fn default_control() -> PathBuf {
    PathBuf::from("/run/whosonline/control")
}

fn main() -> ExitCode {
    exit::main("online", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = argv::from_env::<Args>("online", env!("CARGO_PKG_VERSION"))? else {
        return Ok(exit::DONE);
    };
    let question = question(&args).map_err(|message| Failure::usage(&message))?;
    let answer = ask(&args.control, &question).map_err(Failure::fatal)?;
    if let Some(error) = answer["error"].as_str() {
        return Err(Failure::fatal(format!("whosonline says: {error}")));
    }
    let text = match args.json {
        true => format!("{answer}\n"),
        false => report(&answer),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::stdout)?;
    Ok(if is_none(&answer) {
        exit::FAILED
    } else {
        exit::DONE
    })
}

fn question(args: &Args) -> Result<String, String> {
    let question = match (&args.page, args.top, &args.user) {
        (None, None, None) => "count".to_owned(),
        (Some(page), None, None) => format!("page {page} {}", args.number),
        (None, Some(count), None) => format!("top {count}"),
        (None, None, Some(name)) => format!("user {name}"),
        _ => return Err("a page, --top and --user exclude each other".to_owned()),
    };
    match question.contains('\n') {
        true => Err("no name has a newline in it".to_owned()),
        false => Ok(question),
    }
}

fn ask(control: &Path, question: &str) -> anyhow::Result<Value> {
    let place = || format!("cannot ask whosonline at {}", control.display());
    let mut stream = UnixStream::connect(control).with_context(place)?;
    stream.set_read_timeout(Some(TIMEOUT)).with_context(place)?;
    stream
        .set_write_timeout(Some(TIMEOUT))
        .with_context(place)?;
    stream
        .write_all(format!("{question}\n").as_bytes())
        .with_context(place)?;
    let mut line = Vec::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX))
        .read_until(b'\n', &mut line)
        .with_context(place)?;
    serde_json::from_slice(&line).context("the answer cannot be understood")
}

/// Whether the answer is that there is nobody.
fn is_none(answer: &Value) -> bool {
    let counts = [&answer["count"], &answer["users"]];
    let empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    counts.into_iter().any(|count| *count == 0)
        || empty(&answer["pages"])
        || answer.get("page").is_some_and(Value::is_null)
}

/// The answer as text: the number first, then a line for each user or page. Names come from
/// strangers, so they cannot steer a terminal.
fn report(answer: &Value) -> String {
    let name = |value: &Value| {
        value
            .as_str()
            .unwrap_or_default()
            .escape_debug()
            .to_string()
    };
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut text = String::new();
    if let Some(pages) = answer["pages"].as_array() {
        for page in pages {
            text += &format!("{:>8} {}\n", number(&page["users"]), name(&page["page"]));
        }
    } else if let Some(users) = answer["users"].as_array() {
        text += &format!("{}\n", answer["count"]);
        for user in users {
            text += &format!("{:>6}s {}\n", number(&user["age"]), name(&user["user"]));
        }
    } else if answer.get("users").is_some() {
        text += &format!("{}\n", answer["users"]);
    } else if !answer["page"].is_null() {
        text += &format!("{:>6}s {}\n", number(&answer["age"]), name(&answer["page"]));
    }
    text
}
