//! E20: what a member shows to be stable, every member of its ring has.

use super::World;
use crate::node::Totem;
use crate::sim::network::Host;
use crate::view::RingId;

impl World<'_> {
    /// After an input, as the safe line may have moved. Members that have gone on from the ring had
    /// all that is stable in it when they did; the rules about delivery judge them.
    pub(super) fn check_stable(&mut self, host: Host) {
        let Some(process) = &mut self.machines[host].process else {
            return;
        };
        let id = process.id;
        let (ring, stable) = (process.totem.view().ring, process.totem.progress().2);
        if std::mem::replace(&mut process.stable, (ring, stable)) == (ring, stable) {
            return;
        }
        let others = self
            .machines
            .iter()
            .filter_map(|other| other.process.as_ref());
        let behind = others
            .filter_map(|other| Some((other.id, received(&other.totem, ring)?)))
            .find(|(_, received)| *received < stable);
        if let Some((other, received)) = behind {
            let seen = format!(
                "shows {stable} to be stable in {ring}, of which p{} has {received}",
                other.0
            );
            self.break_rule("E20", Some(id), seen);
        }
    }
}

/// Up to where a member has everything of a ring, if it is in it or recovers for it.
fn received(totem: &Totem, ring: RingId) -> Option<u64> {
    let known = [totem.current_ring(), &totem.ring];
    let known = known.into_iter().find(|known| known.view.ring == ring)?;
    Some(known.store.aru())
}
