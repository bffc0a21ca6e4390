//! What is wrong with a file, and where.

use std::fmt;

/// Bound: this many errors of a file are reported, the others counted.
const REPORTED_MAX: usize = 20;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line, counted from 1; 0 if it concerns the file as a whole.
    pub line: u32,
    /// What is wrong and what is allowed: lower case, no full stop.
    pub message: String,
}

impl Error {
    /// An error on a line.
    pub fn new(line: u32, message: impl Into<String>) -> Error {
        Error {
            line,
            message: message.into(),
        }
    }
}

/// All that is wrong with a file, in the order of its lines; never empty.
///
/// Prints one line per error, `file:line: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    file: String,
    list: Vec<Error>,
    omitted: usize,
}

impl Errors {
    /// All errors of the file of this name; there must be one.
    pub fn new(file: &str, mut list: Vec<Error>) -> Errors {
        list.sort_by_key(|error| error.line);
        let omitted = list.len().saturating_sub(REPORTED_MAX);
        list.truncate(REPORTED_MAX);
        Errors {
            file: file.to_owned(),
            list,
            omitted,
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match error.line {
                0 => write!(f, "{}: {}", self.file, error.message)?,
                line => write!(f, "{}:{line}: {}", self.file, error.message)?,
            }
        }
        if self.omitted > 0 {
            write!(f, "\n{}: {} more errors", self.file, self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
