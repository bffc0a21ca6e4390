//! groupd: the group communication daemon.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod link;
mod listen;
mod key;
mod output;
mod state;
mod stream;
mod args;
mod config;
mod ports;

fn main() {}
