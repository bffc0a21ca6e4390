//! Answers as text for people.

use std::fmt::Write as _;

use vipd::control::{Candidate, Explanation, Node, Set, Status, WhatIf};
use vipd::history::Entry;

pub(crate) fn status(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes all");
    let waiting = if status.mature {
        ""
    } else {
        ", waits for others"
    };
    let mut head = format!(
        "node {}  group {}  {}{waiting}",
        status.node, status.group, status.state
    );
    if let Some(milliseconds) = status.drain_ends_in {
        write!(head, ", drained for {} s more", milliseconds.div_ceil(1000)).expect("a String");
    }
    line(head);
    for session in &status.awaited {
        line(format!("  waits for {}", session.escape_debug()));
    }
    status.nodes.iter().for_each(|of| line(node(of)));
    for check in &status.checks {
        let wrong = check.wrong.as_deref().unwrap_or("good").escape_debug();
        let seconds = check.for_milliseconds / 1000;
        line(format!(
            "  check {:<20} {wrong}, for {seconds} s",
            check.name
        ));
    }
    for difference in &status.other_config {
        line(format!("  {}", difference.escape_debug()));
    }
    status.sets.iter().for_each(|of| line(set(of)));
    text
}

fn node(node: &Node) -> String {
    let state = match (node.leaving, node.drained) {
        (true, _) => "  leaving",
        (_, true) => "  drained",
        _ => "",
    };
    let name = node.name.escape_debug();
    let mut text = format!(
        "  {name:<20} {} sets, weight {}{state}",
        node.sets, node.weight
    );
    if let Some(wrong) = &node.wrong {
        let since = node
            .since
            .map_or_else(String::new, |since| format!(" since {}", time(since)));
        let word = if node.gone { "gone" } else { "sick" };
        write!(text, "  {word}{since}: {}", wrong.escape_debug()).expect("a String takes all");
        if !node.moved.is_empty() {
            write!(text, "; moved because of it: {}", node.moved.join(" ")).expect("a String");
        }
    }
    text
}

fn set(set: &Set) -> String {
    let holder = set.holder.as_deref().unwrap_or("nobody").escape_debug();
    let mut text = format!("{:<22} {holder}", set.name);
    let mut add = |word: &str, value: &str| {
        write!(text, "{word}{}", value.escape_debug()).expect("a String takes all");
    };
    if let Some(target) = &set.target {
        add(" -> ", target);
    }
    if set.here != "free" {
        add("  here: ", &set.here);
    }
    if let Some(pinned) = &set.pinned {
        add("  pinned to ", pinned);
    }
    if set.disputed {
        add("  held twice", "");
    }
    if set.blocked {
        add("  stays: not the same in all files", "");
    }
    if let Some(foreign) = &set.foreign {
        add("  ", foreign);
    }
    text
}

pub(crate) fn explanation(answer: &Explanation) -> String {
    let mut text = set(&answer.set) + "\n";
    match &answer.last {
        Some(last) => text += &format!("last: {}\n", entry(last)),
        None => text += "it has not moved since this vipd was started\n",
    }
    for place in &answer.candidates {
        text += &candidate(place);
    }
    text
}

fn candidate(place: &Candidate) -> String {
    let mut text = format!("  {:<20} {}", place.node.escape_debug(), place.fitness);
    if let Some(wrong) = &place.wrong {
        write!(text, " ({})", wrong.escape_debug()).expect("a String takes all");
    }
    if let Some(preference) = place.preference {
        write!(text, ", preference {preference}").expect("a String takes all");
    }
    text + &format!(", {} sets, weight {}\n", place.sets, place.weight)
}

pub(crate) fn entry(entry: &Entry) -> String {
    let mut text = format!("{}  {}", time(entry.at), entry.event);
    let mut add = |word: &str, value: &Option<String>| {
        if let Some(value) = value {
            write!(text, "{word}{}", value.escape_debug()).expect("a String takes all");
        }
    };
    add("  ", &entry.set);
    add("  from ", &entry.from);
    add("  to ", &entry.to);
    if !entry.cause.is_empty() {
        add("  ", &Some(entry.cause.clone()));
    }
    text
}

pub(crate) fn what_if(answer: &WhatIf) -> String {
    if answer.moves.is_empty() {
        return "nothing would move\n".to_owned();
    }
    let name = |name: &Option<String>| match name {
        Some(name) => name.escape_debug().to_string(),
        None => "nobody".to_owned(),
    };
    let moves = answer.moves.iter();
    moves
        .map(|change| {
            format!(
                "{:<22} {} -> {}\n",
                change.set,
                name(&change.from),
                name(&change.to)
            )
        })
        .collect()
}

/// A time of the day, in UTC.
fn time(milliseconds: u64) -> String {
    let (seconds, rest) = (milliseconds / 1000 % 86_400, milliseconds % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_entries() {
        let moved = Entry {
            number: 3,
            at: 1_700_000_000_007,
            event: "moved".into(),
            set: Some("192.0.2.1".into()),
            from: Some("web1".into()),
            to: Some("web2".into()),
            cause: "sick: tcp: refused".into(),
        };
        assert_eq!(
            entry(&moved),
            "22:13:20.007Z  moved  192.0.2.1  from web1  to web2  sick: tcp: refused"
        );
    }
}
