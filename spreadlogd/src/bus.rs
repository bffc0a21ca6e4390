//! A session with a daemon: the groups it is in, and the routes of their lines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use group::{Address, Cause, Event, GroupName, Link, Message, Name, Options, Received};
use memchr::memchr_iter;
use mio::{Registry, Token};
use serde_json::json;
use unixproc::log;
use weblog::stream::Assembler;

use crate::config::{Log, host_name};
use crate::outputs::Outputs;
use crate::route::{Rotations, Route};
use crate::stamp::Time;
use crate::status_line;

/// Bound: bytes taken from a session before the files have their turn.
const ROUND_BYTES: usize = 1 << 20;

/// A daemon, and what this program takes from it.
#[derive(Debug)]
pub(crate) struct Bus {
    link: Link,
    groups: BTreeMap<GroupName, Group>,
    /// Groups that are left, and whose last lines are still to come.
    leaving: BTreeSet<GroupName>,
    messages: u64,
    /// When this program says next how it is.
    status_at: Instant,
}

/// A group that lines are taken from.
#[derive(Debug, Default)]
struct Group {
    routes: Vec<Route>,
    assembler: Assembler,
    /// Whether this session has seen itself among the members.
    joined: bool,
    lines: u64,
}

impl Bus {
    /// Not connected yet; events of the session will have this token.
    pub(crate) fn new(address: Address, token: Token, index: usize, now: Instant) -> Bus {
        // Names are unique per daemon, so more sessions of this process need more names.
        let name = match index {
            0 => format!("sl{}", std::process::id()),
            index => format!("s{index}.{}", std::process::id()),
        };
        let mut options = Options::new(address);
        options.name = name.parse().ok();
        options.membership = true;
        Bus {
            link: Link::new(options, b"sl", token, now),
            groups: BTreeMap::new(),
            leaving: BTreeSet::new(),
            messages: 0,
            status_at: now,
        }
    }

    /// Where the daemon listens.
    pub(crate) fn address(&self) -> &Address {
        self.link.address()
    }

    /// The session, if there is one.
    pub(crate) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Takes lines for these Log blocks from now on, and for no others.
    pub(crate) fn set_logs(&mut self, logs: &[Log]) {
        for group in self.groups.values_mut() {
            group.routes.clear();
        }
        for log in logs {
            self.groups
                .entry(log.group)
                .or_default()
                .routes
                .push(Route::new(log));
            self.link.join(log.group);
        }
        let dropped: Vec<GroupName> = self
            .groups
            .iter()
            .filter(|(_, group)| group.routes.is_empty())
            .map(|(&name, _)| name)
            .collect();
        for name in dropped {
            self.groups.remove(&name);
            self.link.leave(name);
        }
    }

    /// Leaves all groups; the lines that are ordered before that still come.
    pub(crate) fn leave_all(&mut self) {
        self.leaving.clear();
        let Some(session) = self.link.session() else {
            return;
        };
        for (&name, group) in &self.groups {
            if group.joined && session.leave(name).is_ok() {
                self.leaving.insert(name);
            }
        }
    }

    /// Whether the last lines of a group that is left are still to come.
    pub(crate) fn is_leaving(&self) -> bool {
        self.link.is_connected() && !self.leaving.is_empty()
    }

    /// When [`connect`](Self::connect) is due, unless an event comes before.
    pub(crate) fn connect_at(&self) -> Option<Instant> {
        self.link.connect_at()
    }

    /// When [`publish_status`](Self::publish_status) is due.
    pub(crate) fn status_at(&self) -> Instant {
        self.status_at
    }

    /// Whether there may be something to read at once.
    pub(crate) fn is_readable(&self) -> bool {
        self.link.is_readable()
    }

    /// Goes on with opening the session if there is none.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        self.link.connect(registry, now);
    }

    /// Takes what the session has, up to a round's bound, and passes the lines on.
    pub(crate) fn receive(&mut self, outputs: &mut Outputs, time: &Time, now: Instant) {
        let mut taken = 0;
        while taken < ROUND_BYTES
            && let Some(received) = self.link.receive(now)
        {
            match received {
                Received::Event(event) => taken += self.handle(event, outputs, time, now),
                Received::Lost => self.forget_session(outputs, time, now),
            }
        }
    }

    /// Handles an event; gives about how many bytes it took.
    fn handle(&mut self, event: Event, outputs: &mut Outputs, time: &Time, now: Instant) -> usize {
        match event {
            Event::Message(message) => {
                self.messages += 1;
                self.handle_message(&message, outputs, time, now);
                message.data.len() + 48
            }
            Event::Membership(membership) => {
                let own = self.link.private_group();
                let group = self.group(&membership.group);
                let member = own.is_some_and(|own| membership.members.contains(&own));
                let fields: log::Fields = &[
                    ("group", &membership.group),
                    ("members", &membership.members.len()),
                ];
                match group {
                    Some(group) if member && !group.joined => {
                        group.joined = true;
                        self.status_at = now;
                        log::notice("joined", fields);
                    }
                    _ if membership.cause == Cause::Network => {
                        log::notice("network-changed", fields)
                    }
                    _ => log::info("membership", fields),
                }
                membership.members.len() * 32
            }
            Event::SelfLeave { group: name } => {
                self.leaving.retain(|leaving| leaving.name() != name);
                log::notice("left", &[("group", &name)]);
                48
            }
            Event::Transition { group, .. } => {
                log::info("transition", &[("group", &group)]);
                48
            }
            Event::Refused { .. } => {
                log::warning("request-refused", &[("bus", self.address())]);
                48
            }
        }
    }

    fn handle_message(
        &mut self,
        message: &Message,
        outputs: &mut Outputs,
        time: &Time,
        now: Instant,
    ) {
        // Each group once, though the sender may have named it twice.
        let names: BTreeSet<Name> = message.groups.iter().collect();
        for name in &names {
            let Some(group) = self.group(name) else {
                continue;
            };
            let Group {
                routes,
                assembler,
                lines: count,
                ..
            } = group;
            assembler.receive(message.sender.as_bytes(), &message.data, |lines| {
                *count += pass(lines, routes, outputs, time, now);
            });
        }
    }

    /// Ends the session, if there is one.
    pub(crate) fn disconnect(&mut self, outputs: &mut Outputs, time: &Time, now: Instant) {
        self.link.close(now);
        self.forget_session(outputs, time, now);
    }

    /// There is no session any more: lines whose end has not come are written as they are.
    fn forget_session(&mut self, outputs: &mut Outputs, time: &Time, now: Instant) {
        self.leaving.clear();
        for group in self.groups.values_mut() {
            group.joined = false;
            let Group {
                routes,
                assembler,
                lines: count,
                ..
            } = group;
            assembler.flush(|lines| *count += pass(lines, routes, outputs, time, now));
        }
    }

    /// Publishes a status of each group, if it is due.
    pub(crate) fn publish_status(&mut self, outputs: &Outputs, now: Instant) {
        if now < self.status_at {
            return;
        }
        self.status_at = now + status_line::INTERVAL;
        for (name, group) in &self.groups {
            let status = json!({
                "program": "spreadlogd",
                "name": host_name(),
                "group": name.to_string(),
                "joined": group.joined,
                "lines": group.lines,
                "written_bytes": outputs.written_bytes(),
                "queued_bytes": outputs.queued_bytes(),
            });
            status_line::publish(&mut self.link, &status);
        }
    }

    /// Writes one line per group into the log.
    pub(crate) fn log_status(&self) {
        log::notice(
            "status",
            &[
                ("bus", self.address()),
                ("connected", &self.link.is_connected()),
                ("messages", &self.messages),
            ],
        );
        for (name, group) in &self.groups {
            let counts = group.assembler.counts();
            log::notice(
                "status",
                &[
                    ("group", name),
                    ("joined", &group.joined),
                    ("lines", &group.lines),
                    ("unterminated-lines", &counts.unterminated_lines),
                    ("broken-lines", &counts.broken_lines),
                ],
            );
        }
    }

    fn group(&mut self, name: &Name) -> Option<&mut Group> {
        self.groups.get_mut(&GroupName::new(name.as_bytes()).ok()?)
    }
}

/// Passes whole lines through all routes; gives their number.
fn pass(
    lines: &[u8],
    routes: &mut [Route],
    outputs: &mut Outputs,
    time: &Time,
    now: Instant,
) -> u64 {
    for route in routes {
        route.pass(lines, time, &mut Rotations::new(), |destination, bytes| {
            outputs.append(destination, bytes, now)
        });
    }
    memchr_iter(b'\n', lines).count() as u64
}
