//! The ring and the groups as one: requests of sessions go in, and what it makes of them comes out
//! as messages for sessions.

mod frames;

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use bytes::Bytes;
use group::handshake::Reject;
use group::wire::{self, Frame, Header, Request};
use totem::event::{Class, Event, Notice, Service, Transmit};
use totem::groups::{
    Attributes, GroupEvent, GroupName, Groups, PrivateName, SessionId, TooManyGroups,
};
use totem::time::Time;
use totem::view::{MemberId, View};
use totem::{State, Stats, Totem};
use unixproc::log::{self, Throttle};

use crate::config::Config;
use crate::sessions::{self, Sessions};

pub(crate) use frames::group_id;
use frames::{name, send};

/// What clients may have in the ring's queue, in bytes: several rotations of the token at full
/// speed, and few enough that a message does not grow old in it.
pub(crate) const SUBMIT_BYTES_MAX: usize = 4 << 20;

/// How often a refused join is worth a line in the log.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(60);

/// The two state machines of the crate `totem`, connected.
pub(crate) struct Bus {
    totem: Totem,
    groups: Groups,
    /// Names of daemons, for the log.
    names: BTreeMap<MemberId, String>,
    /// What the ring's queue had no room for, before anything else is submitted.
    // Bound: one request, which has at most 100 groups, or the KILL of one session at a time.
    waiting: VecDeque<(Service, Bytes)>,
    notices: VecDeque<Notice>,
    joins_refused: u64,
    /// Refused joins are logged by this.
    refusals: Throttle,
    /// Scratch of [`deliver`](Self::deliver).
    events: Vec<GroupEvent>,
    /// An exchange of tables goes on that needs nobody but this daemon.
    busy: bool,
    leaving: bool,
    left: bool,
    has_view: bool,
}

impl Bus {
    /// Connects the groups of daemon `me` to its ring.
    pub(crate) fn new(totem: Totem, config: &Config, me: usize) -> Bus {
        let names = names(config);
        Bus {
            totem,
            groups: Groups::new(config.daemons[me].id(), names.clone()),
            names,
            waiting: VecDeque::new(),
            notices: VecDeque::new(),
            joins_refused: 0,
            refusals: Throttle::new(REFUSALS_INTERVAL),
            events: Vec::new(),
            busy: false,
            leaving: false,
            left: false,
            has_view: false,
        }
    }

    /// Takes a new list of daemons.
    pub(crate) fn reconfigure(&mut self, now: Time, config: &Config) {
        self.names = names(config);
        self.groups.set_names(self.names.clone());
        self.totem.reconfigure(now, config.members());
    }

    /// Whether a request of a session can be ordered now.
    pub(crate) fn has_room(&self) -> bool {
        self.groups.ready()
            && !self.leaving
            && self.waiting.is_empty()
            && self.totem.queued_bytes() < SUBMIT_BYTES_MAX
    }

    /// Takes what happened to a session.
    pub(crate) fn handle_session(
        &mut self,
        now: Time,
        event: sessions::Event,
        sessions: &mut Sessions,
    ) {
        match event {
            sessions::Event::Named {
                id,
                name,
                membership,
            } => {
                let Some(known) = PrivateName::new(name.as_ref()) else {
                    sessions.close(id, "illegal-name", Some(Reject::IllegalName));
                    return;
                };
                match self.groups.connect(id, known, membership) {
                    Ok(()) => sessions.open(id),
                    // Its last session is gone, and the others have yet to be told.
                    Err(_) => sessions.keep_waiting(id, name, membership),
                }
            }
            sessions::Event::Request { id, request, frame } => {
                self.handle_request(now, id, request, &frame, sessions);
            }
            sessions::Event::Closed { id } => {
                if let Some(kill) = self.groups.disconnect(id) {
                    self.submit(now, Service::Agreed, kill);
                }
            }
        }
    }

    fn handle_request(
        &mut self,
        now: Time,
        id: SessionId,
        request: Request,
        frame: &Frame,
        sessions: &mut Sessions,
    ) {
        let mut groups = [GroupName::from_field([0; GroupName::BYTES]); wire::GROUPS_MAX];
        let (fields, _) = frame.groups.as_bytes().as_chunks();
        for (group, &field) in groups.iter_mut().zip(fields) {
            *group = GroupName::from_field(field);
        }
        let groups = &groups[..fields.len().min(wire::GROUPS_MAX)];
        match request {
            Request::Join => self.join(now, id, &frame.header, groups, sessions),
            Request::Leave => self.leave_groups(now, id, groups, sessions),
            Request::Multicast(delivery) => {
                let attributes = Attributes {
                    type_bits: delivery.kind().bits(),
                    hint: frame.header.hint.0,
                };
                let discard = delivery.self_discard;
                let message = self
                    .groups
                    .multicast(id, attributes, discard, groups, &frame.data);
                if let Some(message) = message {
                    self.submit(now, ring_service(delivery.service), message);
                }
            }
            Request::Kill => sessions.close(id, "disconnect", None),
        }
    }

    /// Spread takes the first group only; clients that name more mean all of them.
    fn join(
        &mut self,
        now: Time,
        id: SessionId,
        request: &Header,
        groups: &[GroupName],
        sessions: &mut Sessions,
    ) {
        let mut refused = Vec::new();
        let mut told_bytes = 0;
        for &group in groups {
            match self.groups.join(id, group) {
                Ok(Some(join)) => {
                    told_bytes += self.told_bytes(&group);
                    self.submit(now, Service::Agreed, join);
                }
                Ok(None) => {}
                Err(TooManyGroups) => refused.push(name(&group)),
            }
        }
        sessions.charge(now, id, told_bytes);
        if refused.is_empty() {
            return;
        }
        self.joins_refused += refused.len() as u64;
        if let Some(repeated) = self.refusals.admit(Instant::now()) {
            let held = self.groups.own_membership_count();
            let fields: log::Fields = &[
                ("session", &request.name),
                ("memberships", &held),
                ("repeated", &repeated),
            ];
            log::warning("join-refused", fields);
        }
        let refusal = wire::encode_refused_join(request, &refused);
        sessions.send(&[id], |out| out.extend_from_slice(&refusal));
    }

    fn leave_groups(
        &mut self,
        now: Time,
        id: SessionId,
        groups: &[GroupName],
        sessions: &mut Sessions,
    ) {
        let mut told_bytes = 0;
        for &group in groups {
            if let Some(leave) = self.groups.leave(id, group) {
                told_bytes += self.told_bytes(&group);
                self.submit(now, Service::Agreed, leave);
            }
        }
        sessions.charge(now, id, told_bytes);
    }

    /// About how many bytes the daemons write when a member comes or goes.
    fn told_bytes(&self, group: &GroupName) -> u64 {
        let Some(summary) = self.groups.summary(group) else {
            return 0;
        };
        // Those elsewhere may want to know of memberships, too.
        let told = summary.watchers + summary.members - summary.local;
        let length = wire::HEADER_LENGTH + GroupName::BYTES * (summary.members + 1);
        (told * length) as u64
    }

    fn submit(&mut self, now: Time, service: Service, data: Bytes) {
        if !self.waiting.is_empty() || self.totem.submit(now, service, data.clone()).is_err() {
            self.waiting.push_back((service, data));
        }
    }

    /// Hands out what the ring has delivered, and says whether there was anything.
    pub(crate) fn deliver(&mut self, now: Time, sessions: &mut Sessions) -> bool {
        let mut any = false;
        while let Some((service, data)) = self.waiting.front() {
            if self.totem.submit(now, *service, data.clone()).is_err() {
                break;
            }
            self.waiting.pop_front();
            any = true;
        }
        let mut events = std::mem::take(&mut self.events);
        while let Some(event) = self.totem.poll_event() {
            any = true;
            match event {
                Event::Deliver(delivery) => self.groups.handle_delivery(&delivery, &mut events),
                Event::Transitional(transition) => {
                    log::info("transitional", &[("ring", &transition.from)]);
                    self.groups.handle_transitional(&transition, &mut events);
                }
                Event::Regular(view) => {
                    self.log_view(&view);
                    self.has_view = true;
                    let mut submit = Vec::new();
                    self.groups.handle_regular(&view, &mut events, &mut submit);
                    if !submit.is_empty() {
                        self.totem.submit_first(now, Service::Agreed, submit);
                    }
                }
                Event::Left => self.left = true,
                Event::Notice(notice) => self.notices.push_back(notice),
            }
            for event in events.drain(..) {
                send(&event, sessions);
            }
        }
        // A piece only: the ring goes on between the pieces of a large exchange.
        self.busy = self.groups.advance(&mut events);
        if !events.is_empty() {
            sessions.retry_waiting();
        }
        for event in events.drain(..) {
            send(&event, sessions);
        }
        self.events = events;
        any
    }

    /// Whether [`deliver`](Self::deliver) has something to do without anything from the ring.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    fn log_view(&self, view: &View) {
        let name = |id: &MemberId| {
            self.names
                .get(id)
                .cloned()
                .unwrap_or_else(|| id.to_string())
        };
        let members: Vec<String> = view.members.iter().map(|member| name(&member.id)).collect();
        log::notice(
            "view-installed",
            &[
                ("ring", &view.ring),
                ("members", &members.len()),
                ("daemons", &members.join(",")),
            ],
        );
    }

    /// Slows the ring down while sessions cannot keep up, or lets it go.
    pub(crate) fn set_congested(&mut self, now: Time, congested: bool) {
        self.totem.set_congested(now, congested);
    }

    /// Starts to leave the ring; nothing can be submitted any more.
    pub(crate) fn leave(&mut self, now: Time) {
        self.leaving = true;
        self.totem.leave(now);
    }

    /// Whether the ring has let this daemon go.
    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    /// Whether a view was ever installed.
    pub(crate) fn has_view(&self) -> bool {
        self.has_view
    }

    /// The next thing for the log.
    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Joins that had no room, group by group.
    pub(crate) fn joins_refused(&self) -> u64 {
        self.joins_refused
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(crate) fn view(&self) -> &View {
        self.totem.view()
    }

    pub(crate) fn ring_state(&self) -> State {
        self.totem.state()
    }

    pub(crate) fn ring_stats(&self) -> &Stats {
        self.totem.stats()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.totem.queued_bytes()
    }

    pub(crate) fn handle_packet(&mut self, now: Time, from: SocketAddrV4, packet: &[u8]) {
        self.totem.handle_packet(now, SocketAddr::V4(from), packet);
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        self.totem.handle_timeout(now);
    }

    pub(crate) fn handle_refused(&mut self, now: Time, member: MemberId) {
        self.totem.handle_refused(now, member);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.totem.poll_timeout()
    }

    pub(crate) fn poll_persist(&mut self) -> Option<u64> {
        self.totem.poll_persist()
    }

    pub(crate) fn persisted(&mut self, counter: u64) {
        self.totem.persisted(counter);
    }

    pub(crate) fn poll_transmit(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        self.totem.poll_transmit(buffer)
    }

    pub(crate) fn wants(&self) -> Class {
        self.totem.wants()
    }
}

fn names(config: &Config) -> BTreeMap<MemberId, String> {
    config
        .daemons
        .iter()
        .map(|daemon| (daemon.id(), daemon.name.clone()))
        .collect()
}

/// The ring's name of a client's service. Unreliable messages are carried reliably, as in Spread.
fn ring_service(service: wire::Service) -> Service {
    match service {
        wire::Service::Unreliable | wire::Service::Reliable => Service::Reliable,
        wire::Service::Fifo => Service::Fifo,
        wire::Service::Causal => Service::Causal,
        wire::Service::Agreed => Service::Agreed,
        wire::Service::Safe => Service::Safe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients' names are checked by the crate `group`, and carried by the crate `totem`.
    #[test]
    fn both_crates_have_one_rule_for_private_names() {
        let same = |name: &[u8]| {
            let (checked, carried) = (group::PrivateName::new(name), PrivateName::new(name));
            assert_eq!(checked.is_ok(), carried.is_some(), "{name:?}");
        };
        for length in 0..14 {
            same(&vec![b'x'; length]);
            for byte in 0..=u8::MAX {
                let mut name = vec![b'x'; length];
                name.push(byte);
                same(&name);
            }
        }
    }
}
