//! Client library for group communication daemons: groupd, and Spread 4.x.
//!
//! A [`Session`] is a connection to a daemon. It joins groups and sends to them; what it receives
//! are [`Event`]s: messages, in one total order at all members, and memberships.
//!
#![doc = concat!("```no_run\n", include_str!("../examples/hello.rs"), "```")]
//!
//! (This is `cargo run --example hello`.)
//!
//! A session blocks, or it lends its descriptor to an event loop; see [`Session`] for both. When
//! the connection is lost, [`Session::reconnect`] opens it again and joins the same groups; when
//! to call it is the program's decision.
//!
//! A program with a mio loop has a [`Link`], which waits for nothing, neither for a resolver nor
//! for a daemon that hangs, and opens one session after another:
//!
#![doc = concat!("```no_run\n", include_str!("../examples/listen.rs"), "```")]
//!
//! (This is `cargo run --example listen`.) [`Connecting`] is the part of it that needs no mio.
//!
//! Not promised: that a message was delivered because it was sent (a session that ends may take
//! its last messages with it), and that messages of a former connection are recovered.
//!
//! [`wire`] and [`handshake`] are the protocol without I/O. groupd is built on the same code.

#![forbid(unsafe_code)]

mod address;
mod connecting;
mod error;
mod event;
pub mod handshake;
mod link;
pub mod name;
mod output;
mod reconnect;
mod session;
mod transport;
pub mod wire;

pub use address::{Address, AddressError};
pub use connecting::{Connecting, Progress};
pub use error::{ConnectError, ReceiveError, SendError};
pub use event::{Event, Message};
pub use link::{Link, Received};
pub use name::{GroupName, Name, NameError, PrivateName};
pub use session::{Options, Session};
pub use wire::{Cause, Delivery, GroupId, Groups, Kind, Membership, Service};
