//! Heads of HTTP/1.1 messages, both ways, and the defences against smuggling (RFC 9112).
//!
//! Whatever two parsers could read in two ways is refused. Heads are never passed on as bytes:
//! they are read into [`Headers`] and written anew.

use memchr::memmem;

use crate::names::Target;

/// Bound: bytes of a head.
pub const HEAD_MAX: usize = 16 << 10;

/// Bound: bytes of a request's target.
const TARGET_MAX: usize = 8 << 10;

/// Bound: header lines of a head.
const LINES_MAX: usize = 100;

/// Header lines in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// None yet.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Adds a line; the value holds no control characters.
    pub fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// All values of this name, in any case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self
            .0
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_slice())
    }

    /// The first value of this name.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Whether there is a line of this name.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// The comma-separated words of all lines of this name, without blanks around them.
    pub fn words<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let words = self
            .all(name)
            .flat_map(|value| value.split(|&byte| byte == b','));
        words
            .map(<[u8]>::trim_ascii)
            .filter(|word| !word.is_empty())
    }

    /// Removes all lines of this name.
    pub fn remove(&mut self, name: &str) {
        self.0
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// Removes what concerns one connection only: the named ones, and those that `Connection` names.
    pub fn remove_hop_by_hop(&mut self) {
        let named: Vec<Vec<u8>> = self.words("connection").map(<[u8]>::to_vec).collect();
        self.0.retain(|(name, _)| {
            let name = name.as_bytes();
            !HOP_BY_HOP
                .iter()
                .any(|other| other.as_bytes().eq_ignore_ascii_case(name))
                && !named.iter().any(|other| other.eq_ignore_ascii_case(name))
        });
    }

    /// The lines.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Writes the lines as they stand in a head.
    pub fn write(&self, output: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            write_line(output, name, value);
        }
    }

    fn read(lines: &[httparse::Header]) -> Headers {
        let lines = lines
            .iter()
            .map(|line| (line.name.to_owned(), line.value.trim_ascii().to_vec()));
        Headers(lines.collect())
    }
}

/// Headers of one connection, as old and new standards name them.
const HOP_BY_HOP: [&str; 9] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// Writes one line of a head.
pub fn write_line(output: &mut Vec<u8>, name: &str, value: &[u8]) {
    output.extend_from_slice(name.as_bytes());
    output.extend_from_slice(b": ");
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes, at least one.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// Up to the end of the connection; responses only.
    Close,
}

/// A request's head.
#[derive(Clone, Debug)]
pub struct Request {
    /// As sent: methods are case-sensitive.
    pub method: String,
    /// What is asked for.
    pub target: Target,
    /// The host without port and trailing dot, in lower case; none in an HTTP/1.0 request only.
    pub host: Option<String>,
    /// The minor version, 0 or 1.
    pub version: u8,
    /// All lines, `Host` among them.
    pub headers: Headers,
    /// How its body is delimited; never `Close`.
    pub framing: Framing,
    /// Whether the client will send another one.
    pub keep_alive: bool,
    /// Whether the client waits for a word before it sends the body.
    pub expects_continue: bool,
}

/// A request that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Status of the answer, behind which the connection is closed.
    pub status: u16,
    /// For the log, and the body of the answer.
    pub reason: &'static str,
}

const fn reject(status: u16, reason: &'static str) -> Reject {
    Reject { status, reason }
}

const BAD: Reject = reject(400, "malformed head");

/// Reads a request's head from the start of `input`: it and its length, or none while it is not
/// complete.
///
/// # Errors
/// See [`Reject`]; it may be told before the head is complete.
pub fn read_request(input: &[u8]) -> Result<Option<(Request, usize)>, Reject> {
    // One empty line before a request is tolerated (RFC 9112 section 2.2).
    let skipped = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let Some(length) = head_length(&input[skipped..]).map_err(|()| BAD)? else {
        return if input.len() > HEAD_MAX {
            Err(reject(431, "head too long"))
        } else {
            Ok(None)
        };
    };
    let head = &input[skipped..skipped + length];
    if length > HEAD_MAX {
        return Err(reject(431, "head too long"));
    }
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut parsed = httparse::Request::new(&mut lines);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(read)) if read == length => {}
        Err(httparse::Error::TooManyHeaders) => return Err(reject(431, "too many header lines")),
        Err(httparse::Error::Version) => return Err(reject(505, "HTTP version")),
        _ => return Err(BAD),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(BAD);
    };
    let headers = Headers::read(parsed.headers);
    let request = make_request(method, target, version, headers)?;
    Ok(Some((request, skipped + length)))
}

fn make_request(
    method: &str,
    target: &str,
    version: u8,
    headers: Headers,
) -> Result<Request, Reject> {
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(reject(405, "method not allowed"));
    }
    if target.len() > TARGET_MAX {
        return Err(reject(414, "target too long"));
    }
    let hosts = headers.all("host").count();
    if hosts > 1 || (hosts == 0 && version == 1) {
        return Err(reject(400, "exactly one Host is needed"));
    }
    let host = headers.first("host").map(read_host).transpose()?;
    let (host, target) = match target.strip_prefix("http://") {
        // The authority of an absolute target wins over Host (RFC 9112 section 3.2.2).
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let path = if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            };
            (Some(read_host(authority.as_bytes())?), path)
        }
        None => (host, target.to_owned()),
    };
    let target = Target::parse(target.as_bytes()).map_err(|_| reject(400, "bad request target"))?;
    let framing = request_framing(&headers, version)?;
    let expects_continue = match headers.first("expect") {
        Some(value) if !value.eq_ignore_ascii_case(b"100-continue") => {
            return Err(reject(417, "unknown expectation"));
        }
        Some(_) => version == 1 && framing != Framing::Empty,
        None => false,
    };
    Ok(Request {
        method: method.to_owned(),
        target,
        host,
        version,
        keep_alive: is_kept_alive(&headers, version),
        expects_continue,
        framing,
        headers,
    })
}

/// A host as it stands in the configuration: lower case, without port and trailing dot.
fn read_host(value: &[u8]) -> Result<String, Reject> {
    const BAD_HOST: Reject = reject(400, "bad Host");
    let text = std::str::from_utf8(value).map_err(|_| BAD_HOST)?;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, "80"),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if host.is_empty()
        || !host.bytes().all(legal)
        || port.parse::<u16>().is_err()
        || port.starts_with('+')
    {
        return Err(BAD_HOST);
    }
    let host = host.to_ascii_lowercase();
    Ok(host.strip_suffix('.').unwrap_or(&host).to_owned())
}

fn request_framing(headers: &Headers, version: u8) -> Result<Framing, Reject> {
    let chunked = headers.has("transfer-encoding");
    if chunked && (version == 0 || headers.has("content-length")) {
        return Err(reject(400, "Transfer-Encoding does not belong here"));
    }
    if chunked {
        if !is_chunked_alone(headers) {
            return Err(reject(400, "unknown Transfer-Encoding"));
        }
        return Ok(Framing::Chunked);
    }
    match content_length(headers) {
        Ok(None | Some(0)) => Ok(Framing::Empty),
        Ok(Some(length)) => Ok(Framing::Length(length)),
        Err(()) => Err(reject(400, "bad Content-Length")),
    }
}

fn is_chunked_alone(headers: &Headers) -> bool {
    let mut values = headers.all("transfer-encoding");
    values
        .next()
        .is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"))
        && values.next().is_none()
}

/// The one `Content-Length`, if there is one.
fn content_length(headers: &Headers) -> Result<Option<u64>, ()> {
    let mut values = headers.all("content-length");
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
    if !digits || values.next().is_some() {
        return Err(());
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or(())
}

fn is_kept_alive(headers: &Headers, version: u8) -> bool {
    let says = |word: &[u8]| {
        headers
            .words("connection")
            .any(|other| other.eq_ignore_ascii_case(word))
    };
    match version {
        0 => says(b"keep-alive") && !says(b"close"),
        _ => !says(b"close"),
    }
}

/// The length of a head with its empty line; none while that has not come.
///
/// A line that does not end in CR LF is an error: other parsers would read it as two lines, or one.
fn head_length(input: &[u8]) -> Result<Option<usize>, ()> {
    let end = memmem::find(input, b"\r\n\r\n").map(|at| at + 4);
    let head = &input[..end.unwrap_or(input.len())];
    for at in memchr::memchr2_iter(b'\r', b'\n', head) {
        let fits = match head[at] {
            b'\r' => head.get(at + 1).is_none_or(|&next| next == b'\n'),
            _ => at > 0 && head[at - 1] == b'\r',
        };
        if !fits {
            return Err(());
        }
    }
    Ok(end)
}

/// A response's head.
#[derive(Clone, Debug)]
pub struct Response {
    /// 100 to 999.
    pub status: u16,
    /// All lines.
    pub headers: Headers,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether the connection can carry another one.
    pub keep_alive: bool,
}

/// Reads a response's head, the answer to a request of this method, from the start of `input`: it
/// and its length, or none while it is not complete.
///
/// # Errors
/// What is wrong with it; the connection is of no more use.
pub fn read_response(
    input: &[u8],
    method: &str,
) -> Result<Option<(Response, usize)>, &'static str> {
    let Some(length) = head_length(input).map_err(|()| "malformed head")? else {
        return if input.len() > 2 * HEAD_MAX {
            Err("head too long")
        } else {
            Ok(None)
        };
    };
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut parsed = httparse::Response::new(&mut lines);
    match parsed.parse(&input[..length]) {
        Ok(httparse::Status::Complete(read)) if read == length => {}
        _ => return Err("malformed head"),
    }
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err("malformed head");
    };
    if status < 100 {
        return Err("malformed status");
    }
    let mut headers = Headers::read(parsed.headers);
    let mut keep_alive = is_kept_alive(&headers, version);
    let framing = if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        Framing::Empty
    } else if headers.has("transfer-encoding") {
        if version == 0 || !is_chunked_alone(&headers) {
            return Err("unknown Transfer-Encoding");
        }
        if headers.has("content-length") {
            headers.remove("content-length");
            keep_alive = false;
        }
        Framing::Chunked
    } else {
        match content_length(&headers).map_err(|()| "bad Content-Length")? {
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        }
    };
    keep_alive &= framing != Framing::Close;
    Ok(Some((
        Response {
            status,
            headers,
            framing,
            keep_alive,
        },
        length,
    )))
}

/// The usual words for a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Precondition Failed",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Request, u16> {
        match read_request(text.as_bytes()) {
            Ok(Some((request, length))) => {
                assert_eq!(length, text.find("\r\n\r\n").unwrap() + 4);
                Ok(request)
            }
            Ok(None) => Err(0),
            Err(reject) => Err(reject.status),
        }
    }

    #[test]
    fn an_ordinary_request() {
        let request =
            request("GET /a.gif?x HTTP/1.1\r\nHost: WWW.Example.com.:8080\r\nA:  b \r\n\r\n")
                .unwrap();
        assert_eq!(request.target.to_string(), "/a.gif?x");
        assert_eq!(request.host.as_deref(), Some("www.example.com"));
        assert_eq!(request.headers.first("a"), Some(&b"b"[..]));
        assert_eq!(
            (request.framing, request.keep_alive),
            (Framing::Empty, true)
        );
    }

    #[test]
    fn an_absolute_target_wins_over_host() {
        let request = request("GET http://b.org:80 HTTP/1.1\r\nHost: a.org\r\n\r\n").unwrap();
        assert_eq!(
            (request.host.as_deref(), request.target.path.as_str()),
            (Some("b.org"), "/")
        );
    }

    #[test]
    fn a_head_comes_in_pieces() {
        let text = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        for end in 0..text.len() {
            assert!(matches!(read_request(&text[..end]), Ok(None)), "{end}");
        }
    }

    /// Each of these reached some server in a form that another one read differently.
    #[test]
    fn smuggling_is_refused() {
        for (lines, status) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                400,
            ),
            ("Transfer-Encoding: chunked, chunked", 400),
            ("Transfer-Encoding: ,chunked", 400),
            ("Transfer-Encoding: identity", 400),
            ("Transfer-Encoding: xchunked", 400),
            ("Transfer-Encoding:\x0bchunked", 400),
            ("Transfer-Encoding: \"chunked\"", 400),
            ("Transfer-Encoding : chunked", 400),
            ("Transfer-Encoding\t: chunked", 400),
            ("X: y\r\n Transfer-Encoding: chunked", 400),
            ("X: y\nTransfer-Encoding: chunked", 400),
            ("X: y\rTransfer-Encoding: chunked", 400),
            ("X: y\r\r\nTransfer-Encoding: chunked", 400),
            ("Content-Length: 5\r\nContent-Length: 5", 400),
            ("Content-Length: 5\r\nContent-Length: 6", 400),
            ("Content-Length: 5, 5", 400),
            ("Content-Length: +5", 400),
            ("Content-Length: -5", 400),
            ("Content-Length: 0x5", 400),
            ("Content-Length: 5 5", 400),
            ("Content-Length:", 400),
            ("Content-Length: 5\x00", 400),
            ("Content-Length: 99999999999999999999", 400),
            ("Content Length: 5", 400),
            (": 5", 400),
            ("Host: other", 400),
            ("X: \x01", 400),
            ("X: a\x00b", 400),
            ("Expect: 200-ok", 417),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
            assert_eq!(request(&text).err(), Some(status), "{lines:?}");
        }
    }

    #[test]
    fn bad_first_lines_are_refused() {
        for (line, status) in [
            ("GET / HTTP/1.2", 505),
            ("GET / HTTP/2.0", 505),
            ("GET  / HTTP/1.1", 400),
            ("GET /\tHTTP/1.1", 400),
            ("GET / http/1.1", 505),
            ("GET /", 400),
            ("GET /a#b HTTP/1.1", 400),
            ("GET /a\\b HTTP/1.1", 400),
            ("GET /../x HTTP/1.1", 400),
            ("GET /%00 HTTP/1.1", 400),
            ("GET * HTTP/1.1", 400),
            ("GET x HTTP/1.1", 400),
            ("GET https://h/ HTTP/1.1", 400),
            ("GET http:/// HTTP/1.1", 400),
            ("GET http://a@h/ HTTP/1.1", 400),
            ("CONNECT h:80 HTTP/1.1", 405),
            ("TRACE / HTTP/1.1", 405),
            ("G(T / HTTP/1.1", 400),
            (" GET / HTTP/1.1", 400),
            ("PRI * HTTP/2.0", 505),
        ] {
            let found = request(&format!("{line}\r\nHost: h\r\n\r\n")).err();
            assert_eq!(found, Some(status), "{line:?}");
        }
        for host in [
            "", "a b", "a/b", "a@b", "h:", "h:x", "h:70000", "h,i", "\u{e9}",
        ] {
            let found = request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).err();
            assert_eq!(found, Some(400), "{host:?}");
        }
        assert_eq!(request("GET / HTTP/1.1\r\n\r\n").err(), Some(400));
        assert!(request("GET / HTTP/1.0\r\n\r\n").is_ok_and(|request| !request.keep_alive));
        assert_eq!(
            request("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").err(),
            Some(400)
        );
    }

    #[test]
    fn heads_have_bounds() {
        let many = "A: b\r\n".repeat(101);
        assert_eq!(
            request(&format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n")).err(),
            Some(431)
        );
        let long = "x".repeat(9000);
        assert_eq!(
            request(&format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n")).err(),
            Some(414)
        );
        assert_eq!(
            request(&format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(17000))).err(),
            Some(431)
        );
    }

    fn response(text: &str) -> Result<(Framing, bool), &'static str> {
        let (response, _) = read_response(text.as_bytes(), "GET")?.unwrap();
        Ok((response.framing, response.keep_alive))
    }

    #[test]
    fn bodies_of_responses() {
        let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        assert_eq!(
            response(&head("Content-Length: 3\r\n")),
            Ok((Framing::Length(3), true))
        );
        assert_eq!(response(&head("")), Ok((Framing::Close, false)));
        assert_eq!(
            response(&head("Transfer-Encoding: Chunked\r\n")),
            Ok((Framing::Chunked, true))
        );
        let both = "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n";
        assert_eq!(response(&head(both)), Ok((Framing::Chunked, false)));
        assert_eq!(
            response("HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n"),
            Ok((Framing::Empty, true))
        );
        assert!(response(&head("Transfer-Encoding: gzip, chunked\r\n")).is_err());
        assert!(response(&head("Content-Length: 3\r\nContent-Length: 4\r\n")).is_err());
        assert!(response("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(response("HTTP/1.1 200 OK\nA: b\r\n\r\n").is_err());
    }

    #[test]
    fn hop_by_hop_headers_go() {
        let mut headers = Headers::new();
        for (name, value) in [
            ("Connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("Upgrade", "h2c"),
            ("ETag", "\"a\""),
        ] {
            headers.push(name, value);
        }
        headers.remove_hop_by_hop();
        let left: Vec<_> = headers.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(left, ["ETag"]);
    }
}
