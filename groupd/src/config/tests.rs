use super::*;

const SLIDE: &str = "
# New Jersey Site
Spread_Segment 225.0.1.1:4803 {
    image-0-1          10.1.0.101
    image-0-2          10.1.0.102
}

# San Jose Site
Spread_Segment 225.0.1.2:4803 {
    image-1-1          10.2.0.101
    image-1-2          10.2.0.102
}

# Germany Site
Spread_Segment 225.0.1.3:4803 {
    image-2-1          10.3.0.101
    image-2-2          10.3.0.102
}
";

fn errors(text: &str) -> Vec<String> {
    let text = parse("spread.conf", text).expect_err(text).to_string();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_file_of_the_talk() {
    let config = parse("spread.conf", SLIDE).unwrap();
    let names: Vec<&str> = config.daemons.iter().map(|daemon| &*daemon.name).collect();
    assert_eq!(
        names,
        [
            "image-0-1",
            "image-0-2",
            "image-1-1",
            "image-1-2",
            "image-2-1",
            "image-2-2"
        ]
    );
    assert_eq!(config.segments.len(), 3);
    assert_eq!(config.settings, Settings::default());

    let layout = config.layout(2);
    assert_eq!(layout.local, "10.2.0.101:4803".parse().unwrap());
    assert_eq!(layout.cast, Cast::Multicast(Ipv4Addr::new(225, 0, 1, 2)));
    assert_eq!(layout.neighbours, [Ipv4Addr::new(10, 2, 0, 102)]);
    assert_eq!(layout.peers.len(), 6);
    assert_eq!(config.members()[5].segment, 2);
    assert_eq!(config.members()[5].id.to_string(), "10.3.0.102");
    assert_eq!(config.tcp_addresses(2), []);

    let here = |address: Ipv4Addr| address == Ipv4Addr::new(10, 3, 0, 101);
    assert_eq!(config.find_self(None, here), Ok(4));
    assert_eq!(config.find_self(Some("image-0-2"), here), Ok(1));
}

#[test]
fn everything_that_spread_accepts() {
    let config = parse(
        "spread.conf",
        "DebugFlags = { PRINT !EXIT }\nEventPriority = INFO\nEventLogFile = '/var/log/spread %h'\n\
         EventTimeStamp\nEventPreciseTimeStamp EventTimeStamp = \"[%a %d]\"\n\
         DangerousMonitor = false SocketPortReuse = AUTO; RuntimeDir = /var/run/spread\n\
         DaemonUser = spread DaemonGroup=spread\nAllowedAuthMethods = \"NULL\"\n\
         RequiredAuthMethods = \"NULL\"\nAccessControlPolicy = \"PERMIT\"\n\
         MaxSessionMessages = 5000\nWindow=160\nPersonalWindow = 20\nAcceleratedRing = on\n\
         AcceleratedWindow = 15\nDebugInitialSequence LinkProtocol = Hop RouteMatrix { 1 2 }\n\
         ActiveIPVersion = IPv4 WideAreaNetwork = true\n\
         TokenTimeout = 5000 HurryTimeout = 1500 AliveTimeout = 250 JoinTimeout = 200\n\
         RepTimeout = 1250 SegTimeout = 500 GatherTimeout = 2500 FormTimeout = 2400\n\
         LookupTimeout = 45000\n\
         Spread_Segment 10.0.0.255 { a 10.0.0.1 { D 192.168.0.1 C M 10.0.0.1 10.0.1.1 }\n\
           b 10.0.0.2:9999 }\n\
         Spread_Segment 10.9.0.255:3333 { 'c' 10.9.0.3 }",
    )
    .unwrap();
    assert_eq!(
        config.settings.ignored.len(),
        20,
        "{:#?}",
        config.settings.ignored
    );
    assert!(config.settings.ignored[0].starts_with("spread.conf:1: DebugFlags has no effect: "));

    let timers = config.timers();
    assert_eq!(timers.token_loss, Duration::from_secs(5));
    assert_eq!(timers.token_retransmit, Duration::from_millis(1250));
    assert_eq!(timers.beacon_interval, Duration::from_secs(45));

    let layout = config.layout(0);
    assert_eq!(layout.local, "192.168.0.1:4803".parse().unwrap());
    assert_eq!(layout.cast, Cast::Broadcast(Ipv4Addr::new(10, 0, 0, 255)));
    assert_eq!(
        layout.peers[&config.daemons[1].id()],
        "10.0.0.2:4803".parse().unwrap()
    );
    assert_eq!(
        layout.peers[&config.daemons[2].id()],
        "10.9.0.3:3333".parse().unwrap()
    );
    assert_eq!(
        config.tcp_addresses(0),
        [
            "10.0.0.1:4803".parse().unwrap(),
            "10.0.1.1:4803".parse().unwrap()
        ]
    );
    assert_eq!(
        config.layout(2).cast,
        Cast::Unicast,
        "a segment with one daemon"
    );
}

fn word(text: &str, line: u32) -> Word {
    Word {
        text: text.to_owned(),
        line,
        quoted: false,
    }
}

#[test]
fn what_the_machine_lacks_is_named_with_its_line() {
    let text = "Key = /no/such/key\nSocketGroup = no-such-group\nSpread_Segment 127.0.0.255 { a 127.0.0.1 }";
    let config = parse("spread.conf", text).unwrap();
    let errors = config.check_machine("spread.conf").unwrap_err().to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert!(
        lines[0].starts_with("spread.conf:1: /no/such/key"),
        "{errors}"
    );
    assert!(
        lines[1].starts_with("spread.conf:2: SocketGroup: there is no group"),
        "{errors}"
    );
}

#[test]
fn our_own_directives() {
    let config = parse(
        "spread.conf",
        "FailureDetection = fast\nKey = /etc/k\nSpreadSocket = no\nSocket = /run/x\n\
         SocketMode = 0660\nSocketGroup = www\nListenTCP = 10.0.0.1:4803\n\
         SessionQueueBytes = 1000000\nQueueBytes = 50000000\nStateDir = /var/lib/x\n\
         DatagramSize = 8972\nOffload = false\nSpread_Segment 127.0.0.255 { a 127.0.0.1 }",
    )
    .unwrap();
    assert_eq!(config.tcp_addresses(0), ["10.0.0.1:4803".parse().unwrap()]);
    assert!(!config.layout(0).offload);
    assert_eq!(
        config.settings,
        Settings {
            failure_detection: FailureDetection::Fast,
            timeouts: None,
            key: Some(word("/etc/k", 2)),
            spread_socket: false,
            socket: Some(Address::Path("/run/x".into())),
            socket_mode: Some(0o660),
            socket_group: Some(word("www", 6)),
            listen_tcp: vec!["10.0.0.1:4803".parse().unwrap()],
            session_queue_bytes: 1_000_000,
            queue_bytes: 50_000_000,
            state_dir: Some("/var/lib/x".into()),
            datagram_bytes: 8972,
            offload: false,
            ignored: Vec::new(),
        }
    );
}

#[test]
fn all_mistakes_are_named_with_their_lines() {
    let found = errors(
        "Windw = 3\nFailureDetection = slow\nSocketMode = 999\nTokenTimeout = 100\n\
         RequiredAuthMethods = \"IP\"\n\
         Spread_Segment 225.0.1.1:70000 {\n z 10.0.0.9\n}\n\
         Spread_Segment 225.0.1.1 {\n a 10.0.0.1\n b 10.0.0.1\n a 10.0.0.2\n bad/name 10.0.0.3\n}\n",
    );
    let starts = [
        "spread.conf: all nine timeouts or none, missing: HurryTimeout, AliveTimeout",
        "spread.conf:1: unknown keyword \"Windw\", did you mean \"Window\"? allowed here: Spread_",
        "spread.conf:2: FailureDetection must be one of fast, normal, wan, got \"slow\"",
        "spread.conf:3: SocketMode must be octal, 0 to 0777, got \"999\"",
        "spread.conf:5: RequiredAuthMethods must be NULL: ",
        "spread.conf:6: a port must be 1 to 65534, got \"70000\"",
        "spread.conf:11: \"a\" and \"b\" have the same address, 10.0.0.1",
        "spread.conf:12: there are two daemons called \"a\"",
        "spread.conf:13: a daemon's name must be 1 to 19 bytes",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(
            found.starts_with(start),
            "{found}\nshould start with\n{start}"
        );
    }
}

#[test]
fn a_mistake_in_a_segment_hides_no_other() {
    let found = errors(
        "Spread_Segment 225.0.1.1:0 {\n a 10.0.0.1 { D x D 10.0.0.1 }\n VirtualID 1\n b/ 10.0.0.2\n}\n\
         DebugFlags = { \"}\" }\nOffload = maybe Window = { a \"{\" } SpreadSocket = 2\n\
         Spread_Segment x Spread_Segment 225.0.1.1 { c 10.0.0.3 { } { } }\n",
    );
    let starts = [
        "spread.conf:1: a port must be 1 to 65534, got \"0\"",
        "spread.conf:2: expected an IPv4 address, A.B.C.D or A.B.C.D:PORT, got \"x\"",
        "spread.conf:3: VirtualID of Spread 5 is not known here",
        "spread.conf:4: a daemon's name must be 1 to 19 bytes",
        "spread.conf:7: Offload must be one of true, yes, false, no, got \"maybe\"",
        "spread.conf:7: Window needs a value, got '{'",
        "spread.conf:7: SpreadSocket must be one of true, yes, false, no, got \"2\"",
        "spread.conf:8: expected an IPv4 address",
    ];
    for start in starts {
        let count = found
            .iter()
            .filter(|error| error.starts_with(start))
            .count();
        assert_eq!(count, 1, "{start}\n{found:#?}");
    }
}

#[test]
fn segments_that_cannot_work() {
    let message = |text| errors(text).concat();
    assert!(message("# nothing").contains("at least one Spread_Segment"));
    assert!(message("Spread_Segment 225.0.0.1 { }").contains("at least one daemon"));
    assert!(message("Spread_Segment 225.0.0.1 { a 10.0.0.1").contains("missing '}'"));
    assert!(message("Spread_Segment 225.0.0.1 { a 10.0.0.1 { D } }").contains("missing behind D"));
    assert!(
        message(
            "Spread_Segment 127.0.0.255 { a 127.0.0.1 } Spread_Segment 225.0.0.1 { b 10.0.0.1 }"
        )
        .contains("cannot be mixed")
    );
    let many: String = (0..129)
        .map(|i| format!("d{i} 10.0.{}.{}\n", i / 100, i % 100 + 1))
        .collect();
    assert!(message(&format!("Spread_Segment 225.0.0.1 {{ {many} }}")).contains("at most 128"));
}

#[test]
fn one_daemon_is_this_one_or_a_name_is_needed() {
    let config = parse(
        "c",
        "Spread_Segment 127.0.0.255 { a 127.0.0.1 b 127.0.0.2 c 127.0.0.3 }",
    );
    let config = config.unwrap();
    assert_eq!(config.find_self(None, |_| true), Ok(0), "127.0.0.1 only");
    assert_eq!(config.find_self(Some("c"), |_| true), Ok(2));
    let error = config.find_self(Some("d"), |_| true).unwrap_err();
    assert_eq!(
        error,
        "no daemon \"d\" in the configuration, there are: a, b, c"
    );

    let config = parse("c", SLIDE).unwrap();
    assert!(
        config
            .find_self(None, |_| false)
            .unwrap_err()
            .contains("has an address of this host")
    );
    assert!(
        config
            .find_self(None, |_| true)
            .unwrap_err()
            .contains("several daemons")
    );
}

#[test]
fn built_in_is_one_machine_on_its_own() {
    let config = Config::built_in();
    assert_eq!(config.find_self(None, |_| true), Ok(0));
    assert_eq!(config.layout(0).cast, Cast::Unicast);
    assert_eq!(config.timers(), FailureDetection::Normal.timers());
}
