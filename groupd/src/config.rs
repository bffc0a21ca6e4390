//! What groupd is told: the model of spread.conf, what follows from it, and which daemon this is.
//!
//! The text is read in `config/file.rs`.

mod file;
mod segment;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use conf::{Errors, Word};
use group::Address;
use totem::config::{FailureDetection, MemberConfig, Timers};
use totem::view::MemberId;

use crate::ports::{Cast, Layout};
use crate::{key, listen};

pub(crate) use file::parse;

/// Where the configuration is if the command line does not say.
pub(crate) const DEFAULT_PATH: &str = "/etc/covey/spread.conf";
/// Spread's port.
const DEFAULT_PORT: u16 = 4803;

/// Everything that the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// In the order of the file.
    pub(crate) segments: Vec<Segment>,
    /// In the order of the file, which is the order of the ring and of member lists.
    pub(crate) daemons: Vec<Daemon>,
    pub(crate) settings: Settings,
}

/// A broadcast domain: its daemons hear one multicast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// A multicast or broadcast address, or one of the loopback's.
    pub(crate) address: Ipv4Addr,
    /// UDP port of ordered messages, and TCP port of `C` interfaces; the token's is the next one.
    pub(crate) port: u16,
}

/// A daemon of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Daemon {
    pub(crate) name: String,
    /// Its identity.
    pub(crate) address: Ipv4Addr,
    /// Index of its segment.
    pub(crate) segment: usize,
    /// Its interface stanza; empty if it has none.
    pub(crate) interfaces: Vec<Interface>,
}

/// What one address of a daemon is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) address: Ipv4Addr,
    /// `D`: traffic between daemons.
    pub(crate) daemons: bool,
    /// `C`: clients, by TCP.
    pub(crate) clients: bool,
}

/// Directives, or their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) failure_detection: FailureDetection,
    /// Spread's own timeouts, if the file has them.
    pub(crate) timeouts: Option<Timeouts>,
    /// The path of the key's file.
    pub(crate) key: Option<Word>,
    /// Whether to listen at `/tmp/<port>` too.
    pub(crate) spread_socket: bool,
    pub(crate) socket: Option<Address>,
    pub(crate) socket_mode: Option<u32>,
    pub(crate) socket_group: Option<Word>,
    pub(crate) listen_tcp: Vec<SocketAddrV4>,
    /// Output that may wait for one session.
    pub(crate) session_queue_bytes: usize,
    /// Output that may wait for all sessions together.
    pub(crate) queue_bytes: usize,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) datagram_bytes: usize,
    /// Whether UDP_SEGMENT and UDP_GRO are used where the kernel has them.
    pub(crate) offload: bool,
    /// Directives that mean nothing to groupd: file, line, and why, for the log.
    pub(crate) ignored: Vec<String>,
}

/// Spread's nine timeouts, in their order in the manual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) token: Duration,
    pub(crate) hurry: Duration,
    pub(crate) alive: Duration,
    pub(crate) join: Duration,
    pub(crate) rep: Duration,
    pub(crate) seg: Duration,
    pub(crate) gather: Duration,
    pub(crate) form: Duration,
    pub(crate) lookup: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            failure_detection: FailureDetection::default(),
            timeouts: None,
            key: None,
            spread_socket: true,
            socket: None,
            socket_mode: None,
            socket_group: None,
            listen_tcp: Vec::new(),
            session_queue_bytes: 16 << 20,
            queue_bytes: 256 << 20,
            state_dir: None,
            datagram_bytes: 1472,
            offload: true,
            ignored: Vec::new(),
        }
    }
}

impl Daemon {
    /// The daemon's identity on the ring.
    pub(crate) fn id(&self) -> MemberId {
        MemberId(self.address.into())
    }

    /// Where other daemons send to: its first `D` interface, or its own address.
    fn ring_address(&self) -> Ipv4Addr {
        let stanza = self.interfaces.iter().find(|interface| interface.daemons);
        stanza.map_or(self.address, |interface| interface.address)
    }
}

impl Config {
    /// One machine on its own: a daemon called `localhost` on the loopback.
    pub(crate) fn built_in() -> Config {
        Config {
            segments: vec![Segment {
                address: Ipv4Addr::new(127, 0, 0, 255),
                port: DEFAULT_PORT,
            }],
            daemons: vec![Daemon {
                name: "localhost".to_owned(),
                address: Ipv4Addr::LOCALHOST,
                segment: 0,
                interfaces: Vec::new(),
            }],
            settings: Settings {
                spread_socket: false,
                ..Settings::default()
            },
        }
    }

    /// Checks that what the file, called `name`, says of this machine is there: the key, and the
    /// group of the sockets.
    pub(crate) fn check_machine(&self, name: &str) -> Result<(), Errors> {
        let mut errors = Vec::new();
        match &self.settings.key {
            Some(word) => {
                let key = key::required(word.text.as_ref());
                errors.extend(key.err().map(|error| word.error(format!("{error:#}"))));
            }
            // That it cannot be read is the affair of who starts the daemon.
            None => match key::read(key::DEFAULT_PATH.as_ref()) {
                Err(error) if !key::is_denied(&error) => {
                    errors.push(conf::Error::new(0, format!("{error:#}")));
                }
                Ok(_) | Err(_) => {}
            },
        }
        if let Some(word) = &self.settings.socket_group
            && let Err(error) = listen::group_id(&word.text)
        {
            errors.push(word.error(format!("{error:#}")));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Errors::new(name, errors))
        }
    }

    /// Which daemon this process is: the one called `name`, or else the one whose address this host
    /// has. On the loopback every address is this host's; without a name only 127.0.0.1 counts.
    pub(crate) fn find_self(
        &self,
        name: Option<&str>,
        is_local: impl Fn(Ipv4Addr) -> bool,
    ) -> Result<usize, String> {
        if let Some(name) = name {
            let known: Vec<&str> = self.daemons.iter().map(|daemon| &*daemon.name).collect();
            return known
                .iter()
                .position(|&known| known == name)
                .ok_or_else(|| {
                    format!(
                        "no daemon {name:?} in the configuration, there are: {}",
                        known.join(", ")
                    )
                });
        }
        let here = |daemon: &Daemon| {
            (!daemon.address.is_loopback() || daemon.address == Ipv4Addr::LOCALHOST)
                && is_local(daemon.address)
        };
        let found: Vec<usize> = (0..self.daemons.len())
            .filter(|&index| here(&self.daemons[index]))
            .collect();
        match found[..] {
            [index] => Ok(index),
            [] => Err(
                "no daemon of the configuration has an address of this host: \
                       say with -n NAME which one this is"
                    .to_owned(),
            ),
            _ => {
                let names: Vec<&str> = found.iter().map(|&i| &*self.daemons[i].name).collect();
                Err(format!(
                    "several daemons of the configuration have an address of this host ({}): \
                     say with -n NAME which one this is",
                    names.join(", ")
                ))
            }
        }
    }

    /// The name of a daemon; its address if it is not configured any more.
    pub(crate) fn name(&self, id: MemberId) -> String {
        let known = self.daemons.iter().find(|daemon| daemon.id() == id);
        known.map_or_else(|| id.to_string(), |daemon| daemon.name.clone())
    }

    /// The daemons in ring order, as the ring wants them.
    pub(crate) fn members(&self) -> Vec<MemberConfig> {
        let member = |daemon: &Daemon| MemberConfig {
            id: daemon.id(),
            // Bound: there are at most 128 segments.
            segment: daemon.segment as u16,
            name: daemon.name.clone(),
            segment_address: {
                let segment = &self.segments[daemon.segment];
                SocketAddrV4::new(segment.address, segment.port)
            },
            address: daemon.ring_address(),
        };
        self.daemons.iter().map(member).collect()
    }

    /// Who is where, as daemon `me` sees it.
    pub(crate) fn layout(&self, me: usize) -> Layout {
        let own = &self.daemons[me];
        let address = |daemon: &Daemon| {
            SocketAddrV4::new(daemon.ring_address(), self.segments[daemon.segment].port)
        };
        let neighbours: Vec<Ipv4Addr> = self
            .daemons
            .iter()
            .enumerate()
            .filter(|&(index, daemon)| index != me && daemon.segment == own.segment)
            .map(|(_, daemon)| daemon.ring_address())
            .collect();
        let segment = self.segments[own.segment].address;
        let cast = match segment {
            _ if neighbours.is_empty() || own.ring_address().is_loopback() => Cast::Unicast,
            address if address.is_multicast() => Cast::Multicast(address),
            address if address.is_loopback() => Cast::Unicast,
            address => Cast::Broadcast(address),
        };
        let peers: HashMap<MemberId, SocketAddrV4> = self
            .daemons
            .iter()
            .map(|daemon| (daemon.id(), address(daemon)))
            .collect();
        Layout {
            local: address(own),
            cast,
            peers,
            neighbours,
            offload: self.settings.offload,
        }
    }

    /// Where daemon `me` listens for clients by TCP: only where the file says so.
    pub(crate) fn tcp_addresses(&self, me: usize) -> Vec<SocketAddrV4> {
        let own = &self.daemons[me];
        let port = self.segments[own.segment].port;
        let interfaces = own.interfaces.iter().filter(|interface| interface.clients);
        let mut addresses: Vec<SocketAddrV4> = interfaces
            .map(|interface| SocketAddrV4::new(interface.address, port))
            .collect();
        for &address in &self.settings.listen_tcp {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// The timers of the ring.
    ///
    /// Where the file has Spread's timeouts, those that have a counterpart replace it: an admin who
    /// wrote them down knows the network. Rep and Seg belong to phases that groupd does not have.
    pub(crate) fn timers(&self) -> Timers {
        let mut timers = self.settings.failure_detection.timers();
        if let Some(timeouts) = &self.settings.timeouts {
            timers.token_loss = timeouts.token;
            timers.token_retransmit = timeouts.hurry.min(timeouts.token / 4);
            timers.gather_interval = timeouts.alive.min(timeouts.join);
            timers.gather_timeout = timeouts.gather;
            timers.form_retransmit = timeouts.join.min(timeouts.form / 4);
            timers.form_timeout = timeouts.form;
            timers.beacon_interval = timeouts.lookup;
        }
        timers
    }
}

#[cfg(test)]
mod tests;
