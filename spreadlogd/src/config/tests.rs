//! What files are read as, and what is said of mistakes.

use super::*;
use crate::stamp::Pattern;

fn good(text: &str) -> Config {
    Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn bad(text: &str) -> Vec<String> {
    Config::parse("f", text)
        .unwrap_err()
        .to_string()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn target(log: &Log) -> String {
    match &log.target {
        Target::File(pattern) => pattern.to_string(),
        Target::Stdout => "-".to_owned(),
        Target::Command(command) => format!("|{command}"),
        Target::Vhosts(directory) => format!("{}/*", directory.display()),
    }
}

#[test]
fn the_file_of_the_talk() {
    let config = good(
        r#"BufferSize = 65536
        Spread {
            Port = 4803
            Log {
                RewriteTimestamp = CommonLogFormat
                Group = "example"
                File = /data/logs/apache/www.example.com/combined_log
            }
        }"#,
    );
    let bus = &config.buses[0];
    let log = &bus.logs[0];
    assert_eq!(bus.address.as_deref(), Some("4803"));
    assert_eq!(log.group.to_string(), "example");
    assert_eq!(
        target(log),
        "/data/logs/apache/www.example.com/combined_log"
    );
    assert_eq!(log.rewrite_timestamp, Some(Pattern::common_log_format()));
}

#[test]
fn the_whole_grammar() {
    let config = good(
        "# globals\nQueueBytes=2000000 TimeZone = UTC\n\
         Spread { Host = log1 Log { Group=a File=/a } }\n\
         Spread { Port = 4913 Host=log2\n\
           Log { Group = a File = '|cat -u' Match = x Match = 'y z' NoMatch=\"^#\" }\n\
           Log { Group = a File = - RewriteTimestamp = \"[%s]\" }\n\
           Log { VhostDir = /v Group = b File = /unused } }\n\
         Spread { Port = 4914@log3 Log { Group = 'Log' File = /l/%Y=%m } }",
    );
    let addresses: Vec<_> = config
        .buses
        .iter()
        .map(|bus| bus.address.as_deref().unwrap())
        .collect();
    assert_eq!(addresses, ["4803@log1", "4913@log2", "4914@log3"]);
    assert_eq!(config.queue_bytes_max, 2_000_000);
    let logs: Vec<_> = config
        .buses
        .iter()
        .flat_map(|bus| &bus.logs)
        .map(target)
        .collect();
    assert_eq!(logs, ["/a", "|cat -u", "-", "/v/*", "/l/%Y=%m"]);
    let filter = &config.buses[1].logs[0].filter;
    assert_eq!((filter.any.len(), filter.none.len()), (2, 1));
}

#[test]
fn without_port_and_host_the_default_socket_is_meant() {
    assert_eq!(
        good("Spread { Log { Group = a File = /a } }").buses[0].address,
        None
    );
}

#[test]
fn every_mistake_is_reported() {
    let expected = [
        "f:1: unknown keyword \"BuferSize\", did you mean \"BufferSize\"? allowed here: ",
        "f:2: BufferSize must be 1 to 4294967295, got \"x\"",
        "f:4: Port must be 1 to 65535 or PORT@HOST, got \"x\"",
        "f:6: Group \"a b\": ",
        "f:7: \"(\" is not a regular expression: unclosed group",
        "f:8: RewriteTimestamp must be CommonLogFormat or a strftime format, got \"%!\": ",
        "f:9: File needs a command behind '|'",
        "f:12: TimeZone must be UTC or a name such as Europe/Paris, got \"Mars\": ",
    ];
    let errors = bad(
        "BuferSize = 1\nBufferSize = x\nSpread {\n Port = x\n Log {\n Group = 'a b'\n\
         Match = '('\n RewriteTimestamp = %!\n File = '|'\n }\n}\nTimeZone = Mars\n",
    );
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_mistake_hides_no_other() {
    let log = "Log { Group = a File = /a }";
    let errors = bad(&format!(
        "BufferSize = 0 Spread {{ Prt = 1\nLog {{ Mach = \"{{\" Group = a\nFile = '|' Match = '(' }} {log} }}\n\
         Sprad {{ Log {{ Match = \"}}\" }} }}\nQuorum = all Spread {{ Host = '}}' {log}\n"
    ));
    let lines: Vec<&str> = errors
        .iter()
        .map(|error| error.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        lines,
        ["f:1", "f:1", "f:2", "f:3", "f:3", "f:4", "f:5", "f:5"],
        "{errors:#?}"
    );
    assert!(errors[0].contains("BufferSize must be"), "{}", errors[0]);
}

#[test]
fn what_contradicts_itself_is_reported() {
    let log = "Log { Group = a File = /a }";
    assert_eq!(
        bad(&format!("Spread {{ Port = 4913@one Host = two {log} }}")),
        ["f:1: Port \"4913@one\" names a host already"]
    );
    assert_eq!(
        bad("Spread { Log { Group = a VhostDir = \"\" } }"),
        ["f:1: VhostDir needs a directory"]
    );
}

#[test]
fn incomplete_blocks_are_reported() {
    assert_eq!(bad(""), ["f: no Spread block, at least one is needed"]);
    assert_eq!(
        bad("Spread {}"),
        ["f:1: this Spread block has no Log block, at least one is needed"]
    );
    for log in ["Log {}", "Log { Group = a }", "Log { File = /a }"] {
        assert_eq!(
            bad(&format!("Spread {{ {log} }}")),
            ["f:1: a Log block needs a Group, and a File or a VhostDir"]
        );
    }
}

#[test]
fn modules_have_one_clear_error_each() {
    let errors = bad("LoadModule online 8989\nSpread { Log {\nPerlLog X::log\n } }");
    assert_eq!(errors.len(), 2);
    assert_eq!(
        errors[0],
        "f:1: LoadModule: Perl, Python and C modules are not supported, use File = |command, or a \
         program that joins the group"
    );
    assert!(errors[1].starts_with("f:3: PerlLog: "), "{errors:?}");
}

#[test]
fn options_make_a_setting() {
    let groups = ["a".to_owned(), "b".to_owned()];
    let config = Config::from_options(&groups, "-").unwrap();
    let logs: Vec<_> = config.buses[0].logs.iter().map(target).collect();
    assert_eq!(logs, ["-", "-"]);
    assert!(
        Config::from_options(&["a b".to_owned()], "-")
            .unwrap_err()
            .starts_with("group \"a b\": ")
    );
    assert!(
        Config::from_options(&groups, "|")
            .unwrap_err()
            .starts_with("--output needs ")
    );
}

fn keep(text: &str) -> Option<Keep> {
    let text = format!("{text}\nSpread {{ Log {{ Group = a File = /a }} }}");
    good(&text).keep
}

#[test]
fn loggers_that_keep_one_log() {
    assert_eq!(keep(""), None);
    let two = keep("Loggers = a b # both\nName = a").unwrap();
    assert_eq!(two.loggers, ["a", "b"]);
    assert_eq!(
        (two.quorum, two.witness),
        (weblog::stream::Quorum::None, false)
    );
    assert_eq!(two.state_dir.to_str(), Some("/var/lib/spreadlogd"));
    assert_eq!(two.group_commit.as_millis(), 5);
    let three = keep(
        "Name=c\nLoggers = a b c:witness\nQuorum = majority StateDir = /s\n\
         GroupCommit = 500us CatchupRate = 50% KeepForPeers = 2d",
    )
    .unwrap();
    assert_eq!(three.loggers, ["a", "b", "c"]);
    assert!(three.witness && three.quorum == weblog::stream::Quorum::Majority);
    assert_eq!(three.group_commit.as_micros(), 500);
    assert_eq!(three.keep_for_peers.as_secs(), 2 * 86400);
    assert_eq!(three.catchup_percent, 50);
}

#[test]
fn mistakes_with_loggers_are_reported() {
    for (text, expected) in [
        (
            "Loggers = a a\nName = a",
            "f:1: Loggers: \"a\" stands there twice",
        ),
        (
            "Loggers = a b/c\nName = a",
            "f:1: Loggers: a name is 1 to 64 letters",
        ),
        (
            "Name = x\nLoggers = a b",
            "f:1: this logger's Name is \"x\"",
        ),
        (
            "Name = a\nLoggers = a b\nQuorum = majority",
            "f:3: Quorum = majority needs three",
        ),
        (
            "Name = a\nLoggers = a:witness",
            "f:2: Loggers: one of them must keep files",
        ),
        ("Quorum = most", "f:1: Quorum must be"),
        (
            "CatchupRate = 25",
            "f:1: CatchupRate must be a number with % behind it, 1 to 100 %",
        ),
    ] {
        let text = format!("{text}\nSpread {{ Log {{ Group = a File = /a }} }}");
        let errors = bad(&text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(expected), "{errors:?}");
    }
    let block = "Spread { Log { Group = a File = /a } }\n";
    let errors = bad(&format!("Name = a\nLoggers = a b\n{block}{block}"));
    assert_eq!(
        errors,
        ["f: with Loggers there can be one Spread block only"]
    );
}

#[test]
fn rotation_by_size_needs_loggers() {
    let block = "Spread { Log { Group = a File = /a RotateBytes = 100 } }";
    assert_eq!(bad(block), ["f: RotateBytes needs Loggers"]);
    let config = good(&format!("Loggers = a b\nName = a\n{block}"));
    assert_eq!(config.buses[0].logs[0].rotate_bytes, Some(100));
}
