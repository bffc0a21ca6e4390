//! What whosonline knows, without I/O: which line is a hit, what time it is, who is online, and
//! how several of them know the same.
//!
//! It is a library for the sake of its two programs' tests and benchmarks only.

#![forbid(unsafe_code)]

pub mod answer;
pub mod clock;
pub mod historic;
pub mod hits;
pub mod presence;
pub mod replica;
pub mod snapshot;
pub mod table;
