//! A host: vipd, its guardian and its kernel, each of which may be slow, dead or paused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::bus::Delivery;
use super::{GRACE, World};
use crate::announce::Schedule;
use crate::indices::Indices;
use crate::takeover::mutant::planted;
use crate::takeover::{Command, Takeover, WAKE_INTERVAL, released_for};

const LIFETIME: Duration = Duration::from_secs(5);
const REFRESH: Duration = Duration::from_secs(2);

/// A guardian takes a vipd for dead that was silent for so long, and says so again so often.
const SILENCE: Duration = Duration::from_millis(300);
const REPEAT: Duration = Duration::from_millis(200);

/// The wire is asked for so long.
pub(super) const QUESTION: Duration = Duration::from_millis(30);

#[derive(Debug)]
pub(super) struct Host {
    pub(super) takeover: Takeover,
    /// Its clock's speed, in thousandths of the true one.
    pub(super) rate: u32,
    pub(super) session: String,
    pub(super) connected: bool,
    pub(super) groupd: bool,
    /// When its vipd lost the bus, by its clock.
    pub(super) lost_at: Option<Instant>,
    pub(super) component: usize,
    /// Of an earlier component, still to be delivered.
    pub(super) backlog: VecDeque<Delivery>,
    pub(super) position: usize,
    pub(super) view: Option<usize>,
    pub(super) transitional: bool,
    pub(super) paused: bool,
    /// When a vipd that is held up within its turn goes on.
    pub(super) held_up_until: Option<Duration>,
    /// When vipd last showed that it lives, by its clock.
    pub(super) beat: Option<Instant>,
    /// Whether the guardian has removed its addresses since.
    pub(super) fenced: bool,
    /// When the guardian acts; none if it is dead.
    pub(super) guardian: Option<Guardian>,
    pub(super) refresh_at: Option<Instant>,
    /// The sets in the kernel, with the end of their lifetime and the step of their coming.
    pub(super) kernel: BTreeMap<usize, (Instant, usize)>,
    pub(super) orders: VecDeque<Command>,
    /// The sets that the wire is asked for: until when, and since which step.
    pub(super) questions: BTreeMap<usize, (Instant, usize)>,
    /// What is announced, and when again.
    schedule: Schedule,
    /// When each set was last found silent on the wire.
    pub(super) silent: BTreeMap<usize, usize>,
    /// The sets whose coming here has a recorded cause.
    pub(super) explained: BTreeSet<usize>,
}

/// What a guardian knows of its vipd: the page that they share.
#[derive(Clone, Debug, Default)]
pub(super) struct Guardian {
    session: String,
    holds: Vec<(u64, Indices)>,
    repeat_at: Option<Instant>,
    /// Of a vipd that is dead: it was not heard yet.
    dead: Option<(String, Vec<(u64, Indices)>)>,
}

impl Host {
    pub(super) fn new(takeover: Takeover, rate: u32) -> Host {
        Host {
            takeover,
            rate,
            session: String::new(),
            connected: false,
            groupd: false,
            lost_at: None,
            component: 0,
            backlog: VecDeque::new(),
            position: 0,
            view: None,
            transitional: false,
            paused: false,
            held_up_until: None,
            beat: None,
            fenced: false,
            guardian: Some(Guardian::default()),
            refresh_at: None,
            kernel: BTreeMap::new(),
            orders: VecDeque::new(),
            questions: BTreeMap::new(),
            schedule: Schedule::default(),
            silent: BTreeMap::new(),
            explained: BTreeSet::new(),
        }
    }

    /// Writes down what the guardian has to release.
    pub(super) fn write_page(&mut self) {
        if let Some(guardian) = &mut self.guardian {
            guardian.session.clone_from(&self.session);
            guardian.holds = self.takeover.holds();
        }
    }

    /// A new vipd of the same host; its kernel is purged at its start.
    pub(super) fn start_again(&mut self, takeover: Takeover) {
        let dead = self
            .guardian
            .take()
            .map(|guardian| (guardian.session, guardian.holds));
        self.guardian = Some(Guardian {
            dead,
            ..Guardian::default()
        });
        self.takeover = takeover;
        self.kernel.clear();
        self.orders.clear();
        self.questions.clear();
        self.schedule = Schedule::default();
        self.silent.clear();
        self.explained.clear();
        self.view = None;
        self.transitional = false;
        self.paused = false;
        self.held_up_until = None;
        self.fenced = false;
        self.lost_at = None;
    }
}

impl World {
    /// Takes a member's commands: messages go at once, the rest when the kernel has time.
    pub(super) fn collect(&mut self, index: usize) {
        while let Some(command) = self.hosts[index].takeover.poll_command() {
            let host = &mut self.hosts[index];
            match command {
                Command::Send(data) if host.connected => {
                    let session = host.session.clone();
                    self.order(index, session, data);
                }
                Command::Send(_) => {}
                Command::Refuse(name) => panic!("seed {}: {name} refuses", self.seed),
                Command::Reconnect => self.disconnect_if_connected(index),
                order => host.orders.push_back(order),
            }
        }
        let host = &mut self.hosts[index];
        while let Some(movement) = host.takeover.poll_movement() {
            if movement.to.as_deref() == Some(&format!("n{index}")) {
                host.explained.insert(movement.set);
            }
        }
        host.write_page();
    }

    fn disconnect_if_connected(&mut self, index: usize) {
        if self.hosts[index].connected {
            self.disconnect(index);
        }
    }

    /// Does something that a host's vipd wants of its kernel or its wire; false if there is nothing.
    pub(super) fn execute(&mut self, index: usize) -> bool {
        if self.hosts[index].paused {
            return false;
        }
        let done = match self.hosts[index].orders.pop_front() {
            Some(order) => {
                self.obey(index, order);
                true
            }
            None => self.add(index),
        };
        self.collect(index);
        done
    }

    fn obey(&mut self, index: usize, order: Command) {
        self.tell(index, format_args!("{order:?}"));
        let host = &mut self.hosts[index];
        match order {
            Command::Remove(set, _) => {
                host.kernel.remove(&set);
                host.schedule.end(set);
                host.takeover.handle_removed(set);
            }
            Command::Probe(set) => self.ask(index, set),
            Command::Announce(set) => {
                let now = self.now(index);
                self.hosts[index].schedule.begin(set, now);
                self.announce(index, now);
            }
            Command::Send(_) | Command::Reconnect | Command::Refuse(_) => {}
        }
    }

    /// Adds what is to be added now, all at once.
    fn add(&mut self, index: usize) -> bool {
        let now = self.now(index);
        let adds = self.hosts[index].takeover.begin_adds(now);
        for &(set, reason) in &adds {
            self.check_add(index, set, reason);
            let done = self.below(20) > 0;
            self.tell(index, format_args!("adds {set}, {reason:?}: {done}"));
            let step = self.step;
            let host = &mut self.hosts[index];
            if done {
                host.kernel.insert(set, (now + LIFETIME, step));
            }
            host.takeover.handle_added(set, done);
        }
        !adds.is_empty()
    }

    /// Sends what is due; the client beside host 0 hears it if it is in reach.
    fn announce(&mut self, index: usize, now: Instant) {
        let heard = self.hosts[index].component == self.hosts[0].component;
        for set in self.hosts[index].schedule.take_due(now) {
            if heard && self.hosts[index].kernel.contains_key(&set) {
                self.cache[set] = Some(index);
            }
        }
    }

    /// Asks the wire for a set; an answer comes at once.
    fn ask(&mut self, index: usize, set: usize) {
        let now = self.now(index);
        if self.is_answered(index, set) {
            let takeover = &mut self.hosts[index].takeover;
            takeover.handle_probed(now, set, true);
        } else {
            let question = (now + QUESTION, self.step);
            self.hosts[index].questions.insert(set, question);
        }
    }

    /// Ends questions: whoever has come meanwhile has answered the last one.
    fn hear(&mut self, index: usize, now: Instant) {
        let due = |&(_, &(at, _)): &(&usize, &(Instant, usize))| at <= now;
        let due: Vec<usize> = self.hosts[index]
            .questions
            .iter()
            .filter(due)
            .map(|(&set, _)| set)
            .collect();
        for set in due {
            let answered = self.is_answered(index, set);
            let host = &mut self.hosts[index];
            let question = host.questions.remove(&set);
            if let Some((_, asked)) = question.filter(|_| !answered) {
                host.silent.insert(set, asked);
            }
            host.takeover.handle_probed(now, set, answered);
        }
    }

    fn is_answered(&self, index: usize, set: usize) -> bool {
        self.others(index)
            .any(|other| other.kernel.contains_key(&set))
    }

    /// The other hosts that this one reaches.
    pub(super) fn others(&self, index: usize) -> impl Iterator<Item = &Host> {
        let component = self.hosts[index].component;
        let hosts = self.hosts.iter().enumerate();
        hosts
            .filter(move |(other, host)| *other != index && host.component == component)
            .map(|(_, host)| host)
    }

    pub(super) fn pass_time(&mut self, milliseconds: u64) {
        let before = self.elapsed;
        self.elapsed += Duration::from_millis(milliseconds);
        for index in 0..self.hosts.len() {
            let now = self.now(index);
            self.guard(index, now);
            let host = &mut self.hosts[index];
            host.kernel.retain(|_, (ends, _)| *ends > now);
            if host.paused {
                continue;
            }
            host.beat = Some(now);
            let mut awake = self.begin + before * host.rate / 1000;
            while awake < now {
                awake = now.min(awake + WAKE_INTERVAL);
                let held_up = host.takeover.handle_wake(awake, false);
                assert_eq!(held_up, None, "seed {}: n{index} stalls", self.seed);
            }
            if host.takeover.poll_timeout().is_some_and(|at| at <= now) {
                host.takeover.handle_timeout(now);
            }
            self.hear(index, now);
            self.refresh(index, now);
            self.announce(index, now);
            self.collect(index);
            self.check_grace(index, now, GRACE);
        }
        self.resume_due();
    }

    /// vipd makes addresses last, and what has vanished comes back.
    fn refresh(&mut self, index: usize, now: Instant) {
        if self.hosts[index].refresh_at.is_some_and(|at| at > now) {
            return;
        }
        self.hosts[index].refresh_at = Some(now + REFRESH);
        for set in 0..self.set_count {
            if !self.hosts[index].takeover.is_held(set) {
                continue;
            }
            if !self.hosts[index].kernel.contains_key(&set) {
                self.check_restored(index, set);
            }
            let step = self.step;
            let entry = self.hosts[index].kernel.entry(set).or_insert((now, step));
            entry.0 = now + LIFETIME;
        }
    }

    /// The guardian removes what a silent vipd holds, and tells the group; so does that of a dead
    /// one.
    fn guard(&mut self, index: usize, now: Instant) {
        let host = &mut self.hosts[index];
        let Some(guardian) = &mut host.guardian else {
            return;
        };
        if let Some((session, holds)) = guardian.dead.take_if(|_| host.groupd) {
            let data = released_for(&session, host.takeover.config(), &holds);
            self.order(index, "#vig#n".to_owned(), data);
        }
        let host = &mut self.hosts[index];
        let silent = |beat: Instant| now.duration_since(beat) >= SILENCE;
        let silent = host.paused && host.beat.is_some_and(silent);
        let config = host.takeover.config();
        let Some(guardian) = host.guardian.as_mut().filter(|_| silent) else {
            return;
        };
        if guardian.repeat_at.is_some_and(|at| at > now) && host.fenced {
            return;
        }
        guardian.repeat_at = Some(now + REPEAT);
        let data = released_for(&guardian.session, config, &guardian.holds);
        host.fenced = true;
        host.kernel.clear();
        self.tell(index, format_args!("is fenced"));
        if self.hosts[index].groupd {
            self.order(index, "#vig#n".to_owned(), data);
        }
    }

    /// Lets go on who was held up for his time.
    fn resume_due(&mut self) {
        for index in 0..self.hosts.len() {
            let until = self.hosts[index].held_up_until;
            if until.is_some_and(|until| until <= self.elapsed) {
                self.resume(index);
            }
        }
    }

    /// A vipd goes on after a pause. If it was held up within its turn, between the bus and the
    /// kernel, it ends that; otherwise it looks whether it still may before it does anything.
    pub(super) fn resume(&mut self, index: usize) {
        let now = self.now(index);
        let host = &mut self.hosts[index];
        host.paused = false;
        if host.held_up_until.take().is_some() && !host.fenced {
            self.add(index);
        }
        let host = &mut self.hosts[index];
        host.beat = Some(now);
        let held_up = host.takeover.handle_wake(now, host.fenced);
        self.tell(index, format_args!("goes on, held up {held_up:?}"));
        self.collect(index);
        let host = &mut self.hosts[index];
        if !host.connected && held_up.is_none() {
            host.lost_at = Some(now);
            host.takeover.handle_bus_lost(now);
        }
        self.hear(index, now);
        if held_up.is_none() || planted("stale-after-pause") {
            self.hosts[index].fenced = false;
            return;
        }
        // It goes on when its kernel has none of them.
        while self.execute(index) {}
        self.hosts[index].fenced = false;
    }
}
