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

mod assembler;
mod cutter;
mod outbox;

pub use assembler::{Assembler, AssemblerCounts};
pub use cutter::{Cutter, CutterCounts, Limits, Message};
pub use outbox::{Outbox, Outgoing, WhenFull};

/// Longest message that our programs send, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 131_072;

/// Longest line that travels whole, in bytes with its newline.
pub const LINE_BYTES_MAX: usize = 1 << 20;
