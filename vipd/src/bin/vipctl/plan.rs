//! What would happen among hosts that are not there: who would hold what, and who would then.

use vipd::balance::{Node, deal};
use vipd::config::Config;
use vipd::control::{Move, WhatIf};
use vipd::indices::Indices;

/// Which sets would move where if some of these nodes, which all have this file and can hold
/// everything, were gone.
///
/// # Errors
/// A node that is down is none of them, or one is named twice.
pub(crate) fn what_if(
    config: &Config,
    names: &[String],
    down: &[String],
) -> Result<WhatIf, String> {
    if let Some(unknown) = down.iter().find(|name| !names.contains(name)) {
        return Err(format!("--down {unknown} is none of the nodes"));
    }
    if let Some(name) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
        return Err(format!("--node {} is there twice", names[name]));
    }
    let count = config.sets.len();
    let lots: Vec<u64> = (0..count as u64).collect();
    let mut nodes: Vec<Node> = names.iter().map(|name| node(config, name)).collect();
    let now = deal(&nodes, &vec![None; count], &lots, &Indices::default());
    for node in &mut nodes {
        node.leaving = down.contains(&node.name);
    }
    let then = deal(&nodes, &now, &lots, &Indices::default());
    let name = |node: usize| names[node].clone();
    let moves = config.sets.iter().zip(now).zip(then);
    let moves = moves
        .filter(|((_, now), then)| now != then || then.is_none())
        .map(|((set, now), then)| Move {
            set: set.name(),
            from: now.map(name),
            to: then.map(name),
        });
    Ok(WhatIf {
        moves: moves.collect(),
    })
}

fn node(config: &Config, name: &str) -> Node {
    Node {
        name: name.to_owned(),
        weight: config.weight,
        able: Indices::all(config.sets.len()),
        prefers: config.ranks(name),
        ..Node::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(down: &[&str]) -> Result<Vec<String>, String> {
        let text = "VirtualInterfaces { e:10.0.0.1/32 e:10.0.0.2/32 e:10.0.0.3/32 }\n\
                    Preference { 10.0.0.1/32 { a b } 10.0.0.2/32 { b } 10.0.0.3/32 { c } }";
        let config = Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}"));
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let answer = what_if(&config, &names(&["c", "a", "b"]), &names(down))?;
        let text = |name: Option<String>| name.unwrap_or("nobody".into());
        let line = |of: Move| format!("{} {} {}", of.set, text(of.from), text(of.to));
        Ok(answer.moves.into_iter().map(line).collect())
    }

    #[test]
    fn only_what_its_host_has_lost_moves() {
        assert_eq!(moves(&["a"]).unwrap(), ["10.0.0.1 a b"]);
        assert_eq!(moves(&[]).unwrap(), [""; 0]);
        let all = [
            "10.0.0.1 a nobody",
            "10.0.0.2 b nobody",
            "10.0.0.3 c nobody",
        ];
        assert_eq!(moves(&["a", "b", "c"]).unwrap(), all);
        assert_eq!(moves(&["d"]).unwrap_err(), "--down d is none of the nodes");
    }
}
