//! What a publisher does with a spool, and what it is told.

use super::*;

const STREAM: StreamId = StreamId([1; 16]);
const LOGGER: &[u8] = b"#=a#host";

fn members() -> Vec<SessionName> {
    vec![LOGGER.into(), (*b"#~p#host").into()]
}

fn ack(publisher: &mut Publisher, end: u64) {
    let record = Control::Ack(vec![(StreamId([2; 16]), 1), (STREAM, end)]);
    publisher.handle_control(LOGGER, &record.encode());
}

/// Does what the publisher wants; gives the offsets of headers and the data that went out.
fn run(publisher: &mut Publisher, spool: &[u8]) -> (Vec<u64>, Vec<Bytes>) {
    let (mut headers, mut data) = (Vec::new(), Vec::new());
    while let Some(action) = publisher.poll_action() {
        match action {
            PublisherAction::Read { offset, length } => {
                let bytes = &spool[offset as usize..][..length];
                publisher.handle_read(offset, Bytes::copy_from_slice(bytes));
            }
            PublisherAction::Control(bytes) => match Control::decode(&bytes) {
                Some(Control::Header { stream, offset }) if stream == STREAM => {
                    headers.push(offset)
                }
                other => panic!("{other:?}"),
            },
            PublisherAction::Data { data: bytes, .. } => data.push(bytes),
            PublisherAction::Acknowledged(_) => {}
        }
    }
    (headers, data)
}

#[test]
fn publishes_when_heard_and_again_after_a_reset() {
    let spool = b"one\ntwo\nthree\n";
    let mut publisher = Publisher::new(STREAM, 0);
    publisher.handle_spooled(8);
    assert_eq!(run(&mut publisher, spool), (vec![], vec![]));
    publisher.handle_membership(&members(), false);
    assert_eq!(run(&mut publisher, spool), (vec![0], vec![]));
    ack(&mut publisher, 0);
    assert_eq!(run(&mut publisher, spool).1, ["one\ntwo\n"]);
    // A membership that no logger is concerned by changes nothing.
    publisher.handle_membership(&members()[..1], false);
    publisher.handle_spooled(14);
    assert_eq!(run(&mut publisher, spool), (vec![], vec!["three\n".into()]));
    ack(&mut publisher, 8);
    publisher.handle_membership(&members(), true);
    assert_eq!(run(&mut publisher, spool), (vec![8], vec![]));
    ack(&mut publisher, 99);
    assert_eq!(run(&mut publisher, spool), (vec![], vec![]));
    // Acknowledged further than this session has come: the rest only.
    ack(&mut publisher, 14);
    assert_eq!(run(&mut publisher, spool).0, [14]);
    assert!(publisher.is_drained());
}

#[test]
fn what_is_unacknowledged_is_bounded() {
    let spool = b"0123456\n".repeat(1 << 20);
    let mut publisher = Publisher::new(STREAM, 0);
    publisher.handle_spooled(spool.len() as u64);
    publisher.handle_membership(&members(), false);
    ack(&mut publisher, 0);
    let sent: usize = run(&mut publisher, &spool).1.iter().map(Bytes::len).sum();
    assert_eq!(sent as u64, WINDOW_BYTES);
    ack(&mut publisher, 131_072);
    assert_eq!(run(&mut publisher, &spool).1.len(), 1);
    let mut publisher = Publisher::new(STREAM, 0);
    publisher.handle_membership(&members(), false);
    ack(&mut publisher, 0);
    let mut batches = 0;
    for end in 1..2000 {
        publisher.handle_spooled(end * 8);
        batches += run(&mut publisher, &spool).1.len();
    }
    assert_eq!(batches, WINDOW_BATCHES);
}

#[test]
fn a_gap_stands_in_the_order_and_is_acknowledged() {
    let mut spool = b"one\n".to_vec();
    spool.extend([0; 1000]);
    spool.extend(b"two\n");
    let gap = Gap {
        start: 4,
        end: 1004,
        lines: 7,
    };
    let mut publisher = Publisher::new(STREAM, 0);
    publisher.handle_spooled(4);
    publisher.handle_gap(gap);
    publisher.handle_spooled(1008);
    publisher.handle_membership(&members(), false);
    assert_eq!(run(&mut publisher, &spool).0, [0]);
    let mut sent = Vec::new();
    ack(&mut publisher, 0);
    for _ in 0..2 {
        while let Some(action) = publisher.poll_action() {
            match action {
                PublisherAction::Read { offset, length } => {
                    let bytes = &spool[offset as usize..][..length];
                    publisher.handle_read(offset, Bytes::copy_from_slice(bytes));
                }
                PublisherAction::Control(bytes) => {
                    sent.push(format!("{:?}", Control::decode(&bytes).unwrap()))
                }
                PublisherAction::Data { data, .. } => sent.push(format!("{data:?}")),
                PublisherAction::Acknowledged(_) => {}
            }
        }
        assert_eq!(sent.len(), 3, "{sent:?}");
        assert_eq!((&*sent[0], &*sent[2]), ("b\"one\\n\"", "b\"two\\n\""));
        assert!(sent[1].contains("start: 4, end: 1004, lines: 7"));
        sent.clear();
        // After a reset it is said again.
        publisher.handle_membership(&members(), true);
        assert_eq!(run(&mut publisher, &spool).0, [0]);
        ack(&mut publisher, 0);
    }
    // What was to be sent on a session that is lost is not sent on another one.
    publisher.handle_membership(&members(), true);
    publisher.handle_disconnected();
    assert_eq!(publisher.poll_action(), None);
    publisher.handle_membership(&members(), false);
    assert_eq!(run(&mut publisher, &spool).0, [0]);
    ack(&mut publisher, 1004);
    assert!(publisher.gaps.is_empty() && !publisher.is_drained());
    ack(&mut publisher, 1008);
    assert!(publisher.is_drained());
}

#[test]
fn long_lines_go_in_pieces_and_are_broken_at_the_limit() {
    let mut spool = vec![b'x'; 300_000];
    spool.extend_from_slice(b"\nnext\n");
    spool.extend(std::iter::repeat_n(b'y', LINE_BYTES_MAX + 200_000));
    spool.push(b'\n');
    let mut publisher = Publisher::new(STREAM, 0);
    publisher.handle_spooled(spool.len() as u64);
    publisher.handle_membership(&members(), false);
    ack(&mut publisher, 0);
    let sent = run(&mut publisher, &spool).1;
    assert_eq!(sent.concat(), spool);
    assert_eq!(sent[0].len(), MESSAGE_BYTES_MAX);
    assert!(sent[2].ends_with(b"\nnext\n") && sent[2].len() < MESSAGE_BYTES_MAX);
    let broken = sent[3..]
        .iter()
        .position(|data| data.len() < MESSAGE_BYTES_MAX);
    assert_eq!(broken, Some(LINE_BYTES_MAX / MESSAGE_BYTES_MAX));
    assert_eq!(publisher.unacknowledged.len(), 3);
    assert_eq!(publisher.broken_lines(), 1);
}

#[test]
fn a_broken_line_is_counted_once() {
    let mut spool = vec![b'x'; 2 * LINE_BREAK_BYTES as usize + 9];
    spool.extend_from_slice(b"\nnext\n");
    let mut publisher = Publisher::new(STREAM, 0);
    publisher.handle_spooled(spool.len() as u64);
    // Of which nothing is acknowledged, then the first piece, then all but the next line.
    for acknowledged in [0, LINE_BREAK_BYTES, 2 * LINE_BREAK_BYTES + 10] {
        publisher.handle_membership(&members(), true);
        run(&mut publisher, &spool);
        ack(&mut publisher, acknowledged);
        run(&mut publisher, &spool);
        ack(&mut publisher, acknowledged);
        run(&mut publisher, &spool);
        assert_eq!(publisher.broken_lines(), 1, "from {acknowledged} on");
    }
    assert_eq!(publisher.published(), spool.len() as u64);
    spool.extend(std::iter::repeat_n(b'y', LINE_BREAK_BYTES as usize));
    spool.extend_from_slice(b"yy\n");
    publisher.handle_spooled(spool.len() as u64);
    run(&mut publisher, &spool);
    assert_eq!(publisher.broken_lines(), 2);
}
