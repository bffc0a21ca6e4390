//! Several members on a perfect bus, driven by a seed: partitions, merges, crashes, pauses, lost
//! buses, slow kernels, clocks that differ by a hundredth, in any interleaving.
//!
//! The bus keeps the rules of extended virtual synchrony: members that stay together deliver the
//! same messages in the same order, and each hears at its own place that what follows may have
//! reached only some. Hosts have a guardian, which may be dead too, and a kernel in which addresses
//! last 5 s. What is checked stands in `checks`.
//!
//! `VIP_SEEDS=n` runs so many schedules, `VIP_FIRST=s` begins there, `VIP_SEED=s` replays one and
//! tells what each host does.

mod bus;
mod checks;
mod faults;
mod host;

use std::env;
use std::time::{Duration, Instant};

use bus::Component;
use host::Host;

use super::{Settings, Takeover};
use crate::balance::{Failback, Node};
use crate::indices::Indices;

/// Schedules of an ordinary test run; CI runs 20,000 (`make ci-vip`).
const SEEDS_DEFAULT: u64 = 2_000;

const STEPS: usize = 400;

const GRACE: Duration = Duration::from_millis(300);

struct World {
    seed: u64,
    /// Whether it is told what each host does.
    told: bool,
    random: u64,
    begin: Instant,
    /// True time since the begin; no host's clock runs exactly so.
    elapsed: Duration,
    step: usize,
    set_count: usize,
    hosts: Vec<Host>,
    components: Vec<Component>,
    sessions: usize,
    views: usize,
    /// Since which step each pair of hosts has been able to reach each other.
    together: Vec<Vec<usize>>,
    /// Who announced each set last, as a client beside host 0 has heard it.
    cache: Vec<Option<usize>>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            seed,
            told: env::var_os("VIP_SEED").is_some(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            begin: Instant::now(),
            elapsed: Duration::ZERO,
            step: 0,
            set_count: 0,
            hosts: Vec::new(),
            components: vec![Component::default()],
            sessions: 0,
            views: 0,
            together: Vec::new(),
            cache: Vec::new(),
        };
        // The first numbers of small seeds are much alike.
        (0..8).for_each(|_| _ = world.below(2));
        world.set_count = 1 + world.below(6);
        world.cache = vec![None; world.set_count];
        let count = 2 + world.below(3);
        world.together = vec![vec![0; count]; count];
        for index in 0..count {
            let takeover = world.takeover(index);
            let rate = 990 + world.below(21) as u32;
            world.hosts.push(Host::new(takeover, rate));
        }
        world
    }

    fn takeover(&mut self, index: usize) -> Takeover {
        let set_count = self.set_count;
        let prefers = (0..set_count).filter(|set| (set + index).is_multiple_of(5));
        Takeover::new(Settings {
            node: Node {
                name: format!("n{index}"),
                weight: 1,
                able: Indices::all(set_count),
                prefers: vec![prefers.collect()],
                ..Node::default()
            },
            incarnation: self.random,
            sets: (0..set_count)
                .map(|set| format!("10.0.0.{set}/32"))
                .collect(),
            mature: Duration::from_millis(50),
            grace: GRACE,
            balance_interval: Some(Duration::from_millis(100)),
            moves_max: 2,
            failback: Failback::After(Duration::from_millis(100)),
        })
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) as usize % limit
    }

    /// Tells of a host, if the seed is replayed.
    fn tell(&self, host: usize, what: std::fmt::Arguments) {
        if self.told {
            let (step, time) = (self.step, self.elapsed.as_millis());
            eprintln!("step {step}, {time} ms, n{host}: {what}");
        }
    }

    fn any_host(&mut self) -> usize {
        self.below(self.hosts.len())
    }

    /// What a host's clock shows.
    fn now(&self, host: usize) -> Instant {
        self.begin + self.elapsed * self.hosts[host].rate / 1000
    }

    fn run(&mut self) {
        while self.step < STEPS {
            self.step += 1;
            let host = self.any_host();
            match self.below(100) {
                0..3 => self.fault(),
                3..8 => self.connect(host),
                8..50 => {
                    let delivered = self.deliver(host);
                    if delivered && self.hosts[host].takeover.has_decided() && self.below(10) == 0 {
                        self.hold_up(host);
                    }
                }
                50..80 => _ = self.execute(host),
                80..99 => {
                    let milliseconds = self.below(20) as u64;
                    self.pass_time(milliseconds);
                }
                _ => {
                    let milliseconds = self.below(1500) as u64;
                    self.pass_time(milliseconds);
                }
            }
            self.collect(host);
        }
        self.heal();
        self.check_end();
    }

    /// Ends all faults, and lets everything settle.
    fn heal(&mut self) {
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        for &host in &all {
            if self.hosts[host].paused {
                self.resume(host);
            }
        }
        self.regroup(&all);
        for host in all {
            self.connect(host);
            self.make_well(host);
        }
        for _ in 0..150 {
            self.step += 1;
            for host in 0..self.hosts.len() {
                while self.deliver(host) || self.execute(host) {}
                self.connect(host);
                // A kernel that refuses now takes it the next time.
                self.make_well(host);
            }
            self.pass_time(20);
        }
    }

    fn make_well(&mut self, host: usize) {
        let set_count = self.set_count;
        let takeover = &mut self.hosts[host].takeover;
        takeover.set_able(Indices::all(set_count));
        takeover.set_drained(false);
        takeover.set_sick(None);
        self.collect(host);
    }
}

#[test]
fn never_two_holders_and_all_covered_in_the_end() {
    let number = |name: &str| {
        env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let first = number("VIP_FIRST").unwrap_or(0);
    let seeds = match number("VIP_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("VIP_SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    for seed in seeds {
        World::new(seed).run();
    }
}
