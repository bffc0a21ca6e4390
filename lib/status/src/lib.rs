//! How daemons answer questions about themselves: control sockets, and small HTTP.
//!
//! A control socket is a Unix-domain stream socket. A request is one line of JSON, an answer is
//! one line of JSON; a connection may ask again and again. Control sockets are for people,
//! scripts and the daemon's own tool, never for another daemon.
//!
//! A daemon owns a [`ControlServer`] and drives it from its mio loop; a tool uses [`call`]. What
//! requests and answers look like is decided by the daemon, with serde; what cannot be done or
//! understood is answered by a [`Failure`]. A daemon whose requests are not JSON gives the lines
//! to [`ControlServer::handle_lines`].
//!
//! Both are [`Connections`] with a protocol; a program with a protocol of its own has those, too.
//!
//! An [`HttpServer`] is driven in the same way; it gives pages, JSON, metrics, and streams of
//! server-sent events.

#![forbid(unsafe_code)]

mod basic;
mod call;
mod connections;
mod http;
mod lines;
mod server;

use serde::{Deserialize, Serialize};

pub use call::{CallError, call};
pub use connections::{Connections, Step, Unread};
pub use http::{
    HTTP_CONNECTIONS_MAX, HttpAnswer, HttpRequest, HttpServer, REQUEST_HEAD_BYTES_MAX,
    listen_address,
};
pub use server::{CONNECTIONS_MAX, ControlServer, REQUEST_BYTES_MAX};

/// The group of the bus in which programs say how they are: one line of JSON each, on change and
/// every few seconds.
pub const STATUS_GROUP: &str = "covey.status";

/// The answer to what could not be done or understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong, for people.
    pub error: String,
}
