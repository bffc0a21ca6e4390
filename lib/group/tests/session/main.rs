//! Sessions against a daemon that is a script.

mod blocking;
mod link;
mod script;
