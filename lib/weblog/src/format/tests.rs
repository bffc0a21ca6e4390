use std::path::Path;

use proptest::prelude::*;

use super::*;

const ALL: [Field; 11] = [
    Field::Host,
    Field::User,
    Field::Time,
    Field::Request,
    Field::Method,
    Field::Url,
    Field::Status,
    Field::Bytes,
    Field::Referer,
    Field::UserAgent,
    Field::Vhost,
];

const TIME: &str = "10/Oct/2000:13:55:36 -0700";

/// The fields of a line as text, `~` for what is not there.
fn read(format: &str, wanted: &[Field], line: &[u8]) -> Result<(Vec<String>, Outcome), Unparsed> {
    let parser = Parser::new(&Format::parse(format).unwrap(), wanted);
    let fields = parser.parse(line)?;
    let text = |index| match fields.get(index) {
        Some(value) => String::from_utf8_lossy(&value).into_owned(),
        None => "~".to_owned(),
    };
    Ok(((0..wanted.len()).map(text).collect(), fields.outcome()))
}

fn one(format: &str, field: Field, line: &str) -> String {
    read(format, &[field], line.as_bytes()).unwrap().0.remove(0)
}

#[test]
fn all_of_combined() {
    let line =
        format!(r#"::1 - frank [{TIME}] "GET /a%20b?c HTTP/1.0" 200 2326 "http://r/" "A/1""#);
    let (fields, outcome) = read("combined", &ALL, line.as_bytes()).unwrap();
    let expected = [
        "::1",
        "frank",
        TIME,
        "GET /a%20b?c HTTP/1.0",
        "GET",
        "/a%20b?c",
        "200",
        "2326",
        "http://r/",
        "A/1",
        "~",
    ];
    assert_eq!(fields, expected);
    assert_eq!(outcome, Outcome::Whole);
    assert_eq!(
        read("combined", &ALL, (line.clone() + "\r\n").as_bytes())
            .unwrap()
            .0,
        expected
    );
    let line = format!("www.example.com:443 {line}");
    let (fields, _) = read("vhost_combined", &ALL, line.as_bytes()).unwrap();
    assert_eq!(fields[..2], ["::1", "frank"]);
    assert_eq!(fields[10], "www.example.com");
}

#[test]
fn common_is_combined_that_ends_early() {
    let line = format!(r#"h - - [{TIME}] "GET / HTTP/1.0" 200 -"#);
    let (fields, outcome) = read("combined", &ALL, line.as_bytes()).unwrap();
    assert_eq!(fields[6..], ["200", "~", "~", "~", "~"]);
    assert_eq!(outcome, Outcome::Cut);
    let wanted = [Field::Host, Field::Bytes];
    assert_eq!(
        read("common", &wanted, line.as_bytes()).unwrap().1,
        Outcome::Whole
    );
    assert_eq!(
        read("combined", &wanted, line.as_bytes()).unwrap().1,
        Outcome::Whole
    );
}

#[test]
fn users_are_not_quoted() {
    let user = |user: &str| {
        let line = format!(r#"h - {user} [{TIME}] "GET / HTTP/1.0" 401 5"#);
        let (fields, _) = read("common", &[Field::User, Field::Url], line.as_bytes()).unwrap();
        assert_eq!(fields[1], "/", "{user}");
        fields[0].clone()
    };
    assert_eq!(user("-"), "~");
    assert_eq!(user("two words"), "two words");
    assert_eq!(user(r#""""#), r#""""#);
    assert_eq!(user("a [b"), "a [b");
    assert_eq!(user("a [b] c"), "a [b] c");
    assert_eq!(user("- ["), "- [");
}

#[test]
fn hosts_are_any_word() {
    let host = |host: &str| {
        one(
            "common",
            Field::Host,
            &format!(r#"{host} - - [{TIME}] "-" 408 -"#),
        )
    };
    for word in [
        "::1",
        "unix:",
        "a.example.com",
        "fe80::1%eth0",
        "1.2.3.4, 5.6.7.8",
    ] {
        assert_eq!(host(word), word);
    }
    assert_eq!(host("-"), "~");
}

#[test]
fn requests_are_whatever_clients_send() {
    let request = |request: &str| {
        let line = format!(r#"h - - [{TIME}] "{request}" 400 0 "-" "x""#);
        let wanted = [Field::Method, Field::Url, Field::Status, Field::UserAgent];
        let (fields, outcome) = read("combined", &wanted, line.as_bytes()).unwrap();
        assert_eq!(
            (&*fields[2], &*fields[3], outcome),
            ("400", "x", Outcome::Whole),
            "{request}"
        );
        (fields[0].clone(), fields[1].clone())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(request("GET /x"), pair("GET", "/x"));
    assert_eq!(request("GET /a b c HTTP/1.1"), pair("GET", "/a b c"));
    assert_eq!(request("GET  HTTP/1.1"), pair("GET", ""));
    assert_eq!(request("-"), pair("~", "~"));
    assert_eq!(request(""), pair("~", "~"));
    assert_eq!(request(r"\x16\x03\x01"), pair("~", "~"));
    assert_eq!(request(r"\n"), pair("~", "~"));
    assert_eq!(request("CONNECT a:443 HTTP/1.1"), pair("CONNECT", "a:443"));
    assert_eq!(request("OPTIONS * HTTP/1.0"), pair("OPTIONS", "*"));
    assert_eq!(request(r#"GET /\"q\" HTTP/1.1"#), pair("GET", r#"/\"q\""#));
    assert_eq!(request(r"GET /b\\"), pair("GET", r"/b\\"));
    assert_eq!(request(r#"GET /c\\\" HTTP/1.1"#), pair("GET", r#"/c\\\""#));
}

#[test]
fn bytes_are_bytes() {
    let line = [
        b"h - - [".as_slice(),
        TIME.as_bytes(),
        b"] \"GET /\xff\0\t\r HTTP/1.1\" 200 1",
    ]
    .concat();
    let parser = Parser::new(&Format::combined(), &[Field::Url]);
    let fields = parser.parse(&line).unwrap();
    assert_eq!(fields.get(0).unwrap(), b"/\xff\0\t\r".as_slice());
}

#[test]
fn numbers() {
    let line = format!(r#"h - - [{TIME}] "GET / HTTP/1.0" 499 5000000000"#);
    let parser = Parser::new(
        &Format::combined(),
        &[Field::Status, Field::Bytes, Field::Host],
    );
    let fields = parser.parse(line.as_bytes()).unwrap();
    assert_eq!(
        [0, 1, 2].map(|i| fields.number(i)),
        [Some(499), Some(5_000_000_000), None]
    );
    let line = line.replace("499 5000000000", "- 99999999999999999999");
    let fields = parser.parse(line.as_bytes()).unwrap();
    assert_eq!([0, 1].map(|i| fields.number(i)), [None, None]);
}

#[test]
fn cut_lines_are_kept_and_others_are_not() {
    let line = format!(r#"h - - [{TIME}] "GET / HTTP/1.0" 200 77 "http://r/" "Mozilla"#);
    let cut = |length: usize| read("combined", &ALL, &line.as_bytes()[..length]);
    let (fields, outcome) = cut(line.len()).unwrap();
    assert_eq!((&*fields[9], outcome), ("Mozilla", Outcome::Cut));
    let status = line.find(" 200 ").unwrap() + 1;
    for length in 0..status {
        assert_eq!(cut(length), Err(Unparsed), "{length}");
    }
    for length in status + 3..line.len() {
        let (fields, outcome) = cut(length).unwrap();
        assert_eq!((&*fields[6], outcome), ("200", Outcome::Cut), "{length}");
    }
    for other in [
        "",
        "\n",
        "hello",
        "a b c d e f g h i",
        "{\"a\":1}",
        "[x] \"",
        "\" \" \"",
    ] {
        assert_eq!(
            read("combined", &ALL, other.as_bytes()),
            Err(Unparsed),
            "{other}"
        );
    }
    // Only what is wanted has to be there.
    assert_eq!(one("combined", Field::Host, "h and no more of it"), "h");
}

#[test]
fn described_formats() {
    let format = r#"%v %h %l %u %t \"%r\" %>s %O %D "%{SITEUSER}C" %{X-Forwarded-For}i"#;
    let line = format!(r#"v h - - [{TIME}] "GET / HTTP/1.0" 200 12 99 "id=4%2f" 1.1.1.1, 2.2.2.2"#);
    assert_eq!(
        one(format, Field::Named("SITEUSER".into()), &line),
        "id=4%2f"
    );
    assert_eq!(
        one(format, Field::Named("X-Forwarded-For".into()), &line),
        "1.1.1.1, 2.2.2.2"
    );
    assert_eq!(one(format, Field::Vhost, &line), "v");
    let line = "2026-11-22 03:45:16.123|h|GET|/x y|200";
    let format = "%{%F %T}t|%h|%m|%U|%s";
    assert_eq!(one(format, Field::Time, line), "2026-11-22 03:45:16.123");
    assert_eq!(one(format, Field::Url, line), "/x y");
    assert_eq!(one("%%%h", Field::Host, "%x"), "x");
    let error = |text| Format::parse(text).unwrap_err();
    assert_eq!(error("%h%u"), DescriptionError::SideBySide("%u".into()));
    assert_eq!(error("%h %{x}"), DescriptionError::Unknown("%{x}".into()));
    assert_eq!(error("%h %y"), DescriptionError::Unknown("%y".into()));
    assert_eq!(error("%h \u{e9} %s"), DescriptionError::NotAscii);
    assert_eq!(error("combind"), DescriptionError::NoField);
}

#[test]
fn json_of_nginx() {
    let line = r#"{"time_local":"10/Oct/2000:13:55:36 -0700","remote_addr":"::1","remote_user":"",
        "request":"GET /a\u00e9\"b HTTP/1.1","status": 200,"body_bytes_sent":"5","http_referer":"-",
        "http_user_agent":"x\\y\ud83d\ude00","server_name":"www","uid":"u1"}"#;
    let (fields, outcome) = read("json", &ALL, line.as_bytes()).unwrap();
    let request = "GET /a\u{e9}\"b HTTP/1.1";
    assert_eq!(
        fields,
        [
            "::1",
            "~",
            TIME,
            request,
            "GET",
            "/a\u{e9}\"b",
            "200",
            "5",
            "~",
            "x\\y\u{1f600}",
            "www"
        ]
    );
    assert_eq!(outcome, Outcome::Whole);
    assert_eq!(one("json", Field::Named("uid".into()), line), "u1");
    assert_eq!(one("json", Field::Url, line), "/a\u{e9}\"b");
}

#[test]
fn json_of_caddy() {
    let line = r#"{"level":"info","ts":1646861401.5241,"logger":"http.log.access","request":{
        "remote_ip":"10.0.0.1","client_ip":"10.0.0.9","proto":"HTTP/2.0","method":"GET","host":"localhost",
        "uri":"/p?q","headers":{"User-Agent":["curl/7","b"],"Referer":["http://r"],"X":[{"a":[]}]}},
        "bytes_read":0,"user_id":"ann","size":10900,"status":200,"resp_headers":{"Server":["Caddy"]}}"#;
    let (fields, _) = read("json", &ALL, line.as_bytes()).unwrap();
    assert_eq!(
        fields,
        [
            "10.0.0.9",
            "ann",
            "1646861401.5241",
            "~",
            "GET",
            "/p?q",
            "200",
            "10900",
            "http://r",
            "curl/7",
            "localhost"
        ]
    );
}

#[test]
fn json_that_is_none() {
    for line in [
        "",
        "{",
        "[]",
        "{}x",
        "{\"status\"}",
        "{\"status\":",
        "{\"status\":\"20",
        "{,}",
    ] {
        let result = read("json", &[Field::Status], line.as_bytes());
        assert!(
            result.is_err() || result.as_ref().unwrap().0 == ["~"],
            "{line}: {result:?}"
        );
    }
    // As nginx writes it without escape=json: the line is cut at what is no JSON.
    let line = br#"{"status":200,"url":"/\x22","host":"h","agent":"a"b"}"#;
    let (fields, outcome) = read("json", &[Field::Status, Field::Referer], line).unwrap();
    assert_eq!((&*fields[0], outcome), ("200", Outcome::Cut));
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(read("json", &[Field::Status], deep.as_bytes()).is_err());
}

#[test]
fn stamps() {
    let mut clock = Clock::default();
    for (stamp, seconds) in [
        (TIME, Some(971_211_336)),
        (TIME, Some(971_211_336)),
        ("01/Jan/1970:00:00:00 +0000", Some(0)),
        ("29/Feb/2024:23:59:60 +0100", Some(1_709_247_600)),
        ("2024-02-29T23:00:00Z", Some(1_709_247_600)),
        ("2024-02-29T23:00:00+00:00", Some(1_709_247_600)),
        ("2024-03-01 00:00:00,123 +0100", Some(1_709_247_600)),
        ("1709247600.999", Some(1_709_247_600)),
        ("1709247600", Some(1_709_247_600)),
        ("01/Jan/1970:00:00:00 +0100", None),
        ("01/Foo/1970:00:00:00 +0000", None),
        ("32/Jan/1970:00:00:00 +0000", None),
        ("aa/Jan/1970:00:00:00 +0000", None),
        ("", None),
        ("yesterday", None),
    ] {
        assert_eq!(clock.read(stamp.as_bytes()), seconds, "{stamp}");
    }
}

/// The facts of the sample logs as awk counts them, where that folder is.
#[test]
fn sample_logs() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples");
    let Ok(log) = std::fs::read(samples.join("apache_logs.log")) else {
        return println!("skipped: there are no sample logs here");
    };
    let parser = Parser::new(&Format::combined(), &ALL);
    let lines: Vec<_> = log.split_inclusive(|&byte| byte == b'\n').collect();
    let fields: Vec<_> = lines
        .iter()
        .map(|line| parser.parse(line).unwrap())
        .collect();
    assert_eq!(fields.len(), 10_000);
    let count = |index: usize, text: &str| {
        fields
            .iter()
            .filter(|f| f.get(index).is_some_and(|v| *v == *text.as_bytes()))
            .count()
    };
    let statuses = ["200", "304", "404", "301", "206", "500", "403", "416"];
    assert_eq!(
        statuses.map(|s| count(6, s)),
        [9126, 445, 213, 164, 45, 3, 2, 2]
    );
    assert_eq!(
        ["GET", "HEAD", "POST", "OPTIONS"].map(|m| count(4, m)),
        [9952, 42, 5, 1]
    );
    assert_eq!(fields.iter().filter(|f| f.get(7).is_none()).count(), 669);
    assert_eq!(
        fields
            .iter()
            .filter(|f| f.outcome() == Outcome::Cut)
            .count(),
        1
    );
    let hosts: std::collections::HashSet<_> = fields.iter().map(|f| f.get(0)).collect();
    assert_eq!(hosts.len(), 1753);
}

/// What servers write for any bytes inside quotes: Apache's escapes.
fn escape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            0..0x20 | 0x7f.. => out.extend(format!("\\x{byte:02x}").bytes()),
            _ => out.push(byte),
        }
    }
    out
}

proptest! {
    #[test]
    fn what_apache_writes_is_read_back(
        host in "[a-z0-9:.]{1,20}",
        user in "[a-z \\[\\]\"-]{0,12}[a-z]",
        url in "/[ -~]{0,30}",
        agent in proptest::collection::vec(any::<u8>(), 0..40),
        status in 100u16..1000,
    ) {
        prop_assume!(!agent.is_empty() && agent != b"-");
        let (url, agent) = (escape(url.as_bytes()), escape(&agent));
        let line = [
            host.as_bytes(), b" - ", user.as_bytes(), b" [", TIME.as_bytes(), b"] \"GET ", &url,
            b" HTTP/1.1\" ", status.to_string().as_bytes(), b" 7 \"-\" \"", &agent, b"\"\n",
        ].concat();
        let parser = Parser::new(&Format::combined(), &ALL);
        let fields = parser.parse(&line).unwrap();
        prop_assert_eq!(fields.outcome(), Outcome::Whole);
        prop_assert_eq!(fields.get(0).unwrap(), host.as_bytes());
        prop_assert_eq!(fields.get(1).unwrap(), user.as_bytes());
        prop_assert_eq!(fields.get(5).unwrap(), &*url);
        prop_assert_eq!(fields.number(6), Some(u64::from(status)));
        prop_assert_eq!(fields.get(9).unwrap(), &*agent);
    }

    /// Whatever is fed, and whatever is wanted of it: no panic, and the same values as when all
    /// is wanted.
    #[test]
    fn fewer_fields_are_the_same_fields(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(b" ".to_vec()), Just(b"\"".to_vec()), Just(b" [".to_vec()), Just(b"]".to_vec()),
                Just(b"\\".to_vec()), Just(TIME.as_bytes().to_vec()), Just(b"GET / HTTP/1.1".to_vec()),
                Just(b"{\"status\":".to_vec()), Just(b"\"request\":{\"uri\":\"".to_vec()), Just(b"}".to_vec()),
                Just(b",".to_vec()), proptest::collection::vec(any::<u8>(), 0..8),
            ], 0..40),
        format in prop_oneof![Just("combined"), Just("vhost_combined"), Just("json")],
        index in 0..ALL.len(),
    ) {
        let line = pieces.concat();
        let format = Format::parse(format).unwrap();
        let all = Parser::new(&format, &ALL).parse(&line);
        let alone = Parser::new(&format, &ALL[index..=index]).parse(&line);
        if let (Ok(all), Ok(alone)) = (all, alone) {
            prop_assert_eq!(all.get(index), alone.get(0));
        }
    }
}
