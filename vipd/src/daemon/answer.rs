//! Answers of the control socket.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mio::Token;
use unixproc::log;
use vipd::control::{
    Answer, Candidate, Check, Done, Explanation, Failure, Log, Move, Node, Request, Set, Status,
    Text, WhatIf,
};
use vipd::takeover::{Refusal, SetOverview};

use super::Daemon;
use super::wire::mac_text;

/// Bound: entries of the history in an answer.
const ENTRIES_MAX: usize = 1000;

impl Daemon {
    pub(super) fn answer(&mut self, token: Token) {
        let Some(mut control) = self.control.take() else {
            return;
        };
        let now = Instant::now();
        let registry = self.poll.registry().try_clone();
        let result = registry.and_then(|registry| {
            control.handle_event(&registry, token, |request| self.answer_one(request, now))
        });
        if let Err(error) = result {
            log::warning("control-failed", &[("error", &error)]);
        }
        self.control = Some(control);
    }

    fn answer_one(&mut self, request: Request, now: Instant) -> Answer {
        match request {
            Request::Status => Answer::Status(self.status(now)),
            Request::Explain { set } => self.with_set(&set, |daemon, set| daemon.explain(set)),
            Request::History { since, count } => Answer::Log(Log {
                entries: self.history.since(since, count.min(ENTRIES_MAX)),
            }),
            Request::WhatIf { down } => self.what_if(&down),
            Request::Drain { on, milliseconds } => self.drain(on, milliseconds, now),
            Request::Move { set, node } => self.with_set(&set, |daemon, set| {
                let result = daemon.takeover.move_to(set, &node);
                daemon.granted(result, set, &node, "moved by hand")
            }),
            Request::Pin {
                set,
                node,
                milliseconds,
            } => self.with_set(&set, |daemon, set| {
                daemon.pin(set, node.as_deref(), milliseconds, now)
            }),
            Request::Balance => done(self.takeover.balance(now, usize::MAX, true)),
            Request::Announce { set: None } => {
                let held: Vec<usize> = self.held.keys().copied().collect();
                held.iter().for_each(|&set| self.schedule.begin(set, now));
                done(held.len())
            }
            Request::Announce { set: Some(set) } => self.with_set(&set, |daemon, set| {
                if !daemon.takeover.is_held(set) {
                    return failure("the set is not held here");
                }
                daemon.schedule.begin(set, now);
                done(1)
            }),
            Request::Reload => match self.reload() {
                Ok(()) => done(self.config.sets.len()),
                Err(errors) => failure(&errors),
            },
            Request::Metrics => Answer::Text(Text {
                text: self.metrics(),
            }),
        }
    }

    /// Finds the set by any of its addresses.
    fn with_set(&mut self, name: &str, work: impl FnOnce(&mut Daemon, usize) -> Answer) -> Answer {
        let address = name.parse::<IpAddr>().ok();
        match address.and_then(|address| self.sets.get(&address).copied()) {
            Some(set) => work(self, set),
            None => failure(&format!("no set has the address {name:?}")),
        }
    }

    fn drain(&mut self, on: bool, milliseconds: Option<u64>, now: Instant) -> Answer {
        self.takeover.set_drained(on);
        let time = milliseconds.filter(|_| on).map(Duration::from_millis);
        self.drained_until = time.and_then(|time| now.checked_add(time));
        let cause = if on {
            "drained by hand"
        } else {
            "undrained by hand"
        };
        self.note("operator", None, None, cause);
        done(self.held.len())
    }

    fn pin(
        &mut self,
        set: usize,
        node: Option<&str>,
        milliseconds: Option<u64>,
        now: Instant,
    ) -> Answer {
        let result = self.takeover.pin(set, node);
        if result.is_ok() {
            let time = milliseconds.filter(|_| node.is_some());
            match time.and_then(|time| now.checked_add(Duration::from_millis(time))) {
                Some(end) => _ = self.pinned_until.insert(set, end),
                None => _ = self.pinned_until.remove(&set),
            }
        }
        let cause = if node.is_some() {
            "pinned by hand"
        } else {
            "unpinned by hand"
        };
        self.granted(result, set, node.unwrap_or_default(), cause)
    }

    fn granted(
        &mut self,
        result: Result<(), Refusal>,
        set: usize,
        to: &str,
        cause: &str,
    ) -> Answer {
        match result {
            Ok(()) => {
                let to = (!to.is_empty()).then_some(to);
                self.note("operator", Some(set), to, cause);
                done(1)
            }
            Err(refusal) => failure(refusal.as_str()),
        }
    }

    fn status(&self, now: Instant) -> Status {
        let overview = self.takeover.overview();
        let milliseconds = |time: Duration| time.as_millis() as u64;
        let drain = self
            .drained_until
            .map(|at| milliseconds(at.saturating_duration_since(now)));
        let sets = overview.sets.iter().enumerate();
        let present = (0..overview.nodes.len()).map(|node| self.node_status(&overview, node));
        let gone = self.troubles.gone();
        let gone = gone.map(|(name, weight)| self.gone_status(name, weight));
        let checks = self.health.overview().map(|check| Check {
            name: check.name.to_owned(),
            wrong: check.wrong.map(str::to_owned),
            for_milliseconds: milliseconds(now.saturating_duration_since(check.since)),
            looks: check.looks,
        });
        Status {
            node: self.node.clone(),
            group: self.config.group.to_string(),
            state: overview.phase.to_owned(),
            mature: overview.mature,
            drain_ends_in: drain,
            awaited: overview.awaited.iter().map(ToString::to_string).collect(),
            nodes: present.chain(gone).collect(),
            checks: checks.collect(),
            other_config: overview.differences.to_vec(),
            sets: sets
                .map(|(set, state)| self.set_status(&overview, set, state))
                .collect(),
            ignored_messages: overview.ignored,
        }
    }

    fn node_status(&self, overview: &vipd::takeover::Overview, index: usize) -> Node {
        let node = &overview.nodes[index];
        let of = |set: &&SetOverview| set.holder == Some(index);
        let trouble = self.troubles.of(&node.name);
        Node {
            name: node.name.clone(),
            weight: node.weight,
            drained: node.drained,
            leaving: node.leaving,
            able: node.able.count() as u64,
            sets: overview.sets.iter().filter(of).count() as u64,
            gone: false,
            wrong: trouble.map(|trouble| trouble.wrong.clone()),
            since: trouble.map(|trouble| trouble.since),
            moved: trouble.map_or_else(Vec::new, |of| self.moved_because(&node.name, of)),
        }
    }

    /// A node that was in the view and is not.
    fn gone_status(&self, name: &str, weight: u32) -> Node {
        let trouble = self.troubles.of(name);
        Node {
            name: name.to_owned(),
            weight,
            drained: false,
            leaving: false,
            able: 0,
            sets: 0,
            gone: true,
            wrong: trouble.map(|trouble| trouble.wrong.clone()),
            since: trouble.map(|trouble| trouble.since),
            moved: trouble.map_or_else(Vec::new, |of| self.moved_because(name, of)),
        }
    }

    fn set_status(
        &self,
        overview: &vipd::takeover::Overview,
        set: usize,
        state: &SetOverview,
    ) -> Set {
        let of = &self.config.sets[set];
        let name = |member: usize| overview.nodes[member].name.clone();
        let claim = self.wires.foreign.get(&set);
        let claim = claim.map(|(address, mac, _)| format!("{} claims {address}", mac_text(*mac)));
        let answer = self
            .wires
            .answering
            .get(&set)
            .filter(|_| state.here == "probing");
        Set {
            name: of.name(),
            addresses: of.addresses.iter().map(ToString::to_string).collect(),
            holder: state.holder.map(name),
            target: state.target.map(name),
            pinned: state.pinned.map(name),
            disputed: state.disputed,
            blocked: state.blocked,
            here: state.here.to_owned(),
            foreign: claim.or(answer.map(|mac| format!("{} answers", mac_text(*mac)))),
        }
    }

    fn explain(&mut self, set: usize) -> Answer {
        let overview = self.takeover.overview();
        let state = self.set_status(&overview, set, &overview.sets[set]);
        let mut order: Vec<usize> = (0..overview.nodes.len()).collect();
        order.sort_by_key(|&node| {
            let place = &overview.nodes[node];
            let pinned = overview.sets[set].pinned == Some(node);
            let holds = overview.sets[set].holder == Some(node);
            (!pinned, place.fitness(set), !holds, place.rank(set), node)
        });
        let candidates = order.into_iter().map(|index| {
            let node = &overview.nodes[index];
            let of = |set: &&SetOverview| set.holder == Some(index);
            let rank = node.rank(set);
            Candidate {
                node: node.name.clone(),
                fitness: node.fitness(set).as_str().to_owned(),
                wrong: node.sick.clone(),
                preference: (rank != usize::MAX).then(|| rank as u64 + 1),
                sets: overview.sets.iter().filter(of).count() as u64,
                weight: node.weight,
            }
        });
        Answer::Explanation(Explanation {
            last: self.history.last_of(&state.name).cloned(),
            candidates: candidates.collect(),
            set: state,
        })
    }

    fn what_if(&self, down: &[String]) -> Answer {
        let overview = self.takeover.overview();
        let unknown = down
            .iter()
            .find(|name| overview.nodes.iter().all(|node| node.name != **name));
        let Some(then) = self.takeover.what_if(down) else {
            return failure(Refusal::NoTable.as_str());
        };
        if let Some(name) = unknown {
            return failure(&format!("there is no node {name:?} in the view"));
        }
        let name = |member: usize| overview.nodes[member].name.clone();
        let moves = self.config.sets.iter().zip(&overview.sets).zip(then);
        let moves = moves
            .filter(|((_, now), then)| *then != now.target.or(now.holder) || then.is_none())
            .map(|((set, now), then)| Move {
                set: set.name(),
                from: now.holder.map(name),
                to: then.map(name),
            });
        Answer::WhatIf(WhatIf {
            moves: moves.collect(),
        })
    }
}

fn done(sets: usize) -> Answer {
    Answer::Done(Done { sets: sets as u64 })
}

fn failure(error: &str) -> Answer {
    Answer::Failure(Failure {
        error: error.to_owned(),
    })
}
