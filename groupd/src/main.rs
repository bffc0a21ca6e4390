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
mod open_ring;
mod output;
mod pace;
mod ports;
mod questions;
mod report;
mod session;
mod sessions;
mod state;
mod stream;

use std::process::ExitCode;

use unixproc::exit::{self, Failure};
use unixproc::{daemon as process, listen as inherited, log, options, priority, signal};

use crate::args::Args;
use crate::daemon::{Daemon, Source};

/// Ahead of what serves requests, behind what the kernel and its drivers need.
const NICE: i32 = -10;

fn main() -> ExitCode {
    exit::main("groupd", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(exit::DONE);
    };
    args.daemon.init_log("groupd");
    let source = Source {
        path: conf::choose(args.config.as_deref(), config::DEFAULT_PATH),
        name: args.name,
    };
    let (config, me) = source.load().map_err(Failure::fatal)?;
    if args.daemon.check {
        return process::configuration_ok();
    }
    // Before the background: they were passed to the process of this number.
    let inherited = inherited::inherited().map_err(Failure::failed)?;
    let (mut instance, process) = args.daemon.start(&signal::DAEMON)?;
    raise_priority();
    let socket = args.socket.as_deref();
    let daemon = Daemon::start(source, config, me, socket, inherited, process);
    let mut daemon = daemon.map_err(Failure::failed)?;
    daemon.wait_for_view().map_err(Failure::failed)?;
    instance.ready()?;
    daemon.announce();
    daemon.run().map_err(Failure::failed)?;
    Ok(exit::DONE)
}

/// A token that waits for a busy processor looks like a dead host to the others.
fn raise_priority() {
    if let Err(error) = priority::set_nice(NICE) {
        log::info("priority-unchanged", &[("reason", &error)]);
    }
}
