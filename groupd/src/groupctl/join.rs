//! `join`: prints what groups receive, a line for each event.

use std::io::{self, BufWriter, Write};

use group::{Event, GroupId, Groups, Name};
use serde_json::{Value, json};
use unixproc::exit::{DONE, Failure};

use crate::args::{Join, Place};
use crate::text::{hex, printable};

pub(crate) fn run(place: &Place, args: &Join) -> Result<u8, Failure> {
    let mut session = place.connect(args.membership)?;
    for group in &args.groups {
        session.join(*group).map_err(Failure::fatal)?;
    }
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let event = match session.try_receive().map_err(Failure::fatal)? {
            Some(event) => event,
            None => {
                // What was printed must be seen before this waits.
                stdout.flush().map_err(Failure::stdout)?;
                session.receive().map_err(Failure::fatal)?
            }
        };
        let line = if args.json {
            object(&event).to_string()
        } else {
            line(&event)
        };
        writeln!(stdout, "{line}").map_err(Failure::stdout)?;
        left -= 1;
    }
    stdout.flush().map_err(Failure::stdout)?;
    session.disconnect().map_err(Failure::fatal)?;
    Ok(DONE)
}

/// An event for people.
fn line(event: &Event) -> String {
    match event {
        Event::Message(message) => {
            let data = message.data.strip_suffix(b"\n").unwrap_or(&message.data);
            format!(
                "{} {}: {}",
                names(&message.groups),
                message.sender,
                printable(data)
            )
        }
        Event::Membership(membership) => {
            let members: Vec<String> = membership.members.iter().map(Name::to_string).collect();
            let (group, cause) = (membership.group, membership.cause.as_str());
            format!("{group} membership by {cause}: {}", members.join(" "))
        }
        Event::Transition { group, .. } => format!("{group} transition"),
        Event::SelfLeave { group } => format!("{group} left"),
        Event::Refused { groups, .. } => format!("{} refused", names(groups)),
    }
}

/// An event for programs.
fn object(event: &Event) -> Value {
    match event {
        Event::Message(message) => {
            let mut object = json!({
                "event": "message",
                "groups": texts(message.groups.iter()),
                "sender": message.sender.to_string(),
                "service": message.service.as_str(),
                "type": message.mess_type,
            });
            match str::from_utf8(&message.data) {
                Ok(text) => object["data"] = text.into(),
                Err(_) => object["data_hex"] = hex(&message.data).into(),
            }
            object
        }
        Event::Membership(membership) => json!({
            "event": "membership",
            "group": membership.group.to_string(),
            "cause": membership.cause.as_str(),
            "gid": numbers(membership.gid),
            "members": texts(membership.members.iter().copied()),
            "vs_sets": membership
                .vs_sets
                .iter()
                .map(|set| texts(set.iter().copied()))
                .collect::<Vec<_>>(),
            "own_set": membership.own_set,
        }),
        Event::Transition { group, gid } => {
            json!({"event": "transition", "group": group.to_string(), "gid": numbers(*gid)})
        }
        Event::SelfLeave { group } => json!({"event": "left", "group": group.to_string()}),
        Event::Refused { request, groups } => {
            json!({"event": "refused", "request": request.bits(), "groups": texts(groups.iter())})
        }
    }
}

fn names(groups: &Groups) -> String {
    texts(groups.iter()).join(",")
}

fn texts(names: impl Iterator<Item = Name>) -> Vec<String> {
    names.map(|name| name.to_string()).collect()
}

fn numbers(gid: GroupId) -> [i32; 3] {
    [gid.proc_id, gid.time, gid.index]
}
