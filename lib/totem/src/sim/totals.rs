//! What runs amount to.

use std::time::Duration;

use super::faults::Tally;
use super::oracle::Violation;

/// What a run amounted to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Runs.
    pub seeds: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Messages delivered, counted at each member.
    pub deliveries: u64,
    /// Regular configurations, counted once each.
    pub views: u64,
    /// Regular configurations, counted at each member.
    pub installs: u64,
    /// Times that a member in a formation or recovery had to gather again.
    pub interrupted: u64,
    /// Calms in which all came together.
    pub calms: u64,
    /// The longest time that took.
    pub settled_after: Duration,
    /// Calms that began late because members made each other wait.
    pub settled_late: u64,
    /// The faults.
    pub faults: Tally,
}

impl Totals {
    /// Adds another run.
    pub fn add(&mut self, other: &Totals) {
        self.seeds += other.seeds;
        self.simulated += other.simulated;
        self.deliveries += other.deliveries;
        self.views += other.views;
        self.installs += other.installs;
        self.interrupted += other.interrupted;
        self.calms += other.calms;
        self.settled_late += other.settled_late;
        self.settled_after = self.settled_after.max(other.settled_after);
        self.faults.add(&other.faults);
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it amounted to.
    pub totals: Totals,
    /// Digest of the trace: equal for two runs of a seed.
    pub digest: u64,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
}
