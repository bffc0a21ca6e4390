//! spreadlogd: subscribes to groups of the bus, and writes the log lines that travel there.
//!
//! `config` reads the file, `bus` receives, `route` decides where a line goes and what it looks
//! like there, `outputs` holds the files and pipes, `daemon` is the loop around them.

#![forbid(unsafe_code)]

mod args;
mod bus;
mod config;
mod daemon;
mod file;
mod kept;
mod outputs;
mod pipe;
mod queue;
mod request;
mod route;
mod span;
mod stamp;
mod status_line;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use group::Address;
use unixproc::exit::{self, Failure};
use unixproc::signal::{self, Signal};
use unixproc::{daemon as process, options};

use crate::args::Args;
use crate::config::Config;
use crate::daemon::Daemon;

const DEFAULT_CONFIG: &str = "/etc/covey/spreadlogd.conf";

fn main() -> ExitCode {
    exit::main("spreadlogd", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(exit::DONE);
    };
    args.daemon.init_log("spreadlogd");
    let (config, path) = read_config(&args)?;
    for bus in &config.buses {
        Address::find(args.socket.as_deref(), bus.address.as_deref()).map_err(Failure::fatal)?;
    }
    if args.daemon.check {
        return process::configuration_ok();
    }
    if !args.verify.is_empty() {
        return verify::run(&config, &args.verify);
    }
    match &args.request[..] {
        [] => {}
        [word, name] if word == "forget" => return request::forget(&config, name),
        [word, ..] => {
            let message = format!("unknown request {word:?}, there is: forget NAME");
            return Err(Failure::usage(&message));
        }
    }
    let mut caught = signal::DAEMON.to_vec();
    caught.push(Signal::Child);
    let (mut instance, process) = args.daemon.start(&caught)?;
    // Everything that can be wrong with files and addresses ends the program before it is ready.
    let daemon = Daemon::new(process, config, path, args.socket);
    let mut daemon = daemon.map_err(Failure::failed)?;
    instance.ready()?;
    daemon.announce();
    daemon.run().map_err(Failure::failed)
}

/// The configuration, and the file that it stands in.
fn read_config(args: &Args) -> Result<(Config, Option<PathBuf>), Failure> {
    if !args.group.is_empty() {
        let config = Config::from_options(&args.group, &args.output);
        return Ok((config.map_err(|message| Failure::usage(&message))?, None));
    }
    let Some(path) = conf::choose(args.config.as_deref(), DEFAULT_CONFIG) else {
        let message = format!("there is no {DEFAULT_CONFIG}: give --config or --group");
        return Err(Failure::usage(&message));
    };
    let config = conf::read(&path, Config::parse).map_err(Failure::fatal)?;
    Ok((config, Some(path)))
}
