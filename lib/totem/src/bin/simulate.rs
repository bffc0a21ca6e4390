//! simulate - runs seeds of the ring's simulator and judges them.
//!
//! Exit status: 0 if every seed keeps the rules, 1 if not, 2 for wrong usage.

#![forbid(unsafe_code)]

use std::fmt;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[cfg(feature = "mutants")]
use totem::mutant::Mutant;
use totem::sim::faults::Fault;
use totem::sim::oracle::Violation;
use totem::sim::totals::{Report, Totals};
use totem::sim::world;
use totem::time::Time;

const USAGE: &str = "\
Usage: simulate [--seeds N] [--first SEED] [--seconds S] [OPTION]...
Run members, groups and clients on a simulated network, with faults, and judge
what they show.

  --seeds N          how many seeds (100)
  --first SEED       the first of them (1)
  --seconds S        simulated seconds of each (100)
  --threads N        how many run at a time (2)
  --keep-going       do not stop at the first seed that breaks a rule
  --verbose          print a line for each seed
  --replay SEED      print the history of one seed
  --require          fail if this did not amount to what a CI run must see
  -h, --help         print this
";

/// One seed in so many is run twice, to see that it has one history.
const TWICE_EVERY: u64 = 100;

struct Args {
    seeds: u64,
    first: u64,
    seconds: u64,
    threads: u64,
    keep_going: bool,
    verbose: bool,
    replay: Option<u64>,
    require: bool,
    #[cfg(feature = "mutants")]
    mutant: Option<Mutant>,
}

#[cfg(feature = "mutants")]
fn mutant(name: &str) -> Result<Mutant, String> {
    let known = Mutant::ALL.into_iter().find(|bug| bug.to_string() == name);
    known.ok_or_else(|| format!("no bug is named '{name}'"))
}

impl Args {
    /// What runs in this thread from now on has the bug that `--plant` names. Only a build with
    /// the feature `mutants` has the option, to see that a failure is told and can be replayed.
    fn plant(&self) {
        #[cfg(feature = "mutants")]
        totem::mutant::plant(self.mutant);
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut args = Args {
            seeds: 100,
            first: 1,
            seconds: 100,
            threads: 2,
            keep_going: false,
            verbose: false,
            replay: None,
            require: false,
            #[cfg(feature = "mutants")]
            mutant: None,
        };
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut text = || {
                let value = value.clone().or_else(|| words.next());
                value.ok_or_else(|| format!("option '{name}' requires an argument"))
            };
            let mut number = || {
                let value = text()?;
                value
                    .parse()
                    .map_err(|_| format!("'{name}' must be a whole number, got \"{value}\""))
            };
            match name.as_str() {
                "--seeds" => args.seeds = number()?,
                "--first" => args.first = number()?,
                "--seconds" => args.seconds = number()?,
                "--threads" => args.threads = number()?,
                "--replay" => args.replay = Some(number()?),
                "--keep-going" => args.keep_going = true,
                "--verbose" => args.verbose = true,
                "--require" => args.require = true,
                #[cfg(feature = "mutants")]
                "--plant" => args.mutant = Some(mutant(&text()?)?),
                _ => return Err(format!("unknown option '{name}'")),
            }
        }
        Ok(args)
    }
}

fn main() -> ExitCode {
    if std::env::args()
        .skip(1)
        .any(|word| word == "-h" || word == "--help")
    {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("simulate: {error}\nTry 'simulate --help'");
            return ExitCode::from(2);
        }
    };
    let kept = match args.replay {
        Some(seed) => replay(seed, &args),
        None => run_all(&args),
    };
    if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn replay(seed: u64, args: &Args) -> bool {
    args.plant();
    let mut print = |line: &dyn fmt::Display| println!("{line}");
    let report = world::run(seed, Duration::from_secs(args.seconds), Some(&mut print));
    println!("trace {:016x}", report.digest);
    if let Some(violation) = &report.violation {
        println!("seed {seed} breaks {violation}");
    }
    report.violation.is_none()
}

/// What the threads share.
struct Progress {
    next: AtomicU64,
    stop: AtomicBool,
    sum: Mutex<Sum>,
}

#[derive(Default)]
struct Sum {
    totals: Totals,
    /// Of all traces, in whatever order they came.
    digest: u64,
    told_seconds: u64,
    failed: Vec<(u64, Violation)>,
}

fn run_all(args: &Args) -> bool {
    let began = Instant::now();
    let progress = Progress {
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        sum: Mutex::new(Sum::default()),
    };
    std::thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| work(args, &progress, began));
        }
    });
    let mut sum = progress.sum.into_inner().expect("no thread panicked");
    sum.failed.sort_by_key(|(seed, _)| *seed);
    report(&sum, began);
    for (seed, violation) in &sum.failed {
        println!("seed {seed} breaks {violation}");
    }
    if let Some((seed, _)) = sum.failed.first() {
        println!(
            "replay it with: simulate --replay {seed} --seconds {}",
            args.seconds
        );
        return false;
    }
    !args.require || amounts_to_enough(&sum.totals)
}

fn work(args: &Args, progress: &Progress, began: Instant) {
    args.plant();
    let length = Duration::from_secs(args.seconds);
    while !progress.stop.load(Ordering::Relaxed) {
        let number = progress.next.fetch_add(1, Ordering::Relaxed);
        if number >= args.seeds {
            return;
        }
        let seed = args.first + number;
        let mut report = world::judge(seed, length);
        if number.is_multiple_of(TWICE_EVERY) {
            let again = world::judge(seed, length);
            if again.digest != report.digest && report.violation.is_none() {
                report.violation = Some(Violation {
                    rule: "determinism",
                    at: Time(0),
                    process: None,
                    seen: format!(
                        "two runs have traces {:016x} and {:016x}",
                        report.digest, again.digest
                    ),
                });
            }
        }
        if report.violation.is_some() && !args.keep_going {
            progress.stop.store(true, Ordering::Relaxed);
        }
        let mut sum = progress.sum.lock().expect("no thread panicked");
        sum.add(seed, report, args, began);
    }
}

impl Sum {
    fn add(&mut self, seed: u64, report: Report, args: &Args, began: Instant) {
        self.totals.add(&report.totals);
        self.digest = self.digest.wrapping_add(report.digest);
        if args.verbose {
            println!(
                "seed {seed}: {:.1} s, trace {:016x}",
                report.totals.simulated.as_secs_f64(),
                report.digest
            );
        }
        let seconds = self.totals.simulated.as_secs();
        if seconds >= self.told_seconds + 50_000 {
            self.told_seconds = seconds;
            println!(
                "{} seeds, {seconds} simulated seconds in {:.0} s",
                self.totals.seeds,
                began.elapsed().as_secs_f64()
            );
        }
        self.failed
            .extend(report.violation.map(|violation| (seed, violation)));
    }
}

fn report(sum: &Sum, began: Instant) {
    let Totals {
        seeds,
        simulated,
        deliveries,
        views,
        views_of_several,
        installs,
        interrupted,
        calms,
        settled_after,
        merges,
        merged_after,
        settled_late,
        faults,
    } = &sum.totals;
    let seconds = simulated.as_secs_f64();
    let took = began.elapsed().as_secs_f64();
    println!("seeds {seeds}");
    println!(
        "simulated-seconds {seconds:.0} in {took:.0} s ({:.0} times as fast)",
        seconds / took
    );
    println!("deliveries {deliveries}");
    println!("views {views}, {views_of_several} of several members, installed {installs} times");
    println!("recoveries-interrupted {interrupted}");
    println!(
        "calms {calms}, {settled_late} of them late, {:.3} s at most",
        settled_after.as_secs_f64()
    );
    println!(
        "merges {merges} of whole partitions, {:.3} s at most",
        merged_after.as_secs_f64()
    );
    println!("faults {faults}");
    println!("traces {:016x}", sum.digest);
}

/// What a CI run must see, beside no violation.
fn amounts_to_enough(totals: &Totals) -> bool {
    let mut enough = true;
    let mut require = |what: &str, seen: u64, least: u64| {
        if seen < least {
            println!("simulate: {what} must be at least {least}, got {seen}");
            enough = false;
        }
    };
    require("simulated seconds", totals.simulated.as_secs(), 300_000);
    require("deliveries", totals.deliveries, 10_000_000);
    require("views", totals.views, 100_000);
    require("interrupted recoveries", totals.interrupted, 10_000);
    for fault in Fault::ALL {
        let kind = format!("{fault:?} faults");
        require(&kind, totals.faults.of(fault), least(fault));
    }
    enough
}

/// How often a kind of fault must be seen: what clients do, and what files say, in many places.
fn least(fault: Fault) -> u64 {
    match fault {
        Fault::Unaware
        | Fault::Stall
        | Fault::ThrownOut
        | Fault::EndOfMany
        | Fault::NameTakenAgain => 10_000,
        Fault::OtherOrder => 1000,
        _ => 1,
    }
}
