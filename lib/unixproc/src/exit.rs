//! How a program ends: messages on stderr and exit codes.
//!
//! Tools: 0 done, 1 an honest no, 2 usage, configuration or fatal. Daemons: 0 after an orderly
//! stop, 1 a failure at run time, 2 usage or configuration, so that
//! `RestartPreventExitStatus=2` is right in a unit file.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Done, or stopped in order.
pub const DONE: u8 = 0;
/// A tool: the honest no, or some of the work failed. A daemon: a failure at run time.
pub const FAILED: u8 = 1;
/// Wrong usage or configuration; in a tool also whatever is fatal.
pub const USAGE: u8 = 2;

/// Why a program ends other than well, and with which code.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    /// None where the program ends without a word.
    message: Option<String>,
    usage: bool,
}

impl Failure {
    /// Ends with this code and this error's message, its causes joined with `: `.
    ///
    /// Each line of the message is printed behind the program's name, so that the errors of a
    /// configuration file can be one error.
    pub fn new(status: u8, error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure {
            status,
            message: Some(chain(&*error.into())),
            usage: false,
        }
    }

    /// Ends with [`FAILED`]: what a daemon could not do at run time.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::new(FAILED, error)
    }

    /// Ends with [`USAGE`]: a wrong configuration, or what is fatal to a tool.
    pub fn fatal(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::new(USAGE, error)
    }

    /// Ends with code 2 and a pointer to `--help`.
    ///
    /// Takes clap's rendered errors as they are: `error: ` is taken off, and what follows the
    /// first paragraph is left out.
    pub fn usage(message: &str) -> Failure {
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let paragraph = message.split("\n\n").next().unwrap_or_default();
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        Failure {
            status: USAGE,
            message: Some(words.join(" ")),
            usage: true,
        }
    }

    /// Writing to stdout failed: silent success if the reader has gone away, else code 2.
    pub fn stdout(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure {
                status: DONE,
                message: None,
                usage: false,
            };
        }
        Failure {
            status: USAGE,
            message: Some(format!("cannot write to stdout: {error}")),
            usage: false,
        }
    }

    /// The code that the program ends with.
    pub fn status(&self) -> u8 {
        self.status
    }

    fn print(&self, program: &str) {
        let Some(message) = &self.message else { return };
        let mut text = String::new();
        for line in message.lines() {
            text.push_str(&format!("{program}: {line}\n"));
        }
        if self.usage {
            text.push_str(&format!("Try '{program} --help' for more information.\n"));
        }
        // Nowhere to complain if stderr is gone; the code still tells.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Runs a program and makes its exit code; what failed is printed as `program: message`.
pub fn main(program: &str, run: impl FnOnce() -> Result<u8, Failure>) -> ExitCode {
    let status = run().unwrap_or_else(|failure| {
        failure.print(program);
        failure.status
    });
    ExitCode::from(status)
}

/// Writes text to stdout at once, and gives [`DONE`].
///
/// # Errors
/// As [`Failure::stdout`].
pub fn print(text: &str) -> Result<u8, Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Failure::stdout)?;
    Ok(DONE)
}

/// An error and its causes, joined with `: `.
///
/// A cause whose text already stands at the end is not repeated: some errors print their source.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_errors_lose_their_dress() {
        let failure = Failure::usage(
            "error: the following required arguments were not provided:\n  <GROUP>\n\nUsage: x <GROUP>\n",
        );
        assert_eq!(
            failure.message.as_deref(),
            Some("the following required arguments were not provided: <GROUP>")
        );
        assert_eq!(failure.status(), USAGE);
    }

    #[test]
    fn a_closed_stdout_is_no_failure() {
        let failure = Failure::stdout(io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.status(), failure.message), (DONE, None));
        let failure = Failure::stdout(io::ErrorKind::StorageFull.into());
        assert_eq!(failure.status(), USAGE);
        assert!(
            failure
                .message
                .is_some_and(|message| message.starts_with("cannot write to stdout: "))
        );
    }

    #[test]
    fn causes_are_joined() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("cannot open x")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure = Failure::new(FAILED, Outer(io::Error::other("no such thing")));
        assert_eq!(
            failure.message.as_deref(),
            Some("cannot open x: no such thing")
        );
    }
}
