//! whosonline: knows who is online, from the log lines that travel on the bus.
//!
//! The library has all that needs no I/O; `daemon` is the loop around it, `peers` the connections
//! of the historic protocol.

#![forbid(unsafe_code)]

mod args;
mod daemon;
mod peers;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use unixproc::exit::{self, Failure, print};
use unixproc::pidfile::Pidfile;
use unixproc::{background, log};

use crate::args::Args;
use crate::daemon::Daemon;

fn main() -> ExitCode {
    exit::main("whosonline", run)
}

fn run() -> Result<u8, Failure> {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            return Err(Failure::usage(&error.render().to_string()));
        }
        Err(help) => return print(&help.render().to_string()),
    };
    log::init(
        "whosonline",
        log::Level::from_flags(args.verbose, args.quiet),
    );
    let rules = args.rules().map_err(|message| Failure::usage(&message))?;
    let replicas = args
        .replicas()
        .map_err(|message| Failure::usage(&message))?;
    let address = group::Address::find(args.socket.as_deref(), None)
        .map_err(|error| Failure::new(exit::USAGE, error))?;
    if args.check {
        return print("configuration ok\n");
    }
    let failed = |error: io::Error| Failure::new(exit::FAILED, error);
    let background = match args.daemonize {
        true => Some(background::detach().map_err(failed)?),
        false => None,
    };
    let mut daemon = Daemon::new(&args, rules, replicas, address)
        .map_err(|error: anyhow::Error| Failure::new(exit::FAILED, error))?;
    let pidfile = args.pidfile.as_deref().map(Pidfile::create).transpose();
    let _pidfile = pidfile.map_err(|error| Failure::new(exit::FAILED, error))?;
    if let Some(background) = background {
        background.ready().map_err(failed)?;
    }
    daemon.announce();
    daemon.run().map_err(failed)
}
