//! Requests and answers on groupd's control socket: one JSON object per line, each way.
//!
//! A request is answered by the struct of the same name, or by a [`Failure`]. Fields may be added;
//! none changes its meaning.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
pub use status::Failure;

/// Where a daemon's control socket is: beside the socket of its clients. `control` beside one that
/// is called `socket`, which has a directory of its own; otherwise the same name with `.control`.
pub fn beside(socket: &Path) -> PathBuf {
    match socket.file_name() {
        Some(name) if name != "socket" => {
            let mut name = name.to_owned();
            name.push(".control");
            socket.with_file_name(name)
        }
        _ => socket.with_file_name("control"),
    }
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Asks for a [`Status`].
    Status,
    /// Asks for [`Groups`], of which one answer holds a part.
    Groups {
        /// [`Groups::next`] of the answer before; absent in the first request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Asks for the [`Members`] of one group, of which one answer holds a part.
    Members {
        /// The group's name.
        group: String,
        /// [`Members::next`] of the answer before; absent in the first request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
}

/// How far membership has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A view is installed and messages are ordered in it.
    Operational,
    /// Looking for the members of the next ring.
    Gather,
    /// The members of the next ring are being agreed.
    Commit,
    /// Messages of the old ring are exchanged before the new view.
    Recovery,
}

/// The daemon at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's name in the configuration.
    pub name: String,
    /// How far membership has come.
    pub state: State,
    /// The view installed last; none before the first.
    pub view: Option<View>,
    /// Counters of the ring by name, from the start of the daemon.
    pub ring: BTreeMap<String, u64>,
    /// The sessions of this daemon.
    pub sessions: Sessions,
    /// Whether daemons talk under a key.
    pub sealed: bool,
    /// How many groups have members.
    pub groups: u64,
    /// Since the start of the daemon.
    pub uptime_seconds: u64,
}

/// An installed view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The ring's identity: `COUNTER.REPRESENTATIVE`.
    pub ring: String,
    /// The daemons in it, in ring order; never empty.
    pub members: Vec<ViewMember>,
}

/// A daemon in a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewMember {
    /// Its name in the configuration.
    pub name: String,
    /// Where it receives.
    pub address: SocketAddr,
    /// Which of its lives.
    pub incarnation: u64,
}

/// The client sessions of one daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Connected now.
    pub count: u64,
    /// Waiting to be written to them, all together.
    pub queued_bytes: u64,
    /// Disconnected because they read too slowly, from the start of the daemon.
    pub slow_disconnects: u64,
}

/// Some of the groups that have members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// In the order of their names.
    pub groups: Vec<Group>,
    /// What to ask with for those that follow; absent if these are the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How many sessions are in it, on all daemons.
    pub members: u64,
    /// How many of them are sessions of this daemon.
    pub local: u64,
}

/// Some of the members of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The group's name, as asked.
    pub group: String,
    /// Private groups, in the order of membership messages; empty for a group that nobody is in.
    pub members: Vec<String>,
    /// The group's id: `proc_id`, `time`, `index`; absent for a group that nobody is in.
    pub gid: Option<[i32; 3]>,
    /// What to ask with for those that follow; absent if these are the last. An answer with another
    /// group id is about another membership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What is answered to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Groups`].
    Groups(Groups),
    /// To [`Request::Members`].
    Members(Members),
    /// To what could not be done.
    Failure(Failure),
}
