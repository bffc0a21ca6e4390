//! Requests to a spreadlogd that runs: its control socket, and the tool's side of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use unixproc::exit::{self, Failure};

use crate::config::Config;

/// How long the tool waits.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A line of the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Request {
    /// Give up the logger of this name, in all groups.
    Forget(String),
}

/// The answer to a request that was fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The groups in whose logs it was put in order.
    pub(crate) groups: Vec<String>,
    /// The groups in whose logs it stands already, and the logger has not been back since.
    pub(crate) already: Vec<String>,
}

/// Either.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    Done(Answer),
    Failed(status::Failure),
}

/// Where a spreadlogd with this configuration listens; none without Loggers.
pub(crate) fn socket(config: &Config) -> Option<PathBuf> {
    Some(config.keep.as_ref()?.state_dir.join("control"))
}

/// `spreadlogd forget NAME`
///
/// # Errors
/// Nobody listens, or the loggers refuse.
pub(crate) fn forget(config: &Config, name: &str) -> Result<u8, Failure> {
    let path = socket(config)
        .ok_or_else(|| Failure::usage("forget needs a configuration with Loggers"))?;
    let answer = ask(&path, &Request::Forget(name.to_owned()))?;
    let mut text = String::new();
    if !answer.groups.is_empty() {
        text += &format!("{name} is forgotten in: {}\n", answer.groups.join(", "));
    }
    if !answer.already.is_empty() {
        let groups = answer.already.join(", ");
        text += &format!("{name} was forgotten already in: {groups}\n");
    }
    exit::print(&text)
}

fn ask(path: &Path, request: &Request) -> Result<Answer, Failure> {
    status::call(path, request, TIMEOUT).map_err(|error| match error {
        status::CallError::Refused(reason) => Failure::failed(reason),
        error => Failure::fatal(format!("{}: {error}", path.display())),
    })
}
