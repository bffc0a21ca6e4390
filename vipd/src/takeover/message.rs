//! What members tell each other: versioned JSON, one object per message.
//!
//! Sets are indices into the canonical list of the configuration, whose digest is in every STATE.

use serde::{Deserialize, Serialize};

use super::table::Cause;
use crate::balance::Node;
use crate::indices::Indices;

/// The version of the messages; others are counted and ignored.
const VERSION: u32 = 1;

/// Bound: what our tools send at most (design.md, section 6).
const LENGTH_MAX: usize = 131_072;

/// Bound: no member's name is longer.
const NAME_LENGTH_MAX: usize = 64;

/// Bound: bytes of what is wrong with a member.
pub(super) const SICK_LENGTH_MAX: usize = 200;

/// Bound: sets that a member has pinned.
pub(super) const PINS_MAX: usize = 1000;

/// Bound: ranks of preference.
const RANKS_MAX: usize = 64;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Message {
    /// The first message of each member in a view: two numbers that it never says again.
    Hello { incarnation: u64, serial: u64 },
    /// The second one, when all members' HELLOs are there.
    State(State),
    /// A part of the sender's list of sets, in a view whose members have different ones.
    Sets(Part),
    /// What was said in STATE about the sender as a node is now this.
    Node(Node),
    /// The sender has been serving long enough, or has waited long enough.
    Mature {},
    /// The sender's kernel has these sets no longer, which it held in these generations.
    Released { sets: Vec<(u64, Indices)> },
    /// A guardian's RELEASED: the vipd of this session is dead or silent, and its kernel has these
    /// sets no longer, which it held in these generations.
    ReleasedFor {
        session: String,
        /// The digest of the list that the sets are indices of.
        config: u64,
        sets: Vec<(u64, Indices)>,
    },
    /// Planned moves, valid in this round: sets by the index of the member that they go to.
    Move {
        round: u64,
        cause: Cause,
        moves: Vec<(usize, Indices)>,
    },
}

/// A part of a list of sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// The digest of the list.
    pub(super) config: u64,
    /// Which part, from 0, of how many.
    pub(super) part: usize,
    pub(super) parts: usize,
    pub(super) sets: Vec<String>,
}

/// What a member brings into a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The digest of the HELLOs of the view that it is meant for.
    pub(super) hellos: u64,
    /// The digest of the sender's set list.
    pub(super) config: u64,
    /// Whether somebody has been serving before.
    pub(super) mature: bool,
    /// Whether there are members in the view that were not with it in its last complete round.
    pub(super) met: bool,
    /// The greatest generation that it knows.
    pub(super) clock: u64,
    /// The sender as a node.
    pub(super) node: Node,
    /// The sets that are in its kernel, by generation.
    pub(super) holds: Vec<(u64, Indices)>,
}

/// What a guardian tells the group when its vipd is dead or silent: `session` is the vipd's, `sets`
/// what it held, by generation, of the list with the digest `config`.
pub fn released_for(session: &str, config: u64, sets: &[(u64, Indices)]) -> Vec<u8> {
    let message = Message::ReleasedFor {
        session: session.to_owned(),
        config,
        sets: sets.to_vec(),
    };
    message.encode()
}

#[derive(Serialize, Deserialize)]
struct Envelope<M> {
    v: u32,
    #[serde(flatten)]
    message: M,
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let envelope = Envelope {
            v: VERSION,
            message: self,
        };
        serde_json::to_vec(&envelope).expect("messages have text keys only")
    }

    /// None for what is too long, of another version, or makes no sense.
    pub(super) fn decode(data: &[u8]) -> Option<Message> {
        if data.len() > LENGTH_MAX {
            return None;
        }
        let envelope: Envelope<Message> = serde_json::from_slice(data).ok()?;
        let message = envelope.message;
        let named = |node: &Node| {
            let sick = node.sick.as_ref().map_or(0, String::len);
            (1..=NAME_LENGTH_MAX).contains(&node.name.len())
                && sick <= SICK_LENGTH_MAX
                && node.pins.len() <= PINS_MAX
                && node
                    .pins
                    .iter()
                    .all(|pin| pin.node.len() <= NAME_LENGTH_MAX)
                && node.prefers.len() <= RANKS_MAX
        };
        let sound = match &message {
            Message::State(state) => named(&state.node),
            Message::Node(node) => named(node),
            _ => true,
        };
        (envelope.v == VERSION && sound).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(holds: Vec<(u64, Indices)>) -> Message {
        Message::State(State {
            hellos: u64::MAX,
            config: u64::MAX,
            mature: true,
            met: true,
            clock: u64::MAX,
            node: Node {
                name: "web1".into(),
                weight: 1,
                able: Indices::all(10_000),
                ..Node::default()
            },
            holds,
        })
    }

    #[test]
    fn messages_read_back() {
        let set: Indices = [3, 4].into_iter().collect();
        for message in [
            state(vec![(9, set.clone())]),
            Message::Hello {
                incarnation: 1,
                serial: 2,
            },
            Message::Mature {},
            Message::Released {
                sets: vec![(2, set.clone())],
            },
            Message::Move {
                round: 7,
                cause: Cause::Balance,
                moves: vec![(1, set.clone())],
            },
            Message::ReleasedFor {
                session: "#v1#web1".into(),
                config: 9,
                sets: vec![(3, set)],
            },
        ] {
            let bytes = message.encode();
            assert_eq!(
                Message::decode(&bytes),
                Some(message),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    /// 5.18.
    #[test]
    fn ten_thousand_sets_stay_under_16_kb() {
        // The worst that there is: no two neighbours are alike in anything.
        let half = |from: usize| -> Indices { (from..10_000).step_by(2).collect() };
        let Message::State(mut worst) = state(vec![(1, half(0)), (2, half(1))]) else {
            unreachable!("it is a STATE");
        };
        worst.node.able = half(0);
        worst.node.yields = half(1);
        worst.node.prefers = vec![half(1), half(0)];
        let bytes = Message::State(worst).encode();
        assert!(bytes.len() < 16_000, "{}", bytes.len());
    }

    /// 5.28.
    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"v":2,"mature":{}}"#,
            r#"{"v":1,"mature":{"x":1}}"#,
            r#"{"v":1,"fly":{}}"#,
            r#"{"v":1,"released":{"sets":[[1,"99999999"]]}}"#,
            r#"{"v":1,"node":{"name":"","weight":1,"drained":false,"leaving":false,"able":"","prefers":""}}"#,
        ] {
            assert_eq!(Message::decode(text.as_bytes()), None, "{text}");
        }
        assert_eq!(
            Message::decode(br#"{"v":1,"mature":{}}"#),
            Some(Message::Mature {})
        );
        assert_eq!(Message::decode(&vec![b' '; LENGTH_MAX + 1]), None);
    }
}
