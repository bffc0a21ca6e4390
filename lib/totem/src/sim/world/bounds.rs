//! E19: what a member holds is bounded, whatever it is sent.

use super::World;
use crate::node::Totem;
use crate::queue::MESSAGE_BYTES_MAX;
use crate::sim::network::Host;
use crate::store::GAP_MAX;

impl World<'_> {
    /// After an input, when the outputs have been taken.
    pub(super) fn check_bounds(&mut self, host: Host) {
        let Some(process) = &self.machines[host].process else {
            return;
        };
        let id = process.id;
        if let Some(seen) = excess(&process.totem, self.machines.len()) {
            self.break_rule("E19", Some(id), seen);
        }
    }
}

/// What a member holds more of than it may, among so many that are configured.
fn excess(totem: &Totem, members: usize) -> Option<String> {
    let ring = totem.current_ring();
    let gap = GAP_MAX as usize;
    let holds = [
        ("packets of its ring", ring.store.len(), 2 * gap + 1),
        (
            "packets of its old ring",
            totem.ring.store.len(),
            2 * gap + 1,
        ),
        (
            "packets beyond the safe line",
            (ring.high - ring.stable) as usize,
            2 * gap,
        ),
        (
            "bytes of unfinished messages",
            ring.cursor.partial_bytes(),
            members * MESSAGE_BYTES_MAX,
        ),
        ("peers", totem.peers.len(), members),
        ("probes", totem.probes.len(), members),
        ("refusals", totem.refused_at.len(), members),
    ];
    let too_much = holds.into_iter().find(|(_, held, most)| held > most);
    too_much.map(|(what, held, most)| format!("holds {held} {what}, may hold {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{config, start};
    use crate::time::Time;

    #[test]
    fn a_new_member_holds_next_to_nothing_and_too_much_is_seen() {
        let mut totem = Totem::new(config(1, &[0, 0]), start(1), Time(0));
        assert_eq!(excess(&totem, 2), None);
        totem.ring.high = 3 * GAP_MAX;
        assert!(excess(&totem, 2).is_some_and(|seen| seen.contains("beyond the safe line")));
    }
}
