//! Members that end: refused packets and the probes that follow, clean leaving.

use crate::event::Event;
use crate::mutant::{Mutant, planted};
use crate::node::{State, Totem};
use crate::time::Time;
use crate::timer::Timer;
use crate::view::{Incarnation, MemberId, RingId, ViewMember};
use crate::wire::Control;

use std::time::Duration;

/// LEAVE is said this often, this far apart.
const LEAVE_REPEATS: u32 = 3;
const LEAVE_PAUSE: Duration = Duration::from_millis(2);

/// A member whose host refused a packet: its process is gone, or only restarting.
#[derive(Debug)]
pub(crate) struct Probe {
    incarnation: Incarnation,
    started: Time,
    sent: usize,
    nonce: u64,
}

/// How far a clean leave is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Everything queued is still to be ordered and received by all.
    Draining,
    /// LEAVE was sent this often.
    Announcing(u32),
    Left,
}

impl Totem {
    /// The host of this member refused a unicast packet (ICMP port unreachable).
    ///
    /// Everybody in the ring is told and probes it. Only silence evicts: a refusal can be forged,
    /// or belong to a process that has been replaced by now.
    pub fn handle_refused(&mut self, now: Time, member: MemberId) {
        self.stats.refused += 1;
        self.refused_at.insert(member, now);
        let view = &self.current_ring().view;
        let suspect = view
            .members
            .iter()
            .find(|other| other.id == member)
            .copied();
        let Some(suspect) = suspect.filter(|suspect| *suspect != self.me) else {
            return;
        };
        if self.probes.contains_key(&member) || self.gone.contains(&suspect) || self.has_left() {
            return;
        }
        let (ring, members, me) = (view.ring, view.members.clone(), self.me);
        for other in members
            .iter()
            .filter(|other| **other != suspect && **other != me)
        {
            self.send(
                other.id,
                Control::Suspect {
                    ring,
                    member: suspect,
                },
            );
        }
        self.start_probe(now, suspect);
    }

    pub(crate) fn handle_suspect(
        &mut self,
        now: Time,
        sender: ViewMember,
        ring: RingId,
        member: ViewMember,
    ) {
        let view = &self.current_ring().view;
        let known = view.members.contains(&member) && view.members.contains(&sender);
        if view.ring == ring && known && member != self.me && !self.probes.contains_key(&member.id)
        {
            self.start_probe(now, member);
        }
    }

    fn start_probe(&mut self, now: Time, member: ViewMember) {
        let nonce = self.random.next();
        let incarnation = member.incarnation;
        self.probes.insert(
            member.id,
            Probe {
                incarnation,
                started: now,
                sent: 0,
                nonce,
            },
        );
        self.send(member.id, Control::Probe { nonce });
        self.timers
            .set_by(Timer::Probe, now + self.config.timers.probe_schedule[0]);
    }

    /// Sends the probes that are due and evicts who was silent to all of them.
    pub(crate) fn run_probes(&mut self, now: Time) {
        let timers = self.config.timers.clone();
        let mut due = Vec::new();
        let mut silent = Vec::new();
        for (&id, probe) in &mut self.probes {
            let age = now.since(probe.started);
            if age >= timers.probe_timeout {
                silent.push(ViewMember {
                    id,
                    incarnation: probe.incarnation,
                });
                continue;
            }
            while timers
                .probe_schedule
                .get(probe.sent)
                .is_some_and(|at| *at <= age)
            {
                probe.sent += 1;
                due.push((id, probe.nonce));
            }
            let next = timers
                .probe_schedule
                .get(probe.sent)
                .unwrap_or(&timers.probe_timeout);
            self.timers.set_by(Timer::Probe, probe.started + *next);
        }
        for (id, nonce) in due {
            self.send(id, Control::Probe { nonce });
        }
        for member in silent {
            self.probes.remove(&member.id);
            self.end_life(now, member);
        }
    }

    /// An answer clears the suspicion; one from a newer life ends the old one at once.
    pub(crate) fn handle_probe_answer(&mut self, now: Time, sender: ViewMember, nonce: u64) {
        self.note_answer(sender, nonce);
        let Some(probe) = self.probes.get(&sender.id) else {
            return;
        };
        if probe.nonce != nonce {
            return;
        }
        let suspect = ViewMember {
            id: sender.id,
            incarnation: probe.incarnation,
        };
        self.probes.remove(&sender.id);
        if sender.incarnation > suspect.incarnation {
            self.end_life(now, suspect);
        }
    }

    /// A life of a ring member is over: form a ring without it at once.
    fn end_life(&mut self, now: Time, member: ViewMember) {
        if !self.current_ring().view.members.contains(&member) {
            return;
        }
        self.gone.insert(member);
        match self.state {
            State::Operational => self.enter_gather(now),
            State::Recover => {
                self.abort_recovery();
                self.enter_gather(now);
            }
            State::Gather => self.try_form(now, false),
            State::Form => {}
        }
    }

    pub(crate) fn handle_leave(&mut self, now: Time, sender: ViewMember, ring: RingId) {
        let view = &self.current_ring().view;
        if view.ring == ring && view.members.contains(&sender) {
            self.end_life(now, sender);
        }
    }

    /// Leaves cleanly: takes nothing more, waits until everybody has what was queued, says so,
    /// and ends with [`Event::Left`].
    pub fn leave(&mut self, now: Time) {
        if self.leaving.is_none() {
            self.leaving = Some(Leaving::Draining);
            self.release_token(now);
            self.finish_draining();
            if self.leaving == Some(Leaving::Announcing(0)) {
                self.announce_leave(now);
            }
        }
    }

    /// Goes on to LEAVE when nothing of mine is outstanding.
    pub(crate) fn finish_draining(&mut self) {
        let ring = &self.ring;
        let drained = self.queue.is_empty()
            && ring.stable >= ring.own_high
            && ring.cursor.seq() > ring.own_high
            && self.state == State::Operational;
        let drained = drained || planted(Mutant::LeaveUndrained);
        if self.leaving == Some(Leaving::Draining) && drained {
            self.leaving = Some(Leaving::Announcing(0));
            self.timers.set(Timer::Leave, Time(0));
        }
    }

    pub(crate) fn announce_leave(&mut self, now: Time) {
        let Some(Leaving::Announcing(said)) = self.leaving else {
            return;
        };
        let alone = self.ring.view.members.len() == 1;
        if said == LEAVE_REPEATS || alone {
            self.leaving = Some(Leaving::Left);
            self.events.push_back(Event::Left);
            return;
        }
        let ring = self.ring.view.ring;
        for member in self.ring.view.members.clone().iter() {
            if *member != self.me {
                self.send(member.id, Control::Leave { ring });
            }
        }
        self.leaving = Some(Leaving::Announcing(said + 1));
        self.timers.set(Timer::Leave, now + LEAVE_PAUSE);
    }

    /// LEAVE was said: the others go on without me, and I hear nothing any more.
    pub(crate) fn leaving_now(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Announcing(1..) | Leaving::Left))
    }

    /// The leave is done: nothing is taken and nothing comes out any more.
    pub(crate) fn has_left(&self) -> bool {
        self.leaving == Some(Leaving::Left)
    }
}
