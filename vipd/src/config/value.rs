//! Values that several statements take.

use std::time::Duration;

use conf::{Error, Reader, Word};

/// Bound: words of a command.
const COMMAND_WORDS_MAX: usize = 32;

/// A time: a whole number with `ms`, `s`, `m` or `h`; seconds if there is none.
pub(super) fn time(word: &Word, name: &str) -> Result<Duration, Error> {
    let text = word.text.to_ascii_lowercase();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let time = number
        .parse::<u32>()
        .ok()
        .map(|number| u64::from(number) * milliseconds);
    // Bound: a day, so that no sum of times overflows.
    match time {
        Some(time) if (1..=86_400_000).contains(&time) => Ok(Duration::from_millis(time)),
        _ => Err(word.error(format!(
            "{name} must be a time from 1ms to 24h, such as 5s, got {:?}",
            word.text
        ))),
    }
}

pub(super) fn node_name(word: &Word) -> Result<String, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&word.text.len()) && word.text.bytes().all(plain) {
        return Ok(word.text.clone());
    }
    Err(word.error(format!(
        "Node must be 1 to 64 letters, digits, '-', '_' or '.', got {:?}",
        word.text
    )))
}

/// `{ /path/of/program argument ... }`: a program is started directly, no shell reads it.
pub(super) fn command(reader: &mut Reader, keyword: &Word) -> Result<Vec<String>, Error> {
    reader.open(keyword)?;
    let mut words = Vec::new();
    while let Some(word) = reader.item(&keyword.text) {
        words.push(word.text);
    }
    let absolute = words
        .first()
        .is_some_and(|program| program.starts_with('/'));
    if !absolute || words.len() > COMMAND_WORDS_MAX {
        return Err(keyword.error(format!(
            "{} takes the absolute path of a program and at most {} arguments in braces",
            keyword.text,
            COMMAND_WORDS_MAX - 1
        )));
    }
    Ok(words)
}
