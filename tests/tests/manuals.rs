//! The manuals of the cache's programs name each option, keyword and event that there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::programs;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The words of all items of a manual, `.It Li one , two` and the like.
fn items(page: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("man").join(page)).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(".It "));
    lines
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect()
}

/// What stands in quotes directly behind one of these.
fn quoted_behind(text: &str, calls: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for call in calls {
        let behind = text.split(call).skip(1).map(str::trim_start);
        let quoted = behind.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
        found.extend(quoted.map(str::to_owned));
    }
    found
}

fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        text.push_str(&match path.is_dir() {
            true => sources(&path),
            false => fs::read_to_string(&path).unwrap(),
        });
    }
    text
}

#[test]
fn every_option() {
    for (program, page) in [
        ("imgcache", "imgcache.8"),
        ("imgcachectl", "imgcachectl.8"),
        ("purge", "purge.1"),
        ("purged", "purged.8"),
    ] {
        let output = Command::new(programs().join(program))
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let items = items(page);
        let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let options: BTreeSet<&str> = words.filter_map(|word| word.strip_prefix("--")).collect();
        let options: Vec<&&str> = options.iter().filter(|name| !name.is_empty()).collect();
        assert!(options.len() >= 4, "{program}: {options:?}");
        for option in &options {
            assert!(
                items.contains(&format!("-{option}")),
                "{page} lacks --{option}"
            );
        }
        let named = items.iter().filter_map(|item| item.strip_prefix('-'));
        for name in named.filter(|name| name.len() > 1) {
            assert!(options.contains(&&name), "{program} has no --{name}");
        }
    }
}

#[test]
fn every_keyword() {
    let text = fs::read_to_string(root().join("imgcache/src/config.rs")).unwrap();
    let items = items("imgcache.conf.5");
    let mut count = 0;
    for list in text.split("_KEYWORDS: ").skip(1) {
        let list = list.split("];").next().unwrap_or_default();
        for keyword in list.split('"').skip(1).step_by(2) {
            assert!(items.contains(keyword), "imgcache.conf.5 lacks {keyword}");
            count += 1;
        }
    }
    assert!(count >= 18, "{count} keywords");
}

#[test]
fn every_event() {
    let calls = ["log::error(", "log::warning(", "log::notice(", "log::info("];
    for (directory, page, least) in [
        ("imgcache/src", "imgcache.8", 20),
        ("purge/src/purged", "purged.8", 4),
    ] {
        let items = items(page);
        let mut events: BTreeSet<String> = quoted_behind(&sources(&root().join(directory)), &calls)
            .into_iter()
            .collect();
        let link = fs::read_to_string(root().join("lib/group/src/link.rs")).unwrap();
        events.extend(quoted_behind(&link, &calls));
        assert!(events.len() >= least, "{events:?}");
        for event in events {
            assert!(items.contains(&event), "{page} lacks {event}");
        }
    }
}
