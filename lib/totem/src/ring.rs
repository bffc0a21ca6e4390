//! Ordering on one ring: what a member does with the token and with data packets.
//!
//! Totem single-ring ordering (Amir, Moser, Melliar-Smith, Agarwal, Ciarfella, TOCS 13(4), 1995)
//! with the accelerated-ring change (Babay, Amir, ICDCS 2016): the token leaves before the last
//! packets it numbers, so nobody asks for a packet before it was promised for a whole rotation.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::cursor::Cursor;
use crate::event::Event;
use crate::mutant::{Mutant, planted};
use crate::queue::SendQueue;
use crate::store::{GAP_MAX, Packet, Store};
use crate::view::{MemberId, View, ViewMember};
use crate::wire::{NOBODY, REQUESTS_MAX, Request, Token};

/// How far a member's window may reach, in packets per rotation, whatever its buffers hold.
pub(crate) const WINDOW_MAX: u32 = 1024;

/// After so many visits at which a member still misses the same packet, it is repeated by unicast.
const UNICAST_VISITS: u32 = 4;

/// A packet to transmit: new, or again because somebody misses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// As [`DataHeader::old_ring`](crate::wire::DataHeader::old_ring).
    pub(crate) old_ring: u16,
    pub(crate) seq: u64,
    /// For this member alone, by unicast: multicast does not reach it.
    pub(crate) only: Option<MemberId>,
}

/// What a visit of the token leads to: packets before the token, the token, packets after it.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) before: Vec<Outgoing>,
    pub(crate) token: Token,
    /// How many of `before` are repeated.
    pub(crate) repeated: u64,
    pub(crate) after: Vec<Outgoing>,
}

/// One member's state of one ring.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) view: View,
    /// My position in it.
    pub(crate) me: u16,
    pub(crate) store: Store,
    pub(crate) cursor: Cursor,
    /// Highest sequence number known to be assigned.
    pub(crate) high: u64,
    /// Every member has everything up to here.
    // Invariant: never decreases; at most `store.aru()`.
    pub(crate) stable: u64,
    /// Hop of the newest token handled.
    pub(crate) hop: u64,
    /// Packets per rotation of the whole ring.
    window: u32,
    /// `seq` of the token as I sent it last: up to here everything was promised a rotation ago.
    promised: u64,
    /// `aru` of the token as I sent it last.
    aru_sent: u64,
    /// What I sent under the last token, repeated packets too.
    sent: u32,
    /// My queue when I last had the token, in bytes.
    backlog_sent: u64,
    /// Highest packet of my own.
    pub(crate) own_high: u64,
    /// The aru of the last token, who lowered it, and since how many visits neither changed.
    aru_arrived: (u64, u16),
    aru_unchanged: u32,
    /// Since my last visit I asked the first member to let the token go, or, if that is me, I was
    /// asked.
    pub(crate) kicked: bool,
}

impl Ring {
    pub(crate) fn new(view: View, me: u16, window: u32) -> Ring {
        Ring {
            view,
            me,
            store: Store::new(),
            cursor: Cursor::new(),
            high: 0,
            stable: 0,
            hop: 0,
            window: window.clamp(8, WINDOW_MAX),
            promised: 0,
            aru_sent: 0,
            sent: 0,
            backlog_sent: 0,
            own_high: 0,
            aru_arrived: (0, NOBODY),
            aru_unchanged: 0,
            kicked: false,
        }
    }

    pub(crate) fn successor(&self) -> u16 {
        (self.me + 1) % self.view.members.len() as u16
    }

    pub(crate) fn predecessor(&self) -> u16 {
        (self.me + self.view.members.len() as u16 - 1) % self.view.members.len() as u16
    }

    /// Takes a data packet; false if it is a duplicate or cannot be of this ring.
    pub(crate) fn handle_data(&mut self, seq: u64, packet: Packet) -> bool {
        if usize::from(packet.origin) >= self.view.members.len() || seq == 0 {
            return false;
        }
        let new = self.store.insert(seq, packet);
        if new {
            self.high = self.high.max(seq);
        }
        new
    }

    /// Whether data sent under `hop` is newer than the last token I handled: then that token has
    /// gone on.
    pub(crate) fn is_after_my_visit(&self, hop: u32) -> bool {
        hop.wrapping_sub(self.hop as u32) as i32 > 0
    }

    /// Handles the token, which must be newer than the last one.
    ///
    /// `may_send` is false while an old ring is recovered. `answer` looks into its store.
    pub(crate) fn handle_token(
        &mut self,
        mut token: Token,
        queue: &mut SendQueue,
        capacity: usize,
        may_send: bool,
        old_store: impl Fn(u16, u64) -> bool,
    ) -> Visit {
        self.kicked = false;
        self.hop = token.hop;
        self.high = self.high.max(token.seq);
        self.watch_aru(&token);

        let repeated = self.answer_requests(&mut token, old_store);
        let others = token.rotation_packets.saturating_sub(self.sent);
        let allowed = if may_send {
            self.allowance(others, repeated.len(), &token)
        } else {
            0
        };
        let first_new = token.seq + 1;
        self.send_new(&mut token, queue, capacity, allowed);
        let new = token.seq + 1 - first_new;

        let sent = repeated.len() as u32 + new as u32;
        token.rotation_packets = others.saturating_add(sent);
        self.sent = sent;
        token.backlog_bytes =
            token.backlog_bytes.saturating_sub(self.backlog_sent) + queue.bytes() as u64;
        self.backlog_sent = queue.bytes() as u64;

        self.add_requests(&mut token);
        self.update_aru(&mut token);
        token.hop += 1;
        self.promised = token.seq;

        let (repeated, mut before) = (repeated.len() as u64, repeated);
        // Accelerated: half of the new packets follow the token.
        let early = new - new / 2;
        let outgoing = |seq| Outgoing {
            old_ring: 0,
            seq,
            only: None,
        };
        before.extend((first_new..first_new + early).map(outgoing));
        let after = (first_new + early..first_new + new).map(outgoing).collect();
        Visit {
            before,
            repeated,
            token,
            after,
        }
    }

    /// Whether nothing happened for a rotation and nothing is waiting here: the first member
    /// may keep such a token for a while.
    pub(crate) fn is_idle(&self, token: &Token, queue: &SendQueue) -> bool {
        queue.is_empty()
            && token.seq == self.promised
            && token.seq == self.stable
            && token.rotation_packets == 0
            && token.backlog_bytes == 0
            && token.recovered
            && token.congested_by == NOBODY
            && token.requests.is_empty()
    }

    /// Notes whether the ring waits for one member that does not get what it misses.
    fn watch_aru(&mut self, token: &Token) {
        let arrived = (token.aru, token.aru_by);
        let waits = arrived == self.aru_arrived && token.aru < token.seq && token.aru_by != NOBODY;
        self.aru_unchanged = if waits { self.aru_unchanged + 1 } else { 0 };
        self.aru_arrived = arrived;
    }

    /// The member for which the ring has been waiting, and for how many of my visits.
    pub(crate) fn laggard(&self) -> Option<(ViewMember, u32)> {
        let member = self.view.members.get(usize::from(self.aru_arrived.1))?;
        (self.aru_unchanged > 0).then_some((*member, self.aru_unchanged))
    }

    /// Takes from the token the requests that I can answer, as many as one visit may repeat.
    fn answer_requests(
        &mut self,
        token: &mut Token,
        old_store: impl Fn(u16, u64) -> bool,
    ) -> Vec<Outgoing> {
        let most = (self.window / 2).max(8) as usize;
        let laggard = self
            .laggard()
            .filter(|(_, visits)| *visits > UNICAST_VISITS);
        let only = laggard.map(|(member, _)| member.id);
        let mut answers = Vec::new();
        let mut left = Vec::new();
        for request in token.requests.drain(..) {
            for seq in request.first..request.first.saturating_add(u64::from(request.count)) {
                let old_ring = request.old_ring;
                let held = match old_ring {
                    0 => self.store.get(seq).is_some(),
                    _ => old_store(old_ring, seq),
                };
                if held && answers.len() < most {
                    answers.push(Outgoing {
                        old_ring,
                        seq,
                        only,
                    });
                } else {
                    extend_runs(
                        &mut left,
                        Request {
                            old_ring,
                            first: seq,
                            count: 1,
                        },
                    );
                }
            }
        }
        left.truncate(REQUESTS_MAX);
        token.requests = left;
        answers
    }

    /// New packets that I may send now: my share of the window, never past the gap limit.
    fn allowance(&self, others: u32, repeated: usize, token: &Token) -> u64 {
        let members = self.view.members.len() as u32;
        let share = self.window / members.min(3);
        let floor = (self.window / (4 * members)).max(1);
        let free = self.window.saturating_sub(others);
        let allowed = free
            .clamp(floor, share.max(floor))
            .saturating_sub(repeated as u32);
        // While somebody's clients cannot keep up: just enough for joins and leaves.
        let allowed = if token.congested_by == NOBODY {
            allowed.max(1)
        } else {
            1
        };
        let gap = (self.stable + GAP_MAX).saturating_sub(token.seq);
        u64::from(allowed).min(gap)
    }

    fn send_new(&mut self, token: &mut Token, queue: &mut SendQueue, capacity: usize, most: u64) {
        for _ in 0..most {
            let Some(body) = queue.pack(capacity) else {
                break;
            };
            token.seq += 1;
            let packet = Packet {
                origin: self.me,
                hop: self.hop as u32,
                body: Bytes::from(body),
            };
            let new = self.store.insert(token.seq, packet);
            debug_assert!(new, "the token numbers each packet once");
            self.own_high = token.seq;
        }
        self.high = self.high.max(token.seq);
    }

    fn add_requests(&self, token: &mut Token) {
        let limit = if planted(Mutant::RequestPromised) {
            token.seq
        } else {
            self.promised
        };
        for run in self.store.missing(limit, REQUESTS_MAX, 0, |_| true) {
            add_request(&mut token.requests, run);
        }
    }

    /// The aru rule: only who lowered it may raise it; anybody may lower it.
    ///
    /// The line that is stable is the smaller of what I sent at this visit and at the last one:
    /// between the two every member had its chance to lower it.
    fn update_aru(&mut self, token: &mut Token) {
        let mine = self.store.aru();
        if token.aru > mine || token.aru_by == self.me || token.aru_by == NOBODY {
            token.aru = mine;
            token.aru_by = if mine == token.seq { NOBODY } else { self.me };
        }
        let both = if planted(Mutant::StableByOneVisit) {
            token.aru
        } else {
            token.aru.min(self.aru_sent)
        };
        self.stable = self.stable.max(both.min(mine));
        self.aru_sent = token.aru;
    }

    /// Delivers what may be delivered in this regular configuration and forgets what nobody needs.
    pub(crate) fn deliver(&mut self, out: &mut VecDeque<Event>) {
        let aru = self.store.aru();
        let safe = if planted(Mutant::SafeByOneVisit) {
            self.aru_sent.min(aru)
        } else {
            self.stable
        };
        self.cursor.deliver(&self.store, &self.view, aru, safe, out);
        let unneeded = if planted(Mutant::ForgetUnstable) {
            aru
        } else {
            self.stable
        };
        self.store.discard_to(unneeded.min(self.cursor.seq() - 1));
    }

    /// A ring of one: whatever is queued is ordered, stable and delivered at once.
    pub(crate) fn pump_alone(
        &mut self,
        queue: &mut SendQueue,
        capacity: usize,
        out: &mut VecDeque<Event>,
    ) {
        while let Some(body) = queue.pack(capacity) {
            self.high += 1;
            self.own_high = self.high;
            let packet = Packet {
                origin: self.me,
                hop: 0,
                body: Bytes::from(body),
            };
            self.store.insert(self.high, packet);
            self.stable = self.high;
            self.deliver(out);
        }
    }
}

/// Adds a wanted packet to the last run if it continues it.
fn extend_runs(runs: &mut Vec<Request>, one: Request) {
    match runs.last_mut() {
        Some(run)
            if run.old_ring == one.old_ring
                && run.first + u64::from(run.count) == one.first
                && run.count < u16::MAX =>
        {
            run.count += 1;
        }
        _ => runs.push(one),
    }
}

/// Adds a run to the requests unless somebody asked for all of it already.
pub(crate) fn add_request(requests: &mut Vec<Request>, run: Request) {
    let end = |run: &Request| run.first + u64::from(run.count);
    let covered = requests.iter().any(|other| {
        other.old_ring == run.old_ring && other.first <= run.first && end(&run) <= end(other)
    });
    if !covered && requests.len() < REQUESTS_MAX {
        requests.push(run);
    }
}
