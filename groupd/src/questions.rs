//! Who asks at the control socket, and when it is answered.
//!
//! Answers are made by the loop that passes the token on. So one answer is small, whatever it is
//! about (see `report.rs`), and answers together take a fifth of the loop's time at most: after each
//! turn of an asker, nobody is answered for four times as long as that took.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use groupd::control::{Answer, Request};
use mio::{Registry, Token};
use status::ControlServer;
use totem::time::Time;

/// Time for other work, in units of the time that answers took.
const OTHERS_SHARE: u32 = 4;

/// The control socket, and those who wait at it.
pub(crate) struct Questions {
    server: ControlServer,
    /// Tokens with something to do, in the order in which they came, each once.
    // Bound: the server's tokens.
    waiting: VecDeque<Token>,
    next_at: Time,
}

impl Questions {
    /// Nobody waits.
    pub(crate) fn new(server: ControlServer) -> Questions {
        Questions {
            server,
            waiting: VecDeque::new(),
            next_at: Time(0),
        }
    }

    /// Whether an event with this token belongs here.
    pub(crate) fn owns(&self, token: Token) -> bool {
        self.server.tokens().contains(&token.0)
    }

    /// Puts an asker in the line.
    pub(crate) fn note(&mut self, token: Token) {
        if !self.waiting.contains(&token) {
            self.waiting.push_back(token);
        }
    }

    /// When [`serve`](Self::serve) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(self.next_at)
    }

    /// Gives the first in the line its turn, if it is time.
    pub(crate) fn serve(
        &mut self,
        now: Time,
        registry: &Registry,
        answer: impl FnMut(Request) -> Answer,
    ) -> io::Result<()> {
        if now < self.next_at {
            return Ok(());
        }
        let Some(token) = self.waiting.pop_front() else {
            return Ok(());
        };
        let begun = Instant::now();
        let result = self.server.handle_event(registry, token, answer);
        self.next_at = now + begun.elapsed() * (1 + OTHERS_SHARE);
        result
    }
}
