//! Counters of a member since its start.

/// Counters since the start; each only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tokens handled.
    pub tokens: u64,
    /// Tokens sent again because the successor gave no sign.
    pub tokens_retransmitted: u64,
    /// Times the token was late and the members were asked whether they are there.
    pub roll_calls: u64,
    /// Data packets sealed, repeated ones too.
    pub data_sent: u64,
    /// Data packets received for the first time.
    pub data_received: u64,
    /// Data packets received again.
    pub duplicates: u64,
    /// Packets repeated because somebody asked.
    pub retransmitted: u64,
    /// Packets asked for.
    pub requested: u64,
    /// Datagrams of other segments passed on in mine.
    pub relayed: u64,
    /// Regular views installed.
    pub views: u64,
    /// Times a membership was gathered.
    pub gathers: u64,
    /// Formations that were given up.
    pub formations_failed: u64,
    /// Merges proposed.
    pub merges: u64,
    /// Packets that are none, or malformed inside.
    pub garbage: u64,
    /// Packets sealed with another key, or plain.
    pub foreign_key: u64,
    /// Packets of a ring that is not ours.
    pub foreign_ring: u64,
    /// Packets seen before.
    pub replayed: u64,
    /// Packets of members that are not configured.
    pub unknown_sender: u64,
    /// Unicast packets that a host refused.
    pub refused: u64,
}
