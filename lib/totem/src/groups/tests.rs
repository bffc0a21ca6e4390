//! Several daemons on a perfect ring that the test takes apart and puts together.

mod bounds;
mod bus;
mod changes;
mod oracle;
mod random;
mod sessions;

use super::{Cause, GroupName, Membership, PrivateName};

fn group(name: &str) -> GroupName {
    GroupName::new(name.as_bytes()).expect("a short name")
}

fn private_name(name: &str) -> PrivateName {
    PrivateName::new(name.as_bytes()).expect("an allowed name")
}

/// A list of members as one line.
fn line(members: &[GroupName]) -> String {
    members
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A membership as one line: cause, members, vs sets and the receivers' own.
fn describe(membership: &Membership) -> String {
    let cause = match membership.cause {
        Cause::Join(who) => format!("join {who}"),
        Cause::Leave(who) => format!("leave {who}"),
        Cause::Disconnect(who) => format!("disconnect {who}"),
        Cause::Network => {
            let sets: Vec<String> = membership.vs_sets.iter().map(|set| line(set)).collect();
            return format!("network [{}] own {}", sets.join(" | "), membership.own_set);
        }
    };
    format!("{cause}: {}", line(&membership.members))
}
