//! The text of configuration files: every word read, in both dialects.
#![no_main]

use conf::{Dialect, Next, Reader, Word};
use libfuzzer_sys::fuzz_target;

fn read_all(text: &str, dialect: Dialect) {
    let mut reader = Reader::new("fuzz.conf", text, dialect);
    let mut keyword = Word {
        text: "Block".to_owned(),
        line: 1,
        quoted: false,
    };
    // A step takes at least one byte, or the text is at its end.
    for _ in 0..=text.len() {
        match reader.peek() {
            Ok(Next::End) => break,
            Ok(Next::Equals) => assert!(reader.equals()),
            Ok(Next::Open) => reader.open(&keyword).expect("a brace comes next"),
            Ok(Next::Word(word)) if word.quoted => _ = reader.item("an item"),
            // A `}` that closes nothing is an error of the reader's own.
            Ok(Next::Close | Next::Word(_)) | Err(_) => match reader.keyword() {
                Some(word) => {
                    keyword = word;
                    statement(&mut reader, &keyword);
                }
                None => continue,
            },
        }
    }
    let _ = reader.finish();
}

fn statement(reader: &mut Reader, keyword: &Word) {
    match reader.value(keyword) {
        Ok(value) => {
            let _ = value.integer("Number", 0..=u32::MAX);
            if let Err(error) = value.boolean("Flag") {
                reader.reject(error);
            }
        }
        // A block, or a statement without a value.
        Err(_) if reader.open(keyword).is_ok() => {}
        Err(error) => reader.reject(error),
    }
}

fuzz_target!(|text: &str| {
    read_all(text, Dialect::SPREAD);
    read_all(text, Dialect::SPREADLOGD);
});
