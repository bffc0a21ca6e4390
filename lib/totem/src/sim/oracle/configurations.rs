//! What a process installs: E4 to E8, E13 and E21, and E14 and E15 once a ring is over.

use super::ring::{Ring, Seat};
use super::{Broken, Oracle, Verdict, broken};
use crate::sim::trace::ProcessId;
use crate::view::{RingId, Transition, View, ViewMember};

impl Oracle {
    pub(super) fn transitional(&mut self, p: ProcessId, transition: &Transition) -> Verdict {
        if self.quiet {
            return broken(
                "E21",
                format!(
                    "leaves {} for {} without a reason",
                    transition.from, transition.to
                ),
            );
        }
        let process = &mut self.processes[p.0 as usize];
        let Some(ring) = process.ring.filter(|_| process.transition.is_none()) else {
            return broken(
                "E6",
                "transitional configuration that follows no regular one",
            );
        };
        let ring = &mut self.rings[ring as usize];
        if ring.id != transition.from {
            return broken(
                "E6",
                format!("leaves {} but is in {}", transition.from, ring.id),
            );
        }
        if transition.to <= ring.id {
            return broken(
                "E6",
                format!("goes from {} back to {}", ring.id, transition.to),
            );
        }
        if !transition.members.contains(&process.member) {
            return broken(
                "E4",
                format!(
                    "is not in its transitional configuration to {}",
                    transition.to
                ),
            );
        }
        process.transition = Some(ring.enter_transition(process.cursor, transition)?);
        process.transitional_cursor = 0;
        process.causal_cursor = 0;
        Ok(())
    }

    pub(super) fn regular(&mut self, p: ProcessId, view: &View) -> Verdict {
        self.check_grammar(p, view)?;
        let member = self.processes[p.0 as usize].member;
        if !view.members.contains(&member) {
            return broken(
                "E4",
                format!("is not in its regular configuration {}", view.ring),
            );
        }
        let index = self.register(view)?;
        let from = self.leave_ring(p)?;
        self.rings[index as usize].install(member, from, view)?;
        if let Some((from, transition)) = from {
            self.check_travellers(from, transition, index)?;
        }
        let process = &mut self.processes[p.0 as usize];
        process.ring = Some(index);
        process.transition = None;
        process.cursor = 0;
        self.skip_older(member, view.ring);
        self.close_finished()
    }

    /// E6 and E7.
    fn check_grammar(&mut self, p: ProcessId, view: &View) -> Verdict {
        let process = &self.processes[p.0 as usize];
        match (process.ring, process.transition) {
            (None, _) => {}
            (Some(_), None) => {
                return broken(
                    "E6",
                    format!("installs {} without a transitional one", view.ring),
                );
            }
            (Some(ring), Some(transition)) => {
                let expected = self.rings[ring as usize].transitions[transition].to;
                if expected != view.ring {
                    return broken(
                        "E7",
                        format!("installs {} on the way to {expected}", view.ring),
                    );
                }
            }
        }
        if let Some(last) = self.last_ring.insert(process.member.id, view.ring)
            && view.ring <= last
        {
            return broken("E6", format!("installs {} after {last}", view.ring));
        }
        Ok(())
    }

    /// E5: finds or makes the ring of this view.
    fn register(&mut self, view: &View) -> Result<u32, Broken> {
        if let Some(&index) = self.by_ring.get(&view.ring) {
            let known = &self.rings[index as usize].members;
            if known != &view.members {
                broken(
                    "E5",
                    format!(
                        "{} has members {:?} here, {known:?} elsewhere",
                        view.ring, view.members
                    ),
                )?;
            }
            return Ok(index);
        }
        self.check_order(view)?;
        let mut seats = Vec::with_capacity(view.members.len());
        for member in view.members.iter() {
            let Some(&process) = self.by_member.get(member) else {
                return Err(Broken(
                    "E5",
                    format!("{} has {member:?}, who never lived", view.ring),
                ));
            };
            seats.push(self.first_seat(process, view.ring));
        }
        let index = self.rings.len() as u32;
        self.rings.push(Ring::new(view, seats));
        self.by_ring.insert(view.ring, index);
        self.open.push(index);
        Ok(index)
    }

    /// E5: the order of the members.
    fn check_order(&self, view: &View) -> Verdict {
        let lowest = view.members.iter().min();
        let lowest = lowest.and_then(|member| self.by_member.get(member));
        let Some(lowest) = lowest.map(|process| &self.processes[process.0 as usize]) else {
            return broken("E5", format!("{} has no member that lived", view.ring));
        };
        let mut order = lowest.order.iter();
        let in_order = |member: &ViewMember| order.any(|&id| id == member.id);
        if view.members.iter().all(in_order) {
            return Ok(());
        }
        broken(
            "E5",
            format!(
                "{} is not in the order of {}: {:?}",
                view.ring, lowest.member.id, view.members
            ),
        )
    }

    /// Where a member of a ring stands when another one is the first to install it.
    fn first_seat(&self, process: ProcessId, ring: RingId) -> Seat {
        let process = &self.processes[process.0 as usize];
        if process.ended {
            return Seat::Ended;
        }
        match process.ring {
            Some(current) if self.rings[current as usize].id > ring => Seat::Skipped,
            _ => Seat::Pending,
        }
    }

    /// E13: takes a process out of the ring it is in; where from, and by which transition.
    fn leave_ring(&mut self, p: ProcessId) -> Result<Option<(RingId, usize)>, Broken> {
        let process = &self.processes[p.0 as usize];
        let (Some(ring), Some(transition)) = (process.ring, process.transition) else {
            return Ok(None);
        };
        let ring = &mut self.rings[ring as usize];
        ring.leave(process.member, transition, process.transitional_cursor)?;
        Ok(Some((ring.id, transition)))
    }

    /// E8: those who came along are those of whom the transitional configuration said so.
    fn check_travellers(&self, from: RingId, transition: usize, to: u32) -> Verdict {
        let source = &self.rings[self.by_ring[&from] as usize];
        let listed = &source.transitions[transition].members;
        let target = &self.rings[to as usize];
        for (member, origin) in target.origins() {
            let came_along = origin == Some(from);
            if came_along != listed.contains(&member) {
                let verb = if came_along { "came" } else { "did not come" };
                return broken(
                    "E8",
                    format!(
                        "{} {verb} from {from} to {} against the transitional configuration",
                        member.id, target.id
                    ),
                );
            }
        }
        Ok(())
    }

    /// Rings that this member was awaited in and that it can install no more, as ids only grow.
    fn skip_older(&mut self, member: ViewMember, installed: RingId) {
        for &index in &self.open {
            let ring = &mut self.rings[index as usize];
            if ring.id < installed {
                ring.give_up(member, Seat::Skipped);
            }
        }
    }

    /// Judges and drops the rings in which nobody can deliver any more.
    pub(super) fn close_finished(&mut self) -> Verdict {
        let mut index = 0;
        while index < self.open.len() {
            let ring = &mut self.rings[self.open[index] as usize];
            if ring.is_finished() {
                ring.judge(&self.messages)?;
                ring.drop_contents();
                self.open.swap_remove(index);
            } else {
                index += 1;
            }
        }
        Ok(())
    }
}
