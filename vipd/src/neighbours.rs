//! Which neighbours the members of the group know: Wackamole's shared ARP cache.
//!
//! Each member tells the others what its kernel's neighbour table has, by interface name; whoever
//! acquires an address tells each of them by unicast. What was not heard of for three intervals is
//! forgotten.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::frames::Mac;

/// Bound: neighbours that are known, and that one message has.
const NEIGHBOURS_MAX: usize = 4096;

/// Bound: of a message; what is longer is not read.
const LENGTH_MAX: usize = 131_072;

/// The 16 bits by which a message of neighbours is told from one about the sets.
pub const MESSAGE_TYPE: u16 = 1;

/// Neighbours by interface and address.
#[derive(Debug, Default)]
pub struct Neighbours {
    known: BTreeMap<(String, Ipv4Addr), (Mac, Instant)>,
}

/// What a member knows.
#[derive(Serialize, Deserialize)]
struct Message {
    v: u32,
    neighbours: Vec<(String, Ipv4Addr, Mac)>,
}

impl Neighbours {
    /// Notes a neighbour.
    pub fn note(&mut self, interface: &str, address: Ipv4Addr, mac: Mac, now: Instant) {
        let key = (interface.to_owned(), address);
        if self.known.len() < NEIGHBOURS_MAX || self.known.contains_key(&key) {
            self.known.insert(key, (mac, now));
        }
    }

    /// Forgets whom nobody has known for so long.
    pub fn expire(&mut self, now: Instant, after: Duration) {
        self.known
            .retain(|_, (_, seen)| now.duration_since(*seen) < after);
    }

    /// The neighbours behind an interface.
    pub fn behind(&self, interface: &str) -> impl Iterator<Item = (Ipv4Addr, Mac)> {
        let from = (interface.to_owned(), Ipv4Addr::UNSPECIFIED);
        let known = self.known.range(from..);
        known
            .take_while(move |((name, _), _)| name == interface)
            .map(|((_, address), (mac, _))| (*address, *mac))
    }

    /// Takes what another member knows; false if it makes no sense.
    pub fn take(&mut self, data: &[u8], now: Instant) -> bool {
        if data.len() > LENGTH_MAX {
            return false;
        }
        let Ok(message) = serde_json::from_slice::<Message>(data) else {
            return false;
        };
        for (interface, address, mac) in message.neighbours.iter().take(NEIGHBOURS_MAX) {
            // An interface has 15 characters at most.
            if interface.len() < 16 && is_host(mac) {
                self.note(interface, *address, *mac, now);
            }
        }
        message.v == 1
    }
}

/// What this kernel's neighbour table says, as a message, for these interfaces; none if it is empty.
pub fn message(table: &str, interfaces: &[&str]) -> Option<Vec<u8>> {
    let mut neighbours = read(table);
    neighbours.retain(|(interface, _, _)| interfaces.contains(&interface.as_str()));
    neighbours.truncate(NEIGHBOURS_MAX / 4);
    let message = Message { v: 1, neighbours };
    (!message.neighbours.is_empty()).then(|| serde_json::to_vec(&message).expect("text keys only"))
}

/// Reads /proc/net/arp; entries that are not complete are left out.
pub fn read(table: &str) -> Vec<(String, Ipv4Addr, Mac)> {
    let complete = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        let flags = words.nth(1)?;
        let mac = mac(words.next()?)?;
        let interface = words.nth(1)?;
        // ATF_COM is 0x2.
        let known = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()? & 2 != 0;
        (known && is_host(&mac)).then(|| (interface.to_owned(), address, mac))
    };
    table.lines().filter_map(complete).collect()
}

fn is_host(mac: &Mac) -> bool {
    *mac != [0; 6] && mac[0] & 1 == 0
}

fn mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut bytes = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(bytes.next()?, 16).ok()?;
    }
    bytes.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "IP address       HW type     Flags       HW address            Mask     Device
192.0.2.1        0x1         0x2         02:00:00:00:00:01     *        eth0
192.0.2.2        0x1         0x0         00:00:00:00:00:00     *        eth0
192.0.2.3        0x1         0x6         02:00:00:00:00:03     *        eth1
";

    #[test]
    fn the_kernels_table() {
        let hosts = read(TABLE);
        assert_eq!(hosts.len(), 2);
        assert_eq!(
            hosts[0],
            (
                "eth0".into(),
                Ipv4Addr::new(192, 0, 2, 1),
                [2, 0, 0, 0, 0, 1]
            )
        );
    }

    #[test]
    fn what_others_know_is_kept_by_interface_and_for_a_time() {
        let now = Instant::now();
        let mut neighbours = Neighbours::default();
        assert!(neighbours.take(&message(TABLE, &["eth0", "eth1"]).unwrap(), now));
        let behind = |of: &Neighbours, name: &str| of.behind(name).count();
        assert_eq!(
            (behind(&neighbours, "eth0"), behind(&neighbours, "eth1")),
            (1, 1)
        );
        assert_eq!(behind(&neighbours, "eth"), 0);
        let later = now + Duration::from_secs(50);
        assert!(neighbours.take(&message(TABLE, &["eth1"]).unwrap(), later));
        neighbours.expire(now + Duration::from_secs(60), Duration::from_secs(60));
        assert_eq!(
            (behind(&neighbours, "eth0"), behind(&neighbours, "eth1")),
            (0, 1)
        );
        assert_eq!(message(TABLE, &["eth2"]), None);
    }

    #[test]
    fn nonsense_is_refused_and_floods_are_bounded() {
        let now = Instant::now();
        let mut neighbours = Neighbours::default();
        assert!(!neighbours.take(b"{}", now));
        assert!(!neighbours.take(&vec![b' '; LENGTH_MAX + 1], now));
        let broadcast = br#"{"v":1,"neighbours":[["eth0","192.0.2.1",[255,255,255,255,255,255]]]}"#;
        assert!(neighbours.take(broadcast, now));
        assert_eq!(neighbours.behind("eth0").count(), 0);
        for number in 0..10_000u32 {
            neighbours.note("eth0", Ipv4Addr::from(number), [2, 0, 0, 0, 0, 1], now);
        }
        assert_eq!(neighbours.behind("eth0").count(), NEIGHBOURS_MAX);
    }
}
