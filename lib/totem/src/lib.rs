//! The ring: totally ordered multicast and membership, without I/O.
//!
//! [`Totem`] is one member of a ring: Totem single-ring ordering with the accelerated-ring change,
//! and membership with extended virtual synchrony. It has no socket, clock, thread or randomness
//! of its own. The driver's loop:
//!
//! 1. give it what happened: [`handle_packet`](Totem::handle_packet),
//!    [`handle_timeout`](Totem::handle_timeout), [`handle_refused`](Totem::handle_refused),
//!    [`submit`](Totem::submit);
//! 2. then drain [`poll_persist`](Totem::poll_persist) (answer with
//!    [`persisted`](Totem::persisted)), [`poll_transmit`](Totem::poll_transmit) and
//!    [`poll_event`](Totem::poll_event) until each returns `None`;
//! 3. wait until [`poll_timeout`](Totem::poll_timeout), reading first the socket that
//!    [`wants`](Totem::wants) names.
//!
//! [`Groups`](groups::Groups) is the second state machine: process groups on top of the ring.
//!
//! Not promised: that a minority stops (partitions go on separately and merge later), and
//! anything against a member that holds the key and lies.

#![forbid(unsafe_code)]

mod clique;
pub mod config;
mod cursor;
pub mod event;
mod form;
mod gather;
pub mod groups;
mod merge;
pub mod mutant;
mod node;
mod order;
mod outline;
mod peer;
mod queue;
mod random;
mod receive;
mod recover;
mod ring;
mod roll;
mod seal;
pub mod sim;
mod stats;
mod store;
mod suspect;
#[cfg(test)]
mod tests;
pub mod time;
mod timer;
mod transmit;
pub mod view;
mod wire;

pub use node::{State, Totem};
pub use queue::{MESSAGE_BYTES_MAX, QueueFull};
pub use stats::Stats;
