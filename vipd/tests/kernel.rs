//! The kernel's side against a real kernel, in a network namespace that belongs to the test alone.

#![forbid(unsafe_code)]

use std::env;
use std::net::IpAddr;
use std::process::Command;

use vipd::kernel::Kernel;
use vipd::netlink::LinkAddress;

/// Tells the test's second run that it is in the namespace.
const INSIDE: &str = "VIPD_TEST_NAMESPACE";

/// Runs a test of this file again, by its name, in a namespace of its own; gives whether this is
/// that run. Where namespaces are refused the test is skipped, with a word.
fn is_inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = |program: &std::path::Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net"]);
        command.arg(program).args(arguments).env(INSIDE, "yes");
        command.status().is_ok_and(|status| status.success())
    };
    if !unshare("true".as_ref(), &[]) {
        eprintln!("skipped: this kernel does not let users make namespaces");
        return false;
    }
    let this = env::current_exe().expect("the path of this test");
    assert!(unshare(&this, &["--exact", test, "--nocapture"]), "{test}");
    false
}

/// `ip` and these words; gives what it prints.
fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.expect("ip runs");
    assert!(output.status.success(), "ip {words}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A set of one address on the loopback interface.
fn set(last: u8) -> Vec<LinkAddress> {
    vec![LinkAddress {
        interface: 1,
        address: IpAddr::from([10, 77, 0, last]),
        prefix: 32,
    }]
}

fn has(last: u8) -> bool {
    ip("-4 -o address show").contains(&format!("10.77.0.{last}/32"))
}

/// What the guardian says when it is asked first, and then.
fn word(first: bool, then: bool) -> impl FnMut() -> bool {
    let mut words = [first, then].into_iter();
    move || words.next().expect("asked twice at most")
}

#[test]
fn behind_a_guardians_word_only_what_was_added_is_removed() {
    if !is_inside("behind_a_guardians_word_only_what_was_added_is_removed") {
        return;
    }
    ip("link set lo up");
    // Somebody else's.
    ip("address add 10.77.0.2/32 dev lo");
    let mut kernel = Kernel::open().unwrap();
    let sets = [set(1), set(2), set(3)];

    let results = kernel.add_unless(&sets, word(true, true)).unwrap();
    assert!(results.is_none());
    assert_eq!([1, 2, 3].map(has), [false, true, false]);

    let results = kernel.add_unless(&sets, word(false, true)).unwrap();
    assert!(results.is_none());
    assert_eq!([1, 2, 3].map(has), [false, true, false]);

    let results = kernel.add_unless(&sets, word(false, false)).unwrap();
    let results = results.expect("no word of a guardian");
    let done: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(done, [true, false, true]);
    assert_eq!([1, 2, 3].map(has), [true, true, true]);
    assert_eq!(kernel.purge().unwrap(), 2);
    assert_eq!([1, 2, 3].map(has), [false, true, false]);
}
