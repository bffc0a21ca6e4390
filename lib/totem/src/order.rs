//! The token and data packets, as a member of a ring meets them.

use std::time::Duration;

use bytes::Bytes;

use crate::event::Notice;
use crate::mutant::{Mutant, planted};
use crate::node::{State, Totem};
use crate::seal::Refused;
use crate::store::Packet;
use crate::time::Time;
use crate::timer::Timer;
use crate::transmit::Queued;
use crate::view::RingId;
use crate::wire::{Control, NOBODY, Token, split_data};

/// New data and answers of all members put off the loss of the token, but not beyond this many
/// times its timeout: a member that babbles on a dead ring must not keep it from being gathered
/// anew.
const LOSS_EXTENSION_MAX: u32 = 3;

/// A member that misses the same packet for so many visits and token losses is left out.
const LAGGARD_VISITS: u32 = 50;
const LAGGARD_LOSSES: u32 = 6;

/// A timer that fires so late shows that this process was not run.
const OVERSLEPT: Duration = Duration::from_millis(20);

/// How long a congested member keeps the token at each visit.
const CONGESTION_HOLD: Duration = Duration::from_millis(1);

impl Totem {
    /// Says whether clients of this member cannot keep up with what is delivered to them.
    ///
    /// As long as one member is congested, all of them send next to nothing. The driver decides
    /// for how long a client is worth that.
    pub fn set_congested(&mut self, now: Time, congested: bool) {
        if self.congested && !congested {
            self.congested = false;
            self.release_token(now);
        }
        self.congested = congested;
    }

    pub(crate) fn handle_token(&mut self, now: Time, from: u16, token: Token) {
        if !matches!(self.state, State::Operational | State::Recover) {
            // The ring was declared lost: its token must never be handled again.
            return;
        }
        let ring = self.current_ring();
        let newer = token.hop > ring.hop || planted(Mutant::DuplicateToken);
        if !newer || from != ring.predecessor() {
            self.stats.duplicates += 1;
            return;
        }
        self.accept_token(now, token);
    }

    /// The token is here and has not been handled.
    pub(crate) fn accept_token(&mut self, now: Time, token: Token) {
        self.stats.tokens += 1;
        self.token_at = now;
        self.overslept = false;
        self.token_sent = None;
        self.timers.stop(Timer::TokenRetransmit);
        self.expect_token(now);
        let is_idle = self.state == State::Operational
            && self.ring.me == 0
            && self.leaving.is_none()
            && !self.ring.kicked
            && self.ring.is_idle(&token, &self.queue);
        if is_idle {
            // Whatever comes again of it meanwhile is a duplicate.
            self.ring.hop = token.hop;
            self.token_held = Some(token);
            self.timers
                .set(Timer::TokenHold, now + self.config.timers.idle_hold);
            return;
        }
        if self.congested && self.state == State::Operational {
            // Everybody sends next to nothing now: a fast token would only take time from the
            // clients that are to catch up.
            self.ring.hop = token.hop;
            self.token_held = Some(token);
            self.timers.set(Timer::TokenHold, now + CONGESTION_HOLD);
            return;
        }
        self.visit(now, token);
    }

    fn visit(&mut self, now: Time, mut token: Token) {
        if self.state == State::Recover {
            self.visit_recovering(now, token);
            return;
        }
        if self.congested && token.congested_by == NOBODY {
            token.congested_by = self.ring.me;
        } else if !self.congested && token.congested_by == self.ring.me {
            token.congested_by = NOBODY;
        }
        let capacity = self.capacity();
        let visit = self
            .ring
            .handle_token(token, &mut self.queue, capacity, true, |_, _| false);
        self.stats.retransmitted += visit.repeated;
        self.send_visit(now, visit);
        self.deliver();
        self.judge_laggard(now);
    }

    /// A member that hears the token but cannot get the data holds everybody up: after a time,
    /// never after a count of visits alone, the ring goes on without it.
    fn judge_laggard(&mut self, now: Time) {
        let Some((member, visits)) = self.ring.laggard() else {
            self.waiting_since = None;
            return;
        };
        let since = *self.waiting_since.get_or_insert(now);
        let patience = self.config.timers.token_loss * LAGGARD_LOSSES;
        if visits > LAGGARD_VISITS && now.since(since) > patience && member != self.me {
            self.waiting_since = None;
            self.shut_out(now, member);
            self.enter_gather(now);
        }
    }

    /// Queues what a visit of the token sends, in its order.
    pub(crate) fn send_visit(&mut self, now: Time, visit: crate::ring::Visit) {
        let asked = visit
            .token
            .requests
            .iter()
            .map(|run| u64::from(run.count))
            .sum::<u64>();
        self.stats.requested += asked;
        self.outgoing
            .extend(visit.before.into_iter().map(Queued::Data));
        self.outgoing.push_back(Queued::Token(visit.token.clone()));
        self.outgoing
            .extend(visit.after.into_iter().map(Queued::Data));
        self.token_sent = Some(visit.token);
        self.prefer_token = false;
        self.timers.set(
            Timer::TokenRetransmit,
            now + self.config.timers.token_retransmit,
        );
        self.expect_token(now);
    }

    pub(crate) fn handle_data(
        &mut self,
        now: Time,
        from: u16,
        plain: Bytes,
        datagram: &[u8],
    ) -> Result<(), Refused> {
        let (header, body) = split_data(&plain).map_err(|_| Refused::Garbage)?;
        let packet = Packet {
            origin: header.origin,
            hop: header.hop,
            body,
        };
        let new = match (&mut self.recovery, header.old_ring) {
            (None, 0) => self.ring.handle_data(header.seq, packet),
            (Some(recovery), 0) => recovery.ring.handle_data(header.seq, packet),
            (Some(_), old_ring) => self.recover_packet(old_ring, header.seq, packet),
            (None, _) => false,
        };
        if new {
            self.stats.data_received += 1;
            self.note_progress(now, header.origin, header.hop, header.old_ring == 0);
        } else {
            self.stats.duplicates += 1;
        }
        // Also what I have already: another member of my segment may have asked for it.
        self.relay(from, datagram);
        if self.recovery.is_none() {
            self.deliver();
        }
        Ok(())
    }

    /// New data shows that the ring lives, and perhaps that my token went on.
    fn note_progress(&mut self, now: Time, origin: u16, hop: u32, current: bool) {
        let ring = self.current_ring();
        if current && ring.is_after_my_visit(hop) {
            let predecessor = ring.predecessor();
            self.timers.stop(Timer::TokenRetransmit);
            self.token_sent = None;
            self.prefer_token |= origin == predecessor;
        }
        if self.timers.is_set(Timer::TokenLoss) {
            let loss = self.config.timers.token_loss;
            let overdue = self.latest_loss().min(now + loss);
            self.timers.set(Timer::TokenLoss, overdue);
            self.timers.set(Timer::RollCall, overdue - loss / 2);
        }
    }

    /// What came from another segment to its representative here goes on in this segment.
    fn relay(&mut self, from: u16, datagram: &[u8]) {
        if !self.routes.relay {
            return;
        }
        let sender = self.current_ring().view.members[usize::from(from)].id;
        let segment = |id| self.rank(id).map(|rank| self.config.members[rank].segment);
        if segment(sender) != segment(self.me.id) {
            self.stats.relayed += 1;
            self.outgoing
                .push_back(Queued::Relay(Bytes::copy_from_slice(datagram)));
        }
    }

    /// Delivers what this regular configuration allows.
    pub(crate) fn deliver(&mut self) {
        self.ring.deliver(&mut self.events);
        self.finish_draining();
    }

    /// Something is queued: alone it is ordered at once, otherwise an idle token is let go.
    pub(crate) fn wake_ring(&mut self, now: Time) {
        if self.state != State::Operational || self.queue.is_empty() {
            return;
        }
        if self.ring.view.members.len() == 1 {
            let capacity = self.capacity();
            self.ring
                .pump_alone(&mut self.queue, capacity, &mut self.events);
            self.finish_draining();
        } else if self.token_held.is_some() {
            self.release_token(now);
        } else if self.ring.me != 0 && !self.ring.kicked {
            self.ring.kicked = true;
            let ring = self.ring.view.ring;
            self.send(self.ring.view.members[0].id, Control::Kick { ring });
        }
    }

    pub(crate) fn handle_kick(&mut self, now: Time, ring: RingId) {
        if ring == self.ring.view.ring && self.state == State::Operational {
            if self.token_held.is_some() {
                self.release_token(now);
            } else {
                // The token is on its way here: it is not to be kept.
                self.ring.kicked = true;
            }
        }
    }

    /// Lets an idle ring's token go on.
    pub(crate) fn release_token(&mut self, now: Time) {
        self.timers.stop(Timer::TokenHold);
        if let Some(token) = self.token_held.take() {
            self.visit(now, token);
        }
    }

    pub(crate) fn retransmit_token(&mut self, now: Time) {
        if let Some(token) = self.token_sent.clone() {
            self.stats.tokens_retransmitted += 1;
            self.outgoing.push_back(Queued::Token(token));
            self.timers.set(
                Timer::TokenRetransmit,
                now + self.config.timers.token_retransmit,
            );
        }
    }

    /// From now on the token is awaited.
    pub(crate) fn expect_token(&mut self, now: Time) {
        let loss = self.config.timers.token_loss;
        self.roll = None;
        self.timers.set(Timer::RollCall, now + loss / 2);
        self.timers.set(Timer::TokenLoss, now + loss);
    }

    /// Whatever speaks for it, the token is not awaited longer than this.
    fn latest_loss(&self) -> Time {
        self.token_at + self.config.timers.token_loss * LOSS_EXTENSION_MAX
    }

    /// The token did not come back in time. It is lost, unless this member did not run in time, so
    /// that the token may be on its way still: that is given one more chance; or everybody has
    /// just shown to be there, so that the ring is only slow.
    pub(crate) fn token_overdue(&mut self, now: Time, due: Time) {
        let chance = now + self.config.timers.token_loss / 2;
        if now.since(due) > OVERSLEPT && !self.overslept {
            self.overslept = true;
            self.timers.set(Timer::TokenLoss, chance);
        } else if self.all_answered() && chance <= self.latest_loss() {
            self.timers.set(Timer::TokenLoss, chance);
            self.call_roll(now);
        } else {
            self.lose_token(now);
        }
    }

    fn lose_token(&mut self, now: Time) {
        self.notice(Notice::TokenLost {
            ring: self.current_ring().view.ring,
        });
        self.abort_recovery();
        self.enter_gather(now);
    }
}
