//! What the groups have to say, as frames of the client protocol.

use bytes::Bytes;
use group::name::Name;
use group::wire::{self, ByteOrder, Header, Hint, Kind};
use totem::groups::{Cause, GroupEvent, GroupId, GroupName, Membership};

use crate::sessions::Sessions;

/// Queues what the groups have to say, in the client protocol.
pub(super) fn send(event: &GroupEvent, sessions: &mut Sessions) {
    match event {
        GroupEvent::Message {
            to,
            sender,
            attributes,
            destinations,
            payload,
        } => {
            let header = Header {
                kind: data_kind(attributes.type_bits),
                order: ByteOrder::NATIVE,
                name: name(sender),
                group_count: destinations.len() as u32,
                hint: Hint(attributes.hint),
                data_length: payload.len() as u32,
            };
            sessions.send(to, |out| {
                let fields = destinations.iter().map(|destination| *destination.field());
                wire::encode_message(out, &header, fields, payload);
            });
        }
        GroupEvent::Membership { to, membership } => {
            let bytes = encode_membership(membership);
            sessions.send(to, |out| out.extend_from_slice(&bytes));
        }
        GroupEvent::Transition { to, group, gid } => {
            let bytes = wire::encode_transition(&name(group), group_id(*gid));
            sessions.send(to, |out| out.extend_from_slice(&bytes));
        }
        GroupEvent::SelfLeave { to, group } => {
            let bytes = wire::encode_self_leave(&name(group));
            sessions.send(&[*to], |out| out.extend_from_slice(&bytes));
        }
    }
}

/// The type of a message as receivers get it: a service and the one option, nothing that would make
/// it look like a membership.
fn data_kind(type_bits: u32) -> Kind {
    let allowed = Kind::REGULAR_MESS.bits() | Kind::SELF_DISCARD.bits();
    Kind::from_bits(type_bits & allowed)
}

fn encode_membership(membership: &Membership) -> Bytes {
    let cause = match membership.cause {
        Cause::Join(_) => wire::Cause::Join,
        Cause::Leave(_) => wire::Cause::Leave,
        Cause::Disconnect(_) => wire::Cause::Disconnect,
        Cause::Network => wire::Cause::Network,
    };
    let members: Vec<Name> = membership.members.iter().map(name).collect();
    let sets: Vec<Vec<Name>> = membership
        .vs_sets
        .iter()
        .map(|set| set.iter().map(name).collect())
        .collect();
    let gid = group_id(membership.gid);
    wire::encode_membership(
        &name(&membership.group),
        cause,
        gid,
        &members,
        &sets,
        membership.own_set,
    )
}

pub(super) fn name(group: &GroupName) -> Name {
    Name::from_field(group.field())
}

/// A group id as clients see it: three integers, of which the first looks like an address.
pub(crate) fn group_id(gid: GroupId) -> wire::GroupId {
    wire::GroupId {
        proc_id: gid.representative.0 as i32,
        time: gid.time as i32,
        index: gid.index as i32,
    }
}
