//! What the ring delivers to the process groups, from a member whose bytes are anything.
//!
//! The input is a list of envelopes, each behind its length and its sender.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use totem::event::{Delivery, Service};
use totem::groups::Groups;
use totem::view::{Incarnation, MemberId, RingId, Transition, View, ViewMember};

fn view(counter: u64, members: &[u32]) -> View {
    View {
        ring: RingId {
            counter,
            representative: MemberId(1),
            incarnation: Incarnation(1),
        },
        members: members
            .iter()
            .map(|&id| ViewMember {
                id: MemberId(id),
                incarnation: Incarnation(1),
            })
            .collect(),
    }
}

fuzz_target!(|input: &[u8]| {
    let names = BTreeMap::from([(MemberId(1), "one".into()), (MemberId(2), "two".into())]);
    let mut groups = Groups::new(MemberId(1), names);
    let mut out = Vec::new();
    let mut submitted = Vec::new();
    groups.handle_regular(&view(7, &[1, 2]), &mut out, &mut submitted);
    for data in submitted.drain(..) {
        // The other one's table is the same as ours: nobody is there yet.
        for sender in [1, 2].map(MemberId) {
            let table = Delivery {
                sender,
                service: Service::Agreed,
                data: data.clone(),
            };
            groups.handle_delivery(&table, &mut out);
            while groups.advance(&mut out) {}
        }
    }
    let mut rest = input;
    while let Some((&[length, sender], tail)) = rest.split_first_chunk() {
        let (data, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        let delivery = Delivery {
            sender: MemberId(u32::from(sender % 3)),
            service: Service::Agreed,
            data: Bytes::copy_from_slice(data),
        };
        groups.handle_delivery(&delivery, &mut out);
        groups.advance(&mut out);
        if sender > 250 {
            let (from, to) = (view(7, &[1, 2]), view(8, &[1, 2]));
            let transition = Transition {
                from: from.ring,
                to: to.ring,
                members: from.members,
            };
            groups.handle_transitional(&transition, &mut out);
            groups.handle_regular(&to, &mut out, &mut submitted);
        }
    }
});
