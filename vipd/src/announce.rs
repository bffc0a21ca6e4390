//! The frames that tell neighbours where an address is, and ask them; and when to send them again.
//!
//! ARP by RFC 826 and RFC 5227, neighbour discovery by RFC 4861. Which of them a neighbour takes is
//! in the notes: of ARP both forms, of IPv6 only an override with the link-layer option.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// An Ethernet address.
pub type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];

/// When an address is announced after its set was acquired. The one after more than a second is
/// for kernels that take nothing within a second of the last confirmation.
const SCHEDULE: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(1100),
    Duration::from_secs(3),
];

/// Afterwards, each so often.
const REFRESH: Duration = Duration::from_secs(60);

/// Bound: sets announced at a time after their first announcement; the others come 20 ms later.
const ROUND_MAX: usize = 10;

const PACE: Duration = Duration::from_millis(20);

/// The frames that announce an address: two forms of ARP, or an unsolicited advertisement.
pub fn announcements(address: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => vec![
            arp(1, mac, BROADCAST, address, [0; 6], address),
            arp(2, mac, BROADCAST, address, mac, address),
        ],
        IpAddr::V6(address) => vec![advertisement(address, mac)],
    }
}

/// The frame that asks who has an address, without saying that anybody has it (RFC 5227, 2.1.1).
pub fn question(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    arp(1, mac, BROADCAST, Ipv4Addr::UNSPECIFIED, [0; 6], address)
}

/// Who says in this frame that it has which address; none if it is not that kind of frame.
pub fn claim(frame: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let arp = frame.get(12..42)?;
    // Ethernet type ARP, hardware Ethernet, protocol IPv4, lengths 6 and 4.
    if arp[..8] != [0x08, 0x06, 0, 1, 0x08, 0, 6, 4] {
        return None;
    }
    let mac = arp[10..16].try_into().ok()?;
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(&arp[16..20]).ok()?);
    (!address.is_unspecified()).then_some((address, mac))
}

fn arp(
    operation: u8,
    from: Mac,
    to: Mac,
    sender: Ipv4Addr,
    target_mac: Mac,
    target: Ipv4Addr,
) -> Vec<u8> {
    let mut frame = ethernet(to, from, 0x0806);
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, operation]);
    frame.extend(from);
    frame.extend(sender.octets());
    frame.extend(target_mac);
    frame.extend(target.octets());
    frame
}

/// An unsolicited neighbour advertisement to all nodes.
fn advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    // Type, code, checksum, flags (override alone), target, option "target link-layer address".
    let mut icmp = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    icmp.extend(address.octets());
    icmp.extend([2, 1]);
    icmp.extend(mac);
    let checksum = icmp_checksum(address, all_nodes, &icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());

    let mut frame = ethernet([0x33, 0x33, 0, 0, 0, 1], mac, 0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((icmp.len() as u16).to_be_bytes());
    // Next header ICMPv6; a hop limit of 255 shows that no router has passed it on.
    frame.extend([58, 255]);
    frame.extend(address.octets());
    frame.extend(all_nodes.octets());
    frame.extend(icmp);
    frame
}

fn ethernet(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame
}

/// The internet checksum with IPv6's pseudo header (RFC 8200, 8.1).
fn icmp_checksum(from: Ipv6Addr, to: Ipv6Addr, icmp: &[u8]) -> u16 {
    let pseudo = [
        &from.octets()[..],
        &to.octets(),
        &(icmp.len() as u32).to_be_bytes(),
        &[0, 0, 0, 58],
    ];
    let words = pseudo
        .concat()
        .into_iter()
        .chain(icmp.iter().copied())
        .collect::<Vec<u8>>();
    let sum: u32 = words
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// When each held set is announced next.
#[derive(Debug, Default)]
pub struct Schedule {
    /// By set: how often it was announced, and when it is due again.
    due: BTreeMap<usize, (usize, Instant)>,
}

impl Schedule {
    /// Begins with a set, which is to be announced at once.
    pub fn begin(&mut self, set: usize, now: Instant) {
        self.due.insert(set, (0, now));
    }

    /// Ends with a set.
    pub fn end(&mut self, set: usize) {
        self.due.remove(&set);
    }

    /// When [`take_due`](Schedule::take_due) has something.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.values().map(|&(_, at)| at).min()
    }

    /// The sets to announce now: all that were never announced, and some of the others.
    pub fn take_due(&mut self, now: Instant) -> Vec<usize> {
        let (mut sets, mut repeated) = (Vec::new(), 0);
        for (&set, (count, at)) in &mut self.due {
            if *at > now {
                continue;
            }
            if *count > 0 {
                if repeated == ROUND_MAX {
                    *at = now + PACE;
                    continue;
                }
                repeated += 1;
            }
            *count += 1;
            *at = match SCHEDULE.get(*count) {
                Some(&offset) => *at + (offset - SCHEDULE[*count - 1]),
                // Not all of them at the same moment: up to 10 % earlier.
                None => now + REFRESH - Duration::from_millis(set as u64 * 97 % 6000),
            };
            sets.push(set);
        }
        sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn gratuitous_arp_byte_for_byte() {
        let frames = announcements("192.0.2.7".parse().unwrap(), MAC);
        let hex: Vec<String> = frames.iter().map(|frame| hex(frame)).collect();
        assert_eq!(
            hex,
            [
                "ffffffffffff02000000000908060001080006040001\
                 020000000009c0000207000000000000c0000207",
                "ffffffffffff02000000000908060001080006040002\
                 020000000009c0000207020000000009c0000207",
            ]
        );
        for frame in &frames {
            assert_eq!(claim(frame), Some((Ipv4Addr::new(192, 0, 2, 7), MAC)));
        }
    }

    #[test]
    fn an_unsolicited_advertisement_byte_for_byte() {
        let frames = announcements("2001:db8::7".parse().unwrap(), MAC);
        let expected = "33330000000102000000000986dd6000000000203aff\
                        20010db8000000000000000000000007ff020000000000000000000000000001\
                        8800CHCK2000000020010db80000000000000000000000070201020000000009";
        let got = hex(&frames[0]);
        assert_eq!(frames.len(), 1);
        assert_eq!(got.len(), expected.len());
        assert_eq!(got[..112], expected[..112]);
        assert_eq!(got[116..], expected[116..]);
        // A receiver's check: with the checksum in place, the sum is zero.
        let address: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let all_nodes = "ff02::1".parse().unwrap();
        assert_eq!(icmp_checksum(address, all_nodes, &frames[0][54..]), 0);
    }

    #[test]
    fn a_question_claims_nothing() {
        let frame = question(Ipv4Addr::new(192, 0, 2, 7), MAC);
        assert_eq!(claim(&frame), None);
        assert_eq!(claim(&frame[..41]), None);
        assert_eq!(claim(&[]), None);
    }

    #[test]
    fn first_all_then_paced_then_rarely() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        for set in 0..100 {
            schedule.begin(set, start);
        }
        assert_eq!(schedule.take_due(start).len(), 100);
        assert_eq!(schedule.take_due(start).len(), 0);
        let mut sent = 0;
        let mut now = start;
        while schedule.next_due().unwrap() < start + Duration::from_secs(10) {
            now = schedule.next_due().unwrap().max(now);
            let sets = schedule.take_due(now).len();
            assert!(sets <= ROUND_MAX);
            sent += sets;
        }
        assert_eq!(sent, 400);
        assert!(schedule.next_due().unwrap() > start + Duration::from_secs(50));
        schedule.end(0);
        assert_eq!(schedule.due.len(), 99);
    }
}
