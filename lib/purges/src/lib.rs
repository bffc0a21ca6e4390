//! The language of the group in which purges travel, for those who ask and those who confirm.
//!
//! A message of the group is text, a command per line: `purge` and a [`Purge`]. Whoever has done it
//! answers to the sender's private group, with the type of the message: `done` and how many objects
//! were deleted at once, or `failed` and why. [`Waiting`] decides whom to wait for; [`CatchUp`] asks
//! others for what was missed, from their [`PurgeLog`]. Private names of caches begin with `ic`, of
//! purged with `pd`.

#![forbid(unsafe_code)]

mod catch_up;
mod command;
mod target;
mod wait;

pub use catch_up::{CatchUp, PurgeLog, Replayed};
pub use command::{Purge, Subject, What, is_match};
pub use target::{Target, TargetError, is_site_name};
pub use wait::{Fate, Waiting, is_cache};
