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
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use group::{Address, NameError};
use unixproc::exit::{self, Failure, print};
use unixproc::pidfile::Pidfile;
use unixproc::{background, log};
use vipd::config::Config;
use vipd::kernel::Kernel;

use crate::args::Args;
use crate::daemon::Daemon;

const DEFAULT_CONFIG: &str = "/etc/covey/wackamole.conf";

fn main() -> ExitCode {
    exit::main("vipd", run)
}

fn run() -> Result<u8, Failure> {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            return Err(Failure::usage(&error.render().to_string()));
        }
        Err(help) => return print(&help.render().to_string()),
    };
    log::init("vipd", log::Level::from_flags(args.verbose, args.quiet));
    let failed = |error: io::Error| Failure::new(exit::FAILED, error);
    if let (Some(parent), Some(group)) = (args.guardian, &args.group) {
        let wrong = |error: &dyn Display| Failure::usage(&error.to_string());
        let address = Address::find(args.socket.as_deref(), None).map_err(|error| wrong(&error))?;
        let group = group.parse().map_err(|error: NameError| wrong(&error))?;
        guardian::run(parent, address, group).map_err(failed)?;
        return Ok(exit::DONE);
    }
    if args.purge {
        let purged = Kernel::open()
            .and_then(|mut kernel| kernel.purge())
            .map_err(failed)?;
        return print(&format!("{purged} addresses removed\n"));
    }
    let (config, path) = read_config(&args)?;
    if args.check {
        return print("configuration ok\n");
    }
    let background = match args.daemonize {
        true => Some(background::detach().map_err(failed)?),
        false => None,
    };
    let mut daemon = Daemon::new(config, path, args.socket.as_deref())
        .map_err(|error| Failure::new(exit::FAILED, error))?;
    let pidfile = args.pidfile.as_deref().map(Pidfile::create).transpose();
    let _pidfile = pidfile.map_err(failed)?;
    if let Some(background) = background {
        background.ready().map_err(failed)?;
    }
    daemon.announce_ready();
    daemon.run().map_err(failed)
}

/// The configuration, and the file that it stands in.
fn read_config(args: &Args) -> Result<(Config, PathBuf), Failure> {
    let path = match &args.config {
        Some(path) => path.clone(),
        None if Path::new(DEFAULT_CONFIG).exists() => PathBuf::from(DEFAULT_CONFIG),
        None => {
            let message = format!("there is no {DEFAULT_CONFIG}: give --config");
            return Err(Failure::usage(&message));
        }
    };
    let text = conf::load(&path).map_err(|errors| Failure::new(exit::USAGE, errors))?;
    let config = Config::parse(&path.display().to_string(), &text);
    Ok((
        config.map_err(|errors| Failure::new(exit::USAGE, errors))?,
        path,
    ))
}
