//! A host: vipd, its guardian and its kernel, each of which may be slow, dead or paused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::bus::Delivery;
use super::{GRACE, World};
use crate::indices::Indices;
use crate::takeover::{Command, Takeover, released_for};

const LIFETIME: Duration = Duration::from_secs(5);
const REFRESH: Duration = Duration::from_secs(2);

/// A guardian takes a vipd for dead that was silent for so long, and says so again so often.
const SILENCE: Duration = Duration::from_millis(300);
const REPEAT: Duration = Duration::from_millis(200);

/// Without a guardian a vipd that was held up for so long lets go of everything.
const STALL: Duration = Duration::from_secs(2);

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
    /// When vipd last showed that it lives, by its clock.
    pub(super) beat: Option<Instant>,
    /// Whether the guardian has removed its addresses since.
    pub(super) fenced: bool,
    /// When the guardian acts; none if it is dead.
    pub(super) guardian: Option<Guardian>,
    pub(super) refresh_at: Option<Instant>,
    /// The sets in the kernel, with the end of their lifetime and the step of their coming.
    pub(super) kernel: BTreeMap<usize, (Instant, usize)>,
    /// With the view in which they were given.
    pub(super) orders: VecDeque<(Command, Option<usize>)>,
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
            beat: None,
            fenced: false,
            guardian: Some(Guardian::default()),
            refresh_at: None,
            kernel: BTreeMap::new(),
            orders: VecDeque::new(),
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
        self.silent.clear();
        self.explained.clear();
        self.view = None;
        self.transitional = false;
        self.paused = false;
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
                Command::Add(set, _) if host.transitional => panic!(
                    "seed {}: a claim of set {set} behind a transitional signal",
                    self.seed
                ),
                Command::Reconnect => self.disconnect_if_connected(index),
                order => host.orders.push_back((order, host.view)),
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

    /// Does the next thing that a host's vipd has asked of its kernel; false if there is nothing.
    pub(super) fn execute(&mut self, index: usize) -> bool {
        if self.hosts[index].paused {
            return false;
        }
        let Some((order, view)) = self.hosts[index].orders.pop_front() else {
            return false;
        };
        let now = self.now(index);
        match order {
            Command::Add(set, reason) => {
                self.check_add(index, set, reason, view);
                let done = self.below(20) > 0;
                let step = self.step;
                let host = &mut self.hosts[index];
                if done {
                    host.kernel.insert(set, (now + LIFETIME, step));
                }
                host.takeover.handle_added(set, done);
            }
            Command::Remove(set, _) => {
                self.hosts[index].kernel.remove(&set);
                self.hosts[index].takeover.handle_removed(set);
            }
            Command::Probe(set) => {
                let answered = self
                    .others(index)
                    .any(|other| other.kernel.contains_key(&set));
                if !answered {
                    let step = self.step;
                    self.hosts[index].silent.insert(set, step);
                }
                self.hosts[index].takeover.handle_probed(now, set, answered);
            }
            Command::Announce(set) => {
                let heard = self.hosts[index].component == self.hosts[0].component;
                if heard && self.hosts[index].kernel.contains_key(&set) {
                    self.cache[set] = Some(index);
                }
            }
            Command::Send(_) | Command::Reconnect | Command::Refuse(_) => {}
        }
        self.collect(index);
        true
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
            if host.takeover.poll_timeout().is_some_and(|at| at <= now) {
                host.takeover.handle_timeout(now);
            }
            self.refresh(index, now);
            self.collect(index);
            self.check_grace(index, now, GRACE);
        }
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
        if host.groupd {
            self.order(index, "#vig#n".to_owned(), data);
        }
    }

    /// A vipd goes on after a pause: before anything else it looks whether it still may.
    pub(super) fn resume(&mut self, index: usize) {
        let now = self.now(index);
        let host = &mut self.hosts[index];
        host.paused = false;
        let late = host
            .beat
            .is_some_and(|beat| now.duration_since(beat) >= STALL);
        host.beat = Some(now);
        if !host.connected {
            host.lost_at = Some(now);
            host.takeover.handle_bus_lost(now);
        }
        if !late && !host.fenced {
            return;
        }
        let mutant = cfg!(mutant = "stale-after-pause");
        if !mutant {
            self.disconnect_if_connected(index);
        }
        self.hosts[index].takeover.handle_stall(now);
        self.collect(index);
        // It goes on when its kernel has none of them.
        while !mutant && self.execute(index) {}
        self.hosts[index].fenced = false;
    }
}
