//! The frames that tell neighbours where an address is, and ask them.
//!
//! ARP by RFC 826 and RFC 5227, neighbour discovery by RFC 4861. Which of them a neighbour takes is
//! in the notes: of ARP both forms, of IPv6 only an override with the link-layer option.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
pub type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];

/// The frames that announce an address to all: two forms of ARP, or an unsolicited advertisement,
/// which says whether this host is a router.
pub fn announcements(address: IpAddr, mac: Mac, router: bool) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => vec![
            arp(1, mac, BROADCAST, address, [0; 6], address),
            arp(2, mac, BROADCAST, address, mac, address),
        ],
        IpAddr::V6(address) => vec![advertisement(address, mac, router)],
    }
}

/// The frame that announces an address to one neighbour: a request, which it takes whenever it was
/// confirmed last.
pub fn notification(address: Ipv4Addr, mac: Mac, to: Mac) -> Vec<u8> {
    arp(1, mac, to, address, [0; 6], address)
}

/// The frame that asks a neighbour for its own address in the name of an address that has come, so
/// that its answer comes here.
pub fn ping(address: Ipv4Addr, mac: Mac, to: Mac, neighbour: Ipv4Addr) -> Vec<u8> {
    arp(1, mac, to, address, [0; 6], neighbour)
}

/// The frame that asks who has an address, without saying that anybody has it (RFC 5227, 2.1.1;
/// RFC 4862, 5.4.2): all neighbours, or one of them.
pub fn question(address: IpAddr, mac: Mac, to: Option<Mac>) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let to = to.unwrap_or(BROADCAST);
            arp(1, mac, to, Ipv4Addr::UNSPECIFIED, [0; 6], address)
        }
        IpAddr::V6(address) => solicitation(address, mac, to),
    }
}

/// Who says in this frame that it has which address; none if it is not that kind of frame.
pub fn claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    match frame.get(12..14)? {
        [0x08, 0x06] => arp_claim(frame.get(14..42)?),
        [0x86, 0xdd] => advertisement_claim(frame),
        _ => None,
    }
}

fn arp_claim(arp: &[u8]) -> Option<(IpAddr, Mac)> {
    // Hardware Ethernet, protocol IPv4, lengths 6 and 4.
    if arp[..6] != [0, 1, 0x08, 0, 6, 4] {
        return None;
    }
    let mac = arp[8..14].try_into().ok()?;
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(&arp[14..18]).ok()?);
    (!address.is_unspecified()).then_some((address.into(), mac))
}

/// A neighbour advertisement right behind the IPv6 header, as all are.
fn advertisement_claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let ip = frame.get(14..54)?;
    let icmp = frame.get(54..78)?;
    if ip[6] != 58 || ip[7] != 255 || icmp[0] != 136 {
        return None;
    }
    let address = Ipv6Addr::from(<[u8; 16]>::try_from(&icmp[8..24]).ok()?);
    // Its option, if it has one, else whoever has sent the frame.
    let option = frame.get(78..86).filter(|option| option[..2] == [2, 1]);
    let mac = option.map_or(&frame[6..12], |option| &option[2..]);
    Some((address.into(), mac.try_into().ok()?))
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
fn advertisement(address: Ipv6Addr, mac: Mac, router: bool) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    // Type, code, checksum, flags (override, and router), target, option "target link-layer
    // address".
    let flags = if router { 0xa0 } else { 0x20 };
    let mut icmp = vec![136, 0, 0, 0, flags, 0, 0, 0];
    icmp.extend(address.octets());
    icmp.extend([2, 1]);
    icmp.extend(mac);
    icmpv6([0x33, 0x33, 0, 0, 0, 1], mac, address, all_nodes, icmp)
}

/// A neighbour solicitation that says nothing about the asker, as for duplicate detection.
fn solicitation(address: Ipv6Addr, mac: Mac, to: Option<Mac>) -> Vec<u8> {
    let low = address.octets();
    let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    group[13..].copy_from_slice(&low[13..]);
    let mut icmp = vec![135, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend(low);
    let multicast = [0x33, 0x33, 0xff, low[13], low[14], low[15]];
    let group = Ipv6Addr::from(group);
    icmpv6(
        to.unwrap_or(multicast),
        mac,
        Ipv6Addr::UNSPECIFIED,
        group,
        icmp,
    )
}

fn icmpv6(to: Mac, from: Mac, source: Ipv6Addr, target: Ipv6Addr, mut icmp: Vec<u8>) -> Vec<u8> {
    let checksum = icmp_checksum(source, target, &icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = ethernet(to, from, 0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((icmp.len() as u16).to_be_bytes());
    // Next header ICMPv6; a hop limit of 255 shows that no router has passed it on.
    frame.extend([58, 255]);
    frame.extend(source.octets());
    frame.extend(target.octets());
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// 5.30.
    #[test]
    fn gratuitous_arp_byte_for_byte() {
        let frames = announcements("192.0.2.7".parse().unwrap(), MAC, false);
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
            assert_eq!(claim(frame), Some((IpAddr::from([192, 0, 2, 7]), MAC)));
        }
    }

    /// 5.21, 5.30.
    #[test]
    fn an_unsolicited_advertisement_byte_for_byte() {
        let frames = announcements("2001:db8::7".parse().unwrap(), MAC, false);
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
    fn a_router_says_so() {
        let frames = announcements("2001:db8::7".parse().unwrap(), MAC, true);
        assert_eq!(frames[0][58], 0xa0);
        assert_eq!(
            claim(&frames[0]),
            Some(("2001:db8::7".parse().unwrap(), MAC))
        );
    }

    #[test]
    fn a_question_byte_for_byte() {
        let to = [2, 0, 0, 0, 0, 5];
        let frame = question("192.0.2.7".parse().unwrap(), MAC, Some(to));
        assert_eq!(
            hex(&frame),
            [
                "020000000005",
                "020000000009",
                "0806",
                "0001080006040001",
                "020000000009",
                "00000000",
                "000000000000",
                "c0000207",
            ]
            .concat()
        );
        let frame = question("2001:db8::7".parse().unwrap(), MAC, None);
        assert_eq!(hex(&frame[..6]), "3333ff000007");
        assert_eq!(
            hex(&frame[22..54]),
            "00000000000000000000000000000000ff0200000000000000000001ff000007"
        );
        let group = "ff02::1:ff00:7".parse().unwrap();
        assert_eq!(icmp_checksum(Ipv6Addr::UNSPECIFIED, group, &frame[54..]), 0);
    }

    #[test]
    fn a_question_claims_nothing() {
        for address in ["192.0.2.7", "2001:db8::7"] {
            let frame = question(address.parse().unwrap(), MAC, None);
            assert_eq!(claim(&frame), None);
            assert_eq!(claim(&frame[..41]), None);
        }
        assert_eq!(claim(&[]), None);
    }

    proptest! {
        /// 5.28.
        #[test]
        fn no_frame_panics(mut frame in prop::collection::vec(any::<u8>(), 0..100), six: bool) {
            if let Some(kind) = frame.get_mut(12..14) {
                kind.copy_from_slice(if six { &[0x86, 0xdd] } else { &[0x08, 0x06] });
            }
            claim(&frame);
        }
    }
}
