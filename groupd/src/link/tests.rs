//! Bursts on loopback, with and without offload at either end.

use std::time::{Duration, Instant};

use super::*;

fn socket(last_octet: u8, offload: bool) -> Socket {
    let local = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last_octet), 0);
    Socket::bind(local, false, offload).unwrap()
}

/// Receives until so many datagrams are there.
fn receive(socket: &mut Socket, count: usize) -> Vec<(SocketAddrV4, Vec<u8>)> {
    let mut inbox = Inbox::new();
    let mut datagrams = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(5);
    while datagrams.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} datagrams",
            datagrams.len()
        );
        socket.receive(&mut inbox, BATCH, |from, bytes| {
            datagrams.push((from, bytes.to_vec()))
        });
    }
    assert!(!socket.receive(&mut inbox, BATCH, |_, _| panic!("more than was sent")));
    datagrams
}

/// `count` datagrams of `segment` bytes, the last one shorter, each marked with its number.
fn burst(count: usize, segment: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..count)
        .flat_map(|i| vec![(i % 251) as u8; segment])
        .collect();
    bytes.truncate(bytes.len() - segment / 2);
    bytes
}

fn burst_arrives_in_order_and_equal(sender_offload: bool, receiver_offload: bool) {
    let mut sender = socket(1, sender_offload);
    let mut receivers = [socket(2, receiver_offload), socket(3, receiver_offload)];
    let bytes = burst(100, 1472);
    let to: Vec<SocketAddrV4> = receivers.iter().map(Socket::local).collect();
    sender.send(&to, &bytes, 1472);
    for receiver in &mut receivers {
        let datagrams = receive(receiver, 100);
        let expected: Vec<(SocketAddrV4, Vec<u8>)> = bytes
            .chunks(1472)
            .map(|chunk| (sender.local(), chunk.to_vec()))
            .collect();
        assert_eq!(datagrams, expected);
        assert_eq!(receiver.counters().received, 100);
    }
    assert_eq!(sender.counters().sent, 200);
    let calls = sender.counters().send_calls;
    if sender.offloads() {
        assert_eq!(
            calls, 1,
            "44 + 44 + 12 datagrams for two destinations fit one batch"
        );
    } else {
        assert_eq!(calls, 200_u64.div_ceil(BATCH as u64));
    }
}

#[test]
fn burst_with_offload_at_both_ends() {
    burst_arrives_in_order_and_equal(true, true);
}

#[test]
fn burst_with_offload_at_the_sender_only() {
    burst_arrives_in_order_and_equal(true, false);
}

#[test]
fn burst_with_offload_at_the_receiver_only() {
    burst_arrives_in_order_and_equal(false, true);
}

#[test]
fn burst_without_offload() {
    burst_arrives_in_order_and_equal(false, false);
}

#[test]
fn failing_offload_is_retired_and_the_burst_still_arrives() {
    let mut sender = socket(1, true);
    let mut receiver = socket(2, true);
    sender.retire_offload(&io::Error::from_raw_os_error(libc::EINVAL), 1000);
    assert_eq!(sender.burst_bytes(999), 999 * SEGMENTS_MAX);
    assert_eq!(sender.burst_bytes(1000), 1000);
    sender.retire_offload(&io::Error::from_raw_os_error(libc::EIO), 500);
    assert!(!sender.offloads());
    let bytes = burst(20, 100);
    sender.send(&[receiver.local()], &bytes, 100);
    let datagrams = receive(&mut receiver, 20);
    assert_eq!(
        datagrams.iter().map(|(_, d)| d.len()).sum::<usize>(),
        bytes.len()
    );
}

#[test]
fn a_burst_that_the_kernel_refuses_is_sent_without_offload() {
    let mut sender = socket(1, true);
    let mut receiver = socket(2, true);
    assert!(
        sender.offloads(),
        "UDP_SEGMENT is in every kernel since 4.18"
    );
    // The kernel refuses bursts on a socket without checksums: EINVAL.
    set_option(sender.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    let bytes = burst(20, 1000);
    sender.send(&[receiver.local()], &bytes, 1000);
    let datagrams = receive(&mut receiver, 20);
    let arrived: Vec<u8> = datagrams.into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert_eq!(arrived, bytes);
    assert_eq!(
        sender.burst_bytes(1000),
        1000,
        "no burst of that length again"
    );
    assert_eq!(
        (sender.counters().sent, sender.counters().send_failed),
        (20, 0)
    );
}

#[test]
fn datagrams_of_which_two_are_too_long_for_one_burst_arrive() {
    let mut sender = socket(1, true);
    let mut receiver = socket(2, true);
    let bytes = burst(3, 60_000);
    sender.send(&[receiver.local()], &bytes, 60_000);
    let datagrams = receive(&mut receiver, 3);
    assert_eq!(datagrams[2].1.len(), 30_000);
    assert_eq!(datagrams[1].1, vec![1; 60_000]);
}

#[test]
fn what_cannot_be_sent_is_counted_and_names_its_destination() {
    let mut sender = socket(1, true);
    let mut receiver = socket(2, true);
    // Nothing leaves the machine from an address of the loopback.
    let outside: SocketAddrV4 = "192.0.2.1:4803".parse().unwrap();
    sender.send(&[outside, receiver.local()], b"hello", 5);
    assert_eq!(receive(&mut receiver, 1)[0].1, b"hello");
    let (to, error) = sender.take_error().expect("a failure");
    assert_eq!(to, outside, "{error}");
    assert!(sender.take_error().is_none());
    assert_eq!(
        (sender.counters().sent, sender.counters().send_failed),
        (1, 1)
    );
}

#[test]
fn refusal_names_the_destination_and_loses_nothing() {
    let mut sender = socket(1, true);
    let mut receiver = socket(2, true);
    let closed = socket(3, true).local();
    sender.send(&[closed], b"anyone?", 7);
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut refused = Vec::new();
    while refused.is_empty() {
        assert!(Instant::now() < deadline, "no refusal seen");
        sender.read_error_queue();
        refused.extend(sender.take_refused());
    }
    assert_eq!(refused, [closed]);
    // With a report pending, what is sent next must not be lost in its place.
    sender.send(&[closed], b"anyone?", 7);
    sender.send(&[receiver.local()], b"hello", 5);
    assert_eq!(receive(&mut receiver, 1)[0].1, b"hello");
    assert_eq!(sender.counters().sent, 3);
    assert_eq!(sender.counters().send_failed, 0);
}
