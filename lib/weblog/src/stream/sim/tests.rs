//! Many seeds of everything, and each planted bug.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::Quorum;
use super::super::logger::Flaw;
use super::world::{Outcome, Scenario, World};

/// Which seeds of each kind a test runs; `WEBLOG_SEEDS=FIRST..END` asks for others.
fn seeds() -> Range<u64> {
    let Ok(asked) = std::env::var("WEBLOG_SEEDS") else {
        return 0..150;
    };
    let (first, end) = asked.split_once("..").expect("FIRST..END");
    first.parse().unwrap()..end.parse().unwrap()
}

fn run(seed: u64, quorum: Quorum, flaw: Option<Flaw>) -> Outcome {
    let scenario = Scenario {
        seed,
        quorum,
        publishers: 1 + (seed % 3) as usize,
        loggers: match quorum {
            Quorum::Majority => 3 + 2 * (seed % 5 / 4) as usize,
            Quorum::None => 2 + (seed % 2) as usize,
        },
        faults: 4 + seed % 30,
        flaw,
    };
    World::new(scenario).run()
}

fn run_all(quorum: Quorum, also: &[&str]) {
    let mut faults = BTreeMap::<String, u64>::new();
    let (mut lines, mut steps) = (0, 0);
    for seed in seeds() {
        let outcome = run(seed, quorum, None);
        assert_eq!(outcome.failure, None, "seed {seed}: {:?}", outcome.faults);
        lines += outcome.lines;
        steps += outcome.steps;
        for (kind, count) in outcome.faults {
            *faults.entry(kind).or_default() += count;
        }
    }
    println!(
        "{quorum:?}: seeds {:?}, {lines} lines, {steps} steps, {faults:#?}",
        seeds()
    );
    let kinds = [
        "cut",
        "merge",
        "pause",
        "session lost",
        "kill at rest",
        "kill of a publisher",
        "kill of all loggers",
        "segment",
        "removal",
        "gap",
        "forget",
        "kill after: append",
        "kill after: sync begins",
        "kill after: sync done",
        "kill after: record sent",
        "kill after: file written",
    ];
    for kind in kinds.iter().chain(also) {
        assert!(faults.contains_key(*kind), "{kind}: never");
    }
}

#[test]
fn with_a_majority_every_line_is_once_in_each_file_and_the_files_are_equal() {
    run_all(
        Quorum::Majority,
        &[
            "live lines taken in",
            "live lines not kept",
            "disk lost",
            "kill after: base taken over",
        ],
    );
}

#[test]
fn without_a_majority_every_line_is_once_in_each_file() {
    run_all(Quorum::None, &["disk lost"]);
}

/// Seeds until a planted bug is found.
fn found_after(quorum: Quorum, flaw: Flaw) -> u64 {
    (0..3000)
        .find(|&seed| run(seed, quorum, Some(flaw)).failure.is_some())
        .unwrap_or_else(|| panic!("{flaw:?} was not found"))
}

#[test]
fn planted_bugs_are_found() {
    for flaw in [
        Flaw::CommitBeforeSync,
        Flaw::AcknowledgedByOne,
        Flaw::DedupeBy16Bits,
        Flaw::CatchupOutOfOrder,
        Flaw::ProvisionalTailKept,
        Flaw::KeptOutOfPlace,
    ] {
        let seed = found_after(Quorum::Majority, flaw);
        let outcome = run(seed, Quorum::Majority, Some(flaw));
        println!("{flaw:?}: seed {seed}: {:?}", outcome.failure);
    }
}
