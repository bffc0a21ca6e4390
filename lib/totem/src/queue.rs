//! Messages on their way into packets: queued, packed without gaps, cut where a packet is full.
//!
//! A packet body is a run of chunks, `head u8 | length u16 | bytes`; the head holds the service
//! and whether the chunk begins or ends its message. A body that has no room for another chunk is
//! padded with zeros, so that all packets of a burst but the last are equal (UDP_SEGMENT).

use std::collections::VecDeque;

use bytes::{BufMut, Bytes};

use crate::event::Service;
use crate::mutant::{Mutant, planted};

const FIRST: u8 = 8;
const LAST: u8 = 16;
/// Head and length of a chunk.
pub(crate) const CHUNK_HEADER_BYTES: usize = 3;

/// The longest message of the ring.
///
/// Spread's longest (143,952 bytes) with a hundred names and an envelope fits.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// A piece of a message in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) service: Service,
    pub(crate) first: bool,
    pub(crate) last: bool,
    pub(crate) bytes: Bytes,
}

impl Chunk {
    /// The chunk at `offset` of a body and the offset behind it; `None` at the end.
    ///
    /// What a member cannot have sent ends the body: the rest is padding to us.
    pub(crate) fn at(body: &Bytes, offset: usize) -> Option<(Chunk, usize)> {
        let head = *body.get(offset)?;
        let length = body.get(offset + 1..offset + CHUNK_HEADER_BYTES)?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let start = offset + CHUNK_HEADER_BYTES;
        let service = service_of(head & 7)?;
        if start + length > body.len() {
            return None;
        }
        let bytes = body.slice(start..start + length);
        let chunk = Chunk {
            service,
            first: head & FIRST != 0,
            last: head & LAST != 0,
            bytes,
        };
        Some((chunk, start + length))
    }
}

/// Zero is padding, so services count from one.
fn service_code(service: Service) -> u8 {
    match service {
        Service::Reliable => 1,
        Service::Fifo => 2,
        Service::Causal => 3,
        Service::Agreed => 4,
        Service::Safe => 5,
    }
}

fn service_of(code: u8) -> Option<Service> {
    Some(match code {
        1 => Service::Reliable,
        2 => Service::Fifo,
        3 => Service::Causal,
        4 => Service::Agreed,
        5 => Service::Safe,
        _ => return None,
    })
}

/// The queue already holds as much as it may; submit again when the ring has taken some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// Messages that have no place in the order yet.
///
/// A message leaves only when its last piece is packed: until then a new view starts it again, so
/// that nobody is ever given half a message.
#[derive(Debug)]
pub(crate) struct SendQueue {
    messages: VecDeque<(Service, Bytes)>,
    /// How much of `messages[0]` is packed already.
    packed: usize,
    bytes: usize,
    // Bound: `submit` refuses above this.
    bytes_max: usize,
}

impl SendQueue {
    pub(crate) fn new(bytes_max: usize) -> SendQueue {
        SendQueue {
            messages: VecDeque::new(),
            packed: 0,
            bytes: 0,
            bytes_max,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes queued, counting what each message costs beside its bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn cost(data: &Bytes) -> usize {
        data.len() + 64
    }

    pub(crate) fn push(&mut self, service: Service, data: Bytes) -> Result<(), QueueFull> {
        if self.bytes >= self.bytes_max {
            return Err(QueueFull);
        }
        self.bytes += SendQueue::cost(&data);
        self.messages.push_back((service, data));
        Ok(())
    }

    /// Queues ahead of everything that is not partly packed.
    pub(crate) fn push_first(&mut self, batch: Vec<(Service, Bytes)>) {
        let at = usize::from(self.packed > 0);
        for (index, (service, data)) in batch.into_iter().enumerate() {
            self.bytes += SendQueue::cost(&data);
            self.messages.insert(at + index, (service, data));
        }
    }

    /// A new view: the message that is partly packed starts again.
    pub(crate) fn rewind(&mut self) {
        if planted(Mutant::LostOwnMessage) && self.packed > 0 {
            let lost = self.messages.pop_front();
            self.bytes -= lost.map_or(0, |(_, data)| SendQueue::cost(&data));
        }
        if !planted(Mutant::HalfMessage) {
            self.packed = 0;
        }
    }

    /// Fills one packet body of at most `capacity` bytes; `None` if nothing is queued.
    pub(crate) fn pack(&mut self, capacity: usize) -> Option<Vec<u8>> {
        if self.messages.is_empty() {
            return None;
        }
        let mut body = Vec::with_capacity(capacity);
        while let Some((service, data)) = self.messages.front() {
            let room = capacity - body.len();
            let left = data.len() - self.packed;
            // A chunk carries a byte or more, unless its whole message is empty.
            if room < CHUNK_HEADER_BYTES + usize::from(left > 0) {
                body.resize(capacity, 0);
                break;
            }
            let length = left
                .min(room - CHUNK_HEADER_BYTES)
                .min(usize::from(u16::MAX));
            let last = length == left;
            let first = self.packed == 0;
            let mut head = service_code(*service);
            head |= if first { FIRST } else { 0 } | if last { LAST } else { 0 };
            body.put_u8(head);
            body.put_u16_le(length as u16);
            body.put_slice(&data[self.packed..self.packed + length]);
            if last {
                self.bytes -= SendQueue::cost(data);
                self.packed = 0;
                self.messages.pop_front();
            } else {
                self.packed += length;
            }
        }
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunks(body: Vec<u8>) -> Vec<Chunk> {
        let body = Bytes::from(body);
        let mut offset = 0;
        let mut chunks = Vec::new();
        while let Some((chunk, next)) = Chunk::at(&body, offset) {
            chunks.push(chunk);
            offset = next;
        }
        chunks
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut queue = SendQueue::new(100);
        assert_eq!(
            queue.push(Service::Agreed, Bytes::from(vec![0; 200])),
            Ok(())
        );
        assert_eq!(queue.push(Service::Agreed, Bytes::new()), Err(QueueFull));
        while queue.pack(100).is_some() {}
        assert_eq!(
            (queue.bytes(), queue.push(Service::Agreed, Bytes::new())),
            (0, Ok(()))
        );
    }

    #[test]
    fn a_new_view_starts_the_message_again_behind_what_goes_first() {
        let mut queue = SendQueue::new(1000);
        queue
            .push(Service::Agreed, Bytes::from(vec![7; 60]))
            .unwrap();
        let before = chunks(queue.pack(40).unwrap());
        assert!(before[0].first && !before[0].last);
        queue.rewind();
        queue.push_first(vec![(Service::Agreed, Bytes::from_static(b"state"))]);
        let after = chunks(queue.pack(100).unwrap());
        assert_eq!(after[0].bytes, b"state"[..]);
        assert!(after[1].first && after[1].last && after[1].bytes.len() == 60);
    }

    #[test]
    fn padding_and_nonsense_end_a_body() {
        for body in [&[0u8, 0, 0][..], &[1], &[1, 5, 0, 1], &[7, 1, 0, 1], &[]] {
            assert_eq!(Chunk::at(&Bytes::copy_from_slice(body), 0), None);
        }
    }

    proptest! {
        #[test]
        fn packets_are_full_and_messages_come_back_whole(
            lengths in proptest::collection::vec(0usize..300, 1..40),
            capacity in 20usize..400,
        ) {
            let mut queue = SendQueue::new(usize::MAX);
            for (index, &length) in lengths.iter().enumerate() {
                queue.push(Service::Safe, Bytes::from(vec![index as u8; length])).unwrap();
            }
            let mut bodies = Vec::new();
            while let Some(body) = queue.pack(capacity) {
                bodies.push(body);
            }
            let (last, full) = bodies.split_last().unwrap();
            prop_assert!(last.len() <= capacity && full.iter().all(|body| body.len() == capacity));
            let mut messages = Vec::new();
            let mut message = Vec::new();
            for chunk in bodies.into_iter().flat_map(chunks) {
                prop_assert_eq!(chunk.first, message.is_empty());
                message.extend_from_slice(&chunk.bytes);
                if chunk.last {
                    messages.push(std::mem::take(&mut message));
                }
            }
            let expected: Vec<_> =
                lengths.iter().enumerate().map(|(index, &length)| vec![index as u8; length]).collect();
            prop_assert_eq!(messages, expected);
        }
    }
}
