//! Identities: members and their incarnations, rings, and the views that members install.

use std::fmt;
use std::sync::Arc;

/// Identity of a configured daemon, the same in every daemon's configuration.
///
/// groupd uses the IPv4 address of the daemon, as Spread does (`proc_id`), so that group ids on
/// the client protocol look as they always did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0.to_be_bytes();
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

/// One life of a member. A restarted member has a greater incarnation; it is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// Identity of a ring (a regular configuration), unique for ever.
///
/// It is also the ballot under which the ring was formed: `counter` is greater than that of every
/// ring its members were in before, and is at least the wall clock in seconds at the proposer, so
/// it grows across restarts even where a disk was lost. Ordered by counter first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingId {
    /// Grows with every ring that a member installs, across restarts too.
    pub counter: u64,
    /// The member that formed the ring.
    pub representative: MemberId,
    /// The life of the representative: two rings formed by one member never share an id.
    pub incarnation: Incarnation,
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.counter, self.representative)
    }
}

/// A member of a view, in a certain life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewMember {
    /// Which daemon.
    pub id: MemberId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

/// An installed regular configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The ring's identity.
    pub ring: RingId,
    /// The members in ring order, which is that of the configuration of the one with the lowest
    /// id; never empty, the same at all.
    pub members: Arc<[ViewMember]>,
}

impl View {
    /// Position of a member in ring order.
    pub fn position(&self, id: MemberId) -> Option<usize> {
        self.members.iter().position(|member| member.id == id)
    }
}

/// A transitional configuration: the members of `from` that go on to `to` together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The regular configuration that ends.
    pub from: RingId,
    /// The regular configuration that follows.
    pub to: RingId,
    /// Members of `from` that install `to`, in the order of `from`; never empty.
    pub members: Arc<[ViewMember]>,
}
