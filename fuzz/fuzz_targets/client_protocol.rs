//! Spread's client protocol, both sides: any bytes, in pieces of any length.
//!
//! The first byte is the length of the pieces. What a decoder gives must not depend on it.
#![no_main]

use group::handshake::{ClientHandshake, ClientStep, DaemonHandshake, DaemonStep};
use group::name::{DaemonName, Name, PrivateName};
use group::wire::{Frame, FrameDecoder, FrameError, Limits, encode_message};
use group::{Kind, Membership};
use libfuzzer_sys::fuzz_target;

fn frames(
    mut decoder: FrameDecoder,
    bytes: &[u8],
    piece: usize,
) -> (Vec<Frame>, Option<FrameError>) {
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(
            decoder.buffered_bytes() <= bytes.len(),
            "more is held than came"
        );
    }
    (frames, None)
}

fn read_deliveries(bytes: &[u8], piece: usize) {
    let decoder = || FrameDecoder::for_deliveries(Limits::CLIENT);
    let (in_pieces, error) = frames(decoder(), bytes, piece);
    let at_once = frames(decoder(), bytes, bytes.len().max(1));
    assert_eq!((&in_pieces, error), (&at_once.0, at_once.1));
    for frame in in_pieces {
        if frame.header.kind.intersects(Kind::MEMBERSHIP_MESS) {
            let _ = Membership::decode(&frame);
        }
        let mut encoded = Vec::new();
        let fields = frame.groups.iter().map(Name::to_field);
        encode_message(&mut encoded, &frame.header, fields, &frame.data);
        let mut decoder = FrameDecoder::for_deliveries(Limits::CLIENT);
        decoder.feed(&encoded);
        assert!(frame.rejected.is_some() || decoder.next_frame().is_ok());
    }
}

fn greet_daemon(bytes: &[u8], piece: usize) {
    let name = DaemonName::new(b"fuzz").expect("a name");
    let mut handshake = DaemonHandshake::new(name);
    for piece in bytes.chunks(piece) {
        let mut step = handshake.feed(piece);
        if let DaemonStep::Greeted(greeting) = step {
            let invented = PrivateName::new(b"invented").expect("a name");
            step = handshake.admit(greeting.name.unwrap_or(invented));
        }
        if matches!(step, DaemonStep::Accepted { .. } | DaemonStep::Reject(_)) {
            return;
        }
    }
}

fn greet_client(bytes: &[u8], piece: usize) {
    let (mut handshake, _) = ClientHandshake::new(None, true);
    for piece in bytes.chunks(piece) {
        match handshake.feed(piece) {
            ClientStep::NeedMore | ClientStep::Send(_) => {}
            ClientStep::Accepted { .. } | ClientStep::Rejected(_) | ClientStep::Nonsense => return,
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else {
        return;
    };
    let piece = usize::from(piece).max(1);
    let requests = || FrameDecoder::for_requests(Limits::DAEMON);
    assert_eq!(
        frames(requests(), bytes, piece),
        frames(requests(), bytes, bytes.len().max(1))
    );
    read_deliveries(bytes, piece);
    greet_daemon(bytes, piece);
    greet_client(bytes, piece);
});
