//! The simulated network: what becomes of each datagram.
//!
//! Every ordered pair of hosts is a link with a latency of its own; within a class (each class has
//! a socket) it keeps the order unless a fault says otherwise. Who records the traffic and sends
//! it again later is not bound by cuts.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::faults::{Fault, Tally};
use super::random::Random;
use crate::event::Class;
use crate::node::State;
use crate::time::Time;

/// A host, as its place in the configuration.
pub type Host = usize;

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Sending host.
    pub from: Host,
    /// Receiving host.
    pub to: Host,
    /// Socket that it leaves from and arrives at.
    pub class: Class,
    /// Sent to this host alone, so that its kernel may refuse it.
    pub unicast: bool,
    /// What is in it.
    pub bytes: Bytes,
}

/// Probabilities that hold for every packet, and the shape of the delays.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Mean of what comes on top of the latency of a link, as a share of it.
    pub jitter: f64,
    /// That one copy is lost.
    pub loss: f64,
    /// That all copies of a multicast are lost.
    pub multicast_loss: f64,
    /// That a link begins a burst of losses, which ends with probability a quarter at each packet.
    pub burst: f64,
    /// That a packet arrives twice.
    pub duplicate: f64,
    /// That a packet is held back so that later ones overtake it.
    pub reorder: f64,
    /// Mean of that delay.
    pub reorder_delay: Duration,
    /// That bits are flipped.
    pub corrupt: f64,
    /// That the end is missing.
    pub truncate: f64,
    /// That a recorded packet is sent again.
    pub replay: f64,
}

/// What happens to the packets that an [`Ambush`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// They are lost.
    Drop,
    /// They arrive later by this.
    Delay(Duration),
    /// Each is lost, or arrives when its receiver [is in a formation](Network::release_late).
    Late,
    /// Their sender is killed as soon as they have left.
    KillSender,
    /// They are lost, and their sender is cut off.
    IsolateSender,
    /// They are lost, and who should have got them is cut off.
    IsolateReceiver,
}

/// A fault that knows the protocol: it waits for certain packets and leaves all others alone.
#[derive(Clone, Debug)]
pub struct Ambush {
    /// Of this class.
    pub class: Class,
    /// From a sender in this state, or in any.
    pub state: Option<State>,
    /// From this host, or from any.
    pub from: Option<Host>,
    /// To this host, or to any.
    pub to: Option<Host>,
    /// Lets so many of them pass first.
    pub skip: u32,
    /// Takes so many of them, then it is over.
    pub count: u32,
    /// What it does.
    pub act: Act,
}

impl Ambush {
    /// One packet of this class from anybody in this state to anybody, after so many.
    pub fn once(class: Class, state: State, skip: u32, act: Act) -> Ambush {
        Ambush {
            class,
            state: Some(state),
            from: None,
            to: None,
            skip,
            count: 1,
            act,
        }
    }

    fn waits_for(&self, packet: &Packet, state: State) -> bool {
        self.class == packet.class
            && self.state.is_none_or(|wanted| wanted == state)
            && self.from.is_none_or(|from| from == packet.from)
            && self.to.is_none_or(|to| to == packet.to)
    }
}

#[derive(Clone, Debug, Default)]
struct Link {
    latency: Duration,
    /// Cuts may overlap: the link is alive while none of them lasts.
    cuts: u32,
    cut_by: Option<Fault>,
    /// Loses this share in addition.
    loss: f64,
    /// Loses all that is longer than [`NARROW_BYTES`].
    narrow: bool,
    bursting: bool,
    clogs: u32,
    held: VecDeque<Packet>,
    last_arrival: [Time; 2],
}

// Bound: what a clogged link holds; more is lost. What the recorder keeps; older is forgotten.
const HELD_PACKETS_MAX: usize = 2000;
const RECORDED_PACKETS_MAX: usize = 256;

/// What passes a narrow link: a token and what membership says, but not a full packet of data.
const NARROW_BYTES: usize = 500;

/// The network between all hosts.
#[derive(Debug)]
pub struct Network {
    random: Random,
    hosts: usize,
    links: Vec<Link>,
    conditions: Conditions,
    ambushes: Vec<Ambush>,
    recorded: Vec<Packet>,
    // Bound: the count of the ambushes.
    late: Vec<Packet>,
    /// How often each fault took effect.
    pub tally: Tally,
}

/// What became of a packet, beside the arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing else.
    Sent,
    /// Its sender is to be killed.
    KillSender,
    /// This host is to be cut off.
    Isolate(Host),
}

impl Network {
    /// A whole network; the latency of each link is drawn once from `latency`, both ends included.
    pub fn new(mut random: Random, hosts: usize, latency: (Duration, Duration)) -> Network {
        let mut links = vec![Link::default(); hosts * hosts];
        for link in &mut links {
            link.latency = random.span(latency.0, latency.1);
        }
        Network {
            random,
            hosts,
            links,
            conditions: Conditions::default(),
            ambushes: Vec::new(),
            recorded: Vec::new(),
            late: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn link(&mut self, from: Host, to: Host) -> &mut Link {
        &mut self.links[from * self.hosts + to]
    }

    /// From now on these probabilities hold.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// The link loses this share of its packets in addition.
    pub fn set_loss(&mut self, from: Host, to: Host, loss: f64) {
        self.link(from, to).loss = loss;
    }

    /// The link loses large packets, or no longer.
    pub fn set_narrow(&mut self, from: Host, to: Host, narrow: bool) {
        self.link(from, to).narrow = narrow;
    }

    /// Cuts a link in one direction.
    pub fn cut(&mut self, from: Host, to: Host, fault: Fault) {
        let link = self.link(from, to);
        link.cuts += 1;
        link.cut_by = Some(fault);
    }

    /// Ends one cut of a link.
    pub fn join(&mut self, from: Host, to: Host) {
        let link = self.link(from, to);
        link.cuts = link.cuts.saturating_sub(1);
    }

    /// The link holds back what is sent on it.
    pub fn clog(&mut self, from: Host, to: Host) {
        self.link(from, to).clogs += 1;
    }

    /// Ends one clog; with the last one, everything held back arrives at once.
    pub fn unclog(&mut self, now: Time, from: Host, to: Host, arrivals: &mut Vec<(Time, Packet)>) {
        let link = self.link(from, to);
        link.clogs = link.clogs.saturating_sub(1);
        if link.clogs == 0 {
            arrivals.extend(link.held.drain(..).map(|packet| (now, packet)));
        }
    }

    /// Lies in wait.
    pub fn add_ambush(&mut self, ambush: Ambush) {
        self.ambushes.push(ambush);
    }

    /// A host is in a formation: what was kept back for that arrives now or a little later.
    pub fn release_late(&mut self, now: Time, to: Host, arrivals: &mut Vec<(Time, Packet)>) {
        for packet in self.late.extract_if(.., |packet| packet.to == to) {
            let delay = self.random.exponential(Duration::from_millis(1));
            arrivals.push((now + delay, packet));
        }
    }

    /// Ends all faults but those that `conditions` describe; held packets arrive now.
    pub fn heal(&mut self, now: Time, conditions: Conditions, arrivals: &mut Vec<(Time, Packet)>) {
        self.conditions = conditions;
        self.ambushes.clear();
        self.late.clear();
        for link in &mut self.links {
            link.cuts = 0;
            link.loss = 0.0;
            link.narrow = false;
            link.bursting = false;
            link.clogs = 0;
            // A host that was busy has sent in its own future: that holds up nothing any more.
            link.last_arrival = link.last_arrival.map(|at| at.min(now));
            arrivals.extend(link.held.drain(..).map(|packet| (now, packet)));
        }
    }

    /// Whether a multicast is lost for everybody.
    pub fn loses_multicast(&mut self) -> bool {
        let lost = self.random.chance(self.conditions.multicast_loss);
        if lost {
            self.tally.count(Fault::MulticastLoss);
        }
        lost
    }

    /// Sends a datagram at `now` from a process in `state`.
    pub fn send(
        &mut self,
        now: Time,
        packet: Packet,
        state: State,
        arrivals: &mut Vec<(Time, Packet)>,
    ) -> Outcome {
        self.record(&packet);
        self.replay(now, arrivals);
        let mut delay = Duration::ZERO;
        let mut outcome = Outcome::Sent;
        match self.spring_ambush(&packet, state) {
            Some(Act::Drop) => {
                self.tally.count(Fault::TargetedLoss);
                return outcome;
            }
            Some(Act::Delay(by)) => {
                self.tally.count(Fault::TargetedDelay);
                delay = by;
            }
            Some(Act::Late) => {
                let lost = self.random.chance(0.5);
                self.tally.count(if lost {
                    Fault::TargetedLoss
                } else {
                    Fault::TargetedDelay
                });
                if !lost {
                    self.late.push(packet);
                }
                return outcome;
            }
            Some(Act::IsolateSender) => return Outcome::Isolate(packet.from),
            Some(Act::IsolateReceiver) => return Outcome::Isolate(packet.to),
            Some(Act::KillSender) => outcome = Outcome::KillSender,
            None => {}
        }
        if let Some(fault) = self.loses(&packet) {
            self.tally.count(fault);
            return outcome;
        }
        let Some(packet) = self.hold(packet) else {
            return outcome;
        };
        let packet = self.damage(packet);
        if self.random.chance(self.conditions.duplicate) {
            self.tally.count(Fault::Duplicate);
            let again =
                self.arrival(now, &packet) + self.random.exponential(Duration::from_millis(1));
            arrivals.push((again, packet.clone()));
        }
        let at = if delay > Duration::ZERO {
            now + delay
        } else {
            self.arrival(now, &packet)
        };
        arrivals.push((at, packet));
        outcome
    }

    fn spring_ambush(&mut self, packet: &Packet, state: State) -> Option<Act> {
        let index = self
            .ambushes
            .iter()
            .position(|ambush| ambush.waits_for(packet, state))?;
        let ambush = &mut self.ambushes[index];
        if ambush.skip > 0 {
            ambush.skip -= 1;
            return None;
        }
        let act = ambush.act;
        ambush.count -= 1;
        if ambush.count == 0 {
            self.ambushes.remove(index);
        }
        Some(act)
    }

    fn loses(&mut self, packet: &Packet) -> Option<Fault> {
        let burst = self.conditions.burst;
        let loss = self.conditions.loss;
        let link = &mut self.links[packet.from * self.hosts + packet.to];
        if link.cuts > 0 {
            return link.cut_by;
        }
        if link.narrow && packet.bytes.len() > NARROW_BYTES {
            return Some(Fault::SizeLoss);
        }
        link.bursting = if link.bursting {
            !self.random.chance(0.25)
        } else {
            self.random.chance(burst)
        };
        if link.bursting {
            return Some(Fault::BurstLoss);
        }
        let lost = self.random.chance(loss) || self.random.chance(link.loss);
        lost.then_some(Fault::Loss)
    }

    /// Holds a packet on a clogged link; otherwise it is given back.
    fn hold(&mut self, packet: Packet) -> Option<Packet> {
        let link = &mut self.links[packet.from * self.hosts + packet.to];
        if link.clogs == 0 {
            return Some(packet);
        }
        self.tally.count(Fault::Clog);
        if link.held.len() < HELD_PACKETS_MAX {
            link.held.push_back(packet);
        }
        None
    }

    fn damage(&mut self, mut packet: Packet) -> Packet {
        if packet.bytes.is_empty() {
            return packet;
        }
        if self.random.chance(self.conditions.corrupt) {
            self.tally.count(Fault::Corrupt);
            let mut bytes = packet.bytes.to_vec();
            for _ in 0..self.random.between(1, 3) {
                let at = self.random.index(bytes.len());
                bytes[at] ^= 1 << self.random.below(8);
            }
            packet.bytes = bytes.into();
        }
        if self.random.chance(self.conditions.truncate) {
            self.tally.count(Fault::Truncate);
            let length = self.random.index(packet.bytes.len());
            packet.bytes.truncate(length);
        }
        packet
    }

    fn arrival(&mut self, now: Time, packet: &Packet) -> Time {
        let link = &mut self.links[packet.from * self.hosts + packet.to];
        let jitter = self
            .random
            .exponential(link.latency.mul_f64(self.conditions.jitter));
        let at = now + link.latency + jitter;
        if self.random.chance(self.conditions.reorder) {
            self.tally.count(Fault::Reorder);
            return at + self.random.exponential(self.conditions.reorder_delay);
        }
        let last = &mut link.last_arrival[usize::from(packet.class == Class::Data)];
        *last = at.max(*last);
        *last
    }

    fn record(&mut self, packet: &Packet) {
        if self.conditions.replay == 0.0 {
            return;
        }
        if self.recorded.len() < RECORDED_PACKETS_MAX {
            self.recorded.push(packet.clone());
        } else if self.random.chance(if packet.class == Class::Control {
            0.2
        } else {
            0.02
        }) {
            let at = self.random.index(RECORDED_PACKETS_MAX);
            self.recorded[at] = packet.clone();
        }
    }

    /// Sends a recorded packet again, to whom it was meant for or to somebody else.
    fn replay(&mut self, now: Time, arrivals: &mut Vec<(Time, Packet)>) {
        if self.recorded.is_empty() || !self.random.chance(self.conditions.replay) {
            return;
        }
        self.tally.count(Fault::Replay);
        let mut packet = self.random.pick(&self.recorded).clone();
        if self.random.chance(0.1) {
            packet.to = self.random.index(self.hosts);
        }
        arrivals.push((
            now + self.random.exponential(Duration::from_millis(2)),
            packet,
        ));
    }
}
