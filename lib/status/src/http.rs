//! A small HTTP/1.1 server for a mio loop: answers, and streams of server-sent events.
//!
//! It is for status, not for the world: GET and HEAD only, no bodies, no TLS. What comes in is
//! bounded by [`REQUEST_HEAD_BYTES_MAX`] and [`HTTP_CONNECTIONS_MAX`]. A peer that does not read
//! its answer is not read from; one that does not read its events is cut off.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::basic;
use crate::connections::{Connections, Step, Unread};

/// Most connections at a time. When another one comes, the one that was silent longest is closed.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Most bytes of a request with its headers.
pub const REQUEST_HEAD_BYTES_MAX: usize = 8192;

/// A peer that leaves so many bytes of events unread is cut off.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// A request: what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The path, as it was sent.
    pub path: &'a str,
    /// What stands behind the question mark; empty if there is none.
    pub query: &'a str,
    authorization: Option<&'a [u8]>,
}

impl HttpRequest<'_> {
    /// Whether it comes with this password, whatever the user's name (RFC 7617).
    ///
    /// How long it takes says nothing about how much of the password is right.
    pub fn has_password(&self, password: &[u8]) -> bool {
        let given = self.authorization.and_then(basic::password);
        let given = given.as_deref().unwrap_or_default();
        let differs = given
            .iter()
            .zip(password)
            .fold(0, |all, (a, b)| all | (a ^ b));
        given.len() == password.len() && differs == 0 && self.authorization.is_some()
    }

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
    challenge: bool,
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

    /// The same answer with another status than 200, such as `400 Bad Request`.
    pub fn with_status(self, status: &'static str) -> HttpAnswer {
        HttpAnswer { status, ..self }
    }

    /// 401, which makes a browser ask for a password.
    pub fn unauthorized() -> HttpAnswer {
        let mut answer = HttpAnswer::error("401 Unauthorized", "a password is needed");
        answer.challenge = true;
        answer
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
            challenge: false,
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
        if self.challenge {
            head += "WWW-Authenticate: Basic realm=\"covey\", charset=\"UTF-8\"\r\n";
        }
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

/// Reads where to listen: `ADDRESS:PORT`, or a port alone, which is one of the loopback address.
///
/// Errors: what is allowed.
pub fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    let local = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let address = text.parse().or_else(|_| text.parse().map(local));
    address.map_err(|_| "must be ADDRESS:PORT, or a port of the loopback address")
}

/// A listening socket and its connections.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    local: SocketAddr,
    /// Token of the listener; those of the connections follow.
    first: Token,
    connections: Connections<TcpStream, Reading>,
}

/// What a connection is read for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Requests,
    /// Nothing: it gets events from now on.
    Events,
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
        let local = listener.local_addr()?;
        Ok(HttpServer {
            listener,
            local,
            first,
            connections: Connections::new(Token(first.0 + 1), HTTP_CONNECTIONS_MAX),
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
        if token == self.first {
            let accept = || self.listener.accept().map(|(stream, _)| stream);
            return self.connections.accept_all(registry, accept);
        }
        // A page elsewhere may point its own name at us (DNS rebinding): names are refused.
        let names_refused = self.local.ip().is_loopback();
        self.connections
            .serve(registry, token, |reading, input, output| match reading {
                Reading::Requests => {
                    answer_request(reading, input, output, names_refused, &mut answer)
                }
                Reading::Events => {
                    // Who reads events has nothing more to say.
                    input.consume(input.bytes().len());
                    Step::Incomplete
                }
            });
        Ok(())
    }

    /// Whether anybody reads events.
    pub fn has_listeners(&self) -> bool {
        self.connections.any(|reading| *reading == Reading::Events)
    }

    /// Sends these bytes to all who read events; who is too far behind is cut off.
    pub fn send_events(&mut self, bytes: &[u8]) {
        self.connections.send(bytes, EVENT_BYTES_MAX, |reading| {
            *reading == Reading::Events
        });
    }
}

/// Answers the request at the start of the input.
fn answer_request(
    reading: &mut Reading,
    input: &mut Unread,
    output: &mut Vec<u8>,
    names_refused: bool,
    answer: &mut impl FnMut(&HttpRequest<'_>) -> HttpAnswer,
) -> Step {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(input.bytes()) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.bytes().len() <= REQUEST_HEAD_BYTES_MAX => {
            return Step::Incomplete;
        }
        _ => {
            let why = "no request that is understood here";
            let answer = HttpAnswer::error("400 Bad Request", why);
            answer.write(false, true, output);
            return Step::Last;
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
        answer(&HttpRequest {
            path,
            query,
            authorization: header("authorization"),
        })
    };
    let head_only = method == "HEAD";
    answer.write(head_only, close, output);
    input.consume(length);
    match answer.events {
        true if head_only => Step::Last,
        true => {
            *reading = Reading::Events;
            Step::Answered
        }
        false if close => Step::Last,
        false => Step::Answered,
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
