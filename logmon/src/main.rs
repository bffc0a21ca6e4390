//! logmon: shows what happens on web servers now, as a web page.
//!
//! `series` counts the log, `cluster` holds what programs say of themselves, `daemon` is the loop
//! between the bus and the browsers; the page is in `page/`.

#![forbid(unsafe_code)]

mod args;
mod cluster;
mod daemon;
mod series;

use std::process::ExitCode;

use unixproc::exit::{self, Failure};
use unixproc::{daemon as process, options, signal};

use crate::args::Args;
use crate::daemon::Daemon;

fn main() -> ExitCode {
    exit::main("logmon", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(exit::DONE);
    };
    args.daemon.init_log("logmon");
    let address = group::Address::find(args.socket.as_deref(), None).map_err(Failure::fatal)?;
    let password = args.password().map_err(Failure::fatal)?;
    if args.daemon.check {
        return process::configuration_ok();
    }
    let (mut instance, process) = args.daemon.start(&signal::DAEMON)?;
    let daemon = Daemon::new(process, &args, password, address);
    let mut daemon = daemon.map_err(Failure::failed)?;
    instance.ready()?;
    daemon.announce();
    daemon.run().map_err(Failure::failed)
}
