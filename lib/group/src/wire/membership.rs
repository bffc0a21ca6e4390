//! Messages that daemons write themselves: regular memberships, the transitional signal, and the
//! notice to a session that it has left.
//!
//! Body of a regular membership: group id (3 integers), number of vs sets, byte offset of the
//! receiver's own vs set counted from the first, then each vs set as a count and its names.

use std::fmt;

use bytes::{Buf, Bytes};

use super::{ByteOrder, Frame, HEADER_LENGTH, Header, Hint, Kind};
use crate::name::{NAME_LENGTH, Name};

/// Bytes of a group id.
const GROUP_ID_LENGTH: usize = 12;

/// Bytes of a membership body before the vs sets.
const SETS_AT: usize = GROUP_ID_LENGTH + 8;

/// Identity of one membership of a group, the same at all its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GroupId {
    /// The ring's representative.
    pub proc_id: i32,
    /// When the ring was formed, in seconds.
    pub time: i32,
    /// Grows with every change of the group in one ring.
    pub index: i32,
}

impl GroupId {
    fn encode(self, order: ByteOrder) -> [u8; GROUP_ID_LENGTH] {
        let mut bytes = [0; GROUP_ID_LENGTH];
        for (to, value) in bytes
            .chunks_exact_mut(4)
            .zip([self.proc_id, self.time, self.index])
        {
            to.copy_from_slice(&order.write(value as u32));
        }
        bytes
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.proc_id, self.time, self.index)
    }
}

/// Why a group has a new membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A session joined.
    Join,
    /// A session left.
    Leave,
    /// A session ended.
    Disconnect,
    /// Daemons were lost or found.
    Network,
}

impl Cause {
    const ALL: [Cause; 4] = [Cause::Join, Cause::Leave, Cause::Disconnect, Cause::Network];

    /// The type bit of the cause.
    pub fn kind(self) -> Kind {
        match self {
            Cause::Join => Kind::CAUSED_BY_JOIN,
            Cause::Leave => Kind::CAUSED_BY_LEAVE,
            Cause::Disconnect => Kind::CAUSED_BY_DISCONNECT,
            Cause::Network => Kind::CAUSED_BY_NETWORK,
        }
    }

    /// The word for the cause in output and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Join => "join",
            Cause::Leave => "leave",
            Cause::Disconnect => "disconnect",
            Cause::Network => "network",
        }
    }
}

/// A regular membership of a group, as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Whose membership.
    pub group: Name,
    /// What changed it.
    pub cause: Cause,
    /// The membership's identity.
    pub gid: GroupId,
    /// All members, in the one order that every member sees; not in the order of joining.
    pub members: Vec<Name>,
    /// Members that moved together. For `Network` all of them, for the other causes one set with
    /// the one session that joined, left or ended.
    pub vs_sets: Vec<Vec<Name>>,
    /// Which vs set is the receiver's; means something for `Network` only.
    pub own_set: usize,
}

impl Membership {
    /// Reads a message of kind `REG_MEMB_MESS`, in the byte order of its header.
    ///
    /// Errors: no cause, or a body that does not hold what it claims.
    pub fn decode(frame: &Frame) -> Result<Membership, MembershipError> {
        let cause = Cause::ALL
            .into_iter()
            .find(|cause| frame.header.kind.intersects(cause.kind()))
            .ok_or(MembershipError)?;
        let order = frame.header.order;
        let mut body = frame.data.clone();
        let gid = take_group_id(&mut body, order)?;
        let set_count = take_word(&mut body, order)?;
        let own_offset = take_word(&mut body, order)? as usize;
        let mut vs_sets = Vec::new();
        let mut own_set = None;
        let sets_length = body.len();
        // Bound: each set takes at least 36 bytes of the body.
        for index in 0..set_count {
            if sets_length - body.len() == own_offset {
                own_set = Some(index as usize);
            }
            vs_sets.push(take_set(&mut body, order)?);
        }
        Ok(Membership {
            group: frame.header.name,
            cause,
            gid,
            members: frame.groups.iter().collect(),
            vs_sets,
            own_set: own_set.ok_or(MembershipError)?,
        })
    }
}

/// Reads the body of a transitional signal: the id of the membership that ends.
///
/// Errors: the body is too short.
pub(crate) fn decode_transition(frame: &Frame) -> Result<GroupId, MembershipError> {
    take_group_id(&mut frame.data.clone(), frame.header.order)
}

fn take_word(body: &mut Bytes, order: ByteOrder) -> Result<u32, MembershipError> {
    let bytes = *body.first_chunk().ok_or(MembershipError)?;
    body.advance(4);
    Ok(order.read(bytes))
}

fn take_group_id(body: &mut Bytes, order: ByteOrder) -> Result<GroupId, MembershipError> {
    let mut word = || take_word(body, order).map(|word| word as i32);
    Ok(GroupId {
        proc_id: word()?,
        time: word()?,
        index: word()?,
    })
}

fn take_set(body: &mut Bytes, order: ByteOrder) -> Result<Vec<Name>, MembershipError> {
    let count = take_word(body, order)? as usize;
    if count == 0 {
        // Nobody writes one, and four bytes must not become a whole Vec.
        return Err(MembershipError);
    }
    let length = count.checked_mul(NAME_LENGTH).ok_or(MembershipError)?;
    let names = body.get(..length).ok_or(MembershipError)?;
    let set = names
        .chunks_exact(NAME_LENGTH)
        .map(Name::from_field)
        .collect();
    body.advance(length);
    Ok(set)
}

/// Writes a regular membership as a daemon sends it.
///
/// `members` is the new membership in its one order. `vs_sets` is as in [`Membership`] and must
/// not be empty; the message points to the receiver's set, `own_set` (0 unless `cause` is
/// `Network`).
///
/// Panics: `own_set` is not the index of a set.
pub fn encode_membership<N: AsRef<[u8]>>(
    group: &Name,
    cause: Cause,
    gid: GroupId,
    members: &[N],
    vs_sets: &[impl AsRef<[N]>],
    own_set: usize,
) -> Bytes {
    assert!(
        own_set < vs_sets.len(),
        "a membership message points to one of its vs sets"
    );
    let set_length = |set: &[N]| 4 + NAME_LENGTH * set.len();
    let offset: usize = vs_sets[..own_set]
        .iter()
        .map(|set| set_length(set.as_ref()))
        .sum();
    let sets: usize = vs_sets.iter().map(|set| set_length(set.as_ref())).sum();

    let order = ByteOrder::NATIVE;
    let header = daemon_header(
        Kind::REG_MEMB_MESS | cause.kind(),
        group,
        members.len(),
        SETS_AT + sets,
    );
    let mut message =
        Vec::with_capacity(HEADER_LENGTH + NAME_LENGTH * members.len() + SETS_AT + sets);
    message.extend_from_slice(&header.encode());
    extend_with_names(&mut message, members);
    message.extend_from_slice(&gid.encode(order));
    message.extend_from_slice(&order.write(vs_sets.len() as u32));
    message.extend_from_slice(&order.write(offset as u32));
    for set in vs_sets {
        message.extend_from_slice(&order.write(set.as_ref().len() as u32));
        extend_with_names(&mut message, set.as_ref());
    }
    message.into()
}

/// Writes the transitional signal: `gid` is the membership of `group` that ends.
pub fn encode_transition(group: &Name, gid: GroupId) -> Bytes {
    let header = daemon_header(Kind::TRANSITION_MESS, group, 0, GROUP_ID_LENGTH);
    let mut message = header.encode().to_vec();
    message.extend_from_slice(&gid.encode(ByteOrder::NATIVE));
    message.into()
}

/// Writes the notice to a session that it has left `group`: a header and nothing else.
pub fn encode_self_leave(group: &Name) -> Bytes {
    Bytes::copy_from_slice(&daemon_header(Kind::CAUSED_BY_LEAVE, group, 0, 0).encode())
}

fn daemon_header(kind: Kind, group: &Name, group_count: usize, data_length: usize) -> Header {
    Header {
        kind,
        order: ByteOrder::NATIVE,
        name: *group,
        group_count: group_count as u32,
        hint: Hint::new(0, ByteOrder::NATIVE),
        data_length: data_length as u32,
    }
}

fn extend_with_names<N: AsRef<[u8]>>(message: &mut Vec<u8>, names: &[N]) {
    for name in names {
        message.extend_from_slice(&Name::from_field(name.as_ref()).to_field());
    }
}

/// A membership message whose body does not hold what it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipError;

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a membership message does not hold what it claims")
    }
}

impl std::error::Error for MembershipError {}
