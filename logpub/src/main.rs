//! logpub: reads log lines and publishes them to a group of the bus.
//!
//! `stdin` and `follow` are the two inputs, `weblog::stream` makes messages of their bytes and
//! says what to send when, `bus` is the session, `publisher` the loop around them.

#![forbid(unsafe_code)]

mod args;
mod bus;
mod follow;
mod position;
mod publisher;
mod stdin;

use std::process::ExitCode;

use unixproc::exit::{self, Failure};
use unixproc::{argv, log};

use crate::args::Args;
use crate::publisher::Publisher;

fn main() -> ExitCode {
    exit::main("logpub", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = argv::from_env::<Args>("logpub", env!("CARGO_PKG_VERSION"))? else {
        return Ok(exit::DONE);
    };
    log::init("logpub", log::Level::from_flags(args.verbose, args.quiet));
    let address = args.check().map_err(|message| Failure::usage(&message))?;
    let fatal = |error: anyhow::Error| Failure::new(exit::USAGE, error);
    let mut publisher = Publisher::new(&args, address).map_err(fatal)?;
    publisher.run().map_err(fatal)
}
