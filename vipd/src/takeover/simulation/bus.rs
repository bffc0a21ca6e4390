//! The bus: components of hosts that reach each other, and what each has ordered.

use std::collections::BTreeSet;
use std::fmt;

use super::World;
use crate::takeover::View;

#[derive(Clone, Debug)]
pub(super) enum Delivery {
    View(usize, Vec<String>),
    Transition,
    Message(String, Vec<u8>),
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Delivery::View(id, members) => write!(f, "view {id} of {members:?}"),
            Delivery::Transition => f.write_str("transition"),
            Delivery::Message(sender, data) => write!(f, "{sender}: {}", data.escape_ascii()),
        }
    }
}

/// Hosts that reach each other, and what their bus has ordered.
#[derive(Debug, Default)]
pub(super) struct Component {
    pub(super) log: Vec<Delivery>,
}

impl World {
    /// Orders a view of all who are connected in a component.
    pub(super) fn order_view(&mut self, component: usize) {
        self.views += 1;
        let members = self
            .hosts
            .iter()
            .filter(|host| host.connected && host.component == component);
        let members = members.map(|host| host.session.clone()).collect();
        self.components[component]
            .log
            .push(Delivery::View(self.views, members));
    }

    /// Opens a session, if the host's programs are in a state to.
    pub(super) fn connect(&mut self, host: usize) {
        if self.hosts[host].connected || self.hosts[host].paused {
            return;
        }
        self.sessions += 1;
        let component = self.hosts[host].component;
        let host = &mut self.hosts[host];
        host.session = format!("#vip{}#n", self.sessions);
        host.connected = true;
        host.groupd = true;
        host.lost_at = None;
        host.backlog.clear();
        host.position = self.components[component].log.len();
        self.order_view(component);
    }

    /// The session ends; the others hear of it in their order.
    pub(super) fn disconnect(&mut self, host: usize) {
        self.hosts[host].connected = false;
        self.hosts[host].view = None;
        let component = self.hosts[host].component;
        if self.below(2) == 0 {
            // Only the session has ended.
            self.order_view(component);
            return;
        }
        let all: Vec<usize> = (0..self.hosts.len())
            .filter(|&other| self.hosts[other].component == component)
            .collect();
        self.regroup(&all);
    }

    /// Makes a new component of hosts that may come from several.
    pub(super) fn regroup(&mut self, hosts: &[usize]) {
        self.components.push(Component::default());
        let new = self.components.len() - 1;
        let olds: BTreeSet<usize> = hosts
            .iter()
            .map(|&host| self.hosts[host].component)
            .collect();
        let mut again = Vec::new();
        for old in olds {
            let rest = self.leave_component(old, hosts);
            again.extend(rest);
        }
        for &left in hosts {
            for &right in hosts {
                if self.hosts[left].component != self.hosts[right].component {
                    self.together[left][right] = self.step;
                }
            }
        }
        for &host in hosts {
            self.tell(host, format_args!("in component {new}"));
            self.hosts[host].component = new;
            self.hosts[host].position = 0;
        }
        self.order_view(new);
        self.components[new].log.extend(again);
    }

    /// Hosts go from a component together; gives what its bus has not ordered for all.
    fn leave_component(&mut self, old: usize, hosts: &[usize]) -> Vec<Delivery> {
        let log = self.components[old].log.clone();
        let connected: Vec<usize> = hosts
            .iter()
            .copied()
            .filter(|&host| self.hosts[host].component == old && self.hosts[host].connected)
            .collect();
        let positions = connected.iter().map(|&host| self.hosts[host].position);
        let far = positions.max().unwrap_or(0);
        let cut = far + self.below(log.len() - far + 1);
        let signal = self.below(cut + 1);
        for &host in &connected {
            let host = &mut self.hosts[host];
            let at = signal.max(host.position);
            host.backlog.extend(log[host.position..at].iter().cloned());
            host.backlog.push_back(Delivery::Transition);
            host.backlog.extend(log[at..cut].iter().cloned());
        }
        // A sender keeps what the old ring has not ordered for all.
        let ours = |delivery: &&Delivery| match delivery {
            Delivery::Message(sender, _) => connected
                .iter()
                .any(|&host| self.hosts[host].session == *sender),
            _ => false,
        };
        log[cut..].iter().filter(ours).cloned().collect()
    }

    /// Gives a host what its bus has next; false if there is nothing.
    pub(super) fn deliver(&mut self, index: usize) -> bool {
        let now = self.now(index);
        let host = &mut self.hosts[index];
        if !host.connected || host.paused {
            return false;
        }
        let delivery = match host.backlog.pop_front() {
            Some(delivery) => delivery,
            None => match self.components[host.component].log.get(host.position) {
                Some(delivery) => {
                    host.position += 1;
                    delivery.clone()
                }
                None => return false,
            },
        };
        self.tell(index, format_args!("{delivery}"));
        let host = &mut self.hosts[index];
        match delivery {
            Delivery::View(id, members) => {
                let Some(me) = members.iter().position(|member| *member == host.session) else {
                    return true;
                };
                host.view = Some(id);
                host.transitional = false;
                host.takeover.handle_view(now, View { members, me });
            }
            Delivery::Transition => {
                host.transitional = true;
                host.takeover.handle_transition();
            }
            Delivery::Message(sender, data) => {
                host.takeover.handle_message(now, &sender, &data);
            }
        }
        self.collect(index);
        true
    }

    /// Orders a message in a host's component.
    pub(super) fn order(&mut self, host: usize, sender: String, data: Vec<u8>) {
        let component = self.hosts[host].component;
        let message = Delivery::Message(sender, data);
        self.components[component].log.push(message);
    }
}
