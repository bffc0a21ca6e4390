//! Answers of the control socket.

use std::time::Instant;

use vipd::announce::Schedule;
use vipd::config::Config;
use vipd::control::{Answer, Done, Failure, Move, Node, Request, Set, Status, WhatIf};
use vipd::takeover::Takeover;

/// Does or tells what is asked for.
pub(super) fn answer(
    request: Request,
    takeover: &mut Takeover,
    config: &Config,
    node: &str,
    schedule: &mut Schedule,
    now: Instant,
) -> Answer {
    match request {
        Request::Status => Answer::Status(status(takeover, config, node)),
        Request::WhatIf { down } => what_if(takeover, config, &down),
        Request::Drain { on } => {
            takeover.set_drained(now, on);
            done(held(takeover, config).count())
        }
        Request::Balance => done(takeover.balance(usize::MAX, true)),
        Request::Announce => {
            let sets: Vec<usize> = held(takeover, config).collect();
            for &set in &sets {
                schedule.begin(set, now);
            }
            done(sets.len())
        }
    }
}

fn done(sets: usize) -> Answer {
    Answer::Done(Done { sets: sets as u64 })
}

fn held<'a>(takeover: &'a Takeover, config: &Config) -> impl Iterator<Item = usize> + use<'a> {
    (0..config.sets.len()).filter(|&set| takeover.is_held(set))
}

fn status(takeover: &Takeover, config: &Config, node: &str) -> Status {
    let overview = takeover.overview();
    let name = |member: usize| overview.nodes[member].name.clone();
    let count = |member: usize| {
        let of = |set: &&vipd::takeover::SetOverview| set.holder == Some(member);
        overview.sets.iter().filter(of).count() as u64
    };
    let nodes = overview
        .nodes
        .iter()
        .enumerate()
        .map(|(member, node)| Node {
            name: node.name.clone(),
            weight: node.weight,
            drained: node.drained,
            leaving: node.leaving,
            able: node.able.count() as u64,
            sets: count(member),
        });
    let sets = config
        .sets
        .iter()
        .zip(&overview.sets)
        .map(|(set, state)| Set {
            name: set.name(),
            addresses: set.addresses.iter().map(ToString::to_string).collect(),
            holder: state.holder.map(name),
            target: state.target.map(name),
            disputed: state.disputed,
            here: state.here.to_owned(),
        });
    Status {
        node: node.to_owned(),
        group: config.group.to_string(),
        state: overview.phase.to_owned(),
        mature: overview.mature,
        nodes: nodes.collect(),
        other_config: overview.strangers.to_vec(),
        sets: sets.collect(),
        ignored_messages: overview.ignored,
    }
}

fn what_if(takeover: &Takeover, config: &Config, down: &[String]) -> Answer {
    let overview = takeover.overview();
    let unknown = down
        .iter()
        .find(|name| overview.nodes.iter().all(|node| node.name != **name));
    let Some(then) = takeover.what_if(down) else {
        return failure("there is no agreed table now, ask again");
    };
    if let Some(name) = unknown {
        return failure(&format!("there is no node {name:?} in the view"));
    }
    let name = |member: usize| overview.nodes[member].name.clone();
    let moves = config.sets.iter().zip(&overview.sets).zip(then);
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

fn failure(error: &str) -> Answer {
    Answer::Failure(Failure {
        error: error.to_owned(),
    })
}
