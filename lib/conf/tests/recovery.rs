//! A mistake costs its own statement and no other: files are made of statements whose meaning is
//! known, written in any layout, and some of them are replaced by mistakes.

use conf::{Dialect, Error, Next, Reader, Word};
use proptest::prelude::*;

/// A statement and what it means.
#[derive(Clone, Debug)]
enum Statement {
    /// `Key = value`, quoted if need be.
    Value(&'static str, &'static str),
    /// `Block { ... }`
    Block(Vec<(Statement, Layout)>),
    /// `List { ... }`, items of a block of names.
    List(Vec<&'static str>),
    /// What is an error of one line, its own.
    Mistake(&'static str),
}

/// What stands around a statement and between its words.
#[derive(Clone, Debug)]
struct Layout {
    /// Before it; empty if it stands on the line of the one before.
    before: &'static str,
    /// Around the `=`, or before the `{`.
    inside: &'static str,
}

const MISTAKES: [&str; 16] = [
    "Wrong",
    "Wrong 1 2",
    "Wrong = 1",
    "Wrong=\"} { #\"",
    "Wrong word \"{ } '\" x",
    "Wrong { Key = 1 }",
    "Wrong { Key = '}' Block { # }\n Key = \"{\" } }",
    "Wrong 10.0.0.1:80\n# {\n{ Key = 1\n Wrong }",
    "Wrong = { a b }",
    "Key = { a \"}\" }",
    "Key 1",
    "Key = \"bad {\"",
    "Block 1 { Key = 1 }",
    "= Key",
    "\"Key\" = 1",
    "Late { Key = 1 Key = 1 }",
];

fn layout() -> impl Strategy<Value = Layout> {
    let before = prop::sample::select(vec!["\n", "\n", " \n\t", "\n# } = {\n", " # \"\n", "\r\n"]);
    let inside = prop::sample::select(vec!["", " ", "\n ", " # {\n", "\t"]);
    (before, inside).prop_map(|(before, inside)| Layout { before, inside })
}

fn statement(mistakes: bool) -> impl Strategy<Value = Statement> {
    let key = prop::sample::select(vec!["Key", "Port", "Other-Key"]);
    let value = prop::sample::select(vec!["1", "a=b", "x\"y'", "{ \"", "#}", "é", "="]);
    let value = (key, value).prop_map(|(key, value)| Statement::Value(key, value));
    let items = prop::sample::select(vec!["a", "b:1", "=", "{", "Key"]);
    let list = prop::collection::vec(items, 0..4).prop_map(Statement::List);
    let wrong = prop::sample::select(MISTAKES.to_vec()).prop_map(Statement::Mistake);
    let leaf = prop_oneof![4 => value, 1 => list, u32::from(mistakes) * 2 => wrong];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop::collection::vec((inner, layout()), 0..4).prop_map(Statement::Block)
    })
}

fn file(mistakes: bool) -> impl Strategy<Value = Vec<(Statement, Layout)>> {
    prop::collection::vec((statement(mistakes), layout()), 0..6)
}

fn quoted(value: &str) -> String {
    match value {
        "{ \"" | "#}" | "{" => format!("'{value}'"),
        plain => plain.to_owned(),
    }
}

/// Writes statements down; beside the text comes what they mean, and how many are mistakes.
fn write(statements: &[(Statement, Layout)], text: &mut String, meaning: &mut String) -> usize {
    let mut mistakes = 0;
    for (statement, Layout { before, inside }) in statements {
        text.push_str(before);
        match statement {
            Statement::Value(key, value) => {
                *text += &format!("{key}{inside}={inside}{}", quoted(value));
                *meaning += &format!("{key}={value};");
            }
            Statement::Block(statements) => {
                *text += &format!("Block{inside}{{");
                meaning.push_str("Block{");
                mistakes += write(statements, text, meaning);
                text.push_str("\n}");
                meaning.push('}');
            }
            Statement::List(items) => {
                let words: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                *text += &format!("List{inside}{{ {} }}", words.join(" "));
                *meaning += &format!("List{items:?}");
            }
            Statement::Mistake(wrong) => {
                text.push_str(wrong);
                mistakes += 1;
            }
        }
    }
    mistakes
}

fn read_block(reader: &mut Reader, meaning: &mut String) {
    while let Some(keyword) = reader.keyword() {
        if let Err(error) = read_statement(reader, &keyword, meaning) {
            reader.reject(error);
        }
    }
}

fn read_statement(reader: &mut Reader, keyword: &Word, meaning: &mut String) -> Result<(), Error> {
    match &*keyword.text {
        "Key" | "Port" | "Other-Key" => {
            let value = reader.value(keyword)?;
            if value.text.starts_with("bad") {
                return Err(value.error("bad"));
            }
            *meaning += &format!("{}={};", keyword.text, value.text);
        }
        "Block" => {
            reader.open(keyword)?;
            meaning.push_str("Block{");
            read_block(reader, meaning);
            meaning.push('}');
        }
        "List" => {
            reader.open(keyword)?;
            let items: Vec<String> = std::iter::from_fn(|| reader.item("List"))
                .map(|item| item.text)
                .collect();
            *meaning += &format!("List{items:?}");
        }
        // One that goes wrong in the middle of its block.
        "Late" => {
            reader.open(keyword)?;
            reader.word("Late")?;
            return Err(keyword.error("late"));
        }
        _ => return Err(keyword.unknown(&["Key", "Port", "Other-Key", "Block", "List", "Late"])),
    }
    Ok(())
}

/// What the reader makes of a text: its meaning, and the lines with errors.
fn read(text: &str, dialect: Dialect) -> (String, Vec<String>) {
    let mut reader = Reader::new("f", text, dialect);
    let mut meaning = String::new();
    read_block(&mut reader, &mut meaning);
    let errors = match reader.finish() {
        Ok(()) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    };
    (meaning, errors)
}

proptest! {
    #[test]
    fn any_layout_means_the_same(file in file(false)) {
        let (mut text, mut meaning) = (String::new(), String::new());
        write(&file, &mut text, &mut meaning);
        for dialect in [Dialect::SPREAD, Dialect::SPREADLOGD] {
            prop_assert_eq!(read(&text, dialect), (meaning.clone(), vec![]), "{}", text);
        }
    }

    #[test]
    fn a_mistake_costs_itself_only(file in file(true)) {
        let (mut text, mut meaning) = (String::new(), String::new());
        let mistakes = write(&file, &mut text, &mut meaning);
        for dialect in [Dialect::SPREAD, Dialect::SPREADLOGD] {
            let (read, errors) = read(&text, dialect);
            prop_assert_eq!(&read, &meaning, "{}", text);
            // At most twenty are listed, and one line counts the others.
            let listed = mistakes.min(20) + usize::from(mistakes > 20);
            prop_assert_eq!(errors.len(), listed, "{}\n{:?}", text, errors);
        }
    }

    /// Whatever the text: reading ends, and each error is of a line that there is.
    #[test]
    fn any_text_is_read_to_its_end(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "Key", "Block", "List", "Late", "=", "{", "}", "\"", "'", "#", ";", "\n", " ", "1", "é", "\0",
            ]),
            0..40,
        )
    ) {
        let text = words.concat();
        let lines = text.split('\n').count();
        for dialect in [Dialect::SPREAD, Dialect::SPREADLOGD] {
            let (_, errors) = read(&text, dialect);
            for error in errors {
                let line = error.split(':').nth(1).and_then(|line| line.parse().ok());
                let is_line = line.is_some_and(|line: usize| (1..=lines).contains(&line));
                prop_assert!(is_line || error.ends_with(" more errors"), "{:?}: {}", text, error);
            }
        }
    }
}

#[test]
fn statements_behind_a_mistake_on_its_line_are_read() {
    for (text, meaning) in [
        ("Key = bad Block { Key = 1 }", "Block{Key=1;}"),
        ("Key = bad Key = 1", "Key=1;"),
        ("Wrong = 1 Block\n{ Key = 1 }", "Block{Key=1;}"),
        ("Wrong 1 2 Key=3", "Key=3;"),
        ("Late { Key = 1 } Key = 1", "Key=1;"),
        ("{ Key = 1 { } } Key = 2", "Key=2;"),
        ("Block { Wrong } Key = 1", "Block{}Key=1;"),
    ] {
        let (read, errors) = read(text, Dialect::SPREAD);
        assert_eq!(read, meaning, "{text}");
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    }
}

#[test]
fn a_block_that_does_not_end_is_an_error_wherever_it_stands() {
    let missing = "missing '}' for this '{' at the end of the file";
    for text in [
        "List { a",
        "Block {",
        "Wrong {",
        "Late { a {",
        "Block { List {",
    ] {
        let (_, errors) = read(text, Dialect::SPREADLOGD);
        let count = errors
            .iter()
            .filter(|error| error.contains(missing))
            .count();
        assert_eq!(count, text.matches('{').count(), "{text}: {errors:?}");
    }
}

#[test]
fn peeking_takes_nothing() {
    let mut reader = Reader::new("f", "a=b {", Dialect::SPREAD);
    let word = Word {
        text: "a=b".into(),
        line: 1,
        quoted: false,
    };
    assert_eq!(reader.peek(), Ok(Next::Word(word.clone())));
    assert_eq!(reader.word("x"), Ok(word));
    assert_eq!(reader.peek(), Ok(Next::Open));
}
