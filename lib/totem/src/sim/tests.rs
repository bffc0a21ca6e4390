//! A few dozen seeds, so that `cargo test` sees a broken ring without a CI run.

use std::time::Duration;

use super::totals::Totals;
use super::world;

const LENGTH: Duration = Duration::from_secs(20);

#[test]
fn a_few_dozen_seeds_keep_the_rules() {
    let mut totals = Totals::default();
    for seed in 1..=30 {
        let report = world::run(seed, LENGTH, None);
        assert_eq!(
            report.violation, None,
            "simulate --replay {seed} --seconds 20"
        );
        totals.add(&report.totals);
    }
    assert!(totals.simulated > LENGTH * 30);
    assert!(totals.deliveries > 10_000, "{totals:?}");
    assert!(totals.views > 500, "{totals:?}");
    assert!(totals.interrupted > 10, "{totals:?}");
}

#[test]
fn a_seed_has_one_history() {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for _ in 0..2 {
        let mut history = Vec::new();
        world::run(2, LENGTH, Some(&mut |line| history.push(line.to_string())));
        lines.push(history);
    }
    assert!(lines[0].len() > 500);
    assert_eq!(lines[0], lines[1]);
    assert_ne!(
        world::run(2, LENGTH, None).digest,
        world::run(7, LENGTH, None).digest
    );
}
