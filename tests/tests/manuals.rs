//! The manuals name each option, command, keyword and event that there is, and no option that is not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{programs, read, root};

/// The programs, each with its page, and where the events of its log are in the sources: none where
/// a program only talks to whoever has typed it.
const MANUALS: [(&str, &str, &[&str]); 14] = [
    ("groupd", "groupd.8", &["groupd/src"]),
    ("groupctl", "groupctl.8", &[]),
    ("imgcache", "imgcache.8", &["imgcache/src", LINK]),
    ("imgcachectl", "imgcachectl.8", &[]),
    ("logmon", "logmon.8", &["logmon/src", LINK, SUBSCRIBER]),
    ("logpub", "logpub.1", &["logpub/src", LINK]),
    ("logtop", "logtop.1", &[]),
    ("online", "online.1", &[]),
    ("purge", "purge.1", &[]),
    ("purged", "purged.8", &["purge/src/purged", LINK]),
    ("spreadlogd", "spreadlogd.8", &["spreadlogd/src", LINK]),
    ("vipctl", "vipctl.8", &[]),
    ("vipd", "vipd.8", &["vipd/src", LINK]),
    (
        "whosonline",
        "whosonline.8",
        &["whosonline/src", LINK, SUBSCRIBER],
    ),
];
const LINK: &str = "lib/group/src/link.rs";
const SUBSCRIBER: &str = "lib/subscriber/src";

/// The pages of configuration files, and where their grammar is.
const FILES: [(&str, &[&str]); 4] = [
    ("imgcache.conf.5", &["imgcache/src/config.rs"]),
    ("spread.conf.5", &["groupd/src/config/file.rs"]),
    (
        "spreadlogd.conf.5",
        &["spreadlogd/src/config.rs", "spreadlogd/src/config"],
    ),
    (
        "wackamole.conf.5",
        &["vipd/src/config.rs", "vipd/src/config"],
    ),
];

/// The text of a source, or of all in a directory.
fn source(path: &Path) -> String {
    match fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| source(&entry.unwrap().path()))
            .collect(),
        Err(_) => fs::read_to_string(path).unwrap(),
    }
}

fn sources(paths: &[&str]) -> String {
    paths
        .iter()
        .map(|path| source(&root().join(path)))
        .collect()
}

fn page(name: &str) -> String {
    read(&format!("man/{name}")).replace("\\-", "-")
}

/// The words of a page that are items of its lists, or set in bold.
fn terms(page: &str) -> BTreeSet<&str> {
    let has_terms = |line: &&str| {
        [".It ", ".Sy ", ".Ic ", ".Li "]
            .iter()
            .any(|of| line.starts_with(of))
    };
    page.lines()
        .filter(has_terms)
        .flat_map(str::split_whitespace)
        .collect()
}

/// The options that a page has as items, without their first `-`; the flags of the commands, which
/// have no lists of their own, from any line.
fn flags(page: &str, has_commands: bool) -> BTreeSet<&str> {
    let lines = page
        .lines()
        .filter(|line| has_commands || line.starts_with(".It "));
    let mut found = BTreeSet::new();
    for line in lines {
        for macros in line.split("Fl ").skip(1) {
            let words = macros.split(' ').filter(|word| *word != ",");
            let words = words.take_while(|word| !is_macro(word));
            found.extend(words.filter(|word| word.contains(char::is_alphabetic)));
        }
    }
    found
}

/// `Ar`, `Cm`, `Oo` and the like.
fn is_macro(word: &str) -> bool {
    word.len() == 2 && word.starts_with(|c: char| c.is_ascii_uppercase())
}

fn help(program: &str, command: Option<&str>) -> String {
    let mut process = Command::new(programs().join(program));
    let output = process.args(command).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<&str> {
    let lines = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"));
    let lines = lines.skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|command| *command != "help").collect()
}

/// The options that a help names, without their first `-`.
fn options(help: &str) -> impl Iterator<Item = &str> {
    let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .filter_map(|word| word.strip_prefix('-'))
        .filter(|word| word.contains(char::is_alphabetic))
}

#[test]
fn every_option_and_command() {
    let mut faults = Vec::new();
    for (program, name, _) in MANUALS {
        let page = page(name);
        let overview = help(program, None);
        let commands = commands(&overview);
        let terms = terms(&page);
        faults.extend(
            commands
                .iter()
                .filter(|command| !terms.contains(*command))
                .map(|command| format!("{name} lacks {command}")),
        );
        let helps = commands.iter().map(|command| help(program, Some(command)));
        let all: String = helps.chain([overview.clone()]).collect();
        let options: BTreeSet<&str> = options(&all).collect();
        assert!(options.len() >= 4, "{program}: {options:?}");
        let flags = flags(&page, !commands.is_empty());
        faults.extend(
            options
                .difference(&flags)
                .map(|option| format!("{name} lacks -{option}")),
        );
        faults.extend(
            flags
                .difference(&options)
                .map(|flag| format!("{program} has no -{flag}")),
        );
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_event() {
    let calls = ["log::error(", "log::warning(", "log::notice(", "log::info("];
    let mut faults = Vec::new();
    for (_, name, directories) in MANUALS
        .iter()
        .filter(|(_, _, directories)| !directories.is_empty())
    {
        let page = page(name);
        let terms = terms(&page);
        let text = sources(directories);
        let behind = calls.iter().flat_map(|call| text.split(call).skip(1));
        let events =
            behind.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
        let events: BTreeSet<&str> = events.collect();
        assert!(events.len() >= 4, "{name}: {events:?}");
        faults.extend(
            events
                .difference(&terms)
                .map(|event| format!("{name} lacks {event}")),
        );
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The keywords of a file are in constants, lists of words.
#[test]
fn every_keyword() {
    let mut faults = Vec::new();
    for (name, paths) in FILES {
        let page = page(name);
        let text = sources(paths);
        let lists = text
            .split(": [&str; ")
            .skip(1)
            .filter_map(|rest| rest.split("];").next());
        let words: BTreeSet<&str> = lists
            .flat_map(|list| list.split('"').skip(1).step_by(2))
            .collect();
        assert!(words.len() >= 18, "{name}: {words:?}");
        faults.extend(
            words
                .iter()
                .filter(|word| !page.contains(**word))
                .map(|word| format!("{name} lacks {word}")),
        );
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
