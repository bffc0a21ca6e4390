//! The HTTP server, driven as a daemon drives it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use mio::{Events, Poll, Token};
use status::{HTTP_CONNECTIONS_MAX, HttpAnswer, HttpServer, REQUEST_HEAD_BYTES_MAX};

/// Runs a client against a server until the client is done; gives what it gives.
fn serve<T: Send + 'static>(client: impl FnOnce(SocketAddr) -> T + Send + 'static) -> T {
    let mut poll = Poll::new().unwrap();
    let mut server =
        HttpServer::bind("127.0.0.1:0".parse().unwrap(), poll.registry(), Token(7)).unwrap();
    let address = server.local_address();
    let client = thread::spawn(move || client(address));
    let mut events = Events::with_capacity(16);
    while !client.is_finished() {
        poll.poll(&mut events, Some(Duration::from_millis(5)))
            .unwrap();
        for event in &events {
            let answer = |request: &status::HttpRequest<'_>| match request.path {
                "/events" => HttpAnswer::events(b"data: first\n\n".to_vec()),
                "/echo" => HttpAnswer::json(
                    &String::from_utf8(request.parameter("x").unwrap_or_default()).unwrap(),
                ),
                "/secret" if request.has_password(b"open sesame") => HttpAnswer::json(&"cave"),
                "/secret" => HttpAnswer::unauthorized(),
                _ => HttpAnswer::not_found(),
            };
            server
                .handle_event(poll.registry(), event.token(), answer)
                .unwrap();
        }
        if server.has_listeners() {
            server.send_events(b"data: next\n\n");
        }
    }
    client.join().unwrap()
}

/// Sends a request in pieces of one size and reads up to the end of the connection.
fn ask(address: SocketAddr, request: &[u8], size: usize) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in request.chunks(size) {
        stream.write_all(piece).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_come_in_any_pieces() {
    let request = b"GET /echo?a&x=%2fa%20b%+ HTTP/1.1\r\nHost: localhost:1\r\n\r\n\
        HEAD /echo HTTP/1.1\r\nConnection: close\r\n\r\n";
    for size in [1, 7, 1000] {
        let answer = serve(move |address| ask(address, request, size));
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
        assert!(answer.contains("\r\n\r\n\"/a b%+\"\nHTTP"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn what_is_not_for_us_is_refused() {
    for (request, status) in [
        ("GET /x HTTP/1.0\r\n\r\n", "404"),
        ("POST /echo HTTP/1.0\r\n\r\n", "405"),
        ("GET /echo HTTP/1.0\r\nHost: evil.example\r\n\r\n", "421"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = serve(move |address| ask(address, request.as_bytes(), 1000));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[test]
fn an_endless_request_is_cut_off() {
    let cut = serve(|address| {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'y'; 4096]].concat();
        stream.write_all(&head).unwrap();
        let endless = vec![b'y'; 4096];
        (0..REQUEST_HEAD_BYTES_MAX * 1000).any(|_| stream.write_all(&endless).is_err())
    });
    assert!(cut);
}

#[test]
fn events_follow_the_first() {
    let got = serve(|address| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
        let mut got = Vec::new();
        let mut buffer = [0; 1000];
        while !got.ends_with(b"data: next\n\n") {
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "cut off");
            got.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(got).unwrap()
    });
    assert!(
        got.contains("\r\n\r\ndata: first\n\ndata: next\n\n"),
        "{got}"
    );
}

#[test]
fn a_password_opens() {
    let ask_with = |header: &str| {
        let request = format!("GET /secret HTTP/1.0\r\n{header}\r\n");
        serve(move |address| ask(address, request.as_bytes(), 1000))
    };
    let right = "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";
    assert!(ask_with(right).ends_with("\"cave\"\n"));
    // None; an empty one; one letter short; what is no base64.
    for header in [
        "",
        "Authorization: Basic Og==\r\n",
        "Authorization: Basic OW9wZW4gc2VzYW0=\r\n",
        "Authorization: Basic ****\r\n",
    ] {
        let answer = ask_with(header);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.contains("\r\nWWW-Authenticate: Basic "), "{answer}");
    }
}

/// As many connections as there can be say half a word and nothing more.
#[test]
fn stalled_clients_delay_nobody() {
    let answer = serve(|address| {
        let stalled: Vec<_> = (0..2 * HTTP_CONNECTIONS_MAX)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"GET /ev").unwrap();
                stream
            })
            .collect();
        let answer = ask(address, b"GET /echo?x=1 HTTP/1.0\r\n\r\n", 1000);
        drop(stalled);
        answer
    });
    assert!(answer.ends_with("\"1\"\n"), "{answer}");
}

#[test]
fn a_thousand_requests_at_once() {
    let request = b"GET /echo?x=1 HTTP/1.1\r\n\r\n".repeat(1000);
    let answer = serve(move |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 1000);
}
