//! What a session is told of its groups: memberships, notices of a change, its own leave.

use std::sync::Arc;

use super::view::{Arrival, GroupView, ViewKey, check_first, check_sets, check_single};
use super::{Broken, GroupOracle, Seat, Verdict, broken};
use crate::groups::{Cause, GroupId, GroupName, Membership, PrivateName, SessionId};
use crate::sim::trace::ProcessId;

impl GroupOracle {
    pub(super) fn membership(
        &mut self,
        p: ProcessId,
        id: SessionId,
        membership: &Membership,
    ) -> Verdict {
        let Membership {
            group,
            gid,
            cause,
            members,
            vs_sets,
            own_set,
        } = membership;
        let key = self.register(p, *group, *gid, members)?;
        let session = self.session(p, id)?;
        let private = session.private;
        if !members.contains(&private) {
            return broken(
                "G5",
                format!("{private} is not in the membership of {group:?} it is told of"),
            );
        }
        let past = session.seats.get(group).map(Seat::past);
        let foretold = session
            .seats
            .get(group)
            .is_some_and(|seat| seat.foretold.contains(gid));
        if foretold {
            return broken(
                "G6",
                format!("{private} had a message from one who knew {gid:?} of {group:?} before"),
            );
        }
        let kept = session
            .seats
            .remove(group)
            .map(|seat| seat.foretold)
            .unwrap_or_default();
        session.seats.insert(*group, Seat::new(key, kept));
        let set = match cause {
            Cause::Network => Some(check_sets(private, members, vs_sets, *own_set)?),
            Cause::Join(who) | Cause::Leave(who) | Cause::Disconnect(who) => {
                check_single(cause, *who, members, vs_sets)?;
                None
            }
        };
        check_first(private, past.is_none(), cause, set.as_deref())?;
        let view = self.views.get_mut(&key).expect("registered");
        view.arrive(
            private,
            Arrival {
                set,
                previous: past,
            },
        )
    }

    /// G1.
    fn register(
        &mut self,
        p: ProcessId,
        group: GroupName,
        gid: GroupId,
        members: &Arc<[GroupName]>,
    ) -> Result<ViewKey, Broken> {
        let key = (
            group,
            gid,
            self.disks
                .get(&gid.representative)
                .copied()
                .unwrap_or_default(),
        );
        if !members.is_sorted_by_key(|member| self.rank(p, member)) {
            return Err(Broken(
                "G1",
                format!("{gid:?} of {group:?} is out of order: {members:?}"),
            ));
        }
        let view = self.views.entry(key).or_insert_with(|| GroupView {
            members: members.clone(),
            order: Vec::new(),
            arrivals: Vec::new(),
        });
        if view.members == *members {
            return Ok(key);
        }
        Err(Broken(
            "G1",
            format!(
                "{gid:?} of {group:?} is {members:?} here and {:?} elsewhere",
                view.members
            ),
        ))
    }

    /// Members stand in the order of their daemons in the ring, then of their names.
    fn rank(&self, p: ProcessId, member: &GroupName) -> Option<(Option<usize>, PrivateName)> {
        let (name, daemon) = member.parse_private()?;
        let mut ring = self.rings.get(&p)?.iter();
        let position = ring.position(|other| other.as_bytes() == daemon);
        Some((position, name))
    }

    pub(super) fn transition(
        &mut self,
        p: ProcessId,
        id: SessionId,
        group: GroupName,
        gid: GroupId,
    ) -> Verdict {
        let session = self.session(p, id)?;
        let private = session.private;
        match session.seats.get_mut(&group) {
            Some(seat) if seat.gid == gid && !seat.notified => {
                seat.notified = true;
                Ok(())
            }
            Some(seat) if seat.gid == gid => broken(
                "G9",
                format!("{private} is notified twice in {gid:?} of {group:?}"),
            ),
            Some(seat) => broken(
                "G2",
                format!(
                    "{private} is notified of {gid:?} of {group:?} but is in {:?}",
                    seat.gid
                ),
            ),
            None => broken("G7", format!("{private} is notified but not in {group:?}")),
        }
    }

    pub(super) fn self_leave(&mut self, p: ProcessId, id: SessionId, group: GroupName) -> Verdict {
        let session = self.session(p, id)?;
        match session.seats.remove(&group) {
            Some(_) => Ok(()),
            None => broken(
                "G5",
                format!("{} leaves {group:?}, in which it is not", session.private),
            ),
        }
    }
}
