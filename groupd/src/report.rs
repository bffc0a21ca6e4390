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
            control::Request::Groups => control::Answer::Groups(self.groups()),
            control::Request::Members { group } => match GroupName::new(group.as_bytes()) {
                Some(name) => control::Answer::Members(self.members(group, &name)),
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

    fn groups(&self) -> control::Groups {
        let groups = self.bus.groups().groups().map(|group| control::Group {
            name: group.name.to_string(),
            members: group.members as u64,
            local: group.local as u64,
        });
        control::Groups {
            groups: groups.collect(),
        }
    }

    fn members(&self, group: &str, name: &GroupName) -> control::Members {
        let (gid, members) = match self.bus.groups().members(name) {
            Some((gid, members)) => {
                let gid = group_id(gid);
                (Some([gid.proc_id, gid.time, gid.index]), members.to_vec())
            }
            None => (None, Vec::new()),
        };
        control::Members {
            group: group.to_owned(),
            members: members.iter().map(GroupName::to_string).collect(),
            gid,
        }
    }
}
