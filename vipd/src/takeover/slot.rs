//! A set at this member: where its addresses are, and what is known of who had them.

use std::time::Instant;

use super::Reason;
use super::mutant::planted;
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
    /// When the wire is asked again.
    pub(super) probe_at: Option<Instant>,
    /// What the decision to add it rests on was known then.
    pub(super) decided_at: Option<Instant>,
}

/// A holding of another member that is gone from the view without RELEASED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Former {
    pub(super) node: String,
    /// Generations begin anew when all members do; sessions have new names each time. None once
    /// others may have taken the set since: then no guardian's word tells who has it now.
    pub(super) session: Option<String>,
    pub(super) generation: u64,
    /// Whether its guardian has said that it is over: nobody needs to be asked.
    pub(super) over: bool,
}

impl Former {
    /// Whether this is the holding of a session in a generation.
    pub(super) fn is_of(&self, session: &str, generation: u64) -> bool {
        self.session.as_deref() == Some(session) && self.generation == generation
    }

    /// Others may have taken the set behind this holding: only the wire can tell.
    pub(super) fn doubt(&mut self) {
        self.session = None;
        self.over = false;
    }
}

/// Where a set's addresses are in this member's kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Local {
    #[default]
    Free,
    /// The wire is being asked.
    Probing,
    /// It is decided, and not begun: the decision may be void before it is.
    Adding(Reason),
    Held,
    Removing,
}

impl Local {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Local::Free => "free",
            Local::Probing => "probing",
            Local::Adding(_) => "adding",
            Local::Held => "held",
            Local::Removing => "removing",
        }
    }
}

impl Slot {
    /// Ends what was only asked for or decided.
    pub(super) fn stop(&mut self) {
        let decided = matches!(self.local, Local::Adding(_)) && !planted("decision-outlives-view");
        if self.local == Local::Probing || decided {
            self.local = Local::Free;
        }
        self.probe_at = None;
    }
}

/// The sets that are in the kernel, or on the way there or back, by generation.
pub(super) fn holds(slots: &[Slot]) -> Vec<(u64, Indices)> {
    let sets = slots.iter().enumerate();
    let held = sets.filter(|(_, slot)| !matches!(slot.local, Local::Free | Local::Probing));
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
