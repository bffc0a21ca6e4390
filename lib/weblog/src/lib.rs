//! Log lines on the bus.
//!
//! [`stream`] is how they travel from a publisher to the loggers: which lines make up a message,
//! what is sent again, how a logger gets whole lines back. It has no I/O. [`mod@format`] finds the
//! fields of a line. The two do not know each other.

#![forbid(unsafe_code)]

pub mod format;
pub mod stream;
