//! logpub: reads log lines and publishes them to a group of the bus.
//!
//! Without a spool: `stdin` and `follow` are the two inputs, `weblog::stream` makes messages of their
//! bytes and says what to send when, `bus` is the way to the loggers, `publisher` the loop.
//!
//! With one: `intake` brings stdin into a lane of the `spool`, an `outlet` publishes a lane by the
//! protocol of `weblog::stream`, `orphans` are the lanes that others have left, and `spooler` is the
//! loop. Both ways rest on a `connection`.

#![forbid(unsafe_code)]

mod args;
mod bus;
mod follow;
mod intake;
mod orphans;
mod outlet;
mod position;
mod publisher;
mod rotation;
mod spool;
mod spooler;
mod stdin;

use std::process::ExitCode;

use unixproc::exit::{self, Failure};
use unixproc::{argv, log};

use crate::args::Args;
use crate::publisher::Publisher;
use crate::spooler::Spooler;

fn main() -> ExitCode {
    exit::main("logpub", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = argv::from_env::<Args>("logpub", env!("CARGO_PKG_VERSION"))? else {
        return Ok(exit::DONE);
    };
    log::init("logpub", log::Level::from_flags(args.verbose, args.quiet));
    let address = args.check().map_err(|message| Failure::usage(&message))?;
    match &args.spool {
        Some(directory) => {
            let mut spooler = Spooler::new(&args, directory, address).map_err(Failure::fatal)?;
            spooler.run().map_err(Failure::fatal)
        }
        None => {
            let mut publisher = Publisher::new(&args, address).map_err(Failure::fatal)?;
            publisher.run().map_err(Failure::fatal)
        }
    }
}
