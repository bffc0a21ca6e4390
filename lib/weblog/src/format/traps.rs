//! What has misled readers of access logs: one test for each trap.

use std::path::Path;

use proptest::prelude::*;

use super::*;

const TIME: &str = "10/Oct/2000:13:55:36 -0700";

/// A field of a line as text; none if the line has it not.
fn field(format: &str, field: Field, line: &[u8]) -> Option<String> {
    let parser = Parser::new(&Format::parse(format).unwrap(), &[field]);
    let value = parser.parse(line).unwrap().get(0)?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

fn text(format: &str, of: Field, line: &str) -> String {
    field(format, of, line.as_bytes()).unwrap()
}

fn seconds(format: &str, line: &str) -> Option<u64> {
    Clock::default().read(text(format, Field::Time, line).as_bytes())
}

#[test]
fn a_host_is_not_always_an_address() {
    for host in [
        "::1",
        "fe80::1%eth0",
        "unix:",
        "crawl-1.example.com",
        "10.0.0.1, 10.0.0.2",
    ] {
        let line = format!(r#"{host} - - [{TIME}] "GET / HTTP/1.1" 200 1 "-" "x""#);
        assert_eq!(text("combined", Field::Host, &line), host);
        let line = format!("www:443 {line}");
        assert_eq!(text("vhost_combined", Field::Host, &line), host);
        assert_eq!(text("vhost_combined", Field::Vhost, &line), "www");
    }
    let line = format!(r#"- - - [{TIME}] "GET / HTTP/1.1" 200 1"#);
    assert_eq!(field("common", Field::Host, line.as_bytes()), None);
}

#[test]
fn a_refused_user_may_have_any_name() {
    for user in ["ann", "two words", r#""""#, "a [b", "[", "] \"GET /evil"] {
        let line = format!(r#"h - {user} [{TIME}] "GET /x HTTP/1.1" 401 5 "-" "y""#);
        assert_eq!(text("combined", Field::User, &line), user);
        assert_eq!(text("combined", Field::Url, &line), "/x", "{user}");
        assert_eq!(text("combined", Field::Status, &line), "401", "{user}");
    }
}

#[test]
fn stamps_go_back_and_zones_change() {
    let mut clock = Clock::default();
    for (stamp, seconds) in [
        // The end of summer time in New York: the hour comes twice.
        ("29/Oct/2006:01:59:59 -0400", 1_162_101_599),
        ("29/Oct/2006:01:00:00 -0500", 1_162_101_600),
        ("29/Oct/2006:01:59:59 -0400", 1_162_101_599),
        ("29/Oct/2006:01:00:00 -0500", 1_162_101_600),
    ] {
        assert_eq!(clock.read(stamp.as_bytes()), Some(seconds), "{stamp}");
    }
}

#[test]
fn times_of_other_forms() {
    let at = |format: &str, stamp: &str| {
        let format = format!(r#"%h %l %u {format} "%r" %>s %b"#);
        let line = format!(r#"h US - {stamp} "GET /x HTTP/1.1" 200 1"#);
        assert_eq!(text(&format, Field::Url, &line), "/x", "{stamp}");
        assert_eq!(text(&format, Field::Status, &line), "200", "{stamp}");
        seconds(&format, &line)
    };
    let expected = Some(1_432_126_391);
    for (format, stamp) in [
        (
            "[%{%Y-%m-%d %H:%M:%S}t.%{usec_frac}t]",
            "[2015-05-20 12:53:11.139981]",
        ),
        (
            "[%{%d/%b/%Y %T}t.%{msec_frac}t %{%z}t]",
            "[20/May/2015 14:53:11.139 +0200]",
        ),
        ("%{%d/%b/%Y:%T}t %{%z}t", "20/May/2015:14:53:11 +0200"),
        ("%{%F %T}t", "2015-05-20 12:53:11"),
        ("%{%FT%T%z}t", "2015-05-20T14:53:11+0200"),
        (
            "%{begin:%F %T}t|%{end:%F %T}t",
            "2015-05-20 12:53:11|2015-05-20 12:59:59",
        ),
        ("%{sec}t", "1432126391"),
        ("%{msec}t", "1432126391139"),
        ("%{usec}t", "1432126391139981"),
        ("%{sec}t.%{usec_frac}t", "1432126391.139981"),
    ] {
        assert_eq!(at(format, stamp), expected, "{format}");
    }
    // Caddy's other units.
    for stamp in ["1432126391139", "1432126391139.5", "1432126391139981234"] {
        assert_eq!(Clock::default().read(stamp.as_bytes()), expected, "{stamp}");
    }
    for stamp in ["1432126391x", "14321263911x9", "14321263911399812340000"] {
        assert_eq!(Clock::default().read(stamp.as_bytes()), None, "{stamp}");
    }
}

#[test]
fn a_request_is_whatever_was_sent() {
    let target = |request: &str| {
        let line = format!(r#"h - - [{TIME}] "{request}" 400 0 "-" "x""#);
        assert_eq!(text("combined", Field::UserAgent, &line), "x", "{request}");
        field("combined", Field::Url, line.as_bytes())
    };
    let some = |text: &str| Some(text.to_owned());
    for garbage in ["-", "", r"\x16\x03\x01\x02", r"\n", r"\x80w\x01\x03\x01"] {
        assert_eq!(target(garbage), None, "{garbage}");
    }
    assert_eq!(target("GET /old"), some("/old"));
    assert_eq!(target("GET /with a blank HTTP/1.1"), some("/with a blank"));
    assert_eq!(target("GET /HTTP/ x HTTP/1.1"), some("/HTTP/ x"));
    assert_eq!(target("GET http://h/x HTTP/1.1"), some("http://h/x"));
    assert_eq!(
        target("GET http://u:XXXX@h/ HTTP/1.0"),
        some("http://u:XXXX@h/")
    );
    assert_eq!(target("CONNECT h:443 HTTP/1.1"), some("h:443"));
    assert_eq!(target("OPTIONS * HTTP/1.1"), some("*"));
    assert_eq!(target("PRI * HTTP/2.0"), some("*"));
    assert_eq!(target("GET /x HTTP/3"), some("/x"));
}

#[test]
fn quotes_are_escaped_in_several_ways() {
    for agent in [
        r#"a \"quoted\" word"#,
        r"ends in a backslash\\",
        r#"three\\\" more"#,
        r"\b\n\r\t\v\x7f\xe4",
        r"nginx \x22 and \x5C",
    ] {
        let line = format!(r#"h - - [{TIME}] "GET / HTTP/1.1" 200 1 "r" "{agent}""#);
        assert_eq!(text("combined", Field::UserAgent, &line), agent);
        assert_eq!(text("combined", Field::Referer, &line), "r");
    }
    // Servers of old, and others, wrote the bytes as they were.
    let raw = b"h - - [x] \"GET /\xe4\0\t\r\x1b HTTP/1.1\" 200 1 \"-\" \"\xff\"\n";
    assert_eq!(
        field("combined", Field::Url, raw).unwrap(),
        "/\u{fffd}\0\t\r\x1b"
    );
    // What nginx writes as JSON without escape=json is none, and is read all the same.
    let json = r#"{"request":"GET /\x22a\x22 HTTP/1.1","status":"200","agent":"b"}"#;
    assert_eq!(text("json", Field::Url, json), r"/\x22a\x22");
    assert_eq!(text("json", Field::UserAgent, json), "b");
}

#[test]
fn numbers_are_not_always_there() {
    let parser = Parser::new(&Format::combined(), &[Field::Status, Field::Bytes]);
    for (numbers, expected) in [
        ("200 -", [Some(200), None]),
        ("200 0", [Some(200), Some(0)]),
        ("200 5368709120", [Some(200), Some(5_368_709_120)]),
        ("- -", [None, None]),
        ("000 0", [Some(0), Some(0)]),
        ("444 0", [Some(444), Some(0)]),
        ("460 0", [Some(460), Some(0)]),
        ("499 0", [Some(499), Some(0)]),
        ("999 0", [Some(999), Some(0)]),
    ] {
        let line = format!(r#"h - - [{TIME}] "GET / HTTP/1.1" {numbers} "-" "x""#);
        let fields = parser.parse(line.as_bytes()).unwrap();
        assert_eq!([0, 1].map(|index| fields.number(index)), expected);
    }
}

#[test]
fn a_line_may_be_long_and_may_be_cut() {
    let url = "/".repeat(200 << 10);
    let line = format!(r#"h - - [{TIME}] "GET {url} HTTP/1.1" 200 1 "-" "never closed"#);
    assert_eq!(text("combined", Field::Url, &line), url);
    let parser = Parser::new(&Format::combined(), &[Field::UserAgent]);
    let fields = parser.parse(line.as_bytes()).unwrap();
    assert_eq!(fields.outcome(), Outcome::Cut);
    assert_eq!(fields.get(0).unwrap(), b"never closed".as_slice());
}

#[test]
fn a_cookie_may_stand_where_the_user_does() {
    let cookie = || Field::Named("SITEUSER".into());
    for format in [
        r#"%h %l %{SITEUSER}C %t "%r" %>s %b"#,
        r#"%h %{SITEUSER}C %u %t "%r" %>s %b"#,
        r#"%h %l %u %t "%r" %>s %b "%{SITEUSER}C""#,
    ] {
        let value = "id=4%2F+x==";
        let line = format
            .replace("%{SITEUSER}C", value)
            .replace("%t", &format!("[{TIME}]"))
            .replace("%r", "GET /x HTTP/1.1");
        assert_eq!(text(format, cookie(), &line), value, "{format}");
        assert_eq!(text(format, Field::Url, &line), "/x", "{format}");
    }
}

/// What is known of the sample logs, where that folder is.
#[test]
fn samples_step_back_in_time() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples");
    for (name, lines, steps_back) in [
        ("apache_logs.log", 10_000, 4_915),
        ("hackers-access.log", 3_456, 0),
    ] {
        let Ok(log) = std::fs::read(samples.join(name)) else {
            return println!("skipped: there are no sample logs here");
        };
        let parser = Parser::new(&Format::combined(), &[Field::Time]);
        let mut clock = Clock::default();
        let stamps: Vec<u64> = log
            .split_inclusive(|&byte| byte == b'\n')
            .map(|line| {
                clock
                    .read(&parser.parse(line).unwrap().get(0).unwrap())
                    .unwrap()
            })
            .collect();
        assert_eq!(stamps.len(), lines);
        let back = stamps.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert_eq!(back, steps_back, "{name}");
    }
}

proptest! {
    /// Whatever is described and whatever comes, what is found is a part of the line; and no stamp
    /// harms the clock.
    #[test]
    fn any_description_reads_any_line(
        description in proptest::collection::vec(proptest::sample::select(vec![
            "%h", "%u", "%t", "%{%F %T}t", "%{usec_frac}t", "%r", "%m", "%U", "%>s", "%b", "%D", "%{X}C", "%{Referer}i",
            " ", "\"", "\\\"", "|", ".", "[", "]", "%%", "-",
        ]), 1..12),
        pieces in proptest::collection::vec(prop_oneof![
            proptest::sample::select(vec![
                &b" "[..], b"\"", b"|", b".", b"[", b"]", b"%", b"-", b"\\", b", ", b"GET / HTTP/1.1",
                b"10/Oct/2000:13:55:36 -0700", b"2015-05-20 12:53:11.139981", b"1432126391139981", b"200",
            ]).prop_map(<[u8]>::to_vec),
            proptest::collection::vec(any::<u8>(), 0..8),
        ], 0..30),
    ) {
        let Ok(format) = Format::parse(&description.concat()) else {
            return Ok(());
        };
        let wanted = [Field::Time, Field::Host, Field::User, Field::Url, Field::Status, Field::Bytes];
        let line = pieces.concat();
        if let Ok(fields) = Parser::new(&format, &wanted).parse(&line) {
            for value in (0..wanted.len()).filter_map(|index| fields.get(index)) {
                prop_assert!(value.is_empty() || line.windows(value.len()).any(|part| *part == *value));
            }
        }
        let mut clock = Clock::default();
        for stamp in [&line, &pieces.first().cloned().unwrap_or_default()] {
            prop_assert_eq!(clock.read(stamp), Clock::default().read(stamp));
        }
    }
}
