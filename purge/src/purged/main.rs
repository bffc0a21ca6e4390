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
use unixproc::daemon::{self, Process};
use unixproc::exit::{self, Failure};
use unixproc::signal::{self, Signal};
use unixproc::{argv, log};

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
    let options = args.daemon();
    options.init_log("purged");
    args.validate()
        .map_err(|message| Failure::usage(&message))?;
    let address = Address::find(args.socket.as_deref(), None);
    let address = address.map_err(|error| Failure::usage(&error.to_string()))?;
    let docroot = Docroot::open(&args.root, args.allow.clone(), args.site.clone());
    let docroot =
        docroot.map_err(|error| Failure::usage(&format!("{}: {error}", args.root.display())))?;
    if options.check {
        return daemon::configuration_ok();
    }
    let (mut instance, process) = options.start(&signal::DAEMON)?;
    let bus = Bus::new(address, args.group, BUS);
    instance.ready()?;
    log::notice(
        "ready",
        &[("root", &args.root.display()), ("group", &args.group)],
    );
    let mut worker = Worker {
        docroot,
        bus,
        deleted: 0,
        failures: 0,
    };
    worker.run(process).map_err(Failure::failed)
}

/// Carries out what the bus brings.
struct Worker {
    docroot: Docroot,
    bus: Bus,
    /// Files that were deleted since the start, and purges that failed.
    deleted: u64,
    failures: u64,
}

impl Worker {
    /// Works until it is told to stop; gives the exit code.
    fn run(&mut self, process: Process) -> io::Result<u8> {
        let Process {
            mut signals,
            mut notify,
        } = process;
        let mut poll = Poll::new()?;
        let source = signals.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&source), SIGNALS, Interest::READABLE)?;
        notify.ready();
        let mut events = Events::with_capacity(16);
        loop {
            let now = Instant::now();
            self.bus.connect(poll.registry(), now);
            for task in self.bus.receive(now) {
                self.carry_out(task);
            }
            let now = Instant::now();
            let alive = notify
                .alive_at()
                .map(|at| at.saturating_duration_since(now));
            let wait = self.bus.timeout(now);
            match poll.poll(
                &mut events,
                Some(alive.map_or(wait, |alive| alive.min(wait))),
            ) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            events.iter().for_each(|event| self.bus.handle_event(event));
            notify.alive(Instant::now());
            while let Some(signal) = signals.next() {
                match signal {
                    Signal::Terminate | Signal::Interrupt => {
                        notify.stopping();
                        self.bus.leave();
                        log::notice("stopped", &[]);
                        return Ok(exit::DONE);
                    }
                    Signal::User1 => self.log_status(),
                    // There is no file to read again.
                    Signal::Hangup | Signal::Child => {}
                }
            }
        }
    }

    fn log_status(&self) {
        let fields: log::Fields = &[("deleted", &self.deleted), ("failures", &self.failures)];
        log::notice("status", fields);
    }

    fn carry_out(&mut self, task: Task) {
        match task {
            Task::Confirmed(sender, number, purges) => {
                let answer = match purges.and_then(|purges| self.delete(&purges)) {
                    Ok(count) => format!("done {count}\n"),
                    Err(error) => format!("failed {error}\n"),
                };
                log::info("purged", &[("by", &sender), ("answer", &answer.trim())]);
                self.bus.send(sender, number, &answer);
            }
            Task::Replayed(purges) => report("replayed", self.delete(&purges)),
            Task::Everything => {
                let all = Purge {
                    site: None,
                    what: What::All,
                    soft: false,
                };
                report("purges-missed", self.delete(&[all]));
            }
        }
    }

    /// Deletes what these mean; gives how many files there were. All are tried, the first error
    /// counts.
    fn delete(&mut self, purges: &[Purge]) -> Result<u64, String> {
        let (mut count, mut failure) = (0, None);
        for purge in purges {
            match self.docroot.purge(purge) {
                Ok(deleted) => count += deleted,
                Err(error) => {
                    self.failures += 1;
                    failure = failure.or(Some(format!("{purge}: {error}")));
                }
            }
        }
        self.deleted += count;
        failure.map_or(Ok(count), Err)
    }
}

fn report(event: &'static str, deleted: Result<u64, String>) {
    match deleted {
        Ok(count) => log::notice(event, &[("deleted", &count)]),
        Err(error) => log::error("delete-failed", &[("error", &error)]),
    }
}
