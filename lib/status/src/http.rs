//! A small HTTP/1.1 server for a mio loop: answers, and streams of server-sent events.
//!
//! It is for status, not for the world: GET and HEAD only, no bodies, no TLS. What comes in is
//! bounded by [`REQUEST_HEAD_BYTES_MAX`] and [`HTTP_CONNECTIONS_MAX`]. A peer that does not read
//! its answer is not read from; one that does not read its events is cut off.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

/// Most connections at a time. When another one comes, the one that was silent longest is closed.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Most bytes of a request with its headers.
pub const REQUEST_HEAD_BYTES_MAX: usize = 8192;

/// A peer that leaves so many bytes of events unread is cut off.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Requests answered to one connection before the loop goes on with its other work.
const REQUESTS_PER_EVENT: usize = 8;

const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A request: what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The path, as it was sent.
    pub path: &'a str,
    /// What stands behind the question mark; empty if there is none.
    pub query: &'a str,
}

impl HttpRequest<'_> {
    /// A parameter of the query, its percent escapes resolved; `+` is a plus.
    pub fn parameter(&self, name: &str) -> Option<Vec<u8>> {
        let pairs = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
        Some(unescape(value.as_bytes()))
    }
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if byte == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    status: &'static str,
    content_type: &'static str,
    policy: Option<&'static str>,
    body: Vec<u8>,
    events: bool,
}

impl HttpAnswer {
    /// 200 with JSON.
    pub fn json(value: &impl serde::Serialize) -> HttpAnswer {
        let mut body = serde_json::to_vec(value).unwrap_or_default();
        body.push(b'\n');
        HttpAnswer::new("200 OK", "application/json", body)
    }

    /// 200 with the text format of Prometheus.
    pub fn metrics(text: String) -> HttpAnswer {
        HttpAnswer::new("200 OK", "text/plain; version=0.0.4", text.into_bytes())
    }

    /// 200 with a page or a part of one, under this Content-Security-Policy.
    pub fn page(content_type: &'static str, policy: &'static str, body: &str) -> HttpAnswer {
        let mut answer = HttpAnswer::new("200 OK", content_type, body.as_bytes().to_vec());
        answer.policy = Some(policy);
        answer
    }

    /// A stream of server-sent events that begins with these bytes; what goes on is given to
    /// [`HttpServer::send_events`].
    pub fn events(first: Vec<u8>) -> HttpAnswer {
        let mut answer = HttpAnswer::new("200 OK", "text/event-stream", first);
        answer.events = true;
        answer
    }

    /// 404.
    pub fn not_found() -> HttpAnswer {
        HttpAnswer::error("404 Not Found", "there is no such page")
    }

    /// 400, with a word why.
    pub fn bad_request(why: &str) -> HttpAnswer {
        HttpAnswer::error("400 Bad Request", why)
    }

    fn error(status: &'static str, why: &str) -> HttpAnswer {
        let body = serde_json::json!({ "error": why }).to_string() + "\n";
        HttpAnswer::new(status, "application/json", body.into_bytes())
    }

    fn new(status: &'static str, content_type: &'static str, body: Vec<u8>) -> HttpAnswer {
        HttpAnswer {
            status,
            content_type,
            policy: None,
            body,
            events: false,
        }
    }

    fn write(&self, head_only: bool, close: bool, out: &mut Vec<u8>) {
        let policy = self.policy.unwrap_or("default-src 'none'");
        let mut head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Security-Policy: {policy}\r\n",
            self.status, self.content_type
        );
        if !self.events {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        if close || self.events {
            head += "Connection: close\r\n";
        }
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n");
        if !head_only {
            out.extend_from_slice(&self.body);
        }
    }
}

/// A listening socket and its connections.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    local: SocketAddr,
    /// Token of the listener; connection `i` has the token `i + 1` after it.
    first: Token,
    connections: Vec<Option<Connection>>,
    /// Counts events, to know who was silent longest.
    clock: u64,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How many bytes of `output` are written.
    written: usize,
    /// Whether it gets events from now on.
    events: bool,
    /// Whether it ends once the output is written.
    closing: bool,
    last_active: u64,
}

impl HttpServer {
    /// Tokens that one server uses, from the first one on.
    pub const TOKENS: usize = 1 + HTTP_CONNECTIONS_MAX;

    /// Listens at `address`; it takes [`TOKENS`](Self::TOKENS) tokens, from `first` on.
    ///
    /// Errors: what the system says.
    pub fn bind(address: SocketAddr, registry: &Registry, first: Token) -> io::Result<HttpServer> {
        let mut listener = TcpListener::bind(address)?;
        registry.register(&mut listener, first, Interest::READABLE)?;
        let connections = (0..HTTP_CONNECTIONS_MAX).map(|_| None).collect();
        let local = listener.local_addr()?;
        Ok(HttpServer {
            listener,
            local,
            first,
            connections,
            clock: 0,
        })
    }

    /// Where it listens, the port chosen by the system included.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The tokens whose events belong to [`handle_event`](Self::handle_event).
    pub fn tokens(&self) -> Range<usize> {
        self.first.0..self.first.0 + HttpServer::TOKENS
    }

    /// Does what an event on one of the server's tokens asks for; `answer` makes the answers.
    ///
    /// Trouble with a connection ends that connection only.
    ///
    /// Errors: a connection could not be accepted; the server goes on.
    pub fn handle_event(
        &mut self,
        registry: &Registry,
        token: Token,
        mut answer: impl FnMut(&HttpRequest<'_>) -> HttpAnswer,
    ) -> io::Result<()> {
        self.clock += 1;
        if token == self.first {
            return self.accept_all(registry);
        }
        let slot = token.0.wrapping_sub(self.first.0 + 1);
        // An event may be late: the connection was closed for another one, or the slot is free.
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return Ok(());
        };
        connection.last_active = self.clock;
        // A page elsewhere may point its own name at us (DNS rebinding): names are refused.
        let names_refused = self.local.ip().is_loopback();
        let goes_on = match connection.serve(names_refused, &mut answer) {
            Ok(Outcome::Waiting) => true,
            // Registering again makes the next event, as the socket is still ready.
            Ok(Outcome::Busy) => registry
                .reregister(&mut connection.stream, token, INTEREST)
                .is_ok(),
            Ok(Outcome::Over) | Err(_) => false,
        };
        if !goes_on {
            self.connections[slot] = None;
        }
        Ok(())
    }

    /// Whether anybody reads events.
    pub fn has_listeners(&self) -> bool {
        self.connections
            .iter()
            .flatten()
            .any(|connection| connection.events)
    }

    /// Sends these bytes to all who read events; who is too far behind is cut off.
    pub fn send_events(&mut self, bytes: &[u8]) {
        self.clock += 1;
        for place in &mut self.connections {
            let Some(connection) = place.as_mut().filter(|connection| connection.events) else {
                continue;
            };
            connection.output.extend_from_slice(bytes);
            let waiting = connection.output.len() - connection.written;
            match connection.write_output() {
                Ok(true) => connection.last_active = self.clock,
                Ok(false) if waiting <= EVENT_BYTES_MAX => {}
                _ => *place = None,
            }
        }
    }

    fn accept_all(&mut self, registry: &Registry) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => continue,
                    _ => return Err(error),
                },
            };
            let by_silence = |slot: &usize| self.connections[*slot].as_ref().map(|c| c.last_active);
            let slot = (0..HTTP_CONNECTIONS_MAX)
                .min_by_key(by_silence)
                .expect("there are slots");
            self.connections[slot] = None;
            registry.register(&mut stream, Token(self.first.0 + 1 + slot), INTEREST)?;
            self.connections[slot] = Some(Connection {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                written: 0,
                events: false,
                closing: false,
                last_active: self.clock,
            });
        }
    }
}

/// Whether a connection goes on.
enum Outcome {
    Waiting,
    Busy,
    Over,
}

impl Connection {
    fn serve(
        &mut self,
        names_refused: bool,
        answer: &mut impl FnMut(&HttpRequest<'_>) -> HttpAnswer,
    ) -> io::Result<Outcome> {
        let mut buffer = [0; 4096];
        let mut answered = 0;
        loop {
            if !self.write_output()? {
                return Ok(Outcome::Waiting);
            }
            if self.closing {
                return Ok(Outcome::Over);
            }
            if answered == REQUESTS_PER_EVENT {
                return Ok(Outcome::Busy);
            }
            if !self.events && self.answer_request(names_refused, answer) {
                answered += 1;
                continue;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Outcome::Over),
                // Who reads events has nothing more to say.
                Ok(_) if self.events => {}
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Outcome::Waiting),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers the request at the start of the input; false if it is not all there yet.
    fn answer_request(
        &mut self,
        names_refused: bool,
        answer: &mut impl FnMut(&HttpRequest<'_>) -> HttpAnswer,
    ) -> bool {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(&self.input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.input.len() <= REQUEST_HEAD_BYTES_MAX => {
                return false;
            }
            _ => {
                self.closing = true;
                HttpAnswer::bad_request("no request that is understood here").write(
                    false,
                    true,
                    &mut self.output,
                );
                return true;
            }
        };
        let header = |name: &str| {
            let mut found = request
                .headers
                .iter()
                .filter(|h| h.name.eq_ignore_ascii_case(name));
            found.next().map(|header| header.value)
        };
        let method = request.method.unwrap_or_default();
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = header("content-length").is_some_and(|value| value != b"0")
            || header("transfer-encoding").is_some();
        let asked_to_close =
            header("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        let close = request.version == Some(0) || body || asked_to_close;
        let answer = if !matches!(method, "GET" | "HEAD") {
            HttpAnswer::error("405 Method Not Allowed", "only GET and HEAD")
        } else if names_refused && !header("host").is_none_or(is_own_name) {
            HttpAnswer::error("421 Misdirected Request", "ask by address, or as localhost")
        } else {
            answer(&HttpRequest { path, query })
        };
        let head_only = method == "HEAD";
        answer.write(head_only, close, &mut self.output);
        self.events = answer.events && !head_only;
        self.closing = close && !self.events || answer.events && head_only;
        self.input.drain(..length);
        true
    }

    /// Writes what waits; false if the peer does not take all of it now.
    fn write_output(&mut self) -> io::Result<bool> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // A long answer does not keep its memory.
        self.output = Vec::new();
        self.written = 0;
        Ok(true)
    }
}

/// Whether a Host header names this machine without the help of DNS.
fn is_own_name(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| is_port(port))
        .map_or(host, |(name, _)| name);
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok()
}
