//! whosonline: knows who is online, from the log lines that travel on the bus.
//!
//! The library has all that needs no I/O; `daemon` is the loop around it, `peers` the connections
//! of the historic protocol.

#![forbid(unsafe_code)]

mod args;
mod daemon;
mod peers;

use std::process::ExitCode;

use unixproc::exit::{self, Failure};
use unixproc::{daemon as process, options, signal};

use crate::args::Args;
use crate::daemon::Daemon;

fn main() -> ExitCode {
    exit::main("whosonline", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(exit::DONE);
    };
    args.daemon.init_log("whosonline");
    let rules = args.rules().map_err(|message| Failure::usage(&message))?;
    let replicas = args
        .replicas()
        .map_err(|message| Failure::usage(&message))?;
    let address = group::Address::find(args.socket.as_deref(), None).map_err(Failure::fatal)?;
    if args.daemon.check {
        return process::configuration_ok();
    }
    let (mut instance, process) = args.daemon.start(&signal::DAEMON)?;
    let daemon = Daemon::new(process, &args, rules, replicas, address);
    let mut daemon = daemon.map_err(Failure::failed)?;
    instance.ready()?;
    daemon.announce();
    daemon.run().map_err(Failure::failed)
}
