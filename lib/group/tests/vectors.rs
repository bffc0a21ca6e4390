//! The bytes that Spread 4.4 and its clients were seen to exchange, fed to both sides, whole and
//! byte by byte.

use bytes::Bytes;
use group::Event;
use group::handshake::{
    Accepted, ClientHandshake, ClientStep, DaemonHandshake, DaemonStep, Reject,
};
use group::name::{DaemonName, Name, PrivateName};
use group::wire::{
    ByteOrder, Cause, Frame, FrameDecoder, FrameError, GroupId, Header, Hint, Kind, Limits,
    Request, Service, encode_membership, encode_message, encode_refused_join, encode_self_leave,
    encode_transition,
};

const LIST: &[u8] = b"\x05NULL ";
const ACCEPT: &[u8] = b"\x01\x04\x04\x00\x10#alice#localhost";

/// Bytes written as in a capture: hex pairs, `"text"`, and `xN` to repeat the last byte.
fn capture(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        if let Some(text) = word.strip_prefix('"') {
            bytes.extend_from_slice(text.strip_suffix('"').unwrap().as_bytes());
        } else if let Some(count) = word.strip_prefix('x') {
            let last = *bytes.last().unwrap();
            bytes.resize(bytes.len() - 1 + count.parse::<usize>().unwrap(), last);
        } else {
            bytes.push(u8::from_str_radix(word, 16).unwrap());
        }
    }
    bytes
}

fn join() -> Vec<u8> {
    capture(
        r##"80 00 01 80 "#alice#localhost" 00 x16 01 00 00 00 80 00 00 80 00 00 00 00
            "grp1" 00 x28"##,
    )
}

fn joined() -> Vec<u8> {
    capture(
        r##"80 11 00 80 "grp1" 00 x28 01 00 00 00 80 00 00 80 38 00 00 00
            "#alice#localhost" 00 x16
            01 00 00 7f 64 38 02 6b 01 00 00 00 01 00 00 00 00 00 00 00
            01 00 00 00 "#alice#localhost" 00 x16"##,
    )
}

fn safe() -> Vec<u8> {
    capture(
        r##"a0 00 00 80 "#alice#localhost" 00 x16 01 00 00 00 80 01 00 80 06 00 00 00
            "grp1" 00 x28 68 65 6c 6c 6f 0a"##,
    )
}

fn leave() -> Vec<u8> {
    capture(
        r##"80 00 02 80 "#alice#localhost" 00 x16 01 00 00 00 80 00 00 80 00 00 00 00
            "grp1" 00 x28"##,
    )
}

fn self_leave() -> Vec<u8> {
    capture(r##"80 02 00 80 "grp1" 00 x28 00 00 00 00 80 00 00 80 00 00 00 00"##)
}

fn kill() -> Vec<u8> {
    capture(
        r##"80 00 04 80 "#alice#localhost" 00 x16 01 00 00 00 80 00 00 80 00 00 00 00
            "#alice#localhost" 00 x16"##,
    )
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn alice() -> PrivateName {
    PrivateName::new(b"alice").unwrap()
}

fn daemon() -> DaemonHandshake {
    DaemonHandshake::new(DaemonName::new(b"localhost").unwrap())
}

/// Feeds `bytes` in pieces of `size` and gives the last step; the others must ask for more.
fn feed_daemon(handshake: &mut DaemonHandshake, bytes: &[u8], size: usize) -> DaemonStep {
    let mut step = DaemonStep::NeedMore;
    for piece in bytes.chunks(size) {
        assert_eq!(step, DaemonStep::NeedMore);
        step = handshake.feed(piece);
    }
    step
}

/// All answers to a greeting that is admitted with its own name or `r1-9`, then to `choice`.
fn answers(greeting: &[u8], choice: &[u8], size: usize) -> Vec<u8> {
    let mut handshake = daemon();
    let mut output = Vec::new();
    let mut step = feed_daemon(&mut handshake, greeting, size);
    loop {
        step = match step {
            DaemonStep::Greeted(greeting) => {
                handshake.admit(greeting.name.unwrap_or(PrivateName::new(b"r1-9").unwrap()))
            }
            DaemonStep::Reply(reply) => {
                output.extend_from_slice(&reply);
                feed_daemon(&mut handshake, choice, size)
            }
            DaemonStep::Accepted { reply, .. } => {
                output.extend_from_slice(&reply);
                return output;
            }
            DaemonStep::Reject(reject) => {
                output.push(reject.byte());
                return output;
            }
            DaemonStep::NeedMore => {
                output.extend(handshake.give_up().map(Reject::byte));
                return output;
            }
        }
    }
}

fn choice(methods: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; 90];
    for (slot, method) in bytes.chunks_mut(30).zip(methods) {
        slot[..method.len()].copy_from_slice(method.as_bytes());
    }
    bytes
}

#[test]
fn daemon_answers_the_captured_handshake() {
    let greeting = capture(r#"04 04 00 01 05 "alice""#);
    for size in [1, 2, 90] {
        let expected = [LIST, ACCEPT].concat();
        assert_eq!(
            answers(&greeting, &choice(&["NULL"]), size),
            expected,
            "size {size}"
        );
    }
}

#[test]
fn daemon_keeps_what_follows_the_handshake() {
    let mut handshake = daemon();
    handshake.feed(&capture(r#"04 04 00 01 05 "alice""#));
    handshake.admit(alice());
    let step = handshake.feed(&[choice(&["NULL"]), join()].concat());
    let DaemonStep::Accepted {
        private_group,
        leftover,
        reply,
    } = step
    else {
        panic!("not accepted: {step:?}");
    };
    assert_eq!(private_group, name("#alice#localhost"));
    assert_eq!(leftover, join());
    assert_eq!(reply, ACCEPT);
}

#[test]
fn daemon_handles_every_version() {
    let null = choice(&["NULL"]);
    let accepted = b"\x01\x04\x04\x00\x0e#abc#localhost".to_vec();
    let full = [LIST, &accepted].concat();
    let old = b"\x01\x04\x04\x0e#abc#localhost".to_vec();
    for (greeting, expected) in [
        ("02 00 00 01 00", vec![0xf9]),
        (r#"03 00 01 03 "abc""#, vec![0xf9]),
        (r#"03 01 01 03 "abc""#, old.clone()),
        (r#"03 0e 01 03 "abc""#, old),
        (r#"03 0f 00 01 03 "abc""#, accepted),
        (r#"03 10 00 01 03 "abc""#, full.clone()),
        (r#"05 00 01 01 03 "abc""#, full.clone()),
        (r#"09 09 09 01 03 "abc""#, full),
        ("80 04 00 01 00", vec![0xf9]),
        ("ff 04 00 01 00", vec![0xf9]),
    ] {
        assert_eq!(
            answers(&capture(greeting), &null, 200),
            expected,
            "{greeting}"
        );
    }
}

#[test]
fn daemon_refuses_illegal_names() {
    let mut too_long = capture("04 04 00 01 0b");
    too_long.extend_from_slice(b"abcdefghijk");
    assert_eq!(answers(&too_long, b"", 200), [0xfb]);
    for greeting in [
        "04 04 00 01 ff",
        r#"04 04 00 01 02 "a#""#,
        "04 04 00 01 02 61 20",
        "04 04 00 01 02 61 22",
        "04 04 00 01 02 61 21",
        "04 04 00 01 02 61 7f",
        "04 04 00 01 02 61 80",
        // One byte more than the greeting in the same read, and one less for good.
        r#"04 04 00 01 03 "abcd""#,
        r#"04 04 00 01 03 "ab""#,
        r#"03 0e 01 03 "abcd""#,
    ] {
        assert_eq!(answers(&capture(greeting), b"", 200), [0xfb], "{greeting}");
    }
    let fine = answers(&capture(r#"04 04 00 01 02 "$~""#), &choice(&["NULL"]), 200);
    assert_eq!(fine, b"\x05NULL \x01\x04\x04\x00\x0d#$~#localhost");
}

#[test]
fn daemon_leaves_an_empty_name_to_its_caller() {
    let mut handshake = daemon();
    let DaemonStep::Greeted(greeting) = handshake.feed(&capture("04 04 00 01 00")) else {
        panic!("a greeting without a name is complete");
    };
    assert_eq!(greeting.name, None);
    let output = answers(&capture("04 04 00 01 00"), &choice(&["NULL"]), 200);
    assert_eq!(output, b"\x05NULL \x01\x04\x04\x00\x0f#r1-9#localhost");
}

#[test]
fn daemon_reads_flags_as_the_reference_does() {
    for (flags, membership, priority) in [
        (0, false, 0),
        (1, true, 0),
        (0x10, false, 1),
        (0xff, true, 15),
    ] {
        let step = daemon().feed(&[4, 4, 0, flags, 1, b'a']);
        let DaemonStep::Greeted(greeting) = step else {
            panic!("{flags}: {step:?}")
        };
        assert_eq!(
            (greeting.membership, greeting.priority),
            (membership, priority),
            "{flags}"
        );
    }
}

#[test]
fn daemon_accepts_null_alone() {
    let greeting = capture(r#"04 04 00 01 05 "alice""#);
    let accepted = [LIST, ACCEPT].concat();
    let refused = [LIST, &[0xf7]].concat();
    for (methods, expected) in [
        (vec!["NULL"], &accepted),
        (vec!["NULL", "NULL", "NULL"], &accepted),
        (vec!["", "NULL"], &accepted),
        (vec![], &refused),
        (vec!["IP"], &refused),
        (vec!["FOO"], &refused),
        (vec!["NULLX"], &refused),
        (vec!["NULL", "IP"], &refused),
    ] {
        assert_eq!(
            &answers(&greeting, &choice(&methods), 200),
            expected,
            "{methods:?}"
        );
    }
    assert_eq!(answers(&greeting, &choice(&["NULL"])[..89], 200), refused);
}

#[test]
fn a_silent_client_gets_no_code() {
    let mut handshake = daemon();
    assert_eq!(handshake.give_up(), None);
    assert_eq!(handshake.feed(&[4, 4, 0]), DaemonStep::NeedMore);
    assert_eq!(handshake.give_up(), None);
}

#[test]
fn client_plays_the_captured_handshake() {
    for size in [1, 3, 100] {
        let (mut client, greeting) = ClientHandshake::new(Some(alice()), true);
        assert_eq!(greeting, capture(r#"04 04 00 01 05 "alice""#));
        let sent = feed_client(&mut client, LIST, size);
        assert_eq!(sent, ClientStep::Send(choice(&["NULL"]).into()));
        let ClientStep::Accepted(Accepted {
            version,
            private_group,
            leftover,
        }) = feed_client(&mut client, ACCEPT, size)
        else {
            panic!("not accepted");
        };
        assert_eq!(version.to_string(), "4.4.0");
        assert_eq!(private_group, name("#alice#localhost"));
        assert_eq!(leftover, Bytes::new());
    }
}

fn feed_client(client: &mut ClientHandshake, bytes: &[u8], size: usize) -> ClientStep {
    let mut step = ClientStep::NeedMore;
    for piece in bytes.chunks(size) {
        assert_eq!(step, ClientStep::NeedMore);
        step = client.feed(piece);
    }
    step
}

#[test]
fn client_understands_refusals() {
    for (code, reject) in [
        (0xfd, Reject::Quota),
        (0xfb, Reject::IllegalName),
        (0xfa, Reject::NotUnique),
        (0xf9, Reject::Version),
    ] {
        let (mut client, _) = ClientHandshake::new(None, false);
        assert_eq!(client.feed(&[code]), ClientStep::Rejected(reject));
        assert_eq!(reject.byte(), code);
    }
    let (mut client, greeting) = ClientHandshake::new(None, false);
    assert_eq!(greeting, capture("04 04 00 00 00"));
    assert!(
        matches!(client.feed(&[0]), ClientStep::Send(_)),
        "an empty list is legal"
    );
    assert_eq!(client.feed(&[0xf7]), ClientStep::Rejected(Reject::Auth));
    let (mut client, _) = ClientHandshake::new(None, false);
    assert_eq!(client.feed(b"\x80HTTP"), ClientStep::Nonsense);
}

/// All frames in `bytes` fed in pieces of `size`.
fn frames(mut decoder: FrameDecoder, bytes: &[u8], size: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for piece in bytes.chunks(size) {
        decoder.feed(piece);
        while let Some(frame) = decoder.next_frame().unwrap() {
            frames.push(frame);
        }
    }
    assert_eq!(decoder.buffered_bytes(), 0);
    frames
}

#[test]
fn daemon_reads_the_captured_requests() {
    let stream = [join(), safe(), leave(), kill()].concat();
    for size in [1, 7, 80, 1000] {
        let frames = frames(FrameDecoder::for_requests(Limits::DAEMON), &stream, size);
        let requests: Vec<_> = frames.iter().map(|frame| frame.header.request()).collect();
        let multicast = Request::Multicast(Service::Safe.into());
        let expected = [Request::Join, multicast, Request::Leave, Request::Kill].map(Some);
        assert_eq!(requests, expected, "size {size}");
        for frame in &frames {
            assert_eq!(frame.header.name, name("#alice#localhost"));
            assert_eq!(frame.groups.len(), 1);
        }
        assert_eq!(frames[0].groups.iter().next(), Some(name("grp1")));
        assert_eq!(frames[1].data, "hello\n");
        assert_eq!(frames[1].header.hint.mess_type(), 1);
    }
}

/// Writes a message with the encoder of sessions and of groupd.
fn write(output: &mut Vec<u8>, frame: &Frame, header: Header) {
    let fields = frame.groups.iter().map(Name::to_field);
    encode_message(output, &header, fields, &frame.data);
}

#[test]
fn frames_are_written_as_they_were_read() {
    let stream = [join(), safe(), leave(), kill()].concat();
    let mut output = Vec::new();
    for frame in frames(FrameDecoder::for_requests(Limits::DAEMON), &stream, 1000) {
        write(&mut output, &frame, frame.header);
    }
    assert_eq!(output, stream);
}

#[test]
fn client_reads_the_captured_deliveries() {
    let stream = [joined(), safe(), self_leave()].concat();
    for size in [1, 7, 80, 1000] {
        let mut events = frames(FrameDecoder::for_deliveries(Limits::CLIENT), &stream, size)
            .into_iter()
            .map(|frame| Event::from_frame(frame).unwrap());
        let Some(Event::Membership(membership)) = events.next() else {
            panic!("the first event is a membership");
        };
        assert_eq!(membership.group, name("grp1"));
        assert_eq!(membership.cause, Cause::Join);
        assert_eq!(membership.members, [name("#alice#localhost")]);
        assert_eq!(membership.vs_sets, [[name("#alice#localhost")]]);
        assert_eq!(membership.own_set, 0);
        assert_eq!(
            membership.gid,
            GroupId {
                proc_id: 0x7f00_0001,
                time: 0x6b02_3864,
                index: 1
            }
        );
        let Some(Event::Message(message)) = events.next() else {
            panic!("the second event is a message");
        };
        assert_eq!(message.sender, name("#alice#localhost"));
        assert_eq!((message.service, message.mess_type), (Service::Safe, 1));
        assert_eq!(message.data, "hello\n");
        assert_eq!(
            events.next(),
            Some(Event::SelfLeave {
                group: name("grp1")
            })
        );
        assert_eq!(events.next(), None);
    }
}

#[test]
#[cfg(target_endian = "little")]
fn daemon_writes_the_captured_notices() {
    let gid = GroupId {
        proc_id: 0x7f00_0001,
        time: 0x6b02_3864,
        index: 1,
    };
    let alice = [name("#alice#localhost")];
    let membership = encode_membership(&name("grp1"), Cause::Join, gid, &alice, &[alice], 0);
    assert_eq!(membership, joined());
    assert_eq!(encode_self_leave(&name("grp1")), self_leave());
    let transition = capture(
        r##"80 20 00 80 "grp1" 00 x28 00 00 00 00 80 00 00 80 0c 00 00 00
            01 00 00 7f 64 38 02 6b 01 00 00 00"##,
    );
    assert_eq!(encode_transition(&name("grp1"), gid), transition);
}

#[test]
fn a_merge_points_each_member_to_its_own_set() {
    let [alice, bob, carol] = ["#alice#a", "#bob#a", "#carol#b"].map(name);
    let sets = [vec![alice, bob], vec![carol]];
    let gid = GroupId {
        proc_id: 1,
        time: 2,
        index: 1,
    };
    for (own_set, offset) in [(0, 0), (1, 68)] {
        let members = [alice, bob, carol];
        let bytes = encode_membership(&name("g"), Cause::Network, gid, &members, &sets, own_set);
        let mut frames = frames(FrameDecoder::for_deliveries(Limits::CLIENT), &bytes, 1000);
        let frame = frames.pop().unwrap();
        assert_eq!(frame.data.len(), 124);
        assert_eq!(frame.data[16..20], u32::to_ne_bytes(offset));
        let Ok(Event::Membership(membership)) = Event::from_frame(frame) else {
            panic!("no membership");
        };
        assert_eq!(membership.own_set, own_set);
        assert_eq!(membership.vs_sets, sets);
    }
}

#[test]
fn big_endian_requests_are_delivered_in_the_daemons_order() {
    let java = capture(
        r##"00 00 00 20 "#jay#localhost" 00 x18 00 00 00 01 00 00 07 00 00 00 00 02
            "jg" 00 x30 68 69"##,
    );
    let delivered = capture(
        r##"a0 00 00 80 "#jay#localhost" 00 x18 01 00 00 00 00 00 07 00 02 00 00 00
            "jg" 00 x30 68 69"##,
    );
    for size in [1, 82] {
        let frame = frames(FrameDecoder::for_requests(Limits::DAEMON), &java, size).remove(0);
        assert_eq!(frame.header.order, ByteOrder::Big);
        assert_eq!(
            frame.header.request(),
            Some(Request::Multicast(Service::Safe.into()))
        );
        assert_eq!(frame.header.hint.mess_type(), 7);
        // As groupd passes it on.
        let header = Header {
            kind: Kind::SAFE_MESS,
            order: ByteOrder::NATIVE,
            ..frame.header
        };
        let mut output = Vec::new();
        write(&mut output, &frame, header);
        if cfg!(target_endian = "little") {
            assert_eq!(output, delivered);
        }
        let frame = frames(FrameDecoder::for_deliveries(Limits::CLIENT), &output, size).remove(0);
        let Ok(Event::Message(message)) = Event::from_frame(frame) else {
            panic!("no message")
        };
        assert_eq!((message.mess_type, message.order), (7, ByteOrder::Big));
        assert_eq!(message.data, "hi");
    }
}

#[test]
fn hints_keep_the_order_of_their_sender() {
    assert_eq!(Hint([0x00, 0x12, 0x34, 0x00]).mess_type(), 0x1234);
    assert_eq!(Hint([0x80, 0x34, 0x12, 0x80]).mess_type(), 0x1234);
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for mess_type in [0, 1, 0x1234, 0x7fff, 0x8000, 0xffff] {
            let hint = Hint::new(mess_type, order);
            assert_eq!((hint.mess_type(), hint.order()), (mess_type, order));
        }
    }
}

#[test]
fn headers_that_end_a_session_are_known_before_their_data() {
    let with = |at: usize, bytes: [u8; 4]| {
        let mut message = join();
        message[at..at + 4].copy_from_slice(&bytes);
        message[..48].to_vec()
    };
    for (header, error) in [
        (with(0, [0x80, 0, 0, 0x80]), FrameError::Request),
        (with(0, [0x83, 0, 0, 0x80]), FrameError::Request),
        (with(0, [0xa0, 0, 1, 0x80]), FrameError::Request),
        (with(40, [0, 0, 0, 1]), FrameError::Request),
        (with(36, [0xff; 4]), FrameError::Groups),
        (with(36, [101, 0, 0, 0]), FrameError::Groups),
        (with(44, [0xff; 4]), FrameError::Length),
        (with(44, 143_921_u32.to_le_bytes()), FrameError::Length),
    ] {
        let mut decoder = FrameDecoder::for_requests(Limits::DAEMON);
        decoder.feed(&header[..47]);
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.feed(&header[47..]);
        assert_eq!(decoder.next_frame(), Err(error), "{header:02x?}");
    }
    for header in [
        with(36, [100, 0, 0, 0]),
        with(44, 143_920_u32.to_le_bytes()),
        // An unmarked hint in little-endian order, and type bits that mean nothing.
        with(40, [0, 1, 2, 0]),
        with(0, [0x80, 0x10, 1, 0x82]),
    ] {
        let mut decoder = FrameDecoder::for_requests(Limits::DAEMON);
        decoder.feed(&header);
        assert_eq!(decoder.next_frame(), Ok(None), "{header:02x?}");
    }
}

#[test]
fn refused_requests_keep_the_stream_in_step() {
    // Four bytes that no length counts hold what was asked for.
    let refused = capture(
        r##"80 00 40 80 "#alice#localhost" 00 x16 02 00 00 00 80 00 00 80 00 00 00 00
            00 01 00 00 "grp1" 00 x28 "#alice#localhost" 00 x16"##,
    );
    let request = frames(FrameDecoder::for_requests(Limits::DAEMON), &join(), 1000).remove(0);
    if cfg!(target_endian = "little") {
        let written = encode_refused_join(&request.header, &[name("grp1")]);
        assert_eq!(written, refused);
    }
    let stream = [refused, safe()].concat();
    let frames = frames(FrameDecoder::for_deliveries(Limits::CLIENT), &stream, 5);
    let Ok(Event::Refused { request, groups }) = Event::from_frame(frames[0].clone()) else {
        panic!("not refused");
    };
    assert_eq!(request, Kind::CAUSED_BY_JOIN);
    let expected = [name("grp1"), name("#alice#localhost")];
    assert_eq!(groups.iter().collect::<Vec<_>>(), expected);
    assert!(matches!(
        Event::from_frame(frames[1].clone()),
        Ok(Event::Message(_))
    ));
}

#[test]
fn a_refusal_of_a_hundred_groups_has_no_room_for_the_last() {
    let mut request = frames(FrameDecoder::for_requests(Limits::DAEMON), &join(), 1000).remove(0);
    request.header.group_count = 100;
    let refused = encode_refused_join(&request.header, &[name("grp1"); 100]);
    let frame = frames(FrameDecoder::for_deliveries(Limits::CLIENT), &refused, 9).remove(0);
    assert_eq!(frame.groups.len(), 100);
    assert_eq!(frame.groups.iter().last(), Some(name("#alice#localhost")));
}

#[test]
fn a_service_bit_makes_it_data_whatever_else_is_set() {
    let mut forged = safe();
    forged[1] = 0x11;
    let frame = frames(FrameDecoder::for_deliveries(Limits::CLIENT), &forged, 200).remove(0);
    assert!(matches!(Event::from_frame(frame), Ok(Event::Message(_))));
}
