//! Merging: living rings that hear each other become one.

use crate::node::{State, Totem};
use crate::peer::STEADY_BEACONS;
use crate::time::Time;
use crate::view::{RingId, ViewMember};
use crate::wire::Heard;

impl Totem {
    /// As the member of a living ring with the lowest id, proposes to merge with other living rings,
    /// if every member of each hears every member of all the others, and if it is mine to propose.
    ///
    /// The token goes on until a member handles the formation, so looking costs nothing.
    pub(crate) fn try_merge(&mut self, now: Time) {
        let settle = self.config.timers.merge_settle();
        if self.state != State::Operational
            || self.ring.view.members.iter().min() != Some(&self.me)
            || self.leaving.is_some()
            || now < self.merge_after
            || now.since(self.installed_at) < settle
        {
            return;
        }
        let mut members: Vec<ViewMember> = self.ring.view.members.to_vec();
        for ring in self.foreign_rings(now) {
            let joined: Vec<ViewMember> = members.iter().chain(&ring).copied().collect();
            if self.can_merge(now, &joined) {
                members = joined;
            }
        }
        if members.len() == self.ring.view.members.len() {
            return;
        }
        if members.iter().min() == Some(&self.me) {
            self.stats.merges += 1;
            let pause = self.random.jitter(self.config.timers.beacon_interval);
            self.merge_after = now + pause;
            self.propose(now, members);
        }
    }

    /// The members of other living rings, ring by ring, each known from a fresh HELLO of all.
    fn foreign_rings(&self, now: Time) -> Vec<Vec<ViewMember>> {
        // Who was there a moment ago: an attempt that fails costs this ring a view.
        let beacon = self.config.timers.beacon_interval;
        let (cutoff, steady) = (now - beacon * 3 / 2, beacon * STEADY_BEACONS);
        let mut rings: Vec<(RingId, Vec<ViewMember>)> = Vec::new();
        for (id, peer) in &self.peers {
            let Some(hello) = peer.hello(cutoff) else {
                continue;
            };
            let outside = self.ring.view.position(*id).is_none();
            let seen = rings.iter().any(|(ring, _)| *ring == hello.ring);
            if outside && !seen && !hello.gathering {
                rings.push((hello.ring, hello.members.clone()));
            }
        }
        let in_step = |(ring, members): (RingId, Vec<ViewMember>)| {
            let all = members.iter().all(|member| {
                self.peers.get(&member.id).is_some_and(|peer| {
                    peer.incarnation == member.incarnation
                        && !peer.is_flapping(now, steady)
                        && !peer.is_shut_out(now)
                        && peer
                            .hello(cutoff)
                            .is_some_and(|h| h.ring == ring && !h.gathering)
                })
            });
            all.then_some(members)
        };
        rings.into_iter().filter_map(in_step).collect()
    }

    /// Whether everyone outside my ring says that it and each member of another ring hear each
    /// other.
    fn can_merge(&self, now: Time, members: &[ViewMember]) -> bool {
        let cutoff = self.cutoff(now);
        let outside = members
            .iter()
            .filter(|member| !self.ring.view.members.contains(member));
        outside.into_iter().all(|member| {
            let hello = self
                .peers
                .get(&member.id)
                .and_then(|peer| peer.hello(cutoff));
            let Some(hello) = hello else { return false };
            members.iter().all(|other| {
                let mutual = |heard: &Heard| heard.member == *other && heard.mutual;
                hello.members.contains(other) || hello.heard.iter().any(mutual)
            })
        })
    }
}
