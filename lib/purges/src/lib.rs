//! The language of the group in which purges travel, for those who ask and those who confirm.
//!
//! A message of the group is text, a command per line, see [`Purge`]. Whoever has done it answers to
//! the sender's private group, with the type of the message: a line, see [`Answer`]. [`Waiting`]
//! decides whom to wait for. Private names of caches begin with `ic`, of `purged` with `pd`.

#![forbid(unsafe_code)]

mod command;
mod target;
mod wait;

pub use command::{Purge, Subject, What};
pub use target::{Target, TargetError, is_site_name};
pub use wait::{Fate, Waiting, is_cache};
