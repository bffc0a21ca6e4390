//! Sessions in a loop that waits for nothing else.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use group::handshake::Reject;
use group::wire::Request;
use group::{Address, ConnectError, Connecting, Event, Link, Options, Progress, Received, Service};
use mio::{Events, Poll, Token};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::script::{
    PATIENCE, accept, daemon, greet, group, message, name, read_bytes, read_requests,
};

/// A program that has nothing but a link.
struct Program {
    poll: Poll,
    events: Events,
    link: Link,
}

impl Program {
    fn new(options: Options, prefix: &'static [u8]) -> Program {
        Program {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(16),
            link: Link::new(options, prefix, Token(7), Instant::now()),
        }
    }

    /// Waits for an event or for what is due, and for nothing else.
    fn wait(&mut self) {
        let now = Instant::now();
        let due = self.link.connect_at();
        let due = due.map_or(PATIENCE, |at| at.saturating_duration_since(now));
        self.poll.poll(&mut self.events, Some(due)).unwrap();
        for event in &self.events {
            self.link.handle_event(event);
        }
    }

    /// Works until there is a new session.
    fn connect(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.link.connect(self.poll.registry(), Instant::now()) {
            assert!(Instant::now() < deadline, "no session");
            self.wait();
        }
    }

    /// Works until something is received.
    fn receive(&mut self) -> Received {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(received) = self.link.receive(Instant::now()) {
                return received;
            }
            assert!(Instant::now() < deadline, "nothing received");
            self.wait();
        }
    }

    fn receive_data(&mut self) -> Vec<u8> {
        match self.receive() {
            Received::Event(Event::Message(message)) => message.data.to_vec(),
            other => panic!("{other:?}"),
        }
    }
}

/// A path for a socket of this test.
fn socket(test: &str) -> PathBuf {
    let name = format!("{test}.{}", std::process::id());
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn alice(address: Address) -> Options {
    let mut options = Options::new(address);
    options.name = Some("alice".parse().unwrap());
    options
}

#[test]
fn a_link_connects_sends_receives_and_connects_again() {
    let (options, script) = daemon(|listener| {
        let mut first = accept(&listener);
        greet(&mut first, 0);
        first.write_all(&message(b"one")).unwrap();
        // The joins of two groups, and the leaving of one.
        read_bytes(&mut first, 3 * 80);
        drop(first);
        let mut second = accept(&listener);
        greet(&mut second, 0);
        second.write_all(&message(b"two")).unwrap();
        read_requests(&mut second)
    });
    let mut program = Program::new(options, b"a");
    program.connect();
    assert_eq!(program.link.private_group(), Some(name("#alice#localhost")));
    assert_eq!(program.receive_data(), b"one");
    assert_eq!(program.link.connect_at(), None);
    // Once is enough: neither again now nor after the session is lost.
    program.link.join(group("grp1"));
    program.link.join(group("grp1"));
    program.link.join(group("grp2"));
    program.link.leave(group("grp2"));

    let lost_at = Instant::now();
    assert!(matches!(program.receive(), Received::Lost));
    assert!(!program.link.is_connected() && !program.link.is_readable());
    assert!(program.link.receive(Instant::now()).is_none());
    // The next one has to wait.
    assert!(program.link.connect_at().unwrap() > lost_at);

    program.connect();
    assert_eq!(program.receive_data(), b"two");
    let session = program.link.session().unwrap();
    session
        .multicast(Service::Agreed, &[group("grp1")], 0, b"bye")
        .unwrap();
    let session = program.link.close(Instant::now()).unwrap();
    session.disconnect().unwrap();
    let requests: Vec<_> = script.join().unwrap();
    let requests: Vec<_> = requests.iter().map(|(request, ..)| *request).collect();
    assert_eq!(
        requests,
        [
            Request::Join,
            Request::Multicast(Service::Agreed.into()),
            Request::Kill
        ]
    );
}

/// Neither a daemon that does not accept nor one that accepts and says nothing is waited for.
#[test]
fn a_daemon_that_hangs_holds_up_nothing() {
    let path = socket("hangs");
    let listener = UnixListener::bind(&path).unwrap();
    let mut options = alice(Address::Path(path.clone()));
    options.timeout = Duration::from_secs(3600);
    let mut program = Program::new(options, b"a");
    let start = Instant::now();
    let turn = |program: &mut Program| {
        let connected = program.link.connect(program.poll.registry(), start);
        assert!(!connected && !program.link.is_connected());
    };
    turn(&mut program);
    turn(&mut program);
    let (accepted, _) = listener.accept().unwrap();
    turn(&mut program);
    assert_eq!(
        program.link.connect_at(),
        Some(start + Duration::from_secs(3600))
    );
    // Its end is an event, and the next attempt has to wait.
    drop(accepted);
    while program.link.connect_at().unwrap() > start + Duration::from_secs(1) {
        program.wait();
        turn(&mut program);
    }
    assert!(program.link.connect_at().unwrap() > start);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_name_that_is_taken_is_replaced_by_one_of_the_same_kind() {
    let (mut options, script) = daemon(|listener| {
        let mut first = accept(&listener);
        assert_eq!(read_bytes(&mut first, 10), b"\x04\x04\x00\x00\x05=1234");
        first.write_all(&[Reject::NotUnique.byte()]).unwrap();
        let mut second = accept(&listener);
        assert_eq!(read_bytes(&mut second, 5), b"\x04\x04\x00\x00\x0a");
        let name = read_bytes(&mut second, 10);
        second.write_all(b"\x05NULL ").unwrap();
        read_bytes(&mut second, 90);
        second.write_all(b"\x01\x04\x04\x00\x0d#").unwrap();
        second.write_all(&name).unwrap();
        second.write_all(b"#b").unwrap();
        (name, read_to_end(second))
    });
    options.name = Some("=1234".parse().unwrap());
    let mut program = Program::new(options, b"=");
    program.connect();
    let own = program.link.private_group().unwrap();
    drop(program);
    let (asked, rest) = script.join().unwrap();
    assert_eq!(own.as_bytes(), [b"#", &asked[..], b"#b"].concat());
    assert_eq!(asked[0], b'=');
    assert_ne!(asked[..5], *b"=1234");
    assert_eq!(rest, []);
}

fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The resolver is asked in a thread, and all addresses that it knows are tried: nobody listens at
/// an IPv6 address here.
#[test]
fn a_host_is_found_by_its_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = thread::spawn(move || {
        let mut stream = accept(&listener);
        greet(&mut stream, 0);
        read_requests(&mut stream)
    });
    let host = "localhost".to_owned();
    let mut program = Program::new(alice(Address::Tcp { host, port }), b"a");
    program.connect();
    drop(program);
    assert_eq!(script.join().unwrap(), []);
}

#[test]
fn a_host_that_nobody_knows_is_unreachable() {
    let host = "nobody.invalid".to_owned();
    let mut program = Program::new(alice(Address::Tcp { host, port: 1 }), b"a");
    let registry = program.poll.registry();
    // The resolver takes what time it takes, and the loop goes on.
    assert!(!program.link.connect(registry, Instant::now()));
    assert_eq!(program.link.connect_at(), None);
    while program.link.connect_at().is_none() {
        program.wait();
        let registry = program.poll.registry();
        assert!(!program.link.connect(registry, Instant::now()));
    }
}

/// No event tells when a daemon with a full queue of connections accepts again.
#[test]
fn a_daemon_with_a_full_queue_is_asked_again() {
    let path = socket("full");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let waiting = UnixStream::connect(&path).unwrap();
    let script = {
        let start = Instant::now();
        let options = alice(Address::Path(path.clone()));
        let mut program = Program::new(options, b"a");
        assert!(!program.link.connect(program.poll.registry(), start));
        let again_at = program.link.connect_at().unwrap();
        assert!(again_at > start && again_at < start + Duration::from_secs(1));
        let script = thread::spawn(move || {
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            greet(&mut stream, 0);
            read_requests(&mut stream)
        });
        program.connect();
        script
    };
    drop(waiting);
    assert_eq!(script.join().unwrap(), []);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_silent_daemon_is_given_up_in_time() {
    let path = socket("silent");
    let _listener = UnixListener::bind(&path).unwrap();
    let options = alice(Address::Path(path.clone()));
    let (timeout, start) = (options.timeout, Instant::now());
    let connecting = Connecting::begin(options, start).unwrap();
    let progress = connecting.progress(start).unwrap();
    let Progress::Pending(connecting) = progress else {
        panic!("{progress:?}")
    };
    assert_eq!(connecting.wake_at(), Some(start + timeout));
    let error = connecting.progress(start + timeout).unwrap_err();
    assert_eq!(error.to_string(), "timed out");
    fs::remove_file(path).unwrap();
}

/// A program that stood still finds what has arrived meanwhile, however late it is.
#[test]
fn an_answer_that_is_there_counts_after_the_time() {
    let path = socket("late");
    let listener = UnixListener::bind(&path).unwrap();
    let options = alice(Address::Path(path.clone()));
    let (late, start) = (options.timeout * 2, Instant::now());
    let go_on = |connecting: Connecting| match connecting.progress(start) {
        Ok(Progress::Pending(connecting)) => connecting,
        other => panic!("{other:?}"),
    };
    let connecting = go_on(Connecting::begin(options, start).unwrap());
    let (mut stream, _) = listener.accept().unwrap();
    read_bytes(&mut stream, 10);
    stream.write_all(b"\x05NULL ").unwrap();
    let connecting = go_on(connecting);
    read_bytes(&mut stream, 90);
    stream
        .write_all(b"\x01\x04\x04\x00\x10#alice#localhost")
        .unwrap();
    let progress = connecting.progress(start + late).unwrap();
    assert!(matches!(progress, Progress::Connected(_)), "{progress:?}");
    fs::remove_file(path).unwrap();
}

#[test]
fn nobody_there_is_told_at_once() {
    let options = alice(Address::Path("/nonexistent/socket".into()));
    let now = Instant::now();
    let error = Connecting::begin(options, now).and_then(|connecting| connecting.progress(now));
    assert!(matches!(error, Err(ConnectError::Unreachable(_))));
}
