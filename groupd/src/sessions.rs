//! All sessions of the daemon: who has which name, whose turn it is, and who has to go.
//!
//! The daemon pulls: [`Sessions::poll`] gives one thing at a time, from each session in turn, and
//! nothing is read from any socket while the daemon does not pull. So when the ring takes no more,
//! clients are held back by their own sockets, each in its place in the line.

mod handshakes;
mod queues;

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
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

    /// Lets a session's next join or leave wait for what its last one makes the daemons write.
    pub(crate) fn charge(&mut self, now: Time, id: SessionId, bytes: u64) {
        self.changes.charge(now, id, bytes);
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
