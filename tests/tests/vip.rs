//! What comes with vipd: its examples, and its part of the demo.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use tests::{Scratch, programs, root};

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn the_examples_are_taken() {
    let output = Command::new(programs().join("vipd"))
        .arg("-tc")
        .arg(root().join("examples/vipd/wackamole.conf"))
        .output()
        .unwrap();
    assert_eq!(text(&output), "configuration ok\n");
    for script in ["wackatrl", "vipd.init", "on-acquire"] {
        let path = root().join("examples/vipd").join(script);
        let output = Command::new("sh").arg("-n").arg(&path).output().unwrap();
        assert!(output.status.success(), "{script}: {}", text(&output));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert!(mode & 0o111 == 0o111, "{script} cannot be run");
    }
}

/// Where namespaces are refused, the demo says so and shows what would happen.
#[test]
fn the_demo_shows_what_if_where_there_are_no_namespaces() {
    let scratch = Scratch::new("vip-demo");
    let tools = scratch.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let refused = tools.join("unshare");
    fs::write(&refused, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&refused, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("bash")
        .arg(root().join("examples/demo/2-addresses.sh"))
        .args([programs().as_path(), scratch.path()])
        .env("PATH", format!("{}:{path}", tools.display()))
        .output()
        .unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    // Of the example's three sets the one that web1 is to have goes to web2.
    for words in [
        "namespaces",
        "vipctl",
        "what-if",
        "192.0.2.113",
        "web1 -> web2",
    ] {
        assert!(said.contains(words), "no {words} in: {said}");
    }
}
