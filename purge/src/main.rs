//! purge: purges URLs from every cache of a group, and says who has confirmed.
//!
//! `args` is the command line, `purges` decides whom to wait for, the session is here.

#![forbid(unsafe_code)]

mod args;
mod report;

use std::collections::VecDeque;
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

/// Bound: messages that are not confirmed yet.
const UNDER_WAY_MAX: usize = 4;

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
        purger.make_room(UNDER_WAY_MAX - 1, deadline, &mut report)?;
        purger.send(message.as_bytes())?;
    }
    purger.make_room(0, deadline, &mut report)?;
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
    let fatal = |error: io::Error| Failure::fatal(format!("cannot read stdin: {error}"));
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
    group: Name,
    members: Vec<Name>,
    number: u16,
    /// When the first message was sent.
    begun: Option<Instant>,
    /// Whether nobody waits for confirmations.
    no_wait: bool,
    /// Messages whose fate is not known everywhere, the oldest first.
    under_way: VecDeque<Waiting>,
}

impl Purger {
    fn connect(args: &Args, address: Address, deadline: Instant) -> Result<Purger, Failure> {
        let fatal = |error: String| Failure::fatal(format!("{address}: {error}"));
        let mut options = Options::new(address.clone());
        options.membership = true;
        let mut session = Session::connect(options).map_err(|error| fatal(error.to_string()))?;
        session
            .join(args.group)
            .map_err(|error| fatal(error.to_string()))?;
        let own = session.private_group();
        let mut purger = Purger {
            session,
            group: args.group.name(),
            members: Vec::new(),
            number: rand::random(),
            begun: None,
            no_wait: args.no_wait,
            under_way: VecDeque::new(),
        };
        while !purger.members.contains(&own) {
            if purger.receive(deadline)?.is_none() {
                return Err(fatal("no membership in time".to_owned()));
            }
        }
        Ok(purger)
    }

    /// Sends one message; what becomes of it is told by [`make_room`](Self::make_room).
    fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.number = self.number.wrapping_add(1);
        let (own, members) = (self.session.private_group(), self.members.clone());
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let waiting = Waiting::new(own, self.group, self.number, members, begun);
        let sent = self
            .session
            .multicast(Service::Agreed, &[self.group], self.number, message);
        sent.map_err(Failure::fatal)?;
        self.under_way.push_back(waiting);
        Ok(())
    }

    /// Waits until no more than so many messages are under way, or the time is over: then what is
    /// known is reported.
    fn make_room(
        &mut self,
        count: usize,
        deadline: Instant,
        report: &mut Report,
    ) -> Result<(), Failure> {
        while let Some(oldest) = self.under_way.front()
            && self.under_way.len() > count
        {
            let delivered = oldest.is_delivered();
            let is_over = oldest.is_done() || (self.no_wait && delivered);
            if !is_over && self.receive(deadline)?.is_some() {
                continue;
            }
            if !delivered {
                let late = "the purge was not ordered in time";
                return Err(Failure::fatal(late));
            }
            if let Some(oldest) = self.under_way.pop_front() {
                report.add(&oldest.caches);
            }
        }
        Ok(())
    }

    /// Takes the next event; none if the time is over.
    fn receive(&mut self, deadline: Instant) -> Result<Option<()>, Failure> {
        let Some(event) = self.next_event(deadline)? else {
            return Ok(None);
        };
        let now = Instant::now();
        self.under_way
            .iter_mut()
            .for_each(|waiting| waiting.handle(&event, now));
        if let Event::Membership(membership) = event
            && membership.group == self.group
        {
            self.members = membership.members;
        }
        Ok(Some(()))
    }

    /// The next event; none if the time is over.
    fn next_event(&mut self, deadline: Instant) -> Result<Option<Event>, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let set = self.session.set_receive_timeout(Some(left));
        set.map_err(Failure::fatal)?;
        match self.session.receive() {
            Ok(event) => Ok(Some(event)),
            Err(ReceiveError::WouldBlock) => Ok(None),
            Err(error) => Err(Failure::fatal(error)),
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
