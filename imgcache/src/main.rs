//! imgcache: a reverse proxy cache whose files are named like the URLs.
//!
//! `daemon` is the thread around the loops, `orders` are the purges that it carries out. `server` is a loop, `client` and `fetch` are its
//! connections; `serve`, `respond` and `send` answer requests, `forward` makes those to `origins`,
//! `fill` stores responses. `cache` knows what is stored, `purging` deletes it, `store` has it
//! within `space`, `root` has the files, `disk` waits for them, `walk` looks through them.
//! `bus` hears purges, and those that were missed.

#![forbid(unsafe_code)]

mod access_log;
mod answers;
mod args;
mod bus;
mod cache;
mod client;
mod config;
mod daemon;
mod disk;
mod entry;
mod fetch;
mod fill;
mod forward;
mod health;
mod journal;
mod network;
mod orders;
mod origins;
mod purging;
mod respond;
mod root;
mod send;
mod serve;
mod server;
mod shared;
mod space;
mod start;
mod store;
mod walk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use unixproc::exit::{self, Failure, print};
use unixproc::pidfile::Pidfile;
use unixproc::{background, log};

use crate::args::Args;
use crate::config::Config;
use crate::daemon::Daemon;

const DEFAULT_CONFIG: &str = "/etc/covey/imgcache.conf";

fn main() -> ExitCode {
    exit::main("imgcache", run)
}

fn run() -> Result<u8, Failure> {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            return Err(Failure::usage(&error.render().to_string()));
        }
        Err(help) => return print(&help.render().to_string()),
    };
    log::init("imgcache", log::Level::from_flags(args.verbose, args.quiet));
    let (config, file) = read_config(&args)?;
    if args.check {
        return print("configuration ok\n");
    }
    let background = match args.daemonize {
        true => Some(background::detach().map_err(|error| Failure::new(exit::FAILED, error))?),
        false => None,
    };
    let failed = |error: anyhow::Error| Failure::new(exit::FAILED, error);
    let mut daemon = Daemon::new(config, file, args.socket.as_deref()).map_err(failed)?;
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

fn read_config(args: &Args) -> Result<(Config, PathBuf), Failure> {
    let path = match &args.config {
        Some(path) => path.clone(),
        None if Path::new(DEFAULT_CONFIG).exists() => PathBuf::from(DEFAULT_CONFIG),
        None => {
            return Err(Failure::usage(&format!(
                "there is no {DEFAULT_CONFIG}: give --config"
            )));
        }
    };
    let text = conf::load(&path).map_err(|errors| Failure::new(exit::USAGE, errors))?;
    let config = Config::parse(&path.display().to_string(), &text)
        .map_err(|errors| Failure::new(exit::USAGE, errors))?;
    Ok((config, path))
}
