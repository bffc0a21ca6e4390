use std::io::{Read, Write};
use std::time::Duration;

use mio::Poll;
use mio::net::UnixStream;

use super::*;

const BOUNDS: Bounds = Bounds {
    sessions: 100,
    session_queue_bytes: 300_000,
    queue_bytes: 1_000_000,
};

/// Sessions, the other ends of their sockets, and what edges would say.
struct Bench {
    sessions: Sessions,
    poll: Poll,
}

impl Bench {
    fn new(bounds: Bounds) -> Bench {
        let daemon = DaemonName::new(b"localhost").unwrap();
        let sessions = Sessions::new(daemon, bounds, Token(0));
        let poll = Poll::new().unwrap();
        Bench { sessions, poll }
    }

    fn connect(&mut self, now: Time) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.sessions
            .accept(Stream::Unix(ours), self.poll.registry(), now);
        theirs
    }

    /// Takes the edges that are there.
    fn edges(&mut self) {
        let mut events = mio::Events::with_capacity(1024);
        self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        for event in &events {
            self.sessions.handle_event(event);
        }
    }

    /// A turn of the loop that is ready for everything; names are always free in the groups.
    fn turn(&mut self, now: Time) -> Vec<Event> {
        self.edges();
        let mut events = Vec::new();
        while let Some(event) = self.sessions.poll(now) {
            if let Event::Named { id, .. } = event {
                self.sessions.open(id);
            }
            events.push(event);
        }
        self.sessions.flush();
        events
    }

    /// A session of this name, its handshake done.
    fn login(&mut self, name: &[u8]) -> (SessionId, UnixStream) {
        let mut theirs = self.connect(Time(0));
        theirs.write_all(&greeting(name)).unwrap();
        assert!(self.turn(Time(0)).is_empty());
        assert_eq!(read(&mut theirs), b"\x05NULL ");
        theirs.write_all(&choice()).unwrap();
        let events = self.turn(Time(0));
        let [Event::Named { id, .. }] = events[..] else {
            panic!("a session is announced once");
        };
        let group = [b"#", name, b"#localhost"].concat();
        let reply = [&[1, 4, 4, 0, group.len() as u8], &group[..]].concat();
        assert_eq!(read(&mut theirs), reply);
        (id, theirs)
    }
}

fn greeting(name: &[u8]) -> Vec<u8> {
    [&[4, 4, 0, 1, name.len() as u8], name].concat()
}

fn choice() -> [u8; 90] {
    let mut choice = [0; 90];
    choice[..4].copy_from_slice(b"NULL");
    choice
}

/// A message to a group in the order of this machine.
fn message(sender: &str, data: &[u8]) -> Vec<u8> {
    let name = |text: &str| text.parse::<group::Name>().unwrap();
    let hint = group::wire::Hint::new(0, group::wire::ByteOrder::NATIVE);
    let header = group::wire::Header {
        kind: group::Kind::AGREED_MESS,
        order: group::wire::ByteOrder::NATIVE,
        name: name(sender),
        group_count: 1,
        hint,
        data_length: data.len() as u32,
    };
    let mut bytes = Vec::new();
    group::wire::encode_message(&mut bytes, &header, [name("g").to_field()], data);
    bytes
}

fn read(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return bytes,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn is_closed(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0))
}

#[test]
fn a_name_is_taken_until_its_session_is_gone() {
    let mut bench = Bench::new(BOUNDS);
    let (first, alice) = bench.login(b"alice");
    let mut second = bench.connect(Time(0));
    second.write_all(&greeting(b"alice")).unwrap();
    assert!(bench.turn(Time(0)).is_empty());
    assert_eq!(read(&mut second), [0xfa]);
    assert_eq!(bench.sessions.count(), 1);

    drop(alice);
    let events = bench.turn(Time(0));
    assert!(matches!(events[..], [Event::Closed { id }] if id == first));
    let (again, _alice) = bench.login(b"alice");
    assert_ne!(first, again);
}

#[test]
fn a_session_whose_name_is_not_free_in_the_groups_waits() {
    let mut bench = Bench::new(BOUNDS);
    let mut theirs = bench.connect(Time(0));
    theirs.write_all(&greeting(b"bob")).unwrap();
    bench.turn(Time(0));
    read(&mut theirs);
    theirs.write_all(&choice()).unwrap();
    bench.edges();
    let Some(Event::Named {
        id,
        name,
        membership,
    }) = bench.sessions.poll(Time(0))
    else {
        panic!("announced");
    };
    bench.sessions.keep_waiting(id, name, membership);
    assert!(bench.sessions.poll(Time(0)).is_none());
    assert!(!bench.sessions.has_work());
    bench.sessions.flush();
    assert_eq!(read(&mut theirs), b"");

    bench.sessions.retry_waiting();
    assert_eq!(bench.turn(Time(0)).len(), 1);
    assert_eq!(read(&mut theirs)[..4], [1, 4, 4, 0]);
}

#[test]
fn silence_in_the_handshake_ends_it() {
    let mut bench = Bench::new(BOUNDS);
    let mut silent = bench.connect(Time(0));
    let mut half = bench.connect(Time(1));
    half.write_all(&greeting(b"half")[..7]).unwrap();
    let mut slow = bench.connect(Time(2));
    slow.write_all(&greeting(b"slow")).unwrap();
    bench.turn(Time(1_000_000_000));
    assert_eq!(read(&mut slow), b"\x05NULL ");

    let late = Time(2) + STEP_TIMEOUT;
    assert!(bench.sessions.poll_timeout().unwrap() <= late);
    bench.sessions.handle_timeout(late);
    assert!(is_closed(&mut silent));
    assert_eq!(read(&mut half), [0xfb]);
    assert!(
        !is_closed(&mut slow),
        "its second step began a second later"
    );
    bench
        .sessions
        .handle_timeout(Time(1_000_000_000) + STEP_TIMEOUT);
    assert!(is_closed(&mut slow));
    assert_eq!(bench.sessions.poll_timeout(), None);
    assert_eq!(bench.sessions.table.len(), 0);
    assert_eq!(bench.sessions.counters().refused, 3);
}

#[test]
fn a_handshake_does_not_age_while_the_ring_takes_nothing() {
    let mut bench = Bench::new(BOUNDS);
    let mut patient = bench.connect(Time(0));
    patient.write_all(&greeting(b"patient")).unwrap();
    bench.edges();
    bench.sessions.hold(Time(1));
    let late = Time(0) + STEP_TIMEOUT * 5;
    bench.sessions.hold(late);
    assert_eq!(bench.sessions.poll_timeout(), None);
    bench.sessions.handle_timeout(late);
    assert!(!is_closed(&mut patient));

    bench.turn(late);
    assert_eq!(read(&mut patient), b"\x05NULL ");
    bench.sessions.handle_timeout(late + STEP_TIMEOUT);
    assert!(is_closed(&mut patient), "it ages again");
}

#[test]
fn sessions_have_their_turn_one_after_the_other() {
    let mut bench = Bench::new(BOUNDS);
    let (greedy, mut greedy_end) = bench.login(b"greedy");
    let (modest, mut modest_end) = bench.login(b"modest");
    let flood = message("#greedy#localhost", &[b'x'; 1000]);
    let mut unsent = flood.clone();
    let mut refill = |bench: &mut Bench| {
        while let Ok(count) = greedy_end.write(&unsent) {
            unsent.drain(..count);
            if unsent.is_empty() {
                unsent = flood.clone();
            }
        }
        bench.edges();
    };
    refill(&mut bench);
    let mut before = 0;
    for round in 0..3 {
        modest_end
            .write_all(&message("#modest#localhost", b"y"))
            .unwrap();
        loop {
            refill(&mut bench);
            let Some(Event::Request { id, .. }) = bench.sessions.poll(Time(0)) else {
                panic!("there is always a request");
            };
            if id == modest {
                break;
            }
            assert_eq!(id, greedy);
            before += 1;
            assert!(
                before <= (round + 1) * READ_BYTES / flood.len(),
                "more than a read of the one before the other"
            );
        }
    }
    assert!(before > 0);
}

#[test]
fn what_is_not_pulled_stays_in_the_clients_socket() {
    let mut bench = Bench::new(BOUNDS);
    let (_, mut theirs) = bench.login(b"alice");
    let one = message("#alice#localhost", &[b'x'; 10_000]);
    let mut taken = 0;
    // Nobody pulls: the socket fills, and nothing is held here.
    while theirs.write(&one).is_ok_and(|count| count == one.len()) {
        taken += 1;
        assert!(taken < 1000, "a socket is finite");
    }
    bench.edges();
    assert!(bench.sessions.has_work());
    for _ in 0..taken {
        let event = bench.sessions.poll(Time(0));
        assert!(matches!(event, Some(Event::Request { .. })));
    }
}

#[test]
fn nonsense_ends_its_own_session_only() {
    let mut bench = Bench::new(BOUNDS);
    let (_, mut alice) = bench.login(b"alice");
    let (bob, mut bob_end) = bench.login(b"bob");
    let good = message("#alice#localhost", b"before");
    let foreign = message("#bob#localhost", b"not mine");
    alice.write_all(&[good, foreign].concat()).unwrap();
    let events = bench.turn(Time(0));
    assert!(matches!(
        events[..],
        [Event::Request { .. }, Event::Closed { .. }]
    ));
    assert!(is_closed(&mut alice));
    bob_end.write_all(&[0xff; 48]).unwrap();
    let events = bench.turn(Time(0));
    assert!(matches!(events[..], [Event::Closed { id }] if id == bob));
    assert_eq!(bench.sessions.counters().illegal, 2);
}

#[test]
fn what_was_sent_before_the_end_still_counts() {
    let mut bench = Bench::new(BOUNDS);
    let (id, mut theirs) = bench.login(b"alice");
    let (_, _other) = bench.login(b"other");
    for i in 0..50_u8 {
        theirs
            .write_all(&message("#alice#localhost", &[i]))
            .unwrap();
    }
    drop(theirs);
    // Something is written to it meanwhile, and fails.
    bench.sessions.send(&[id], |out| out.extend([0; 100]));
    bench.sessions.flush();
    let events = bench.turn(Time(0));
    assert_eq!(events.len(), 51);
    assert!(matches!(events[50], Event::Closed { id: gone } if gone == id));
    for (i, event) in events[..50].iter().enumerate() {
        assert!(matches!(event, Event::Request { frame, .. } if frame.data[..] == [i as u8]));
    }
}

#[test]
fn a_slow_reader_goes_and_the_others_stay() {
    let mut bench = Bench::new(BOUNDS);
    let (slow, mut slow_end) = bench.login(b"slow");
    let (fast, mut fast_end) = bench.login(b"fast");
    let mut received = 0;
    let mut turns = 0;
    while bench.sessions.counters().slow == 0 {
        bench
            .sessions
            .send(&[slow, fast], |out| out.extend([7; 50_000]));
        bench.turn(Time(0));
        received += read(&mut fast_end).len();
        turns += 1;
        assert!(turns < 100, "the bound is 300,000 bytes");
    }
    assert_eq!(received, turns * 50_000);
    assert_eq!(bench.sessions.count(), 1);
    assert_eq!(bench.sessions.queued_bytes(), 0);
    let events = bench.turn(Time(0));
    assert!(matches!(events[..], [Event::Closed { id }] if id == slow));
    read(&mut slow_end);
    assert!(is_closed(&mut slow_end));
}

#[test]
fn when_the_store_is_full_the_largest_holder_goes() {
    let bounds = Bounds {
        session_queue_bytes: 10_000_000,
        ..BOUNDS
    };
    let mut bench = Bench::new(bounds);
    let (all, _all_end) = bench.login(b"all");
    let (half, _half_end) = bench.login(b"half");
    for turn in 0.. {
        assert!(turn < 200, "the bound is 1,000,000 bytes");
        let to = if turn % 2 == 0 {
            &[all, half][..]
        } else {
            &[all]
        };
        bench.sessions.send(to, |out| out.extend([7; 50_000]));
        bench.sessions.flush();
        if bench.sessions.counters().evicted > 0 {
            break;
        }
    }
    assert_eq!(bench.sessions.counters().evicted, 1);
    let events = bench.turn(Time(0));
    assert!(matches!(events[..], [Event::Closed { id }] if id == all));
    assert!(bench.sessions.page.kept_bytes() <= BOUNDS.queue_bytes);
    assert!(bench.sessions.queued_bytes() > 0);
}

#[test]
fn beyond_the_bound_nobody_is_let_in() {
    let mut bench = Bench::new(Bounds {
        sessions: 1,
        ..BOUNDS
    });
    let (_, _alice) = bench.login(b"alice");
    let mut theirs = bench.connect(Time(0));
    assert_eq!(read(&mut theirs), [0xfd]);
    assert!(is_closed(&mut theirs));
}

#[test]
fn names_are_invented_for_those_who_want_none() {
    let mut bench = Bench::new(BOUNDS);
    let mut theirs = bench.connect(Time(0));
    theirs.write_all(&greeting(b"")).unwrap();
    bench.turn(Time(0));
    theirs.write_all(&choice()).unwrap();
    let events = bench.turn(Time(0));
    let [Event::Named { name, .. }] = events[..] else {
        panic!("announced")
    };
    let name = name.to_string();
    assert!(name.starts_with('r') && name.len() <= 9, "{name}");
    assert!(name[1..].split_once('-').is_some(), "{name}");
}
