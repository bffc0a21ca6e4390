//! The session with groupd, with the names that the guardian needs.

use std::time::{Duration, Instant};

use group::{Address, GroupName, Link, Name, Options, Received, Service};
use mio::{Registry, Token, event};

/// The daemon's session.
#[derive(Debug)]
pub(crate) struct Bus {
    link: Link,
    group: GroupName,
}

impl Bus {
    /// Not connected yet; events of the session will have this token.
    pub(crate) fn new(address: Address, group: GroupName, token: Token) -> Bus {
        let mut options = Options::new(address);
        options.membership = true;
        // Without a name of its own each session has one that no other had: a guardian speaks of
        // one session, and of no later one.
        let mut link = Link::new(options, b"v", token, Instant::now());
        link.join(group);
        Bus { link, group }
    }

    /// Sets the longest pause between attempts to connect, and how long the addresses stay without a
    /// session: until then attempts come quickly, whatever the pause is.
    pub(crate) fn set_pauses(&mut self, pause_max: Duration, grace: Duration) {
        self.link.set_pause_max(pause_max);
        self.link.set_hurry(grace);
    }

    /// When [`connect`](Self::connect) is due, unless an event comes before.
    pub(crate) fn connect_at(&self) -> Option<Instant> {
        self.link.connect_at()
    }

    /// The session's own name.
    pub(crate) fn own_name(&self) -> Option<Name> {
        self.link.private_group()
    }

    /// Whether there may be something to read at once.
    pub(crate) fn is_readable(&self) -> bool {
        self.link.is_readable()
    }

    /// Takes note of an event of the session's descriptor.
    pub(crate) fn handle_event(&mut self, event: &event::Event) {
        self.link.handle_event(event);
    }

    /// Goes on with opening the session if there is none.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        self.link.connect(registry, now);
    }

    /// The next thing that has come; none until there is more.
    pub(crate) fn receive(&mut self, now: Instant) -> Option<Received> {
        self.link.receive(now)
    }

    /// Sends to the group, in the one order; false if the session is lost by that.
    pub(crate) fn send(&mut self, data: &[u8]) -> bool {
        self.send_to(self.group, 0, data)
    }

    /// Sends to a group with a type of message; false if the session is lost by that.
    pub(crate) fn send_to(&mut self, group: GroupName, kind: u16, data: &[u8]) -> bool {
        let Some(session) = self.link.session() else {
            return true;
        };
        let result = session.multicast(Service::Agreed, &[group], kind, data);
        if let Err(error) = &result {
            self.link.lose(error, Instant::now());
        }
        result.is_ok()
    }

    /// Ends the session; it is opened again after a while.
    pub(crate) fn drop_session(&mut self) {
        self.link.close(Instant::now());
    }
}
