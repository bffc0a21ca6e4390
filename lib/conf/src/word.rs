//! A word of the text, and the plain values that it may stand for.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::error::Error;

/// A bare word or a string, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its text, without quotes.
    pub text: String,
    /// The line on which it begins, counted from 1.
    pub line: u32,
    /// Whether it stood in quotes: then it is never a keyword.
    pub quoted: bool,
}

impl Word {
    /// An error about this word; `message` says what is allowed.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::new(self.line, message)
    }

    /// The error for a keyword that does not belong here, with the nearest that does.
    pub fn unknown(&self, allowed: &[&str]) -> Error {
        let guess = match nearest(&self.text, allowed) {
            Some(near) => format!(", did you mean \"{near}\"?"),
            None => ",".to_owned(),
        };
        self.error(format!(
            "unknown keyword {:?}{guess} allowed here: {}",
            self.text,
            allowed.join(", ")
        ))
    }

    /// A whole number in decimal digits, within this range.
    ///
    /// # Errors
    /// Anything else; the message begins with `name`.
    pub fn integer<T>(&self, name: &str, range: RangeInclusive<T>) -> Result<T, Error>
    where
        T: FromStr + PartialOrd + Display,
    {
        let digits = !self.text.is_empty() && self.text.bytes().all(|byte| byte.is_ascii_digit());
        match self.text.parse() {
            Ok(number) if digits && range.contains(&number) => Ok(number),
            _ => Err(self.error(format!(
                "{name} must be {} to {}, got {:?}",
                range.start(),
                range.end(),
                self.text
            ))),
        }
    }

    /// `true` or `yes`, `false` or `no`, in any case, as Spread has it.
    ///
    /// # Errors
    /// Anything else; the message begins with `name`.
    pub fn boolean(&self, name: &str) -> Result<bool, Error> {
        self.choice(
            name,
            &[
                ("true", true),
                ("yes", true),
                ("false", false),
                ("no", false),
            ],
        )
    }

    /// One of these words, in any case.
    ///
    /// # Errors
    /// Anything else; the message begins with `name`.
    pub fn choice<T: Clone>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, Error> {
        let chosen = choices
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&self.text));
        chosen.map(|(_, value)| value.clone()).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.error(format!(
                "{name} must be one of {}, got {:?}",
                words.join(", "),
                self.text
            ))
        })
    }
}

/// The allowed word that was probably meant: at most two letters away, and less than half of it.
fn nearest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distances = allowed
        .iter()
        .map(|&other| (distance(&word, &other.to_lowercase()), other));
    let (distance, other) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 2 && 2 * distance < other.len()).then_some(other)
}

/// Letters to insert, delete or replace (Levenshtein's distance).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Word {
        Word {
            text: text.to_owned(),
            line: 7,
            quoted: false,
        }
    }

    #[test]
    fn numbers_keep_to_their_range() {
        assert_eq!(word("4803").integer("Port", 1..=65535u16), Ok(4803));
        let refused = |text: &str| word(text).integer("Port", 1..=65535u16).unwrap_err();
        assert_eq!(
            refused("0"),
            Error::new(7, "Port must be 1 to 65535, got \"0\"")
        );
        for text in ["", "65536", "+1", "1 ", "99999999999999999999", "x"] {
            assert_eq!(refused(text).line, 7, "{text}");
        }
    }

    #[test]
    fn booleans_in_any_case() {
        assert_eq!(word("TRUE").boolean("A"), Ok(true));
        assert_eq!(word("no").boolean("A"), Ok(false));
        assert_eq!(
            word("on").boolean("A").unwrap_err().message,
            "A must be one of true, yes, false, no, got \"on\""
        );
    }

    #[test]
    fn the_nearest_keyword_is_suggested() {
        let allowed = ["Port", "Host", "RewriteTimestamp"];
        assert_eq!(nearest("port", &allowed), Some("Port"));
        assert_eq!(
            nearest("RewriteTimestanp", &allowed),
            Some("RewriteTimestamp")
        );
        assert_eq!(nearest("Pt", &allowed), None);
        assert_eq!(nearest("BufferSize", &allowed), None);
        assert_eq!(
            word("x").unknown(&["Port"]).message,
            "unknown keyword \"x\", allowed here: Port"
        );
    }
}
