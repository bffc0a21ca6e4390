//! A control server in a mio loop, asked by tools and by peers that misbehave.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, process};

use mio::{Events, Poll, Token, Waker};
use serde::{Deserialize, Serialize};
use status::{CONNECTIONS_MAX, CallError, ControlServer, REQUEST_BYTES_MAX, call};

const PATIENCE: Duration = Duration::from_secs(20);
const STOP: Token = Token(1000);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
enum Request {
    Double { number: u64 },
    Blanks { count: usize },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Doubled {
    doubled: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Doubled(Doubled),
    Blanks { blanks: String },
}

/// A server on its own thread; it stops, and removes its socket, when dropped.
struct Daemon {
    path: PathBuf,
    stop: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(name: &str) -> Daemon {
        let path = socket_path(name);
        let mut poll = Poll::new().unwrap();
        let stop = Arc::new(Waker::new(poll.registry(), STOP).unwrap());
        let mut server = ControlServer::bind(&path, 0o600, poll.registry(), Token(7)).unwrap();
        assert_eq!(server.tokens(), 7..7 + ControlServer::TOKENS);
        let thread = thread::spawn(move || {
            let mut events = Events::with_capacity(8);
            loop {
                poll.poll(&mut events, None).unwrap();
                for event in &events {
                    if event.token() == STOP {
                        return;
                    }
                    server
                        .handle_event(poll.registry(), event.token(), answer)
                        .unwrap();
                }
            }
        });
        Daemon {
            path,
            stop,
            thread: Some(thread),
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn double(&self, number: u64) -> Result<Doubled, CallError> {
        call(&self.path, &Request::Double { number }, PATIENCE)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.wake().unwrap();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.path.exists());
    }
}

fn socket_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{}", process::id()))
}

fn answer(request: Request) -> Answer {
    match request {
        Request::Double { number } => Answer::Doubled(Doubled {
            doubled: 2 * number,
        }),
        Request::Blanks { count } => Answer::Blanks {
            blanks: " ".repeat(count),
        },
    }
}

fn read_line(stream: &UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn a_request_has_its_answer() {
    let daemon = Daemon::start("answer");
    assert_eq!(daemon.double(21).unwrap(), Doubled { doubled: 42 });
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let daemon = Daemon::start("order");
    let mut stream = daemon.connect();
    let requests: String = (0..100)
        .map(|number| format!("{{\"request\":\"double\",\"number\":{number}}}\n"))
        .collect();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    for number in 0..100 {
        let line = lines.next().unwrap().unwrap();
        assert_eq!(line, format!("{{\"doubled\":{}}}", 2 * number));
    }
}

#[test]
fn what_is_no_request_is_named_and_the_connection_goes_on() {
    let daemon = Daemon::start("nonsense");
    let mut stream = daemon.connect();
    stream.write_all(b"nonsense\n").unwrap();
    assert!(read_line(&stream).starts_with("{\"error\":\"no request: "));
    stream
        .write_all(b"{\"request\":\"double\",\"number\":1}\n")
        .unwrap();
    assert_eq!(read_line(&stream), "{\"doubled\":2}\n");

    let error = call::<Doubled>(&daemon.path, &"nonsense", PATIENCE).unwrap_err();
    assert!(matches!(error, CallError::Refused(reason) if reason.starts_with("no request")));
    let error = call::<Doubled>(&daemon.path, &Request::Blanks { count: 1 }, PATIENCE).unwrap_err();
    assert!(matches!(error, CallError::Nonsense(_)));
}

#[test]
fn a_long_line_ends_its_connection_only() {
    let daemon = Daemon::start("long");
    let mut stream = daemon.connect();
    stream.write_all(&[b'x'; REQUEST_BYTES_MAX + 1]).unwrap();
    let mut rest = String::new();
    match stream.read_to_string(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(rest, "{\"error\":\"a request has at most 4096 bytes\"}\n");
    assert_eq!(daemon.double(1).unwrap(), Doubled { doubled: 2 });
}

#[test]
fn a_peer_that_does_not_read_stops_nobody() {
    let daemon = Daemon::start("slow");
    let mut slow = daemon.connect();
    slow.write_all(b"{\"request\":\"blanks\",\"count\":10000000}\n")
        .unwrap();
    slow.write_all(b"{\"request\":\"double\",\"number\":4}\n")
        .unwrap();
    assert_eq!(daemon.double(3).unwrap(), Doubled { doubled: 6 });
    assert_eq!(read_line(&slow).len(), 10_000_000 + "{'blanks':''}\n".len());
}

#[test]
fn the_silent_ones_make_room() {
    let daemon = Daemon::start("many");
    let mut connections: Vec<_> = (0..CONNECTIONS_MAX).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection
            .write_all(b"{\"request\":\"double\",\"number\":1}\n")
            .unwrap();
        assert_eq!(read_line(connection), "{\"doubled\":2}\n");
    }
    assert_eq!(daemon.double(5).unwrap(), Doubled { doubled: 10 });
    assert_eq!(
        connections[0].read(&mut [0]).unwrap(),
        0,
        "the first one was silent longest"
    );
    connections[1]
        .write_all(b"{\"request\":\"double\",\"number\":2}\n")
        .unwrap();
    assert_eq!(read_line(&connections[1]), "{\"doubled\":4}\n");
}

#[test]
fn a_left_over_socket_is_replaced_and_nothing_else() {
    let path = socket_path("stale");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let daemon = Daemon::start("stale");
    let poll = Poll::new().unwrap();
    let bind = |path: &Path| ControlServer::bind(path, 0o600, poll.registry(), Token(0));
    assert_eq!(bind(&daemon.path).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(daemon.double(1).unwrap(), Doubled { doubled: 2 });

    let file = socket_path("file");
    fs::write(&file, "precious").unwrap();
    assert_eq!(bind(&file).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    fs::remove_file(&file).unwrap();
}

#[test]
fn nobody_there_is_an_error() {
    let error = call::<Doubled>(&socket_path("nobody"), &"x", PATIENCE).unwrap_err();
    assert!(matches!(error, CallError::Io(error) if error.kind() == ErrorKind::NotFound));
}

#[test]
fn a_daemon_that_does_not_answer_is_an_error_in_time() {
    let path = socket_path("mute");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = call::<Doubled>(&path, &"x", Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, CallError::Io(error) if error.kind() == ErrorKind::TimedOut));
    drop(listener);
    fs::remove_file(&path).unwrap();
}
