//! groupctl: asks groupd, and uses it by hand.
//!
//! `status`, `groups` and `members` ask the control socket; the rest are ordinary clients, which
//! work on a Spread daemon as well.

#![forbid(unsafe_code)]

#[path = "../groupctl/args.rs"]
mod args;
#[path = "../groupctl/ask.rs"]
mod ask;
#[path = "../groupctl/flood.rs"]
mod flood;
#[path = "../groupctl/join.rs"]
mod join;
#[path = "../groupctl/keygen.rs"]
mod keygen;
#[path = "../groupctl/report.rs"]
mod report;
#[path = "../groupctl/send.rs"]
mod send;
#[path = "../groupctl/text.rs"]
mod text;

use std::process::ExitCode;

use unixproc::exit::{self, Failure};
use unixproc::options;

use args::{Args, Command};

fn main() -> ExitCode {
    exit::main("groupctl", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(exit::DONE);
    };
    let place = args.place;
    match args.command {
        Command::Status(status) => ask::status(&place, &status),
        Command::Groups(groups) => ask::groups(&place, &groups),
        Command::Members(members) => ask::members(&place, &members),
        Command::Join(join) => join::run(&place, &join),
        Command::Send(send) => send::run(&place, &send),
        Command::Flood(flood) => flood::run(&place, &flood),
        Command::Keygen(keygen) => keygen::run(&keygen),
    }
}
