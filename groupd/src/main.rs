//! groupd: the group communication daemon.
//!
//! [`daemon`] is the loop. It connects three state machines without I/O, the ring and the groups of
//! the crate `totem` and the protocol of the crate `group`, to sockets: the ring's ([`ports`], over
//! [`link`]) and the clients' ([`listen`], [`sessions`]).

#![deny(unsafe_code)]

mod args;
mod bus;
mod changes;
mod config;
mod daemon;
mod key;
mod link;
mod listen;
mod notices;
mod output;
mod pace;
mod ports;
mod questions;
mod report;
mod session;
mod sessions;
mod state;
mod stream;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use unixproc::exit::{self, Failure};
use unixproc::log::{self, Level};
use unixproc::pidfile::Pidfile;
use unixproc::signal::{Signal, Signals};
use unixproc::{background, listen as inherited, priority, ready::Notify};

use crate::args::Args;
use crate::daemon::{Daemon, Source};

const PROGRAM: &str = "groupd";
/// Ahead of what serves requests, behind what the kernel and its drivers need.
const NICE: i32 = -10;

fn main() -> ExitCode {
    exit::main(PROGRAM, run)
}

fn run() -> Result<u8, Failure> {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if !error.use_stderr() => {
            return error.print().map(|()| exit::DONE).map_err(Failure::stdout);
        }
        Err(error) => return Err(Failure::usage(&error.to_string())),
    };
    log::init(PROGRAM, Level::from_flags(args.verbose, args.quiet));
    let source = Source {
        path: config_path(&args),
        name: args.name.clone(),
    };
    let (config, me) = source.load().map_err(|error| failure(exit::USAGE, error))?;
    if args.check {
        return writeln!(io::stdout(), "configuration ok")
            .map(|()| exit::DONE)
            .map_err(Failure::stdout);
    }
    let failed = |error: anyhow::Error| failure(exit::FAILED, error);
    let from_system = |error: io::Error| Failure::new(exit::FAILED, error);
    let inherited = inherited::inherited().map_err(from_system)?;
    let background = if args.daemonize {
        Some(background::detach().map_err(from_system)?)
    } else {
        None
    };
    let signals = [
        Signal::Hangup,
        Signal::Terminate,
        Signal::Interrupt,
        Signal::User1,
    ];
    let signals = Signals::install(&signals).map_err(from_system)?;
    let notify = Notify::from_env().map_err(from_system)?;
    raise_priority();
    let mut daemon = Daemon::start(
        source,
        config,
        me,
        args.socket.as_deref(),
        inherited,
        signals,
        notify,
    )
    .map_err(failed)?;
    daemon.wait_for_view().map_err(failed)?;
    let pidfile = args
        .pidfile
        .as_deref()
        .map(Pidfile::create)
        .transpose()
        .map_err(from_system)?;
    if let Some(background) = background {
        background.ready().map_err(from_system)?;
    }
    daemon.announce();
    daemon.run().map_err(failed)?;
    drop(pidfile);
    Ok(exit::DONE)
}

/// A token that waits for a busy processor looks like a dead host to the others.
fn raise_priority() {
    if let Err(error) = priority::set_nice(NICE) {
        log::info("priority-unchanged", &[("reason", &error)]);
    }
}

/// The file to read: the one named, the usual one if it exists, or none.
fn config_path(args: &Args) -> Option<PathBuf> {
    let usual = Path::new(config::DEFAULT_PATH);
    args.config
        .clone()
        .or_else(|| usual.exists().then(|| usual.to_owned()))
}

fn failure(status: u8, error: anyhow::Error) -> Failure {
    Failure::new(status, error)
}
