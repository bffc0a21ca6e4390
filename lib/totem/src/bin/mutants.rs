//! mutants - plants each known bug and shows that the simulator catches it.
//!
//! All seeds on which a bug was looked for are then run on the unchanged code, which must pass.
//! Exit status: 0 if every bug is caught and the unchanged code passes, 1 if not, 2 for wrong
//! usage.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use totem::mutant::{Mutant, plant};
use totem::sim::oracle::Violation;
use totem::sim::world;

const USAGE: &str = "\
Usage: mutants [SEEDS]
Plant each known bug in the ring and look for it on at most SEEDS seeds (400);
print the rule that it breaks. Then run the same seeds on the unchanged code.
";

/// Simulated time of a seed.
const LENGTH: Duration = Duration::from_secs(100);
const THREADS: u64 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seeds = match &words[..] {
        [] => 400,
        [word] if word == "-h" || word == "--help" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [word] if word.parse::<u64>().is_ok_and(|seeds| seeds > 0) => word.parse().unwrap_or(1),
        _ => {
            eprint!("mutants: SEEDS must be a whole number above 0\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A bug may make a member panic; what counts is that a rule is broken.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let (mut caught, mut last) = (0, 0);
    for mutant in Mutant::ALL {
        let found = hunt(Some(mutant), seeds);
        last = last.max(found.as_ref().map_or(seeds, |(seed, _)| *seed));
        match found {
            Some((seed, violation)) => {
                caught += 1;
                println!(
                    "{mutant:<24}caught by {:<4}seed {seed}: {violation}",
                    violation.rule
                );
            }
            None => println!("{mutant:<24}NOT CAUGHT on {seeds} seeds"),
        }
    }
    let unchanged = hunt(None, last);
    let passes = match &unchanged {
        Some((seed, violation)) => format!("breaks {violation} on seed {seed}"),
        None => format!("passes the same {last} seeds"),
    };
    println!(
        "{caught} of {} mutants caught; the unchanged code {passes}; {:.0} s",
        Mutant::ALL.len(),
        began.elapsed().as_secs_f64()
    );
    if caught == Mutant::ALL.len() && unchanged.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The first of the seeds from 1 to `seeds` on which a rule is broken, and which.
fn hunt(mutant: Option<Mutant>, seeds: u64) -> Option<(u64, Violation)> {
    let next = AtomicU64::new(1);
    let until = AtomicU64::new(seeds);
    let found: Mutex<Option<(u64, Violation)>> = Mutex::new(None);
    let work = || {
        plant(mutant);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > until.load(Ordering::Relaxed) {
                return;
            }
            let violation = world::judge(seed, LENGTH).violation;
            let Some(violation) =
                violation.filter(|found| mutant.is_none() || found.rule != "panic")
            else {
                continue;
            };
            until.fetch_min(seed, Ordering::Relaxed);
            let mut found = found.lock().expect("no thread panics");
            if found.as_ref().is_none_or(|(first, _)| seed < *first) {
                *found = Some((seed, violation));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    found.into_inner().expect("no thread panicked")
}
