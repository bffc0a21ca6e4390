//! Another list of sets while the program runs: what is in both lists stays as it is.

use std::collections::HashMap;
use std::time::Instant;

use super::slot::Local;
use super::{Reason, Settings, Takeover, catalog};
use crate::indices::Indices;

impl Takeover {
    /// Lets go of the sets that the new list does not have, or has otherwise; the commands are to be
    /// carried out before [`relist`](Takeover::relist). Gives the new index of each old set.
    ///
    /// The caller has dropped the session: what is held is said in the next round.
    pub fn prepare_relist(&mut self, now: Instant, sets: &[String]) -> Vec<Option<usize>> {
        self.handle_bus_lost(now);
        let new: HashMap<&String, usize> = sets.iter().zip(0..).collect();
        let new_index = |set: &String| new.get(set).copied();
        let moved: Vec<Option<usize>> = self.settings.sets.iter().map(new_index).collect();
        for (set, new) in moved.iter().enumerate() {
            if new.is_none() && self.slots[set].local == Local::Held {
                self.remove(set, Reason::Leaving);
            }
        }
        moved
    }

    /// Goes over to a new list, by the indices that [`prepare_relist`](Takeover::prepare_relist) has
    /// given.
    pub fn relist(&mut self, settings: Settings, moved: &[Option<usize>]) {
        let mut slots = vec![super::Slot::default(); settings.sets.len()];
        for (old, new) in moved.iter().enumerate() {
            if let Some(new) = *new {
                slots[new] = self.slots[old];
            }
        }
        self.slots = slots;
        let formers = std::mem::take(&mut self.formers);
        let formers = formers.into_iter();
        self.formers = formers
            .filter_map(|(set, node)| Some((moved[set]?, node)))
            .collect();
        self.settings
            .node
            .pins
            .retain_mut(|pin| match moved[pin.set] {
                Some(set) => {
                    pin.set = set;
                    true
                }
                None => false,
            });
        self.config = catalog::digest(&settings.sets);
        self.settings.node.able = settings.node.able.clone();
        self.settings.node.yields = Indices::default();
        self.set_settings(settings);
    }
}
