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
    /// Regular configurations of several members.
    pub views_of_several: u64,
    /// Rings that were formed, and whose recovery a living member had to give up for another
    /// change; each ring once, however many members gave it up.
    pub interrupted: u64,
    /// Calms in which all came together.
    pub calms: u64,
    /// Times that whole partitions met in a calm network, on a LAN.
    pub merges: u64,
    /// The longest time that took.
    pub merged_after: Duration,
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
        self.views_of_several += other.views_of_several;
        self.interrupted += other.interrupted;
        self.calms += other.calms;
        self.merges += other.merges;
        self.merged_after = self.merged_after.max(other.merged_after);
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
