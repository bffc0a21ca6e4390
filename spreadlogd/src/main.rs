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
mod link;
mod outputs;
mod pipe;
mod queue;
mod request;
mod route;
mod span;
mod stamp;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use group::Address;
use unixproc::exit::{self, Failure, print};
use unixproc::pidfile::Pidfile;
use unixproc::{background, log};

use crate::args::Args;
use crate::config::Config;
use crate::daemon::Daemon;

const DEFAULT_CONFIG: &str = "/etc/covey/spreadlogd.conf";

fn main() -> ExitCode {
    exit::main("spreadlogd", run)
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
        "spreadlogd",
        log::Level::from_flags(args.verbose, args.quiet),
    );
    let (config, path) = read_config(&args)?;
    for bus in &config.buses {
        Address::find(args.socket.as_deref(), bus.address.as_deref())
            .map_err(|error| Failure::new(exit::USAGE, error))?;
    }
    if args.check {
        return print("configuration ok\n");
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
    // Everything that can be wrong with files and addresses ends the program before it is ready.
    let background = match args.daemonize {
        true => Some(background::detach().map_err(|error| Failure::new(exit::FAILED, error))?),
        false => None,
    };
    let failed = |error: anyhow::Error| Failure::new(exit::FAILED, error);
    let mut daemon = Daemon::new(config, path, args.socket).map_err(failed)?;
    let pidfile = args.pidfile.as_deref().map(Pidfile::create).transpose();
    let _pidfile = pidfile.map_err(|error| Failure::new(exit::FAILED, error))?;
    if let Some(background) = background {
        background
            .ready()
            .map_err(|error| Failure::new(exit::FAILED, error))?;
    }
    daemon.announce();
    daemon
        .run()
        .map_err(|error| Failure::new(exit::FAILED, error))
}

/// The configuration, and the file that it stands in.
fn read_config(args: &Args) -> Result<(Config, Option<PathBuf>), Failure> {
    if !args.group.is_empty() {
        let config = Config::from_options(&args.group, &args.output);
        return Ok((config.map_err(|message| Failure::usage(&message))?, None));
    }
    let path = match &args.config {
        Some(path) => path.clone(),
        None if Path::new(DEFAULT_CONFIG).exists() => PathBuf::from(DEFAULT_CONFIG),
        None => {
            let message = format!("there is no {DEFAULT_CONFIG}: give --config or --group");
            return Err(Failure::usage(&message));
        }
    };
    let text = conf::load(&path).map_err(|errors| Failure::new(exit::USAGE, errors))?;
    let config = Config::parse(&path.display().to_string(), &text);
    Ok((
        config.map_err(|errors| Failure::new(exit::USAGE, errors))?,
        Some(path),
    ))
}
