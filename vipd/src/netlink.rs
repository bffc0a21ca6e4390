//! The few rtnetlink messages that vipd needs, as bytes: addresses and links.
//!
//! rtnetlink(7), and `linux/if_addr.h`, `linux/if_link.h`. Numbers are in the machine's own order.

use std::net::IpAddr;

/// The tag of our addresses (IFA_PROTO): whatever carries it may be purged by vipd.
pub const TAG: u8 = 0x57;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;

/// No duplicate detection, which would delay an IPv6 address by a second; no route for its prefix.
const ADDRESS_FLAGS: u32 = 0x02 | 0x200;

const IFF_UP: u32 = 0x01;
const IFF_RUNNING: u32 = 0x40;

/// An address on an interface, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkAddress {
    /// The interface's index.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
}

/// What to do with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add it for so many seconds; it must not be there.
    Add(u32),
    /// Let it last so many seconds from now, and add it if it is gone.
    Refresh(u32),
    /// Remove it.
    Remove,
}

/// A message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The answer to a change: 0, or a positive error number.
    Status { sequence: u32, error: i32 },
    /// The end of a list.
    Done,
    /// The list has changed meanwhile and must be asked for again.
    Interrupted,
    /// An address, and its tag.
    Address(LinkAddress, Option<u8>),
    /// An interface.
    Link(Link),
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; none for another kind of interface.
    pub mac: Option<[u8; 6]>,
    /// Whether it is up and has a carrier.
    pub running: bool,
}

/// A request to change an address; the answer carries the same sequence number.
pub fn change(sequence: u32, at: &LinkAddress, change: Change) -> Vec<u8> {
    let (kind, flags) = match change {
        Change::Add(_) => (RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL),
        Change::Refresh(_) => (RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE),
        Change::Remove => (RTM_DELADDR, 0),
    };
    let mut message = header(kind, NLM_F_REQUEST | NLM_F_ACK | flags, sequence);
    let family = if at.address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    message.extend([family as u8, at.prefix, 0, 0]);
    message.extend(at.interface.to_ne_bytes());
    let octets = match at.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    attribute(&mut message, IFA_LOCAL, &octets);
    attribute(&mut message, IFA_ADDRESS, &octets);
    if let Change::Add(seconds) | Change::Refresh(seconds) = change {
        // Preferred for no time: never the source of the host's own connections.
        let times = [0, seconds, 0, 0].map(u32::to_ne_bytes);
        attribute(&mut message, IFA_CACHEINFO, times.as_flattened());
        attribute(&mut message, IFA_FLAGS, &ADDRESS_FLAGS.to_ne_bytes());
        attribute(&mut message, IFA_PROTO, &[TAG]);
    }
    finish(message)
}

/// A request for all addresses.
pub fn list_addresses(sequence: u32) -> Vec<u8> {
    let mut message = header(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, sequence);
    message.extend([0; 8]);
    finish(message)
}

/// A request for all interfaces.
pub fn list_links(sequence: u32) -> Vec<u8> {
    let mut message = header(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, sequence);
    message.extend([0; 16]);
    finish(message)
}

fn header(kind: u16, flags: u16, sequence: u32) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend((4 + value.len() as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn finish(mut message: Vec<u8>) -> Vec<u8> {
    let length = (message.len() as u32).to_ne_bytes();
    message[..4].copy_from_slice(&length);
    message
}

/// The messages of a datagram from the kernel; those that mean nothing here are left out.
pub fn replies(mut datagram: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some(length) = number(datagram, 0) {
        let length = length as usize;
        if !(16..=datagram.len()).contains(&length) {
            break;
        }
        let flags = u16::from_ne_bytes([datagram[6], datagram[7]]);
        if flags & NLM_F_DUMP_INTR != 0 {
            replies.push(Reply::Interrupted);
        }
        replies.extend(reply(&datagram[..length]));
        datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
    }
    replies
}

fn reply(message: &[u8]) -> Option<Reply> {
    let kind = u16::from_ne_bytes([message[4], message[5]]);
    let body = &message[16..];
    match kind {
        NLMSG_DONE => Some(Reply::Done),
        NLMSG_ERROR => Some(Reply::Status {
            sequence: number(message, 8)?,
            error: -(number(body, 0)? as i32),
        }),
        RTM_NEWADDR => address(body),
        RTM_NEWLINK => link(body),
        _ => None,
    }
}

fn address(body: &[u8]) -> Option<Reply> {
    let mut at = LinkAddress {
        interface: number(body, 4)?,
        address: IpAddr::from([0; 4]),
        prefix: body[1],
    };
    let (mut tag, mut found) = (None, false);
    for (kind, value) in attributes(&body[8..]) {
        let ip = || match value.len() {
            4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        };
        match kind {
            // On a point-to-point link IFA_ADDRESS is the peer; IPv6 has no IFA_LOCAL otherwise.
            IFA_LOCAL => (at.address, found) = (ip()?, true),
            IFA_ADDRESS if !found => (at.address, found) = (ip()?, true),
            IFA_PROTO => tag = value.first().copied(),
            _ => {}
        }
    }
    found.then_some(Reply::Address(at, tag))
}

fn link(body: &[u8]) -> Option<Reply> {
    let flags = number(body, 8)?;
    let mut link = Link {
        index: number(body, 4)?,
        name: String::new(),
        mac: None,
        running: flags & IFF_UP != 0 && flags & IFF_RUNNING != 0,
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_IFNAME => {
                let name = value.strip_suffix(&[0]).unwrap_or(value);
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            _ => {}
        }
    }
    Some(Reply::Link(link))
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let value = bytes.get(4..length)?;
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]);
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some((kind, value))
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|&bytes| u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(address: &str) -> LinkAddress {
        LinkAddress {
            interface: 7,
            address: address.parse().unwrap(),
            prefix: 32,
        }
    }

    #[test]
    fn what_is_added_is_what_the_kernel_would_report() {
        for address in ["192.0.2.9", "2001:db8::9"] {
            let request = change(3, &at(address), Change::Add(5));
            assert_eq!(request.len() % 4, 0);
            assert_eq!(replies(&request), [Reply::Address(at(address), Some(TAG))]);
        }
    }

    #[test]
    fn a_golden_request() {
        let bytes = change(3, &at("192.0.2.9"), Change::Remove);
        #[cfg(target_endian = "little")]
        assert_eq!(
            bytes,
            [
                40, 0, 0, 0, 21, 0, 5, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 32, 0, 0, 7, 0, 0, 0, 8, 0, 2,
                0, 192, 0, 2, 9, 8, 0, 1, 0, 192, 0, 2, 9
            ]
        );
    }

    /// 5.19.
    #[test]
    fn errors_are_positive_numbers() {
        let mut message = header(NLMSG_ERROR, 0, 9);
        message.extend((-17i32).to_ne_bytes());
        message.extend([0; 16]);
        let message = finish(message);
        assert_eq!(
            replies(&message),
            [Reply::Status {
                sequence: 9,
                error: 17
            }]
        );
    }

    /// 5.19.
    #[test]
    fn an_interrupted_list_ends_as_well() {
        let message = finish(header(NLMSG_DONE, NLM_F_DUMP_INTR, 9));
        assert_eq!(replies(&message), [Reply::Interrupted, Reply::Done]);
    }

    proptest! {
        /// 5.28.
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u16..30) {
            replies(&bytes);
            let mut message = header(kind, 0, 1);
            message.extend(bytes);
            replies(&finish(message));
        }
    }
}
