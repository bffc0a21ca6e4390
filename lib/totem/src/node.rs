//! One member: its state, its inputs and outputs. What happens in each state lives beside this
//! file: `order` (token and data), `gather` (who is there), `form` (agreeing on a ring),
//! `merge` (other rings), `recover` (old messages, installing the view), `suspect` (refusals, probes,
//! leaving), `roll` (a late token), `receive` and `transmit` (what comes and what leaves).
//!
//! ```text
//!                token lost, LEAVE, newer life         FORM pass 1 handled
//!   Operational ------------------------> Gather -------------------------> Form
//!       ^   |                               ^  ^        times out            | pass 2
//!       |   +--- FORM pass 1 (a merge; -----|--|-----------------------------+--> Recover
//!       |        the token lives till then) |  +------- token lost ---------------+  |
//!       +-------------------------------------------------- all recovered, twice ----+
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::config::{Config, MemberConfig, Start};
use crate::event::{Class, Event, Notice, Service};
use crate::form::Forming;
use crate::mutant::{Mutant, planted};
use crate::peer::Peer;
use crate::queue::{CHUNK_HEADER_BYTES, MESSAGE_BYTES_MAX, QueueFull, SendQueue};
use crate::random::Random;
use crate::recover::Recovery;
use crate::ring::Ring;
use crate::roll::RollCall;
use crate::seal::{HEADER_BYTES, Sealer, TAG_BYTES};
use crate::stats::Stats;
use crate::suspect::{Leaving, Probe};
use crate::time::Time;
use crate::timer::{Timer, Timers};
use crate::transmit::{Queued, Routes, routes};
use crate::view::{MemberId, RingId, View, ViewMember};
use crate::wire::{Control, DATA_HEADER_BYTES, Heard, Token};

/// A counter is persisted this far ahead, so that few views wait for the disk.
const COUNTER_RESERVE: u64 = 64;

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In a ring; messages are ordered.
    Operational,
    /// The ring is lost; members look for each other.
    Gather,
    /// Promised to a formation: nothing of the old ring is accepted or delivered any more.
    Form,
    /// In the new ring, exchanging messages of the old ones.
    Recover,
}

/// One member of a ring. See the [crate documentation](crate) for how to drive it.
pub struct Totem {
    pub(crate) config: Config,
    pub(crate) me: ViewMember,
    pub(crate) random: Random,
    pub(crate) sealer: Sealer,
    pub(crate) timers: Timers,
    pub(crate) stats: Stats,
    pub(crate) state: State,
    /// The ring of the view installed last; lost, and perhaps frozen, outside `Operational`.
    pub(crate) ring: Ring,
    /// A formation was promised since: the ring's state is what was told in it.
    pub(crate) frozen: bool,
    pub(crate) queue: SendQueue,
    pub(crate) events: VecDeque<Event>,
    // Bound: one visit's packets, and one answer for each packet received since the last drain.
    pub(crate) outgoing: VecDeque<Queued>,
    pub(crate) routes: Routes,
    /// The last token sent, until somebody shows that it went on.
    pub(crate) token_sent: Option<Token>,
    /// Clients of this member cannot keep up.
    pub(crate) congested: bool,
    /// The token of an idle or a congested ring, kept for a while.
    pub(crate) token_held: Option<Token>,
    pub(crate) token_at: Time,
    /// The loss of the token was put off, as I was late myself.
    pub(crate) overslept: bool,
    /// Since when the ring has been waiting for one member.
    pub(crate) waiting_since: Option<Time>,
    pub(crate) prefer_token: bool,
    pub(crate) peers: BTreeMap<MemberId, Peer>,
    /// Lives of ring members that are known to have ended.
    pub(crate) gone: BTreeSet<ViewMember>,
    /// Ring members that speak and hold everybody up: not in the next view.
    pub(crate) shut_out: BTreeSet<ViewMember>,
    pub(crate) gather_started: Time,
    /// My row of the matrix as I told it last.
    pub(crate) row_told: Vec<Heard>,
    pub(crate) hellos_sent: u32,
    pub(crate) installed_at: Time,
    pub(crate) merge_after: Time,
    /// The greatest formation that I have promised to; later ones are greater.
    pub(crate) promised: RingId,
    /// The greatest ring counter known.
    pub(crate) counter: u64,
    pub(crate) counter_persisted: u64,
    pub(crate) persisting: Option<u64>,
    pub(crate) persist_asked: bool,
    pub(crate) forming: Option<Forming>,
    pub(crate) recovery: Option<Recovery>,
    /// Members that completed a failed recovery of `ring` with me: one of them may have installed.
    pub(crate) obligations: BTreeSet<ViewMember>,
    pub(crate) probes: BTreeMap<MemberId, Probe>,
    /// The token is late; who has answered since.
    pub(crate) roll: Option<RollCall>,
    /// When the host of a member last refused a packet. Bound: the configured members.
    pub(crate) refused_at: BTreeMap<MemberId, Time>,
    pub(crate) leaving: Option<Leaving>,
    /// What an opened packet is read from. Scratch of `receive`.
    pub(crate) scratch: Vec<u8>,
}

impl Totem {
    /// Starts as a ring of one: the first event is that view.
    ///
    /// # Panics
    ///
    /// If the configuration does not list `config.me`, or datagrams have no room for a message.
    pub fn new(config: Config, start: Start, now: Time) -> Totem {
        assert!(
            config.members.iter().any(|member| member.id == config.me),
            "not configured"
        );
        assert!(
            (512..=65_000).contains(&config.datagram_bytes),
            "datagram size"
        );
        let me = ViewMember {
            id: config.me,
            incarnation: start.incarnation,
        };
        let counter = start.clock_seconds.max(start.persisted_counter) + 1;
        let ring = RingId {
            counter,
            representative: me.id,
            incarnation: me.incarnation,
        };
        let view = View {
            ring,
            members: Arc::new([me]),
        };
        let mut sealer = Sealer::new(config.key.as_ref(), me.id, me.incarnation);
        sealer.enter_ring(&view);
        let mut totem = Totem {
            me,
            random: Random::new(start.seed),
            sealer,
            timers: Timers::default(),
            stats: Stats::default(),
            state: State::Operational,
            ring: Ring::new(view.clone(), 0, 0),
            frozen: false,
            queue: SendQueue::new(config.submit_bytes_max),
            events: VecDeque::new(),
            outgoing: VecDeque::new(),
            routes: routes(&config, &view),
            token_sent: None,
            congested: false,
            token_held: None,
            token_at: now,
            overslept: false,
            waiting_since: None,
            prefer_token: false,
            peers: BTreeMap::new(),
            gone: BTreeSet::new(),
            shut_out: BTreeSet::new(),
            gather_started: now,
            row_told: Vec::new(),
            hellos_sent: 0,
            installed_at: now,
            merge_after: now,
            promised: ring,
            counter,
            counter_persisted: start.persisted_counter,
            persisting: None,
            persist_asked: false,
            forming: None,
            recovery: None,
            obligations: BTreeSet::new(),
            probes: BTreeMap::new(),
            roll: None,
            refused_at: BTreeMap::new(),
            leaving: None,
            scratch: Vec::new(),
            config,
        };
        totem.stats.views += 1;
        totem.events.push_back(Event::Regular(view));
        totem.persist_counter();
        totem.timers.set(Timer::Beacon, now);
        totem
    }

    /// Lets every timer fire that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        // Bound: each timer once; one that is set again in the past waits for the next call.
        for _ in 0..Timer::ALL.len() {
            let Some((timer, due)) = self.timers.pop_due(now) else {
                return;
            };
            match timer {
                Timer::Leave => self.announce_leave(now),
                _ if self.leaving_now() => {}
                Timer::TokenLoss => self.token_overdue(now, due),
                Timer::RollCall => self.call_roll(now),
                Timer::TokenRetransmit => self.retransmit_token(now),
                Timer::TokenHold => self.release_token(now),
                Timer::Beacon => self.send_beacons(now),
                Timer::Hello => self.send_hellos(now),
                Timer::GatherDeadline => self.gather_deadline(now),
                Timer::FormRetransmit => self.retransmit_form(now),
                Timer::FormDeadline => self.form_deadline(now),
                Timer::Probe => self.run_probes(now),
            }
        }
    }

    /// Queues a message for the total order, as soon as the token comes.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] if the bound of the configuration is reached, or after [`leave`](Self::leave):
    /// submit again when [`queued_bytes`](Self::queued_bytes) has fallen.
    ///
    /// # Panics
    ///
    /// If the message is longer than [`MESSAGE_BYTES_MAX`].
    pub fn submit(&mut self, now: Time, service: Service, data: Bytes) -> Result<(), QueueFull> {
        assert!(
            data.len() <= MESSAGE_BYTES_MAX,
            "message of {} bytes",
            data.len()
        );
        if self.leaving.is_some() {
            return Err(QueueFull);
        }
        let was_empty = self.queue.is_empty();
        self.queue.push(service, data)?;
        if was_empty {
            self.wake_ring(now);
        }
        Ok(())
    }

    /// Queues messages ahead of all that have not begun to be sent, whatever the bound: what a
    /// view change makes the application say before anything else is ordered.
    pub fn submit_first(&mut self, now: Time, service: Service, batch: Vec<Bytes>) {
        debug_assert!(batch.iter().all(|data| data.len() <= MESSAGE_BYTES_MAX));
        self.queue
            .push_first(batch.into_iter().map(|data| (service, data)).collect());
        self.wake_ring(now);
    }

    /// What is queued and has no place in the order yet, in bytes.
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// The next thing that happened; nothing while a counter is to be persisted, as a view must not
    /// be seen whose id could come again after a crash.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.persisting.is_some() {
            return None;
        }
        self.events.pop_front()
    }

    /// A ring counter to put on stable storage; nothing comes out until
    /// [`persisted`](Self::persisted) says that it is there. Each value is returned once.
    pub fn poll_persist(&mut self) -> Option<u64> {
        if self.persist_asked {
            return None;
        }
        self.persist_asked = self.persisting.is_some();
        self.persisting
    }

    /// The counter that [`poll_persist`](Self::poll_persist) returned is on stable storage.
    pub fn persisted(&mut self, counter: u64) {
        self.counter_persisted = self.counter_persisted.max(counter);
        self.persist_asked = false;
        self.persisting = None;
        self.persist_counter();
    }

    /// Asks for stable storage if a counter in use is not covered yet.
    pub(crate) fn persist_counter(&mut self) {
        let covered = self.counter <= self.counter_persisted || planted(Mutant::UnpersistedCounter);
        if !covered && self.persisting.is_none() {
            self.persisting = Some(self.counter + COUNTER_RESERVE);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.has_left() {
            None
        } else {
            self.timers.next()
        }
    }

    /// Which socket to read first: data until the predecessor is seen to have had the token again,
    /// then the token (the accelerated ring's priority rule).
    pub fn wants(&self) -> Class {
        if self.prefer_token {
            Class::Token
        } else {
            Class::Data
        }
    }

    /// The view installed last.
    pub fn view(&self) -> &View {
        &self.ring.view
    }

    /// Where this member stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Positions in the order of the current ring: highest assigned, received, safe.
    pub fn progress(&self) -> (u64, u64, u64) {
        (self.ring.high, self.ring.store.aru(), self.ring.stable)
    }

    /// Takes a new list of members, which must name this one.
    ///
    /// Members of the view that it does not name are left out of the next one, which is gathered
    /// at once; new ones are looked for.
    pub fn reconfigure(&mut self, now: Time, members: Vec<MemberConfig>) {
        assert!(
            members.iter().any(|member| member.id == self.me.id),
            "not configured"
        );
        self.config.members = members;
        let config = &self.config;
        self.peers
            .retain(|id, _| config.members.iter().any(|member| member.id == *id));
        self.routes = routes(&self.config, &self.current_ring().view.clone());
        let removed: Vec<_> = self
            .ring
            .view
            .members
            .iter()
            .filter(|member| self.rank(member.id).is_none())
            .collect();
        if !removed.is_empty() {
            self.gone.extend(removed);
            self.enter_gather(now);
        }
        self.timers.set(Timer::Beacon, now);
    }

    /// Position of a member in the configuration; `None` if it is not configured.
    pub(crate) fn rank(&self, id: MemberId) -> Option<usize> {
        self.config
            .members
            .iter()
            .position(|member| member.id == id)
    }

    /// The ring whose packets are sealed and opened now.
    pub(crate) fn current_ring(&self) -> &Ring {
        self.recovery
            .as_ref()
            .map_or(&self.ring, |recovery| &recovery.ring)
    }

    /// Bytes of chunks in a full data packet.
    pub(crate) fn capacity(&self) -> usize {
        let overhead = HEADER_BYTES + DATA_HEADER_BYTES + TAG_BYTES;
        debug_assert!(self.config.datagram_bytes > overhead + CHUNK_HEADER_BYTES);
        self.config.datagram_bytes - overhead
    }

    pub(crate) fn send(&mut self, to: MemberId, control: Control) {
        self.outgoing.push_back(Queued::Control(to, control));
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.events.push_back(Event::Notice(notice));
    }

    /// From now on packets are those of this ring: what was queued of another one is dropped.
    pub(crate) fn switch_ring(&mut self, view: &View) {
        self.sealer.enter_ring(view);
        self.routes = routes(&self.config, view);
        self.outgoing
            .retain(|queued| matches!(queued, Queued::Control(..)));
        self.stop_token();
    }

    /// Lets go of the token's state and timers.
    pub(crate) fn stop_token(&mut self) {
        self.token_sent = None;
        self.token_held = None;
        self.roll = None;
        self.timers.stop(Timer::TokenLoss);
        self.timers.stop(Timer::RollCall);
        self.timers.stop(Timer::TokenRetransmit);
        self.timers.stop(Timer::TokenHold);
    }
}
