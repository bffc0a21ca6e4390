//! purged's session: purges come in, confirmations go out.

use std::time::{Duration, Instant};

use group::{
    Address, Cause, Event, GroupName, Link, Membership, Message, Name, Options, Received, Service,
};
use mio::{Registry, Token};
use purges::{CatchUp, Purge, PurgeLog, Replayed, is_cache};

/// A loss is noticed so long after it happened, at most; others may have purged since.
const NOTICE: Duration = Duration::from_secs(15);

/// Messages taken in one turn.
const ROUND: usize = 64;

/// What is asked of others is looked at this often.
const TICK: Duration = Duration::from_secs(1);

/// What names of such sessions begin with: those who purge wait for their confirmations.
const MARK: &str = "pd";

/// The session with groupd.
#[derive(Debug)]
pub(crate) struct Bus {
    link: Link,
    group: GroupName,
    log: PurgeLog,
    members: Vec<Name>,
    /// When it began that no purge is missed.
    whole_at: Instant,
    /// Since when purges may be missed.
    missed_since: Option<Instant>,
    catch_up: Option<CatchUp>,
    number: u16,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// These, and then to confirm them.
    Confirmed(Name, u16, Result<Vec<Purge>, String>),
    /// These, which others have told.
    Replayed(Vec<Purge>),
    /// Everything: nobody could tell what was missed.
    Everything,
}

impl Bus {
    /// Not connected yet; events of the session will have this token.
    pub(crate) fn new(address: Address, group: GroupName, token: Token) -> Bus {
        let now = Instant::now();
        let mut options = Options::new(address);
        options.name = format!("{MARK}{}", std::process::id()).parse().ok();
        options.membership = true;
        let mut link = Link::new(options, MARK.as_bytes(), token, now);
        link.join(group);
        Bus {
            link,
            group,
            log: PurgeLog::new(now),
            members: Vec::new(),
            whole_at: now,
            missed_since: None,
            catch_up: None,
            number: rand::random(),
        }
    }

    /// How long there is nothing to do without an event.
    pub(crate) fn timeout(&self, now: Instant) -> Duration {
        match self.link.connect_at() {
            _ if self.link.is_readable() => Duration::ZERO,
            Some(at) => at.saturating_duration_since(now).min(TICK),
            None => TICK,
        }
    }

    /// Takes note of an event of the session's descriptor.
    pub(crate) fn handle_event(&mut self, event: &mio::event::Event) {
        self.link.handle_event(event);
    }

    /// Goes on with opening the session if there is none.
    pub(crate) fn connect(&mut self, registry: &Registry, now: Instant) {
        self.link.connect(registry, now);
    }

    /// Takes what has come, up to a turn's bound.
    pub(crate) fn receive(&mut self, now: Instant) -> Vec<Task> {
        let mut tasks = Vec::new();
        for _ in 0..ROUND {
            match self.link.receive(now) {
                Some(Received::Event(event)) => self.handle(event, now, &mut tasks),
                Some(Received::Lost) => {
                    self.members.clear();
                    self.catch_up = None;
                    self.miss(now);
                }
                None => break,
            }
        }
        self.ask(now, &mut tasks);
        tasks
    }

    fn miss(&mut self, now: Instant) {
        let since = now.checked_sub(NOTICE).unwrap_or(now).max(self.whole_at);
        self.missed_since.get_or_insert(since);
    }

    fn handle(&mut self, event: Event, now: Instant, tasks: &mut Vec<Task>) {
        match event {
            Event::Message(message) if message.groups.iter().any(|to| to == self.group.name()) => {
                if let Some(purges) = read(&message) {
                    for purge in purges.iter().flatten() {
                        self.log.push(purge.to_string(), now);
                    }
                    tasks.push(Task::Confirmed(message.sender, message.mess_type, purges));
                }
            }
            Event::Message(message) => self.handle_private(&message, now, tasks),
            Event::Membership(membership) if membership.group == self.group.name() => {
                self.handle_membership(&membership, now);
            }
            _ => {}
        }
    }

    fn handle_private(&mut self, message: &Message, now: Instant, tasks: &mut Vec<Task>) {
        let text = String::from_utf8_lossy(&message.data);
        if let Some(answer) = self.log.answer(&text, now) {
            self.send(message.sender, message.mess_type, &answer);
        } else if let Some(catch_up) = &mut self.catch_up {
            let replayed = catch_up.handle_answer(&message.sender, message.mess_type, &text);
            if let Replayed::Commands(commands) = replayed {
                let mut purges = Vec::new();
                for command in commands {
                    if let Ok(purge) = Purge::parse(&command) {
                        self.log.push(command, now);
                        purges.push(purge);
                    }
                }
                tasks.push(Task::Replayed(purges));
            }
        }
    }

    fn handle_membership(&mut self, membership: &Membership, now: Instant) {
        let own = self.link.private_group();
        let others = membership.members.iter().copied();
        let others = others.filter(|name| is_cache(name) && Some(*name) != own);
        let others: Vec<Name> = others.collect();
        let first = self.members.is_empty();
        if first && self.missed_since.is_none() {
            self.whole_at = now;
        }
        if membership.cause == Cause::Network {
            let lost = self
                .members
                .iter()
                .any(|name| is_cache(name) && !membership.members.contains(name));
            if lost {
                self.miss(now);
            }
        }
        let together = membership.vs_sets.get(membership.own_set);
        let is_stranger = |name: &Name| together.is_none_or(|set| !set.contains(name));
        let strangers: Vec<Vec<Name>> = match membership.cause {
            _ if first && others.is_empty() => Vec::new(),
            _ if first => vec![others],
            Cause::Network => others
                .into_iter()
                .filter(is_stranger)
                .map(|name| vec![name])
                .collect(),
            _ => Vec::new(),
        };
        self.members.clone_from(&membership.members);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.handle_members(&self.members);
        }
        if let Some(since) = self.missed_since
            && (first || !strangers.is_empty())
        {
            self.catch_up = Some(CatchUp::new(strangers, since, &self.log));
        }
    }

    /// Goes on asking for what was missed.
    fn ask(&mut self, now: Instant, tasks: &mut Vec<Task>) {
        let Some(catch_up) = &mut self.catch_up else {
            return;
        };
        self.number = self.number.wrapping_add(1);
        let question = catch_up.poll_question(self.number, now);
        if let Some(complete) = catch_up.outcome() {
            let alone = !self.members.iter().any(is_other(self.link.private_group()));
            self.catch_up = None;
            self.missed_since = None;
            self.whole_at = now;
            if !complete || alone {
                tasks.push(Task::Everything);
            }
        } else if let Some((to, question)) = question {
            self.send(to, self.number, &question);
        }
    }

    /// Says something to one of the group.
    pub(crate) fn send(&mut self, to: Name, number: u16, text: &str) {
        if let Some(session) = self.link.session() {
            // Who asked has gone, or finds that this one has: both are told by the membership.
            let _ = session.multicast(Service::Agreed, &[to], number, text.as_bytes());
        }
    }

    /// Leaves in order: whoever waits for a confirmation knows that nothing more will be deleted.
    pub(crate) fn leave(&mut self) {
        if let Some(mut session) = self.link.close(Instant::now()) {
            // The end of the connection says the same a little less politely.
            let _ = session.leave(self.group);
            let _ = session.disconnect();
        }
    }
}

fn is_other(own: Option<Name>) -> impl Fn(&Name) -> bool {
    move |name| is_cache(name) && Some(*name) != own
}

/// The purges of a message; none if nothing in it is one, an error if one makes no sense.
fn read(message: &Message) -> Option<Result<Vec<Purge>, String>> {
    let text = String::from_utf8_lossy(&message.data);
    let commands = text.lines().filter_map(|line| line.strip_prefix("purge "));
    let purges: Result<Vec<Purge>, String> = commands.map(Purge::parse).collect();
    match purges {
        Ok(purges) if purges.is_empty() => None,
        purges => Some(purges),
    }
}
