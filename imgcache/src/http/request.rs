//! Heads of requests.

use std::mem::MaybeUninit;

use super::{
    Framing, HEAD_MAX, Headers, LINES_MAX, content_length, head_length, is_chunked_alone,
    is_kept_alive,
};
use purges::Target;

/// Bound: bytes of a request's target.
const TARGET_MAX: usize = 8 << 10;

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
    let mut lines = [const { MaybeUninit::uninit() }; LINES_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut lines) {
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
}
