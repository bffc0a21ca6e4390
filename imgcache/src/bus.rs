//! The session with groupd: purges come in, confirmations go out.

use std::time::{Duration, Instant};

use group::{
    Address, Cause, Event, GroupName, Link, Membership, Message, Name, Options, Received, Service,
};
use mio::{Registry, Token, event};
use purges::{CatchUp, Purge, PurgeLog, Replayed};

/// What names of caches' sessions begin with: those who purge wait for their confirmations.
const MARK: &str = "ic";

/// Messages taken in one turn.
const ROUND: usize = 64;

/// A loss is noticed so long after it happened, at most; others may have purged since.
const NOTICE: Duration = Duration::from_secs(15);

/// The session.
#[derive(Debug)]
pub(crate) struct Bus {
    link: Link,
    group: GroupName,
    members: Vec<Name>,
    /// Daemons whose members were lost with them or with the network, and did not come back.
    lost: Vec<Vec<u8>>,
    /// Purges that were heard.
    log: PurgeLog,
    /// Since when purges may be missed; none if none are.
    missed_since: Option<Instant>,
    /// The first moment of this run.
    started: Instant,
    /// When it began that no purge is missed.
    whole_at: Instant,
    catch_up: Option<CatchUp>,
    /// The type of the last question or purge of our own.
    number: u16,
}

/// What has come.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Purges may be missed from now on.
    pub(crate) lost: bool,
    /// No purge is missed from now on; whether all that were missed have been told.
    pub(crate) whole: Option<bool>,
    pub(crate) orders: Vec<Order>,
    /// Purges of the time that was missed.
    pub(crate) replayed: Vec<Purge>,
    /// All events, for those who wait for confirmations.
    pub(crate) events: Vec<Event>,
}

/// The commands of one message.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) sender: Name,
    number: u16,
    pub(crate) purges: Vec<Purge>,
    /// The first line that makes no sense, and why.
    pub(crate) refused: Option<String>,
}

impl Bus {
    /// Not connected yet; events of the session will have this token. `missed` is how long ago the
    /// former run heard its last purge, if that is known.
    pub(crate) fn new(
        address: Address,
        group: GroupName,
        token: Token,
        missed: Option<Duration>,
    ) -> Bus {
        let now = Instant::now();
        let mut options = Options::new(address);
        options.name = format!("{MARK}{}", std::process::id()).parse().ok();
        options.membership = true;
        let mut link = Link::new(options, MARK.as_bytes(), token, now);
        link.join(group);
        Bus {
            link,
            group,
            members: Vec::new(),
            lost: Vec::new(),
            log: PurgeLog::new(now),
            // Long ago: then no log reaches back.
            missed_since: missed.and_then(|missed| now.checked_sub(missed)).or(Some(
                now.checked_sub(Duration::from_secs(86400)).unwrap_or(now),
            )),
            started: now,
            whole_at: now,
            catch_up: None,
            number: rand::random(),
        }
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.link.is_readable()
    }

    /// When [`connect`](Self::connect) is due, unless an event comes before.
    pub(crate) fn connect_at(&self) -> Option<Instant> {
        self.link.connect_at()
    }

    pub(crate) fn session_name(&self) -> Option<Name> {
        self.link.private_group()
    }

    pub(crate) fn group_name(&self) -> Name {
        self.group.name()
    }

    /// The members of the group, as last told; none while there is no session.
    pub(crate) fn members(&self) -> &[Name] {
        &self.members
    }

    pub(crate) fn handle_event(&mut self, event: &event::Event) {
        self.link.handle_event(event);
    }

    /// Goes on with opening the session if there is none.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        self.link.connect(registry, now);
    }

    /// Takes what has come, up to a turn's bound.
    pub(crate) fn receive(&mut self, now: Instant) -> News {
        let mut news = News::default();
        for _ in 0..ROUND {
            match self.link.receive(now) {
                Some(Received::Event(event)) => {
                    self.handle(&event, now, &mut news);
                    news.events.push(event);
                }
                Some(Received::Lost) => self.forget_session(now, &mut news),
                None => break,
            }
        }
        self.ask(now, &mut news);
        news
    }

    fn forget_session(&mut self, now: Instant, news: &mut News) {
        self.members.clear();
        self.lost.clear();
        self.catch_up = None;
        self.begin_missing(now, news);
    }

    fn begin_missing(&mut self, now: Instant, news: &mut News) {
        let since = now.checked_sub(NOTICE).unwrap_or(now).max(self.whole_at);
        self.missed_since.get_or_insert(since);
        news.lost = true;
        news.whole = None;
    }

    fn handle(&mut self, event: &Event, now: Instant, news: &mut News) {
        match event {
            Event::Message(message) if message.groups.iter().any(|to| to == self.group.name()) => {
                self.hear(message, now, news);
            }
            Event::Message(message) => self.handle_private(message, now, news),
            Event::Membership(membership) if membership.group == self.group.name() => {
                self.handle_membership(membership, now, news);
            }
            _ => {}
        }
    }

    fn hear(&mut self, message: &Message, now: Instant, news: &mut News) {
        let Some(order) = Order::read(message) else {
            return;
        };
        for purge in &order.purges {
            self.log.push(purge.to_string(), now);
        }
        news.orders.push(order);
    }

    /// A question about what was missed, or the answer to ours.
    fn handle_private(&mut self, message: &Message, now: Instant, news: &mut News) {
        let text = String::from_utf8_lossy(&message.data);
        if let Some(answer) = self.log.answer(&text, now) {
            self.send(message.sender, message.mess_type, &answer);
            return;
        }
        let Some(catch_up) = &mut self.catch_up else {
            return;
        };
        let replayed = catch_up.handle_answer(&message.sender, message.mess_type, &text);
        if let Replayed::Commands(commands) = replayed {
            for command in commands {
                if let Ok(purge) = Purge::parse(&command) {
                    self.log.push(command, now);
                    news.replayed.push(purge);
                }
            }
        }
    }

    fn handle_membership(&mut self, membership: &Membership, now: Instant, news: &mut News) {
        let first = self.members.is_empty();
        let network = membership.cause == Cause::Network;
        if network {
            // Who does not come along may purge on the other side, unheard.
            let members = &membership.members;
            let gone = self.members.iter();
            let gone = gone.filter(|name| is_cache(name) && !members.contains(name));
            self.lost.extend(gone.filter_map(daemon_of));
        }
        let back = membership.members.iter().filter(|name| is_cache(name));
        let back: Vec<Vec<u8>> = back.filter_map(daemon_of).collect();
        self.lost.retain(|daemon| !back.contains(daemon));
        let strangers = self.strangers(membership, first);
        self.members.clone_from(&membership.members);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.handle_members(&self.members);
        }
        if !self.lost.is_empty() {
            self.catch_up = None;
            self.begin_missing(now, news);
        }
        let whole = self.missed_since.is_none() && strangers.is_empty();
        if self.lost.is_empty() && !whole && (self.catch_up.is_none() || network) {
            if self.missed_since.is_none() {
                // They may have purged on their side since they were there.
                self.missed_since = Some(self.started);
                news.lost = true;
            }
            let since = self.missed_since.unwrap_or(self.started);
            self.catch_up = Some(CatchUp::new(strangers, since, &self.log));
        }
    }

    /// Caches that may have heard what we have not: one of each list is enough to ask.
    fn strangers(&self, membership: &Membership, first: bool) -> Vec<Vec<Name>> {
        let own = self.session_name();
        let others = membership.members.iter().copied();
        let others = others.filter(|name| is_cache(name) && Some(*name) != own);
        if first {
            // All that were there before have heard the same.
            let all: Vec<Name> = others.collect();
            return if all.is_empty() {
                Vec::new()
            } else {
                vec![all]
            };
        }
        let together = match membership.cause {
            Cause::Network => membership.vs_sets.get(membership.own_set),
            _ => Some(&membership.members),
        };
        let is_together = |name: &Name| {
            let known = self.members.contains(name);
            together.is_some_and(|set| set.contains(name)) && (known || self.missed_since.is_none())
        };
        let strangers = others.filter(|name| !is_together(name));
        strangers.map(|name| vec![name]).collect()
    }

    /// Goes on asking for what was missed.
    fn ask(&mut self, now: Instant, news: &mut News) {
        let Some(catch_up) = &mut self.catch_up else {
            return;
        };
        self.number = self.number.wrapping_add(1);
        let question = catch_up.poll_question(self.number, now);
        if let Some(complete) = catch_up.outcome() {
            // Alone at the start there is nobody who could know.
            let alone = self.missed_since.is_some_and(|since| since < self.started)
                && !self
                    .members
                    .iter()
                    .any(|name| is_cache(name) && Some(*name) != self.session_name());
            self.catch_up = None;
            self.missed_since = None;
            self.whole_at = now;
            news.whole = Some(complete && !alone);
        } else if let Some((to, question)) = question {
            self.send(to, self.number, &question);
        }
    }

    fn send(&mut self, to: Name, number: u16, text: &str) {
        if let Some(session) = self.link.session() {
            // Agreed, so that an answer comes behind what it answers. Who asked has gone, or finds
            // that this cache has: both are told by the membership.
            let _ = session.multicast(Service::Agreed, &[to], number, text.as_bytes());
        }
    }

    /// Confirms an order, or says why not.
    pub(crate) fn answer(&mut self, order: &Order, text: &str) {
        self.send(order.sender, order.number, text);
    }

    /// Sends a purge to all caches, this one among them; its type, if there is a session.
    pub(crate) fn purge(&mut self, purge: &Purge) -> Option<u16> {
        self.link.session()?;
        self.number = self.number.wrapping_add(1);
        self.send(self.group.name(), self.number, &format!("purge {purge}\n"));
        Some(self.number)
    }

    /// Tells whoever looks after programs how this one is.
    pub(crate) fn publish(&mut self, status: &str) {
        let name = status::STATUS_GROUP.parse().expect("a group's name");
        self.send(name, 0, status);
    }

    /// Leaves in order: whoever waits for a confirmation knows that this cache does not serve.
    pub(crate) fn leave(mut self) {
        if let Some(mut session) = self.link.close(Instant::now()) {
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
}
