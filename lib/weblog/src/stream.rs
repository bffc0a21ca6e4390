//! A stream of lines as messages of a log group, without I/O.
//!
//! A message holds one or more whole lines with their newlines, in agreed service, and nothing
//! else, so that any logger can write its bytes as they are. A line longer than
//! [`MESSAGE_BYTES_MAX`] begins a message of its own and goes on in the sender's next ones, each of
//! exactly that length but for the last: that length, without a newline at the end, is how a
//! receiver knows that more follows.
//!
//! On the publisher's side bytes go into a [`Cutter`], the messages that come out of it go into an
//! [`Outbox`], which says what to send when. On the logger's side messages go into an
//! [`Assembler`] per group, and whole lines come out.
//!
//! That is the way without a promise. A [`Publisher`] with a spool and a [`Logger`] with a journal
//! hold one: every line of the spool once in the journal of every logger of a list. ARCHITECTURE.md
//! has their protocol. Both are state machines without I/O: `handle_` methods take what has
//! happened, time included, and `poll_action` says what to do, until it gives none.

mod assembler;
mod control;
mod cutter;
mod hash;
mod journal;
mod logger;
mod outbox;
mod publisher;
mod ranges;
#[cfg(test)]
mod sim;
mod tick;
mod view;

pub use assembler::{Assembler, AssemblerCounts};
pub use control::ViewId;
pub use cutter::{Cutter, CutterCounts, Limits, Message};
pub use hash::hash;
pub use journal::Stretch;
pub use journal::reader::{Damaged, Entry, StretchReader};
pub use logger::{ForgetError, Logger, LoggerAction, LoggerConfig, LoggerCounts, Misfit, Quorum};
pub use outbox::{Outbox, Outgoing, WhenFull};
pub use publisher::{Gap, LINE_BREAK_BYTES, Publisher, PublisherAction};
pub use tick::tick_of;
pub use view::{LOGGER_MARK, PUBLISHER_MARK, SessionName};

/// Longest message that our programs send, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 131_072;

/// Longest line that travels whole, in bytes with its newline.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Which stream a batch belongs to: the random identity of a spool's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub [u8; 16]);
