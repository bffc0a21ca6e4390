//! Heads of HTTP/1.1 messages, both ways, and the defences against smuggling (RFC 9112).
//!
//! Whatever two parsers could read in two ways is refused. Heads are never passed on as bytes:
//! they are read into [`Headers`] and written anew.

mod headers;
mod request;
mod response;

use memchr::memmem;

pub use headers::{Headers, write_line};
pub use request::{Reject, Request, read_request};
pub use response::{Response, read_response, reason};

/// Bound: bytes of a head.
pub const HEAD_MAX: usize = 16 << 10;

/// Bound: header lines of a head.
const LINES_MAX: usize = 100;

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
