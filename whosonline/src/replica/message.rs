//! What replicas say to each other: a line of text, behind which a part has its bytes.

use std::str::FromStr;

use group::Name;

/// A message between replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// To all: what have you got?
    Ask,
    /// To all: what this session has.
    Claim(Claim),
    /// To all: this place in the order is where `source` copies its table for me.
    Take {
        attempt: u32,
        lineage: u64,
        source: Name,
    },
    /// To the taker alone: a part of the snapshot.
    Part {
        attempt: u32,
        number: u32,
        last: bool,
        bytes: &'a [u8],
    },
    /// To the source alone: so many parts have come.
    Taken { attempt: u32, parts: u32 },
}

/// What a replica says of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// What must be equal for tables to be equal.
    pub(super) settings: u64,
    /// Since which time of the stream the table is whole; all ones for never.
    pub(super) since: u64,
    /// Tables of one lineage are equal; 0 for none that others have.
    pub(super) lineage: u64,
}

impl Claim {
    /// The least is the best: whole for longest. None where there is nothing that others have.
    pub(super) fn rank(&self) -> Option<(u64, u64)> {
        (self.lineage != 0).then_some((self.since, self.lineage))
    }

    /// Whether it is for the same settings, and of another lineage, which is better.
    pub(super) fn is_better_than(&self, other: &Claim) -> bool {
        let ranks = self.rank().zip(other.rank());
        self.settings == other.settings
            && self.lineage != other.lineage
            && ranks.is_some_and(|(own, other)| own < other)
    }
}

impl<'a> Message<'a> {
    /// The bytes on the bus.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Message::Ask => b"ask\n".to_vec(),
            Message::Claim(Claim {
                settings,
                since,
                lineage,
            }) => format!("claim {settings} {since} {lineage}\n").into_bytes(),
            Message::Take {
                attempt,
                lineage,
                source,
            } => {
                let mut line = format!("take {attempt} {lineage} ").into_bytes();
                line.extend(source.as_bytes());
                line.push(b'\n');
                line
            }
            Message::Part {
                attempt,
                number,
                last,
                bytes,
            } => {
                let word = if *last { "last" } else { "part" };
                let mut message = format!("{word} {attempt} {number}\n").into_bytes();
                message.extend_from_slice(bytes);
                message
            }
            Message::Taken { attempt, parts } => format!("taken {attempt} {parts}\n").into_bytes(),
        }
    }

    /// Reads a message; none if it is not understood.
    pub(super) fn decode(message: &'a [u8]) -> Option<Message<'a>> {
        let end = memchr::memchr(b'\n', message)?;
        let (line, bytes) = (&message[..end], &message[end + 1..]);
        let mut words = line.split(|&byte| byte == b' ');
        let word = words.next()?;
        let mut next = || words.next();
        Some(match word {
            b"ask" => Message::Ask,
            b"claim" => Message::Claim(Claim {
                settings: number(next()?)?,
                since: number(next()?)?,
                lineage: number(next()?)?,
            }),
            b"take" => Message::Take {
                attempt: number(next()?)?,
                lineage: number(next()?)?,
                source: Name::new(next()?).ok()?,
            },
            b"part" | b"last" => Message::Part {
                attempt: number(next()?)?,
                number: number(next()?)?,
                last: word == b"last",
                bytes,
            },
            b"taken" => Message::Taken {
                attempt: number(next()?)?,
                parts: number(next()?)?,
            },
            _ => return None,
        })
    }
}

fn number<N: FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let source = Name::new(b"#wo12#host").unwrap();
        for message in [
            Message::Ask,
            Message::Claim(Claim {
                settings: 1 << 63,
                since: u64::MAX,
                lineage: 0,
            }),
            Message::Take {
                attempt: 3,
                lineage: 7,
                source,
            },
            Message::Part {
                attempt: 3,
                number: 9,
                last: false,
                bytes: b"\n\0",
            },
            Message::Part {
                attempt: 3,
                number: 10,
                last: true,
                bytes: b"",
            },
            Message::Taken {
                attempt: u32::MAX,
                parts: 0,
            },
        ] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_not_understood(
            word in "ask|claim|take|part|last|taken|x",
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let bytes = [word.as_bytes(), b" ", &rest].concat();
            if let Some(message) = Message::decode(&bytes) {
                let encoded = message.encode();
                prop_assert_eq!(Message::decode(&encoded), Some(message));
            }
        }
    }
}
