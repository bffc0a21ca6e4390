//! Heads of responses.

use super::{
    Framing, HEAD_MAX, Headers, LINES_MAX, content_length, head_length, is_chunked_alone,
    is_kept_alive,
};

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
        102 => "Processing",
        103 => "Early Hints",
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
}
