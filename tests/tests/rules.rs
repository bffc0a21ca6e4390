//! What docs/CACHE-RULES.md names as shown is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::{read, root};

/// The text of every `NAME.rs` below a directory.
fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), text));
        }
    }
}

/// The rows of the tables: rule, what imgcache does, what shows it.
fn rows(text: &str) -> Vec<[&str; 3]> {
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let cells: [&str; 3] = cells
            .try_into()
            .unwrap_or_else(|_| panic!("not three cells: {line}"));
        if cells[0] != "rule" {
            rows.push(cells);
        }
    }
    rows
}

/// The names in backquotes, each with the text up to the next one.
fn names(cell: &str) -> Vec<(&str, &str)> {
    let mut pieces = cell.split('`').skip(1);
    let mut names = Vec::new();
    while let Some(name) = pieces.next() {
        names.push((name, pieces.next().unwrap_or_default()));
    }
    names
}

/// The words of a text that can only be names of functions.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.contains('_'))
}

#[test]
fn every_test_that_the_rules_of_the_cache_name_is_there() {
    let text = read("docs/CACHE-RULES.md");
    let floor = read("tests/conformance/floor");
    let reasons = read("tests/conformance/reasons");
    let passed: BTreeSet<&str> = floor.lines().collect();
    let failed: BTreeSet<&str> = reasons
        .lines()
        .flat_map(|line| line.split(' ').next())
        .collect();
    let plays = read("tests/tests/plays.rs");
    let mut units = Vec::new();
    for directory in ["imgcache/src", "lib/purges/src"] {
        sources(&root().join(directory), &mut units);
    }
    let rows = rows(&text);
    assert!(rows.len() > 70, "{} rows", rows.len());
    let mut faults = Vec::new();
    for [rule, _, shown] in &rows {
        let named = names(shown);
        let has_reason = shown.contains("reason: ") || shown.contains("by construction: ");
        if named.is_empty() && !has_reason {
            faults.push(format!("{rule}: nothing shows it"));
        }
        for (name, behind) in named {
            let is_there = match name.rsplit_once('.') {
                _ if name == "hostile" => {
                    read("tests/plays/cache-hostile.sh").contains("hostile.py")
                }
                _ if name.starts_with("tests/") => root().join(name).exists(),
                Some((_, "sh")) => plays.contains(&format!("play(\"{name}\")")),
                Some((_, "rs")) => has_tests(&units, name, behind),
                _ => passed.contains(name) && !failed.contains(name),
            };
            if !is_there {
                faults.push(format!("{rule}: {name}{behind}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Whether a file of this name has tests, those among them that the text behind it names.
fn has_tests(sources: &[(String, String)], name: &str, behind: &str) -> bool {
    let file = format!("/{name}");
    let texts = || sources.iter().filter(|(path, _)| path.ends_with(&file));
    let has = |what: &str| texts().any(|(_, text)| text.contains(what));
    has("#[test]") && functions(behind).all(|function| has(&format!("fn {function}(")))
}
