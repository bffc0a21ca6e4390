//! Recovery of the old ring's messages in the new one, and the installation of its view.
//!
//! The formation says, for each old ring, which packets somebody in its transitional set holds.
//! On the new ring each member asks for those it misses, under their old numbers. Everybody has
//! everything once the token said so twice in a row; then the view is installed. A member whose
//! token is lost first goes back to gathering with its old ring, but one of the others may have
//! installed: it must still deliver what they delivered, even behind a gap (case 44 of the notes),
//! so their names become obligations when it reports to have everything.

use std::sync::Arc;

use crate::event::Event;
use crate::mutant::{Mutant, planted};
use crate::node::{State, Totem};
use crate::ring::{Ring, add_request};
use crate::store::Packet;
use crate::time::Time;
use crate::timer::Timer;
use crate::view::{RingId, Transition, View, ViewMember};
use crate::wire::{Form, NOBODY, OldRing, REQUESTS_MAX, Token};

/// A ring that is formed and not installed.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) ring: Ring,
    form: Form,
    /// Which of the form's old rings is mine.
    old: usize,
    /// The token said "everybody has everything" when I sent it last.
    reported: bool,
}

impl Recovery {
    fn plan(&self) -> &OldRing {
        &self.form.old_rings[self.old]
    }

    /// How packets of my old ring are marked in this one.
    fn mark(&self) -> u16 {
        self.old as u16 + 1
    }

    fn transitional_set(&self) -> impl Iterator<Item = ViewMember> {
        self.plan()
            .members
            .iter()
            .map(|&at| self.form.members[usize::from(at)])
    }
}

impl Totem {
    /// The formation is committed: runs the new ring, first to recover the old one.
    pub(crate) fn enter_recovery(&mut self, now: Time, form: Form) {
        let view = View {
            ring: form.ring,
            members: form.members.clone().into(),
        };
        let me = form.members.iter().position(|member| *member == self.me);
        let old = form.old_rings.iter().position(|old| {
            let lists_me = || me.is_some_and(|me| old.members.contains(&(me as u16)));
            old.ring == self.ring.view.ring || (planted(Mutant::StaleForm2) && lists_me())
        });
        let (Some(me), Some(old)) = (me, old) else {
            // Not the formation that I added myself to.
            return;
        };
        self.state = State::Recover;
        self.token_at = now;
        self.switch_ring(&view);
        self.timers.stop(Timer::FormDeadline);
        self.expect_token(now);
        let ring = Ring::new(view, me as u16, form.window);
        self.recovery = Some(Recovery {
            ring,
            form: form.clone(),
            old,
            reported: false,
        });
        self.counter = self.counter.max(form.ring.counter);
        self.persist_counter();
        if planted(Mutant::SkipRecovery) {
            self.install(now);
        }
        // The member before the proposer is the last one to be told.
        if Some((me + 1) % form.members.len()) != form.proposer() {
            self.hand_on(now, form);
            self.timers.stop(Timer::FormDeadline);
        } else {
            self.forming = None;
            let token = Token {
                hop: 1,
                aru_by: NOBODY,
                recovered: true,
                recovered_by: NOBODY,
                congested_by: NOBODY,
                ..Token::default()
            };
            self.accept_token(now, token);
        }
    }

    /// The new ring's token, while the old ring is recovered.
    pub(crate) fn visit_recovering(&mut self, now: Time, token: Token) {
        let capacity = self.capacity();
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        let (plan, mark, me) = (
            &recovery.form.old_rings[recovery.old],
            recovery.mark(),
            recovery.ring.me,
        );
        let store = &self.ring.store;
        let answer = |old_ring, seq| old_ring == mark && store.get(seq).is_some();
        let mut visit = recovery
            .ring
            .handle_token(token, &mut self.queue, capacity, false, answer);
        self.stats.retransmitted += visit.repeated;

        let missing = store.missing(plan.high(), REQUESTS_MAX, mark, |seq| plan.holds(seq));
        let complete = missing.is_empty();
        let token = &mut visit.token;
        for run in missing {
            add_request(&mut token.requests, run);
        }
        // The same rule as for the aru, with two values.
        if !complete && token.recovered {
            (token.recovered, token.recovered_by) = (false, me);
        } else if complete && (token.recovered_by == me || token.recovered_by == NOBODY) {
            (token.recovered, token.recovered_by) = (true, NOBODY);
        }
        let twice = recovery.reported || planted(Mutant::InstallByOneVisit);
        let everybody = token.recovered && twice;
        recovery.reported = token.recovered;
        if complete {
            let set: Vec<ViewMember> = recovery.transitional_set().collect();
            let passed_on = recovery.plan().obligations.clone();
            if !planted(Mutant::DropObligations) {
                self.obligations.extend(set.into_iter().chain(passed_on));
            }
        }
        let alone = recovery.ring.view.members.len() == 1;
        if everybody || alone {
            // Installing first: what is queued goes out with the next visit, this token at once.
            let visit = (!alone).then_some(visit);
            self.install(now);
            if let Some(visit) = visit {
                self.send_visit(now, visit);
            }
            self.deliver();
            self.wake_ring(now);
        } else {
            self.send_visit(now, visit);
        }
    }

    /// The ring that I am recovering my old messages for.
    pub(crate) fn recovering(&self) -> Option<RingId> {
        self.recovery
            .as_ref()
            .map(|recovery| recovery.ring.view.ring)
    }

    /// A message of my old ring, under its old number; false if I have it or must not have it.
    pub(crate) fn recover_packet(&mut self, mark: u16, seq: u64, packet: Packet) -> bool {
        let Some(recovery) = &self.recovery else {
            return false;
        };
        let plan = recovery.plan();
        let wanted = mark == recovery.mark() && seq <= plan.high() && plan.holds(seq);
        wanted
            && usize::from(packet.origin) < self.ring.view.members.len()
            && self.ring.store.insert(seq, packet)
    }

    /// Gives up a ring that is not installed; the old one stays as it was told, plus what was
    /// recovered.
    pub(crate) fn abort_recovery(&mut self) {
        if self.recovery.take().is_some() {
            self.stats.formations_failed += 1;
        }
    }

    /// Ends the old ring and begins the new one, by the rules of extended virtual synchrony.
    fn install(&mut self, now: Time) {
        let Some(recovery) = self.recovery.take() else {
            return;
        };
        let set: Vec<ViewMember> = recovery.transitional_set().collect();
        let plan = recovery.plan().clone();
        self.deliver_regular(&plan);
        let old = &self.ring.view;
        let together = old
            .members
            .iter()
            .filter(|member| set.contains(member))
            .copied()
            .collect();
        let (from, to) = (old.ring, recovery.ring.view.ring);
        self.events.push_back(Event::Transitional(Transition {
            from,
            to,
            members: together,
        }));
        self.deliver_transitional(&plan, &set);

        let old_members: Arc<[ViewMember]> = self.ring.view.members.clone();
        let view = recovery.ring.view.clone();
        for member in old_members
            .iter()
            .filter(|member| !view.members.contains(member))
        {
            self.note_lost(now, *member);
        }
        self.stats.views += 1;
        self.events.push_back(Event::Regular(view));
        self.ring = recovery.ring;
        self.state = State::Operational;
        self.frozen = false;
        self.obligations.clear();
        self.gone.clear();
        self.shut_out.clear();
        self.queue.rewind();
        self.installed_at = now;
        self.merge_after = now;
        self.timers.stop(Timer::FormDeadline);
        self.timers.stop(Timer::GatherDeadline);
        if self.ring.view.members.len() == 1 {
            self.stop_token();
        }
        self.timers
            .set(Timer::Beacon, now + self.config.timers.merge_settle());
    }

    /// Delivers, still in the old regular configuration, all before the first hole and before the
    /// first Safe message that nobody of the transitional set knows to be stable.
    fn deliver_regular(&mut self, plan: &OldRing) {
        let ring = &mut self.ring;
        let until = (ring.cursor.seq()..=plan.high())
            .take_while(|&seq| plan.holds(seq))
            .last();
        if let Some(until) = until {
            ring.cursor.deliver(
                &ring.store,
                &ring.view,
                until,
                if planted(Mutant::SafeWithoutStability) {
                    until
                } else {
                    plan.stable
                },
                &mut self.events,
            );
        }
    }

    /// Delivers the rest in the transitional configuration: up to the first hole everything,
    /// behind it only what comes from members whose messages are all known.
    fn deliver_transitional(&mut self, plan: &OldRing, set: &[ViewMember]) {
        let ring = &mut self.ring;
        let members = ring.view.members.clone();
        let complete = |origin: u16| {
            let member = &members[usize::from(origin)];
            set.contains(member)
                || plan.obligations.contains(member)
                || planted(Mutant::ForeignAfterGap)
        };
        let mut behind_hole = false;
        while ring.cursor.seq() <= plan.high() {
            let seq = ring.cursor.seq();
            let packet = ring.store.get(seq).filter(|_| plan.holds(seq));
            behind_hole |= packet.is_none();
            match packet {
                Some(packet) if !behind_hole || complete(packet.origin) => {
                    ring.cursor
                        .deliver_packet(packet, &ring.view, true, &mut self.events);
                    ring.cursor.step();
                }
                _ => ring.cursor.skip(complete),
            }
        }
    }
}
