//! The packets of one ring that somebody may still need: a window over the total order.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::Request;

/// How far the highest packet may run ahead of the safe line. A sender stops there, so a store
/// never holds more packets than this.
pub(crate) const GAP_MAX: u64 = 8192;

/// An ordered packet, kept until everybody has it and it is delivered here.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Position of the originator in the ring.
    pub(crate) origin: u16,
    /// Low bits of the hop under which it was first sent.
    pub(crate) hop: u32,
    /// Its chunks.
    pub(crate) body: Bytes,
}

/// Packets by sequence number, from the first that is not discarded.
#[derive(Debug)]
pub(crate) struct Store {
    /// Sequence number of `slots[0]`; everything below is discarded.
    first: u64,
    slots: VecDeque<Option<Packet>>,
    /// Everything up to here was received.
    aru: u64,
}

impl Store {
    pub(crate) fn new() -> Store {
        Store {
            first: 1,
            slots: VecDeque::new(),
            aru: 0,
        }
    }

    /// All received up to.
    pub(crate) fn aru(&self) -> u64 {
        self.aru
    }

    /// Places for packets, those of missing ones too.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Highest packet held.
    pub(crate) fn high(&self) -> u64 {
        self.first + self.slots.len() as u64 - 1
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Packet> {
        let index = seq.checked_sub(self.first)?;
        self.slots.get(usize::try_from(index).ok()?)?.as_ref()
    }

    /// Whether the packet is held or was discarded as delivered everywhere.
    pub(crate) fn has(&self, seq: u64) -> bool {
        seq < self.first || self.get(seq).is_some()
    }

    /// Keeps a packet; false if it is a duplicate or too far ahead to be honest.
    pub(crate) fn insert(&mut self, seq: u64, packet: Packet) -> bool {
        if self.has(seq) || seq > self.first + 2 * GAP_MAX {
            return false;
        }
        let index = (seq - self.first) as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(packet);
        while self.get(self.aru + 1).is_some() {
            self.aru += 1;
        }
        true
    }

    /// Forgets packets up to `seq`, which must not be beyond [`aru`](Store::aru).
    pub(crate) fn discard_to(&mut self, seq: u64) {
        debug_assert!(seq <= self.aru);
        while self.first <= seq.min(self.aru) {
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// Runs of missing packets up to `limit`, at most `runs_max` of them, wanted by `wanted`.
    pub(crate) fn missing(
        &self,
        limit: u64,
        runs_max: usize,
        old_ring: u16,
        wanted: impl Fn(u64) -> bool,
    ) -> Vec<Request> {
        let mut runs: Vec<Request> = Vec::new();
        for seq in self.aru + 1..=limit {
            if self.has(seq) || !wanted(seq) {
                continue;
            }
            let full = runs.len() == runs_max;
            match runs.last_mut() {
                Some(run) if run.first + u64::from(run.count) == seq && run.count < u16::MAX => {
                    run.count += 1;
                }
                _ if full => break,
                _ => runs.push(Request {
                    old_ring,
                    first: seq,
                    count: 1,
                }),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn packet() -> Packet {
        Packet {
            origin: 0,
            hop: 0,
            body: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn aru_stops_at_a_hole_and_requests_name_it() {
        let mut store = Store::new();
        for seq in [1, 2, 5, 6, 9] {
            assert!(store.insert(seq, packet()));
        }
        assert!(!store.insert(5, packet()), "a duplicate");
        assert_eq!((store.aru(), store.high()), (2, 9));
        let run = |first, count| Request {
            old_ring: 0,
            first,
            count,
        };
        assert_eq!(
            store.missing(10, 9, 0, |_| true),
            [run(3, 2), run(7, 2), run(10, 1)]
        );
        assert_eq!(store.missing(10, 1, 0, |_| true), [run(3, 2)]);
        assert_eq!(
            store.missing(10, 9, 0, |seq| seq != 7),
            [run(3, 2), run(8, 1), run(10, 1)]
        );
    }

    #[test]
    fn packets_far_ahead_are_refused() {
        let mut store = Store::new();
        assert!(!store.insert(3 * GAP_MAX, packet()));
        assert_eq!(store.high(), 0);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(script in proptest::collection::vec((1u64..60, any::<bool>()), 0..120)) {
            let mut store = Store::new();
            let mut model = BTreeSet::new();
            let mut discarded = 0;
            for (seq, discard) in script {
                let aru = (discarded + 1..).find(|seq| !model.contains(seq)).unwrap_or(1) - 1;
                prop_assert_eq!(store.aru(), aru);
                if discard {
                    discarded = discarded.max(seq.min(aru));
                    store.discard_to(seq.min(aru));
                } else {
                    prop_assert_eq!(store.insert(seq, packet()), seq > discarded && model.insert(seq));
                }
                for seq in 1..60 {
                    prop_assert_eq!(store.has(seq), seq <= discarded || model.contains(&seq));
                }
            }
        }
    }
}
