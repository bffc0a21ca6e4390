//! imgcache's parts without I/O, and what its tool shares with it.
//!
//! [`names`] says where a URL lives on disk, [`http`] and [`chunked`] read heads and bodies,
//! [`directives`], [`freshness`], [`variants`] and [`conditional`] decide by RFC 9111 and RFC 9110,
//! [`meta`] is what is known about a stored object, [`rules`] are the purges, [`control`] is the
//! control socket's language.

#![forbid(unsafe_code)]

pub mod chunked;
pub mod conditional;
pub mod control;
pub mod date;
pub mod directives;
pub mod freshness;
pub mod http;
pub mod meta;
pub mod names;
pub mod rules;
pub mod variants;
