//! Gathering: who is there, who hears whom, and when that is enough to form a ring.
//!
//! Every member says HELLO: its ring and whom it hears. A HELLO counts only if it is fresh: it
//! names the receiver's present life (an echo, which no recording from an earlier life can hold),
//! or the receiver's own ring, which is alive only once. Others are answered, so that the next
//! one can echo.

use crate::clique;
use crate::event::{Difference, Notice};
use crate::node::{State, Totem};
use crate::peer::{Peer, STEADY_BEACONS};
use crate::time::Time;
use crate::timer::Timer;
use crate::view::{MemberId, ViewMember};
use crate::wire::{Control, Heard, Hello};

use std::time::Duration;

/// At most one answer to a HELLO without echo per peer and this time.
const ANSWER_GAP: Duration = Duration::from_millis(2);
/// A changed row of the matrix is told after this time, so that several changes share a HELLO.
const HELLO_DELAY: Duration = Duration::from_millis(1);
/// A host that refused a packet gets no beacons for this time.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);
/// A peer is heard while its last HELLO is not older than this many beacon intervals.
const HEARD_BEACONS: u32 = 3;

fn hears(hello: &Hello, member: ViewMember) -> bool {
    hello.heard.iter().any(|heard| heard.member == member)
}

impl Totem {
    /// The ring is lost: look for a new one.
    pub(crate) fn enter_gather(&mut self, now: Time) {
        self.stats.gathers += 1;
        self.state = State::Gather;
        self.stop_token();
        self.forming = None;
        self.timers.stop(Timer::FormRetransmit);
        self.timers.stop(Timer::FormDeadline);
        self.gather_started = now;
        self.hellos_sent = 0;
        let patience = self.random.jitter(self.config.timers.gather_timeout);
        self.timers.set(Timer::GatherDeadline, now + patience);
        self.send_hellos(now);
        self.try_form(now, false);
    }

    /// HELLOs heard before this time do not count.
    pub(crate) fn cutoff(&self, now: Time) -> Time {
        match self.state {
            State::Gather => self.gather_started,
            _ => now - self.config.timers.beacon_interval * HEARD_BEACONS,
        }
    }

    /// My row of the reachability matrix.
    fn row(&self, now: Time) -> Vec<Heard> {
        let cutoff = self.cutoff(now);
        let heard = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.heard_at >= cutoff);
        let heard = heard.map(|(&id, peer)| Heard {
            member: ViewMember {
                id,
                incarnation: peer.incarnation,
            },
            mutual: peer
                .hello(cutoff)
                .is_some_and(|hello| hears(hello, self.me)),
        });
        heard.collect()
    }

    fn my_hello(&self, now: Time) -> Hello {
        Hello {
            compatibility: self.config.compatibility,
            ring: self.ring.view.ring,
            gathering: self.state == State::Gather,
            promised: self.promised,
            counter: self.counter,
            members: self.ring.view.members.to_vec(),
            heard: self.row(now),
            gone: self.gone.union(&self.shut_out).copied().collect(),
            outline: self.outline(),
        }
    }

    /// HELLO to everyone whom it may concern, and when the next one is due.
    pub(crate) fn send_hellos(&mut self, now: Time) {
        if matches!(self.state, State::Form | State::Recover) {
            // Neither gathering nor in a ring: there is nothing true to say.
            return;
        }
        self.row_told = self.row(now);
        for id in self.outsiders() {
            let ended = self.gone.iter().any(|gone| gone.id == id);
            if ended || self.refuses(now, id) {
                continue;
            }
            let hello = self.my_hello(now);
            self.send(id, Control::Hello(hello));
        }
        if self.state == State::Gather {
            // The first ones quickly: most gatherings are over within a few milliseconds.
            let step = self.config.timers.gather_interval / 4;
            let pause = step * (1 << self.hellos_sent.min(3));
            self.hellos_sent += 1;
            let pause = self.random.jitter(pause);
            self.timers.set_by(Timer::Hello, now + pause);
        } else {
            self.try_merge(now);
        }
    }

    /// Whether nobody listens at this member's host, as far as we know: it will speak up itself
    /// when it starts. A host answers only about one refused packet a second (icmp_ratelimit), and
    /// the next answer may be the one that tells of a crash.
    pub(crate) fn refuses(&self, now: Time, id: MemberId) -> bool {
        self.refused_at
            .get(&id)
            .is_some_and(|at| now.since(*at) < REFUSAL_PAUSE)
    }

    /// Configured members that are not in my living ring.
    fn outsiders(&self) -> Vec<MemberId> {
        let outside = |id: &MemberId| match self.state {
            State::Operational => self.ring.view.position(*id).is_none(),
            _ => *id != self.me.id,
        };
        self.config
            .members
            .iter()
            .map(|member| member.id)
            .filter(outside)
            .collect()
    }

    pub(crate) fn send_beacons(&mut self, now: Time) {
        self.send_hellos(now);
        let pause = self.random.jitter(self.config.timers.beacon_interval);
        self.timers.set(Timer::Beacon, now + pause);
    }

    pub(crate) fn handle_hello(&mut self, now: Time, sender: ViewMember, hello: Hello) {
        if hello.compatibility != self.config.compatibility {
            self.notice(Notice::ForeignConfig {
                member: sender.id,
                difference: Difference::Protocol,
            });
            return;
        }
        let peer = self
            .peers
            .entry(sender.id)
            .or_insert_with(|| Peer::new(sender.incarnation, now));
        if sender.incarnation < peer.incarnation {
            return;
        }
        if sender.incarnation > peer.incarnation {
            *peer = Peer::new(sender.incarnation, now);
        }
        peer.hear(now, self.config.timers.beacon_interval * STEADY_BEACONS);
        self.refused_at.remove(&sender.id);
        let echo = hears(&hello, self.me);
        let ringmate =
            hello.ring == self.ring.view.ring && self.ring.view.members.contains(&sender);
        if !echo && !ringmate {
            if now.since(peer.answered_at) >= ANSWER_GAP {
                peer.answered_at = now;
                let answer = self.my_hello(now);
                self.send(sender.id, Control::Hello(answer));
            }
            return;
        }
        self.counter = self.counter.max(hello.counter);
        peer.hello = Some((now, hello.clone()));
        self.compare_outline(sender.id, &hello.outline);
        if self.row(now) != self.row_told {
            self.timers.set_by(Timer::Hello, now + HELLO_DELAY);
        }
        self.persist_counter();
        self.gone.remove(&sender);
        self.judge_hello(now, sender, &hello);
    }

    /// What a fresh HELLO means in my state.
    fn judge_hello(&mut self, now: Time, sender: ViewMember, hello: &Hello) {
        let ring = self.ring.view.ring;
        let before = self
            .ring
            .view
            .members
            .iter()
            .find(|member| member.id == sender.id)
            .copied();
        match (self.state, before) {
            (State::Operational, Some(before)) if before.incarnation < sender.incarnation => {
                self.gone.insert(before);
                self.enter_gather(now);
            }
            (State::Operational, Some(before)) if before == sender => {
                // It has lost our ring, or has gone on from it.
                let lost = hello.gathering && (hello.ring == ring || hello.promised >= ring);
                if lost || (!hello.gathering && hello.ring > ring) {
                    self.learn_gone(now, hello);
                    self.enter_gather(now);
                }
            }
            (State::Operational, _) => self.try_merge(now),
            (State::Gather, _) => {
                if hello.ring == ring {
                    self.learn_gone(now, hello);
                }
                self.try_form(now, false);
            }
            (State::Form | State::Recover, _) => {}
        }
    }

    /// Takes over what another member of my ring knows to be gone, unless I hear it myself.
    fn learn_gone(&mut self, now: Time, hello: &Hello) {
        let cutoff = self.cutoff(now);
        let me = self.me;
        for &gone in hello.gone.iter().filter(|gone| **gone != me) {
            let heard = self.peers.get(&gone.id).is_some_and(|peer| {
                peer.incarnation == gone.incarnation && peer.hello(cutoff).is_some()
            });
            let laggard = self
                .ring
                .laggard()
                .is_some_and(|(member, _)| member == gone);
            if !self.ring.view.members.contains(&gone) {
                continue;
            } else if laggard {
                self.shut_out(now, gone);
            } else if !heard {
                self.gone.insert(gone);
            }
        }
    }

    /// Members that gather now as I do, and I, in the order of their ids.
    fn candidates(&self) -> Vec<(ViewMember, Option<&Hello>)> {
        let since = self.gather_started;
        let mut candidates = vec![(self.me, None)];
        for (&id, peer) in self.peers.iter().filter(|(id, _)| **id != self.me.id) {
            let member = ViewMember {
                id,
                incarnation: peer.incarnation,
            };
            let hello = peer.hello(since).filter(|hello| hello.gathering);
            if hello.is_some() && !self.is_out(&member) {
                candidates.push((member, hello));
            }
        }
        candidates.sort_by_key(|(member, _)| *member);
        candidates
    }

    /// Whether a member of my ring is not to be in the next view.
    pub(crate) fn is_out(&self, member: &ViewMember) -> bool {
        self.gone.contains(member) || self.shut_out.contains(member)
    }

    /// Proposes a ring if everyone expected is there, or if the time is up, and if it is mine to
    /// propose: of those who hear each other, the one with the lowest id does.
    pub(crate) fn try_form(&mut self, now: Time, time_is_up: bool) {
        if self.state != State::Gather {
            return;
        }
        let candidates = self.candidates();
        let hears = |a: usize, b: usize| match candidates[a].1 {
            Some(hello) => hears(hello, candidates[b].0),
            None => true,
        };
        let groups = clique::partition(candidates.len(), hears);
        let mine = |group: &&Vec<usize>| group.iter().any(|&at| candidates[at].0 == self.me);
        let group = groups.iter().find(mine).expect("I am a candidate");
        let members: Vec<ViewMember> = group.iter().map(|&at| candidates[at].0).collect();
        let complete = self
            .ring
            .view
            .members
            .iter()
            .all(|member| members.contains(member) || self.is_out(member));
        // All who gather with us are in, too: a newer life of a member, or a lone one.
        let whole = members.len() == candidates.len();
        if (time_is_up || (complete && whole)) && members[0] == self.me {
            self.propose(now, members);
        }
    }

    pub(crate) fn gather_deadline(&mut self, now: Time) {
        if self.state != State::Gather {
            return;
        }
        let expired = now.since(self.gather_started) > self.config.timers.gather_timeout * 2;
        if expired {
            // Whoever should have proposed did not: its evidence is stale, so gather afresh.
            self.enter_gather(now);
            return;
        }
        self.try_form(now, true);
        if self.state == State::Gather {
            let patience = self.random.jitter(self.config.timers.gather_timeout);
            self.timers.set(Timer::GatherDeadline, now + patience);
        }
    }
}
