//! A bus with extended virtual synchrony, as unkind as it may be.
//!
//! Every process has a daemon of its own. Daemons that are connected form a component, which has
//! one order of messages; each daemon delivers a prefix of it at its own pace. When a component is
//! cut, each part first delivers on to a common point, then the transitional signal, then whatever
//! of the rest it happens to have, which other parts may not, then the next membership.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::super::{SessionName, ViewId};
use super::Random;

/// What a session receives.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Data {
        sender: SessionName,
        hint: u16,
        data: Bytes,
    },
    Control {
        sender: SessionName,
        data: Bytes,
    },
    Private {
        sender: SessionName,
        data: Bytes,
    },
    Transition,
    Membership {
        view: ViewId,
        members: Vec<SessionName>,
        network: bool,
    },
}

/// What is ordered: an item, and for whom.
#[derive(Clone, Debug)]
struct Ordered {
    item: Item,
    sender: usize,
    /// None for all members.
    to: Option<usize>,
}

#[derive(Debug, Default)]
struct Component {
    processes: BTreeSet<usize>,
    /// Sessions in the control group, at the end of the order.
    members: BTreeMap<usize, SessionName>,
    order: Vec<Ordered>,
    /// How much of it each daemon has delivered.
    delivered: BTreeMap<usize, usize>,
}

/// All daemons.
#[derive(Debug)]
pub(super) struct Bus {
    components: Vec<Component>,
    /// What processes have sent and no daemon has ordered.
    outboxes: BTreeMap<usize, VecDeque<Outgoing>>,
    /// What daemons have delivered and processes have not read.
    inboxes: BTreeMap<usize, VecDeque<Item>>,
    next_view: u64,
}

#[derive(Debug)]
pub(super) enum Outgoing {
    Join(SessionName),
    Data { hint: u16, data: Bytes },
    Control(Bytes),
    Private { to: SessionName, data: Bytes },
}

impl Bus {
    /// All connected, nobody in the group.
    pub(super) fn new(processes: usize) -> Bus {
        let all: BTreeSet<usize> = (0..processes).collect();
        Bus {
            components: vec![Component {
                delivered: all.iter().map(|&process| (process, 0)).collect(),
                processes: all.clone(),
                ..Component::default()
            }],
            outboxes: all
                .iter()
                .map(|&process| (process, VecDeque::new()))
                .collect(),
            inboxes: all
                .iter()
                .map(|&process| (process, VecDeque::new()))
                .collect(),
            next_view: 1,
        }
    }

    fn new_view(&mut self) -> ViewId {
        let mut view = [0; 12];
        view[4..].copy_from_slice(&self.next_view.to_be_bytes());
        self.next_view += 1;
        ViewId(view)
    }

    pub(super) fn send(&mut self, process: usize, outgoing: Outgoing) {
        if let Some(outbox) = self.outboxes.get_mut(&process) {
            outbox.push_back(outgoing);
        }
    }

    pub(super) fn receive(&mut self, process: usize) -> Option<Item> {
        self.inboxes.get_mut(&process)?.pop_front()
    }

    pub(super) fn has_mail(&self, process: usize) -> bool {
        self.inboxes
            .get(&process)
            .is_some_and(|inbox| !inbox.is_empty())
    }

    /// The session of a process ends: what it had sent may still be ordered in part.
    pub(super) fn disconnect(&mut self, process: usize, random: &mut Random) {
        let keep = random.index(self.outboxes[&process].len() + 1);
        for _ in 0..keep {
            self.order_one(process);
        }
        self.outboxes.entry(process).or_default().clear();
        self.inboxes.entry(process).or_default().clear();
        let index = self.component_of(process);
        if self.components[index].members.remove(&process).is_some() {
            self.order_membership(index, process);
        }
        // Nothing of the old session's is delivered to the next one.
        let component = &mut self.components[index];
        component.delivered.insert(process, component.order.len());
    }

    fn order_membership(&mut self, index: usize, sender: usize) {
        let view = self.new_view();
        let component = &mut self.components[index];
        let item = Item::Membership {
            view,
            members: component.members.values().cloned().collect(),
            network: false,
        };
        component.order.push(Ordered {
            item,
            sender,
            to: None,
        });
    }

    fn component_of(&self, process: usize) -> usize {
        let found = self
            .components
            .iter()
            .position(|component| component.processes.contains(&process));
        found.expect("every process is in a component")
    }

    /// Lets a daemon order or deliver something; gives whether anything was left to do.
    pub(super) fn step(&mut self, random: &mut Random) -> bool {
        let senders: Vec<usize> = self
            .outboxes
            .keys()
            .copied()
            .filter(|process| !self.outboxes[process].is_empty())
            .collect();
        let behind: Vec<(usize, usize)> = self
            .components
            .iter()
            .enumerate()
            .flat_map(|(index, component)| {
                let length = component.order.len();
                let delivered = component.delivered.iter();
                delivered
                    .filter(move |(_, at)| **at < length)
                    .map(move |(&process, _)| (index, process))
            })
            .collect();
        let choice = random.index(senders.len() + behind.len());
        if choice < senders.len() {
            self.order_one(senders[choice]);
        } else if let Some(&(index, process)) = behind.get(choice - senders.len()) {
            self.deliver_one(index, process);
        } else {
            return false;
        }
        true
    }

    fn order_one(&mut self, process: usize) {
        let Some(outgoing) = self
            .outboxes
            .get_mut(&process)
            .and_then(VecDeque::pop_front)
        else {
            return;
        };
        let index = self.component_of(process);
        if let Outgoing::Join(session) = outgoing {
            let component = &mut self.components[index];
            component.members.insert(process, session);
            // What was ordered before is not for it.
            component.delivered.insert(process, component.order.len());
            return self.order_membership(index, process);
        }
        let component = &mut self.components[index];
        let Some(sender) = component.members.get(&process).cloned() else {
            return;
        };
        let (item, to) = match outgoing {
            Outgoing::Data { hint, data } => (Item::Data { sender, hint, data }, None),
            Outgoing::Control(data) => (Item::Control { sender, data }, None),
            Outgoing::Private { to, data } => {
                let found = component.members.iter().find(|(_, name)| **name == to);
                let Some((&to, _)) = found else { return };
                (Item::Private { sender, data }, Some(to))
            }
            Outgoing::Join(_) => return,
        };
        component.order.push(Ordered {
            item,
            sender: process,
            to,
        });
    }

    fn deliver_one(&mut self, index: usize, process: usize) {
        let component = &mut self.components[index];
        let at = component.delivered.entry(process).or_insert(0);
        let ordered = component.order[*at].clone();
        *at += 1;
        self.deliver(process, &ordered);
    }

    /// Hands an item to a process that is in the group, or comes into it by this item.
    fn deliver(&mut self, process: usize, ordered: &Ordered) {
        let index = self.component_of(process);
        let member = self.components[index].members.contains_key(&process);
        if member && ordered.to.is_none_or(|to| to == process) {
            self.inboxes
                .entry(process)
                .or_default()
                .push_back(ordered.item.clone());
        }
    }

    /// Makes new components of all daemons.
    pub(super) fn rearrange(&mut self, parts: Vec<BTreeSet<usize>>, random: &mut Random) {
        let old = std::mem::take(&mut self.components);
        self.components = parts
            .iter()
            .map(|part| Component {
                processes: part.clone(),
                members: old
                    .iter()
                    .flat_map(|component| component.members.clone())
                    .filter(|(process, _)| part.contains(process))
                    .collect(),
                order: Vec::new(),
                delivered: part.iter().map(|&process| (process, 0)).collect(),
            })
            .collect();
        for component in &old {
            for part in &parts {
                let together: Vec<usize> =
                    component.processes.intersection(part).copied().collect();
                self.finish(component, &together, random);
            }
        }
        for index in 0..self.components.len() {
            let view = self.new_view();
            let component = &self.components[index];
            let item = Item::Membership {
                view,
                members: component.members.values().cloned().collect(),
                network: true,
            };
            let processes = component.processes.clone();
            for process in processes {
                let ordered = Ordered {
                    item: item.clone(),
                    sender: process,
                    to: None,
                };
                self.deliver(process, &ordered);
            }
        }
    }

    /// The end of a component for those who stay together.
    fn finish(&mut self, component: &Component, together: &[usize], random: &mut Random) {
        let length = component.order.len();
        let reached = together
            .iter()
            .map(|process| component.delivered[process])
            .max();
        let Some(reached) = reached else { return };
        let common = random.between(reached as u64, length as u64) as usize;
        let rest: Vec<&Ordered> = component.order[common..]
            .iter()
            .filter(|ordered| together.contains(&ordered.sender) || random.one_in(2))
            // A membership is no message: those who did not get to it get the next one.
            .filter(|ordered| !matches!(ordered.item, Item::Membership { .. }))
            .collect();
        for &process in together {
            for ordered in &component.order[component.delivered[&process]..common] {
                self.deliver(process, ordered);
            }
            let transition = Ordered {
                item: Item::Transition,
                sender: process,
                to: None,
            };
            self.deliver(process, &transition);
            for ordered in &rest {
                self.deliver(process, ordered);
            }
        }
    }
}
