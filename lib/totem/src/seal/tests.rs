//! Sealing, seen from both sides.

use std::sync::Arc;

use super::*;
use crate::view::{RingId, ViewMember};

fn member(id: u32) -> ViewMember {
    ViewMember {
        id: MemberId(id),
        incarnation: Incarnation(100 + u64::from(id)),
    }
}

fn view(counter: u64) -> View {
    let ring = RingId {
        counter,
        representative: MemberId(1),
        incarnation: Incarnation(101),
    };
    View {
        ring,
        members: Arc::new([member(1), member(2)]),
    }
}

fn sealer(id: u32, key: Option<u8>) -> Sealer {
    let key = key.map(|byte| Key([byte; 32]));
    let mut sealer = Sealer::new(key.as_ref(), MemberId(id), Incarnation(100 + u64::from(id)));
    sealer.enter_ring(&view(1));
    sealer
}

fn data(from: &mut Sealer, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    from.seal_ring(Kind::Data, &mut out, |out| out.extend_from_slice(body));
    out
}

fn control(from: &mut Sealer, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    from.seal_control(&mut out, |out| out.extend_from_slice(body));
    out
}

fn open_at(to: &mut Sealer, datagram: &[u8]) -> Result<Vec<u8>, Refused> {
    let header = Header::parse(datagram)?;
    let mut plain = Vec::new();
    match header.kind {
        Kind::Control => to.open_control(&header, datagram, &mut plain)?,
        Kind::Data | Kind::Token => {
            to.open_ring(&header, datagram, &mut plain)?;
        }
    }
    Ok(plain)
}

#[test]
fn sealed_packets_open_once_and_hide_their_body() {
    let (mut a, mut b) = (sealer(1, Some(7)), sealer(2, Some(7)));
    for datagram in [
        data(&mut a, b"a body in clear"),
        control(&mut a, b"a body in clear"),
    ] {
        assert!(!datagram.windows(4).any(|window| window == b"body"));
        assert_eq!(
            open_at(&mut b, &datagram).as_deref(),
            Ok(b"a body in clear".as_slice())
        );
        assert_eq!(open_at(&mut b, &datagram), Err(Refused::Replayed));
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (mut a, mut b) = (sealer(1, Some(7)), sealer(2, Some(7)));
    let datagram = data(&mut a, b"payload");
    for bit in 0..datagram.len() * 8 {
        let mut flipped = datagram.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(open_at(&mut b, &flipped).is_err(), "bit {bit}");
    }
    assert!(open_at(&mut b, &datagram).is_ok());
}

#[test]
fn keys_and_modes_do_not_mix() {
    let mut sealed = sealer(1, Some(7));
    let mut open = sealer(1, None);
    let sealed_packet = data(&mut sealed, b"x");
    let open_packet = data(&mut open, b"x");
    assert_eq!(
        open_at(&mut sealer(2, Some(8)), &sealed_packet),
        Err(Refused::ForeignKey)
    );
    assert_eq!(
        open_at(&mut sealer(2, Some(7)), &open_packet),
        Err(Refused::ForeignKey)
    );
    assert_eq!(
        open_at(&mut sealer(2, None), &sealed_packet),
        Err(Refused::ForeignKey)
    );
    assert_eq!(
        open_at(&mut sealer(2, None), &open_packet),
        Ok(b"x".to_vec())
    );
}

#[test]
fn packets_of_another_ring_and_another_life_do_not_open() {
    let (mut a, mut b) = (sealer(1, Some(7)), sealer(2, Some(7)));
    let old = data(&mut a, b"x");
    b.enter_ring(&view(2));
    assert_eq!(open_at(&mut b, &old), Err(Refused::ForeignRing));

    let first_life = control(&mut a, b"x");
    let late = control(&mut a, b"x");
    let mut a = Sealer::new(Some(&Key([7; 32])), MemberId(1), Incarnation(900));
    assert!(open_at(&mut b, &first_life).is_ok());
    assert!(open_at(&mut b, &control(&mut a, b"y")).is_ok());
    assert_eq!(
        open_at(&mut b, &late),
        Err(Refused::Replayed),
        "an older life is over"
    );
}

#[test]
fn a_window_takes_each_counter_once_in_any_order() {
    let mut window = ReplayWindow::new();
    for counter in [5, 1, 4000, 4001, 70, 2, 4096 + 64] {
        assert!(window.is_new(counter), "{counter}");
        window.note(counter);
        assert!(!window.is_new(counter), "{counter} again");
    }
    assert!(!window.is_new(63), "below the window");
    assert!(window.is_new(71));
}

#[test]
fn a_key_serves_a_bounded_number_of_packets() {
    let (mut a, mut b) = (sealer(1, Some(7)), sealer(2, Some(7)));
    a.ring.as_mut().unwrap().counter = (1 << EPOCH_SHIFT) - 2;
    for _ in 0..4 {
        let datagram = data(&mut a, b"x");
        assert_eq!(open_at(&mut b, &datagram), Ok(b"x".to_vec()));
    }
    assert_eq!(b.ring.as_ref().unwrap().peers[0].epoch, 1);
}
