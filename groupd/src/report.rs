//! What the control socket answers: the daemon as it is now.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use groupd::control;
use totem::State;
use totem::groups::GroupName;

use crate::bus::{Bus, group_id};
use crate::config::Config;
use crate::ports::Ports;
use crate::sessions::Sessions;

/// Groups or members in one answer: an answer costs the loop a fraction of a millisecond.
const ENTRIES_MAX: usize = 256;

/// Everything that answers are made of.
pub(crate) struct Report<'a> {
    pub(crate) config: &'a Config,
    pub(crate) me: usize,
    pub(crate) bus: &'a Bus,
    pub(crate) ports: &'a Ports,
    pub(crate) sessions: &'a Sessions,
    pub(crate) sealed: bool,
    pub(crate) uptime: Duration,
}

impl Report<'_> {
    /// Answers a request.
    pub(crate) fn answer(&self, request: &control::Request) -> control::Answer {
        match request {
            control::Request::Status => control::Answer::Status(self.status()),
            control::Request::Groups { after } => {
                match after.as_deref().map(place_of).transpose() {
                    Ok(after) => control::Answer::Groups(self.groups(after.as_ref())),
                    Err(error) => control::Answer::Failure(control::Failure { error }),
                }
            }
            control::Request::Members { group, after } => match GroupName::new(group.as_bytes()) {
                Some(name) => {
                    let skip = usize::try_from(after.unwrap_or(0)).unwrap_or(usize::MAX);
                    control::Answer::Members(self.members(group, &name, skip))
                }
                None => control::Answer::Failure(control::Failure {
                    error: format!("a group's name has at most 31 bytes, got {:?}", group),
                }),
            },
        }
    }

    fn status(&self) -> control::Status {
        let counters = self.sessions.counters();
        control::Status {
            name: self.config.daemons[self.me].name.clone(),
            state: match self.bus.ring_state() {
                State::Operational => control::State::Operational,
                State::Gather => control::State::Gather,
                State::Form => control::State::Commit,
                State::Recover => control::State::Recovery,
            },
            view: self.bus.has_view().then(|| self.view()),
            ring: self.counters(),
            sessions: control::Sessions {
                count: self.sessions.count() as u64,
                queued_bytes: self.sessions.queued_bytes() as u64,
                slow_disconnects: counters.slow + counters.evicted,
            },
            sealed: self.sealed,
            groups: self.bus.groups().group_count() as u64,
            uptime_seconds: self.uptime.as_secs(),
        }
    }

    fn view(&self) -> control::View {
        let view = self.bus.view();
        let layout = self.config.layout(self.me);
        let members = view.members.iter().map(|member| control::ViewMember {
            name: self.config.name(member.id),
            address: SocketAddr::V4(
                layout
                    .peers
                    .get(&member.id)
                    .copied()
                    .unwrap_or(layout.local),
            ),
            incarnation: member.incarnation.0,
        });
        control::View {
            ring: view.ring.to_string(),
            members: members.collect(),
        }
    }

    /// Counters of the ring, its sockets and its clients, by name.
    fn counters(&self) -> BTreeMap<String, u64> {
        let ring = self.bus.ring_stats();
        let groups = self.bus.groups().stats();
        let ports = self.ports.counters();
        let sessions = self.sessions.counters();
        [
            ("tokens", ring.tokens),
            ("tokens_retransmitted", ring.tokens_retransmitted),
            ("roll_calls", ring.roll_calls),
            ("data_sent", ring.data_sent),
            ("data_received", ring.data_received),
            ("duplicates", ring.duplicates),
            ("retransmitted", ring.retransmitted),
            ("requested", ring.requested),
            ("relayed", ring.relayed),
            ("views", ring.views),
            ("gathers", ring.gathers),
            ("formations_failed", ring.formations_failed),
            ("merges", ring.merges),
            ("garbage", ring.garbage),
            ("foreign_key", ring.foreign_key),
            ("foreign_ring", ring.foreign_ring),
            ("replayed", ring.replayed),
            ("unknown_sender", ring.unknown_sender),
            ("refused", ring.refused),
            ("queued_bytes", self.bus.queued_bytes() as u64),
            ("group_messages_malformed", groups.malformed),
            ("group_exchanges", groups.exchanges),
            (
                "memberships",
                self.bus.groups().own_membership_count() as u64,
            ),
            ("joins_refused", self.bus.joins_refused()),
            ("datagrams_sent", ports.sent),
            ("datagrams_received", ports.received),
            ("send_calls", ports.send_calls),
            ("send_full", ports.send_full),
            ("send_failed", ports.send_failed),
            ("receive_calls", ports.receive_calls),
            ("receive_dropped", ports.receive_dropped),
            ("sessions_accepted", sessions.accepted),
            ("sessions_illegal", sessions.illegal),
            ("sessions_refused", sessions.refused),
            ("requests", sessions.requests),
            ("delivered", sessions.delivered),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    fn groups(&self, after: Option<&GroupName>) -> control::Groups {
        let mut rest = self.bus.groups().groups_after(after).peekable();
        let mut answer = control::Groups::default();
        let mut last = None;
        for group in rest.by_ref().take(ENTRIES_MAX) {
            answer.groups.push(control::Group {
                name: group.name.to_string(),
                members: group.members as u64,
                local: group.local as u64,
            });
            last = Some(group.name);
        }
        if rest.peek().is_some() {
            answer.next = last.as_ref().map(place);
        }
        answer
    }

    fn members(&self, group: &str, name: &GroupName, skip: usize) -> control::Members {
        let mut answer = control::Members {
            group: group.to_owned(),
            members: Vec::new(),
            gid: None,
            next: None,
        };
        let groups = self.bus.groups();
        let all = groups.summary(name).map_or(0, |summary| summary.members);
        if let Some((gid, members)) = groups.some_members(name, skip, ENTRIES_MAX) {
            let gid = group_id(gid);
            answer.gid = Some([gid.proc_id, gid.time, gid.index]);
            answer.members = members.iter().map(GroupName::to_string).collect();
            let end = skip.saturating_add(members.len());
            answer.next = (end < all).then_some(end as u64);
        }
        answer
    }
}

/// A group's place in the list, as text: its name in hexadecimal digits, since names hold any bytes.
fn place(name: &GroupName) -> String {
    let digits = name.as_bytes().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

fn place_of(text: &str) -> Result<GroupName, String> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes
        .and_then(|bytes| GroupName::new(&bytes))
        .ok_or_else(|| format!("\"after\" must be \"next\" of an answer, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_a_place_and_no_other_text_is() {
        for name in [&b"g"[..], b"\x01\xff\"", &[b'x'; 31]] {
            let name = GroupName::new(name).unwrap();
            assert_eq!(place_of(&place(&name)), Ok(name));
        }
        for text in ["g", "+1", "6g", &"61".repeat(33), "\u{e9}"] {
            assert!(place_of(text).is_err(), "{text}");
        }
    }
}
