//! Configuration files: text to words, braces and lines.
//!
//! The files of Spread and its tools look alike: a keyword, an `=` or none, a value, and blocks in
//! braces. [`Reader`] gives their words with the line on which they stand, and collects what is
//! wrong; which keywords there are and what they mean is said by the program that owns the file:
//!
//! ```
//! use conf::{Dialect, Reader, Word};
//!
//! struct Settings {
//!     port: u16,
//! }
//!
//! fn statement(reader: &mut Reader, keyword: &Word, settings: &mut Settings) -> Result<(), conf::Error> {
//!     match keyword.text.as_str() {
//!         "Port" => settings.port = reader.value(keyword)?.integer("Port", 1..=65535)?,
//!         _ => return Err(keyword.unknown(&["Port"])),
//!     }
//!     Ok(())
//! }
//!
//! let mut reader = Reader::new("spread.conf", "Port = 4803 # as ever\nPrt=1\n", Dialect::SPREAD);
//! let mut settings = Settings { port: 0 };
//! while let Some(keyword) = reader.keyword() {
//!     if let Err(error) = statement(&mut reader, &keyword, &mut settings) {
//!         reader.reject(error);
//!     }
//! }
//! assert_eq!(settings.port, 4803);
//! assert_eq!(
//!     reader.finish().unwrap_err().to_string(),
//!     "spread.conf:2: unknown keyword \"Prt\", did you mean \"Port\"? allowed here: Port"
//! );
//! ```

#![forbid(unsafe_code)]

mod error;
mod file;
mod reader;
mod word;

pub use error::{Error, Errors};
pub use file::{choose, read};
pub use reader::{Dialect, Next, Reader};
pub use word::Word;
