//! What publishers and loggers tell each other, in the group `G~` and privately.
//!
//! A message begins with the version and the kind; numbers are big-endian. What is not understood
//! is no record, and whoever receives it ignores it.

#[cfg(test)]
mod tests;

use bytes::{Buf as _, Bytes};

use super::journal::{NAME_BYTES_MAX, Prefix};
use super::{MESSAGE_BYTES_MAX, StreamId};

const VERSION: u8 = 1;

/// Bound: acknowledgements in one record.
pub(super) const ACKS_MAX: usize = 4096;

/// Bound: bytes of an entry in one chunk.
pub(super) const CHUNK_BYTES_MAX: usize = 120_000;

/// Bound: loggers in one list of marks.
const MARKS_MAX: usize = 255;

/// Bound: bytes of a private group's name.
const SESSION_BYTES_MAX: usize = 64;

/// Which membership of `G~` a record belongs to: the group id, as the bus gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewId(pub [u8; 12]);

/// Loggers' joint work, from one `State` to the next: a number within a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoundId {
    pub(super) view: ViewId,
    pub(super) number: u32,
}

/// A record of the control group, or of a private conversation between loggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// Publisher: my next message in the log group starts at this offset of this stream.
    Header { stream: StreamId, offset: u64 },
    /// First participant: everything of these streams before these offsets is committed.
    Ack(Vec<(StreamId, u64)>),
    /// Logger, at the beginning of a round.
    State { round: RoundId, state: State },
    /// Participant: my journal is the best one, on disk.
    Synced { round: RoundId, hash: u64 },
    /// First participant: the round is open.
    Go { round: RoundId },
    /// Participant: what was delivered up to this index of the round is on disk here.
    Durable {
        round: RoundId,
        index: u64,
        prefix: Prefix,
    },
    /// Participant, while it fetches: do not strike me out.
    Alive { round: RoundId },
    /// This logger is silent: go on without it.
    Strike { round: RoundId, session: Box<[u8]> },
    /// Logger that does not take part: I am able to again.
    Rejoin { view: ViewId },
    /// Private: send me what follows this position of your journal; with a hash, if ours agree
    /// up to there.
    Fetch {
        id: u32,
        position: u64,
        hash: Option<u64>,
    },
    /// Private: bytes of the answer, from this offset of it on. An answer is entries one after the
    /// other, each with its length before it.
    Chunk {
        id: u32,
        offset: u64,
        /// The entries up to here stay.
        commit: u64,
        data: Bytes,
    },
    /// Private: the answer was taken up to this offset, send more.
    More { id: u32, offset: u64 },
    /// Private: that was all; it ends at this position.
    End { id: u32, position: u64 },
    /// Private: these entries are not here any more.
    Gone { id: u32, prefix: Prefix },
    /// Private: our journals do not agree up to there.
    Mismatch { id: u32 },
    /// Participant, once a second: its clock, in seconds of the epoch, and what it has of others.
    Tick {
        round: RoundId,
        second: u64,
        marks: Marks,
    },
    /// Logger: an administrator has given up this one.
    Forget { name: String },
    /// Publisher: these bytes of the stream were given up, about so many lines (0: nobody knows).
    /// It stands in the order of the batches, and is acknowledged as they are.
    Gap {
        stream: StreamId,
        start: u64,
        end: u64,
        lines: u64,
    },
}

/// How far a logger has the journals of others, by their names, each on its disk.
pub(super) type Marks = Vec<(String, u64)>;

/// What a logger has, as it says at the beginning of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The name in the list.
    pub(super) name: String,
    pub(super) promise: u64,
    pub(super) last_term: u64,
    pub(super) length: u64,
    pub(super) hash: u64,
    pub(super) entry_bytes: u64,
    /// What its clock shows, in seconds of the epoch.
    pub(super) second: u64,
    /// The hash of its list and quorum.
    pub(super) list: u64,
}

impl Control {
    /// The record as a message.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Writer(vec![VERSION, self.kind()]);
        match self {
            Control::Header { stream, offset } => out.bytes(&stream.0).number(*offset),
            Control::Ack(acks) => {
                for (stream, offset) in acks {
                    out.bytes(&stream.0).number(*offset);
                }
                &mut out
            }
            Control::State { round, state } => {
                for number in [
                    state.promise,
                    state.last_term,
                    state.length,
                    state.hash,
                    state.entry_bytes,
                    state.second,
                    state.list,
                ] {
                    out.number(number);
                }
                out.round(*round).bytes(state.name.as_bytes())
            }
            Control::Synced { round, hash } => out.round(*round).number(*hash),
            Control::Go { round } | Control::Alive { round } => out.round(*round),
            Control::Durable {
                round,
                index,
                prefix,
            } => out.round(*round).number(*index).prefix(*prefix),
            Control::Strike { round, session } => out.round(*round).bytes(session),
            Control::Rejoin { view } => out.bytes(&view.0),
            Control::Fetch { id, position, hash } => {
                out.bytes(&id.to_be_bytes()).number(*position);
                match hash {
                    Some(hash) => out.number(*hash),
                    None => &mut out,
                }
            }
            Control::Chunk {
                id,
                offset,
                commit,
                data,
            } => out
                .bytes(&id.to_be_bytes())
                .number(*offset)
                .number(*commit)
                .bytes(data),
            Control::More { id, offset } => out.bytes(&id.to_be_bytes()).number(*offset),
            Control::End { id, position } => out.bytes(&id.to_be_bytes()).number(*position),
            Control::Gone { id, prefix } => out.bytes(&id.to_be_bytes()).prefix(*prefix),
            Control::Tick {
                round,
                second,
                marks,
            } => {
                out.round(*round).number(*second);
                for (name, position) in marks {
                    out.number(*position)
                        .bytes(&[name.len() as u8])
                        .bytes(name.as_bytes());
                }
                &mut out
            }
            Control::Forget { name } => out.bytes(name.as_bytes()),
            Control::Mismatch { id } => out.bytes(&id.to_be_bytes()),
            Control::Gap {
                stream,
                start,
                end,
                lines,
            } => out
                .bytes(&stream.0)
                .number(*start)
                .number(*end)
                .number(*lines),
        };
        out.0.into()
    }

    fn kind(&self) -> u8 {
        match self {
            Control::Header { .. } => 1,
            Control::Ack(_) => 2,
            Control::State { .. } => 3,
            Control::Synced { .. } => 4,
            Control::Go { .. } => 5,
            Control::Durable { .. } => 6,
            Control::Alive { .. } => 7,
            Control::Strike { .. } => 8,
            Control::Rejoin { .. } => 9,
            Control::Fetch { .. } => 10,
            Control::Chunk { .. } => 11,
            Control::End { .. } => 12,
            Control::Mismatch { .. } => 13,
            Control::Tick { .. } => 16,
            Control::Forget { .. } => 17,
            Control::More { .. } => 18,
            Control::Gone { .. } => 19,
            Control::Gap { .. } => 14,
        }
    }

    /// Reads a message; none if it is no record of this version.
    pub(super) fn decode(data: &Bytes) -> Option<Control> {
        if data.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        let mut input = data.clone();
        if input.try_get_u8().ok()? != VERSION {
            return None;
        }
        let kind = input.try_get_u8().ok()?;
        let record = Self::decode_kind(kind, &mut input)?;
        // All of it, or it is something else.
        input.is_empty().then_some(record)
    }

    fn decode_kind(kind: u8, input: &mut Bytes) -> Option<Control> {
        Some(match kind {
            1 => Control::Header {
                stream: stream(input)?,
                offset: input.try_get_u64().ok()?,
            },
            2 => {
                if input.len() > ACKS_MAX * 24 {
                    return None;
                }
                let mut acks = Vec::with_capacity(input.len() / 24);
                while !input.is_empty() {
                    acks.push((stream(input)?, input.try_get_u64().ok()?));
                }
                Control::Ack(acks)
            }
            3 => state(input)?,
            4 => Control::Synced {
                round: round(input)?,
                hash: input.try_get_u64().ok()?,
            },
            5 => Control::Go {
                round: round(input)?,
            },
            6 => Control::Durable {
                round: round(input)?,
                index: input.try_get_u64().ok()?,
                prefix: prefix(input)?,
            },
            7 => Control::Alive {
                round: round(input)?,
            },
            8 => {
                let round = round(input)?;
                let session = rest(input, SESSION_BYTES_MAX)?;
                Control::Strike {
                    round,
                    session: session.to_vec().into(),
                }
            }
            9 => Control::Rejoin { view: view(input)? },
            10 => Control::Fetch {
                id: input.try_get_u32().ok()?,
                position: input.try_get_u64().ok()?,
                hash: match input.is_empty() {
                    true => None,
                    false => Some(input.try_get_u64().ok()?),
                },
            },
            11 => Control::Chunk {
                id: input.try_get_u32().ok()?,
                offset: input.try_get_u64().ok()?,
                commit: input.try_get_u64().ok()?,
                data: rest(input, CHUNK_BYTES_MAX)?,
            },
            12 => Control::End {
                id: input.try_get_u32().ok()?,
                position: input.try_get_u64().ok()?,
            },
            13 => Control::Mismatch {
                id: input.try_get_u32().ok()?,
            },
            14 => Control::Gap {
                stream: stream(input)?,
                start: input.try_get_u64().ok()?,
                end: input.try_get_u64().ok()?,
                lines: input.try_get_u64().ok()?,
            },
            16 => tick(input)?,
            17 => Control::Forget { name: name(input)? },
            18 => Control::More {
                id: input.try_get_u32().ok()?,
                offset: input.try_get_u64().ok()?,
            },
            19 => Control::Gone {
                id: input.try_get_u32().ok()?,
                prefix: prefix(input)?,
            },
            _ => return None,
        })
    }
}

fn tick(input: &mut Bytes) -> Option<Control> {
    let round = round(input)?;
    let second = input.try_get_u64().ok()?;
    let mut marks = Marks::new();
    while !input.is_empty() {
        let position = input.try_get_u64().ok()?;
        let length = usize::from(input.try_get_u8().ok()?);
        if length > input.len() || marks.len() >= MARKS_MAX {
            return None;
        }
        marks.push((name(&mut input.split_to(length))?, position));
    }
    Some(Control::Tick {
        round,
        second,
        marks,
    })
}

fn name(input: &mut Bytes) -> Option<String> {
    let name = rest(input, NAME_BYTES_MAX)?;
    Some(std::str::from_utf8(&name).ok()?.to_owned())
}

fn stream(input: &mut Bytes) -> Option<StreamId> {
    let mut stream = [0; 16];
    input.try_copy_to_slice(&mut stream).ok()?;
    Some(StreamId(stream))
}

fn view(input: &mut Bytes) -> Option<ViewId> {
    let mut view = [0; 12];
    input.try_copy_to_slice(&mut view).ok()?;
    Some(ViewId(view))
}

fn prefix(input: &mut Bytes) -> Option<Prefix> {
    Some(Prefix {
        length: input.try_get_u64().ok()?,
        hash: input.try_get_u64().ok()?,
    })
}

fn round(input: &mut Bytes) -> Option<RoundId> {
    Some(RoundId {
        view: view(input)?,
        number: input.try_get_u32().ok()?,
    })
}

fn state(input: &mut Bytes) -> Option<Control> {
    let mut numbers = [0; 7];
    for number in &mut numbers {
        *number = input.try_get_u64().ok()?;
    }
    let [promise, last_term, length, hash, entry_bytes, second, list] = numbers;
    let round = round(input)?;
    let state = State {
        name: name(input)?,
        promise,
        last_term,
        length,
        hash,
        entry_bytes,
        second,
        list,
    };
    Some(Control::State { round, state })
}

fn rest(input: &mut Bytes, bytes_max: usize) -> Option<Bytes> {
    (input.len() <= bytes_max).then(|| input.split_off(0))
}

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    fn number(&mut self, number: u64) -> &mut Writer {
        self.bytes(&number.to_be_bytes())
    }

    fn prefix(&mut self, prefix: Prefix) -> &mut Writer {
        self.number(prefix.length).number(prefix.hash)
    }

    fn round(&mut self, round: RoundId) -> &mut Writer {
        self.bytes(&round.view.0).bytes(&round.number.to_be_bytes())
    }
}
