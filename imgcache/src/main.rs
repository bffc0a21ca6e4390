//! imgcache: a reverse proxy cache whose files are named like the URLs.
//!
//! `daemon` is the thread around the loops, `orders` are the purges that it carries out. `server` is
//! a loop, `client` and `fetch` are its connections; `serve`, `respond` and `send` answer requests,
//! `prepared` has answers for what is asked for very often, `forward` makes those to `origins`, of which `health` knows, `fill` decides what becomes of
//! responses, `spool` has their bodies. `cache` knows what is stored, `commit` puts it there,
//! `purging` and `removal` delete it, `store` has it within `space`, `root` has the files, `disk`
//! waits for them, `walk` looks through them. `bus` hears purges, and those that were missed;
//! `isolation` is when they may be.

#![forbid(unsafe_code)]

mod access_log;
mod answers;
mod args;
mod bus;
mod cache;
mod client;
mod commit;
mod config;
mod daemon;
mod disk;
mod entry;
mod fetch;
mod fill;
mod forward;
mod health;
mod isolation;
mod journal;
mod network;
mod orders;
mod origins;
mod prepared;
mod purging;
mod removal;
mod respond;
mod root;
mod send;
mod serve;
mod server;
mod shared;
mod space;
mod spool;
mod start;
mod store;
mod walk;

use std::path::PathBuf;
use std::process::ExitCode;

use unixproc::exit::{self, Failure};
use unixproc::{daemon as process, options, signal};

use crate::args::Args;
use crate::config::Config;
use crate::daemon::Daemon;

const DEFAULT_CONFIG: &str = "/etc/covey/imgcache.conf";

fn main() -> ExitCode {
    exit::main("imgcache", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(exit::DONE);
    };
    args.daemon.init_log("imgcache");
    let (config, file) = read_config(&args)?;
    if args.daemon.check {
        return process::configuration_ok();
    }
    let (mut instance, process) = args.daemon.start(&signal::DAEMON)?;
    let daemon = Daemon::new(process, config, file, args.socket.as_deref());
    let mut daemon = daemon.map_err(Failure::failed)?;
    instance.ready()?;
    daemon.announce();
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
