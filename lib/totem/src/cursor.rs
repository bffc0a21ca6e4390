//! Delivery: walks the total order of one ring and puts messages together again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::event::{Delivery, Event, Service};
use crate::mutant::{Mutant, planted};
use crate::queue::{Chunk, MESSAGE_BYTES_MAX};
use crate::store::{Packet, Store};
use crate::view::View;

/// A message whose last piece has not come yet.
#[derive(Debug)]
struct Partial {
    // Bound: MESSAGE_BYTES_MAX; a longer one is dropped, as no member sends it.
    bytes: Vec<u8>,
}

/// Place in the total order up to which messages were delivered.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// The packet that is delivered next.
    seq: u64,
    /// The chunk of it that is delivered next, as an offset into its body.
    offset: usize,
    /// At most one for each originator: pieces of one sender's messages do not interleave.
    partial: BTreeMap<u16, Partial>,
}

impl Cursor {
    pub(crate) fn new() -> Cursor {
        Cursor {
            seq: 1,
            offset: 0,
            partial: BTreeMap::new(),
        }
    }

    /// The packet that is delivered next; all before it are done with.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes of messages whose last piece has not come yet.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.partial
            .values()
            .map(|partial| partial.bytes.len())
            .sum()
    }

    /// Delivers what has no hole before it, up to packet `limit`; a Safe message waits until
    /// its last packet is at most `safe_limit`, and everything behind waits with it.
    pub(crate) fn deliver(
        &mut self,
        store: &Store,
        view: &View,
        limit: u64,
        safe_limit: u64,
        out: &mut VecDeque<Event>,
    ) {
        while self.seq <= limit {
            let Some(packet) = store.get(self.seq) else {
                return;
            };
            if !self.deliver_packet(packet, view, self.seq <= safe_limit, out) {
                return;
            }
            self.step();
        }
    }

    /// Goes on behind a hole: the packet is lost, or not to be delivered.
    ///
    /// Pieces of messages of originators that may have lost one here are thrown away; `complete`
    /// says whose packets are all at hand.
    pub(crate) fn skip(&mut self, complete: impl Fn(u16) -> bool) {
        self.partial.retain(|&origin, _| complete(origin));
        self.step();
    }

    /// Goes on to the next packet.
    pub(crate) fn step(&mut self) {
        self.seq += 1;
        self.offset = 0;
    }

    /// Delivers the rest of one packet; false if it stopped before a Safe message.
    pub(crate) fn deliver_packet(
        &mut self,
        packet: &Packet,
        view: &View,
        safe: bool,
        out: &mut VecDeque<Event>,
    ) -> bool {
        while let Some((chunk, next)) = Chunk::at(&packet.body, self.offset) {
            if chunk.last && chunk.service == Service::Safe && !safe {
                return false;
            }
            self.offset = next;
            let service = chunk.service;
            if let Some(data) = self.assemble(packet.origin, chunk) {
                let sender = view.members[usize::from(packet.origin)].id;
                out.push_back(Event::Deliver(Delivery {
                    sender,
                    service,
                    data,
                }));
            }
        }
        true
    }

    /// Adds a chunk to its message and returns the message if it is whole.
    fn assemble(&mut self, origin: u16, chunk: Chunk) -> Option<Bytes> {
        if chunk.first && chunk.last {
            self.partial.remove(&origin);
            return Some(chunk.bytes);
        }
        if chunk.first {
            self.partial.insert(
                origin,
                Partial {
                    bytes: chunk.bytes.to_vec(),
                },
            );
            return None;
        }
        if planted(Mutant::HalfMessage) {
            self.partial
                .entry(origin)
                .or_insert(Partial { bytes: Vec::new() });
        }
        // The beginning was lost with a hole: so is the rest.
        let partial = self.partial.get_mut(&origin)?;
        if partial.bytes.len() + chunk.bytes.len() > MESSAGE_BYTES_MAX {
            self.partial.remove(&origin);
            return None;
        }
        partial.bytes.extend_from_slice(&chunk.bytes);
        if !chunk.last {
            return None;
        }
        self.partial
            .remove(&origin)
            .map(|partial| Bytes::from(partial.bytes))
    }
}
