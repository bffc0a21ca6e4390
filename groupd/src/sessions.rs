//! All sessions of the daemon: who has which name, whose turn it is, and who has to go.
//!
//! The daemon pulls: [`Sessions::poll`] gives one thing at a time, from each session in turn, and
//! nothing is read from any socket while the daemon does not pull. So when the ring takes no more,
//! clients are held back by their own sockets, each in its place in the line.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use group::handshake::{Reject, STEP_TIMEOUT};
use group::name::{DaemonName, PrivateName};
use group::wire::{Frame, Request};
use mio::{Registry, Token};
use slab::Slab;
use totem::groups::SessionId;
use totem::time::Time;
use unixproc::log::{self, Throttle};

use crate::changes::Changes;
use crate::output::Page;
use crate::pace::Laggards;
use crate::session::{Session, Step};
use crate::stream::Stream;

/// What one read may give.
const READ_BYTES: usize = 256 << 10;
/// Reads of one session before the others have their turn.
const READS_PER_TURN: u32 = 1;
/// Output of one turn before it is written.
const PAGE_BYTES: usize = 256 << 10;
/// Connections that may be in their handshake; beyond it the oldest goes.
const HANDSHAKES_MAX: usize = 4096;

/// How often a session that ends as its client is broken is worth a notice.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// Sessions at most: an id has 16 bits for the place in the table, and 16 for how often that place
/// was taken, so that what is said of a session that is gone does not meet the next one.
pub(crate) const SESSIONS_MAX: usize = 65_000;

/// What clients may take of this daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Sessions.
    pub(crate) sessions: usize,
    /// Output that may wait for one session.
    pub(crate) session_queue_bytes: usize,
    /// Output that may wait for all, what several wait for counted once.
    pub(crate) queue_bytes: usize,
}

/// What happened to a session, in the order in which it must be ordered.
pub(crate) enum Event {
    /// It is to be made known to the groups: answered by [`Sessions::open`], or, if its name is
    /// still taken there, by [`Sessions::keep_waiting`].
    Named {
        id: SessionId,
        name: PrivateName,
        membership: bool,
    },
    /// It asks for something.
    Request {
        id: SessionId,
        request: Request,
        frame: Frame,
    },
    /// It is gone; only given for a session that was opened.
    Closed { id: SessionId },
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) accepted: u64,
    pub(crate) requests: u64,
    /// Messages queued for sessions.
    pub(crate) delivered: u64,
    /// Disconnected as they read too slowly.
    pub(crate) slow: u64,
    /// Disconnected as all together read too slowly, and they had most to read.
    pub(crate) evicted: u64,
    /// Disconnected as they broke the protocol.
    pub(crate) illegal: u64,
    /// Turned away in the handshake, or too slow in it.
    pub(crate) refused: u64,
}

/// The table.
pub(crate) struct Sessions {
    daemon: DaemonName,
    bounds: Bounds,
    /// Tokens of sessions: this one and the id after it.
    first_token: Token,
    table: Slab<(SessionId, Session)>,
    /// How many connections there were, modulo 2^16.
    connections: u16,
    names: HashMap<PrivateName, SessionId>,
    /// When the step of a handshake that was then the running one must be done.
    // Invariant: in the order of time, as each was put there with the same span.
    deadlines: VecDeque<(Time, SessionId, bool)>,
    /// Since when nothing is polled, as the ring takes nothing: clients are not to blame for that.
    held_since: Option<Time>,
    handshaking: usize,
    /// Sessions that may have something to be done, each once.
    line: VecDeque<SessionId>,
    /// Reads that the session at the head of the line has left in this turn.
    reads: u32,
    /// Opened sessions that are gone, and the daemon does not know it yet. Bound: the table.
    closed: VecDeque<SessionId>,
    /// Sessions to be announced again, and those that have to wait for it, with what
    /// [`Event::Named`] says of them. Bound: each has a deadline among the handshakes'.
    announced: VecDeque<(SessionId, PrivateName, bool)>,
    waiting: VecDeque<(SessionId, PrivateName, bool)>,
    page: Page,
    /// Sessions with a part in the page.
    touched: Vec<SessionId>,
    queued_bytes: usize,
    laggards: Laggards,
    changes: Changes,
    buffer: Vec<u8>,
    counters: Counters,
    /// Of sessions that end as their clients are broken.
    complaints: Throttle,
}

impl Sessions {
    /// No sessions yet, of the daemon of this name. All tokens from `first_token` on are theirs.
    pub(crate) fn new(daemon: DaemonName, bounds: Bounds, first_token: Token) -> Sessions {
        Sessions {
            daemon,
            bounds,
            first_token,
            table: Slab::new(),
            connections: 0,
            names: HashMap::new(),
            deadlines: VecDeque::new(),
            held_since: None,
            handshaking: 0,
            line: VecDeque::new(),
            reads: READS_PER_TURN,
            closed: VecDeque::new(),
            announced: VecDeque::new(),
            waiting: VecDeque::new(),
            page: Page::default(),
            touched: Vec::new(),
            queued_bytes: 0,
            laggards: Laggards::default(),
            changes: Changes::default(),
            buffer: vec![0; READ_BYTES],
            counters: Counters::default(),
            complaints: Throttle::new(COMPLAINT_INTERVAL),
        }
    }

    /// Takes other bounds from now on.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Sessions that are open.
    pub(crate) fn count(&self) -> usize {
        self.table.len() - self.handshaking
    }

    /// Bytes that wait for all sessions together.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// What was counted.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether there is something for [`poll`](Self::poll) to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.line.is_empty() || !self.closed.is_empty() || !self.announced.is_empty()
    }

    /// Takes a new connection.
    pub(crate) fn accept(&mut self, mut stream: Stream, registry: &Registry, now: Time) {
        self.counters.accepted += 1;
        if self.table.len() >= self.bounds.sessions.min(SESSIONS_MAX) {
            self.counters.refused += 1;
            say(&mut stream, Reject::Quota);
            return;
        }
        let entry = self.table.vacant_entry();
        self.connections = self.connections.wrapping_add(1);
        let id = SessionId(u32::from(self.connections) << 16 | entry.key() as u32);
        if let Err(error) = stream.register(registry, Token(self.first_token.0 + id.0 as usize)) {
            log::warning("session-failed", &[("reason", &error)]);
            return;
        }
        entry.insert((id, Session::new(stream, self.daemon)));
        self.handshaking += 1;
        self.deadlines.push_back((now + STEP_TIMEOUT, id, false));
        self.enter_line(id);
        if self.handshaking > HANDSHAKES_MAX
            && let Some((_, oldest)) = self.oldest_handshake()
        {
            self.end_handshake(oldest, "too-many-handshakes");
        }
    }

    /// Notes what a session's socket is ready for.
    pub(crate) fn handle_event(&mut self, event: &mio::event::Event) {
        let id = SessionId((event.token().0 - self.first_token.0) as u32);
        let Some(session) = self.get(id) else { return };
        let hung_up = event.is_read_closed() || event.is_error();
        if event.is_writable() {
            session.output.room();
            if session.output.queued_bytes() > 0 {
                self.touched.push(id);
            }
        }
        if (event.is_readable() || hung_up)
            && let Some(session) = self.get(id)
        {
            session.mark_readable(hung_up);
            self.enter_line(id);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let handshake = match self.held_since {
            Some(_) => None,
            None => self.deadlines.front().map(|&(time, ..)| time),
        };
        let changes = self.changes.poll_timeout();
        let changes = changes.filter(|_| self.held_since.is_none());
        handshake
            .into_iter()
            .chain(self.laggards.poll_timeout())
            .chain(changes)
            .min()
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

    /// Says that the ring takes nothing now: until the next [`poll`](Self::poll) no handshake is
    /// ended for taking too long.
    pub(crate) fn hold(&mut self, now: Time) {
        self.held_since.get_or_insert(now);
    }

    /// The next thing that happened, of each session in turn.
    pub(crate) fn poll(&mut self, now: Time) -> Option<Event> {
        if let Some(since) = self.held_since.take() {
            let held = now.since(since);
            for (deadline, ..) in &mut self.deadlines {
                *deadline = *deadline + held;
            }
        }
        loop {
            if let Some(id) = self.closed.pop_front() {
                return Some(Event::Closed { id });
            }
            if let Some((id, name, membership)) = self.announced.pop_front() {
                if self.get(id).is_some() {
                    return Some(Event::Named {
                        id,
                        name,
                        membership,
                    });
                }
                continue;
            }
            if let Some((id, request, frame)) = self.changes.take_due(now) {
                self.enter_line(id);
                return Some(Event::Request { id, request, frame });
            }
            let id = *self.line.front()?;
            let Some((_, session)) = self
                .table
                .get_mut(place(id))
                .filter(|(there, _)| *there == id)
            else {
                self.leave_line();
                continue;
            };
            if self.changes.is_held(id) {
                session.in_line = false;
                self.leave_line();
                continue;
            }
            match session.next(&mut self.reads, &mut self.buffer) {
                Step::Idle => {
                    session.in_line = false;
                    self.leave_line();
                }
                Step::Later => {
                    self.leave_line();
                    self.line.push_back(id);
                }
                Step::Request(request, frame) => {
                    self.counters.requests += 1;
                    if let Some((request, frame)) = self.changes.hold(now, id, request, frame) {
                        return Some(Event::Request { id, request, frame });
                    }
                }
                step => {
                    if let Some(event) = self.handshake_step(id, step, now) {
                        return Some(event);
                    }
                }
            }
        }
    }

    /// Does what a handshake, or the end of a session, asks for.
    fn handshake_step(&mut self, id: SessionId, step: Step, now: Time) -> Option<Event> {
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

    /// Lets a session's next join or leave wait for what its last one makes the daemons write.
    pub(crate) fn charge(&mut self, now: Time, id: SessionId, bytes: u64) {
        self.changes.charge(now, id, bytes);
    }

    /// Queues a message for sessions: `encode` writes it, once.
    pub(crate) fn send(&mut self, to: &[SessionId], encode: impl FnOnce(&mut Vec<u8>)) {
        let message = self.page.append(encode);
        for &id in to {
            self.push(id, message.clone());
        }
        if self.page.len() >= PAGE_BYTES {
            self.flush();
        }
    }

    fn send_bytes(&mut self, to: &[SessionId], bytes: &[u8]) {
        self.send(to, |page| page.extend_from_slice(bytes));
    }

    fn push(&mut self, id: SessionId, message: Range<usize>) {
        let Some(session) = self.get(id) else { return };
        let first = session.output.push(message);
        self.counters.delivered += 1;
        if first {
            self.touched.push(id);
        }
    }

    /// Ends the turn: writes what sockets take, and disconnects who reads too slowly.
    pub(crate) fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for id in touched.drain(..) {
            self.flush_one(id);
        }
        self.touched = touched;
        self.page.clear();
        while self.page.kept_bytes() > self.bounds.queue_bytes {
            let largest = self
                .table
                .iter()
                .max_by_key(|(_, (_, s))| s.output.queued_bytes());
            let Some((_, &(id, _))) = largest else { break };
            self.counters.evicted += 1;
            self.close_slow(id, "all-queues-full");
        }
    }

    fn flush_one(&mut self, id: SessionId) {
        let Some((_, session)) = self
            .table
            .get_mut(place(id))
            .filter(|(there, _)| *there == id)
        else {
            return;
        };
        let before = session.output.queued_bytes();
        let result = session.output.flush(&mut session.stream, &mut self.page);
        let after = session.output.queued_bytes();
        self.queued_bytes = self.queued_bytes + after - before;
        if result.is_err() {
            // What it has sent before it went may still be read: the end of its input ends it.
            session.output.give_up();
            self.queued_bytes -= after;
            session.mark_readable(true);
            self.enter_line(id);
        } else if after > self.bounds.session_queue_bytes {
            self.counters.slow += 1;
            self.close_slow(id, "queue-full");
        } else if after > self.bounds.session_queue_bytes / 2 {
            self.laggards.insert(id);
        }
    }

    /// Whether a session lags behind for which the ring should wait.
    pub(crate) fn is_congested(&mut self, now: Time) -> bool {
        let (table, low) = (&self.table, self.bounds.session_queue_bytes / 8);
        self.laggards.is_worth_waiting(now, |id| {
            let (_, session) = table.get(place(id)).filter(|(there, _)| *there == id)?;
            (session.output.queued_bytes() > low).then(|| session.output.written_bytes())
        })
    }

    fn close_slow(&mut self, id: SessionId, reason: &str) {
        if let Some(session) = self.get(id) {
            let name = session.private_group();
            let queued = session.output.queued_bytes();
            log::warning(
                "slow-session",
                &[
                    ("session", &name),
                    ("reason", &reason),
                    ("queued-bytes", &queued),
                ],
            );
        }
        self.close(id, "slow", None);
    }

    /// Ends a session: its queue is dropped, its name is free.
    pub(crate) fn close(&mut self, id: SessionId, reason: &str, reply: Option<Reject>) {
        if self.get(id).is_none() {
            return;
        }
        let (_, mut session) = self.table.remove(place(id));
        self.changes.forget(id);
        self.queued_bytes -= session.output.queued_bytes();
        if let Some(name) = session.name()
            && self.names.get(&name) == Some(&id)
        {
            self.names.remove(&name);
        }
        if session.is_open() {
            self.closed.push_back(id);
        } else {
            self.handshaking -= 1;
            self.counters.refused += 1;
        }
        if matches!(reason, "illegal-message" | "foreign-sender") {
            self.counters.illegal += 1;
        }
        if let Some(reject) = reply {
            say(&mut session.stream, reject);
        }
        let (name, peer) = (session.private_group(), session.stream.peer());
        let fields: log::Fields = &[("session", &name), ("peer", &peer), ("reason", &reason)];
        // An admin should see who is broken; a client that reconnects for ever must not fill the log.
        let is_broken = matches!(
            reason,
            "illegal-message" | "foreign-sender" | "handshake-timeout"
        );
        if is_broken && self.complaints.admit(Instant::now()).is_some() {
            log::notice("session-closed", fields);
        } else {
            log::info("session-closed", fields);
        }
    }

    /// Ends all sessions, those that are open with a word to the groups.
    pub(crate) fn close_all(&mut self) {
        self.flush();
        let ids: Vec<SessionId> = self.table.iter().map(|(_, &(id, _))| id).collect();
        for id in ids {
            self.close(id, "stopping", None);
        }
    }

    /// The handshake whose step has to be done first; forgets the deadlines of those that are done.
    fn oldest_handshake(&mut self) -> Option<(Time, SessionId)> {
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

    fn end_handshake(&mut self, id: SessionId, reason: &str) {
        let reply = self.get(id).and_then(|session| session.give_up());
        self.close(id, reason, reply);
    }

    fn get(&mut self, id: SessionId) -> Option<&mut Session> {
        let (there, session) = self.table.get_mut(place(id))?;
        (*there == id).then_some(session)
    }

    fn enter_line(&mut self, id: SessionId) {
        if let Some(session) = self.get(id)
            && !session.in_line
        {
            session.in_line = true;
            self.line.push_back(id);
        }
    }

    /// The head of the line makes room for the next.
    fn leave_line(&mut self) {
        self.line.pop_front();
        self.reads = READS_PER_TURN;
    }
}

/// Where a session is in the table.
fn place(id: SessionId) -> usize {
    id.0 as u16 as usize
}

/// Writes the byte of a refusal; whether it arrives is the client's affair.
fn say(stream: &mut Stream, reject: Reject) {
    let result: io::Result<usize> = stream.write(&[IoSlice::new(&[reject.byte()])]);
    drop(result);
}

#[cfg(test)]
mod tests;
