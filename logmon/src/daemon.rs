//! The loop: lines and statuses from the bus, a page and its events to browsers.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use group::{Address, GroupName};
use memchr::memchr_iter;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};
use status::{HttpAnswer, HttpRequest, HttpServer};
use subscriber::{Input, Subscriber, server_of};
use unixproc::daemon::Process;
use unixproc::exit;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::{Signal, Signals};
use weblog::format::{Field, Parser};

use crate::args::Args;
use crate::cluster::Cluster;
use crate::series::Series;

const SIGNALS: Token = Token(0);
const BUS: Token = Token(1);
const HTTP: Token = Token(2);

/// The page needs nothing from elsewhere, and what a log line smuggles in is not run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECOND: Duration = Duration::from_secs(1);

/// Wanted fields, by index.
const WANTED: [Field; 3] = [Field::Url, Field::Status, Field::Bytes];

/// The program at work.
#[derive(Debug)]
pub(crate) struct Daemon {
    poll: Poll,
    signals: Signals,
    notify: Notify,
    subscriber: Subscriber,
    http: HttpServer,
    parser: Parser,
    series: Series,
    cluster: Cluster,
    group: GroupName,
    /// What browsers must know to see anything.
    password: Option<Vec<u8>>,
    tick_at: Instant,
}

impl Daemon {
    /// Opens the sockets; the bus is not connected yet.
    ///
    /// # Errors
    /// A socket cannot be opened, or there are no descriptors left.
    pub(crate) fn new(
        process: Process,
        args: &Args,
        password: Option<Vec<u8>>,
        address: Address,
    ) -> anyhow::Result<Daemon> {
        let Process { signals, notify } = process;
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(
            &mut SourceFd(&signals.as_raw_fd()),
            SIGNALS,
            Interest::READABLE,
        )?;
        let http = HttpServer::bind(args.listen, registry, HTTP)
            .with_context(|| format!("cannot listen at {}", args.listen))?;
        let now = Instant::now();
        let statuses = status::STATUS_GROUP.parse()?;
        Ok(Daemon {
            signals,
            notify,
            subscriber: Subscriber::new(address, "lm", args.group, BUS, now).with_group(statuses),
            http,
            parser: Parser::new(&args.format, &WANTED),
            series: Series::default(),
            cluster: Cluster::default(),
            group: args.group,
            password,
            tick_at: now + SECOND,
            poll,
        })
    }

    /// Tells whoever waits that the program does its work.
    pub(crate) fn announce(&self) {
        log::notice("ready", &[("http", &self.http.local_address())]);
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
                self.answer(event.token());
            }
            while let Some(signal) = self.signals.next() {
                match signal {
                    Signal::Terminate | Signal::Interrupt => {
                        self.notify.stopping();
                        log::notice("stopped", &[]);
                        return Ok(exit::DONE);
                    }
                    Signal::User1 => {
                        let joined = self.subscriber.is_joined();
                        let unparsed = self.series.unparsed;
                        let fields: log::Fields =
                            &[("joined", &joined), ("unparsed-lines", &unparsed)];
                        log::notice("status", fields);
                    }
                    // There is no file to read again.
                    Signal::Hangup | Signal::Child => {}
                }
            }
            self.take(Instant::now());
        }
    }

    fn timeout(&self) -> Duration {
        if self.subscriber.is_readable() {
            return Duration::ZERO;
        }
        let times = [
            Some(self.tick_at),
            self.notify.alive_at(),
            self.subscriber.connect_at(),
        ];
        let next = times.into_iter().flatten().min().unwrap_or(self.tick_at);
        next.saturating_duration_since(Instant::now())
    }

    /// Takes what the bus has, and ends the second if it is over.
    fn take(&mut self, now: Instant) {
        self.subscriber.connect(self.poll.registry(), now);
        let Daemon {
            subscriber,
            series,
            cluster,
            parser,
            ..
        } = self;
        subscriber.receive(now, |input| match input {
            Input::Lines { sender, lines } => {
                cluster.hear(sender, now);
                let server = series.server(&server_of(sender));
                let mut begin = 0;
                for end in memchr_iter(b'\n', lines) {
                    take_line(parser, series, server, &lines[begin..end]);
                    begin = end + 1;
                }
            }
            Input::Aside { sender, data, .. } => cluster.take(sender, data, now),
            Input::Members { membership, .. } => {
                cluster.set_members(membership.group, &membership.members);
            }
            Input::Lost => cluster.forget_members(),
            Input::Joined | Input::Private { .. } => {}
        });
        if now >= self.tick_at {
            // After a halt seconds are missing, not made up.
            self.tick_at = (self.tick_at + SECOND).max(now);
            self.send_second(now);
        }
        self.notify.alive(now);
    }

    /// Sends what the second was to those who look, and what else has changed.
    fn send_second(&mut self, now: Instant) {
        let mut delta = self.series.end_second();
        if let Some(changes) = self.cluster.changes(now) {
            delta["cluster"] = changes;
        }
        delta["joined"] = json!(self.subscriber.is_joined());
        self.http.send_events(&event("second", &delta));
    }

    fn answer(&mut self, token: Token) {
        if !self.http.tokens().contains(&token.0) {
            return;
        }
        let Daemon {
            series,
            http,
            poll,
            password,
            cluster,
            group,
            ..
        } = self;
        let answer = |request: &HttpRequest<'_>| match password {
            Some(password) if !request.has_password(password) => HttpAnswer::unauthorized(),
            _ => page(request, || {
                let mut history = series.history();
                history["group"] = json!(group.to_string());
                history["cluster"] = cluster.sent();
                history
            }),
        };
        if let Err(error) = http.handle_event(poll.registry(), token, answer) {
            log::warning("accept-failed", &[("error", &error)]);
        }
    }
}

fn take_line(parser: &Parser, series: &mut Series, server: usize, line: &[u8]) {
    let Ok(fields) = parser.parse(line) else {
        series.unparsed += 1;
        return;
    };
    let url = fields.get(0).unwrap_or_default();
    let end = url
        .iter()
        .position(|&byte| byte == b'?')
        .unwrap_or(url.len());
    let (status, bytes) = (fields.number(1).unwrap_or(0), fields.number(2).unwrap_or(0));
    series.add(server, &url[..end], status, bytes);
}

/// Answers a request; `history` is all that is known so far.
fn page(request: &HttpRequest<'_>, history: impl Fn() -> Value) -> HttpAnswer {
    match request.path {
        "/" => {
            let html = include_str!("page/index.html");
            HttpAnswer::page("text/html; charset=utf-8", POLICY, html)
        }
        "/logmon.js" => {
            let script = include_str!("page/logmon.js");
            HttpAnswer::page("text/javascript; charset=utf-8", POLICY, script)
        }
        "/logmon.css" => {
            let style = include_str!("page/logmon.css");
            HttpAnswer::page("text/css; charset=utf-8", POLICY, style)
        }
        "/events" => HttpAnswer::events(event("history", &history())),
        "/history" => HttpAnswer::json(&history()),
        _ => HttpAnswer::not_found(),
    }
}

fn event(name: &str, data: &Value) -> Vec<u8> {
    format!("event: {name}\ndata: {data}\n\n").into_bytes()
}
