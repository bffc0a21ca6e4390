//! logtop: shows what happens on web servers now, from the log lines of a group, of files, or of
//! stdin.
//!
//! `input` and the subscriber bring lines, `intake` reads them, `tally` counts, `view` chooses
//! rows, `screen` draws them and has the keys; this file is the loop.

#![forbid(unsafe_code)]

mod args;
mod input;
mod intake;
mod screen;
mod tally;
mod view;

use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use group::Address;
use jiff::{SignedDuration, Zoned};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use subscriber::{Input, Subscriber, server_of};
use unixproc::exit::{self, Failure};
use unixproc::signal::{Signal, Signals};
use unixproc::{log, options};

use crate::args::Args;
use crate::input::{More, Source};
use crate::intake::Intake;
use crate::screen::{Moment, Screen, Wish};
use crate::tally::Tally;
use crate::view::report;

const SIGNALS: Token = Token(0);
const BUS: Token = Token(1);
const STDIN: Token = Token(2);

/// How often files and the keyboard are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    exit::main("logtop", run)
}

fn run() -> Result<u8, Failure> {
    let Some(args) = options::from_env::<Args>()? else {
        return Ok(exit::DONE);
    };
    // What is logged would be written across the screen.
    log::init("logtop", log::Level::from_flags(0, true));
    let mut program = Program::new(&args).map_err(Failure::fatal)?;
    if args.json {
        return program.run_json(&args);
    }
    let terminal = ratatui::try_init().map_err(|error| {
        let error = anyhow::Error::new(error).context("the screen cannot be used (see --json)");
        Failure::fatal(error)
    })?;
    let result = program.run_screen(&args, terminal);
    ratatui::restore();
    result.map_err(Failure::fatal)
}

/// All that is the same with and without a screen.
struct Program {
    poll: Poll,
    events: Events,
    signals: Signals,
    subscriber: Option<Subscriber>,
    sources: Vec<Source>,
    /// Whether stdin may be read without waiting.
    stdin_ready: bool,
    intake: Intake,
    tally: Tally,
    begin: Instant,
    /// Whether the bus was lost and not found again, and how often it was lost.
    lost: bool,
    losses: u64,
}

impl Program {
    fn new(args: &Args) -> anyhow::Result<Program> {
        let poll = Poll::new()?;
        let signals = Signals::install(&[Signal::Terminate, Signal::Interrupt])?;
        let registry = poll.registry();
        registry.register(
            &mut SourceFd(&signals.as_raw_fd()),
            SIGNALS,
            Interest::READABLE,
        )?;
        let begin = Instant::now();
        let mut sources = Vec::new();
        let mut subscriber = None;
        match args.group {
            Some(group) => {
                let address = Address::find(args.socket.as_deref(), None)?;
                subscriber = Some(Subscriber::new(address, "lt", group, BUS, begin));
            }
            None if args.files.is_empty() => sources.push(Source::stdin()),
            None => {
                for path in &args.files {
                    let source = match path.as_os_str() == "-" {
                        true => Ok(Source::stdin()),
                        false => Source::open(path, args.all),
                    };
                    sources
                        .push(source.with_context(|| format!("cannot read {}", path.display()))?);
                }
            }
        }
        let mut program = Program {
            events: Events::with_capacity(16),
            signals,
            subscriber,
            sources,
            stdin_ready: false,
            intake: Intake::new(&args.format, args.query),
            tally: Tally::new(args.limits()),
            begin,
            lost: false,
            losses: 0,
            poll,
        };
        if program.sources.iter().any(Source::is_stdin) {
            program.expect_stdin(true);
        }
        Ok(program)
    }

    /// Asks to be told when stdin can be read; a file always can, and cannot be waited for.
    fn expect_stdin(&mut self, first: bool) {
        let stdin = io::stdin().as_raw_fd();
        let mut source = SourceFd(&stdin);
        let registry = self.poll.registry();
        let result = match first {
            true => registry.register(&mut source, STDIN, Interest::READABLE),
            false => registry.reregister(&mut source, STDIN, Interest::READABLE),
        };
        self.stdin_ready = result.is_err();
    }

    fn second(&self) -> u64 {
        self.begin.elapsed().as_secs()
    }

    /// Waits for lines until `deadline` at the latest, and takes them; false when told to stop.
    fn work(&mut self, deadline: Instant) -> io::Result<bool> {
        let now = Instant::now();
        let busy = self.stdin_ready
            || self
                .subscriber
                .as_ref()
                .is_some_and(Subscriber::is_readable);
        let timeout = match busy {
            true => Duration::ZERO,
            false => deadline.saturating_duration_since(now).min(LOOK_INTERVAL),
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            self.stdin_ready |= event.token() == STDIN;
            if let Some(subscriber) = &mut self.subscriber {
                subscriber.handle_event(event);
            }
        }
        if self.signals.next().is_some() {
            return Ok(false);
        }
        self.take_lines(now)?;
        self.tally.advance(self.second());
        Ok(true)
    }

    fn take_lines(&mut self, now: Instant) -> io::Result<()> {
        let second = self.second();
        let Program {
            intake,
            tally,
            lost,
            losses,
            subscriber,
            ..
        } = self;
        if let Some(subscriber) = subscriber {
            subscriber.connect(self.poll.registry(), now);
            subscriber.receive(now, |input| match input {
                Input::Lines { sender, lines } => {
                    intake.take(&server_of(sender), lines, second, tally);
                }
                Input::Joined => *lost = false,
                Input::Lost => {
                    *lost = true;
                    *losses += 1;
                }
                Input::Aside { .. } | Input::Private { .. } | Input::Members { .. } => {}
            });
        }
        let mut read_stdin = false;
        let mut sources = std::mem::take(&mut self.sources);
        let mut result = Ok(());
        sources.retain_mut(|source| {
            if source.is_stdin() && !self.stdin_ready {
                return true;
            }
            read_stdin |= source.is_stdin();
            let (intake, tally) = (&mut self.intake, &mut self.tally);
            match source.read(|name, lines| intake.take(name, lines, second, tally)) {
                Ok(more) => more != More::Never,
                Err(error) => {
                    result = Err(error);
                    false
                }
            }
        });
        self.sources = sources;
        if read_stdin {
            self.expect_stdin(false);
        }
        result
    }

    /// Whether nothing can come any more.
    fn has_ended(&self) -> bool {
        self.subscriber.is_none() && self.sources.is_empty()
    }

    /// Prints a line each interval, and one at the end.
    fn run_json(&mut self, args: &Args) -> Result<u8, Failure> {
        let mut due = self.begin + args.delay;
        loop {
            let goes_on = self.work(due).map_err(Failure::fatal)?;
            let over = !goes_on || self.has_ended();
            if over || Instant::now() >= due {
                due += args.delay;
                let count = args.number as usize;
                let mut line = report(&self.tally, &self.intake, args.item, count);
                line["joined"] = match &self.subscriber {
                    Some(subscriber) => subscriber.is_joined().into(),
                    None => serde_json::Value::Null,
                };
                line["losses"] = self.losses.into();
                let mut stdout = io::stdout().lock();
                let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
                written.map_err(Failure::stdout)?;
            }
            if over {
                return Ok(exit::DONE);
            }
        }
    }

    fn run_screen(
        &mut self,
        args: &Args,
        mut terminal: ratatui::DefaultTerminal,
    ) -> anyhow::Result<u8> {
        let mut screen = Screen::new(args.item);
        let mut due = Instant::now();
        loop {
            if Instant::now() >= due {
                let moment = self.moment();
                let (tally, intake) = (&self.tally, &self.intake);
                terminal.draw(|frame| screen.draw(frame, tally, intake, &moment))?;
                due = Instant::now() + args.delay;
            }
            let wait = if screen.paused {
                Instant::now() + LOOK_INTERVAL
            } else {
                due
            };
            if !self.work(wait)? {
                return Ok(exit::DONE);
            }
            if screen.paused {
                due = Instant::now() + args.delay;
            }
            while event::poll(Duration::ZERO)? {
                match self.press(&mut screen, &event::read()?) {
                    Wish::Quit => return Ok(exit::DONE),
                    Wish::Clear => {
                        terminal.clear()?;
                        due = Instant::now();
                    }
                    Wish::Refresh => due = Instant::now(),
                    Wish::Nothing => {}
                }
            }
        }
    }

    /// Handles what the terminal says.
    fn press(&mut self, screen: &mut Screen, event: &Event) -> Wish {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Press => Wish::Nothing,
            // The terminal sends no signals while the screen is used.
            Event::Key(key) if key.modifiers.contains(KeyModifiers::CONTROL) => match key.code {
                KeyCode::Char('c') => Wish::Quit,
                KeyCode::Char('l') => Wish::Clear,
                _ => Wish::Nothing,
            },
            Event::Key(key) => screen.press(key.code, &mut self.intake, &mut self.tally),
            Event::Resize(..) => Wish::Refresh,
            _ => Wish::Nothing,
        }
    }

    fn moment(&self) -> Moment {
        let (now, uptime) = (Zoned::now(), self.second());
        let clock = |ago: u64| {
            let ago = SignedDuration::from_secs(i64::try_from(ago).unwrap_or(i64::MAX));
            let then = now.checked_sub(ago).unwrap_or_else(|_| now.clone());
            then.strftime("%H:%M:%S").to_string()
        };
        let last_hit = self.tally.last_hit;
        Moment {
            clock: clock(0),
            last_hit: last_hit.map(|second| clock(uptime.saturating_sub(second))),
            uptime,
            trouble: self.trouble(),
        }
    }

    /// What the reader must know of where the lines come from.
    fn trouble(&self) -> String {
        match &self.subscriber {
            Some(_) if self.lost => "the bus is lost: lines are missing".to_owned(),
            Some(subscriber) if !subscriber.is_joined() => {
                "not connected to the bus yet".to_owned()
            }
            Some(_) if self.losses == 1 => "the bus was lost once: lines are missing".to_owned(),
            Some(_) if self.losses > 1 => {
                format!("the bus was lost {} times: lines are missing", self.losses)
            }
            None if self.sources.is_empty() => "end of input".to_owned(),
            _ => String::new(),
        }
    }
}
