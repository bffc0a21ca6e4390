//! How the orders on all ways out of a ring fit together, judged when all members are gone.

use std::collections::{BTreeMap, BTreeSet};

use super::messages::Messages;
use super::ring::{Ring, Seat};
use super::{Verdict, broken};
use crate::sim::trace::MessageId;

impl Ring {
    /// E9, E10, E11, E14 and E15 over all ways out, when all members are gone.
    pub(super) fn judge(&self, messages: &Messages) -> Verdict {
        let sets: Vec<BTreeSet<MessageId>> = self
            .transitions
            .iter()
            .map(|way| way.order.iter().copied().collect())
            .collect();
        let judged = Judged {
            ring: self,
            messages,
            sets,
        };
        judged.check_regular_gaps()?;
        judged.check_total_order()?;
        judged.check_transitional_gaps()?;
        judged.check_safe_regular()?;
        judged.check_safe_transitional()
    }
}

/// A ring that all members have left.
struct Judged<'a> {
    ring: &'a Ring,
    messages: &'a Messages,
    /// What was delivered on each way out.
    sets: Vec<BTreeSet<MessageId>>,
}

impl Judged<'_> {
    /// Where the ways out begin to differ from each other.
    fn fork(&self) -> usize {
        let prefixes = self.ring.transitions.iter().map(|way| way.prefix as usize);
        prefixes.min().unwrap_or(self.ring.order.len())
    }

    /// Each way from the fork on, and the regular order, which somebody who crashed may have seen
    /// farther than all others.
    fn paths(&self) -> Vec<Vec<MessageId>> {
        let fork = self.fork();
        let regular = &self.ring.order;
        let ways = self.ring.transitions.iter();
        let mut paths: Vec<Vec<MessageId>> = ways
            .map(|way| [&regular[fork..way.prefix as usize], &way.order].concat())
            .collect();
        paths.push(regular[fork..].to_vec());
        paths
    }

    fn delivered(&self, way: usize, id: MessageId) -> bool {
        let prefix = self.ring.transitions[way].prefix;
        self.messages
            .position(id)
            .is_some_and(|position| position < prefix)
            || self.sets[way].contains(&id)
    }

    /// E10: what came before a message that somebody delivered in the regular configuration was
    /// delivered there too.
    fn check_regular_gaps(&self) -> Verdict {
        for way in &self.ring.transitions {
            let positions: Vec<Option<u32>> = way
                .order
                .iter()
                .map(|&id| self.messages.position(id))
                .collect();
            let Some(last) = positions.iter().rposition(Option::is_some) else {
                continue;
            };
            if let Some(gap) = positions[..last].iter().position(Option::is_none) {
                let (gap, last) = (way.order[gap], way.order[last]);
                return broken(
                    "E10",
                    format!(
                        "{last} was delivered in the regular {} without {gap}",
                        self.ring.id
                    ),
                );
            }
        }
        Ok(())
    }

    /// E9: the orders of all ways have an order in common (Kahn's algorithm).
    fn check_total_order(&self) -> Verdict {
        let mut followers: BTreeMap<MessageId, Vec<MessageId>> = BTreeMap::new();
        let mut waiting: BTreeMap<MessageId, usize> = BTreeMap::new();
        for path in self.paths() {
            for &id in &path {
                waiting.entry(id).or_default();
            }
            for pair in path.windows(2) {
                followers.entry(pair[0]).or_default().push(pair[1]);
                *waiting.entry(pair[1]).or_default() += 1;
            }
        }
        let mut ready: Vec<MessageId> = waiting
            .iter()
            .filter(|&(_, &count)| count == 0)
            .map(|(&id, _)| id)
            .collect();
        let mut ranked = 0;
        while let Some(id) = ready.pop() {
            ranked += 1;
            for follower in followers.get(&id).into_iter().flatten() {
                let count = waiting.get_mut(follower).expect("every message is listed");
                *count -= 1;
                if *count == 0 {
                    ready.push(*follower);
                }
            }
        }
        if ranked != waiting.len() {
            let circle: Vec<String> = waiting
                .iter()
                .filter(|&(_, &count)| count > 0)
                .map(|(id, _)| id.to_string())
                .take(8)
                .collect();
            return broken(
                "E9",
                format!("no total order of {} in {}", circle.join(" "), self.ring.id),
            );
        }
        Ok(())
    }

    /// E11: who delivers a message in T has delivered all that comes before it, unless its sender
    /// is not in T.
    fn check_transitional_gaps(&self) -> Verdict {
        for (index, way) in self.ring.transitions.iter().enumerate() {
            for path in self.paths() {
                let Some(last) = path.iter().rposition(|id| self.sets[index].contains(id)) else {
                    continue;
                };
                let inside = |id: &MessageId| {
                    self.messages
                        .sender(*id)
                        .is_some_and(|sender| way.members.contains(&sender))
                };
                if let Some(gap) = path[..last]
                    .iter()
                    .find(|id| !self.delivered(index, **id) && inside(id))
                {
                    let last = path[last];
                    return broken(
                        "E11",
                        format!(
                            "{last} was delivered on the way to {} without {gap}",
                            way.to
                        ),
                    );
                }
            }
        }
        Ok(())
    }

    /// E14: a Safe message of the regular configuration reaches all who do not crash.
    fn check_safe_regular(&self) -> Verdict {
        let safe = |id: &&MessageId| self.messages.is_safe(**id);
        if let Some(id) = self.ring.order.iter().find(safe) {
            for (member, seat) in self.ring.members.iter().zip(&self.ring.seats) {
                if *seat == Seat::Skipped {
                    return broken(
                        "E14",
                        format!(
                            "{id} was Safe in {}, which {} never installed",
                            self.ring.id, member.id
                        ),
                    );
                }
            }
        }
        for (index, way) in self.ring.transitions.iter().enumerate() {
            let later = &self.ring.order[way.prefix as usize..];
            if let Some(id) = later
                .iter()
                .filter(safe)
                .find(|id| !self.delivered(index, **id))
            {
                return broken(
                    "E14",
                    format!(
                        "{id} was Safe in {} but not delivered on the way to {}",
                        self.ring.id, way.to
                    ),
                );
            }
        }
        Ok(())
    }

    /// E15: a Safe message of a transitional configuration reaches all of its members who do not
    /// crash, on whatever way they went in the end.
    fn check_safe_transitional(&self) -> Verdict {
        for way in &self.ring.transitions {
            for &id in way.order.iter().filter(|id| self.messages.is_safe(**id)) {
                for member in way.members.iter() {
                    let seat = self
                        .ring
                        .position(*member)
                        .expect("checked to be from this ring");
                    let missed = match self.ring.seats[seat] {
                        Seat::Gone(other) => !self.delivered(other, id),
                        _ => false,
                    };
                    if missed {
                        return broken(
                            "E15",
                            format!(
                                "{id} was Safe on the way to {}, but {} missed it",
                                way.to, member.id
                            ),
                        );
                    }
                }
            }
        }
        Ok(())
    }
}
