//! Extended virtual synchrony as properties of a trace: is what the members showed allowed?
//!
//! The oracle reads the [records](Record) of all processes in the order of simulated time. It
//! knows nothing of tokens and packets. The rules are those of Moser, Amir, Melliar-Smith and
//! Agarwal (ICDCS 1994), restated so that a trace can be checked as it grows:
//!
//! | rule | what it says |
//! |---|---|
//! | E1 | what is delivered was sent, unchanged, by that sender, in that service |
//! | E2 | nothing is delivered twice |
//! | E3 | a message belongs to one regular configuration, and is delivered in it or in the transitional one after it |
//! | E4 | who installs a configuration is a member of it |
//! | E5 | one ring id is one list of members, in the order of the configuration of the one with the lowest id |
//! | E6 | a process installs R (T R)*, with ring ids that grow, across restarts too |
//! | E7 | those in one transitional configuration come from one ring and go on to one ring, or end |
//! | E8 | the transitional configurations on the way to a ring are disjoint and cover it |
//! | E9 | there is one total order for each ring |
//! | E10 | no gaps in a regular configuration |
//! | E11 | gaps in a transitional one only in messages of those who are not in it |
//! | E12 | first in first out for each sender; nothing before what its sender had delivered |
//! | E13 | who goes together from R to R' has delivered the same |
//! | E14 | Safe in R: everybody in R delivers it, or crashes |
//! | E15 | Safe in T: everybody in T delivers it, or crashes |
//! | E16 | a process that does not crash delivers all that it submitted |
//! | E17 | a process that ended shows nothing more; a new life shows nothing of the old |
//! | E18 | once the network is whole, all are in one configuration and everything arrives |
//! | E19 | memory is bounded (checked by the world, where the queues are) |
//! | E20 | what a member shows to be stable in its ring, every member of that ring has (checked by the world) |
//! | E21 | without a fault the membership does not change |
//! | E22 | without a fault no packet is asked for again (checked by the world, of the members' counters) |
//! | E23 | on a LAN, whole partitions are one ring within 1.5 s of healing (checked by the world) |
//!
//! There are no notices of stability for single messages: E20 is about the safe line, which is what
//! a member shows of it.
//!
//! Memory: 40 bytes for each message of the run, and the order of each configuration that some
//! living process may still deliver in; a configuration that all have left is judged and dropped.

mod configurations;
mod deliveries;
mod judgement;
mod messages;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use self::messages::{Messages, Sent};
use self::ring::Ring;
use super::trace::{Lane, MessageId, ProcessId, Record, What};
use crate::event::Service;
use crate::time::Time;
use crate::view::{MemberId, RingId, ViewMember};

/// A rule that a trace broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the rule: `E1` to `E23`, `G1` to `G9`.
    pub rule: &'static str,
    /// When.
    pub at: Time,
    /// Where, if it is not about all of them.
    pub process: Option<ProcessId>,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.6} s", self.rule, self.at.0 as f64 / 1e9)?;
        if let Some(process) = self.process {
            write!(f, " by p{}", process.0)?;
        }
        write!(f, ": {}", self.seen)
    }
}

/// A broken rule before it is known where and when.
#[derive(Debug, PartialEq, Eq)]
struct Broken(&'static str, String);

type Verdict = Result<(), Broken>;

fn broken(rule: &'static str, seen: impl Into<String>) -> Verdict {
    Err(Broken(rule, seen.into()))
}

/// A process as its own records show it.
struct Process {
    member: ViewMember,
    /// The order of the members in its configuration.
    order: Vec<MemberId>,
    ended: bool,
    /// Index of the regular configuration it is in, or was in last.
    ring: Option<u32>,
    /// Index among the transitions of that ring, while it is in a transitional configuration.
    transition: Option<usize>,
    /// How much of the order of the ring it delivered in the regular configuration.
    cursor: u32,
    /// How much of the order of the transition it delivered.
    transitional_cursor: usize,
    /// The most that the sender of a message delivered in this transitional configuration had
    /// itself delivered of the ring's order when it submitted that message.
    causal_cursor: u32,
    /// Highest sequence delivered from the queue of each sender.
    last_from: BTreeMap<ProcessId, u32>,
    /// How many of its own messages it delivered, from each lane.
    own: [usize; 2],
}

/// The judge of a trace.
#[derive(Default)]
pub struct Oracle {
    processes: Vec<Process>,
    by_member: BTreeMap<ViewMember, ProcessId>,
    /// Last ring of each member in all of its lives.
    last_ring: BTreeMap<MemberId, RingId>,
    rings: Vec<Ring>,
    by_ring: BTreeMap<RingId, u32>,
    /// Rings that some living process is in or may yet install.
    open: Vec<u32>,
    messages: Messages,
    quiet: bool,
}

impl Oracle {
    /// From now on (or no longer) a change of membership breaks E21.
    pub fn expect_no_change(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// How many regular configurations there were.
    pub fn views(&self) -> u64 {
        self.rings.len() as u64
    }

    /// How many of them had several members.
    pub fn views_of_several(&self) -> u64 {
        let several = |ring: &&Ring| ring.members.len() > 1;
        self.rings.iter().filter(several).count() as u64
    }

    /// Judges the next record.
    ///
    /// # Errors
    /// The rule that it breaks; the oracle is of no use after that.
    pub fn observe(&mut self, record: &Record) -> Result<(), Violation> {
        let p = record.process;
        let verdict = match &record.what {
            What::Start {
                member,
                order,
                disk_lost,
            } => self.start(p, *member, order, *disk_lost),
            _ if self.processes[p.0 as usize].ended => {
                broken("E17", format!("{record} after its end"))
            }
            What::Submit {
                message,
                service,
                hash,
            } => self.submit(p, *message, *service, *hash),
            What::Deliver {
                message,
                sender,
                service,
                hash,
            } => self.deliver(p, *message, *sender, *service, *hash),
            What::Transitional(transition) => self.transitional(p, transition),
            What::Regular(view) => self.regular(p, view),
            What::Persisted(_) => Ok(()),
            What::Left => self.left(p),
            What::Crash => self.end(p),
        };
        verdict.map_err(|Broken(rule, seen)| Violation {
            rule,
            at: record.at,
            process: Some(p),
            seen,
        })
    }

    /// E18, first half: all living processes are in one regular configuration, which is exactly
    /// them.
    ///
    /// # Errors
    /// Who is not.
    pub fn check_together(&self, at: Time) -> Result<(), Violation> {
        let living: Vec<(ProcessId, &Process)> = self.living().collect();
        let Some(ring) = living.first().and_then(|(_, process)| process.ring) else {
            return Ok(());
        };
        let ring = &self.rings[ring as usize];
        let violation = |process, seen| Violation {
            rule: "E18",
            at,
            process: Some(process),
            seen,
        };
        for &(id, process) in &living {
            let own = process.ring.map(|own| self.rings[own as usize].id);
            if own != Some(ring.id) || process.transition.is_some() {
                return Err(violation(
                    id,
                    format!("is in {}, p{} in {}", show(own), living[0].0.0, ring.id),
                ));
            }
            if !ring.members.contains(&process.member) {
                return Err(violation(id, format!("is not in {}", ring.id)));
            }
        }
        if ring.members.len() != living.len() {
            return Err(violation(
                living[0].0,
                format!("{} has members that do not live", ring.id),
            ));
        }
        Ok(())
    }

    /// E18, second half: everything that a living process submitted has arrived at all of them,
    /// and every configuration but the last is judged.
    ///
    /// # Errors
    /// Who misses what.
    pub fn check_caught_up(&self, at: Time) -> Result<(), Violation> {
        self.check_together(at)?;
        for (id, process) in self.living() {
            let violation = |seen| Violation {
                rule: "E18",
                at,
                process: Some(id),
                seen,
            };
            let missing =
                self.undelivered_own(id, Lane::Queue) + self.undelivered_own(id, Lane::First);
            if missing > 0 {
                return Err(violation(format!(
                    "{missing} of its own messages were not delivered to it"
                )));
            }
            let length = process
                .ring
                .map_or(0, |ring| self.rings[ring as usize].order.len());
            if (process.cursor as usize) < length {
                return Err(violation(format!(
                    "delivered {} of {length} messages",
                    process.cursor
                )));
            }
        }
        Ok(())
    }

    fn living(&self) -> impl Iterator<Item = (ProcessId, &Process)> {
        let numbered = self.processes.iter().enumerate();
        numbered
            .filter(|(_, process)| !process.ended)
            .map(|(index, process)| (ProcessId(index as u32), process))
    }

    fn undelivered_own(&self, p: ProcessId, lane: Lane) -> usize {
        self.messages.count(p, lane) - self.processes[p.0 as usize].own[lane as usize]
    }

    fn start(
        &mut self,
        p: ProcessId,
        member: ViewMember,
        order: &[MemberId],
        disk_lost: bool,
    ) -> Verdict {
        assert_eq!(
            p.0 as usize,
            self.processes.len(),
            "processes are numbered in the order of their starts"
        );
        if disk_lost {
            self.last_ring.remove(&member.id);
        }
        self.by_member.insert(member, p);
        self.messages.add_sender(member);
        self.processes.push(Process {
            member,
            order: order.to_vec(),
            ended: false,
            ring: None,
            transition: None,
            cursor: 0,
            transitional_cursor: 0,
            causal_cursor: 0,
            last_from: BTreeMap::new(),
            own: [0; 2],
        });
        Ok(())
    }

    fn submit(&mut self, p: ProcessId, id: MessageId, service: Service, hash: u64) -> Verdict {
        let process = &self.processes[p.0 as usize];
        let Some(ring) = process.ring else {
            return broken("E6", "submits before its first configuration");
        };
        // In a transitional configuration it has delivered all it ever will of the ring's order.
        let cursor = if process.transition.is_some() {
            u32::MAX
        } else {
            process.cursor
        };
        assert_eq!(id.process, p, "a process submits its own messages");
        self.messages.add(
            id,
            Sent {
                hash,
                service,
                ring,
                cursor,
                placed: None,
                position: None,
            },
        );
        Ok(())
    }

    /// E16 of one who leaves. What the view change made it say meanwhile is of no use to anybody.
    fn left(&mut self, p: ProcessId) -> Verdict {
        let missing = self.undelivered_own(p, Lane::Queue);
        if missing > 0 {
            return broken(
                "E16",
                format!("left, and {missing} of its messages were not delivered to it"),
            );
        }
        self.end(p)
    }

    fn end(&mut self, p: ProcessId) -> Verdict {
        let process = &mut self.processes[p.0 as usize];
        process.ended = true;
        process.last_from.clear();
        for &index in &self.open {
            self.rings[index as usize].end(process.member);
        }
        self.close_finished()
    }
}

fn show(ring: Option<RingId>) -> String {
    ring.map_or_else(|| "none".into(), |ring| ring.to_string())
}
