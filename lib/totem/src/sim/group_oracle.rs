//! Virtual synchrony of process groups as properties of what sessions see.
//!
//! | rule | what it says |
//! |---|---|
//! | G1 | one group id is one list of members, in the order of their daemons and names |
//! | G2 | the members of a group see the same messages in the same order, up to the notice of a change; who goes on by a join or leave saw the same before it |
//! | G3 | who comes in one vs set saw the same messages in the membership before |
//! | G4 | who went together is in one vs set |
//! | G5 | a session sees its own join first and its leave last |
//! | G6 | nobody is given a message before a membership that its sender knew |
//! | G7 | only members are given a message for a group |
//! | G8 | when all are together and quiet, the groups hold exactly the sessions that joined |
//! | G9 | a change that only takes members away is told once to each group that lost some, and to no other |
//!
//! All sessions of a simulation want memberships. A message carries its identity in its payload.
//! Memory: a word for each message and group, a few for each membership of the run.

#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::view::{Arrival, GroupView, Past, ViewKey, check_first, check_sets, check_single};
use super::oracle::Violation;
use super::trace::{Digest, ProcessId};
use crate::groups::{Cause, GroupEvent, GroupId, GroupName, Membership, PrivateName, SessionId};
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
    seats: BTreeMap<GroupName, Seat>,
}

/// A message between sessions.
struct Letter {
    /// What its sender knew of the groups that it is for.
    known: Vec<(GroupName, GroupId)>,
    /// Its sender does not want it, so the members do not all see it.
    self_discard: bool,
}

/// The judge of what sessions see.
pub struct GroupOracle {
    /// In the order of the configuration.
    daemons: Vec<String>,
    sessions: BTreeMap<(ProcessId, SessionId), Session>,
    views: BTreeMap<ViewKey, GroupView>,
    /// How often each member lost its disk.
    disks: BTreeMap<MemberId, u32>,
    letters: BTreeMap<LetterId, Letter>,
}

impl GroupOracle {
    /// A judge of daemons with these names, in the order of the configuration.
    pub fn new(daemons: Vec<String>) -> GroupOracle {
        GroupOracle {
            daemons,
            sessions: BTreeMap::new(),
            views: BTreeMap::new(),
            disks: BTreeMap::new(),
            letters: BTreeMap::new(),
        }
    }

    /// A session begins, with this private group.
    pub fn connect(&mut self, p: ProcessId, session: SessionId, private: GroupName) {
        self.sessions.insert(
            (p, session),
            Session {
                private,
                seats: BTreeMap::new(),
            },
        );
    }

    /// A session ends.
    pub fn disconnect(&mut self, p: ProcessId, session: SessionId) {
        self.sessions.remove(&(p, session));
    }

    /// A process ends, and all of its sessions.
    pub fn end(&mut self, p: ProcessId) {
        self.sessions.retain(|(process, _), _| *process != p);
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
                to.iter()
                    .try_for_each(|session| self.message(p, *session, letter, &destinations))
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
                .filter(|(_, members)| members.contains(&session.private))
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

    fn session(&mut self, p: ProcessId, id: SessionId) -> Result<&mut Session, Broken> {
        self.sessions
            .get_mut(&(p, id))
            .ok_or_else(|| Broken("G7", format!("gives something to {id:?}, which is closed")))
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
        let mut wanted = destinations.contains(&session.private);
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

    fn membership(&mut self, p: ProcessId, id: SessionId, membership: &Membership) -> Verdict {
        let Membership {
            group,
            gid,
            cause,
            members,
            vs_sets,
            own_set,
        } = membership;
        let key = self.register(*group, *gid, members)?;
        let session = self.session(p, id)?;
        let private = session.private;
        if !members.contains(&private) {
            return broken(
                "G5",
                format!("{private} is not in the membership of {group:?} it is told of"),
            );
        }
        let past = session.seats.get(group).map(Seat::past);
        let foretold = session
            .seats
            .get(group)
            .is_some_and(|seat| seat.foretold.contains(gid));
        if foretold {
            return broken(
                "G6",
                format!("{private} had a message from one who knew {gid:?} of {group:?} before"),
            );
        }
        let kept = session
            .seats
            .remove(group)
            .map(|seat| seat.foretold)
            .unwrap_or_default();
        session.seats.insert(*group, Seat::new(key, kept));
        let set = match cause {
            Cause::Network => Some(check_sets(private, members, vs_sets, *own_set)?),
            Cause::Join(who) | Cause::Leave(who) | Cause::Disconnect(who) => {
                check_single(cause, *who, members, vs_sets)?;
                None
            }
        };
        check_first(private, past.is_none(), cause, set.as_deref())?;
        let view = self.views.get_mut(&key).expect("registered");
        view.arrive(
            private,
            Arrival {
                set,
                previous: past,
            },
        )
    }

    /// G1.
    fn register(
        &mut self,
        group: GroupName,
        gid: GroupId,
        members: &Arc<[GroupName]>,
    ) -> Result<ViewKey, Broken> {
        let key = (
            group,
            gid,
            self.disks
                .get(&gid.representative)
                .copied()
                .unwrap_or_default(),
        );
        if !members.is_sorted_by_key(|member| self.rank(member)) {
            return Err(Broken(
                "G1",
                format!("{gid:?} of {group:?} is out of order: {members:?}"),
            ));
        }
        let view = self.views.entry(key).or_insert_with(|| GroupView {
            members: members.clone(),
            order: Vec::new(),
            arrivals: Vec::new(),
        });
        if view.members == *members {
            return Ok(key);
        }
        Err(Broken(
            "G1",
            format!(
                "{gid:?} of {group:?} is {members:?} here and {:?} elsewhere",
                view.members
            ),
        ))
    }

    /// Members stand in the order of their daemons, then of their names.
    fn rank(&self, member: &GroupName) -> Option<(Option<usize>, PrivateName)> {
        let (name, daemon) = member.parse_private()?;
        let position = self
            .daemons
            .iter()
            .position(|other| other.as_bytes() == daemon);
        Some((position, name))
    }

    fn transition(
        &mut self,
        p: ProcessId,
        id: SessionId,
        group: GroupName,
        gid: GroupId,
    ) -> Verdict {
        let session = self.session(p, id)?;
        let private = session.private;
        match session.seats.get_mut(&group) {
            Some(seat) if seat.gid == gid && !seat.notified => {
                seat.notified = true;
                Ok(())
            }
            Some(seat) if seat.gid == gid => broken(
                "G9",
                format!("{private} is notified twice in {gid:?} of {group:?}"),
            ),
            Some(seat) => broken(
                "G2",
                format!(
                    "{private} is notified of {gid:?} of {group:?} but is in {:?}",
                    seat.gid
                ),
            ),
            None => broken("G7", format!("{private} is notified but not in {group:?}")),
        }
    }

    fn self_leave(&mut self, p: ProcessId, id: SessionId, group: GroupName) -> Verdict {
        let session = self.session(p, id)?;
        match session.seats.remove(&group) {
            Some(_) => Ok(()),
            None => broken(
                "G5",
                format!("{} leaves {group:?}, in which it is not", session.private),
            ),
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
