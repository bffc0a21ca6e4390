//! Log lines on the bus.
//!
//! [`stream`] is how they travel from a publisher to the loggers: which lines make up a message,
//! what is sent again, how a logger gets whole lines back. It has no I/O.

#![forbid(unsafe_code)]

pub mod stream;
