//! From a lane to the loggers: one session, and one lane at a time.

use std::io;
use std::time::Instant;

use bytes::BytesMut;
use group::{
    Address, Cause, Event, GroupName, Link, Name, Options, PrivateName, Received, SendError,
    Service,
};
use mio::event;
use mio::{Registry, Token};
use unixproc::log;
use weblog::stream::{
    Gap, LINE_BREAK_BYTES, PUBLISHER_MARK, Publisher, PublisherAction, SessionName,
};

use crate::bus::disconnect;
use crate::publisher::REPORT_INTERVAL;
use crate::spool::{Contents, LaneReader, hex};

/// Bound: events taken from a session before the input has its turn.
const EVENTS_MAX: usize = 256;

/// A session that publishes lanes.
#[derive(Debug)]
pub(crate) struct Outlet {
    link: Link,
    group: GroupName,
    /// The group of what is not log lines.
    control: GroupName,
    /// Who is in the control group, as far as this session knows.
    members: Option<Vec<SessionName>>,
    lane: Option<Lane>,
    /// Lines of all lanes that were too long, and were broken.
    broken_lines: u64,
    throttle: log::Throttle,
    buffer: BytesMut,
}

/// A lane that is being published.
#[derive(Debug)]
struct Lane {
    reader: LaneReader,
    machine: Publisher,
}

impl Outlet {
    /// Not connected yet. `suffix` makes the private name another one than that of this process's
    /// other outlet.
    ///
    /// # Errors
    /// The group's name is too long for a control group.
    pub(crate) fn new(
        address: Address,
        group: GroupName,
        suffix: &str,
        token: Token,
        now: Instant,
    ) -> anyhow::Result<Outlet> {
        let control = GroupName::new(&[group.name().as_bytes(), b"~"].concat())?;
        let mut options = Options::new(address);
        options.membership = true;
        let mark = char::from(PUBLISHER_MARK);
        let name = format!("{mark}{}{suffix}", std::process::id());
        options.name = Some(PrivateName::new(name.as_bytes())?);
        let mut link = Link::new(options, &[PUBLISHER_MARK], token, now);
        link.join(control);
        Ok(Outlet {
            link,
            group,
            control,
            members: None,
            lane: None,
            broken_lines: 0,
            throttle: log::Throttle::new(REPORT_INTERVAL),
            buffer: BytesMut::new(),
        })
    }

    /// Takes a lane to publish; gives what there is of it.
    ///
    /// # Errors
    /// The lane cannot be read.
    pub(crate) fn open(&mut self, mut reader: LaneReader) -> io::Result<Contents> {
        let contents = reader.contents()?;
        let stream = reader.identity().stream;
        for gap in &contents.damage {
            let fields: log::Fields = &[
                ("lane", &hex(stream)),
                ("offset", &gap.start),
                ("bytes", &(gap.end - gap.start)),
            ];
            log::error("lane-damaged", fields);
        }
        let mut machine = Publisher::new(stream, contents.acknowledged);
        tell(&mut machine, &contents.gaps, contents.whole);
        if let Some(members) = &self.members {
            machine.handle_membership(members, true);
        }
        self.lane = Some(Lane { reader, machine });
        Ok(contents)
    }

    /// Gives the lane away.
    pub(crate) fn close(&mut self) -> Option<LaneReader> {
        self.lane.take().map(|lane| lane.reader)
    }

    /// The lane that is being published.
    pub(crate) fn lane(&self) -> Option<&LaneReader> {
        self.lane.as_ref().map(|lane| &lane.reader)
    }

    /// Everything of the lane before this offset is acknowledged; none without a lane.
    pub(crate) fn acknowledged(&self) -> Option<u64> {
        self.lane.as_ref().map(|lane| lane.machine.acknowledged())
    }

    /// Everything of the lane before this offset has been handed to the bus; none without a lane.
    pub(crate) fn published(&self) -> Option<u64> {
        self.lane.as_ref().map(|lane| lane.machine.published())
    }

    /// Lines that were too long, and were broken, since the start.
    pub(crate) fn broken_lines(&self) -> u64 {
        self.broken_lines
    }

    /// Bytes of whole lines that are not acknowledged.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.lane
            .as_ref()
            .map_or(0, |lane| lane.machine.waiting_bytes())
    }

    /// Whether there is a lane, and everything of it that is to be published is acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        self.lane
            .as_ref()
            .is_some_and(|lane| lane.machine.is_drained())
    }

    /// More of the lane is to be published: these gaps, and whole lines up to this offset.
    pub(crate) fn handle_spooled(&mut self, gaps: &[Gap], whole: u64) {
        if let Some(lane) = &mut self.lane {
            tell(&mut lane.machine, gaps, whole);
        }
    }

    /// Whether there is a session.
    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// When [`work`](Self::work) is due for the session's sake, unless an event comes before.
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

    /// Connects, receives and sends what can be; gives whether anything was acknowledged.
    ///
    /// # Errors
    /// The lane cannot be read; it is the session's troubles that are not errors.
    pub(crate) fn work(&mut self, registry: &Registry, now: Instant) -> io::Result<bool> {
        self.link.connect(registry, now);
        let before = self.acknowledged();
        self.receive(now);
        match self.send() {
            Err(Trouble::Session(error)) => {
                self.link.lose(&error, now);
                self.forget_session();
            }
            Err(Trouble::Lane(error)) => return Err(error),
            Ok(()) => {}
        }
        Ok(self.acknowledged() > before)
    }

    fn forget_session(&mut self) {
        self.members = None;
        if let Some(lane) = &mut self.lane {
            lane.machine.handle_disconnected();
        }
    }

    /// Ends the session without a word, as nothing is under way.
    pub(crate) fn hang_up(&mut self, now: Instant) {
        self.link.close(now);
        self.members = None;
    }

    /// Ends the session in order.
    pub(crate) fn disconnect(&mut self, now: Instant) {
        disconnect(&mut self.link, now);
        self.members = None;
    }

    fn receive(&mut self, now: Instant) {
        for _ in 0..EVENTS_MAX {
            match self.link.receive(now) {
                Some(Received::Event(event)) => self.handle(event),
                Some(Received::Lost) => self.forget_session(),
                None => return,
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Membership(membership) if membership.group == self.control.name() => {
                let members: Vec<SessionName> = membership
                    .members
                    .iter()
                    .map(|member| member.as_bytes().into())
                    .collect();
                if let Some(lane) = &mut self.lane {
                    let network = membership.cause == Cause::Network;
                    lane.machine.handle_membership(&members, network);
                }
                self.members = Some(members);
            }
            Event::Message(message) => {
                if let Some(lane) = &mut self.lane {
                    let sender: Name = message.sender;
                    lane.machine
                        .handle_control(sender.as_bytes(), &message.data);
                }
            }
            // Memberships of other groups, transitions, refusals: nothing that a publisher judges.
            _ => {}
        }
    }

    /// Does what the lane's state asks for, while the session takes it.
    fn send(&mut self) -> Result<(), Trouble> {
        while let Some(lane) = &mut self.lane {
            if let Some(session) = self.link.session() {
                session.flush().map_err(Trouble::Session)?;
                if session.wants_write() {
                    return Ok(());
                }
            }
            let Some(action) = lane.machine.poll_action() else {
                return Ok(());
            };
            let message = match action {
                PublisherAction::Read { offset, length } => {
                    self.buffer.resize(length, 0);
                    let bytes = &mut self.buffer[..];
                    lane.reader.read(offset, bytes).map_err(Trouble::Lane)?;
                    let broken = lane.machine.broken_lines();
                    lane.machine
                        .handle_read(offset, self.buffer.split().freeze());
                    if lane.machine.broken_lines() > broken {
                        self.report_broken(offset);
                    }
                    continue;
                }
                PublisherAction::Acknowledged(end) => {
                    lane.reader.acknowledge(end).map_err(Trouble::Lane)?;
                    continue;
                }
                PublisherAction::Control(data) => (self.control, 0, data),
                PublisherAction::Data { hint, data } => (self.group, hint, data),
            };
            let (group, hint, data) = message;
            if let Some(session) = self.link.session() {
                // Everything queued before is written, so there is room.
                let queued = session.queue(Service::Agreed, &[group], hint, &data);
                queued.map_err(Trouble::Session)?;
            }
        }
        Ok(())
    }

    /// A line was broken near this offset of the lane.
    fn report_broken(&mut self, offset: u64) {
        self.broken_lines += 1;
        if let Some(repeated) = self.throttle.admit(Instant::now()) {
            let lane = self.lane().map(|reader| reader.identity().name());
            let fields: log::Fields = &[
                ("lane", &lane.unwrap_or_default()),
                ("offset", &offset),
                ("at-bytes", &LINE_BREAK_BYTES),
                ("repeated", &repeated),
            ];
            log::warning("line-broken", fields);
        }
    }
}

/// Why an outlet stops in the middle.
enum Trouble {
    /// The session is of no use any more.
    Session(SendError),
    /// The lane cannot be read or kept.
    Lane(io::Error),
}

fn tell(machine: &mut Publisher, gaps: &[Gap], whole: u64) {
    for &gap in gaps {
        machine.handle_spooled(gap.start);
        machine.handle_gap(gap);
    }
    machine.handle_spooled(whole);
}

/// Says that a lane cannot be used.
pub(crate) fn report_lane(reader: Option<&LaneReader>, error: &io::Error) {
    let lane = reader.map(|reader| reader.identity().name());
    let fields: log::Fields = &[("lane", &lane.unwrap_or_default()), ("error", error)];
    log::error("lane-unreadable", fields);
}
