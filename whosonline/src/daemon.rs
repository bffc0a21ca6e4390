//! The loop: lines into the table, questions out of it.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use group::{Address, GroupName};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;
use status::{ControlServer, HttpAnswer, HttpRequest, HttpServer};
use subscriber::{Input, Position, Subscriber};
use unixproc::daemon::Process;
use unixproc::exit;
use unixproc::log;
use unixproc::ready::Notify;
use unixproc::signal::{Signal, Signals};
use weblog::stream::tick_of;
use whosonline::answer::{LISTED, LISTED_MAX, Place, Question, answer, metrics, refusal};
use whosonline::hits::{Hits, Rules};
use whosonline::replica::{Event, Replica, Send};
use whosonline::table::Table;

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
    subscriber: Subscriber,
    control: ControlServer,
    http: Option<HttpServer>,
    historic: Option<Peers>,
    event_at: Instant,
    status_at: Instant,
    group: GroupName,
    core: Core,
}

/// What is known, apart from all sockets.
#[derive(Debug)]
struct Core {
    /// Where loggers tell their clocks.
    loggers: GroupName,
    /// Where replicas talk.
    replicas: GroupName,
    hits: Hits,
    replica: Replica,
}

impl Daemon {
    /// Opens the sockets; the bus is not connected yet.
    ///
    /// # Errors
    /// A socket cannot be opened, or there are no descriptors left.
    pub(crate) fn new(
        process: Process,
        args: &Args,
        rules: Rules,
        replicas: GroupName,
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
        let now = Instant::now();
        let loggers = format!("{}~", args.group).parse()?;
        let subscriber = Subscriber::new(address, "wo", args.group, BUS, now)
            .with_group(loggers)
            .with_group(replicas);
        Ok(Daemon {
            signals,
            notify,
            subscriber,
            control,
            http,
            historic,
            event_at: now + EVENT_INTERVAL,
            status_at: now + STATUS_INTERVAL,
            group: args.group,
            core: Core {
                loggers,
                replicas,
                replica: Replica::new(args.limits(), args.settings(&rules)),
                hits: Hits::new(rules),
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
            let core = &mut self.core;
            self.subscriber.receive(now, |input| core.take(input, now));
            self.talk(now);
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
            self.notify.alive_at(),
            self.subscriber.connect_at(),
            self.core.replica.poll_timeout(),
        ];
        let next = times.into_iter().flatten().min().unwrap_or(self.event_at);
        next.saturating_duration_since(Instant::now())
    }

    fn answer(&mut self, token: Token) {
        let registry = self.poll.registry();
        let core = &self.core;
        let table = core.replica.table();
        let place = core.place(self.subscriber.position());
        let result = if self.control.tokens().contains(&token.0) {
            self.control.handle_lines(registry, token, |line, output| {
                let answer = match Question::parse(line) {
                    Ok(question) => answer(&question, table, place),
                    Err(why) => refusal(why, place),
                };
                serde_json::to_writer(&mut *output, &answer)?;
                output.push(b'\n');
                Ok(())
            })
        } else if let Some(http) = &mut self.http
            && http.tokens().contains(&token.0)
        {
            http.handle_event(registry, token, |request| page(request, core, place))
        } else if let Some(historic) = &mut self.historic
            && historic.tokens().contains(&token.0)
        {
            historic.handle_event(registry, token, table.presence())
        } else {
            Ok(())
        };
        if let Err(error) = result {
            log::warning("accept-failed", &[("error", &error)]);
        }
    }

    /// Says to other replicas what is to be said, and to the log what has happened.
    fn talk(&mut self, now: Instant) {
        let Core {
            replica, replicas, ..
        } = &mut self.core;
        replica.handle_timeout(now);
        // The rest goes when the daemon has taken this.
        while !self.subscriber.wants_write()
            && let Some(send) = replica.poll_send()
        {
            match send {
                Send::All(data) => self.subscriber.send(replicas.name(), &data),
                Send::To(name, data) => self.subscriber.send(name, &data),
            }
        }
        while let Some(event) = replica.poll_event() {
            let users = replica.table().presence().user_count();
            let fields: log::Fields = &[("group", &self.group), ("users", &users)];
            match event {
                Event::Began => log::notice("table-begun", fields),
                Event::Kept => log::notice("table-kept", fields),
                Event::Taken => log::notice("table-taken", fields),
                Event::Failed => log::warning("snapshot-failed", fields),
            }
        }
    }

    /// Does what is due.
    fn keep_time(&mut self, now: Instant) {
        if now >= self.event_at {
            self.event_at = now + EVENT_INTERVAL;
            let place = self.core.place(self.subscriber.position());
            if let Some(http) = &mut self.http
                && http.has_listeners()
            {
                http.send_events(&count_event(self.core.replica.table(), place));
            }
        }
        if now >= self.status_at {
            self.status_at = now + STATUS_INTERVAL;
            self.publish_status();
        }
        self.notify.alive(now);
    }

    fn publish_status(&mut self) {
        let counts = self.core.hits.counts();
        let presence = self.core.replica.table().presence();
        let status = json!({
            "program": "whosonline",
            "group": self.group.to_string(),
            "users": presence.user_count(),
            "pages": presence.page_count(),
            "lines": counts.lines,
            "unparsed": counts.unparsed,
        });
        let group: GroupName = status::STATUS_GROUP.parse().expect("a group's name");
        self.subscriber
            .send(group.name(), status.to_string().as_bytes());
    }

    fn log_status(&self) {
        let counts = self.core.hits.counts();
        let presence = self.core.replica.table().presence();
        log::notice(
            "status",
            &[
                ("group", &self.group),
                ("joined", &self.subscriber.is_joined()),
                ("holding", &self.core.replica.lineage().is_some()),
                ("users", &presence.user_count()),
                ("pages", &presence.page_count()),
                ("evicted-users", &presence.evicted()),
                ("lines", &counts.lines),
                ("hits", &counts.hits),
                ("unparsed-lines", &counts.unparsed),
            ],
        );
    }
}

impl Core {
    fn take(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Lines { lines, .. } => self.replica.handle_lines(&mut self.hits, lines, now),
            Input::Members { membership, own } if membership.group == self.replicas.name() => {
                self.replica.handle_membership(membership, own, now);
            }
            Input::Members { membership, .. } if membership.group == self.loggers.name() => {
                self.replica.handle_loggers(&membership.members, now);
            }
            Input::Members { .. } => {}
            Input::Aside {
                group,
                sender,
                data,
            } => {
                if group == self.replicas {
                    self.replica.handle_message(sender, data, now);
                } else if let Some(second) = tick_of(data) {
                    self.replica.handle_tick(*sender, second, now);
                }
            }
            Input::Private { sender, data } => self.replica.handle_private(sender, data, now),
            Input::Lost => self.replica.handle_lost(),
            Input::Joined => {}
        }
    }

    fn place(&self, position: Position) -> Option<Place> {
        let lineage = self.replica.lineage()?;
        Some(Place { position, lineage })
    }
}

/// Answers over HTTP.
fn page(request: &HttpRequest<'_>, core: &Core, place: Option<Place>) -> HttpAnswer {
    let refuse = |status, why| HttpAnswer::json(&refusal(why, place)).with_status(status);
    let bad_request = |why| refuse("400 Bad Request", why);
    let count = match request
        .parameter("n")
        .map(|n| String::from_utf8_lossy(&n).parse())
    {
        None => LISTED,
        Some(Ok(count)) => LISTED_MAX.min(count),
        Some(Err(_)) => return bad_request("n is a number"),
    };
    let table = core.replica.table();
    let question = match request.path {
        "/count" => Question::Count,
        "/top" => Question::Top(count),
        "/page" => match request.parameter("url") {
            Some(url) => Question::Page(url, count),
            None => return bad_request("ask for /page?url=/x"),
        },
        "/user" => match request.parameter("name") {
            Some(name) => Question::User(name),
            None => return bad_request("ask for /user?name=x"),
        },
        "/metrics" => {
            let text = metrics(table, core.hits.counts(), place.is_some());
            return HttpAnswer::metrics(text);
        }
        "/events" => return HttpAnswer::events(count_event(table, place)),
        _ => return refuse("404 Not Found", "there is no such page"),
    };
    HttpAnswer::json(&answer(&question, table, place))
}

fn count_event(table: &Table, place: Option<Place>) -> Vec<u8> {
    format!("data: {}\n\n", answer(&Question::Count, table, place)).into_bytes()
}
