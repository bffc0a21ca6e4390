//! Virtual synchrony of process groups as properties of what sessions see.
//!
//! | rule | what it says |
//! |---|---|
//! | G1 | one group id is one list of members, in the order of their daemons in the ring and of their names |
//! | G2 | the members of a group see the same messages in the same order, up to the notice of a change; who goes on by a join or leave saw the same before it |
//! | G3 | who comes in one vs set saw the same messages in the membership before |
//! | G4 | who went together is in one vs set |
//! | G5 | a session sees its own join first and its leave last, or no membership at all if it wants none |
//! | G6 | nobody is given a message before a membership that its sender knew |
//! | G7 | only members are given a message for a group |
//! | G8 | when all are together and quiet, the groups hold exactly the sessions that joined |
//! | G9 | a change that only takes members away is told once to each group that lost some, and to no other |
//!
//! A message carries its identity in its payload. What a session without memberships must be given
//! is known from those beside it, at the same daemon, that are told who is in the group.
//! Memory: a word for each message and group, a few for each membership of the run.

#[cfg(test)]
mod tests;
mod told;
mod unaware;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::view::{GroupView, Past, ViewKey};
use super::oracle::Violation;
use super::trace::{Digest, ProcessId};
use crate::groups::{GroupEvent, GroupId, GroupName, SessionId};
use crate::time::Time;
use crate::view::{MemberId, Transition};

/// Identity of a message between sessions, in front of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId(pub u64);

impl LetterId {
    /// The identity in a payload; `None` if it is too short to hold one.
    pub fn read(payload: &[u8]) -> Option<LetterId> {
        payload
            .first_chunk()
            .map(|bytes| LetterId(u64::from_be_bytes(*bytes)))
    }
}

/// A broken rule before it is known where and when.
struct Broken(&'static str, String);

type Verdict = Result<(), Broken>;

fn broken(rule: &'static str, seen: String) -> Verdict {
    Err(Broken(rule, seen))
}

/// A session's place in a group.
struct Seat {
    gid: GroupId,
    view: ViewKey,
    /// It was told that the membership is about to end.
    notified: bool,
    letters: u64,
    digest: Digest,
    travel: Digest,
    /// Memberships that senders of messages seen here knew, and this session does not yet.
    foretold: BTreeSet<GroupId>,
}

struct Session {
    private: GroupName,
    /// It is told of memberships.
    aware: bool,
    /// Groups that it has ever asked to be in.
    asked: BTreeSet<GroupName>,
    seats: BTreeMap<GroupName, Seat>,
}

/// A message between sessions.
struct Letter {
    from: (ProcessId, SessionId),
    /// What its sender knew of the groups that it is for.
    known: Vec<(GroupName, GroupId)>,
    /// Its sender does not want it, so the members do not all see it.
    self_discard: bool,
}

/// The judge of what sessions see.
#[derive(Default)]
pub struct GroupOracle {
    /// The ring of each process, as the names of its daemons.
    rings: BTreeMap<ProcessId, Vec<String>>,
    sessions: BTreeMap<(ProcessId, SessionId), Session>,
    views: BTreeMap<ViewKey, GroupView>,
    /// How often each member lost its disk.
    disks: BTreeMap<MemberId, u32>,
    letters: BTreeMap<LetterId, Letter>,
}

impl GroupOracle {
    /// A process is in a ring of the daemons with these names, in this order.
    pub fn enter_ring(&mut self, p: ProcessId, daemons: Vec<String>) {
        self.rings.insert(p, daemons);
    }

    /// A session begins, with this private group; it is told of memberships if it is `aware`.
    pub fn connect(&mut self, p: ProcessId, session: SessionId, private: GroupName, aware: bool) {
        self.sessions.insert(
            (p, session),
            Session {
                private,
                aware,
                asked: BTreeSet::new(),
                seats: BTreeMap::new(),
            },
        );
    }

    /// A session asks to be in a group.
    pub fn join(&mut self, p: ProcessId, session: SessionId, group: GroupName) {
        if let Some(session) = self.sessions.get_mut(&(p, session)) {
            session.asked.insert(group);
        }
    }

    /// A session ends.
    pub fn disconnect(&mut self, p: ProcessId, session: SessionId) {
        self.sessions.remove(&(p, session));
    }

    /// A process ends, and all of its sessions.
    pub fn end(&mut self, p: ProcessId) {
        self.sessions.retain(|(process, _), _| *process != p);
        self.rings.remove(&p);
    }

    /// A session sends a message to these groups.
    pub fn send(
        &mut self,
        p: ProcessId,
        session: SessionId,
        letter: LetterId,
        groups: &[GroupName],
        self_discard: bool,
    ) {
        let seats = &self.sessions[&(p, session)].seats;
        let known = groups
            .iter()
            .filter_map(|group| Some((*group, seats.get(group)?.gid)))
            .collect();
        self.letters.insert(
            letter,
            Letter {
                from: (p, session),
                known,
                self_discard,
            },
        );
    }

    /// A member starts again without the ring counter of its former lives.
    pub fn lose_disk(&mut self, member: MemberId) {
        *self.disks.entry(member).or_default() += 1;
    }

    /// The ring of a process is in a transitional configuration.
    pub fn travel(&mut self, p: ProcessId, transition: &Transition) {
        for (_, session) in self
            .sessions
            .range_mut((p, SessionId(0))..=(p, SessionId(u32::MAX)))
        {
            for seat in session.seats.values_mut() {
                for ring in [transition.from, transition.to] {
                    seat.travel.word(ring.counter);
                    seat.travel.word(u64::from(ring.representative.0));
                    seat.travel.word(ring.incarnation.0);
                }
            }
        }
    }

    /// G9: `events` end a change of the ring that only took members away. To be called before
    /// they are [observed](Self::observe).
    ///
    /// # Errors
    /// A group that is told too much or too little.
    pub fn subtract(&self, at: Time, p: ProcessId, events: &[GroupEvent]) -> Result<(), Violation> {
        let mut told: BTreeMap<(SessionId, GroupName), u32> = BTreeMap::new();
        for event in events {
            if let GroupEvent::Membership { to, membership } = event {
                to.iter().for_each(|session| {
                    *told.entry((*session, membership.group)).or_default() += 1
                });
            }
        }
        for ((_, id), session) in self
            .sessions
            .range((p, SessionId(0))..=(p, SessionId(u32::MAX)))
        {
            for (group, seat) in &session.seats {
                let count = told.get(&(*id, *group)).copied().unwrap_or_default();
                if count != u32::from(seat.notified) {
                    let seen = format!(
                        "{} is told {count} memberships of {group:?}, notified: {}",
                        session.private, seat.notified
                    );
                    return Err(Violation {
                        rule: "G9",
                        at,
                        process: Some(p),
                        seen,
                    });
                }
            }
        }
        Ok(())
    }

    /// Judges the next event of a process.
    ///
    /// # Errors
    /// The rule that it breaks; the oracle is of no use after that.
    pub fn observe(&mut self, at: Time, p: ProcessId, event: &GroupEvent) -> Result<(), Violation> {
        let verdict = match event {
            GroupEvent::Message {
                to,
                destinations,
                payload,
                ..
            } => {
                let destinations: Vec<GroupName> = destinations.iter().collect();
                let letter = LetterId::read(payload);
                let given = to
                    .iter()
                    .try_for_each(|session| self.message(p, *session, letter, &destinations));
                given.and_then(|()| self.check_unaware(p, to, letter, &destinations))
            }
            GroupEvent::Membership { to, membership } => to
                .iter()
                .try_for_each(|session| self.membership(p, *session, membership)),
            GroupEvent::Transition { to, group, gid } => to
                .iter()
                .try_for_each(|session| self.transition(p, *session, *group, *gid)),
            GroupEvent::SelfLeave { to, group } => self.self_leave(p, *to, *group),
        };
        verdict.map_err(|Broken(rule, seen)| Violation {
            rule,
            at,
            process: Some(p),
            seen,
        })
    }

    /// G8: a process that is together with all others has these groups; `joined` says for each
    /// group who is in it.
    ///
    /// # Errors
    /// A group with other members, or a session that was told something else.
    pub fn check_settled(
        &self,
        at: Time,
        p: ProcessId,
        groups: &BTreeMap<GroupName, (GroupId, Arc<[GroupName]>)>,
        joined: &BTreeMap<GroupName, BTreeSet<GroupName>>,
    ) -> Result<(), Violation> {
        let violation = |seen| {
            Err(Violation {
                rule: "G8",
                at,
                process: Some(p),
                seen,
            })
        };
        let held: BTreeMap<GroupName, BTreeSet<GroupName>> = groups
            .iter()
            .map(|(name, (_, members))| (*name, members.iter().copied().collect()))
            .collect();
        if held != *joined {
            return violation(format!("holds {held:?}, joined have {joined:?}"));
        }
        for ((_, _), session) in self
            .sessions
            .range((p, SessionId(0))..=(p, SessionId(u32::MAX)))
        {
            for (name, members) in joined
                .iter()
                .filter(|(_, members)| session.aware && members.contains(&session.private))
            {
                let told = session.seats.get(name).map(|seat| seat.gid);
                let gid = groups[name].0;
                if told != Some(gid) {
                    return violation(format!(
                        "{} was told {told:?} of {name:?}, which is {gid:?} {members:?}",
                        session.private
                    ));
                }
            }
        }
        Ok(())
    }

    /// A session that is told of a membership.
    fn session(&mut self, p: ProcessId, id: SessionId) -> Result<&mut Session, Broken> {
        let session = self
            .sessions
            .get_mut(&(p, id))
            .ok_or_else(|| Broken("G7", format!("gives something to {id:?}, which is closed")))?;
        if session.aware {
            Ok(session)
        } else {
            let seen = format!("{} wants no memberships and is told one", session.private);
            Err(Broken("G5", seen))
        }
    }

    /// G2, G6 and G7.
    fn message(
        &mut self,
        p: ProcessId,
        id: SessionId,
        letter: Option<LetterId>,
        destinations: &[GroupName],
    ) -> Verdict {
        let Some((letter, sent)) =
            letter.and_then(|letter| Some((letter, self.letters.get(&letter)?)))
        else {
            return broken("G2", format!("gives {id:?} a message that nobody sent"));
        };
        let Some(session) = self.sessions.get_mut(&(p, id)) else {
            return broken("G7", format!("gives {letter:?} to {id:?}, which is closed"));
        };
        let destinations: BTreeSet<&GroupName> = destinations.iter().collect();
        let mut wanted = destinations.contains(&session.private)
            || destinations
                .iter()
                .any(|group| !session.aware && session.asked.contains(group));
        for group in destinations {
            let Some(seat) = session.seats.get_mut(group) else {
                continue;
            };
            wanted = true;
            seat.foretold.extend(
                sent.known
                    .iter()
                    .filter(|(name, gid)| name == group && *gid != seat.gid)
                    .map(|(_, gid)| *gid),
            );
            if sent.self_discard {
                continue;
            }
            let view = self
                .views
                .get_mut(&seat.view)
                .expect("a seat is in a known membership");
            if !seat.notified {
                view.extend(seat.letters, letter)?;
            }
            seat.letters += 1;
            seat.digest.word(letter.0);
        }
        if wanted {
            Ok(())
        } else {
            broken(
                "G7",
                format!("gives {letter:?} to {}, who is not meant", session.private),
            )
        }
    }
}

impl Seat {
    fn new(view: ViewKey, foretold: BTreeSet<GroupId>) -> Seat {
        Seat {
            gid: view.1,
            view,
            notified: false,
            letters: 0,
            digest: Digest::default(),
            travel: Digest::default(),
            foretold,
        }
    }

    fn past(&self) -> Past {
        let (digest, travel) = (self.digest.value(), self.travel.value());
        Past {
            gid: self.gid,
            letters: self.letters,
            digest,
            travel,
        }
    }
}
