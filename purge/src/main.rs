//! purge: purges URLs from every cache of a group, and says who has confirmed.
//!
//! `args` is the command line, `purges` decides whom to wait for, the session is here.

#![forbid(unsafe_code)]

mod args;
mod report;

use std::io::{self, BufRead as _, Read as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use group::{Address, Event, Name, Options, ReceiveError, Service, Session};
use purges::Waiting;
use unixproc::argv;
use unixproc::exit::{self, Failure, print};

use crate::args::Args;
use crate::report::Report;

/// Bound: commands of one message, as long as our tools send.
const MESSAGE_BYTES: usize = 131_072;

/// Bound: bytes that are read from stdin.
const LIST_BYTES: u64 = 256 << 20;

fn main() -> ExitCode {
    exit::main("purge", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = argv::from_env::<Args>("purge", env!("CARGO_PKG_VERSION"))? else {
        return Ok(exit::DONE);
    };
    let lines = if args.what.iter().any(|what| what == "-") {
        read_list()?
    } else {
        Vec::new()
    };
    let commands = args
        .commands(&lines)
        .map_err(|message| Failure::usage(&message))?;
    let address = Address::find(args.socket.as_deref(), None);
    let address = address.map_err(|error| Failure::usage(&error.to_string()))?;
    if args.dry_run {
        print(&commands.concat())?;
        return Ok(exit::DONE);
    }
    let deadline = Instant::now() + Duration::from_secs_f64(args.timeout);
    let mut report = Report::default();
    let mut purger = Purger::connect(&args, address, deadline)?;
    for message in messages(&commands) {
        purger.purge(&args, message.as_bytes(), deadline, &mut report)?;
    }
    if args.no_wait {
        return Ok(exit::DONE);
    }
    print(&if args.json {
        report.json()
    } else {
        report.text()
    })?;
    Ok(if report.is_good(args.expect) {
        exit::DONE
    } else {
        exit::FAILED
    })
}

fn read_list() -> Result<Vec<String>, Failure> {
    let fatal = |error: io::Error| Failure::new(exit::USAGE, format!("cannot read stdin: {error}"));
    let lines = io::stdin().lock().take(LIST_BYTES).lines();
    let lines: Vec<String> = lines.collect::<io::Result<_>>().map_err(fatal)?;
    Ok(lines
        .iter()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect())
}

/// Commands, as many in one message as fit.
fn messages(commands: &[String]) -> Vec<String> {
    let mut messages = vec![String::new()];
    for command in commands {
        match messages.last_mut() {
            Some(last) if last.len() + command.len() <= MESSAGE_BYTES => last.push_str(command),
            _ => messages.push(command.clone()),
        }
    }
    messages
}

/// The session, a member of the caches' group.
struct Purger {
    session: Session,
    members: Vec<Name>,
    number: u16,
}

impl Purger {
    fn connect(args: &Args, address: Address, deadline: Instant) -> Result<Purger, Failure> {
        let fatal = |error: String| Failure::new(exit::USAGE, format!("{address}: {error}"));
        let mut options = Options::new(address.clone());
        options.membership = true;
        let mut session = Session::connect(options).map_err(|error| fatal(error.to_string()))?;
        session
            .join(args.group)
            .map_err(|error| fatal(error.to_string()))?;
        let own = session.private_group();
        let mut purger = Purger {
            session,
            members: Vec::new(),
            number: rand::random(),
        };
        while !purger.members.contains(&own) {
            match purger.receive(deadline)? {
                Some(Event::Membership(membership)) if membership.group == args.group.name() => {
                    purger.members = membership.members;
                }
                Some(_) => {}
                None => return Err(fatal("no membership in time".to_owned())),
            }
        }
        Ok(purger)
    }

    /// Sends one message, and waits until the fate of every cache is known or the time is over.
    fn purge(
        &mut self,
        args: &Args,
        message: &[u8],
        deadline: Instant,
        report: &mut Report,
    ) -> Result<(), Failure> {
        self.number = self.number.wrapping_add(1);
        let group = args.group.name();
        let members = std::mem::take(&mut self.members);
        let mut waiting = Waiting::new(
            self.session.private_group(),
            group,
            self.number,
            members,
            Instant::now(),
        );
        let sent = self
            .session
            .multicast(Service::Agreed, &[group], self.number, message);
        sent.map_err(|error| Failure::new(exit::USAGE, error))?;
        let is_over = |waiting: &Waiting| match args.no_wait {
            true => waiting.is_delivered(),
            false => waiting.is_done(),
        };
        while !is_over(&waiting) {
            match self.receive(deadline)? {
                Some(event) => waiting.handle(&event, Instant::now()),
                None if waiting.is_delivered() => break,
                None => {
                    return Err(Failure::new(
                        exit::USAGE,
                        "the purge was not ordered in time",
                    ));
                }
            }
        }
        self.members = waiting.members().to_vec();
        report.add(&waiting.caches);
        Ok(())
    }

    /// The next event; none if the time is over.
    fn receive(&mut self, deadline: Instant) -> Result<Option<Event>, Failure> {
        let fatal = |error: ReceiveError| Failure::new(exit::USAGE, error);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let set = self.session.set_receive_timeout(Some(left));
        set.map_err(|error| Failure::new(exit::USAGE, error))?;
        match self.session.receive() {
            Ok(event) => Ok(Some(event)),
            Err(ReceiveError::WouldBlock) => Ok(None),
            Err(error) => Err(fatal(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_in_as_few_messages_as_possible() {
        let command = format!("purge /{}\n", "x".repeat(93));
        let messages = messages(&vec![command.clone(); 3000]);
        assert_eq!(messages.len(), 3);
        assert!(
            messages
                .iter()
                .all(|message| message.len() <= MESSAGE_BYTES)
        );
        assert_eq!(messages.concat(), command.repeat(3000));
    }
}
