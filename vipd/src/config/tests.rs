use std::net::IpAddr;

use super::*;

fn good(text: &str) -> Config {
    Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn bad(text: &str) -> Vec<String> {
    let errors = Config::parse("f", text).unwrap_err().to_string();
    errors.lines().map(str::to_owned).collect()
}

/// The slide, with its addresses filled in.
const TALK: &str = "Spread = 4803
SpreadRetryInterval = 5s
Group = wack1
Control = /var/run/wack.it
Prefer None
VirtualInterfaces {
    { fxp0:192.0.2.111/32 }
    { fxp0:192.0.2.112/32 }
}
Arp-Cache = 90s
Notify {
    fxp0:192.0.2.1/32
    fxp0:192.0.2.0/24 throttle 16
    arp-cache
}
balance {
    AcquisitionsPerRound = all
    interval = 4s
}
mature = 5s
";

#[test]
fn the_file_of_the_talk() {
    let config = good(TALK);
    assert_eq!(config.spread.as_deref(), Some("4803"));
    assert_eq!(config.group.to_string(), "wack1");
    assert_eq!(config.control, PathBuf::from("/var/run/wack.it"));
    let names: Vec<String> = config.sets.iter().map(AddressSet::name).collect();
    assert_eq!(names, ["192.0.2.111", "192.0.2.112"]);
    assert_eq!(config.moves_max, usize::MAX);
    assert_eq!(config.balance_interval, Duration::from_secs(4));
    assert_eq!(config.mature, Duration::from_secs(5));
    assert_eq!(config.prefers, Indices::default());
}

/// Those of the original's manual, which its code did not have.
#[test]
fn the_defaults_are_the_manuals() {
    let config = good("VirtualInterfaces { eth0:10.0.0.1/32 }");
    let seconds = Duration::from_secs;
    assert_eq!(config.spread, None);
    assert_eq!(config.retry_interval, seconds(5));
    assert_eq!(config.mature, seconds(5));
    assert_eq!((config.balance_interval, config.moves_max), (seconds(4), 1));
    assert_eq!(config.arp_cache, seconds(60));
    assert_eq!(config.notify, Notify::default());
    assert_eq!((config.weight, config.grace), (1, seconds(2)));
    // An hour was a second there.
    let text = "VirtualInterfaces { eth0:10.0.0.1/32 } mature = 1h Arp-Cache = 2m";
    let config = good(text);
    assert_eq!(
        (config.mature, config.arp_cache),
        (seconds(3600), seconds(120))
    );
}

/// The file that comes with the original, with what its comments show and its manual's sample.
#[test]
fn the_file_of_the_original() {
    let text = "# The Spread daemon we are going to connect to.
Spread = 4803@127.0.0.1
SpreadRetryInterval = 5s
Group = wack1
Control = /var/run/wack.it
LogFacility = local0
prefer { eth0:10.2.3.4/8 eth1:192.168.10.23/24 }
Prefer None
VirtualInterfaces {
\t{ en1:10.0.0.1/8 en0:192.168.35.64/26 }
}
VIFs { fxp0:192.168.10.2/32n23 } vips { fxp1:192.0.2.2/32n29 }
Arp-Cache = 90s
Notify {
\ten0:192.168.10.1/32
\ten1:10.0.0.0/24 throttle 128 ping
\tarp-cache ping
}
balance {
\tAcquisitionsPerRound = 3
\tinterval = 4s
}
mature = 5s
";
    let config = good(text);
    let names: Vec<String> = config.sets.iter().map(AddressSet::name).collect();
    assert_eq!(names, ["10.0.0.1", "192.0.2.2", "192.168.10.2"]);
    // All addresses of the two networks.
    assert_eq!(config.prefers, [0, 2].into_iter().collect());
    assert_eq!((config.moves_max, config.notify.ping), (3, true));
    let errors = bad(&text.replace("10.2.3.4/8", "172.16.0.1/12"));
    let unknown = "f:7: Prefer names 172.16.0.1, which is not in VirtualInterfaces";
    assert_eq!(errors, [unknown]);
}

/// Each is one error, whatever stands behind it, and hides no other.
#[test]
fn hooks_of_the_original_are_refused() {
    let sets = "VirtualInterfaces { eth0:10.0.0.1/32 }\n";
    for hook in [
        "PerlUseLib .",
        "PerlUse example",
        "ModuleDir = /usr/lib/wackamole",
        "RunDynamic funcs:killhup on up",
        "RunDynamic example::dump_it post down",
    ] {
        let keyword = hook.split(' ').next().unwrap_or_default();
        let expected = [
            format!("f:2: {keyword}: modules and Perl are not supported"),
            "f:3: Weight must be 0 to 1000, got \"x\"".to_owned(),
        ];
        assert_eq!(bad(&format!("{sets}{hook}\nWeight = x\n")), expected);
    }
}

#[test]
fn sets_of_both_families_in_any_order() {
    let text = "VIRTUALINTERFACES { eth1:10.0.0.9/32n24\n\
                { eth0:2001:db8::7/128 eth0:192.0.2.7/32 } eth0:10.0.0.1/24 }\n\
                prefer { 10.0.0.9/32 eth0:192.0.2.7/32 }\n\
                Weight=0 Failback = NEVER Grace=500ms Node = web-1 Mature = 1H\n";
    let config = good(text);
    let names: Vec<String> = config.sets.iter().map(AddressSet::name).collect();
    assert_eq!(names, ["10.0.0.1", "10.0.0.9", "2001:db8::7"]);
    assert_eq!(config.sets[2].addresses[1].to_string(), "eth0:192.0.2.7/32");
    assert_eq!(config.prefers, [1, 2].into_iter().collect());
    assert_eq!((config.weight, config.failback), (0, Failback::Never));
    assert_eq!(config.grace, Duration::from_millis(500));
    assert_eq!(config.mature, Duration::from_secs(3600));
    assert_eq!(config.node.as_deref(), Some("web-1"));
}

#[test]
fn what_is_compared_is_the_addresses_and_nothing_else() {
    let digest = |text: &str| good(&format!("VirtualInterfaces {{ {text} }}")).descriptions();
    let one = digest("{ eth0:10.0.0.1/32 } { eth0:10.0.0.2/32 }");
    assert_eq!(digest("fxp0:10.0.0.2/32 eth0:10.0.0.1/32"), one);
    assert_ne!(digest("{ eth0:10.0.0.1/32 eth0:10.0.0.2/32 }"), one);
    assert_ne!(digest("eth0:10.0.0.1/32 eth0:10.0.0.2/24"), one);
}

#[test]
fn every_error_is_reported() {
    let text = "Spread = x@y@z\nRunDynamic mod:f \"on up\"\nGrace = 0s\nWeight = 1001\n\
                VirtualInterfaces { eth0:10.0.0.1/33 }\n\
                Prefer { 10.0.0.5/32 }\nBalanc { }\n";
    let errors = bad(text);
    let lines: Vec<&str> = errors
        .iter()
        .map(|error| error.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        lines,
        ["f", "f:1", "f:2", "f:3", "f:4", "f:5", "f:6", "f:7"],
        "{errors:#?}"
    );
    assert_eq!(
        errors[2],
        "f:2: RunDynamic: modules and Perl are not supported"
    );
    assert!(
        errors[7].contains("did you mean \"Balance\"?"),
        "{}",
        errors[7]
    );
}

#[test]
fn a_mistake_hides_no_other() {
    let sets = "VirtualInterfaces { eth0:10.0.0.1/32 }\n";
    let text = format!(
        "{sets}Notify {{ 10.0.0.1 throttle x eth0:10.0.0.0/24 throttle 0 }}\n\
         OnAcquire {{ \"/bin/x\" \"}} {{\" }}\nCheck c {{ Exec {{ sh '{{' }} }}\n\
         Weight = 1001 Preference {{ x {{ a }} 10.0.0.1/32 {{ a b! }} }}\nGrace = 0\n"
    );
    let errors = bad(&text);
    let lines: Vec<&str> = errors
        .iter()
        .map(|error| error.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        lines,
        ["f:2", "f:2", "f:2", "f:4", "f:5", "f:5", "f:5", "f:6"],
        "{errors:#?}"
    );
}

#[test]
fn a_block_without_an_end_is_refused() {
    let sets = "VirtualInterfaces { eth0:10.0.0.1/32 }\n";
    for text in [
        "VirtualInterfaces { eth0:10.0.0.1/32",
        "VirtualInterfaces { { eth0:10.0.0.1/32",
        &format!("{sets}Prefer {{ 10.0.0.1/32"),
        &format!("{sets}Preference {{ 10.0.0.1/32 {{ a"),
        &format!("{sets}Notify {{ eth0:10.0.0.0/24"),
        &format!("{sets}OnRelease {{ /bin/x"),
    ] {
        let errors = bad(text).concat();
        assert!(
            errors.contains("missing '}' for this '{'"),
            "{text}: {errors}"
        );
    }
}

#[test]
fn an_address_belongs_to_one_set() {
    let errors = bad("VirtualInterfaces { eth0:10.0.0.1/32 eth1:10.0.0.1/24 }");
    assert_eq!(errors, ["f: 10.0.0.1 stands in VirtualInterfaces twice"]);
}

#[test]
fn notify_is_checked() {
    let sets = "VirtualInterfaces { eth0:10.0.0.1/32 }\n";
    good(&format!("Notify none\n{sets}"));
    good(&format!("Notify arp-cache ping\n{sets}"));
    good(&format!("Notify eth0:10.0.0.0/24 throttle 8\n{sets}"));
    assert_eq!(bad(&format!("{sets}Notify {{ 10.0.0.1 }}")).len(), 1);
    assert_eq!(
        bad(&format!("{sets}Notify eth0:10.0.0.0/24 throttle x")).len(),
        1
    );
}

#[test]
fn the_notify_list_of_the_talk() {
    let notify = good(TALK).notify;
    assert!(notify.arp_cache && !notify.ping);
    let throttles: Vec<_> = notify.recipients.iter().map(|to| to.throttle).collect();
    assert_eq!(throttles, [None, Some(16)]);
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(notify.recipients[1].contains(address("192.0.2.200")));
    assert!(!notify.recipients[1].contains(address("192.0.3.200")));
    assert!(!notify.recipients[0].contains(address("192.0.2.2")));
    assert!(!notify.recipients[0].contains(address("2001:db8::1")));
}

#[test]
fn preferences_become_ranks() {
    let config = good(
        "VirtualInterfaces { e:10.0.0.1/32 e:10.0.0.2/32 e:10.0.0.3/32 }\nPrefer 10.0.0.3/32\n\
         Preference { 10.0.0.1/32 { a b } 10.0.0.2/32 { c b } }\n",
    );
    let only = |set: usize| [set].into_iter().collect::<Indices>();
    assert_eq!(config.ranks("a"), [[0, 2].into_iter().collect::<Indices>()]);
    assert_eq!(config.ranks("b"), [only(2), [0, 1].into_iter().collect()]);
    assert_eq!(config.ranks("d"), [only(2)]);
    let errors = bad("VirtualInterfaces { e:10.0.0.1/32 }\nPreference { 10.0.0.9/32 { a } }");
    assert_eq!(
        errors,
        ["f:2: Preference names 10.0.0.9, which is not in VirtualInterfaces"]
    );
}

#[test]
fn failback_is_a_policy() {
    let of = |text: &str| {
        good(&format!(
            "VirtualInterfaces {{ e:10.0.0.1/32 }}\nFailback = {text}\n"
        ))
        .failback
    };
    assert_eq!(of("never"), Failback::Never);
    assert_eq!(of("Manual"), Failback::Manual);
    assert_eq!(of("balance"), Failback::After(Duration::ZERO));
    assert_eq!(of("after 2m"), Failback::After(Duration::from_secs(120)));
    assert_eq!(
        bad("VirtualInterfaces { e:10.0.0.1/32 }\nFailback = after x").len(),
        1
    );
}

#[test]
fn checks_and_hooks() {
    let config = good(
        "VirtualInterfaces { e:10.0.0.1/32 }\nOnAcquire { /bin/up now }\nHookTimeout = 3s\n\
         OnExit = keep\nCheck web { Http = http://127.0.0.1:8080/ok Interval=200ms Fall = 1 }\n\
         Check gw { Gateway = eth0:10.0.0.254 }\nCheck gw6 { gateway = eth0:fe80::1 }\n\
         Check run { Exec { /bin/true -x } Timeout = 5s Rise = 1 }\nCheck t { Tcp = [::1]:25 }\n\
         Check off { File = /run/vipd/off }\n",
    );
    assert_eq!(
        config.on_acquire.as_deref(),
        Some(&["/bin/up".to_owned(), "now".to_owned()][..])
    );
    assert!(config.on_release.is_none() && config.keep_on_exit);
    let Probe::Http {
        address,
        host,
        path,
    } = &config.checks[0].probe
    else {
        panic!("{:?}", config.checks[0]);
    };
    assert_eq!(
        (address.to_string().as_str(), host.as_str()),
        ("127.0.0.1:8080", "127.0.0.1:8080")
    );
    assert_eq!((path.as_str(), config.checks[0].fall), ("/ok", 1));
    let gateway = |at: usize| match &config.checks[at].probe {
        Probe::Gateway { interface, address } => format!("{interface} {address}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (gateway(1), gateway(2)),
        ("eth0 10.0.0.254".into(), "eth0 fe80::1".into())
    );
    for text in [
        "Check a { }",
        "Check a { Tcp = 127.0.0.1:1 Tcp = 127.0.0.1:2 }",
        "Check a { Tcp = localhost:80 }",
        "Check a { Http = https://127.0.0.1/ }",
        "Check a { Exec { true } }",
        "Check a { File = /a } Check a { File = /b }",
        "OnAcquire { }",
        "OnRelease { sh -c x }",
        "OnExit = later",
    ] {
        let errors = bad(&format!("VirtualInterfaces {{ e:10.0.0.1/32 }}\n{text}\n"));
        assert!(
            errors.iter().all(|error| error.starts_with("f:2: ")),
            "{errors:?}"
        );
    }
}

proptest::proptest! {
    /// 5.28.
    #[test]
    fn no_text_panics(text in "[ -~\n]{0,200}", at in 0usize..500, with in "[{}= a-z0-9/:.#\n]{0,4}") {
        let _ = Config::parse("f", &text);
        let mut changed = TALK.to_owned();
        let at = at.min(changed.len());
        changed.insert_str(at, &with);
        let _ = Config::parse("f", &changed);
    }
}
