//! The way to the loggers without a spool: sends what the outbox says, hears its own markers.

use std::time::Instant;

use group::{
    Address, Event, GroupName, Link, Message, Name, Options, Received, SendError, Service, Session,
};
use mio::event;
use mio::{Registry, Token};
use unixproc::log;
use weblog::stream::{Outbox, Outgoing};

/// Messages are handed to the socket in batches of about this size.
const BATCH_BYTES: usize = 128 << 10;

/// Bound: events taken from the session before the input has its turn.
const EVENTS_MAX: usize = 256;

/// The way to the loggers.
#[derive(Debug)]
pub(crate) struct Bus {
    link: Link,
    group: GroupName,
}

impl Bus {
    /// Not connected yet; events of the session will have this token.
    pub(crate) fn new(address: Address, group: GroupName, token: Token, now: Instant) -> Bus {
        let mut options = Options::new(address);
        options.name = format!("lp{}", std::process::id()).parse().ok();
        Bus {
            link: Link::new(options, b"lp", token, now),
            group,
        }
    }

    /// Whether there is a session.
    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// When [`connect`](Self::connect) is due, unless an event comes before.
    pub(crate) fn connect_at(&self) -> Option<Instant> {
        self.link.connect_at()
    }

    /// Whether there may be something to receive at once.
    pub(crate) fn is_readable(&self) -> bool {
        self.link.is_readable()
    }

    /// Takes note of an event of the session's descriptor.
    pub(crate) fn handle_event(&mut self, event: &event::Event) {
        self.link.handle_event(event);
    }

    /// Goes on with opening the session.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        self.link.connect(registry, now);
    }

    /// Sends and receives what can be; gives how many bytes of input are newly confirmed.
    pub(crate) fn work(&mut self, outbox: &mut Outbox, now: Instant) -> u64 {
        let confirmed = self.receive(outbox, now);
        if let Some(session) = self.link.session()
            && let Err(error) = send(session, self.group, outbox)
        {
            self.link.lose(&error, now);
            outbox.handle_bus_lost();
        }
        confirmed
    }

    /// Takes what the daemon has for us: our own markers, and perhaps what others send us, which
    /// is ignored.
    fn receive(&mut self, outbox: &mut Outbox, now: Instant) -> u64 {
        let own = self.link.private_group();
        let mut confirmed = 0;
        for _ in 0..EVENTS_MAX {
            match self.link.receive(now) {
                Some(Received::Event(Event::Message(message))) => {
                    if let Some(number) = marker(&message, own) {
                        confirmed += outbox.handle_marker(number);
                    }
                }
                Some(Received::Event(_)) => {}
                Some(Received::Lost) => outbox.handle_bus_lost(),
                None => break,
            }
        }
        confirmed
    }

    /// Ends the session in order.
    pub(crate) fn disconnect(&mut self, now: Instant) {
        disconnect(&mut self.link, now);
    }
}

/// Ends a link's session in order; waits for the daemon.
pub(crate) fn disconnect(link: &mut Link, now: Instant) {
    if let Some(session) = link.close(now)
        // Everything is confirmed, or given up: how the session ends does not matter.
        && let Err(error) = session.disconnect()
    {
        log::debug("disconnect", &[("error", &error)]);
    }
}

/// The number of a marker, if the message is one of ours.
fn marker(message: &Message, own: Option<Name>) -> Option<u64> {
    let number = <[u8; 8]>::try_from(&message.data[..]).ok()?;
    (own == Some(message.sender)).then(|| u64::from_be_bytes(number))
}

fn send(session: &mut Session, group: GroupName, outbox: &mut Outbox) -> Result<(), SendError> {
    session.flush()?;
    while !session.wants_write() {
        let mut batch_bytes = 0;
        while batch_bytes < BATCH_BYTES {
            let Some(message) = outbox.poll_send() else {
                break;
            };
            batch_bytes += queue(session, group, message)?;
        }
        if batch_bytes == 0 {
            break;
        }
        session.flush()?;
    }
    Ok(())
}

/// Queues one message; gives about how many bytes it takes.
fn queue(session: &mut Session, group: GroupName, message: Outgoing) -> Result<usize, SendError> {
    const OVERHEAD: usize = 80; // a header and one group's name
    match message {
        Outgoing::Data(data) => {
            session.queue(Service::Agreed, &[group], 0, &data)?;
            Ok(data.len() + OVERHEAD)
        }
        Outgoing::Marker(number) => {
            session.queue(
                Service::Agreed,
                &[session.private_group()],
                0,
                &number.to_be_bytes(),
            )?;
            Ok(OVERHEAD)
        }
    }
}
