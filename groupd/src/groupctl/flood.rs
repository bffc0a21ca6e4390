//! `flood`: a benchmark that needs nothing but the client protocol.
//!
//! Members wait for each other, then every sender sends its messages, at most a window of them on
//! their way, and in the end one that says how many they were. A member is done when it has seen
//! the end of every sender: so each counts the messages of all, and knows if one was lost.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use group::{Event, Membership, Message, Name, SendError, Service, Session};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use unixproc::exit::{DONE, Failure, print};

use crate::args::{Flood, Place};
use crate::report::{Latencies, Received, Report};

/// Message type of a sender's last message; its data is the number of those before it.
const END: u16 = 1;

/// Events taken before it is time to send again.
const EVENTS_PER_TURN: usize = 1024;

pub(crate) fn run(place: &Place, args: &Flood) -> Result<u8, Failure> {
    let session = place.connect(!args.send_only)?;
    let report = measure(session, args).map_err(Failure::failed)?;
    let text = if args.json {
        format!("{}\n", report.json())
    } else {
        report.text()
    };
    print(&text)?;
    Ok(DONE)
}

/// One client of the benchmark.
struct Client<'a> {
    args: &'a Flood,
    session: Session,
    data: Vec<u8>,
    /// When all members were there.
    start: Option<Instant>,
    sent: u64,
    /// Whether the own end is sent, or none is due.
    ended: bool,
    /// When each own message on its way was queued. Bound: the window.
    in_flight: VecDeque<Instant>,
    latencies: Latencies,
    received: Received,
    senders: Vec<Sender>,
    senders_done: u32,
    members: Vec<Name>,
}

/// What was received from one session.
struct Sender {
    name: Name,
    received: u64,
    ended: bool,
}

fn measure(session: Session, args: &Flood) -> anyhow::Result<Report> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(4);
    let mut client = Client::new(session, args);
    client.session.set_nonblocking(true)?;
    let fd = client.session.as_raw_fd();
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry()
        .register(&mut SourceFd(&fd), Token(0), interest)?;
    if args.send_only {
        client.start = Some(Instant::now());
    } else {
        client.session.join(args.group)?;
    }
    loop {
        let drained = client.receive()?;
        // After receiving, which opens the window: who waits with an open window waits for ever.
        client.send()?;
        if client.is_done() {
            return client.finish();
        }
        if drained {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => result?,
            }
        }
    }
}

impl<'a> Client<'a> {
    fn new(session: Session, args: &'a Flood) -> Client<'a> {
        Client {
            args,
            session,
            data: vec![b'x'; args.bytes as usize],
            start: None,
            sent: 0,
            ended: args.receive_only,
            in_flight: VecDeque::new(),
            latencies: Latencies::default(),
            received: Received::default(),
            senders: Vec::new(),
            senders_done: 0,
            members: Vec::new(),
        }
    }

    /// Queues and writes until the window is closed, the daemon takes no more, or all is sent.
    fn send(&mut self) -> anyhow::Result<()> {
        if self.start.is_none() {
            return Ok(());
        }
        while !self.ended && self.window_is_open() {
            match self.queue_next() {
                Err(SendError::Full) => {
                    self.session.flush()?;
                    if self.session.wants_write() {
                        return Ok(());
                    }
                }
                result => result?,
            }
        }
        Ok(self.session.flush()?)
    }

    /// Queues the next message, or the end.
    fn queue_next(&mut self) -> Result<(), SendError> {
        let group = [self.args.group];
        if self.sent == u64::from(self.args.messages) {
            // Agreed, so that it comes after everything of this sender in any service.
            let count = self.sent.to_be_bytes();
            self.session.queue(Service::Agreed, &group, END, &count)?;
            self.ended = true;
            return Ok(());
        }
        self.session
            .queue(self.args.service, &group, 0, &self.data)?;
        self.sent += 1;
        if !self.args.send_only {
            self.in_flight.push_back(Instant::now());
        }
        Ok(())
    }

    fn window_is_open(&self) -> bool {
        self.in_flight.len() < self.args.window as usize
    }

    /// Takes a share of what arrived; true if there is nothing more.
    fn receive(&mut self) -> anyhow::Result<bool> {
        for _ in 0..EVENTS_PER_TURN {
            match self.session.try_receive()? {
                None => return Ok(true),
                Some(Event::Message(message)) => self.count(&message)?,
                Some(Event::Membership(membership)) => self.see(membership)?,
                Some(Event::Refused { .. }) => bail!("the daemon's policy forbids it"),
                Some(Event::Transition { .. } | Event::SelfLeave { .. }) => {}
            }
            if self.is_done() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn see(&mut self, membership: Membership) -> anyhow::Result<()> {
        if self.start.is_some() {
            let gone = self
                .members
                .iter()
                .find(|name| !membership.members.contains(name));
            if let Some(name) = gone {
                bail!("{name} left before all messages were there");
            }
        } else if membership.members.len() >= self.args.members as usize {
            self.start = Some(Instant::now());
        }
        self.members = membership.members;
        Ok(())
    }

    fn count(&mut self, message: &Message) -> anyhow::Result<()> {
        if self.start.is_none() {
            // Somebody else's flood is under way, or its last messages are.
            return Ok(());
        }
        let end = message.mess_type == END;
        if message.sender == self.session.private_group() && !end {
            let queued = self
                .in_flight
                .pop_front()
                .context("own messages came more than once")?;
            self.latencies.add(queued.elapsed());
        }
        let sender = self.sender(message.sender);
        ensure!(
            !sender.ended,
            "messages of {} came after its last one",
            message.sender
        );
        if !end {
            sender.received += 1;
            self.received.messages += 1;
            self.received.bytes += message.data.len() as u64;
            return Ok(());
        }
        sender.ended = true;
        let received = sender.received;
        let count = message
            .data
            .first_chunk()
            .map(|count| u64::from_be_bytes(*count));
        let count = count.context("another program sends to the group")?;
        ensure!(
            count == received,
            "{received} of {count} messages of {} were received",
            message.sender
        );
        self.senders_done += 1;
        Ok(())
    }

    fn sender(&mut self, name: Name) -> &mut Sender {
        let known = self.senders.iter().position(|sender| sender.name == name);
        let index = known.unwrap_or_else(|| {
            self.senders.push(Sender {
                name,
                received: 0,
                ended: false,
            });
            self.senders.len() - 1
        });
        &mut self.senders[index]
    }

    fn senders_due(&self) -> u32 {
        self.args.senders.unwrap_or(self.args.members)
    }

    fn is_done(&self) -> bool {
        if self.args.send_only {
            return self.ended && !self.session.wants_write();
        }
        self.ended && self.senders_done >= self.senders_due()
    }

    fn finish(self) -> anyhow::Result<Report> {
        let start = self.start.context("nothing was measured")?;
        let elapsed = start.elapsed();
        let report = Report {
            group: self.args.group.to_string(),
            service: self.args.service.as_str(),
            bytes: self.args.bytes,
            members: self.args.members,
            senders: self.senders_due(),
            sent: self.sent,
            received: (!self.args.send_only).then_some(self.received),
            elapsed,
            latencies: self.latencies,
        };
        self.session.disconnect()?;
        Ok(report)
    }
}
