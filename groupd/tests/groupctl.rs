//! groupctl, run as a program, against a daemon of a few lines that has one group table and no
//! ring.

mod fake;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};

use fake::{FakeDaemon, Scratch};
use groupd::control::{Answer, Group, Groups, Members, Request, Sessions, State, Status};
use serde_json::{Value, json};

/// A command of groupctl on a daemon; it knows of no other daemon.
fn groupctl(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_groupctl"));
    command
        .env_remove("GROUPD_SOCKET")
        .env_remove("XDG_RUNTIME_DIR");
    command
        .arg("--socket")
        .arg(scratch.path("socket"))
        .args(args);
    command.stdin(Stdio::null());
    command
}

fn run(scratch: &Scratch, args: &[&str]) -> Output {
    groupctl(scratch, args).output().unwrap()
}

fn start(scratch: &Scratch, args: &[&str]) -> Child {
    groupctl(scratch, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The output of a command that must do well.
fn text(output: Output) -> String {
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*errors), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// Code and message of a command that must not.
fn complaint(output: Output) -> (i32, String) {
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn answer(request: Request) -> Answer {
    match request {
        Request::Status => Answer::Status(Status {
            name: "n1".into(),
            state: State::Gather,
            view: None,
            ring: BTreeMap::from([("delivered".into(), 5)]),
            sessions: Sessions {
                count: 1,
                queued_bytes: 2,
                slow_disconnects: 3,
            },
            sealed: true,
            groups: 1,
            uptime_seconds: 7,
        }),
        // Lists come in parts of one.
        Request::Groups { after } => {
            let (name, members, next) = match after.as_deref() {
                None => ("logs", 3, Some("6c6f6773".into())),
                Some("6c6f6773") => ("purge", 2, None),
                Some(other) => panic!("{other}"),
            };
            let group = Group {
                name: name.into(),
                members,
                local: 1,
            };
            Answer::Groups(Groups {
                groups: vec![group],
                next,
            })
        }
        Request::Members { group, after } => {
            let (members, gid, next) = match (&*group, after) {
                ("logs", None) => (vec!["#a#n1".into()], Some([1, 2, 3]), Some(1)),
                ("logs", Some(1)) => (vec!["#b#n2".into()], Some([1, 2, 3]), None),
                // Another membership each time.
                ("busy", None) => (vec!["#a#n1".into()], Some([1, 2, 3]), Some(1)),
                ("busy", Some(1)) => (vec!["#b#n2".into()], Some([1, 2, 4]), None),
                _ => (vec![], None, None),
            };
            Answer::Members(Members {
                group,
                members,
                gid,
                next,
            })
        }
    }
}

#[test]
fn questions_are_answered_for_people() {
    let scratch = Scratch::new("people");
    fake::control(&scratch, answer);
    let status = text(run(&scratch, &["status"]));
    assert!(
        status.starts_with("daemon      n1\nstate       gather\n"),
        "{status}"
    );
    assert!(status.contains("\nview        none yet\n"), "{status}");
    let groups = text(run(&scratch, &["groups"]));
    assert_eq!(
        groups.split_whitespace().collect::<Vec<_>>(),
        [
            "logs", "members", "3,", "here", "1", "purge", "members", "2,", "here", "1"
        ]
    );
    assert_eq!(text(run(&scratch, &["members", "logs"])), "#a#n1\n#b#n2\n");
}

#[test]
fn questions_are_answered_for_programs() {
    let scratch = Scratch::new("programs");
    fake::control(&scratch, answer);
    let value =
        |args: &[&str]| -> Value { serde_json::from_str(&text(run(&scratch, args))).unwrap() };
    assert_eq!(
        value(&["status", "--json"]),
        json!({
            "name": "n1", "state": "gather", "view": null, "ring": {"delivered": 5},
            "sessions": {"count": 1, "queued_bytes": 2, "slow_disconnects": 3},
            "sealed": true, "groups": 1, "uptime_seconds": 7,
        })
    );
    assert_eq!(
        value(&["groups", "--json"]),
        json!({"groups": [
            {"name": "logs", "members": 3, "local": 1},
            {"name": "purge", "members": 2, "local": 1},
        ]})
    );
    assert_eq!(
        value(&["members", "logs", "--json"]),
        json!({"group": "logs", "members": ["#a#n1", "#b#n2"], "gid": [1, 2, 3]})
    );
}

#[test]
fn an_empty_group_is_an_honest_no() {
    let scratch = Scratch::new("empty");
    fake::control(&scratch, answer);
    assert_eq!(
        complaint(run(&scratch, &["members", "nobody"])),
        (1, String::new())
    );
}

#[test]
fn members_of_two_memberships_are_not_mixed() {
    let scratch = Scratch::new("busy");
    fake::control(&scratch, answer);
    let (code, message) = complaint(run(&scratch, &["members", "busy"]));
    assert_eq!(code, 2);
    assert!(
        message.contains("change faster than they can be listed"),
        "{message}"
    );
}

#[test]
fn no_daemon_is_fatal_and_named() {
    let scratch = Scratch::new("absent");
    let socket = scratch.path("socket").display().to_string();
    let control = scratch.path("control").display().to_string();
    let (code, message) = complaint(run(&scratch, &["status"]));
    assert_eq!(code, 2);
    assert!(message.starts_with(&format!("groupctl: cannot ask groupd at {control}: ")));
    assert!(message.ends_with(", is groupd running?\n"), "{message}");
    let (code, message) = complaint(run(&scratch, &["join", "g"]));
    assert_eq!(code, 2);
    assert!(message.starts_with(&format!("groupctl: cannot connect to groupd at {socket}: ")));
    assert!(message.ends_with(", is groupd running?\n"), "{message}");
}

#[test]
fn wrong_usage_is_told_in_a_line() {
    let scratch = Scratch::new("usage");
    let tail = "Try 'groupctl --help' for more information.\n";
    for (args, words) in [
        (&[][..], "requires a subcommand"),
        (&["frobnicate"], "frobnicate"),
        (&["join"], "<GROUP>"),
        (&["join", "#a#b"], "a name has bytes from '$' to '~' only"),
        (
            &["send", "g", "x", "--service", "best"],
            "service must be unreliable, reliable, fifo",
        ),
        (&["send", ""], "must not be empty"),
        (&["flood", "--window", "0"], "0"),
        (
            &["flood", "--send-only", "--members", "2"],
            "cannot be used with",
        ),
        (&["--socket", "4803@host", "status"], "give --control PATH"),
    ] {
        let (code, message) = complaint(run(&scratch, args));
        assert_eq!(code, 2, "{args:?}");
        assert!(
            message.starts_with("groupctl: ") && message.ends_with(tail),
            "{message}"
        );
        assert!(message.contains(words), "{args:?}: {message}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let scratch = Scratch::new("help");
    let help = text(run(&scratch, &["--help"]));
    for command in [
        "status", "groups", "members", "join", "send", "flood", "keygen",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    assert_eq!(
        text(run(&scratch, &["-V"])),
        format!("groupctl {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn messages_are_joined_and_sent() {
    let scratch = Scratch::new("messages");
    let daemon = FakeDaemon::start(&scratch);
    let join = start(&scratch, &["join", "greetings", "-n3"]);
    daemon.wait_for_members("greetings", 1);
    assert_eq!(text(run(&scratch, &["send", "greetings", "hello"])), "");
    assert_eq!(text(run(&scratch, &["send", "greetings", "a\x1b[2Jb"])), "");
    let mut send = start(&scratch, &["send", "greetings", "-"]);
    send.stdin
        .take()
        .unwrap()
        .write_all(b"from\nstdin\n")
        .unwrap();
    text(send.wait_with_output().unwrap());
    let printed = text(join.wait_with_output().unwrap());
    let lines: Vec<_> = printed
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    assert!(lines[0].0.starts_with("greetings #r"), "{printed}");
    let data: Vec<_> = lines.iter().map(|line| line.1).collect();
    assert_eq!(data, ["hello", "a\\u{1b}[2Jb", "from\\nstdin"]);
}

#[test]
fn events_are_printed_as_json() {
    let scratch = Scratch::new("json");
    let daemon = FakeDaemon::start(&scratch);
    let join = start(
        &scratch,
        &["join", "--membership", "--json", "-n", "3", "g"],
    );
    daemon.wait_for_members("g", 1);
    text(run(
        &scratch,
        &["send", "g", "hello", "--service=safe", "--type=7"],
    ));
    let mut send = start(&scratch, &["send", "g"]);
    send.stdin.take().unwrap().write_all(b"\xff\x00").unwrap();
    text(send.wait_with_output().unwrap());
    let events: Vec<Value> = text(join.wait_with_output().unwrap())
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let member = &events[0]["members"][0];
    assert_eq!(
        events[0],
        json!({
            "event": "membership", "group": "g", "cause": "join", "gid": [1, 1, 1],
            "members": [member], "vs_sets": [[member]], "own_set": 0,
        })
    );
    let sender = &events[1]["sender"];
    assert_ne!(sender, member);
    assert_eq!(
        events[1],
        json!({
            "event": "message", "groups": ["g"], "sender": sender, "service": "safe", "type": 7,
            "data": "hello",
        })
    );
    assert_eq!(events[2]["data_hex"], "ff00");
    assert_eq!(events[2]["data"], Value::Null);
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let scratch = Scratch::new("long");
    let _daemon = FakeDaemon::start(&scratch);
    for (length, code) in [(131_072, 0), (131_073, 2)] {
        let mut send = start(&scratch, &["send", "g"]);
        send.stdin
            .take()
            .unwrap()
            .write_all(&vec![b'x'; length])
            .unwrap();
        assert_eq!(
            send.wait_with_output().unwrap().status.code(),
            Some(code),
            "{length}"
        );
    }
}

#[test]
fn a_daemon_that_goes_away_is_fatal() {
    let scratch = Scratch::new("gone");
    let daemon = FakeDaemon::start(&scratch);
    let join = start(&scratch, &["join", "g"]);
    daemon.wait_for_members("g", 1);
    daemon.close_all();
    let (code, message) = complaint(join.wait_with_output().unwrap());
    assert_eq!(
        (code, &*message),
        (2, "groupctl: the daemon closed the connection\n")
    );
}

#[test]
fn every_member_of_a_flood_counts_the_messages_of_all() {
    let scratch = Scratch::new("flood");
    let _daemon = FakeDaemon::start(&scratch);
    let args = [
        "flood", "--json", "-n2", "-m", "2000", "-b100", "--window", "50",
    ];
    let members = [start(&scratch, &args), start(&scratch, &args)];
    for member in members {
        let report: Value =
            serde_json::from_str(&text(member.wait_with_output().unwrap())).unwrap();
        assert_eq!(report["received"], 4000);
        assert_eq!(report["received_bytes"], 400_000);
        assert_eq!(report["sent"], 2000);
        assert_eq!(report["latency_us"]["samples"], 2000);
        let [p50, p95, p99, max] =
            ["p50", "p95", "p99", "max"].map(|key| report["latency_us"][key].as_u64().unwrap());
        assert!(p50 <= p95 && p95 <= p99 && p99 <= max);
        let rate = report["messages_per_second"].as_f64().unwrap();
        let seconds = report["seconds"].as_f64().unwrap();
        assert!((rate * seconds - 4000.0).abs() < 1.0, "{report}");
    }
}

#[test]
fn a_sender_need_not_be_a_member() {
    let scratch = Scratch::new("roles");
    let daemon = FakeDaemon::start(&scratch);
    let receiver = start(&scratch, &["flood", "--receive-only", "-g", "f"]);
    daemon.wait_for_members("f", 1);
    let sender = run(
        &scratch,
        &["flood", "--send-only", "-g", "f", "-m", "300", "-b10"],
    );
    let sent = text(sender);
    assert!(
        sent.starts_with("sent 300 messages (agreed, 3000 bytes of data) in "),
        "{sent}"
    );
    let received = text(receiver.wait_with_output().unwrap());
    assert!(
        received.starts_with("received 300 messages (agreed, 3000 bytes of data) in "),
        "{received}"
    );
    assert_eq!(
        received.lines().count(),
        1,
        "no latencies without own messages: {received}"
    );
}

#[test]
fn a_flood_that_lost_a_member_says_so() {
    let scratch = Scratch::new("lost");
    let daemon = FakeDaemon::start(&scratch);
    let receiver = start(&scratch, &["flood", "--receive-only", "--members", "2"]);
    let mut other = start(&scratch, &["join", "flood"]);
    daemon.wait_for_members("flood", 2);
    other.kill().unwrap();
    other.wait().unwrap();
    let (code, message) = complaint(receiver.wait_with_output().unwrap());
    assert_eq!(code, 1);
    assert!(
        message.ends_with(" left before all messages were there\n"),
        "{message}"
    );
}

#[test]
fn a_key_is_made_once() {
    let scratch = Scratch::new("key");
    let key = scratch.path("new/key");
    let args = ["keygen", key.to_str().unwrap()];
    let said = text(run(&scratch, &args));
    assert_eq!(
        said,
        format!("{}: copy it to every daemon of the ring\n", key.display())
    );
    let digits = fs::read_to_string(&key).unwrap();
    assert_eq!(digits.len(), 65);
    assert!(
        digits
            .trim_end()
            .bytes()
            .all(|digit| digit.is_ascii_hexdigit())
    );
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert!(!said.contains(digits.trim_end()));

    let (code, message) = complaint(run(&scratch, &args));
    assert_eq!(code, 1);
    assert!(
        message.ends_with("key: there is a file already, it stays as it is\n"),
        "{message}"
    );
    assert_eq!(fs::read_to_string(&key).unwrap(), digits);
}
