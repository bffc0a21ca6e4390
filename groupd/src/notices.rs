//! What the ring has to say, as lines of the log, once a minute for each thing and peer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use totem::event::{Difference, Notice};
use totem::view::MemberId;
use unixproc::log::{self, Throttle};

use crate::config::Config;

/// How often one thing about one peer is said.
const INTERVAL: Duration = Duration::from_secs(60);
/// Peers that are told apart; more than that are spoken of together.
const PEERS_MAX: usize = 1024;

/// The log of notices.
#[derive(Default)]
pub(crate) struct Notices {
    throttles: Throttles,
}

impl Notices {
    /// Writes a notice, unless the same was said of the same peer a short while ago.
    pub(crate) fn write(&mut self, notice: &Notice, config: &Config) {
        match *notice {
            Notice::ForeignKey { from } => {
                if let Some(repeated) = self.admit("foreign-key", from.ip(), config) {
                    let fields: log::Fields = &[
                        ("from", &from),
                        ("reason", &"packets do not open with our key"),
                        ("repeated", &repeated),
                    ];
                    log::warning("foreign-key", fields);
                }
            }
            Notice::ForeignConfig {
                member,
                ref difference,
            } => self.write_difference(member, difference, config),
            Notice::Stranger { from } => {
                if let Some(repeated) = self.admit("unknown-daemon", from.ip(), config) {
                    let reason = "it has our key and is not in our file";
                    let fields: log::Fields = &[
                        ("from", &from),
                        ("reason", &reason),
                        ("repeated", &repeated),
                    ];
                    log::warning("unknown-daemon", fields);
                }
            }
            Notice::DuplicateMember {
                from,
                ours_is_newer,
            } => {
                if let Some(repeated) = self.admit("duplicate-daemon", from.ip(), config) {
                    let newer = if ours_is_newer { "this" } else { "other" };
                    log::error(
                        "duplicate-daemon",
                        &[("from", &from), ("newer", &newer), ("repeated", &repeated)],
                    );
                }
            }
            Notice::TokenLost { ring } => log::notice("token-lost", &[("ring", &ring)]),
            Notice::Evicted {
                member,
                incarnation,
            } => log::notice(
                "daemon-evicted",
                &[
                    ("daemon", &config.name(member)),
                    ("incarnation", &incarnation.0),
                ],
            ),
            Notice::FormationFailed { ring } => log::notice("formation-failed", &[("ring", &ring)]),
        }
    }

    /// Writes what a daemon's file has otherwise.
    fn write_difference(&mut self, member: MemberId, difference: &Difference, config: &Config) {
        let (field, theirs) = match difference {
            Difference::Protocol => ("protocol", String::new()),
            Difference::Name(name) => ("name", name.clone()),
            Difference::Address(address) => ("address", address.to_string()),
            Difference::Segment(segment) => ("segment", segment.to_string()),
            Difference::TokenLoss(loss) => ("FailureDetection", format!("{loss:?}")),
            Difference::DatagramBytes(bytes) => ("DatagramSize", bytes.to_string()),
        };
        // The field is the event here: each has its minute.
        if let Some(repeated) = self.admit(field, address(member), config) {
            let fields: log::Fields = &[
                ("daemon", &config.name(member)),
                ("differs", &field),
                ("theirs", &theirs),
                ("repeated", &repeated),
            ];
            log::warning("foreign-configuration", fields);
        }
    }

    /// Writes that the system does not send to an address, and why.
    pub(crate) fn send_failed(&mut self, to: SocketAddrV4, error: &io::Error, config: &Config) {
        if let Some(repeated) = self.admit("send-failed", IpAddr::V4(*to.ip()), config) {
            let fields: log::Fields = &[("to", &to), ("reason", error), ("repeated", &repeated)];
            log::warning("send-failed", fields);
        }
    }

    /// Writes that the system refuses something, and why.
    pub(crate) fn failed(&mut self, event: &'static str, error: &io::Error) {
        // It is this host's affair, whoever was at the other end.
        if let Some(repeated) = self.throttles.admit(event, None, Instant::now()) {
            log::warning(event, &[("reason", error), ("repeated", &repeated)]);
        }
    }

    /// How often it was held back, if it may be said now.
    fn admit(&mut self, event: &'static str, peer: IpAddr, config: &Config) -> Option<u64> {
        let now = Instant::now();
        let ours = config
            .daemons
            .iter()
            .any(|daemon| IpAddr::V4(daemon.address) == peer);
        if ours || self.throttles.make_room(event, peer, now) {
            self.throttles.admit(event, Some(peer), now)
        } else {
            self.throttles.admit(event, None, now)
        }
    }
}

/// When each thing was said of each peer.
#[derive(Default)]
struct Throttles {
    // Bound: PEERS_MAX, and the events of this file times the daemons of the configuration.
    entries: HashMap<(&'static str, Option<IpAddr>), (Throttle, Instant)>,
}

impl Throttles {
    /// Whether a stranger can have an entry of its own: those of whom nothing was said for a while
    /// make room, so that a flood of forged addresses does not outlast itself.
    fn make_room(&mut self, event: &'static str, peer: IpAddr, now: Instant) -> bool {
        if self.entries.contains_key(&(event, Some(peer))) {
            return true;
        }
        if self.entries.len() >= PEERS_MAX {
            self.entries
                .retain(|_, (_, said)| now.duration_since(*said) < INTERVAL);
        }
        self.entries.len() < PEERS_MAX
    }

    /// Peers that have no entry of their own are spoken of together, as none.
    fn admit(&mut self, event: &'static str, peer: Option<IpAddr>, now: Instant) -> Option<u64> {
        let entry = self.entries.entry((event, peer));
        let (throttle, said) = entry.or_insert_with(|| (Throttle::new(INTERVAL), now));
        let repeated = throttle.admit(now)?;
        *said = now;
        Some(repeated)
    }
}

fn address(member: MemberId) -> IpAddr {
    IpAddr::V4(member.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u32) -> IpAddr {
        address(MemberId(number))
    }

    #[test]
    fn peers_are_told_apart_up_to_a_bound() {
        let mut throttles = Throttles::default();
        let now = Instant::now();
        let mut admit = |event, number| {
            let own = throttles.make_room(event, peer(number), now);
            throttles.admit(event, own.then_some(peer(number)), now)
        };
        assert_eq!(admit("foreign-key", 1), Some(0));
        assert_eq!(admit("foreign-key", 1), None);
        assert_eq!(admit("foreign-key", 2), Some(0));
        assert_eq!(admit("foreign-configuration", 1), Some(0));
        let said = (0..100_000)
            .filter_map(|number| admit("foreign-key", number))
            .count();
        assert!(said <= PEERS_MAX, "{said}");
        assert!(throttles.entries.len() <= PEERS_MAX + 1);
    }

    #[test]
    fn a_thing_is_said_of_a_peer_once_a_minute() {
        let mut throttles = Throttles::default();
        let start = Instant::now();
        let mut said = Vec::new();
        for tenths in 0..1850 {
            let now = start + Duration::from_millis(100) * tenths;
            if let Some(repeated) = throttles.admit("foreign-key", Some(peer(1)), now) {
                said.push((tenths / 10, repeated));
            }
        }
        assert_eq!(said, [(0, 0), (60, 599), (120, 599), (180, 599)]);
    }

    #[test]
    fn a_flood_of_forged_addresses_does_not_outlast_itself() {
        let mut throttles = Throttles::default();
        let now = Instant::now();
        for number in 0..10_000 {
            if throttles.make_room("foreign-key", peer(number), now) {
                throttles.admit("foreign-key", Some(peer(number)), now);
            }
        }
        assert!(!throttles.make_room("foreign-key", peer(20_000), now));
        let later = now + INTERVAL;
        assert!(throttles.make_room("foreign-key", peer(20_000), later));
        assert_eq!(
            throttles.admit("foreign-key", Some(peer(20_000)), later),
            Some(0)
        );
        assert_eq!(throttles.entries.len(), 1);
    }

    #[test]
    fn our_own_daemons_are_told_apart_in_a_flood() {
        let mut notices = Notices::default();
        let config = Config::built_in();
        for number in 0..10_000 {
            notices.admit("foreign-key", peer(number), &config);
        }
        assert_eq!(notices.admit("foreign-key", peer(20_000), &config), None);
        let own = IpAddr::V4(config.daemons[0].address);
        assert_eq!(notices.admit("foreign-key", own, &config), Some(0));
    }
}
