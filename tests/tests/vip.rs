//! What comes with vipd: its manual, its examples, and its part of the demo.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::{Scratch, programs};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// What stands in quotes behind a word, in all files of a directory.
fn quoted(directory: &Path, behind: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            quoted(&path, behind, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let calls = text.split(behind).skip(1).map(str::trim_start);
        let words = calls.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
        found.extend(words.map(str::to_owned));
    }
}

/// The words of the items of a manual's lists.
fn items(page: &str) -> BTreeSet<String> {
    let text = read(page);
    let items = text.lines().filter_map(|line| line.strip_prefix(".It "));
    let words = items.flat_map(str::split_whitespace);
    words.map(str::to_owned).collect()
}

#[test]
fn the_manual_of_vipd_has_every_event_of_its_log() {
    let mut found = BTreeSet::new();
    for call in ["log::error(", "log::warning(", "log::notice(", "log::info("] {
        quoted(&root().join("vipd/src"), call, &mut found);
    }
    assert!(found.len() > 25, "{found:?}");
    let named = items("man/vipd.8");
    let missing: Vec<&String> = found
        .iter()
        .filter(|event| !named.contains(*event))
        .collect();
    assert_eq!(missing, [""; 0], "events that man/vipd.8 lacks");
}

#[test]
fn the_manual_of_the_file_has_every_keyword() {
    let page = read("man/wackamole.conf.5");
    let mut words = BTreeSet::new();
    for file in ["config.rs", "config/check.rs"] {
        let source = read(&format!("vipd/src/{file}"));
        for list in source.split("KEYWORDS: [&str; ").skip(1) {
            let list = list.split("];").next().unwrap_or_default();
            words.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    assert!(words.len() > 35, "{words:?}");
    let lacks = |word: &&String| !page.contains(word.as_str());
    let missing: Vec<&String> = words.iter().filter(lacks).collect();
    assert_eq!(missing, [""; 0], "keywords that man/wackamole.conf.5 lacks");
}

/// Each option and each subcommand that `--help` names.
#[test]
fn the_manuals_have_every_option() {
    let help = |args: &[&str]| {
        let output = Command::new(programs().join(args[0]))
            .args(&args[1..])
            .output();
        text(&output.unwrap())
    };
    let manual = |page: &str| read(page).replace("\\-", "-");
    let check = |page: &str, help: &str| {
        let manual = manual(page);
        let long = help
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--"));
        for option in long.map(|word| word.trim_end_matches([',', ':', ']', '>', '.'])) {
            let option = option.split('=').next().unwrap_or_default();
            assert!(
                manual.contains(&format!("-{option}")),
                "{page} lacks --{option}: {help}"
            );
        }
    };
    check("man/vipd.8", &help(&["vipd", "--help"]));
    let overview = help(&["vipctl", "--help"]);
    check("man/vipctl.8", &overview);
    let commands: Vec<&str> = overview
        .lines()
        .skip_while(|line| !line.starts_with("Commands"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() >= 16, "{overview}");
    for command in commands {
        check("man/vipctl.8", &help(&["vipctl", command, "--help"]));
        assert!(
            manual("man/vipctl.8").contains(command),
            "vipctl(8) lacks {command}"
        );
    }
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
