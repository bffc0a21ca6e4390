//! Runs seeds of the simulator and judges them.
use std::time::Duration;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let first: u64 = args[1].parse().unwrap();
    let count: u64 = args[2].parse().unwrap();
    let seconds: u64 = args[3].parse().unwrap();
    let verbose = args.len() > 4;
    let mut totals = totem::sim::world::Totals::default();
    let start = std::time::Instant::now();
    for seed in first..first + count {
        let mut print = |line: &dyn std::fmt::Display| println!("{line}");
        let r = totem::sim::world::run(
            seed,
            Duration::from_secs(seconds),
            if verbose { Some(&mut print) } else { None },
        );
        totals.add(&r.totals);
        if let Some(v) = r.violation {
            println!("seed {seed}: {v}");
        }
        if verbose {
            println!("digest {:016x}", r.digest);
        }
    }
    println!("{totals:#?}");
    println!(
        "{} x{:.0}",
        totals.faults,
        totals.simulated.as_secs_f64() / start.elapsed().as_secs_f64()
    );
}
