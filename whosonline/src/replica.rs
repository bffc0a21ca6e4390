//! One whosonline among others: how all have the same table, without I/O.
//!
//! Replicas of a log group `G` are members of `G@` too. Order holds across groups, so a message in
//! `G@` is a place among the lines of `G` and the ticks of `G~`, the same one for all.
//!
//! | standing | means | leaves it |
//! |---|---|---|
//! | away | not a member of `G@` | member: alone, holding; among others, asking |
//! | asking | waits for what each member claims to have | best claim is the own table: holding; another's: `take`, taking; none has any: the first member begins one |
//! | taking | a source has copied its table at a place; what lines say since then is kept | all parts: holding; source gone or silent: asking |
//! | holding | has the table that others have | sides of a partition meet, or somebody claims a better one: asking |
//!
//! Tables are equal if they have one *lineage*: a number made where a table begins, and made anew
//! at each network change from the group id and the members that moved together. So two sides of
//! a partition never have the same one, and an answer that names its lineage and its place in the
//! order is the answer of all. Better is what is whole for longer.
//!
//! A source copies its table where `take` is delivered and sends it to the taker alone, a few
//! parts ahead of what the taker has, at [`BYTES_PER_SECOND`] at most. If it dies on the way, the
//! taker asks again.

mod backlog;
mod message;
mod taker;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use group::{Cause, GroupId, Membership, Name};

use crate::hits::Hits;
use crate::presence::Limits;
use crate::snapshot::{self, Malformed, Reader};
use crate::table::Table;
use backlog::Backlog;
use message::{Claim, Message};
pub use taker::BYTES_PER_SECOND;
use taker::Taker;

/// Bound: takers at a time; others are not served, and ask again.
const TAKERS_MAX: usize = 2;

/// Who hears nothing for so long goes on without.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lineage of a table that nobody else has.
const NO_LINEAGE: u64 = 0;

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Send {
    /// To `G@`.
    All(Vec<u8>),
    /// To one session.
    To(Name, Vec<u8>),
}

/// What happened that a log should tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nobody had a table: this session's own is the one that others will have.
    Began,
    /// The table of this session is the best of all that have met.
    Kept,
    /// The table is another's now.
    Taken,
    /// A snapshot did not come to its end; another one is asked for.
    Failed,
}

/// A replica and its table.
#[derive(Debug)]
pub struct Replica {
    limits: Limits,
    /// By which rules and limits lines become a table, as a number.
    settings: u64,
    table: Table,
    lineage: u64,
    standing: Standing,
    /// This session's private group, and all members of `G@`.
    own: Name,
    gid: GroupId,
    members: Vec<Name>,
    takers: Vec<Taker>,
    attempts: u32,
    sends: VecDeque<Send>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum Standing {
    Away,
    Asking {
        heard: BTreeMap<Name, Claim>,
        /// Whether `take` is on its way.
        decided: bool,
        until: Instant,
    },
    Taking(Box<Taking>),
    Holding,
}

#[derive(Debug)]
struct Taking {
    source: Name,
    attempt: u32,
    lineage: u64,
    parts: u32,
    reader: Reader,
    backlog: Backlog,
    until: Instant,
}

impl Replica {
    /// Not a member yet; `settings` says by which rules and limits lines become a table.
    pub fn new(limits: Limits, settings: u64) -> Replica {
        Replica {
            limits,
            settings,
            table: Table::new(limits),
            lineage: NO_LINEAGE,
            standing: Standing::Away,
            own: Name::EMPTY,
            gid: GroupId::default(),
            members: Vec::new(),
            takers: Vec::new(),
            attempts: 0,
            sends: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What is known; others know the same only if it has a [`lineage`](Self::lineage).
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The lineage of the table; none while it is not the one that others have.
    ///
    /// Two replicas with one lineage have equal tables at equal places in the order.
    pub fn lineage(&self) -> Option<u64> {
        self.is_holding().then_some(self.lineage)
    }

    fn is_holding(&self) -> bool {
        matches!(self.standing, Standing::Holding)
    }

    /// Whole lines of the log.
    pub fn handle_lines(&mut self, hits: &mut Hits, lines: &[u8], now: Instant) {
        let Standing::Taking(taking) = &mut self.standing else {
            // Who asks answers as well as it can.
            return self.table.take_lines(hits, lines);
        };
        if taking.backlog.push_lines(hits, lines).is_err() {
            self.fail(now);
        }
    }

    /// A logger's tick, in seconds since 1970.
    pub fn handle_tick(&mut self, logger: Name, second: u64, now: Instant) {
        let Standing::Taking(taking) = &mut self.standing else {
            return self.table.tick(logger, second);
        };
        if taking.backlog.push_tick(logger, second).is_err() {
            self.fail(now);
        }
    }

    /// The control group has a new membership, among them the loggers that are there.
    pub fn handle_loggers(&mut self, members: &[Name], now: Instant) {
        let Standing::Taking(taking) = &mut self.standing else {
            return self.table.keep_loggers(members);
        };
        if taking.backlog.push_loggers(members).is_err() {
            self.fail(now);
        }
    }

    /// The session is lost: what the bus carries is missed from here on.
    pub fn handle_lost(&mut self) {
        self.standing = Standing::Away;
        self.lineage = NO_LINEAGE;
        self.takers.clear();
        self.sends.clear();
        self.table.interrupt();
    }

    /// `G@` has a new membership; `own` is this session's private group.
    pub fn handle_membership(&mut self, membership: &Membership, own: Name, now: Instant) {
        self.own = own;
        self.gid = membership.gid;
        self.members.clone_from(&membership.members);
        let members = &self.members;
        self.takers.retain(|taker| members.contains(&taker.name));
        let network = membership.cause == Cause::Network;
        if network && self.lineage != NO_LINEAGE {
            let set = membership.vs_sets.get(membership.own_set);
            let first = set.and_then(|set| set.first()).copied().unwrap_or(own);
            self.lineage = lineage(self.lineage, self.gid, &first);
        }
        let sides_meet = network && membership.vs_sets.len() > 1;
        let asks = match &self.standing {
            Standing::Away | Standing::Asking { .. } => true,
            Standing::Holding => sides_meet,
            // The source itself may have to ask, and its table is of another lineage now.
            Standing::Taking(taking) => network || !members.contains(&taking.source),
        };
        if self.members == [own] && !self.is_holding() {
            self.begin();
        } else if asks {
            self.ask(now);
        }
    }

    /// A message in `G@`.
    pub fn handle_message(&mut self, sender: &Name, data: &[u8], now: Instant) {
        match Message::decode(data) {
            Some(Message::Ask) if *sender != self.own => self.claim(),
            Some(Message::Claim(claim)) => self.handle_claim(*sender, claim, now),
            Some(Message::Take {
                attempt,
                lineage,
                source,
            }) => {
                if *sender == self.own {
                    self.begin_taking(attempt, lineage, source, now);
                } else if source == self.own && lineage == self.lineage {
                    self.copy_for(*sender, attempt, now);
                }
            }
            _ => {}
        }
    }

    /// A message to this session alone.
    pub fn handle_private(&mut self, sender: &Name, data: &[u8], now: Instant) {
        match Message::decode(data) {
            Some(Message::Part {
                attempt,
                number,
                last,
                bytes,
            }) => {
                let expected = match &self.standing {
                    Standing::Taking(taking) => (taking.source, taking.attempt, taking.parts),
                    _ => return,
                };
                if (*sender, attempt, number) == expected {
                    self.take_part(number, bytes, last, now);
                }
            }
            Some(Message::Taken { attempt, parts }) => {
                for taker in &mut self.takers {
                    if (taker.name, taker.attempt) == (*sender, attempt) {
                        taker.confirm(parts, now);
                    }
                }
                self.handle_timeout(now);
            }
            _ => {}
        }
    }

    /// Time has passed: sends parts that are due, and does not wait for ever.
    pub fn handle_timeout(&mut self, now: Instant) {
        for taker in &mut self.takers {
            if let Some(part) = taker.poll_part(now) {
                self.sends.push_back(Send::To(taker.name, part));
            }
        }
        self.takers.retain(|taker| !taker.is_over(now));
        match &self.standing {
            Standing::Asking { until, .. } if *until <= now => {
                self.decide(true, now);
                if matches!(&self.standing, Standing::Asking { until, .. } if *until <= now) {
                    self.ask(now);
                }
            }
            Standing::Taking(taking) if taking.until <= now => self.fail(now),
            _ => {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match &self.standing {
            Standing::Asking { until, .. } => Some(*until),
            Standing::Taking(taking) => Some(taking.until),
            Standing::Away | Standing::Holding => None,
        };
        let takers = self.takers.iter().map(Taker::due_at);
        takers.chain(own).min()
    }

    /// The next message to send.
    pub fn poll_send(&mut self) -> Option<Send> {
        self.sends.pop_front()
    }

    /// The next event for the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn own_claim(&self) -> Claim {
        Claim {
            settings: self.settings,
            since: self.table.since.unwrap_or(u64::MAX),
            lineage: self.lineage,
        }
    }

    fn claim(&mut self) {
        let claim = Message::Claim(self.own_claim());
        self.sends.push_back(Send::All(claim.encode()));
    }

    fn ask(&mut self, now: Instant) {
        self.standing = Standing::Asking {
            heard: BTreeMap::new(),
            decided: false,
            until: now + PATIENCE,
        };
        self.sends.push_back(Send::All(Message::Ask.encode()));
    }

    fn hold(&mut self, event: Event) {
        self.standing = Standing::Holding;
        self.events.push_back(event);
    }

    fn handle_claim(&mut self, sender: Name, claim: Claim, now: Instant) {
        if sender == self.own {
            return;
        }
        let own = self.own_claim();
        match &mut self.standing {
            Standing::Asking { heard, .. } => {
                heard.insert(sender, claim);
                self.decide(false, now);
            }
            // Two have begun, as one was too slow to answer the other.
            Standing::Holding if claim.is_better_than(&own) => self.ask(now),
            Standing::Holding if own.is_better_than(&claim) => self.claim(),
            _ => {}
        }
    }

    /// Goes on when all members have been heard, or without the rest where `patience` is over.
    fn decide(&mut self, patience: bool, now: Instant) {
        let own = self.own_claim();
        let Standing::Asking {
            heard,
            decided,
            until,
        } = &mut self.standing
        else {
            return;
        };
        let is_heard = |name: &Name| *name == self.own || heard.contains_key(name);
        if *decided || !(patience || self.members.iter().all(is_heard)) {
            return;
        }
        let others = heard
            .iter()
            .filter(|(_, claim)| claim.settings == own.settings);
        let ranked = others
            .clone()
            .filter_map(|(name, claim)| Some((claim.rank()?, *name)));
        let best = ranked
            .chain(own.rank().map(|rank| (rank, self.own)))
            .min_by_key(|(rank, _)| *rank);
        match best {
            Some(((_, lineage), _)) if lineage == own.lineage => self.hold(Event::Kept),
            Some(((_, lineage), source)) => {
                *decided = true;
                *until = now + PATIENCE;
                self.attempts = self.attempts.wrapping_add(1);
                let take = Message::Take {
                    attempt: self.attempts,
                    lineage,
                    source,
                };
                self.sends.push_back(Send::All(take.encode()));
            }
            None if others.clone().all(|(name, _)| self.own < *name) => {
                self.begin();
                self.claim();
            }
            // The first will begin, and say so.
            None => {}
        }
    }

    /// The table of this session is the one that others will have.
    fn begin(&mut self) {
        self.lineage = lineage(NO_LINEAGE, self.gid, &self.own);
        self.hold(Event::Began);
    }

    /// This is the place of the snapshot that this session takes.
    fn begin_taking(&mut self, attempt: u32, lineage: u64, source: Name, now: Instant) {
        let waits = matches!(self.standing, Standing::Asking { decided: true, .. });
        if waits && attempt == self.attempts {
            // From here on lines are kept, and the old table is behind.
            self.lineage = NO_LINEAGE;
            self.standing = Standing::Taking(Box::new(Taking {
                source,
                attempt,
                lineage,
                parts: 0,
                reader: Reader::new(self.limits),
                backlog: Backlog::default(),
                until: now + PATIENCE,
            }));
        }
    }

    fn take_part(&mut self, number: u32, bytes: &[u8], last: bool, now: Instant) {
        let Standing::Taking(taking) = &mut self.standing else {
            return;
        };
        taking.parts += 1;
        taking.until = now + PATIENCE;
        if taking.reader.take(bytes).is_err() {
            return self.fail(now);
        }
        let taken = Message::Taken {
            attempt: taking.attempt,
            parts: number + 1,
        };
        self.sends
            .push_back(Send::To(taking.source, taken.encode()));
        if last {
            self.finish_taking(now);
        }
    }

    fn finish_taking(&mut self, now: Instant) {
        let standing = std::mem::replace(&mut self.standing, Standing::Holding);
        let Standing::Taking(taking) = standing else {
            unreachable!("called for the last part only");
        };
        let Taking {
            reader,
            backlog,
            lineage,
            ..
        } = *taking;
        match reader.finish() {
            Ok(table) => {
                self.table = table;
                backlog.drain(&mut self.table);
                self.lineage = lineage;
                self.hold(Event::Taken);
            }
            Err(Malformed) => self.fail(now),
        }
    }

    /// Gives up a snapshot. The old table has missed lines by now.
    fn fail(&mut self, now: Instant) {
        self.table.interrupt();
        self.events.push_back(Event::Failed);
        self.ask(now);
    }

    /// Copies the table, here.
    fn copy_for(&mut self, name: Name, attempt: u32, now: Instant) {
        self.takers.retain(|taker| taker.name != name);
        if self.takers.len() < TAKERS_MAX && self.members.contains(&name) {
            let parts = snapshot::write(&self.table);
            self.takers.push(Taker::new(name, attempt, parts, now));
        }
    }
}

/// A new lineage, of those who saw this membership and moved together with `first`.
///
/// It is FNV-1a over all of that; never [`NO_LINEAGE`].
fn lineage(old: u64, gid: GroupId, first: &Name) -> u64 {
    let gid = [gid.proc_id, gid.time, gid.index];
    let gid = gid.into_iter().flat_map(i32::to_le_bytes);
    let bytes = old.to_le_bytes().into_iter().chain(gid);
    fnv1a(bytes.chain(first.as_bytes().iter().copied())).max(1)
}

/// A number for what is to be compared between machines; not against malice.
pub fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
