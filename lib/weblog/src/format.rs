//! The fields of an access log's line.
//!
//! A [`Format`] says how lines are written: Common, Combined, Debian's vhost_combined, JSON as
//! nginx and Caddy write it, or a description in Apache's `LogFormat` language. A [`Parser`] is
//! made of a format and of the fields that are wanted; no others are looked at once those are
//! found. [`Parser::parse`] gives [`Fields`], slices of the line.
//!
//! Lines are bytes. What servers write is escaped in their own ways, and is given as it stands in
//! the line, so that a page is called what the log calls it; only JSON's escapes, which belong to
//! the notation, are resolved. Nothing is required of a field's value: a client may be a name, a
//! request may be garbage.

mod description;
mod field;
mod find;
mod json;
mod text;
mod time;
mod usual;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod traps;

pub use description::DescriptionError;
pub use field::{Field, Fields, Outcome, Unparsed};
pub use find::find_byte;
pub use time::Clock;

use description::Step;

/// How the lines of a log are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Text(Vec<Step>),
    Json,
}

const COMMON: &str = r#"%h %l %u %t "%r" %>s %b"#;
const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
const VHOST_COMBINED: &str = r#"%v:%p %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;

impl Format {
    /// Reads a format's name (`common`, `combined`, `vhost_combined`, `json`), or else a
    /// description as in Apache's `LogFormat`.
    ///
    /// Errors: the description has a directive that is not known, or two of them side by side.
    pub fn parse(text: &str) -> Result<Format, DescriptionError> {
        let description = match text {
            "json" => return Ok(Format(Kind::Json)),
            "common" => COMMON,
            "combined" => COMBINED,
            "vhost_combined" => VHOST_COMBINED,
            other => other,
        };
        Ok(Format(Kind::Text(description::parse(description)?)))
    }

    /// Combined, which reads Common as well: the last fields are then not there.
    pub fn combined() -> Format {
        Format::parse(COMBINED).expect("the format is well-formed")
    }

    /// Whether lines of this format can have the field.
    pub fn has(&self, field: &Field) -> bool {
        match &self.0 {
            Kind::Json => true,
            Kind::Text(steps) => steps.iter().any(|step| step.carries(field)),
        }
    }
}

/// Finds the wanted fields in lines of one format.
#[derive(Clone, Debug)]
pub struct Parser {
    kind: ParserKind,
    wanted: Vec<Field>,
}

#[derive(Clone, Debug)]
enum ParserKind {
    Text(text::Program),
    Json(json::Keys),
}

impl Parser {
    /// Looks for these fields; [`Fields`] are asked by their index here. At most
    /// [`Fields::COUNT_MAX`].
    ///
    /// # Panics
    /// More fields are wanted.
    pub fn new(format: &Format, wanted: &[Field]) -> Parser {
        assert!(wanted.len() <= Fields::COUNT_MAX, "too many fields");
        let kind = match &format.0 {
            Kind::Text(steps) => ParserKind::Text(text::Program::new(steps, wanted)),
            Kind::Json => ParserKind::Json(json::Keys::new(wanted)),
        };
        Parser {
            kind,
            wanted: wanted.to_vec(),
        }
    }

    /// Finds the fields of a line, with or without its newline.
    ///
    /// Errors: the line is not of the format, or ends before its status (or before all that is
    /// wanted, where that stands further left).
    pub fn parse<'a>(&self, line: &'a [u8]) -> Result<Fields<'a>, Unparsed> {
        let mut fields = Fields::default();
        self.parse_into(line, &mut fields)?;
        Ok(fields)
    }

    /// As [`parse`](Self::parse), for who reads millions of lines: nothing is moved.
    ///
    /// What was in `fields` before is gone, also after an error.
    #[inline]
    pub fn parse_into<'a>(&self, line: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Unparsed> {
        *fields = Fields::default();
        let line = match line {
            [line @ .., b'\r', b'\n'] | [line @ .., b'\n' | b'\r'] => line,
            line => line,
        };
        match &self.kind {
            ParserKind::Text(program) => program.run(line, fields),
            ParserKind::Json(keys) => keys.find(line, &self.wanted, fields),
        }
    }
}
