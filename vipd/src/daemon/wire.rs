//! The wire: asking who has an address, hearing who claims one, and announcing ours.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::{Duration, Instant};

use unixproc::log;
use vipd::frames::{self, Mac};
use vipd::kernel::{Kind, Wire};
use vipd::neighbours::{self, Neighbours};

use super::{Daemon, REPORT_INTERVAL};

/// An address is asked for three times in 30 ms.
const QUESTIONS: u32 = 3;
const QUESTION_INTERVAL: Duration = Duration::from_millis(10);

/// Bound: addresses that are being asked for at a time, unless one set has more. As many answers fit
/// into a receive buffer of 208 KiB, the least that a kernel gives as a rule.
const ASKED_MAX: usize = 128;

/// Bound: frames that are heard in a round: more than a receive buffer holds, so behind them whatever
/// had come before the round has been heard.
const HEARD_MAX: usize = 8192;

/// Those that are told by unicast are told this often, a few at a time.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(20);

/// Bound: frames to neighbours in a round; whoever has no throttle of his own.
const NOTIFY_ROUND_MAX: usize = 50;

/// Bound: frames to neighbours that wait.
const NOTIFY_MAX: usize = 100_000;

/// A claim by somebody else that was not repeated for so long is over.
const CLAIM_LASTS: Duration = Duration::from_secs(150);

/// The packet sockets, and what is heard and to be said there.
#[derive(Debug)]
pub(super) struct Wires {
    arp: Wire,
    advertisements: Wire,
    probes: BTreeMap<usize, Probe>,
    /// Since when sets wait that were not looked at yet.
    waiting_at: Option<Instant>,
    /// Who was last heard to have an address of ours: the old holder, to be asked directly.
    macs: BTreeMap<IpAddr, Mac>,
    /// Who else has claimed what is held here, and when last.
    pub(super) foreign: BTreeMap<usize, (IpAddr, Mac, Instant)>,
    /// Who answers for a set that this host would take.
    pub(super) answering: BTreeMap<usize, Mac>,
    pub(super) foreign_claims: u64,
    foreign_throttle: log::Throttle,
    neighbours: Neighbours,
    share_at: Instant,
    /// Neighbours to be told: set, when at the earliest, and whom.
    notices: VecDeque<(usize, Instant, Ipv4Addr, Mac)>,
    notify_at: Option<Instant>,
}

/// A set that the wire is being asked for.
#[derive(Debug)]
struct Probe {
    /// How often; 0 while others come first.
    asked: u32,
    next_at: Instant,
}

impl Probe {
    fn is_under_way(&self) -> bool {
        self.asked > 0
    }
}

impl Wires {
    pub(super) fn open() -> io::Result<Wires> {
        Ok(Wires {
            arp: Wire::open(Kind::Arp)?,
            advertisements: Wire::open(Kind::Advertisement)?,
            probes: BTreeMap::new(),
            waiting_at: None,
            macs: BTreeMap::new(),
            foreign: BTreeMap::new(),
            answering: BTreeMap::new(),
            foreign_claims: 0,
            foreign_throttle: log::Throttle::new(REPORT_INTERVAL),
            neighbours: Neighbours::default(),
            share_at: Instant::now(),
            notices: VecDeque::new(),
            notify_at: None,
        })
    }

    pub(super) fn descriptors(&self) -> [RawFd; 2] {
        [self.arp.as_raw_fd(), self.advertisements.as_raw_fd()]
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let under_way = self.probes.values().filter(|probe| probe.is_under_way());
        let probe = under_way.map(|probe| probe.next_at).min();
        [probe, self.waiting_at, self.notify_at, Some(self.share_at)]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn take_neighbours(&mut self, data: &[u8], now: Instant) {
        if !self.neighbours.take(data, now) {
            log::info("bad-neighbours", &[("bytes", &data.len())]);
        }
    }

    /// Sets have other numbers now.
    pub(super) fn forget_sets(&mut self) {
        self.probes.clear();
        self.foreign.clear();
        self.answering.clear();
        self.notices.clear();
    }

    /// The set is not here any more: nobody is told of it.
    pub(super) fn end_notify(&mut self, set: usize) {
        self.notices.retain(|(of, ..)| *of != set);
        self.foreign.remove(&set);
    }

    fn send(&self, interface: u32, frame: &[u8]) {
        // A frame that is not sent is sent again with the next round of its schedule.
        if let Err(error) = self.arp.send(interface, frame) {
            let fields: log::Fields = &[("interface", &interface), ("error", &error)];
            log::info("frame-not-sent", fields);
        }
    }

    /// Whether answers may have been lost since the last call.
    fn has_lost_frames(&self) -> bool {
        self.arp.dropped().max(self.advertisements.dropped()) > 0
    }

    fn receive(&mut self) -> Option<(IpAddr, Mac)> {
        loop {
            let frame = match self.arp.receive() {
                Some(frame) => frame,
                None => self.advertisements.receive()?,
            };
            if let Some(claim) = frames::claim(frame) {
                return Some(claim);
            }
        }
    }
}

impl Daemon {
    /// Begins to ask the wire for a set, as soon as others have been asked for.
    pub(super) fn probe(&mut self, set: usize, now: Instant) {
        let probe = Probe {
            asked: 0,
            next_at: now,
        };
        self.wires.probes.insert(set, probe);
        self.wires.waiting_at = Some(now);
    }

    /// Hears who answers, and asks again where it is time; whoever has not answered by the last time
    /// does not. Silence says something only when all that had come is heard, and nothing was lost.
    pub(super) fn ask_wire(&mut self, now: Instant) {
        self.read_wire(now);
        // They are looked at below, unless somebody has answered for all of them by now.
        self.wires.waiting_at = None;
        if self.wires.probes.is_empty() {
            return;
        }
        if self.wires.has_lost_frames() {
            log::info("answers-lost", &[("asked", &self.wires.probes.len())]);
            // Nor is it known who has announced what.
            self.wires.macs.clear();
            for probe in self.wires.probes.values_mut() {
                probe.asked = 0;
            }
        }
        let probes = self.wires.probes.iter();
        let due = probes.filter(|(_, probe)| probe.is_under_way() && probe.next_at <= now);
        for (set, asked) in due
            .map(|(&set, probe)| (set, probe.asked))
            .collect::<Vec<_>>()
        {
            if asked == QUESTIONS {
                self.wires.probes.remove(&set);
                self.wires.answering.remove(&set);
                self.takeover.handle_probed(now, set, false);
            } else {
                self.ask(set, asked + 1);
            }
        }
        self.ask_waiting();
    }

    /// Asks for sets that wait, as long as the answers have room.
    fn ask_waiting(&mut self) {
        let length = |set: &usize| self.config.sets[*set].addresses.len();
        let probes = self.wires.probes.iter();
        let under_way = probes.clone().filter(|(_, probe)| probe.is_under_way());
        let mut asked: usize = under_way.map(|(set, _)| length(set)).sum();
        let mut sets = Vec::new();
        for (set, _) in probes.filter(|(_, probe)| !probe.is_under_way()) {
            if asked > 0 && asked + length(set) > ASKED_MAX {
                break;
            }
            asked += length(set);
            sets.push(*set);
        }
        for set in sets {
            self.ask(set, 1);
        }
    }

    /// Asks who has the addresses of a set, for the nth time: whoever was heard to have it, and the
    /// last time everybody, as it may have gone on without having been heard, or never have been there.
    fn ask(&mut self, set: usize, asked: u32) {
        for at in &self.config.sets[set].addresses {
            let link = self.links.get(&at.interface);
            if let Some((link, mac)) = link.and_then(|link| Some((link, link.mac?))) {
                let holder = self.wires.macs.get(&at.address).copied();
                let holder = holder.filter(|_| asked < QUESTIONS);
                let question = frames::question(at.address, mac, holder);
                self.wires.send(link.index, &question);
            }
        }
        // The time for an answer begins when the question is out, however long the round takes.
        let next_at = Instant::now() + QUESTION_INTERVAL;
        self.wires.probes.insert(set, Probe { asked, next_at });
    }

    /// Hears who claims our addresses.
    fn read_wire(&mut self, now: Instant) {
        for _ in 0..HEARD_MAX {
            let Some((address, mac)) = self.wires.receive() else {
                return;
            };
            let Some(&set) = self.sets.get(&address) else {
                continue;
            };
            if self.links.values().any(|link| link.mac == Some(mac)) {
                continue;
            }
            self.wires.macs.insert(address, mac);
            if self.wires.probes.remove(&set).is_some() {
                self.wires.answering.insert(set, mac);
                self.takeover.handle_probed(now, set, true);
            } else if self.takeover.is_held(set) {
                self.report_claim(set, address, mac, now);
            }
        }
    }

    fn report_claim(&mut self, set: usize, address: IpAddr, mac: Mac, now: Instant) {
        self.wires.foreign_claims += 1;
        let known = self.wires.foreign.insert(set, (address, mac, now));
        let mac = mac_text(mac);
        if known.is_none() {
            let cause = format!("{address} is claimed by {mac}");
            self.note("foreign-claim", Some(set), None, &cause);
        }
        if let Some(repeated) = self.wires.foreign_throttle.admit(now) {
            let fields: log::Fields = &[
                ("address", &address),
                ("mac", &mac),
                ("repeated", &repeated),
            ];
            log::warning("foreign-claim", fields);
        }
    }

    /// Sends the announcements that are due.
    pub(super) fn announce_due(&mut self, now: Instant) {
        let due = self.schedule.take_due(now);
        if !due.is_empty() && self.ward.is_fenced() {
            // The others have them now, and say so themselves.
            return;
        }
        for set in due {
            for at in &self.config.sets[set].addresses {
                let link = self.links.get(&at.interface);
                if let Some((link, mac)) = link.and_then(|link| Some((link, link.mac?))) {
                    let router = at.address.is_ipv6() && is_router(&at.interface);
                    for frame in frames::announcements(at.address, mac, router) {
                        self.wires.send(link.index, &frame);
                    }
                }
            }
        }
    }

    /// Begins to tell the neighbours of the Notify list, by unicast: broadcasts have told all that
    /// heed them.
    pub(super) fn begin_notify(&mut self, set: usize, now: Instant) {
        let notify = &self.config.notify;
        if !notify.arp_cache && notify.recipients.is_empty() {
            return;
        }
        self.wires.notices.retain(|(of, ..)| *of != set);
        let interfaces: Vec<String> = self.config.sets[set]
            .addresses
            .iter()
            .map(|at| at.interface.clone())
            .collect();
        let mut told = vec![0; notify.recipients.len()];
        for interface in interfaces {
            for (address, mac) in self.wires.neighbours.behind(&interface) {
                let of = notify.recipients.iter().position(|to| {
                    to.network.interface == interface && to.contains(address.into())
                });
                let throttle = of.and_then(|of| notify.recipients[of].throttle);
                let after = match (of, throttle) {
                    (Some(of), Some(rate)) => {
                        told[of] += 1;
                        Duration::from_secs((told[of] - 1) / u64::from(rate))
                    }
                    (Some(_), None) => Duration::ZERO,
                    (None, _) if notify.arp_cache => Duration::ZERO,
                    (None, _) => continue,
                };
                if self.wires.notices.len() < NOTIFY_MAX {
                    self.wires
                        .notices
                        .push_back((set, now + after, address, mac));
                }
            }
        }
        self.wires.notify_at = (!self.wires.notices.is_empty()).then_some(now);
    }

    /// Tells a few neighbours, and the group which ones there are.
    pub(super) fn notify_due(&mut self, now: Instant) {
        if self.wires.share_at <= now {
            self.wires.share_at = now + self.config.arp_cache;
            self.wires.neighbours.expire(now, self.config.arp_cache * 3);
            self.share_neighbours();
        }
        if self.wires.notify_at.is_none_or(|at| at > now) || self.ward.is_fenced() {
            return;
        }
        for _ in 0..NOTIFY_ROUND_MAX.min(self.wires.notices.len()) {
            match self.wires.notices.pop_front() {
                Some((set, at, address, mac)) if at <= now => self.notify_one(set, address, mac),
                Some(later) => self.wires.notices.push_back(later),
                None => break,
            }
        }
        self.wires.notify_at = (!self.wires.notices.is_empty()).then_some(now + NOTIFY_INTERVAL);
    }

    fn notify_one(&self, set: usize, neighbour: Ipv4Addr, to: Mac) {
        for at in &self.config.sets[set].addresses {
            let link = self.links.get(&at.interface);
            let IpAddr::V4(address) = at.address else {
                continue;
            };
            if let Some((link, mac)) = link.and_then(|link| Some((link, link.mac?))) {
                self.wires
                    .send(link.index, &frames::notification(address, mac, to));
                if self.config.notify.ping {
                    self.wires
                        .send(link.index, &frames::ping(address, mac, to, neighbour));
                }
            }
        }
    }

    /// Tells the other members which neighbours this kernel knows.
    pub(super) fn share_neighbours(&mut self) {
        let notify = &self.config.notify;
        if !notify.arp_cache && notify.recipients.is_empty() {
            return;
        }
        let table = match std::fs::read_to_string("/proc/net/arp") {
            Ok(table) => table,
            Err(error) => {
                log::info("neighbours-unknown", &[("error", &error)]);
                return;
            }
        };
        let interfaces: Vec<&str> = self.links.keys().map(String::as_str).collect();
        if let Some(message) = neighbours::message(&table, &interfaces)
            && !self
                .bus
                .send_to(self.config.group, neighbours::MESSAGE_TYPE, &message)
        {
            self.takeover.handle_bus_lost(Instant::now());
        }
    }

    /// Claims that are over are forgotten.
    pub(super) fn forget_claims(&mut self, now: Instant) {
        self.wires
            .foreign
            .retain(|_, (_, _, heard)| now.duration_since(*heard) < CLAIM_LASTS);
    }
}

pub(super) fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Whether this host forwards IPv6 on the interface: its advertisements must say so.
fn is_router(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() != "0")
}
