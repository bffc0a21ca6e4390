//! How daemons answer questions about themselves: control sockets.
//!
//! A control socket is a Unix-domain stream socket. A request is one line of JSON, an answer is
//! one line of JSON; a connection may ask again and again. Control sockets are for people,
//! scripts and the daemon's own tool, never for another daemon.
//!
//! A daemon owns a [`ControlServer`] and drives it from its mio loop; a tool uses [`call`]. What
//! requests and answers look like is decided by the daemon, with serde; what cannot be done or
//! understood is answered by a [`Failure`].

#![forbid(unsafe_code)]

mod call;
mod lines;
mod server;

use serde::{Deserialize, Serialize};

pub use call::{CallError, call};
pub use server::{CONNECTIONS_MAX, ControlServer, REQUEST_BYTES_MAX};

/// The answer to what could not be done or understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong, for people.
    pub error: String,
}
