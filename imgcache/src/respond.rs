//! Heads of answers.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use imgcache::conditional::{self, Selection};
use imgcache::date;
use imgcache::freshness::Stored;
use imgcache::http::{Framing, Headers, Reject, Response, reason, write_line};

use crate::client::{Client, Phase, Source};
use crate::disk::Task;
use crate::entry::{Entry, SURROGATE};
use crate::fetch::{Fetch, Outcome};
use crate::prepared::{Second, Supply};
use crate::serve::How;
use crate::server::Server;

/// Headers that make an answer something else than all of the object.
const CONDITIONS: [&str; 6] = [
    "range",
    "if-none-match",
    "if-modified-since",
    "if-match",
    "if-unmodified-since",
    "if-range",
];

/// Bytes of the lines that are added to a stored head, about.
const OWN_LINES: usize = 160;

impl Server {
    /// Begins to pass on the origin's response.
    pub(crate) fn answer_fetch(&mut self, client: &mut Client, collapsed: bool) {
        let fetch = client
            .fetch
            .and_then(|fetch| self.fetches.get(fetch)?.as_ref());
        let (Some(fetch), Some(request)) = (fetch, client.request.clone()) else {
            return;
        };
        let Some(response) = &fetch.response else {
            return;
        };
        let shared = matches!(fetch.outcome, Outcome::Shared);
        let length = match response.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Close => None,
        };
        let (mut headers, how) = describe(fetch, response, collapsed, self.now_ms);
        let selection = match (shared && response.status == 200, length) {
            (true, Some(length)) => {
                conditional::select(&request.headers, &headers, length, self.now_ms / 1000)
            }
            _ => Selection::Whole,
        };
        headers.remove("content-length");
        let bodiless = request.method == "HEAD" || matches!(response.status, 204 | 304);
        if bodiless && let Some(length) = response.headers.first("content-length") {
            headers.push("Content-Length", length);
        }
        let (status, range) = begin(&mut headers, selection, response.status, length);
        let bodiless = bodiless || status == 304;
        let chunked = !bodiless && range.is_none() && request.version == 1;
        if let (false, Some(range)) = (bodiless, &range) {
            headers.push("Content-Length", (range.end - range.start).to_string());
        } else if chunked {
            headers.push("Transfer-Encoding", "chunked");
        } else if !bodiless {
            client.keep_alive = false;
        }
        write_head(client, status, &headers, &how);
        client.phase = Phase::Sending(match range {
            _ if bodiless => Source::Output,
            Some(range) => Source::Fetch {
                at: range.start,
                end: Some(range.end),
                chunked: false,
            },
            None => Source::Fetch {
                at: 0,
                end: None,
                chunked,
            },
        });
    }

    /// Answers with an object that is fresh for so many seconds.
    pub(crate) fn answer_hit(&self, client: &mut Client, entry: &Arc<Entry>, ttl: u64) {
        let second = Second {
            age: entry.age(self.now_ms),
            ttl,
        };
        let meta = &entry.object.meta;
        let supply = match is_common(client, entry) {
            true => entry.demand.hit(second, meta.body.size),
            false => Supply::Plain,
        };
        if let Supply::Ready(prepared) = supply {
            (client.hit, client.status) = (true, meta.status);
            let all = 0..prepared.length;
            client.phase = Phase::Sending(Source::Prepared(prepared, all));
            return;
        }
        answer_entry(client, entry, How::Hit(ttl), self.now_ms);
        if let Supply::Due = supply {
            let task = Task::Prepare {
                entry: Arc::clone(entry),
                head: client.output.clone(),
                second,
            };
            // Where the disk has too much to do, hits are sent as before.
            let _ = self.shared.disk.submit(task);
        }
    }

    /// Counts a request that is over, and writes its line.
    pub(crate) fn account(&mut self, client: &Client) {
        if let Some(site) = &client.site {
            site.counts.add(client.hit, client.sent);
        }
        if self.shared.log.is_some() && client.status != 0 {
            write_log_line(&mut self.lines, client, self.now_ms / 1000);
        }
    }
}

/// The headers of a response that is passed on, and what Cache-Status says about it.
fn describe(fetch: &Fetch, response: &Response, collapsed: bool, now_ms: i64) -> (Headers, String) {
    let mut headers = response.headers.clone();
    headers.remove_hop_by_hop();
    SURROGATE.iter().for_each(|name| headers.remove(name));
    let mut how = format!("fwd={}; fwd-status={}", fetch.why, response.status);
    match fetch.outcome {
        Outcome::Shared => {
            how.push_str(if fetch.stored { "; stored" } else { "" });
            how.push_str(if collapsed { "; collapsed" } else { "" });
            let stored = Stored {
                status: response.status,
                headers: &headers,
                times: fetch.times,
            };
            let age = stored.age(now_ms);
            headers.remove("age");
            headers.push("Age", age.to_string());
        }
        Outcome::Private(detail) => how.push_str(&format!("; detail={detail}")),
        _ => {}
    }
    (headers, how)
}

/// Answers with an error of our own, and closes.
pub(crate) fn answer_reject(client: &mut Client, reject: Reject, now_ms: i64) {
    client.keep_alive = false;
    let text = format!("{}\n", reject.reason);
    answer_text(client, reject.status, &text, now_ms);
}

/// Answers with an error of the origin's, see RFC 9209, and closes.
pub(crate) fn answer_origin_error(client: &mut Client, status: u16, now_ms: i64) {
    client.keep_alive = false;
    let (error, text) = match status {
        504 => (
            "http_response_timeout",
            "the origin does not answer in time\n",
        ),
        _ => ("destination_unavailable", "the origin fails\n"),
    };
    let mut headers = Headers::new();
    headers.push("Proxy-Status", format!("imgcache; error={error}"));
    answer_own(client, status, headers, text, now_ms);
}

/// Answers with a few words of our own.
pub(crate) fn answer_text(client: &mut Client, status: u16, text: &str, now_ms: i64) {
    answer_own(client, status, Headers::new(), text, now_ms);
}

fn answer_own(client: &mut Client, status: u16, mut headers: Headers, text: &str, now_ms: i64) {
    headers.push("Date", date::format(now_ms / 1000));
    headers.push("Content-Type", "text/plain");
    headers.push("Cache-Control", "no-store");
    headers.push("Content-Length", text.len().to_string());
    let request = client.request.as_ref();
    let head_only = request.is_some_and(|request| request.method == "HEAD");
    let how = if status < 400 {
        "fwd=bypass"
    } else {
        "detail=error"
    };
    write_head(client, status, &headers, how);
    if !head_only {
        client.output.extend_from_slice(text.as_bytes());
        client.sent += text.len() as u64;
    }
    client.phase = Phase::Sending(Source::Output);
}

/// Whether the answer with a stored object is the same for all who ask like this client: all of it,
/// sent from its file, and another request may follow.
fn is_common(client: &Client, entry: &Entry) -> bool {
    let Some(request) = &client.request else {
        return false;
    };
    entry.body.is_none()
        && request.method == "GET"
        && request.version == 1
        && client.keep_alive
        && client.output.is_empty()
        && !CONDITIONS.iter().any(|name| request.headers.has(name))
}

/// Answers with a stored object.
pub(crate) fn answer_entry(client: &mut Client, entry: &Arc<Entry>, how: How, now_ms: i64) {
    let Some(request) = client.request.clone() else {
        return;
    };
    client.hit = !matches!(how, How::Other(_));
    let meta = &entry.object.meta;
    let length = meta.body.size;
    let plain = meta.status != 200 || !CONDITIONS.iter().any(|name| request.headers.has(name));
    let range = if plain {
        client.status = meta.status;
        client.output.reserve(entry.head.len() + OWN_LINES);
        client.output.extend_from_slice(&entry.head);
        0..length
    } else {
        let mut headers = meta.headers.clone();
        headers.remove("age");
        SURROGATE.iter().for_each(|name| headers.remove(name));
        let selection = conditional::select(&request.headers, &headers, length, now_ms / 1000);
        let (status, range) = begin(&mut headers, selection, meta.status, Some(length));
        let range = range.unwrap_or(0..0);
        if status != 304 {
            headers.push("Content-Length", (range.end - range.start).to_string());
        }
        begin_head(client, status, &headers);
        range
    };
    write_line(
        &mut client.output,
        "Age",
        entry.age(now_ms).to_string().as_bytes(),
    );
    let output = &mut client.output;
    let written = match how {
        How::Hit(ttl) => write!(output, "Cache-Status: imgcache; hit; ttl={ttl}\r\n"),
        How::Revalidating => write!(
            output,
            "Cache-Status: imgcache; hit; detail=stale-while-revalidate\r\n"
        ),
        How::Other(text) => write!(output, "Cache-Status: imgcache; {text}\r\n"),
    };
    written.expect("a Vec takes all");
    end_head(client);
    client.phase = Phase::Sending(match &entry.body {
        _ if request.method == "HEAD" || range.is_empty() => Source::Output,
        Some(body) => Source::Body(Arc::clone(body), range),
        None => Source::Entry(Arc::clone(entry), range),
    });
}

/// Makes the headers those of the selection: the status, and the bytes that follow if that is known.
fn begin(
    headers: &mut Headers,
    selection: Selection,
    status: u16,
    length: Option<u64>,
) -> (u16, Option<Range<u64>>) {
    let whole = length.map(|length| 0..length);
    let total = length.unwrap_or(0);
    match selection {
        Selection::Whole => (status, whole),
        Selection::Part(range) => {
            headers.push(
                "Content-Range",
                format!("bytes {}-{}/{total}", range.start, range.end - 1),
            );
            (206, Some(range))
        }
        Selection::NotModified => {
            for name in [
                "Content-Length",
                "Content-Type",
                "Content-Encoding",
                "Last-Modified",
            ] {
                headers.remove(name);
            }
            (304, Some(0..0))
        }
        Selection::Failed => (412, Some(0..0)),
        Selection::Unsatisfiable => {
            headers.push("Content-Range", format!("bytes */{total}"));
            (416, Some(0..0))
        }
    }
}

fn write_head(client: &mut Client, status: u16, headers: &Headers, how: &str) {
    begin_head(client, status, headers);
    let how = format!("imgcache; {how}");
    write_line(&mut client.output, "Cache-Status", how.as_bytes());
    end_head(client);
}

fn begin_head(client: &mut Client, status: u16, headers: &Headers) {
    client.status = status;
    let output = &mut client.output;
    output.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
    headers.write(output);
    write_line(output, "Via", b"1.1 imgcache");
}

fn end_head(client: &mut Client) {
    let old = client
        .request
        .as_ref()
        .is_some_and(|request| request.version == 0);
    let line: &[u8] = match (client.keep_alive, old) {
        (false, _) => b"Connection: close\r\n\r\n",
        (true, true) => b"Connection: keep-alive\r\n\r\n",
        (true, false) => b"\r\n",
    };
    client.output.extend_from_slice(line);
}

/// A line in the Combined format. A value from outside cannot end it, or its quotes.
fn write_log_line(lines: &mut Vec<u8>, client: &Client, now: i64) {
    let mut put = |text: std::fmt::Arguments| lines.write_fmt(text).expect("a Vec takes all");
    let address: IpAddr = client.visit.address;
    put(format_args!("{address} - - [{}] \"", date::common_log(now)));
    match &client.request {
        Some(request) => put(format_args!(
            "{} {} HTTP/1.{}",
            request.method, request.target, request.version
        )),
        None => put(format_args!("-")),
    }
    put(format_args!("\" {} {}", client.status, client.sent));
    for name in ["referer", "user-agent"] {
        let request = client.request.as_ref();
        let value = request.and_then(|request| request.headers.first(name));
        lines.extend_from_slice(b" \"");
        for &byte in value.unwrap_or(b"-") {
            match byte {
                b'"' | b'\\' => lines.extend_from_slice(&[b'\\', byte]),
                b' '..=b'~' | 0x80.. => lines.push(byte),
                _ => lines.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            }
        }
        lines.push(b'"');
    }
    lines.push(b'\n');
}
