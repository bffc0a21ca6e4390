//! The session with groupd: purges come in, confirmations go out.
//!
//! A message of the group is text, one command per line: `purge URL`, `purge --tag KEY` and so on.
//! The answer goes to the sender's private group, with the type of the message: one line, `done`
//! and the number of objects deleted at once, or `failed` and why.

use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use group::handshake::Reject;
use group::{
    Address, Cause, ConnectError, Event, GroupName, Membership, Message, Name, Options, Service,
    Session,
};
use imgcache::rules::Purge;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use unixproc::log;

use crate::cache::Cache;
use crate::config::Site;

/// Connecting may hold up the program for so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The first pause between attempts to connect; it doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Messages taken in one turn.
const ROUND: usize = 64;

/// The session.
#[derive(Debug)]
pub(crate) struct Bus {
    options: Options,
    group: GroupName,
    token: Token,
    session: Option<Session>,
    readable: bool,
    retry_at: Instant,
    backoff: Duration,
    /// Whether the daemon's absence has been logged.
    reported: bool,
    members: Vec<Name>,
    /// Daemons whose members were lost with them or with the network, and did not come back.
    lost: Vec<Vec<u8>>,
}

/// What has come.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Purges may be missed from now on.
    pub(crate) lost: bool,
    /// No purge is missed from now on.
    pub(crate) whole: bool,
    pub(crate) orders: Vec<Order>,
}

/// The commands of one message.
#[derive(Debug)]
pub(crate) struct Order {
    sender: Name,
    number: u16,
    purges: Vec<Purge>,
    /// The first line that makes no sense, and why.
    refused: Option<String>,
}

impl Bus {
    /// Not connected yet; events of the session will have this token.
    pub(crate) fn new(address: Address, group: GroupName, token: Token) -> Bus {
        let mut options = Options::new(address);
        // Ten bytes at most: the last digits tell processes of one machine apart.
        options.name = format!("ic{}", std::process::id() % 100_000_000)
            .parse()
            .ok();
        options.membership = true;
        options.timeout = CONNECT_TIMEOUT;
        Bus {
            options,
            group,
            token,
            session: None,
            readable: false,
            retry_at: Instant::now(),
            backoff: BACKOFF.0,
            reported: false,
            members: Vec::new(),
            lost: Vec::new(),
        }
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.readable && self.session.is_some()
    }

    pub(crate) fn session_name(&self) -> Option<String> {
        self.session
            .as_ref()
            .map(|session| session.private_group().to_string())
    }

    pub(crate) fn member_names(&self) -> Vec<String> {
        self.members.iter().map(Name::to_string).collect()
    }

    pub(crate) fn handle_event(&mut self, writable: bool) {
        self.readable = true;
        if writable && let Some(session) = &mut self.session {
            // A session that is lost is noticed when it is read.
            let _ = session.flush();
        }
    }

    /// Opens the session if it is due, and joins the group.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        if self.session.is_some() || now < self.retry_at {
            return;
        }
        match self.try_connect(registry) {
            Ok(session) => {
                log::notice("connected", &[("session", &session.private_group())]);
                self.session = Some(session);
                self.readable = true;
                self.reported = false;
            }
            Err(error) => {
                if matches!(error, ConnectError::Rejected(Reject::NotUnique)) {
                    // Another container's process may have the same number.
                    self.options.name = format!("ic{}", rand::random::<u32>() % 100_000_000)
                        .parse()
                        .ok();
                }
                if !self.reported {
                    log::warning(
                        "bus-unreachable",
                        &[("bus", &self.options.address), ("error", &error)],
                    );
                    self.reported = true;
                }
                self.retry_at = Instant::now() + self.backoff;
                self.backoff = (self.backoff * 2).min(BACKOFF.1);
            }
        }
    }

    fn try_connect(&self, registry: &Registry) -> Result<Session, ConnectError> {
        let mut session = Session::connect(self.options.clone())?;
        session.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&session.as_raw_fd()), self.token, interest)?;
        // A session that is lost is noticed when it is read.
        let _ = session.join(self.group);
        Ok(session)
    }

    /// Takes what has come, up to a turn's bound.
    pub(crate) fn receive(&mut self, now: Instant) -> News {
        let mut news = News::default();
        for _ in 0..ROUND {
            let Some(session) = self.session.as_mut().filter(|_| self.readable) else {
                break;
            };
            match session.try_receive() {
                Ok(Some(event)) => {
                    self.backoff = BACKOFF.0;
                    self.handle(event, &mut news);
                }
                Ok(None) => self.readable = false,
                Err(group::ReceiveError::Membership(error)) => {
                    log::warning("bad-message", &[("error", &error)])
                }
                Err(error) => {
                    log::warning("bus-lost", &[("error", &error)]);
                    self.session = None;
                    self.members.clear();
                    self.lost.clear();
                    self.reported = true;
                    self.retry_at = now + self.backoff;
                    news.lost = true;
                    news.whole = false;
                }
            }
        }
        news
    }

    fn handle(&mut self, event: Event, news: &mut News) {
        match event {
            Event::Message(message) => news.orders.extend(Order::read(&message)),
            Event::Membership(membership) if membership.group == self.group.name() => {
                self.handle_membership(&membership, news);
            }
            _ => {}
        }
    }

    fn handle_membership(&mut self, membership: &Membership, news: &mut News) {
        let first = self.members.is_empty();
        if membership.cause == Cause::Network {
            // Who does not come along may purge on the other side, unheard.
            let gone = self
                .members
                .iter()
                .filter(|name| is_cache(name) && !membership.members.contains(name));
            let gone: Vec<Vec<u8>> = gone.filter_map(daemon_of).collect();
            self.lost.extend(gone);
        }
        let known = self.lost.len();
        let back: Vec<Vec<u8>> = membership.members.iter().filter_map(daemon_of).collect();
        self.lost.retain(|daemon| !back.contains(daemon));
        let found = membership
            .members
            .iter()
            .any(|name| !self.members.contains(name));
        self.members = membership.members.clone();
        if !self.lost.is_empty() {
            news.lost = true;
            news.whole = false;
        } else if first || known > 0 || (membership.cause == Cause::Network && found) {
            // Purges of the time before are not told: all is validated once.
            news.whole = true;
        }
    }

    /// Confirms an order, or says why not.
    pub(crate) fn answer(&mut self, order: &Order, text: &str) {
        let Some(session) = &mut self.session else {
            return;
        };
        // Agreed, so that it comes behind the order itself. Who asked has gone, or finds that this cache has: both are told by the membership.
        let _ = session.multicast(
            Service::Agreed,
            &[order.sender],
            order.number,
            text.as_bytes(),
        );
    }

    /// Leaves in order: whoever waits for a confirmation knows that this cache does not serve.
    pub(crate) fn leave(mut self) {
        if let Some(mut session) = self.session.take() {
            // The end of the connection says the same a little less politely.
            let _ = session.leave(self.group);
            let _ = session.disconnect();
        }
    }
}

fn is_cache(name: &Name) -> bool {
    name.as_bytes().starts_with(b"#ic")
}

fn daemon_of(name: &Name) -> Option<Vec<u8>> {
    let (_, daemon) = group::name::split_private_group(name)?;
    Some(Name::from(daemon).as_bytes().to_vec())
}

impl Order {
    /// Reads a message; none if nothing in it is for a cache.
    fn read(message: &Message) -> Option<Order> {
        let mut order = Order {
            sender: message.sender,
            number: message.mess_type,
            purges: Vec::new(),
            refused: None,
        };
        for line in String::from_utf8_lossy(&message.data).lines() {
            // Whatever else is said in the group is for others.
            let Some(command) = line.strip_prefix("purge ") else {
                continue;
            };
            match Purge::parse(command) {
                Ok(purge) => order.purges.push(purge),
                Err(error) => order.refused = order.refused.take().or(Some(error)),
            }
        }
        (!order.purges.is_empty() || order.refused.is_some()).then_some(order)
    }

    /// Does what it says, and gives the answer.
    pub(crate) fn carry_out(&self, cache: &mut Cache, sites: &[Site]) -> String {
        let result = cache.purge(self.purges.clone(), sites);
        log::info(
            "purged",
            &[
                ("by", &self.sender),
                ("commands", &self.purges.len()),
                ("number", &cache.rules.last()),
            ],
        );
        match (result, &self.refused) {
            (_, Some(error)) => format!("failed {error}\n"),
            (Err(error), None) => {
                log::error("write-failed", &[("file", &"#rules"), ("error", &error)]);
                format!("failed {error}\n")
            }
            (Ok(removed), None) => format!("done {removed}\n"),
        }
    }
}
