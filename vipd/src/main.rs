//! vipd: peers agree which of them holds which public address.
//!
//! `takeover` and `balance` (in the library) decide, without I/O; `daemon` is the loop that
//! connects them to the bus, the kernel and the wire.

#![forbid(unsafe_code)]

mod args;
mod bus;
mod daemon;
mod guardian;
mod ward;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use group::{Address, NameError};
use unixproc::exit::{self, Failure, print};
use unixproc::signal::{self, Signal};
use unixproc::{daemon as process, options};
use vipd::alone::purge;
use vipd::config::Config;

use crate::args::Args;
use crate::daemon::Daemon;

const DEFAULT_CONFIG: &str = "/etc/covey/wackamole.conf";

fn main() -> ExitCode {
    exit::main("vipd", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(exit::DONE);
    };
    args.daemon.init_log(match args.guardian {
        Some(_) => "vipd-guardian",
        None => "vipd",
    });
    if let (Some(parent), Some(group)) = (args.guardian, &args.group) {
        let wrong = |error: &dyn Display| Failure::usage(&error.to_string());
        let address = Address::find(args.socket.as_deref(), None).map_err(|error| wrong(&error))?;
        let group = group.parse().map_err(|error: NameError| wrong(&error))?;
        guardian::run(parent, address, group).map_err(Failure::failed)?;
        return Ok(exit::DONE);
    }
    if args.purge {
        let purged = purge().map_err(Failure::failed)?;
        return print(&format!("{purged} addresses removed\n"));
    }
    let (config, path) = read_config(&args)?;
    if args.daemon.check {
        return process::configuration_ok();
    }
    let mut caught = signal::DAEMON.to_vec();
    caught.push(Signal::Child);
    let (mut instance, process) = args.daemon.start(&caught)?;
    let daemon = Daemon::new(process, config, path, args.socket.as_deref());
    let mut daemon = daemon.map_err(Failure::failed)?;
    instance.ready()?;
    daemon.announce_ready();
    daemon.run().map_err(Failure::failed)
}

/// The configuration, and the file that it stands in: without one there is nothing to do.
fn read_config(args: &Args) -> Result<(Config, PathBuf), Failure> {
    let Some(path) = conf::choose(args.config.as_deref(), DEFAULT_CONFIG) else {
        let message = format!("there is no {DEFAULT_CONFIG}: give --config");
        return Err(Failure::usage(&message));
    };
    let config = conf::read(&path, Config::parse).map_err(Failure::fatal)?;
    Ok((config, path))
}
