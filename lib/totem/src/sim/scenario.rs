//! What a seed stands for: how many hosts, how they are connected, what befalls them, and when.

use std::time::Duration;

use super::network::Conditions;
use super::random::Random;
use crate::config::FailureDetection;

/// What a run is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Nothing goes wrong, so the membership must not change (E21).
    Quiet,
    /// Packets are lost now and then, doubled, damaged and replayed; still it must not change.
    Noisy,
    /// Storms of faults, with a calm after each in which all must come together (E18).
    Stormy,
}

/// Something that a storm does to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Some links lose much.
    Lossy,
    /// Some links are cut in one direction.
    OneWayCut,
    /// The hosts are split in two.
    Partition,
    /// One host is cut off.
    Isolation,
    /// Two hosts do not hear each other.
    NonTransitive,
    /// Some links hold everything back for a while.
    Clog,
    /// A process is killed.
    Crash,
    /// A process is killed when next it waits for its disk.
    CrashInPersist,
    /// A process is killed when next it forms or recovers a ring.
    CrashInRecovery,
    /// All are killed and started again.
    RestartAll,
    /// A process stands still.
    Pause,
    /// A process is many times slower.
    Slow,
    /// Some links lose large packets.
    Narrow,
    /// The clients of a daemon do not keep up.
    SlowReaders,
    /// A host is taken out of the configuration, and comes back later.
    Reconfigure,
    /// A second process is started under the name of another.
    Twin,
    /// A process leaves cleanly.
    Leave,
    /// A refusal is made up.
    FalseRefusal,
    /// Certain packets are lost or held back, or are the last that their sender sent.
    Ambush,
    /// A sender dies with its messages lost or late, and the recovery from that is disturbed too,
    /// at certain packets.
    Plot,
}

impl Strike {
    /// All of them.
    pub const ALL: [Strike; 20] = [
        Strike::Lossy,
        Strike::OneWayCut,
        Strike::Partition,
        Strike::Isolation,
        Strike::NonTransitive,
        Strike::Clog,
        Strike::Crash,
        Strike::CrashInPersist,
        Strike::CrashInRecovery,
        Strike::RestartAll,
        Strike::Pause,
        Strike::Slow,
        Strike::Narrow,
        Strike::SlowReaders,
        Strike::Reconfigure,
        Strike::Twin,
        Strike::Leave,
        Strike::FalseRefusal,
        Strike::Ambush,
        Strike::Plot,
    ];

    /// How often it comes, relative to the others, where it comes at all.
    fn weight(self) -> u64 {
        match self {
            Strike::Plot => 10,
            Strike::Ambush | Strike::CrashInRecovery => 6,
            Strike::Partition | Strike::Crash => 4,
            Strike::RestartAll | Strike::Twin | Strike::Reconfigure => 1,
            _ => 2,
        }
    }
}

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Load {
    /// Mean time between two actions of the sessions of a host, in a storm.
    pub gap: Duration,
    /// How much longer it is in a calm.
    pub calm_factor: u32,
    /// Chance that an action sends a burst of messages.
    pub burst: f64,
    /// Chance that a message is longer than a few hundred bytes, up to the longest there is.
    pub long: f64,
    /// Share of the messages in Safe service.
    pub safe: f64,
    /// Sessions that a host has at most.
    pub sessions_max: usize,
    /// Groups that exist at most, but for those of which a session joins many at once.
    pub groups_max: usize,
    /// Groups that a session joins at once, now and then; 0: none does.
    pub many_groups: usize,
    /// Bytes that wait for a client that does not read, before it is disconnected.
    pub unread_bytes_max: usize,
}

/// Everything about a run that is drawn once.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed it was drawn from.
    pub seed: u64,
    /// What it is to show.
    pub mood: Mood,
    /// Segment of each host, in the order of the configuration.
    pub segments: Vec<u16>,
    /// The timers.
    pub detection: FailureDetection,
    /// UDP payload.
    pub datagram_bytes: usize,
    /// Data that a host buffers before it reads.
    pub receive_buffer_bytes: usize,
    /// Bound of the queue of each member.
    pub submit_bytes_max: usize,
    /// Whether there is a key. Without one nothing is damaged or replayed.
    pub sealed: bool,
    /// Shortest and longest latency of a link.
    pub latency: (Duration, Duration),
    /// Time that a process needs for a packet.
    pub service: Duration,
    /// Slowest and fastest clock, in parts per million.
    pub drift_ppm: u64,
    /// Whether the members know the wall clock.
    pub has_clock: bool,
    /// Probability that the configuration of a process lists the hosts in an order of its own.
    pub other_order: f64,
    /// Probability that a dead process leaves a living kernel that refuses packets.
    pub refuses: f64,
    /// Mean time between two strikes of a storm.
    pub strike_gap: Duration,
    /// Strikes, each as often as it is likely.
    pub strikes: Vec<Strike>,
    /// What holds for packets in a storm.
    pub storm: Conditions,
    /// What holds for packets in a calm.
    pub calm: Conditions,
    /// What the clients do.
    pub load: Load,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn draw(seed: u64) -> Scenario {
        let mut random = Random::new(seed).fork("scenario");
        let random = &mut random;
        let mood = match random.below(100) {
            0..8 => Mood::Quiet,
            8..16 => Mood::Noisy,
            _ => Mood::Stormy,
        };
        let detection = *random.pick(&[
            FailureDetection::Fast,
            FailureDetection::Fast,
            FailureDetection::Fast,
            FailureDetection::Normal,
            FailureDetection::Normal,
            FailureDetection::Normal,
            FailureDetection::Wan,
        ]);
        let token_loss = detection.timers().token_loss;
        let sealed = random.chance(0.9);
        let plain = Conditions {
            jitter: if mood == Mood::Quiet { 0.0 } else { 0.125 },
            ..Conditions::default()
        };
        let storm = if random.chance(0.3) {
            plain.clone()
        } else {
            draw_storm(random, token_loss, sealed)
        };
        let calm = if mood == Mood::Noisy || (mood == Mood::Stormy && random.chance(0.4)) {
            draw_noise(random, sealed)
        } else {
            plain
        };
        Scenario {
            seed,
            mood,
            segments: draw_segments(random),
            detection,
            datagram_bytes: *random.pick(&[1472, 1472, 1472, 600, 8972]),
            receive_buffer_bytes: *random.pick(&[64 << 10, 256 << 10, 1 << 20]),
            submit_bytes_max: *random.pick(&[64 << 10, 512 << 10, 4 << 20]),
            sealed,
            latency: draw_latency(random, detection, mood),
            service: random.span(Duration::from_micros(5), Duration::from_micros(40)),
            drift_ppm: if random.chance(0.5) {
                0
            } else {
                random.between(1, 500)
            },
            has_clock: random.chance(0.8),
            other_order: *random.pick(&[0.0, 0.0, 0.0, 0.5]),
            refuses: *random.pick(&[0.0, 0.5, 1.0]),
            strike_gap: token_loss.mul_f64(log_uniform(random, 0.3, 15.0)),
            strikes: draw_strikes(random),
            storm,
            calm,
            load: draw_load(random),
        }
    }

    /// Length of the next storm.
    pub fn storm_length(&self, random: &mut Random) -> Duration {
        self.detection
            .timers()
            .token_loss
            .mul_f64(log_uniform(random, 10.0, 120.0))
    }

    /// Length of the next calm.
    pub fn calm_length(&self, random: &mut Random) -> Duration {
        Duration::from_secs(1).mul_f64(log_uniform(random, 0.5, 30.0))
    }

    /// After a storm, the members are together within this time (the bound B1 of E18).
    pub fn settle_bound(&self) -> Duration {
        let timers = self.detection.timers();
        (timers.token_loss + timers.gather_timeout + timers.form_timeout) * 6
            + timers.beacon_interval * 4
    }

    /// What was submitted has arrived within this time in a calm (the bound B2 of E18).
    pub fn arrival_bound(&self) -> Duration {
        self.detection.timers().token_loss * 2 + Duration::from_secs(2)
    }
}

/// Small and large values equally often.
pub(super) fn log_uniform(random: &mut Random, low: f64, high: f64) -> f64 {
    low * (high / low).powf(random.fraction())
}

fn draw_segments(random: &mut Random) -> Vec<u16> {
    let hosts = match random.below(100) {
        0..2 => 1,
        2..14 => 2,
        14..44 => 3,
        44..64 => 4,
        64..80 => 5,
        80..87 => 6,
        87..93 => 7,
        93..97 => 8,
        _ => 9,
    };
    let segments = match random.below(10) {
        0..6 => 1,
        6..8 => 2,
        _ => 3,
    };
    let cloud = random.chance(0.15);
    (0..hosts)
        .map(|host| {
            if cloud {
                host as u16
            } else {
                (host * segments / hosts) as u16
            }
        })
        .collect()
}

fn draw_latency(
    random: &mut Random,
    detection: FailureDetection,
    mood: Mood,
) -> (Duration, Duration) {
    let micros = Duration::from_micros;
    let (low, high, spread) = match detection {
        FailureDetection::Wan => (1000, 15_000, 30_000),
        FailureDetection::Fast | FailureDetection::Normal => (20, 150, 500),
    };
    let shortest = random.span(micros(low), micros(high));
    // In a quiet run all links are equal: the token never overtakes what was sent before it.
    let spread = if mood == Mood::Quiet { 0 } else { spread };
    (shortest, shortest + random.span(micros(0), micros(spread)))
}

fn draw_storm(random: &mut Random, token_loss: Duration, sealed: bool) -> Conditions {
    let mut maybe = |most: f64| {
        if random.chance(0.5) {
            0.0
        } else {
            log_uniform(random, most / 100.0, most)
        }
    };
    let mut conditions = Conditions {
        jitter: 0.125,
        loss: maybe(0.3),
        multicast_loss: maybe(0.05),
        burst: maybe(0.02),
        duplicate: maybe(0.05),
        reorder: maybe(0.05),
        reorder_delay: Duration::ZERO,
        corrupt: maybe(0.05),
        truncate: maybe(0.02),
        replay: maybe(0.05),
    };
    conditions.reorder_delay = token_loss.mul_f64(log_uniform(random, 0.005, 1.0));
    if !sealed {
        (conditions.corrupt, conditions.truncate, conditions.replay) = (0.0, 0.0, 0.0);
    }
    conditions
}

/// What a healthy ring has to bear without a change of membership.
fn draw_noise(random: &mut Random, sealed: bool) -> Conditions {
    let damage = if sealed { 0.002 } else { 0.0 };
    Conditions {
        jitter: 0.125,
        loss: 0.005 * random.fraction(),
        multicast_loss: 0.002 * random.fraction(),
        burst: 0.0,
        duplicate: 0.02 * random.fraction(),
        reorder: 0.02 * random.fraction(),
        reorder_delay: Duration::from_millis(1),
        corrupt: damage * random.fraction(),
        truncate: damage * random.fraction(),
        replay: 10.0 * damage * random.fraction(),
    }
}

/// A storm has some kinds of strikes and not others, so that each meets each alone, too.
fn draw_strikes(random: &mut Random) -> Vec<Strike> {
    let mut strikes = Vec::new();
    while strikes.is_empty() {
        for strike in Strike::ALL {
            let weight = if random.chance(0.5) {
                random.below(strike.weight() + 1)
            } else {
                0
            };
            strikes.extend((0..weight).map(|_| strike));
        }
    }
    strikes
}

fn draw_load(random: &mut Random) -> Load {
    Load {
        gap: Duration::from_secs(1).mul_f64(log_uniform(random, 0.003, 0.5)),
        calm_factor: random.between(5, 30) as u32,
        burst: *random.pick(&[0.0, 0.02, 0.1]),
        long: *random.pick(&[0.0, 0.01, 0.1]),
        safe: *random.pick(&[0.0, 0.3, 0.8]),
        sessions_max: random.between(1, 4) as usize,
        groups_max: random.between(1, 6) as usize,
        many_groups: *random.pick(&[0, 0, 0, 30, 200]),
        unread_bytes_max: *random.pick(&[2 << 10, 64 << 10]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_cover_the_field() {
        let scenarios: Vec<Scenario> = (0..500).map(Scenario::draw).collect();
        for hosts in 1..=9 {
            assert!(
                scenarios
                    .iter()
                    .any(|scenario| scenario.segments.len() == hosts),
                "{hosts} hosts"
            );
        }
        for strike in Strike::ALL {
            assert!(
                scenarios
                    .iter()
                    .any(|scenario| scenario.strikes.contains(&strike)),
                "{strike:?}"
            );
        }
        for mood in [Mood::Quiet, Mood::Noisy, Mood::Stormy] {
            assert!(
                scenarios.iter().any(|scenario| scenario.mood == mood),
                "{mood:?}"
            );
        }
        let unsealed = scenarios.iter().filter(|scenario| !scenario.sealed);
        assert!(unsealed.clone().count() > 0);
        assert!(
            unsealed
                .into_iter()
                .all(|scenario| scenario.storm.corrupt + scenario.calm.replay == 0.0)
        );
    }

    #[test]
    fn segments_are_runs_of_hosts() {
        for seed in 0..200 {
            let segments = Scenario::draw(seed).segments;
            assert!(segments.is_sorted(), "{segments:?}");
            assert_eq!(segments[0], 0);
        }
    }
}
