//! What the ring has to say, as lines of the log, once a minute for each thing and peer.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use totem::event::Notice;
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
    throttles: HashMap<(&'static str, Option<IpAddr>), Throttle>,
}

impl Notices {
    /// Writes a notice, unless the same was said of the same peer a short while ago.
    pub(crate) fn write(&mut self, notice: &Notice, config: &Config) {
        match *notice {
            Notice::ForeignKey { from } => {
                if let Some(repeated) = self.admit("foreign-key", from.ip()) {
                    let fields: log::Fields = &[
                        ("from", &from),
                        ("reason", &"packets do not open with our key"),
                        ("repeated", &repeated),
                    ];
                    log::warning("foreign-key", fields);
                }
            }
            Notice::ForeignConfig { member } => {
                if let Some(repeated) = self.admit("foreign-configuration", address(member)) {
                    log::warning(
                        "foreign-configuration",
                        &[("daemon", &config.name(member)), ("repeated", &repeated)],
                    );
                }
            }
            Notice::DuplicateMember {
                from,
                ours_is_newer,
            } => {
                if let Some(repeated) = self.admit("duplicate-daemon", from.ip()) {
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

    /// Writes that the system refuses something, and why.
    pub(crate) fn failed(&mut self, event: &'static str, error: &io::Error) {
        // It is this host's affair, whoever was at the other end.
        if let Some(repeated) = self.admit(event, IpAddr::from([0, 0, 0, 0])) {
            log::warning(event, &[("reason", error), ("repeated", &repeated)]);
        }
    }

    /// How often it was held back, if it may be said now.
    fn admit(&mut self, event: &'static str, peer: IpAddr) -> Option<u64> {
        let known = self.throttles.contains_key(&(event, Some(peer)));
        let peer = (known || self.throttles.len() < PEERS_MAX).then_some(peer);
        let throttle = self
            .throttles
            .entry((event, peer))
            .or_insert_with(|| Throttle::new(INTERVAL));
        throttle.admit(Instant::now())
    }
}

fn address(member: MemberId) -> IpAddr {
    IpAddr::V4(member.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_told_apart_up_to_a_bound() {
        let mut notices = Notices::default();
        let peer = |i: u32| address(MemberId(i));
        assert_eq!(notices.admit("foreign-key", peer(1)), Some(0));
        assert_eq!(notices.admit("foreign-key", peer(1)), None);
        assert_eq!(notices.admit("foreign-key", peer(2)), Some(0));
        assert_eq!(notices.admit("foreign-configuration", peer(1)), Some(0));
        let said = (0..100_000)
            .filter_map(|i| notices.admit("foreign-key", peer(i)))
            .count();
        assert!(
            notices.throttles.len() <= PEERS_MAX + 1,
            "{}",
            notices.throttles.len()
        );
        assert!(said <= PEERS_MAX, "{said}");
    }
}
