//! Bodies there and back, and bytes that are none.

use proptest::prelude::*;

use super::*;
use crate::outline::Outline;

fn member(id: u32) -> ViewMember {
    ViewMember {
        id: MemberId(id),
        incarnation: Incarnation(u64::from(id) << 33 | 7),
    }
}

fn ring(counter: u64) -> RingId {
    RingId {
        counter,
        representative: MemberId(1),
        incarnation: Incarnation(9),
    }
}

fn round_trip(control: &Control) {
    let mut out = Vec::new();
    control.put(&mut out);
    assert_eq!(Control::get(&out).as_ref(), Ok(control));
    for length in 0..out.len() {
        assert_eq!(
            Control::get(&out[..length]),
            Err(Malformed),
            "cut at {length}"
        );
    }
    out.push(0);
    assert_eq!(Control::get(&out), Err(Malformed), "one byte more");
}

#[test]
fn control_messages_round_trip() {
    let mut held = Held::default();
    held.insert(0);
    held.insert(17);
    round_trip(&Control::Hello(Hello {
        compatibility: 3,
        ring: ring(5),
        gathering: true,
        promised: ring(8),
        counter: 9,
        members: vec![member(1), member(2)],
        heard: vec![Heard {
            member: member(3),
            mutual: true,
        }],
        gone: vec![member(2)],
        outline: Outline {
            name: "mail".into(),
            segment: "10.0.0.255:4803".parse().unwrap(),
            token_loss_ms: 300,
            datagram_bytes: 1472,
        },
    }));
    round_trip(&Control::Form(Form {
        pass: 2,
        ring: ring(10),
        members: vec![member(1), member(2)],
        window: 100,
        old_rings: vec![OldRing {
            ring: ring(5),
            members: vec![0, 1],
            stable: 3,
            aru: 4,
            held,
            obligations: vec![member(3)],
        }],
    }));
    round_trip(&Control::FormAck {
        ring: ring(1),
        pass: 1,
    });
    round_trip(&Control::Leave { ring: ring(1) });
    round_trip(&Control::Suspect {
        ring: ring(1),
        member: member(4),
    });
    round_trip(&Control::Probe { nonce: 5 });
    round_trip(&Control::ProbeAnswer { nonce: 5 });
    round_trip(&Control::Kick { ring: ring(1) });
}

#[test]
fn token_round_trips() {
    let token = Token {
        hop: 1,
        seq: 2,
        aru: 1,
        aru_by: 3,
        recovered: true,
        recovered_by: NOBODY,
        congested_by: 2,
        rotation_packets: 4,
        backlog_bytes: 5,
        requests: vec![Request {
            old_ring: 1,
            first: 6,
            count: 7,
        }],
    };
    let mut out = Vec::new();
    token.put(&mut out);
    assert_eq!(Token::get(&out), Ok(token));
    assert_eq!(Token::get(&out[..out.len() - 1]), Err(Malformed));
}

#[test]
fn held_counts_from_the_line() {
    let mut old = OldRing {
        ring: ring(1),
        members: vec![0],
        stable: 0,
        aru: 10,
        held: Held::default(),
        obligations: Vec::new(),
    };
    assert_eq!(old.high(), 10);
    old.held.insert(2);
    assert_eq!(
        (old.high(), old.holds(10), old.holds(11), old.holds(13)),
        (13, true, false, true)
    );
    assert!(!old.holds(14));
}

#[test]
fn a_number_that_nobody_can_have_come_to_is_refused() {
    let token = |hop| {
        let mut out = Vec::new();
        Token {
            hop,
            ..Token::default()
        }
        .put(&mut out);
        Token::get(&out).map(|token| token.hop)
    };
    assert_eq!(token((1 << 63) - 1), Ok((1 << 63) - 1));
    assert_eq!(token(1 << 63), Err(Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_parsed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Token::get(&bytes);
        if let Ok(control) = Control::get(&bytes) {
            let mut out = Vec::new();
            control.put(&mut out);
            prop_assert_eq!(out, bytes);
        }
    }
}
