//! The encoder of netlink messages against another one: netlink-packet-route reads what is written
//! here, and what it writes is read here.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use proptest::prelude::*;
use vipd::netlink::{
    Change, Link, LinkAddress, Reply, TAG, change, list_addresses, list_links, replies,
};

const REQUEST: u16 = 0x01;
const ACKNOWLEDGE: u16 = 0x04;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;

fn read(bytes: &[u8]) -> (NetlinkHeader, RouteNetlinkMessage) {
    let message = NetlinkMessage::deserialize(bytes).expect("a netlink message");
    assert_eq!(message.header.length as usize, bytes.len());
    match message.payload {
        NetlinkPayload::InnerMessage(inner) => (message.header, inner),
        other => panic!("{other:?}"),
    }
}

fn write(message: RouteNetlinkMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn address() -> impl Strategy<Value = LinkAddress> {
    let four = (any::<[u8; 4]>(), 1u8..=32).prop_map(|(ip, bits)| (IpAddr::from(ip), bits));
    let six = (any::<[u8; 16]>(), 1u8..=128).prop_map(|(ip, bits)| (IpAddr::from(ip), bits));
    (prop_oneof![four, six], 1u32..100_000).prop_map(|((address, prefix), interface)| LinkAddress {
        interface,
        address,
        prefix,
    })
}

proptest! {
    #[test]
    fn what_is_asked_for_is_what_another_reads(
        at in address(),
        sequence: u32,
        seconds in 1u32..1000,
        kind in 0usize..3,
    ) {
        let asked = [Change::Add(seconds), Change::Refresh(seconds), Change::Remove][kind];
        let (header, message) = read(&change(sequence, &at, asked));
        prop_assert_eq!(header.sequence_number, sequence);
        let flags = [CREATE | EXCLUSIVE, CREATE | REPLACE, 0][kind];
        prop_assert_eq!(header.flags, REQUEST | ACKNOWLEDGE | flags);
        let message = match (message, asked) {
            (RouteNetlinkMessage::DelAddress(message), Change::Remove) => message,
            (RouteNetlinkMessage::NewAddress(message), Change::Add(_) | Change::Refresh(_)) => {
                let tag = AddressAttribute::Protocol(AddressProtocol::Other(TAG));
                prop_assert!(message.attributes.contains(&tag));
                let quiet = AddressFlags::Nodad | AddressFlags::Noprefixroute;
                prop_assert!(message.attributes.contains(&AddressAttribute::Flags(quiet)));
                let lasts = message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::CacheInfo(times) => {
                        Some((times.ifa_preferred, times.ifa_valid))
                    }
                    _ => None,
                });
                prop_assert_eq!(lasts, Some((0, seconds)));
                message
            }
            (other, _) => panic!("{other:?}"),
        };
        prop_assert_eq!(message.header.family, family(at.address));
        prop_assert_eq!(message.header.prefix_len, at.prefix);
        prop_assert_eq!(message.header.index, at.interface);
        for attribute in [AddressAttribute::Local(at.address), AddressAttribute::Address(at.address)] {
            prop_assert!(message.attributes.contains(&attribute));
        }
    }

    #[test]
    fn what_another_tells_is_what_is_read(
        at in address(),
        tag in proptest::option::of(any::<u8>()),
        peer: [u8; 4],
        label in "[a-z0-9]{1,15}",
    ) {
        let mut message = AddressMessage::default();
        message.header.family = family(at.address);
        message.header.prefix_len = at.prefix;
        message.header.index = at.interface;
        if at.address.is_ipv4() {
            // On a point-to-point link IFA_ADDRESS is the other side's.
            message.attributes.push(AddressAttribute::Address(IpAddr::from(peer)));
            message.attributes.push(AddressAttribute::Local(at.address));
            message.attributes.push(AddressAttribute::Label(label));
        } else {
            message.attributes.push(AddressAttribute::Address(at.address));
        }
        let protocol = tag.map(|tag| AddressAttribute::Protocol(AddressProtocol::from(tag)));
        message.attributes.extend(protocol);
        let bytes = write(RouteNetlinkMessage::NewAddress(message));
        prop_assert_eq!(replies(&bytes), [Reply::Address(at, tag)]);
    }

    #[test]
    fn interfaces_that_another_tells_of(
        index in 1u32..100_000,
        name in "[a-z0-9]{1,15}",
        mac: [u8; 6],
        up: bool,
        carrier: bool,
        mtu: u32,
    ) {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags.set(LinkFlags::Up, up);
        message.header.flags.set(LinkFlags::Running, carrier);
        message.attributes = vec![
            LinkAttribute::Mtu(mtu),
            LinkAttribute::IfName(name.clone()),
            LinkAttribute::Address(mac.to_vec()),
        ];
        let bytes = write(RouteNetlinkMessage::NewLink(message));
        let running = up && carrier;
        let link = Link { index, name, mac: Some(mac), running };
        prop_assert_eq!(replies(&bytes), [Reply::Link(link)]);
    }
}

#[test]
fn lists_are_asked_for_whole() {
    let (header, message) = read(&list_addresses(7));
    assert_eq!((header.flags, header.sequence_number), (REQUEST | DUMP, 7));
    assert_eq!(
        message,
        RouteNetlinkMessage::GetAddress(AddressMessage::default())
    );
    let (header, message) = read(&list_links(8));
    assert_eq!((header.flags, header.sequence_number), (REQUEST | DUMP, 8));
    assert_eq!(
        message,
        RouteNetlinkMessage::GetLink(LinkMessage::default())
    );
}
