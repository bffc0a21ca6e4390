//! What others are told: the group `covey.status`, and scrapers of metrics.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use vipd::takeover::Overview;

use super::Daemon;

/// How often the program tells `covey.status` how it is, if nothing changes.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(5);

/// What has changed is told so often at most: to say it takes time, which a takeover needs.
const CHANGE_INTERVAL: Duration = Duration::from_millis(200);

/// Bound: sets that a status names.
const NAMED_MAX: usize = 64;

/// A metric: its name, what it means, its value.
type Metric = (&'static str, &'static str, u64);

/// What has happened so often.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) acquired: u64,
    pub(super) released: u64,
    pub(super) moved: u64,
    pub(super) merged: u64,
    pub(super) restored: u64,
}

impl Daemon {
    /// Publishes the status when it is due or has changed.
    pub(super) fn publish(&mut self, now: Instant) {
        if now < self.publish_at && now < self.compare_at {
            return;
        }
        self.compare_at = now + CHANGE_INTERVAL;
        let overview = self.takeover.overview();
        let own = overview.nodes.iter().find(|node| node.name == self.node);
        let sick = own.map_or_else(|| self.health.sick(), |node| self.wrong_with(node));
        let sets = &overview.sets;
        let names = &self.config.sets;
        let holds: Vec<String> = self.held.keys().map(|&set| names[set].name()).collect();
        let uncovered = (0..sets.len()).filter(|&set| sets[set].holder.is_none());
        let uncovered: Vec<String> = uncovered.map(|set| names[set].name()).collect();
        let status = json!({
            "program": "vipd",
            "host": self.node,
            "group": self.config.group.to_string(),
            "state": overview.phase,
            "nodes": overview.nodes.len(),
            "sets": sets.len(),
            "held": holds.len(),
            "holds": &holds[..holds.len().min(NAMED_MAX)],
            "uncovered": uncovered.len(),
            "uncovered_sets": &uncovered[..uncovered.len().min(NAMED_MAX)],
            "sick": sick.unwrap_or_default(),
            "foreign": self.wires.foreign.len(),
        });
        let text = status.to_string();
        if self.publish_at > now && text == self.published {
            return;
        }
        self.publish_at = now + PUBLISH_INTERVAL;
        let group = status::STATUS_GROUP.parse().expect("a group's name");
        if !self.bus.send_to(group, 0, text.as_bytes()) {
            self.takeover.handle_bus_lost(now);
        }
        self.published = text;
    }

    /// The text that Prometheus reads.
    pub(super) fn metrics(&self) -> String {
        let overview = self.takeover.overview();
        let mut text = String::new();
        write_metrics(&mut text, "gauge", &self.gauges(&overview));
        write_metrics(&mut text, "counter", &self.counters(&overview));
        text
    }

    /// How it is: names, what they mean, values.
    fn gauges(&self, overview: &Overview) -> Vec<Metric> {
        let count = |wanted: fn(&vipd::takeover::SetOverview) -> bool| {
            overview.sets.iter().filter(|set| wanted(set)).count() as u64
        };
        vec![
            ("vipd_up", "Whether vipd runs", 1),
            (
                "vipd_in_view",
                "Whether a round is complete",
                u64::from(overview.phase == "run"),
            ),
            (
                "vipd_nodes",
                "Nodes in the view",
                overview.nodes.len() as u64,
            ),
            (
                "vipd_sets",
                "Sets in the configuration",
                overview.sets.len() as u64,
            ),
            (
                "vipd_sets_held",
                "Sets held by this node",
                self.held.len() as u64,
            ),
            (
                "vipd_sets_uncovered",
                "Sets without a holder",
                count(|set| set.holder.is_none()),
            ),
            (
                "vipd_sets_disputed",
                "Sets with several holders",
                count(|set| set.disputed),
            ),
            (
                "vipd_sick",
                "Whether a check fails",
                u64::from(self.health.sick().is_some()),
            ),
            (
                "vipd_foreign",
                "Held sets that others claim",
                self.wires.foreign.len() as u64,
            ),
        ]
    }

    /// What has happened how often.
    fn counters(&self, overview: &Overview) -> Vec<Metric> {
        vec![
            ("vipd_acquired_total", "Sets acquired", self.totals.acquired),
            ("vipd_released_total", "Sets released", self.totals.released),
            (
                "vipd_movements_total",
                "Changes of holders seen",
                self.totals.moved,
            ),
            (
                "vipd_merged_total",
                "Sets that partitions disputed",
                self.totals.merged,
            ),
            (
                "vipd_restored_total",
                "Addresses that others removed",
                self.totals.restored,
            ),
            (
                "vipd_foreign_claims_total",
                "Claims by others heard",
                self.wires.foreign_claims,
            ),
            (
                "vipd_ignored_messages_total",
                "Messages not understood",
                overview.ignored,
            ),
        ]
    }
}

fn write_metrics(text: &mut String, kind: &str, metrics: &[Metric]) {
    for (name, help, value) in metrics {
        write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
        )
        .expect("a String takes all");
    }
}
