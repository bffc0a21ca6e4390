//! Rounds: who takes part, which journal is the best one, who is struck out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::catchup::Fetch;
use super::commit::Delivered;
use super::follow::Following;
use super::{Control, Logger, Prefix, Quorum, Record, SessionName, Stage, State};
use crate::stream::control::RoundId;

/// A logger that owes something for so long is struck out.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// How often a logger asks to take part again, or says that it is alive.
const SPEAK_INTERVAL: Duration = Duration::from_secs(1);

/// A round of which everybody has heard all states.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) participants: BTreeMap<SessionName, Participant>,
    /// The names of all who count, those included who only learn.
    names: Vec<String>,
    /// Whose journal is the best one.
    pub(super) best: SessionName,
    target: (u64, u64),
    term: u64,
    said_synced: bool,
    said_go: bool,
    /// Whether `Go` was delivered.
    pub(super) opened: bool,
    /// How many batches were delivered since `Go`; with a majority the term counts as one.
    pub(super) index: u64,
    /// The index with which all who count are heard.
    pub(super) heard: u64,
    /// Those that are not committed. Bound: what all publishers may have unacknowledged.
    pub(super) delivered: VecDeque<Delivered>,
    /// Up to which index the own durability was announced.
    pub(super) announced: u64,
    /// What the participants' clocks have shown last.
    pub(super) clocks: BTreeMap<SessionName, u64>,
}

/// A logger that takes part in a round.
#[derive(Debug)]
pub(super) struct Participant {
    pub(super) name: String,
    /// Its journal at the beginning of the round.
    pub(super) begun: Prefix,
    pub(super) synced: bool,
    /// Up to which index everything is on its disk.
    pub(super) durable: u64,
    /// Its journal then.
    pub(super) journal: Prefix,
}

impl Round {
    /// The participant that speaks for all.
    pub(super) fn first(&self) -> Option<&SessionName> {
        self.participants.keys().next()
    }
}

impl Logger {
    /// Forgets what belongs to a round.
    pub(super) fn end_round(&mut self) {
        self.keep_marks(0);
        self.follow.what = Following::Nothing;
        self.round = None;
        self.states.clear();
        self.synced_marks.clear();
        self.anchors.clear();
        self.fetches.clear();
        self.serves.clear();
        self.waiting.clear();
    }

    pub(super) fn begin_round(&mut self, now: Duration, number: u32) {
        self.end_round();
        self.number = number;
        self.stage = Stage::Gather;
        self.speak_at = now + SPEAK_INTERVAL;
        if self.struck.contains(&self.session) || self.is_unfit() {
            return;
        }
        let state = State {
            name: self.config.name.clone(),
            promise: self.journal.promise(),
            last_term: self.journal.last_term(),
            length: self.journal.length(),
            hash: self.journal.hash(),
            entry_bytes: self.journal.entry_bytes(),
            second: self.second,
            list: self.config.list_hash(),
        };
        self.multicast(Control::State {
            round: self.round_id(),
            state,
        });
    }

    /// Whether this logger takes part in the round.
    pub(super) fn takes_part(&self) -> bool {
        self.round
            .as_ref()
            .is_some_and(|round| round.participants.contains_key(&self.session))
    }

    /// A record of a logger of the view, in order.
    pub(super) fn handle_record(&mut self, now: Duration, sender: &[u8], record: Control) {
        let current = self.round_id();
        let is_current = |round: RoundId| round == current;
        match record {
            _ if matches!(self.stage, Stage::Away | Stage::Ended) => {}
            Control::State { round, state } if is_current(round) => {
                self.handle_state(now, sender, state)
            }
            Control::Synced { round, hash } if is_current(round) => {
                self.handle_state_synced(sender, hash)
            }
            Control::Go { round } if is_current(round) => self.handle_go(now, sender),
            Control::Durable {
                round,
                index,
                prefix,
            } if is_current(round) => self.handle_durable(sender, index, prefix),
            Control::Alive { round } if is_current(round) && self.stage == Stage::Sync => {
                self.waiting.remove(sender);
            }
            Control::Strike { round, session } if is_current(round) && self.owes(&session) => {
                self.struck.insert(session);
                self.begin_round(now, self.number.wrapping_add(1));
            }
            Control::Rejoin { view } if view == self.view => self.handle_rejoin(now, sender),
            Control::Tick {
                round,
                second,
                marks,
            } if is_current(round) => self.handle_tick(sender, second, marks),
            Control::Forget { name } => self.handle_forget(name),
            _ => {}
        }
    }

    fn handle_state(&mut self, now: Duration, sender: &[u8], state: State) {
        if self.stage != Stage::Gather || self.struck.contains(sender) {
            return;
        }
        self.waiting.remove(sender);
        self.states.insert(sender.into(), state);
        let all = self
            .loggers
            .iter()
            .all(|logger| self.struck.contains(logger) || self.states.contains_key(logger));
        if all {
            self.decide(now);
        }
    }

    /// All states are here: what follows from them is the same for everybody.
    fn decide(&mut self, now: Duration) {
        let names = self.find_misfits();
        let states = names
            .values()
            .map(|session| (session, &self.states[session]));
        let states: Vec<(&SessionName, &State)> = states.collect();
        let majority = self.config.quorum == Quorum::Majority;
        let enough = |count: usize| !majority || count * 2 > self.config.loggers.len();
        let rank = |state: &State| (state.last_term, state.length);
        // Of equals the first one, which is the last one of the reversed order.
        let best = states
            .iter()
            .rev()
            .max_by_key(|(_, state)| rank(state))
            .filter(|_| enough(states.len()));
        let Some(&(best, best_state)) = best else {
            self.stage = Stage::Wait;
            return;
        };
        let near = |state: &State| {
            !majority
                || best_state.entry_bytes.saturating_sub(state.entry_bytes)
                    <= self.config.learn_bytes
        };
        let near_count = states.iter().filter(|(_, state)| near(state)).count();
        let participants = states
            .iter()
            .filter(|(_, state)| near(state) || !enough(near_count))
            .map(|(session, state)| {
                let journal = Prefix {
                    length: state.length,
                    hash: state.hash,
                };
                let participant = Participant {
                    name: state.name.clone(),
                    begun: journal,
                    synced: false,
                    durable: 0,
                    journal,
                };
                ((*session).clone(), participant)
            })
            .collect::<BTreeMap<SessionName, Participant>>();
        let clocks = self.states.iter();
        let clocks = clocks.filter(|(session, _)| participants.contains_key(*session));
        let clocks = clocks.map(|(session, state)| (session.clone(), state.second));
        let clocks = clocks.collect();
        let promises = self.states.values().map(|state| state.promise);
        self.round = Some(Round {
            participants,
            names: names.keys().cloned().collect(),
            best: best.clone(),
            target: (best_state.length, best_state.hash),
            term: promises.max().unwrap_or(0).saturating_add(1),
            said_synced: false,
            said_go: false,
            opened: false,
            index: 0,
            heard: u64::MAX,
            delivered: VecDeque::new(),
            announced: 0,
            clocks,
        });
        self.stage = Stage::Sync;
        self.begin_sync(now);
    }

    /// Makes the own journal the best one, as a participant, or comes as far as it with time.
    fn begin_sync(&mut self, now: Duration) {
        let takes_part = self.takes_part();
        let Some(round) = &self.round else { return };
        let (best, term, target) = (round.best.clone(), round.term, round.target);
        if self.config.quorum == Quorum::None || self.struck.contains(&self.session) {
            return;
        }
        if !takes_part {
            if self.is_alone() {
                self.follow_round(now, target);
            }
            return;
        }
        self.stop_following();
        self.append(&Record::Promise(term));
        if (self.journal.length(), self.journal.hash()) != target {
            self.fetches.push_back(Fetch::adopt(best, target.0));
            self.ask(now);
        }
    }

    /// Whether this logger is on the list, and no other one has its name.
    fn is_alone(&self) -> bool {
        let own = &self.session;
        let alone = !self.misfits.iter().any(|(_, _, session)| session == own);
        alone && self.config.loggers.contains(&self.config.name)
    }

    /// Says that the own journal is the best one, once it is, on disk.
    pub(super) fn judge_synced(&mut self) {
        let on_disk = self.synced_bytes >= self.needed_bytes;
        let here = (self.journal.length(), self.journal.hash());
        if self.stage != Stage::Sync || !on_disk || !self.takes_part() {
            return;
        }
        let none = self.config.quorum == Quorum::None;
        let round_id = self.round_id();
        let Some(round) = &mut self.round else { return };
        #[cfg(test)]
        let here = match self.flaw {
            Some(super::Flaw::ProvisionalTailKept) if self.fetches.is_empty() => round.target,
            _ => here,
        };
        if round.said_synced || !(none || here == round.target) {
            return;
        }
        round.said_synced = true;
        self.multicast(Control::Synced {
            round: round_id,
            hash: here.1,
        });
    }

    fn handle_state_synced(&mut self, sender: &[u8], hash: u64) {
        let none = self.config.quorum == Quorum::None;
        let own = &self.session;
        let Some(round) = &mut self.round else { return };
        if !none && hash != round.target.1 {
            return;
        }
        if let Some(participant) = round.participants.get_mut(sender) {
            participant.synced = true;
            self.waiting.remove(sender);
        }
        let all = round.participants.values().all(|logger| logger.synced);
        let first = round.first().is_some_and(|first| first == own);
        if all && first && !round.said_go {
            round.said_go = true;
            self.multicast(Control::Go {
                round: self.round_id(),
            });
        }
    }

    fn handle_go(&mut self, now: Duration, sender: &[u8]) {
        let Some(round) = &mut self.round else { return };
        let valid = round.first().is_some_and(|first| **first == *sender)
            && round.participants.values().all(|logger| logger.synced);
        if self.stage != Stage::Sync || !valid {
            return;
        }
        round.opened = true;
        self.stage = Stage::Open;
        self.waiting.clear();
        self.anchors.clear();
        match self.config.quorum {
            Quorum::Majority => self.open_term(),
            Quorum::None => self.fetch_differences(now),
        }
        self.hear_names();
    }

    fn open_term(&mut self) {
        let Some(round) = &self.round else { return };
        self.enter(Record::Term(round.term));
        self.deliver(None);
    }

    /// Who was given up and is here again counts from now on: what it lacks is kept for it.
    fn hear_names(&mut self) {
        let names = self.round.as_ref().map(|round| round.names.clone());
        for name in names.into_iter().flatten() {
            self.enter(Record::Heard(name));
            if self.config.quorum == Quorum::Majority {
                self.deliver(None);
            }
        }
        if let Some(round) = &mut self.round {
            round.heard = round.index;
        }
    }

    fn handle_rejoin(&mut self, now: Duration, sender: &[u8]) {
        let outside = self
            .round
            .as_ref()
            .is_some_and(|round| !round.participants.contains_key(sender));
        if self.struck.remove(sender) || outside {
            self.begin_round(now, self.number.wrapping_add(1));
        }
    }

    /// Whether a logger of the view owes something, as all can judge alike.
    fn owes(&self, session: &[u8]) -> bool {
        if !self.loggers.contains(session) || self.struck.contains(session) {
            return false;
        }
        let participant = || self.round.as_ref()?.participants.get(session);
        match self.stage {
            Stage::Gather => !self.states.contains_key(session),
            Stage::Sync => participant().is_some_and(|logger| !logger.synced),
            Stage::Open => participant().is_some_and(|logger| {
                let index = self.round.as_ref().map_or(0, |round| round.index);
                logger.durable < index
            }),
            Stage::Away | Stage::Wait | Stage::Ended => false,
        }
    }

    /// Strikes out those who have owed something for too long.
    pub(super) fn strike_silent(&mut self, now: Duration) {
        let silent: Vec<SessionName> = self
            .waiting
            .iter()
            .filter(|(_, since)| now >= **since + SILENCE)
            .map(|(session, _)| session.clone())
            .collect();
        for session in silent {
            // Again after as long, should it not have been heard.
            self.waiting.insert(session.clone(), now);
            self.multicast(Control::Strike {
                round: self.round_id(),
                session,
            });
        }
    }

    /// Notes since when others have owed something. Who is struck out itself judges nobody.
    pub(super) fn watch(&mut self, now: Duration) {
        let judges = !self.struck.contains(&self.session);
        let owing: Vec<SessionName> = self
            .loggers
            .iter()
            .filter(|session| judges && **session != self.session && self.owes(session))
            .cloned()
            .collect();
        self.waiting.retain(|session, _| owing.contains(session));
        for session in owing {
            self.waiting.entry(session).or_insert(now);
        }
    }

    /// Whether this logger has to be heard from time to time: it fetches while others wait, or it
    /// does not take part and may be able to.
    pub(super) fn must_speak(&self) -> bool {
        let fetching = self.stage == Stage::Sync && self.takes_part() && !self.fetches.is_empty();
        fetching || (self.struck.contains(&self.session) && !self.is_unfit())
    }

    pub(super) fn speak(&mut self, now: Duration) {
        if !self.must_speak() || now < self.speak_at {
            return;
        }
        self.speak_at = now + SPEAK_INTERVAL;
        if !self.struck.contains(&self.session) {
            self.multicast(Control::Alive {
                round: self.round_id(),
            });
        } else if self.syncing.is_none() {
            // A disk that hangs would only be waited for again.
            self.multicast(Control::Rejoin { view: self.view });
        }
    }
}
