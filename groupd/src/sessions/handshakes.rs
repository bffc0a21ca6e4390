//! Sessions that are not open yet: their names, their deadlines, and how they become open.

use std::os::fd::AsRawFd;

use group::handshake::{Reject, STEP_TIMEOUT};
use group::name::PrivateName;
use totem::groups::SessionId;
use totem::time::Time;
use unixproc::log;

use super::{Event, Sessions};
use crate::session::{Session, Step};

impl Sessions {
    /// Does what a handshake, or the end of a session, asks for.
    pub(super) fn handshake_step(&mut self, id: SessionId, step: Step, now: Time) -> Option<Event> {
        match step {
            Step::Name(wanted) => {
                let Some(name) = self.choose_name(id, wanted) else {
                    self.close(id, "name-in-use", Some(Reject::NotUnique));
                    return None;
                };
                self.names.insert(name, id);
                self.deadlines.push_back((now + STEP_TIMEOUT, id, true));
                let next = self.get(id).map(|session| session.admit(name))?;
                return self.handshake_step(id, next, now);
            }
            Step::Reply(reply) => self.send_bytes(&[id], &reply),
            Step::Known { name, membership } => {
                return Some(Event::Named {
                    id,
                    name,
                    membership,
                });
            }
            Step::Over { reason, reply } => self.close(id, reason, reply),
            Step::Idle | Step::Later | Step::Request(..) => {}
        }
        None
    }

    /// A name that is free: the one wanted, or an invented one as Spread invents them.
    fn choose_name(&mut self, id: SessionId, wanted: Option<PrivateName>) -> Option<PrivateName> {
        if let Some(name) = wanted {
            return (!self.names.contains_key(&name)).then_some(name);
        }
        let fd = self.get(id)?.stream.as_raw_fd();
        // Bound: names have nine characters, and the table is far smaller than what they can say.
        loop {
            let mut name = format!("r{}-{fd}", rand::random_range(0..9999));
            name.truncate(9);
            let name: PrivateName = name.parse().ok()?;
            if !self.names.contains_key(&name) {
                return Some(name);
            }
        }
    }

    /// Tells a client that its session is open.
    pub(crate) fn open(&mut self, id: SessionId) {
        let Some(session) = self.get(id) else { return };
        let reply = session.open();
        let private_group = session.private_group();
        self.handshaking -= 1;
        self.send_bytes(&[id], &reply);
        // Messages may have come right behind the handshake.
        self.enter_line(id);
        log::info("session-opened", &[("session", &private_group)]);
    }

    /// Puts off a session whose name is not free yet in the groups.
    pub(crate) fn keep_waiting(&mut self, id: SessionId, name: PrivateName, membership: bool) {
        self.waiting.push_back((id, name, membership));
    }

    /// Lets [`poll`](Self::poll) announce those again that had to wait: names may be free now.
    pub(crate) fn retry_waiting(&mut self) {
        self.announced.append(&mut self.waiting);
    }

    /// Ends the handshakes that take too long.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if self.held_since.is_some() {
            return;
        }
        while let Some((time, id)) = self.oldest_handshake()
            && time <= now
        {
            self.end_handshake(id, "handshake-timeout");
        }
    }

    /// The handshake whose step has to be done first; forgets the deadlines of those that are done.
    pub(super) fn oldest_handshake(&mut self) -> Option<(Time, SessionId)> {
        while let Some(&(time, id, named)) = self.deadlines.front() {
            let same_step =
                |session: &mut Session| !session.is_open() && session.name().is_some() == named;
            if self.get(id).is_some_and(same_step) {
                return Some((time, id));
            }
            self.deadlines.pop_front();
        }
        None
    }

    pub(super) fn end_handshake(&mut self, id: SessionId, reason: &str) {
        let reply = self.get(id).and_then(|session| session.give_up());
        self.close(id, reason, reply);
    }
}
