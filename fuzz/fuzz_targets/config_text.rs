//! The text of configuration files: every word read, in both dialects.
#![no_main]

use conf::{Dialect, Next, Reader};
use libfuzzer_sys::fuzz_target;

fn read_all(text: &str, dialect: Dialect) {
    let mut reader = Reader::new("fuzz.conf", text, dialect);
    // A step takes at least one byte, or the text is at its end.
    for _ in 0..=text.len() {
        match reader.peek() {
            Ok(Next::End) => break,
            Ok(Next::Close) if reader.close() => {}
            Ok(Next::Equals) => assert!(reader.equals()),
            // A `}` that closes nothing is an error of the reader's own.
            Ok(Next::Open | Next::Close | Next::Word(_)) | Err(_) => {
                let Some(keyword) = reader.keyword() else {
                    continue;
                };
                match reader.value(&keyword) {
                    Ok(value) => {
                        let _ = value.integer("Number", 0..=u32::MAX);
                        let _ = value.boolean("Flag");
                    }
                    Err(error) => reader.reject(error),
                }
            }
        }
    }
    let _ = reader.finish();
}

fuzz_target!(|text: &str| {
    read_all(text, Dialect::SPREAD);
    read_all(text, Dialect::SPREADLOGD);
});
