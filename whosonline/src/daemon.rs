//! The loop: lines into the table, questions out of it.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use group::{Address, GroupName};
use memchr::memchr_iter;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;
use status::{ControlServer, HttpAnswer, HttpRequest, HttpServer};
use subscriber::{Input, Position, Subscriber};
use unixproc::exit;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::{Signal, Signals};
use whosonline::answer::{LISTED, LISTED_MAX, Question, State, answer, metrics};
use whosonline::clock::StreamClock;
use whosonline::hits::{Hits, Rules};
use whosonline::presence::Presence;

use crate::args::Args;
use crate::peers::Peers;

const SIGNALS: Token = Token(0);
const BUS: Token = Token(1);
const CONTROL: Token = Token(2);
const HTTP: Token = Token(CONTROL.0 + ControlServer::TOKENS);
const HISTORIC: Token = Token(HTTP.0 + HttpServer::TOKENS);

/// Everybody may ask who is online.
const CONTROL_MODE: u32 = 0o666;

/// How often those who listen to events get one.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// How often the program tells `covey.status` how it is.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// The program at work.
#[derive(Debug)]
pub(crate) struct Daemon {
    poll: Poll,
    signals: Signals,
    notify: Notify,
    alive_at: Option<Instant>,
    subscriber: Subscriber,
    control: ControlServer,
    http: Option<HttpServer>,
    historic: Option<Peers>,
    event_at: Instant,
    status_at: Instant,
    group: GroupName,
    table: Table,
}

/// What is known, apart from all sockets.
#[derive(Debug)]
struct Table {
    hits: Hits,
    clock: StreamClock,
    presence: Presence,
    /// How long lines must have come for the table to be complete, and the time of the stream
    /// since when they have.
    warm_up: Duration,
    since: Option<u64>,
}

impl Daemon {
    /// Opens the sockets; the bus is not connected yet.
    ///
    /// # Errors
    /// A socket cannot be opened, or there are no descriptors left.
    pub(crate) fn new(args: &Args, rules: Rules, address: Address) -> anyhow::Result<Daemon> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let signals = Signals::install(&[
            Signal::Hangup,
            Signal::Terminate,
            Signal::Interrupt,
            Signal::User1,
        ])?;
        registry.register(
            &mut SourceFd(&signals.as_raw_fd()),
            SIGNALS,
            Interest::READABLE,
        )?;
        let control = ControlServer::bind(&args.control, CONTROL_MODE, registry, CONTROL)
            .with_context(|| format!("cannot listen at {}", args.control.display()))?;
        let http = args.http.map(|address| {
            HttpServer::bind(address, registry, HTTP)
                .with_context(|| format!("cannot listen at {address}"))
        });
        let historic = args.historic.map(|address| {
            Peers::bind(address, registry, HISTORIC)
                .with_context(|| format!("cannot listen at {address}"))
        });
        let (http, historic) = (http.transpose()?, historic.transpose()?);
        let notify = Notify::from_env()?;
        let now = Instant::now();
        Ok(Daemon {
            signals,
            alive_at: notify.watchdog_interval().map(|interval| now + interval),
            notify,
            subscriber: Subscriber::new(address, "wo", args.group, BUS, now),
            control,
            http,
            historic,
            event_at: now + EVENT_INTERVAL,
            status_at: now + STATUS_INTERVAL,
            group: args.group,
            table: Table {
                hits: Hits::new(rules),
                clock: StreamClock::default(),
                presence: Presence::new(args.limits()),
                warm_up: args.warm_up(),
                since: None,
            },
            poll,
        })
    }

    /// Tells whoever waits that the program does its work.
    pub(crate) fn announce(&self) {
        match &self.http {
            Some(http) => log::notice("ready", &[("http", &http.local_address())]),
            None => log::notice("ready", &[]),
        }
        self.notify.ready();
    }

    /// Works until it is told to stop; gives the exit code.
    ///
    /// # Errors
    /// The event loop is broken.
    pub(crate) fn run(&mut self) -> io::Result<u8> {
        let mut events = Events::with_capacity(256);
        loop {
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                self.subscriber.handle_event(event);
            }
            while let Some(signal) = self.signals.next() {
                match signal {
                    Signal::User1 => self.log_status(),
                    Signal::Terminate | Signal::Interrupt => {
                        self.notify.stopping();
                        log::notice("stopped", &[]);
                        return Ok(exit::DONE);
                    }
                    // There is no file to read again.
                    Signal::Hangup | Signal::Child => {}
                }
            }
            let now = Instant::now();
            self.subscriber.connect(self.poll.registry(), now);
            let table = &mut self.table;
            self.subscriber.receive(now, |input| table.take(input));
            // After the lines, so that answers are as new as can be.
            for event in &events {
                self.answer(event.token());
            }
            self.keep_time(now);
        }
    }

    fn timeout(&self) -> Duration {
        if self.subscriber.is_readable() {
            return Duration::ZERO;
        }
        let times = [
            Some(self.event_at),
            self.alive_at,
            self.subscriber.retry_at(),
        ];
        let next = times.into_iter().flatten().min().unwrap_or(self.event_at);
        next.saturating_duration_since(Instant::now())
    }

    fn answer(&mut self, token: Token) {
        let registry = self.poll.registry();
        let Table { presence, .. } = &self.table;
        let state = self.table.state(self.subscriber.position());
        let result = if self.control.tokens().contains(&token.0) {
            self.control.handle_lines(registry, token, |line, output| {
                let answer = match Question::parse(line) {
                    Ok(question) => answer(&question, presence, &state),
                    Err(error) => json!({ "error": error }),
                };
                serde_json::to_writer(&mut *output, &answer)?;
                output.push(b'\n');
                Ok(())
            })
        } else if let Some(http) = &mut self.http
            && http.tokens().contains(&token.0)
        {
            http.handle_event(registry, token, |request| page(request, presence, &state))
        } else if let Some(historic) = &mut self.historic
            && historic.tokens().contains(&token.0)
        {
            historic.handle_event(registry, token, presence)
        } else {
            Ok(())
        };
        if let Err(error) = result {
            log::warning("accept-failed", &[("error", &error)]);
        }
    }

    /// Does what is due.
    fn keep_time(&mut self, now: Instant) {
        if now >= self.event_at {
            self.event_at = now + EVENT_INTERVAL;
            let state = self.table.state(self.subscriber.position());
            if let Some(http) = &mut self.http
                && http.has_listeners()
            {
                http.send_events(&count_event(&self.table.presence, &state));
            }
        }
        if now >= self.status_at {
            self.status_at = now + STATUS_INTERVAL;
            self.publish_status();
        }
        if let Some(interval) = self.notify.watchdog_interval()
            && self.alive_at.is_some_and(|at| at <= now)
        {
            self.notify.alive();
            self.alive_at = Some(now + interval);
        }
    }

    fn publish_status(&mut self) {
        let counts = self.table.hits.counts();
        let status = json!({
            "program": "whosonline",
            "group": self.group.to_string(),
            "users": self.table.presence.user_count(),
            "pages": self.table.presence.page_count(),
            "lines": counts.lines,
            "unparsed": counts.unparsed,
        });
        let group = "covey.status".parse().expect("a group's name");
        self.subscriber.send(group, status.to_string().as_bytes());
    }

    fn log_status(&self) {
        let counts = self.table.hits.counts();
        log::notice(
            "status",
            &[
                ("group", &self.group),
                ("joined", &self.subscriber.is_joined()),
                ("users", &self.table.presence.user_count()),
                ("pages", &self.table.presence.page_count()),
                ("evicted-users", &self.table.presence.evicted()),
                ("lines", &counts.lines),
                ("hits", &counts.hits),
                ("unparsed-lines", &counts.unparsed),
            ],
        );
    }
}

impl Table {
    fn take(&mut self, input: Input<'_>) {
        match input {
            Input::Lines { lines, .. } => {
                let mut begin = 0;
                for end in memchr_iter(b'\n', lines) {
                    self.take_line(&lines[begin..end]);
                    begin = end + 1;
                }
            }
            // What was missed shows as users that are not there: the table fills anew.
            Input::Joined | Input::Lost => self.since = None,
            Input::Aside(_) => {}
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        let (stamp, hit) = self.hits.read(line);
        if let Some(stamp) = stamp {
            let now = self.clock.see(stamp);
            self.since.get_or_insert(now);
            self.presence
                .advance(u32::try_from(now).unwrap_or(u32::MAX));
        }
        if let Some(hit) = hit {
            self.presence.hit(&hit.user, &hit.page);
        }
    }

    fn state(&self, position: Position) -> State {
        let time = self.clock.now();
        let warm_up = self.warm_up.as_secs();
        let complete = self.since.is_some_and(|since| time - since > warm_up);
        State {
            position,
            time,
            complete,
            counts: self.hits.counts(),
        }
    }
}

/// Answers over HTTP.
fn page(request: &HttpRequest<'_>, presence: &Presence, state: &State) -> HttpAnswer {
    let count = match request
        .parameter("n")
        .map(|n| String::from_utf8_lossy(&n).parse())
    {
        None => LISTED,
        Some(Ok(count)) => LISTED_MAX.min(count),
        Some(Err(_)) => return HttpAnswer::bad_request("n is a number"),
    };
    let question = match request.path {
        "/count" => Question::Count,
        "/top" => Question::Top(count),
        "/page" => match request.parameter("url") {
            Some(url) => Question::Page(url, count),
            None => return HttpAnswer::bad_request("ask for /page?url=/x"),
        },
        "/user" => match request.parameter("name") {
            Some(name) => Question::User(name),
            None => return HttpAnswer::bad_request("ask for /user?name=x"),
        },
        "/metrics" => return HttpAnswer::metrics(metrics(presence, state)),
        "/events" => return HttpAnswer::events(count_event(presence, state)),
        _ => return HttpAnswer::not_found(),
    };
    HttpAnswer::json(&answer(&question, presence, state))
}

fn count_event(presence: &Presence, state: &State) -> Vec<u8> {
    format!("data: {}\n\n", answer(&Question::Count, presence, state)).into_bytes()
}
