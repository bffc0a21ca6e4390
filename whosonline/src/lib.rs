//! What whosonline knows, without I/O: which line is a hit, what time it is, who is online.
//!
//! It is a library for the sake of its two programs' tests and benchmarks only.

#![forbid(unsafe_code)]

pub mod answer;
pub mod clock;
pub mod historic;
pub mod hits;
pub mod presence;
