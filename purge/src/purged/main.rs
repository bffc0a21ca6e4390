//! purged: deletes pre-rendered pages below a web server's root when they are purged on the bus.
//!
//! `docroot` deletes, `session` hears purges, the loop is here.

#![forbid(unsafe_code)]

mod args;
mod docroot;
mod session;

use std::io;
use std::os::fd::AsRawFd as _;
use std::process::ExitCode;
use std::time::Instant;

use group::Address;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use purges::{Purge, What};
use unixproc::exit::{self, Failure};
use unixproc::pidfile::Pidfile;
use unixproc::ready::Notify;
use unixproc::signal::{Signal, Signals};
use unixproc::{argv, background, log};

use crate::args::Args;
use crate::docroot::Docroot;
use crate::session::{Bus, Task};

const SIGNALS: Token = Token(0);
const BUS: Token = Token(1);

fn main() -> ExitCode {
    exit::main("purged", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = argv::from_env::<Args>("purged", env!("CARGO_PKG_VERSION"))? else {
        return Ok(exit::DONE);
    };
    log::init("purged", log::Level::from_flags(args.verbose, args.quiet));
    args.check().map_err(|message| Failure::usage(&message))?;
    let address = Address::find(args.socket.as_deref(), None);
    let address = address.map_err(|error| Failure::usage(&error.to_string()))?;
    let docroot = Docroot::open(&args.root, args.allow.clone(), args.site.clone());
    let docroot =
        docroot.map_err(|error| Failure::usage(&format!("{}: {error}", args.root.display())))?;
    let failed = |error: io::Error| Failure::new(exit::FAILED, error);
    let background = match args.daemonize {
        true => Some(background::detach().map_err(failed)?),
        false => None,
    };
    let pidfile = args.pidfile.as_deref().map(Pidfile::create).transpose();
    let _pidfile = pidfile.map_err(|error| Failure::new(exit::FAILED, error))?;
    let bus = Bus::new(address, args.group, BUS);
    if let Some(background) = background {
        background.ready().map_err(failed)?;
    }
    work(&docroot, bus).map_err(failed)
}

/// Works until it is told to stop; gives the exit code.
fn work(docroot: &Docroot, mut bus: Bus) -> io::Result<u8> {
    let mut poll = Poll::new()?;
    let mut signals = Signals::install(&[Signal::Terminate, Signal::Interrupt])?;
    let source = signals.as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&source), SIGNALS, Interest::READABLE)?;
    let notify = Notify::from_env()?;
    notify.ready();
    let mut events = Events::with_capacity(16);
    loop {
        let now = Instant::now();
        bus.connect(poll.registry(), now);
        for task in bus.receive(now) {
            carry_out(docroot, &mut bus, task);
        }
        match poll.poll(&mut events, Some(bus.wants(Instant::now()))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        bus.readable |= events.iter().any(|event| event.token() == BUS);
        notify.alive();
        if signals.next().is_some() {
            log::notice("stopping", &[]);
            notify.stopping();
            bus.leave();
            return Ok(exit::DONE);
        }
    }
}

fn carry_out(docroot: &Docroot, bus: &mut Bus, task: Task) {
    match task {
        Task::Confirmed(sender, number, purges) => {
            let answer = match purges.and_then(|purges| delete(docroot, &purges)) {
                Ok(count) => format!("done {count}\n"),
                Err(error) => format!("failed {error}\n"),
            };
            log::info("purged", &[("by", &sender), ("answer", &answer.trim())]);
            bus.send(sender, number, &answer);
        }
        Task::Replayed(purges) => report("replayed", delete(docroot, &purges)),
        Task::Everything => {
            let all = Purge {
                site: None,
                what: What::All,
                soft: false,
            };
            report("purges-missed", delete(docroot, &[all]));
        }
    }
}

fn report(event: &'static str, deleted: Result<u64, String>) {
    match deleted {
        Ok(count) => log::notice(event, &[("deleted", &count)]),
        Err(error) => log::error("delete-failed", &[("error", &error)]),
    }
}

/// Deletes what these mean; gives how many files there were. All are tried, the first error counts.
fn delete(docroot: &Docroot, purges: &[Purge]) -> Result<u64, String> {
    let (mut count, mut failure) = (0, None);
    for purge in purges {
        match docroot.purge(purge) {
            Ok(deleted) => count += deleted,
            Err(error) => failure = failure.or(Some(format!("{purge}: {error}"))),
        }
    }
    failure.map_or(Ok(count), Err)
}
