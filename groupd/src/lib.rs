//! What groupd and groupctl share: the shapes that go over groupd's control socket.
//!
//! Only these two programs use this crate; everybody else speaks the client protocol.

#![forbid(unsafe_code)]

pub mod control;
