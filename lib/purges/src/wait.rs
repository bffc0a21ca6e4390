//! Who has to confirm a purge, and who has. No I/O.
//!
//! The set to wait for is the membership at the delivery of the purge to ourselves: in agreed
//! order everyone who is in it gets the purge too, or is told to have gone. A cache that leaves in
//! order has stopped serving before; one that is lost may go on serving on the other side.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use group::{Cause, Event, Membership, Message, Name};

/// What has become of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has not answered yet.
    Awaited,
    /// It confirmed after this time, and deleted so many objects at once.
    Confirmed(Duration, u64),
    /// It left, having stopped serving.
    Left,
    /// It was lost: it may go on serving what was purged.
    Gone,
    /// It could not do it; why.
    Failed(String),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Confirmed(time, count) => {
                let milliseconds = time.as_secs_f64() * 1000.0;
                write!(f, "confirmed in {milliseconds:.1} ms, {count} deleted")
            }
            Fate::Awaited => f.write_str("no answer in time"),
            Fate::Left => f.write_str("left, it does not serve any more"),
            Fate::Gone => f.write_str("gone, it may go on serving"),
            Fate::Failed(error) => write!(f, "failed: {}", error.escape_debug()),
        }
    }
}

/// A purge on its way.
#[derive(Debug)]
pub struct Waiting {
    own: Name,
    group: Name,
    number: u16,
    sent_at: Instant,
    members: Vec<Name>,
    /// Whether the membership is about to change in a way that is not known yet.
    in_transition: bool,
    delivered: bool,
    pub caches: BTreeMap<Name, Fate>,
}

impl Waiting {
    /// For the purge that `own` sends with this number while the group has these members.
    pub fn new(
        own: Name,
        group: Name,
        number: u16,
        members: Vec<Name>,
        sent_at: Instant,
    ) -> Waiting {
        Waiting {
            own,
            group,
            number,
            sent_at,
            members,
            in_transition: false,
            delivered: false,
            caches: BTreeMap::new(),
        }
    }

    /// The members of the group, as last told.
    pub fn members(&self) -> &[Name] {
        &self.members
    }

    /// Whether the purge has been delivered to ourselves, and so to all.
    pub fn is_delivered(&self) -> bool {
        self.delivered
    }

    /// Whether everybody's fate is known.
    pub fn is_done(&self) -> bool {
        self.delivered
            && !self.in_transition
            && !self.caches.values().any(|fate| *fate == Fate::Awaited)
    }

    /// Takes note of what has come.
    pub fn handle(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Message(message) if message.mess_type == self.number => {
                self.handle_message(message, now)
            }
            Event::Membership(membership) if membership.group == self.group => {
                self.handle_membership(membership)
            }
            Event::Transition { group, .. } if *group == self.group => self.in_transition = true,
            _ => {}
        }
    }

    fn handle_message(&mut self, message: &Message, now: Instant) {
        if message.sender == self.own && message.groups.iter().any(|group| group == self.group) {
            self.delivered = true;
            let caches = self.members.iter().filter(|name| is_cache(name));
            self.caches = caches.map(|name| (*name, Fate::Awaited)).collect();
            return;
        }
        if let Some(fate) = self.caches.get_mut(&message.sender) {
            let text = String::from_utf8_lossy(&message.data);
            let text = text.lines().next().unwrap_or_default();
            *fate = match text
                .strip_prefix("done ")
                .and_then(|count| count.parse().ok())
            {
                Some(count) => Fate::Confirmed(now.duration_since(self.sent_at), count),
                None => Fate::Failed(
                    text.strip_prefix("failed ")
                        .unwrap_or("an answer that makes no sense")
                        .to_owned(),
                ),
            };
        }
    }

    fn handle_membership(&mut self, membership: &Membership) {
        self.in_transition &= membership.cause != Cause::Network;
        self.members.clone_from(&membership.members);
        // Who comes along through another daemon's view may have missed the purge.
        let together = match membership.cause {
            Cause::Network => membership.vs_sets.get(membership.own_set),
            _ => None,
        };
        for (name, fate) in &mut self.caches {
            let stays =
                membership.members.contains(name) && together.is_none_or(|set| set.contains(name));
            if *fate == Fate::Awaited && !stays {
                *fate = match membership.cause {
                    Cause::Leave => Fate::Left,
                    _ => Fate::Gone,
                };
            }
        }
    }
}

/// Whether a private group is that of a cache, or of a purged.
pub fn is_cache(name: &Name) -> bool {
    name.as_bytes().starts_with(b"#ic") || name.as_bytes().starts_with(b"#pd")
}

#[cfg(test)]
mod tests {
    use super::*;
    use group::Service;
    use group::wire::{ByteOrder, GroupId, Groups};

    const OWN: &str = "#r1#web1";
    const CACHES: [&str; 2] = ["#ic1#web1", "#ic2#web2"];

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| name(text)).collect()
    }

    fn waiting() -> Waiting {
        let members = names(&[CACHES[0], CACHES[1], OWN, "#other#web3"]);
        Waiting::new(name(OWN), name("imgcache"), 7, members, Instant::now())
    }

    fn message(sender: &str, to: &str, number: u16, text: &'static str) -> Event {
        Event::Message(Message {
            sender: name(sender),
            service: Service::Agreed,
            groups: Groups::new(&names(&[to])),
            mess_type: number,
            order: ByteOrder::NATIVE,
            data: text.as_bytes().to_vec().into(),
        })
    }

    fn membership(cause: Cause, members: &[&str], together: &[&str]) -> Event {
        Event::Membership(Membership {
            group: name("imgcache"),
            cause,
            gid: GroupId::default(),
            members: names(members),
            vs_sets: vec![names(together)],
            own_set: 0,
        })
    }

    fn run(events: &[Event]) -> Waiting {
        let mut waiting = waiting();
        events
            .iter()
            .for_each(|event| waiting.handle(event, Instant::now()));
        waiting
    }

    #[test]
    fn all_confirm() {
        let own = message(OWN, "imgcache", 7, "purge /x");
        let one = message(CACHES[0], OWN, 7, "done 1\n");
        let waiting = run(&[
            own.clone(),
            one.clone(),
            message(CACHES[1], OWN, 8, "done 1\n"),
        ]);
        assert!(waiting.is_delivered() && !waiting.is_done());
        let waiting = run(&[own, one, message(CACHES[1], OWN, 7, "done 0\n")]);
        assert!(waiting.is_done());
        assert!(
            waiting
                .caches
                .values()
                .all(|fate| matches!(fate, Fate::Confirmed(..)))
        );
    }

    #[test]
    fn the_set_is_that_at_the_own_delivery() {
        let own = message(OWN, "imgcache", 7, "");
        let alone = membership(Cause::Disconnect, &[CACHES[0], OWN], &[CACHES[1]]);
        let waiting = run(&[alone, own.clone()]);
        assert_eq!(waiting.caches.len(), 1);
        let later = membership(
            Cause::Join,
            &[CACHES[0], CACHES[1], OWN, "#ic3#web3"],
            &["#ic3#web3"],
        );
        let waiting = run(&[own, later]);
        assert_eq!(waiting.caches.len(), 2);
    }

    #[test]
    fn leaving_is_not_being_lost() {
        let own = message(OWN, "imgcache", 7, "");
        let rest = [CACHES[0], OWN];
        let fate = |cause| {
            run(&[own.clone(), membership(cause, &rest, &[CACHES[1]])]).caches[&name(CACHES[1])]
                .clone()
        };
        assert_eq!(fate(Cause::Leave), Fate::Left);
        assert_eq!(fate(Cause::Disconnect), Fate::Gone);
        let apart = membership(Cause::Network, &[CACHES[0], CACHES[1], OWN], &rest);
        assert_eq!(
            run(&[own.clone(), apart]).caches[&name(CACHES[1])],
            Fate::Gone
        );
    }

    #[test]
    fn a_transition_waits_for_the_network() {
        let transition = Event::Transition {
            group: name("imgcache"),
            gid: GroupId::default(),
        };
        let own = message(OWN, "imgcache", 7, "");
        let answers = CACHES.map(|cache| message(cache, OWN, 7, "done 0"));
        let mut waiting = run(&[transition, own]);
        answers
            .iter()
            .for_each(|answer| waiting.handle(answer, Instant::now()));
        assert!(!waiting.is_done());
        let all = [CACHES[0], CACHES[1], OWN];
        waiting.handle(&membership(Cause::Network, &all, &all), Instant::now());
        assert!(waiting.is_done());
    }

    #[test]
    fn a_cache_may_fail() {
        let waiting = run(&[
            message(OWN, "imgcache", 7, ""),
            message(CACHES[0], OWN, 7, "failed no space\n"),
        ]);
        assert_eq!(
            waiting.caches[&name(CACHES[0])],
            Fate::Failed("no space".to_owned())
        );
    }
}
