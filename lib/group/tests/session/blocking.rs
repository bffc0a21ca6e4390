//! Sessions that block.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use group::handshake::Reject;
use group::wire::{
    ByteOrder, PAYLOAD_MAX, Request, encode_membership, encode_self_leave, encode_transition,
};
use group::{
    Address, Cause, ConnectError, Event, GroupId, Options, ReceiveError, SendError, Service,
    Session,
};

use crate::script::{
    PATIENCE, accept, daemon, greet, group, message, name, read_bytes, read_requests,
};

fn data_of(event: Event) -> Bytes {
    match event {
        Event::Message(message) => message.data,
        other => panic!("not a message: {other:?}"),
    }
}

#[test]
fn a_session_from_connect_to_disconnect() {
    let gid = GroupId {
        proc_id: 1,
        time: 2,
        index: 3,
    };
    let (mut options, script) = daemon(move |listener| {
        let mut stream = accept(&listener);
        greet(&mut stream, 1);
        let grp1 = name("grp1");
        let alice = [name("#alice#localhost")];
        stream
            .write_all(&encode_membership(
                &grp1,
                Cause::Join,
                gid,
                &alice,
                &[alice],
                0,
            ))
            .unwrap();
        stream.write_all(&message(b"one")).unwrap();
        stream.write_all(&encode_transition(&grp1, gid)).unwrap();
        stream.write_all(&encode_self_leave(&grp1)).unwrap();
        read_requests(&mut stream)
    });
    options.membership = true;
    let mut session = Session::connect(options).unwrap();
    assert_eq!(session.private_group(), name("#alice#localhost"));
    assert_eq!(session.daemon_version().to_string(), "4.4.0");

    session.join(group("grp1")).unwrap();
    let Event::Membership(membership) = session.receive().unwrap() else {
        panic!()
    };
    assert_eq!(membership.members, [name("#alice#localhost")]);
    assert_eq!(membership.gid, gid);
    session
        .multicast(Service::Safe, &[group("grp1")], 1, b"hello\n")
        .unwrap();
    let Event::Message(message) = session.receive().unwrap() else {
        panic!()
    };
    assert_eq!(message.data, "one");
    assert_eq!(message.sender, name("#bob#b"));
    assert_eq!((message.mess_type, message.order), (7, ByteOrder::Big));
    assert_eq!(message.groups.iter().collect::<Vec<_>>(), [name("grp1")]);
    session.leave(group("grp1")).unwrap();
    assert_eq!(
        session.receive().unwrap(),
        Event::Transition {
            group: name("grp1"),
            gid
        }
    );
    assert_eq!(
        session.receive().unwrap(),
        Event::SelfLeave {
            group: name("grp1")
        }
    );
    session
        .multicast(
            Service::Fifo.self_discard(),
            &[name("#bob#b"), name("grp1")],
            0,
            b"bye",
        )
        .unwrap();
    session.disconnect().unwrap();

    let grp1 = vec![name("grp1")];
    assert_eq!(
        script.join().unwrap(),
        [
            (Request::Join, grp1.clone(), Bytes::new()),
            (
                Request::Multicast(Service::Safe.into()),
                grp1.clone(),
                "hello\n".into()
            ),
            (Request::Leave, grp1.clone(), Bytes::new()),
            (
                Request::Multicast(Service::Fifo.self_discard()),
                vec![name("#bob#b"), name("grp1")],
                "bye".into()
            ),
            (Request::Kill, vec![name("#alice#localhost")], Bytes::new()),
        ]
    );
}

#[test]
fn a_unix_socket_does_as_well() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("unix.{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let script = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        greet(&mut stream, 0);
        stream.write_all(&message(b"x")).unwrap();
        read_requests(&mut stream)
    });
    let mut options = Options::new(path.to_str().unwrap().parse().unwrap());
    options.name = Some("alice".parse().unwrap());
    let mut session = Session::connect(options).unwrap();
    assert_eq!(data_of(session.receive().unwrap()), "x");
    session.disconnect().unwrap();
    assert_eq!(script.join().unwrap().len(), 1);
    fs::remove_file(&path).unwrap();
}

#[test]
fn refusals_have_their_codes() {
    for reject in [
        Reject::Quota,
        Reject::IllegalName,
        Reject::NotUnique,
        Reject::Version,
    ] {
        let (options, script) = daemon(move |listener| {
            let mut stream = accept(&listener);
            read_bytes(&mut stream, 10);
            stream.write_all(&[reject.byte()]).unwrap();
        });
        let error = Session::connect(options).unwrap_err();
        assert!(matches!(error, ConnectError::Rejected(code) if code == reject));
        assert_eq!(error.code(), i32::from(reject.code()));
        script.join().unwrap();
    }
}

#[test]
fn connecting_ends_in_time() {
    let (mut options, script) = daemon(|listener| read_requests_of_nobody(&listener));
    options.timeout = Duration::from_millis(50);
    let start = Instant::now();
    let error = Session::connect(options).unwrap_err();
    assert!(
        matches!(&error, ConnectError::Unreachable(cause) if cause.kind() == ErrorKind::TimedOut),
        "{error:?}"
    );
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(error.code(), -2);
    script.join().unwrap();
}

/// Accepts and never answers; ends when the client gives up.
fn read_requests_of_nobody(listener: &TcpListener) {
    let mut bytes = Vec::new();
    accept(listener).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 10);
}

#[test]
fn nobody_there_is_unreachable() {
    let options = Options::new("/nonexistent/socket".parse().unwrap());
    let error = Session::connect(options).unwrap_err();
    assert!(
        matches!(&error, ConnectError::Unreachable(cause) if cause.kind() == ErrorKind::NotFound)
    );
}

#[test]
fn the_queue_is_bounded_and_nothing_is_torn() {
    let (mut options, script) = daemon(|listener| {
        let mut stream = accept(&listener);
        greet(&mut stream, 0);
        // Reads only once the client has filled everything between them.
        stream.set_read_timeout(None).unwrap();
        listener.accept().unwrap();
        read_requests(&mut stream)
    });
    options.output_bytes_max = 300_000;
    let Address::Tcp { port, .. } = options.address else {
        panic!()
    };
    let mut session = Session::connect(options).unwrap();
    session.set_nonblocking(true).unwrap();
    let data = vec![b'x'; 100_000];
    let mut sent = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the queue never filled");
        match session.multicast(Service::Agreed, &[group("g")], 0, &data) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(session.wants_write());
    assert!(sent >= 2);
    assert!(session.try_receive().unwrap().is_none());

    TcpStream::connect(("127.0.0.1", port)).unwrap();
    session.set_nonblocking(false).unwrap();
    session.flush().unwrap();
    assert!(!session.wants_write());
    session.disconnect().unwrap();
    let requests = script.join().unwrap();
    assert_eq!(requests.len(), sent + 1);
    assert!(
        requests[..sent]
            .iter()
            .all(|(_, _, received)| *received == data)
    );
}

#[test]
fn many_messages_come_by_one_read() {
    let (options, script) = daemon(|listener| {
        let mut stream = accept(&listener);
        greet(&mut stream, 0);
        stream
            .write_all(&[message(b"1"), message(b"2"), message(b"3")].concat())
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_requests(&mut stream)
    });
    let mut session = Session::connect(options).unwrap();
    assert_eq!(data_of(session.receive().unwrap()), "1");
    let mut rest = Vec::new();
    while let Some(event) = session.try_receive().unwrap() {
        rest.push(data_of(event));
    }
    while rest.len() < 2 {
        rest.push(data_of(session.receive().unwrap()));
    }
    assert_eq!(rest, ["2", "3"]);
    assert!(matches!(session.receive(), Err(ReceiveError::Closed)));
    drop(session);
    assert_eq!(script.join().unwrap(), []);
}

#[test]
fn reconnecting_joins_the_same_groups() {
    let (options, script) = daemon(|listener| {
        let mut first = accept(&listener);
        greet(&mut first, 0);
        // One request for each of three joins and a leave, then the daemon goes away.
        read_bytes(&mut first, 4 * 80);
        drop(first);
        let mut second = accept(&listener);
        greet(&mut second, 0);
        second.write_all(&message(b"again")).unwrap();
        read_requests(&mut second)
    });
    let mut session = Session::connect(options).unwrap();
    for name in ["b", "a", "c"] {
        session.join(group(name)).unwrap();
    }
    session.leave(group("c")).unwrap();
    assert!(matches!(session.receive(), Err(ReceiveError::Closed)));
    session.reconnect().unwrap();
    assert_eq!(data_of(session.receive().unwrap()), "again");
    session.disconnect().unwrap();
    let requests = script.join().unwrap();
    let joined: Vec<_> = requests
        .iter()
        .map(|(request, groups, _)| (*request, groups[0]))
        .collect();
    assert_eq!(
        joined,
        [
            (Request::Join, name("a")),
            (Request::Join, name("b")),
            (Request::Kill, name("#alice#localhost")),
        ]
    );
}

#[test]
fn too_much_is_refused_before_it_is_sent() {
    let (options, script) = daemon(|listener| {
        let mut stream = accept(&listener);
        greet(&mut stream, 0);
        read_requests(&mut stream)
    });
    let mut session = Session::connect(options).unwrap();
    let longest = vec![0; PAYLOAD_MAX - 32];
    session
        .multicast(Service::Agreed, &[group("g")], 0, &longest)
        .unwrap();
    let two = [group("g"), group("h")];
    let error = session
        .multicast(Service::Agreed, &two, 0, &longest)
        .unwrap_err();
    assert!(matches!(error, SendError::TooLong));
    assert_eq!(error.code(), -17);
    let many = [group("g"); 101];
    let error = session
        .multicast(Service::Agreed, &many, 0, b"")
        .unwrap_err();
    assert!(matches!(error, SendError::TooManyGroups));
    session.disconnect().unwrap();
    assert_eq!(script.join().unwrap().len(), 2);
}

#[test]
fn garbage_from_a_daemon_ends_the_session() {
    let (options, script) = daemon(|listener| {
        let mut stream = accept(&listener);
        greet(&mut stream, 0);
        stream.write_all(&[0xff; 48]).unwrap();
        read_requests(&mut stream)
    });
    let mut session = Session::connect(options).unwrap();
    for _ in 0..2 {
        let error = session.receive().unwrap_err();
        assert!(matches!(error, ReceiveError::Frame(_)), "{error:?}");
        assert_eq!(error.code(), -13);
    }
    drop(session);
    assert_eq!(script.join().unwrap(), []);
}

#[test]
fn a_receive_timeout_is_no_error_of_the_session() {
    let (options, script) = daemon(|listener| {
        let mut stream = accept(&listener);
        greet(&mut stream, 0);
        let requests = read_bytes(&mut stream, 80);
        stream.write_all(&message(b"late")).unwrap();
        requests.len()
    });
    let mut session = Session::connect(options).unwrap();
    session
        .set_receive_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    assert!(matches!(session.receive(), Err(ReceiveError::WouldBlock)));
    session.join(group("g")).unwrap();
    session.set_receive_timeout(None).unwrap();
    assert_eq!(data_of(session.receive().unwrap()), "late");
    assert_eq!(script.join().unwrap(), 80);
}
