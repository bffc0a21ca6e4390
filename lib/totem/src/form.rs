//! Forming a ring: two passes over its members.
//!
//! The first pass freezes each member's old ring and collects what its members hold; the second
//! tells everybody. The ring's id is the ballot: a member promises to each formation it handles
//! and from then on takes only greater ones, so of two that compete one is carried through. Each
//! hop is acknowledged and repeated until it is.

use crate::event::Notice;
use crate::mutant::{Mutant, planted};
use crate::node::{State, Totem};
use crate::ring::WINDOW_MAX;
use crate::store::GAP_MAX;
use crate::time::Time;
use crate::timer::Timer;
use crate::view::{RingId, ViewMember};
use crate::wire::{Control, Form, Held, OldRing};

/// Bytes of socket buffer that a received packet takes, with the kernel's overhead.
const BUFFER_BYTES_PER_PACKET: usize = 4096;

/// A formation that I have handed on.
#[derive(Debug)]
pub(crate) struct Forming {
    form: Form,
    acknowledged: bool,
}

impl Totem {
    /// Starts a formation of these members, of whom I have the lowest id. Their order is that of my
    /// configuration, whatever the order of theirs is.
    pub(crate) fn propose(&mut self, now: Time, mut members: Vec<ViewMember>) {
        members.sort_by_key(|member| self.rank(member.id));
        if !planted(Mutant::ReusedRingId) {
            self.counter += 1;
        }
        self.persist_counter();
        let ring = RingId {
            counter: self.counter,
            representative: self.me.id,
            incarnation: self.me.incarnation,
        };
        let form = Form {
            pass: 1,
            ring,
            members,
            window: WINDOW_MAX,
            old_rings: Vec::new(),
        };
        self.join_form(now, form);
    }

    pub(crate) fn handle_form(&mut self, now: Time, sender: ViewMember, form: Form) {
        let position = form.members.iter().position(|member| *member == self.me);
        let (Some(position), Some(proposer)) = (position, form.proposer()) else {
            return;
        };
        let before = (position + form.members.len() - 1) % form.members.len();
        if form.members[before] != sender {
            return;
        }
        let (ring, pass) = (form.ring, form.pass);
        let taken = match pass {
            1 if position == proposer => self.close_pass_one(now, form),
            1 => self.take_pass_one(now, form),
            2 if position != proposer => self.take_pass_two(now, form),
            _ => false,
        };
        if taken {
            self.send(sender.id, Control::FormAck { ring, pass });
        }
    }

    /// My own formation has come around: commit it.
    fn close_pass_one(&mut self, now: Time, mut form: Form) -> bool {
        if form.ring != self.promised {
            return false;
        }
        // Otherwise it comes again, because my acknowledgement was lost: I have gone on.
        if self.commits(&form) {
            form.pass = 2;
            self.enter_recovery(now, form);
        }
        true
    }

    fn take_pass_one(&mut self, now: Time, form: Form) -> bool {
        if form.ring == self.promised {
            return true;
        }
        if form.ring < self.promised || !self.may_join(&form) || self.leaving_now() {
            return false;
        }
        self.abort_recovery();
        self.join_form(now, form);
        true
    }

    /// A living ring goes into a formation whole, or because one of its own members lost it.
    fn may_join(&self, form: &Form) -> bool {
        let view = &self.ring.view;
        let proposer = form.proposer().map(|position| form.members[position]);
        self.state != State::Operational
            || proposer.is_some_and(|proposer| view.members.contains(&proposer))
            || view
                .members
                .iter()
                .all(|member| form.members.contains(member))
    }

    fn take_pass_two(&mut self, now: Time, form: Form) -> bool {
        if form.ring != self.promised && !planted(Mutant::StaleForm2) {
            return false;
        }
        if self.commits(&form) {
            self.enter_recovery(now, form);
        }
        self.state != State::Gather
    }

    /// Whether this formation is the one that I wait for to be committed.
    fn commits(&self, form: &Form) -> bool {
        if planted(Mutant::StaleForm2) {
            return form.ring != self.current_ring().view.ring;
        }
        self.state == State::Form && form.ring == self.promised
    }

    /// Promises to a formation: freezes the old ring, adds what I hold of it, hands it on.
    fn join_form(&mut self, now: Time, mut form: Form) {
        self.state = State::Form;
        self.frozen = true;
        self.promised = form.ring;
        self.counter = self.counter.max(form.ring.counter);
        self.persist_counter();
        self.stop_token();
        self.timers.stop(Timer::GatherDeadline);
        let buffer = self.config.receive_buffer_bytes / BUFFER_BYTES_PER_PACKET;
        form.window = form.window.min(buffer as u32);
        self.add_old_ring(&mut form);
        if form.members.len() == 1 {
            form.pass = 2;
            self.enter_recovery(now, form);
        } else {
            self.hand_on(now, form);
        }
    }

    /// Sends the formation to the next member until it is acknowledged.
    pub(crate) fn hand_on(&mut self, now: Time, form: Form) {
        self.forming = Some(Forming {
            form,
            acknowledged: false,
        });
        self.timers
            .set(Timer::FormDeadline, now + self.config.timers.form_timeout);
        self.retransmit_form(now);
    }

    pub(crate) fn retransmit_form(&mut self, now: Time) {
        let Some(forming) = &self.forming else { return };
        if forming.acknowledged {
            return;
        }
        let next = self.next_in(&forming.form);
        let form = forming.form.clone();
        self.send(next.id, Control::Form(form));
        let pause = self.random.jitter(self.config.timers.form_retransmit);
        self.timers.set(Timer::FormRetransmit, now + pause);
    }

    fn next_in(&self, form: &Form) -> ViewMember {
        let position = form.members.iter().position(|member| *member == self.me);
        let position = position.expect("I am in the formations that I hand on");
        form.members[(position + 1) % form.members.len()]
    }

    pub(crate) fn handle_form_ack(&mut self, sender: ViewMember, ring: RingId, pass: u8) {
        let next = self
            .forming
            .as_ref()
            .map(|forming| self.next_in(&forming.form));
        if let Some(forming) = &mut self.forming
            && (forming.form.ring, forming.form.pass) == (ring, pass)
            && next == Some(sender)
        {
            forming.acknowledged = true;
            self.timers.stop(Timer::FormRetransmit);
        }
    }

    /// The formation does not go on: gather again, with the old ring as it was told.
    pub(crate) fn form_deadline(&mut self, now: Time) {
        if self.state == State::Form {
            self.stats.formations_failed += 1;
            self.notice(Notice::FormationFailed {
                ring: self.promised,
            });
            self.enter_gather(now);
        }
    }

    /// Merges what I hold of my old ring into the formation.
    fn add_old_ring(&self, form: &mut Form) {
        let position = form.members.iter().position(|member| *member == self.me);
        let position = position.expect("I am in the formations that I join") as u16;
        let ring = &self.ring;
        let id = ring.view.ring;
        let aru = ring.store.aru();
        let at = form.old_rings.iter().position(|old| old.ring == id);
        let at = at.unwrap_or_else(|| {
            let (stable, held) = (ring.stable, Held::default());
            let (members, obligations) = (Vec::new(), Vec::new());
            form.old_rings.push(OldRing {
                ring: id,
                members,
                stable,
                aru,
                held,
                obligations,
            });
            form.old_rings.len() - 1
        });
        let old = &mut form.old_rings[at];
        old.members.push(position);
        old.stable = old.stable.max(ring.stable);
        let line = old.aru.max(aru);
        let high = old.high().max(ring.store.high()).min(line + 2 * GAP_MAX);
        let mut held = Held::default();
        for seq in line + 1..=high {
            if old.holds(seq) || ring.store.has(seq) {
                held.insert((seq - line - 1) as usize);
            }
        }
        (old.aru, old.held) = (line, held);
        for &member in &self.obligations {
            if !old.obligations.contains(&member) {
                old.obligations.push(member);
            }
        }
    }
}
