//! The way to the loggers without a spool: sends what the outbox says, hears its own markers.

use std::sync::Arc;
use std::time::Instant;

use group::{
    Address, Event, GroupName, Message, Options, ReceiveError, SendError, Service, Session,
};
use mio::{Registry, Token, Waker};
use weblog::stream::{Outbox, Outgoing};

use crate::connection::Connection;

/// Messages are handed to the socket in batches of about this size.
const BATCH_BYTES: usize = 128 << 10;

/// The way to the loggers.
#[derive(Debug)]
pub(crate) struct Bus {
    connection: Connection,
    group: GroupName,
    readable: bool,
}

impl Bus {
    /// Not connected yet; events of the session will have this token.
    pub(crate) fn new(address: Address, group: GroupName, token: Token, waker: Arc<Waker>) -> Bus {
        let mut options = Options::new(address);
        // A name that is too long is left to the daemon.
        options.name = format!("lp{}", std::process::id()).parse().ok();
        Bus {
            connection: Connection::new(options, token, waker),
            group,
            readable: false,
        }
    }

    /// Whether there is a session.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_connected()
    }

    /// When the next attempt to connect is due, if there is neither a session nor an attempt.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.connection.retry_at()
    }

    /// Takes note of an event of the session's descriptor.
    pub(crate) fn handle_event(&mut self) {
        self.readable = true;
    }

    /// Goes on with opening the session.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        self.readable |= self.connection.connect(registry, now);
    }

    /// Sends and receives what can be; gives how many bytes of input are newly confirmed.
    pub(crate) fn work(&mut self, outbox: &mut Outbox, now: Instant) -> u64 {
        let Some(session) = self.connection.session() else {
            return 0;
        };
        let mut confirmed = 0;
        let result = receive(session, &mut self.readable, outbox, &mut confirmed)
            .and_then(|()| send(session, self.group, outbox));
        if confirmed > 0 {
            self.connection.prove();
        }
        if let Err(error) = result {
            self.connection.lose(&error, now);
            outbox.handle_bus_lost();
        }
        confirmed
    }

    /// Ends the session in order.
    pub(crate) fn disconnect(&mut self) {
        self.connection.disconnect();
    }
}
/// Takes what the daemon has for us: our own markers, and perhaps what others send us, which is
/// ignored.
fn receive(
    session: &mut Session,
    readable: &mut bool,
    outbox: &mut Outbox,
    confirmed: &mut u64,
) -> Result<(), anyhow::Error> {
    while *readable {
        match session.try_receive() {
            Ok(Some(Event::Message(message))) => {
                if let Some(number) = marker(&message, session) {
                    *confirmed += outbox.handle_marker(number);
                }
            }
            Ok(Some(_)) | Err(ReceiveError::Membership(_)) => {}
            Ok(None) => *readable = false,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The number of a marker, if the message is one of ours.
fn marker(message: &Message, session: &Session) -> Option<u64> {
    let own = message.sender == session.private_group();
    let number = <[u8; 8]>::try_from(&message.data[..]).ok()?;
    own.then(|| u64::from_be_bytes(number))
}

fn send(session: &mut Session, group: GroupName, outbox: &mut Outbox) -> Result<(), anyhow::Error> {
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
