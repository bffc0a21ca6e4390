//! What a member is told when it starts: who it is, who the others are, and how patient it is.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::view::{Incarnation, MemberId};

/// A daemon of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberConfig {
    /// Its identity.
    pub id: MemberId,
    /// Index of its segment: members of one segment hear one multicast.
    pub segment: u16,
    /// Its name, and the address of its segment, to be compared with what it says itself.
    pub name: String,
    /// See `name`.
    pub segment_address: SocketAddrV4,
    /// Where its packets come from, to be compared with where they do.
    pub address: Ipv4Addr,
}

/// How patient the failure detector is; every timer follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureDetection {
    /// A silent host is out of the view within 150 ms: an idle, dedicated LAN.
    Fast,
    /// Within 500 ms: a LAN with busy machines.
    #[default]
    Normal,
    /// Within a few seconds: segments far apart.
    Wan,
}

/// The timers, derived from [`FailureDetection`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// No token and no new data for this long: the ring is lost.
    pub token_loss: Duration,
    /// No sign that the successor has the token for this long: it is sent again.
    pub token_retransmit: Duration,
    /// How long the first member of an idle ring keeps its token.
    pub idle_hold: Duration,
    /// How often HELLO is repeated while a membership is gathered (doubling from a quarter of it).
    pub gather_interval: Duration,
    /// How long a gathering member waits for those that do not answer.
    pub gather_timeout: Duration,
    /// How often an unanswered FORM hop is repeated.
    pub form_retransmit: Duration,
    /// How long a frozen member waits for the formation to go on before it gathers again.
    pub form_timeout: Duration,
    /// How often HELLO goes to configured daemons outside the ring.
    pub beacon_interval: Duration,
    /// Probes to a member whose host refused a packet are sent after these delays.
    pub probe_schedule: [Duration; 3],
    /// Silence for this long after the refusal evicts.
    pub probe_timeout: Duration,
}

impl FailureDetection {
    /// The timers of this setting.
    pub fn timers(self) -> Timers {
        let ms = Duration::from_millis;
        let (loss, retransmit, hold, gather, gather_timeout, form, form_timeout, beacon) =
            match self {
                FailureDetection::Fast => (70, 12, 5, 8, 40, 5, 50, 200),
                FailureDetection::Normal => (340, 14, 6, 15, 90, 10, 150, 300),
                FailureDetection::Wan => (2500, 400, 50, 150, 1000, 250, 1500, 500),
            };
        let scale = if self == FailureDetection::Wan { 20 } else { 1 };
        Timers {
            token_loss: ms(loss),
            token_retransmit: ms(retransmit),
            idle_hold: ms(hold),
            gather_interval: ms(gather),
            gather_timeout: ms(gather_timeout),
            form_retransmit: ms(form),
            form_timeout: ms(form_timeout),
            beacon_interval: ms(beacon),
            probe_schedule: [ms(5 * scale), ms(10 * scale), ms(20 * scale)],
            probe_timeout: ms(25 * scale),
        }
    }
}

impl Timers {
    /// A new ring looks for others to merge with after this time, so that several that come at
    /// once are taken in by one view.
    pub(crate) fn merge_settle(&self) -> Duration {
        self.beacon_interval / 4
    }
}

/// The shared secret of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Everything a member is told at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which of `members` this one is.
    pub me: MemberId,
    /// All configured daemons, in ring order. Where members have them in another order, the one with
    /// the lowest id in a ring decides.
    pub members: Vec<MemberConfig>,
    /// Seals every packet if present; without it packets are plain.
    pub key: Option<Key>,
    /// The timers.
    pub timers: Timers,
    /// Largest UDP payload sent in ordinary operation, in bytes: 1472 on Ethernet. 512 to 65000.
    pub datagram_bytes: usize,
    /// What this member's data socket can hold, in bytes; the ring's window follows the smallest.
    pub receive_buffer_bytes: usize,
    /// Messages submitted and not yet ordered may hold this many bytes.
    pub submit_bytes_max: usize,
    /// The version of what the application's members say to each other; a peer with another one is
    /// reported, and not talked to.
    pub compatibility: u64,
}

/// What differs from one life of a member to the next.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Greater than that of every earlier life: nanoseconds of the wall clock will do.
    pub incarnation: Incarnation,
    /// The value of the last [`poll_persist`](crate::Totem::poll_persist) of an earlier life, or 0.
    pub persisted_counter: u64,
    /// The wall clock in seconds, the floor of ring counters; 0 if unknown.
    pub clock_seconds: u64,
    /// Seed of all jitter.
    pub seed: u64,
}
