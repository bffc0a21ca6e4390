//! What this layer submits to the ring, as bytes.
//!
//! `kind u8`, then for a session's messages the private name behind its length byte. Join and
//! leave add the group, a multicast `type_bits u32 | hint [u8; 4] | count u8`, the destinations
//! and the payload. Names stand behind a length byte; integers are little-endian. The sender's
//! daemon is known from the delivery.

use bytes::{Buf, BufMut, Bytes};

use super::event::{Attributes, Destinations};
use super::name::{GroupName, PrivateName};
use crate::queue::MESSAGE_BYTES_MAX;
use crate::wire::Malformed;

/// The most destinations of a message.
pub const DESTINATIONS_MAX: usize = 100;

const JOIN: u8 = 1;
const LEAVE: u8 = 2;
const KILL: u8 = 3;
const MULTICAST: u8 = 4;
const MULTICAST_SELF_DISCARD: u8 = 5;
pub(crate) const STATE: u8 = 6;

/// One ordered message of this layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    Join {
        who: PrivateName,
        group: GroupName,
    },
    Leave {
        who: PrivateName,
        group: GroupName,
    },
    Kill {
        who: PrivateName,
    },
    Multicast(Multicast),
    /// A part of a daemon's table, see [`super::exchange`]; not yet parsed.
    State(Bytes),
}

/// A message of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Multicast {
    pub(crate) who: PrivateName,
    pub(crate) self_discard: bool,
    pub(crate) attributes: Attributes,
    pub(crate) destinations: Destinations,
    pub(crate) payload: Bytes,
}

impl Envelope {
    /// Parses a delivery; payloads stay slices of it.
    pub(crate) fn decode(data: &Bytes) -> Result<Envelope, Malformed> {
        let mut rest = &data[..];
        let kind = rest.try_get_u8()?;
        if kind == STATE {
            return Ok(Envelope::State(data.slice(1..)));
        }
        let who = get_private_name(&mut rest)?;
        let envelope = match kind {
            JOIN => Envelope::Join {
                who,
                group: get_group(&mut rest)?,
            },
            LEAVE => Envelope::Leave {
                who,
                group: get_group(&mut rest)?,
            },
            KILL => Envelope::Kill { who },
            MULTICAST | MULTICAST_SELF_DISCARD => {
                let self_discard = kind == MULTICAST_SELF_DISCARD;
                return decode_multicast(data, rest, who, self_discard);
            }
            _ => return Err(Malformed),
        };
        if rest.is_empty() {
            Ok(envelope)
        } else {
            Err(Malformed)
        }
    }
}

fn decode_multicast(
    data: &Bytes,
    mut rest: &[u8],
    who: PrivateName,
    self_discard: bool,
) -> Result<Envelope, Malformed> {
    let type_bits = rest.try_get_u32_le()?;
    let mut hint = [0; 4];
    rest.try_copy_to_slice(&mut hint)?;
    let count = rest.try_get_u8()?;
    if usize::from(count) > DESTINATIONS_MAX {
        return Err(Malformed);
    }
    let names_at = data.len() - rest.len();
    for _ in 0..count {
        let length = usize::from(rest.try_get_u8()?);
        if length > GroupName::BYTES {
            return Err(Malformed);
        }
        rest = rest.get(length..).ok_or(Malformed)?;
    }
    let payload_at = data.len() - rest.len();
    Ok(Envelope::Multicast(Multicast {
        who,
        self_discard,
        attributes: Attributes { type_bits, hint },
        destinations: Destinations {
            names: data.slice(names_at..payload_at),
            count,
        },
        payload: data.slice(payload_at..),
    }))
}

pub(crate) fn encode_join(who: PrivateName, group: &GroupName) -> Bytes {
    encode_about(JOIN, who, Some(group))
}

pub(crate) fn encode_leave(who: PrivateName, group: &GroupName) -> Bytes {
    encode_about(LEAVE, who, Some(group))
}

pub(crate) fn encode_kill(who: PrivateName) -> Bytes {
    encode_about(KILL, who, None)
}

fn encode_about(kind: u8, who: PrivateName, group: Option<&GroupName>) -> Bytes {
    let mut out = vec![kind];
    put_name(&mut out, who.as_bytes());
    if let Some(group) = group {
        put_name(&mut out, group.significant());
    }
    out.into()
}

/// `None` if there are too many destinations or the ring would not take it.
pub(crate) fn encode_multicast(
    who: PrivateName,
    attributes: Attributes,
    self_discard: bool,
    destinations: &[GroupName],
    payload: &[u8],
) -> Option<Bytes> {
    if destinations.len() > DESTINATIONS_MAX {
        return None;
    }
    let names: usize = destinations
        .iter()
        .map(|name| 1 + name.significant().len())
        .sum();
    let length = 2 + who.as_bytes().len() + 9 + names + payload.len();
    if length > MESSAGE_BYTES_MAX {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    out.put_u8(if self_discard {
        MULTICAST_SELF_DISCARD
    } else {
        MULTICAST
    });
    put_name(&mut out, who.as_bytes());
    out.put_u32_le(attributes.type_bits);
    out.put_slice(&attributes.hint);
    out.put_u8(destinations.len() as u8);
    for name in destinations {
        put_name(&mut out, name.significant());
    }
    out.put_slice(payload);
    Some(out.into())
}

/// A name of less than 256 bytes behind its length.
pub(crate) fn put_name(out: &mut Vec<u8>, name: &[u8]) {
    out.put_u8(name.len() as u8);
    out.put_slice(name);
}

fn get_name<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = usize::from(rest.try_get_u8()?);
    let (name, behind) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = behind;
    Ok(name)
}

pub(crate) fn get_private_name(rest: &mut &[u8]) -> Result<PrivateName, Malformed> {
    PrivateName::new(get_name(rest)?).ok_or(Malformed)
}

/// A group that can have members.
pub(crate) fn get_group(rest: &mut &[u8]) -> Result<GroupName, Malformed> {
    let name = GroupName::new(get_name(rest)?).ok_or(Malformed)?;
    if name.joinable() == Some(name) {
        Ok(name)
    } else {
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> PrivateName {
        PrivateName::new(b"alice").unwrap()
    }

    fn group(name: &[u8]) -> GroupName {
        GroupName::new(name).unwrap()
    }

    fn multicast(destinations: &[GroupName], payload: &[u8]) -> Bytes {
        let attributes = Attributes {
            type_bits: 0x20,
            hint: [1, 2, 3, 4],
        };
        encode_multicast(who(), attributes, false, destinations, payload).unwrap()
    }

    #[test]
    fn requests_of_a_session_come_back_as_they_were() {
        let group = group(b"grp1");
        let join = encode_join(who(), &group);
        assert_eq!(&join[..], b"\x01\x05alice\x04grp1");
        assert_eq!(
            Envelope::decode(&join),
            Ok(Envelope::Join { who: who(), group })
        );
        let leave = encode_leave(who(), &group);
        assert_eq!(
            Envelope::decode(&leave),
            Ok(Envelope::Leave { who: who(), group })
        );
        let kill = encode_kill(who());
        assert_eq!(Envelope::decode(&kill), Ok(Envelope::Kill { who: who() }));
    }

    #[test]
    fn a_small_message_costs_few_bytes() {
        let sent = multicast(&[group(b"grp1")], &[7; 100]);
        assert_eq!(sent.len(), 121);
        let Ok(Envelope::Multicast(message)) = Envelope::decode(&sent) else {
            panic!("{sent:?}")
        };
        assert_eq!(
            message.attributes,
            Attributes {
                type_bits: 0x20,
                hint: [1, 2, 3, 4]
            }
        );
        assert_eq!(
            message.destinations.iter().collect::<Vec<_>>(),
            [group(b"grp1")]
        );
        assert_eq!(&message.payload[..], [7; 100]);
    }

    #[test]
    fn whatever_is_cut_off_before_the_payload_is_refused() {
        let cut = |sent: Bytes, length: usize| Envelope::decode(&sent.slice(..length));
        let requests = [encode_join(who(), &group(b"g")), encode_kill(who())];
        for sent in requests
            .into_iter()
            .chain([multicast(&[group(b"f"), group(b"g")], b"")])
        {
            for length in 0..sent.len() {
                assert_eq!(
                    cut(sent.clone(), length),
                    Err(Malformed),
                    "{length} of {sent:?}"
                );
            }
        }
    }

    #[test]
    fn bytes_behind_a_request_or_names_too_many_or_too_long_are_refused() {
        let mut longer = encode_kill(who()).to_vec();
        longer.push(0);
        assert_eq!(Envelope::decode(&longer.into()), Err(Malformed));
        let mut count = multicast(&[], &[0; 200]).to_vec();
        let at = count.len() - 201;
        count[at] = 101;
        assert_eq!(Envelope::decode(&count.into()), Err(Malformed));
        let mut length = multicast(&[group(b"g")], &[0; 200]).to_vec();
        let at = length.len() - 202;
        length[at] = 33;
        assert_eq!(Envelope::decode(&length.into()), Err(Malformed));
    }
}
