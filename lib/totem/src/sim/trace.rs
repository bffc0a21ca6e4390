//! What the oracle sees: one stream of records of all processes, in the order of simulated time.
//!
//! A message carries its identity in front of its bytes, so that two equal messages are two; the
//! world puts it there when the group layer submits and takes it away at delivery.

use std::fmt;

use crate::event::Service;
use crate::time::Time;
use crate::view::{MemberId, Transition, View, ViewMember};

/// Number of a process: one life of a member, in the order of the starts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

/// Which of the two ways into the ring a message took; each of them is first in, first out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// [`submit`](crate::Totem::submit).
    Queue,
    /// [`submit_first`](crate::Totem::submit_first).
    First,
}

/// Identity of a message: the `sequence`-th that a process submitted on a lane, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Who submitted it.
    pub process: ProcessId,
    /// On which lane.
    pub lane: Lane,
    /// How many came before it.
    pub sequence: u32,
}

impl MessageId {
    /// Length of the identity in front of a message.
    pub const BYTES: usize = 9;

    /// The bytes that go in front of a message.
    pub fn encode(self) -> [u8; MessageId::BYTES] {
        let mut bytes = [0; MessageId::BYTES];
        bytes[..4].copy_from_slice(&self.process.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8] = u8::from(self.lane == Lane::First);
        bytes
    }

    /// Reads the identity off a message; `None` if nothing of ours wrote it.
    pub fn decode(message: &[u8]) -> Option<MessageId> {
        let word = |at: usize| {
            Some(u32::from_be_bytes(
                message.get(at..at + 4)?.try_into().ok()?,
            ))
        };
        let lane = match message.get(8)? {
            0 => Lane::Queue,
            1 => Lane::First,
            _ => return None,
        };
        Some(MessageId {
            process: ProcessId(word(0)?),
            lane,
            sequence: word(4)?,
        })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lane = if self.lane == Lane::First { "!" } else { "" };
        write!(f, "m{}.{lane}{}", self.process.0, self.sequence)
    }
}

/// Something that happened at a process, as its ring showed it.
#[derive(Clone, Debug)]
pub enum What {
    /// It came to life.
    Start {
        /// Which life of which member.
        member: ViewMember,
        /// The order of the members in its configuration.
        order: Vec<MemberId>,
        /// The disk with the ring counter was lost since the last life.
        disk_lost: bool,
    },
    /// It submitted a message.
    Submit {
        /// Identity.
        message: MessageId,
        /// Service asked for.
        service: Service,
        /// Hash of the bytes.
        hash: u64,
    },
    /// It delivered a message.
    Deliver {
        /// Identity, as read off the bytes; `None` if they carry none.
        message: Option<MessageId>,
        /// Sender, as the ring says.
        sender: MemberId,
        /// Service, as the ring says.
        service: Service,
        /// Hash of the bytes.
        hash: u64,
    },
    /// A transitional configuration began.
    Transitional(Transition),
    /// A regular configuration began.
    Regular(View),
    /// It stored a ring counter.
    Persisted(u64),
    /// It left cleanly: nothing more comes from it.
    Left,
    /// It crashed, with everything that was not on its disk.
    Crash,
}

/// A record of the trace.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: Time,
    /// Where.
    pub process: ProcessId,
    /// What.
    pub what: What,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>12.6} p{:<3} ",
            self.at.0 as f64 / 1e9,
            self.process.0
        )?;
        match &self.what {
            What::Start {
                member, disk_lost, ..
            } => {
                write!(
                    f,
                    "start {} life={} disk-lost={disk_lost}",
                    member.id, member.incarnation.0
                )
            }
            What::Submit {
                message, service, ..
            } => write!(f, "submit {message} {service:?}"),
            What::Deliver {
                message: Some(message),
                service,
                ..
            } => write!(f, "deliver {message} {service:?}"),
            What::Deliver {
                message: None,
                sender,
                ..
            } => write!(f, "deliver unknown from {sender}"),
            What::Transitional(transition) => {
                write!(f, "transitional {} -> {} ", transition.from, transition.to)?;
                write_members(f, &transition.members)
            }
            What::Regular(view) => {
                write!(f, "regular {} ", view.ring)?;
                write_members(f, &view.members)
            }
            What::Persisted(counter) => write!(f, "persisted {counter}"),
            What::Left => f.write_str("left"),
            What::Crash => f.write_str("crash"),
        }
    }
}

fn write_members(f: &mut fmt::Formatter<'_>, members: &[ViewMember]) -> fmt::Result {
    f.write_str("[")?;
    for (index, member) in members.iter().enumerate() {
        let blank = if index == 0 { "" } else { " " };
        write!(f, "{blank}{}", member.id)?;
    }
    f.write_str("]")
}

/// A hash over words and bytes: multiply and fold, for equality of runs and of messages, not
/// against anybody who means harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Digest {
        Digest(0x243f_6a88_85a3_08d3)
    }
}

impl Digest {
    /// Digest of some bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::default();
        digest.bytes(bytes);
        digest.value()
    }

    /// Adds a word.
    pub fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(32);
    }

    /// Adds bytes and their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.word(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        let mut last = [0; 8];
        last[..words.remainder().len()].copy_from_slice(words.remainder());
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    /// Adds a record.
    pub fn record(&mut self, record: &Record) {
        self.word(record.at.0);
        self.word(u64::from(record.process.0));
        match &record.what {
            What::Start {
                member,
                order,
                disk_lost,
            } => {
                self.members(&[*member]);
                order.iter().for_each(|id| self.word(u64::from(id.0)));
                self.word(u64::from(*disk_lost));
            }
            What::Submit {
                message,
                service,
                hash,
            } => {
                self.bytes(&message.encode());
                self.word(*service as u64);
                self.word(*hash);
            }
            What::Deliver {
                message,
                sender,
                service,
                hash,
            } => {
                self.bytes(&message.map_or([0xff; MessageId::BYTES], MessageId::encode));
                self.word(u64::from(sender.0));
                self.word(*service as u64);
                self.word(*hash);
            }
            What::Transitional(transition) => {
                self.word(transition.from.counter);
                self.word(transition.to.counter);
                self.members(&transition.members);
            }
            What::Regular(view) => {
                self.word(view.ring.counter);
                self.word(u64::from(view.ring.representative.0));
                self.members(&view.members);
            }
            What::Persisted(counter) => self.word(*counter),
            What::Left => self.word(1),
            What::Crash => self.word(2),
        }
    }

    fn members(&mut self, members: &[ViewMember]) {
        for member in members {
            self.word(u64::from(member.id.0));
            self.word(member.incarnation.0);
        }
    }

    /// The digest so far.
    pub fn value(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_a_message_survives_its_bytes() {
        let id = MessageId {
            process: ProcessId(77),
            lane: Lane::First,
            sequence: 123_456,
        };
        assert_eq!(MessageId::decode(&id.encode()), Some(id));
        assert_eq!(MessageId::decode(&id.encode()[..8]), None);
        assert_eq!(MessageId::decode(&[9; 20]), None);
    }

    #[test]
    fn digests_differ_where_bytes_differ() {
        let mut seen: Vec<u64> = (0..32).map(|length| Digest::of(&vec![0; length])).collect();
        seen.extend((0..64).map(|bit| Digest::of(&(1u64 << bit).to_le_bytes())));
        seen.push(Digest::of(&[1; 16]));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
