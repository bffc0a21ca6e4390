//! A set at this member: where its addresses are, and what is known of who had them.

use std::time::Instant;

use crate::indices::Indices;

/// One set, as this member has it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) local: Local,
    /// In which it is held.
    pub(super) generation: u64,
    /// The generation whose RELEASED has been sent in this round.
    pub(super) released: Option<u64>,
    /// Whether the last holder's RELEASED came: nobody else has it.
    pub(super) handed_over: bool,
    /// Whether neighbours may have heard another one last, and must hear who has it.
    pub(super) unheard: bool,
    /// The generation of another member's holding that may still be on the wire; 0 for none known.
    pub(super) known: u64,
    /// The generation that a guardian has released last.
    pub(super) over: u64,
    /// When the wire is asked again.
    pub(super) probe_at: Option<Instant>,
}

/// Where a set's addresses are in this member's kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Local {
    #[default]
    Free,
    Probing,
    Adding,
    Held,
    Removing,
}

impl Local {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Local::Free => "free",
            Local::Probing => "probing",
            Local::Adding => "adding",
            Local::Held => "held",
            Local::Removing => "removing",
        }
    }
}

impl Slot {
    /// Whether the holding that this member knows of is over: nobody needs to be asked.
    pub(super) fn is_over(&self) -> bool {
        self.known > 0 && self.over == self.known
    }

    /// Ends what was only asked for.
    pub(super) fn stop_probing(&mut self) {
        if self.local == Local::Probing {
            self.local = Local::Free;
        }
        self.probe_at = None;
    }
}

/// The sets that are in the kernel, or on the way there or back, by generation.
pub(super) fn holds(slots: &[Slot]) -> Vec<(u64, Indices)> {
    let held = slots.iter().enumerate().filter(|(_, slot)| {
        let coming = slot.local == Local::Adding && cfg!(mutant = "state-omits-adding");
        !coming && !matches!(slot.local, Local::Free | Local::Probing)
    });
    by_generation(held.map(|(set, slot)| (slot.generation, set)))
}

/// Sets with the same generation put together.
pub(super) fn by_generation(sets: impl Iterator<Item = (u64, usize)>) -> Vec<(u64, Indices)> {
    let mut together: Vec<(u64, Indices)> = Vec::new();
    for (generation, set) in sets {
        match together.iter_mut().find(|(of, _)| *of == generation) {
            Some((_, sets)) => sets.insert(set),
            None => together.push((generation, [set].into_iter().collect())),
        }
    }
    together
}
