//! Requests about kept logs.

use anyhow::Context as _;
use mio::Token;
use status::ControlServer;
use unixproc::log;

use super::{Daemon, FIRST_CONTROL};
use crate::kept::KeptLog;
use crate::request::{self, Answer, Reply, Request};

impl Daemon {
    /// Listens for requests about kept logs.
    pub(super) fn listen(&mut self) -> anyhow::Result<()> {
        if let Some(path) = request::socket(&self.config) {
            let server = ControlServer::bind(&path, 0o600, self.poll.registry(), FIRST_CONTROL)
                .with_context(|| path.display().to_string())?;
            self.control = Some(server);
        }
        Ok(())
    }

    /// Answers a request, if the event is one's.
    pub(super) fn answer(&mut self, token: Token) {
        let Some(control) = &mut self.control else {
            return;
        };
        if !control.tokens().contains(&token.0) {
            return;
        }
        let kept = &mut self.kept;
        let answer = |Request::Forget(name): Request| forget(kept, &name);
        if let Err(error) = control.handle_event(self.poll.registry(), token, answer) {
            log::warning("control-failed", &[("error", &error)]);
        }
    }
}

/// Gives up a logger in every group where that is possible.
fn forget(kept: &mut [KeptLog], name: &str) -> Reply {
    let mut groups = Vec::new();
    let mut already = Vec::new();
    let mut errors = Vec::new();
    for kept in kept {
        let group = kept.group().to_string();
        match kept.forget(name) {
            Ok(false) => groups.push(group),
            Ok(true) => already.push(group),
            Err(error) => errors.push(format!("{group}: {error}")),
        }
    }
    match errors.is_empty() {
        true => Reply::Done(Answer { groups, already }),
        false => Reply::Failed(status::Failure {
            error: errors.join("; "),
        }),
    }
}
