//! A description of a line, in the language of Apache's `LogFormat`.

use std::error::Error;
use std::fmt;

use super::Field;

/// A piece of a line: a field, and the fixed text that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// None for what stands before the first field, and for fields that nobody can ask for.
    pub(super) field: Option<Field>,
    /// Whether the field stands in quotes, which are part of the literals around it.
    pub(super) quoted: bool,
    /// How many blanks a time has inside, so that the next one ends it.
    pub(super) blanks: usize,
    /// What follows; empty at the end of the line.
    pub(super) literal: Vec<u8>,
}

impl Step {
    /// Whether the field can be had from here; method and target stand in the request line.
    pub(super) fn carries(&self, field: &Field) -> bool {
        match (&self.field, field) {
            (Some(Field::Request), Field::Method | Field::Url) => true,
            (Some(own), field) => own == field,
            (None, _) => false,
        }
    }

    /// Whether a time that follows is a part of this one, as the fraction is in
    /// `%{%F %T}t.%{usec_frac}t`.
    fn is_joined(&self) -> bool {
        self.literal.iter().all(|byte| b".,: T/-".contains(byte))
    }
}

/// Reads a description. The first step is what stands before the first field.
pub(super) fn parse(description: &str) -> Result<Vec<Step>, DescriptionError> {
    let mut steps = vec![Step {
        field: None,
        quoted: false,
        blanks: 0,
        literal: Vec::new(),
    }];
    let mut rest = description;
    while let Some(first) = rest.chars().next() {
        let literal = &mut steps.last_mut().expect("there is a first step").literal;
        if first != '%' {
            // A configuration file writes its quotes behind backslashes.
            let (byte, length) = match rest.as_bytes() {
                [b'\\', b'"', ..] => (b'"', 2),
                [b'\\', b't', ..] => (b'\t', 2),
                [byte, ..] => (*byte, 1),
                [] => unreachable!("there is a first character"),
            };
            literal.push(byte);
            rest = match rest.get(length..) {
                Some(rest) => rest,
                None => return Err(DescriptionError::NotAscii),
            };
        } else if let Some(after) = rest.strip_prefix("%%") {
            literal.push(b'%');
            rest = after;
        } else {
            let (directive, after) = Directive::read(rest)?;
            add_field(&mut steps, &directive)?;
            rest = after;
        }
    }
    match steps.len() {
        1 => Err(DescriptionError::NoField),
        _ => Ok(steps),
    }
}

/// Adds the step of a directive; what stands before it is the last step's literal.
fn add_field(steps: &mut Vec<Step>, directive: &Directive) -> Result<(), DescriptionError> {
    let mut field = directive.field()?;
    let is_first = steps.len() == 1;
    let last = steps.last_mut().expect("there is a first step");
    if field == Some(Field::Time) && last.field == Some(Field::Time) && last.is_joined() {
        last.blanks += blanks(&last.literal) + directive.blanks();
        last.literal.clear();
        return Ok(());
    }
    let bracketed = field == Some(Field::Time) && directive.name.is_none();
    if bracketed {
        last.literal.push(b'[');
    }
    if !is_first && last.literal.is_empty() {
        return Err(DescriptionError::SideBySide(directive.text.to_owned()));
    }
    let quoted = last.literal.ends_with(b"\"");
    // Of what stands there twice, such as the begin and the end of a request, the first counts.
    if field.is_some() && steps.iter().any(|step| step.field == field) {
        field = None;
    }
    steps.push(Step {
        field,
        quoted,
        blanks: directive.blanks(),
        literal: if bracketed { b"]".to_vec() } else { Vec::new() },
    });
    Ok(())
}

fn blanks(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b' ').count()
}

/// A `%` directive: `%>s`, `%{Referer}i`, `%!200,304{Cookie}i`.
struct Directive<'a> {
    text: &'a str,
    name: Option<&'a str>,
    /// The last letter; two for `%^FB` and the like.
    letter: &'a str,
}

impl<'a> Directive<'a> {
    fn read(text: &'a str) -> Result<(Directive<'a>, &'a str), DescriptionError> {
        let unknown = || DescriptionError::Unknown(text.chars().take(20).collect());
        let body = text[1..].trim_start_matches(|c: char| c.is_ascii_digit() || "!,<>".contains(c));
        let (name, letters) = match body.strip_prefix('{') {
            Some(inner) => {
                let (name, letters) = inner.split_once('}').ok_or_else(unknown)?;
                (Some(name), letters)
            }
            None => (None, body),
        };
        let length = if letters.starts_with('^') { 3 } else { 1 };
        let letter = letters.get(..length).ok_or_else(unknown)?;
        let after = &letters[length..];
        let text = &text[..text.len() - after.len()];
        Ok((Directive { text, name, letter }, after))
    }

    /// How many blanks a time has that is written in this form; none for what is no time.
    fn blanks(&self) -> usize {
        let form = self.name.filter(|_| self.letter == "t");
        form.map_or(0, |form| blanks(form.as_bytes()))
    }

    /// The field that the directive stands for; none for one that nobody can ask for.
    fn field(&self) -> Result<Option<Field>, DescriptionError> {
        let named = |name: &str| match name {
            name if name.eq_ignore_ascii_case("referer") => Field::Referer,
            name if name.eq_ignore_ascii_case("user-agent") => Field::UserAgent,
            name => Field::Named(name.into()),
        };
        Ok(match (self.letter, self.name) {
            ("h" | "a", _) => Some(Field::Host),
            ("u", None) => Some(Field::User),
            ("t", _) => Some(Field::Time),
            ("r", None) => Some(Field::Request),
            ("m", None) => Some(Field::Method),
            ("U", None) => Some(Field::Url),
            ("s", None) => Some(Field::Status),
            ("b" | "B" | "O", None) => Some(Field::Bytes),
            ("v" | "V", None) => Some(Field::Vhost),
            ("i" | "o" | "C" | "n" | "e" | "x", Some(name)) => Some(named(name)),
            (letter, _) if letter.starts_with('^') => None,
            (
                "A" | "D" | "T" | "f" | "H" | "I" | "k" | "l" | "L" | "p" | "P" | "q" | "R" | "S"
                | "X",
                _,
            ) => None,
            _ => return Err(DescriptionError::Unknown(self.text.to_owned())),
        })
    }
}

/// What is wrong with a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DescriptionError {
    /// Not a directive of `LogFormat`.
    Unknown(String),
    /// Nothing tells where the field before this one ends.
    SideBySide(String),
    /// It describes no field.
    NoField,
    /// The text between fields is not ASCII.
    NotAscii,
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DescriptionError::Unknown(text) => {
                write!(f, "no directive of LogFormat: {}", text.escape_debug())
            }
            DescriptionError::SideBySide(text) => {
                write!(f, "nothing stands between {text} and the field before it")
            }
            DescriptionError::NoField => f.write_str(
                "a format is common, combined, vhost_combined, json, or has %-directives",
            ),
            DescriptionError::NotAscii => f.write_str("a format has ASCII between its fields"),
        }
    }
}

impl Error for DescriptionError {}
