//! `status`, `groups` and `members`: questions to the control socket.

use std::fmt::Write as _;
use std::time::Duration;

use groupd::control;
use serde::Serialize;
use serde::de::DeserializeOwned;
use status::CallError;
use unixproc::exit::{DONE, FAILED, Failure, print};

use crate::args::{Groups, Members, Place, Status, hint};
use crate::text::printable;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a list of members is begun again because they have changed.
const MEMBERSHIPS_MAX: u32 = 20;

pub(crate) fn status(place: &Place, args: &Status) -> Result<u8, Failure> {
    let status: control::Status = ask(place, &control::Request::Status)?;
    print(&if args.json {
        json(&status)
    } else {
        status_text(&status)
    })?;
    Ok(DONE)
}

pub(crate) fn groups(place: &Place, args: &Groups) -> Result<u8, Failure> {
    let mut groups = control::Groups::default();
    let mut after = None;
    loop {
        let mut part: control::Groups = ask(place, &control::Request::Groups { after })?;
        groups.groups.append(&mut part.groups);
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    print(&if args.json {
        json(&groups)
    } else {
        groups_text(&groups)
    })?;
    Ok(DONE)
}

/// Ends with the honest no if nobody is in the group.
pub(crate) fn members(place: &Place, args: &Members) -> Result<u8, Failure> {
    let members = ask_members(place, &args.group.to_string())?;
    print(&if args.json {
        json(&members)
    } else {
        members_text(&members)
    })?;
    Ok(if members.members.is_empty() {
        FAILED
    } else {
        DONE
    })
}

/// Asks until all parts are of one membership.
fn ask_members(place: &Place, group: &str) -> Result<control::Members, Failure> {
    let part = |after| -> Result<control::Members, Failure> {
        let group = group.to_owned();
        ask(place, &control::Request::Members { group, after })
    };
    for _ in 0..MEMBERSHIPS_MAX {
        let mut all = part(None)?;
        while let Some(next) = all.next {
            let mut more = part(Some(next))?;
            if more.gid != all.gid {
                break;
            }
            all.members.append(&mut more.members);
            all.next = more.next;
        }
        if all.next.is_none() {
            return Ok(all);
        }
    }
    let reason = "the members change faster than they can be listed";
    Err(Failure::fatal(reason))
}

fn ask<A: DeserializeOwned>(place: &Place, request: &control::Request) -> Result<A, Failure> {
    let path = place.control()?;
    status::call(&path, request, TIMEOUT).map_err(|error| {
        let hint = match &error {
            CallError::Io(error) => hint(error.kind()),
            _ => "",
        };
        let message = format!("cannot ask groupd at {}: {error}{hint}", path.display());
        Failure::fatal(message)
    })
}

fn json(answer: &impl Serialize) -> String {
    let mut text = serde_json::to_string(answer).expect("answers have text keys only");
    text.push('\n');
    text
}

fn status_text(status: &control::Status) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        writeln!(text, "{key:<12}{}", printable(value.as_bytes())).expect("a String takes all");
    };
    line("daemon", &status.name);
    line("state", state_text(status.state));
    line(
        "sealed",
        if status.sealed {
            "yes"
        } else {
            "no, the ring is open"
        },
    );
    line("uptime", &format!("{} s", status.uptime_seconds));
    match &status.view {
        None => line("view", "none yet"),
        Some(view) => {
            line("view", &view.ring);
            for (index, member) in view.members.iter().enumerate() {
                let key = if index == 0 { "members" } else { "" };
                let control::ViewMember {
                    name,
                    address,
                    incarnation,
                } = member;
                line(key, &format!("{name} {address} incarnation {incarnation}"));
            }
        }
    }
    line("groups", &status.groups.to_string());
    line("sessions", &status.sessions.count.to_string());
    line("queued", &format!("{} bytes", status.sessions.queued_bytes));
    line("too slow", &status.sessions.slow_disconnects.to_string());
    for (index, (counter, value)) in status.ring.iter().enumerate() {
        let key = if index == 0 { "ring" } else { "" };
        line(key, &format!("{counter} {value}"));
    }
    text
}

fn state_text(state: control::State) -> &'static str {
    match state {
        control::State::Operational => "operational",
        control::State::Gather => "gather",
        control::State::Commit => "commit",
        control::State::Recovery => "recovery",
    }
}

fn groups_text(groups: &control::Groups) -> String {
    let mut text = String::new();
    for group in &groups.groups {
        let name = printable(group.name.as_bytes());
        let (members, local) = (group.members, group.local);
        writeln!(text, "{name:<31} members {members}, here {local}").expect("a String takes all");
    }
    text
}

fn members_text(members: &control::Members) -> String {
    members
        .members
        .iter()
        .map(|member| printable(member.as_bytes()) + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_readable() {
        let status = control::Status {
            name: "n1".into(),
            state: control::State::Operational,
            view: Some(control::View {
                ring: "17.127.0.0.1".into(),
                members: ["n1", "n2"]
                    .map(|name| control::ViewMember {
                        name: name.into(),
                        address: "127.0.0.1:4803".parse().unwrap(),
                        incarnation: 3,
                    })
                    .into(),
            }),
            ring: [
                ("delivered".to_string(), 9),
                ("retransmitted".to_string(), 0),
            ]
            .into(),
            sessions: control::Sessions {
                count: 2,
                queued_bytes: 80,
                slow_disconnects: 1,
            },
            sealed: false,
            groups: 4,
            uptime_seconds: 60,
        };
        assert_eq!(
            status_text(&status),
            "daemon      n1\n\
             state       operational\n\
             sealed      no, the ring is open\n\
             uptime      60 s\n\
             view        17.127.0.0.1\n\
             members     n1 127.0.0.1:4803 incarnation 3\n\
             \x20           n2 127.0.0.1:4803 incarnation 3\n\
             groups      4\n\
             sessions    2\n\
             queued      80 bytes\n\
             too slow    1\n\
             ring        delivered 9\n\
             \x20           retransmitted 0\n"
        );
    }

    #[test]
    fn states_are_the_words_of_the_control_socket() {
        for state in [
            control::State::Operational,
            control::State::Gather,
            control::State::Commit,
            control::State::Recovery,
        ] {
            assert_eq!(json(&state), format!("\"{}\"\n", state_text(state)));
        }
    }
}
