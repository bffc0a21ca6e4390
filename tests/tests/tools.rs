//! What is said when something that the Makefile needs is not there.

use std::fs;
use std::process::{Command, Output};

use tests::{read, root};

/// Runs a shell script of the repository where no tool can be found.
fn run(script: &str, args: &[&str]) -> Output {
    let mut command = Command::new("/bin/sh");
    command.arg(root().join(script)).args(args);
    command.env("PATH", "/nonexistent").output().unwrap()
}

/// Each `NAME:` of the Makefile with the lines of its recipe.
fn targets(makefile: &str) -> Vec<(&str, String)> {
    let mut targets: Vec<(&str, String)> = Vec::new();
    for line in makefile.lines() {
        if let (Some(recipe), Some((_, lines))) = (line.strip_prefix('\t'), targets.last_mut()) {
            lines.push_str(recipe);
            lines.push('\n');
        } else if let Some((name, _)) = line.split_once(':')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        {
            targets.push((name, String::new()));
        }
    }
    targets
}

#[test]
fn every_target_that_builds_asks_for_its_tools_first() {
    let makefile = read("Makefile");
    let mut asked = 0;
    for (name, recipe) in targets(&makefile) {
        if name == "clean" || !recipe.contains("$(CARGO)") {
            continue;
        }
        let first = recipe.lines().next().unwrap_or_default();
        let tools: Vec<&str> = match first.strip_prefix("@./tools/need ") {
            Some(tools) => tools.split(' ').collect(),
            None => panic!("{name}: {first}"),
        };
        assert!(tools.contains(&"cargo") && tools.contains(&"cc"), "{name}");
        asked += 1;

        let output = run("tools/need", &tools);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert_eq!(said.lines().count(), tools.len(), "{said}");
        for (tool, line) in tools.iter().zip(said.lines()) {
            let begin = format!("covey: {tool} is not here: install ");
            let package = line
                .strip_prefix(&begin)
                .unwrap_or_else(|| panic!("{said}"));
            let is_named = ["Debian: ", "rustup", "cargo install"];
            assert!(is_named.iter().any(|word| package.contains(word)), "{said}");
        }
    }
    assert!(asked >= 10, "{asked} targets");
}

#[test]
fn what_is_there_is_not_complained_about() {
    let output = Command::new(root().join("tools/need")).arg("sh").output();
    let output = output.unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn make_test_ends_with_what_was_skipped_and_why() {
    let notes = std::env::temp_dir().join(format!("covey-notes-{}", std::process::id()));
    fs::create_dir_all(&notes).unwrap();
    let list = || {
        let output = Command::new(root().join("tests/skipped"))
            .arg(&notes)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(list(), "skipped: nothing\n");
    fs::write(notes.join("segments.sh"), "ip is not here").unwrap();
    assert_eq!(
        list(),
        "skipped, or failed once:\n  segments.sh: ip is not here\n"
    );
    fs::remove_dir_all(&notes).unwrap();
    let makefile = read("Makefile");
    let targets = targets(&makefile);
    let (_, test) = targets.iter().find(|(name, _)| *name == "test").unwrap();
    assert!(
        test.ends_with("tests/skipped target/skipped; exit $$status\n"),
        "{test}"
    );
}
