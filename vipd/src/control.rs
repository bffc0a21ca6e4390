//! Requests and answers on vipd's control socket: one JSON object per line, each way.

use serde::{Deserialize, Serialize};
pub use status::Failure;

use crate::history::Entry;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Asks for a [`Status`].
    Status,
    /// Asks for an [`Explanation`].
    Explain {
        /// One of the set's addresses.
        set: String,
    },
    /// Asks for a [`Log`].
    History {
        /// The number of the first entry; the last ones if there is none.
        since: Option<u64>,
        /// Most entries.
        count: usize,
    },
    /// Asks for a [`WhatIf`].
    WhatIf {
        /// Nodes that would be gone.
        down: Vec<String>,
    },
    /// Gives up all sets to other nodes, or takes a share again; answered by [`Done`].
    Drain {
        /// Whether to give them up.
        on: bool,
        /// After so many milliseconds the node takes a share again.
        milliseconds: Option<u64>,
    },
    /// Moves a set to a node, once; answered by [`Done`].
    Move {
        /// One of the set's addresses.
        set: String,
        /// The node's name.
        node: String,
    },
    /// Moves a set to a node and keeps it there; answered by [`Done`].
    Pin {
        /// One of the set's addresses.
        set: String,
        /// The node's name; none ends the pin.
        node: Option<String>,
        /// After so many milliseconds the pin ends.
        milliseconds: Option<u64>,
    },
    /// Makes the loads even now; answered by [`Done`].
    Balance,
    /// Announces what is held again; answered by [`Done`].
    Announce {
        /// One of a set's addresses; none for all sets.
        set: Option<String>,
    },
    /// Reads the configuration again; answered by [`Done`].
    Reload,
    /// Asks for a [`Text`] as Prometheus reads it.
    Metrics,
}

/// The daemon at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This node's name.
    pub node: String,
    /// The group that the nodes meet in.
    pub group: String,
    /// `offline`, `gather`, `run` or `transition`.
    pub state: String,
    /// Whether sets are dealt.
    pub mature: bool,
    /// Milliseconds until a drain of this node ends by itself.
    pub drain_ends_in: Option<u64>,
    /// Sessions that have not answered in the present round.
    pub awaited: Vec<String>,
    /// The nodes in the view, in state `run`, and behind them those that are gone.
    pub nodes: Vec<Node>,
    /// What this node looks at.
    pub checks: Vec<Check>,
    /// What differs in the files of other nodes: sets that stay where they are.
    pub other_config: Vec<String>,
    /// All sets, in their one order.
    pub sets: Vec<Set>,
    /// Messages of the group that were not understood.
    pub ignored_messages: u64,
}

/// A node in the view, or one that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its share of the load.
    pub weight: u32,
    /// Whether it gives up its sets.
    pub drained: bool,
    /// Whether it goes away.
    pub leaving: bool,
    /// How many sets its interfaces can hold.
    pub able: u64,
    /// How many sets it holds.
    pub sets: u64,
    /// Whether it is in the view no more, and has not said that it goes.
    pub gone: bool,
    /// What is wrong with it; none if nothing is.
    pub wrong: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since: Option<u64>,
    /// Which sets were moved because of it.
    pub moved: Vec<String>,
}

/// Something that a node looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// What is wrong; none if nothing is.
    pub wrong: Option<String>,
    /// For how many milliseconds it has been so.
    pub for_milliseconds: u64,
    /// How often it was looked at.
    pub looks: u64,
}

/// A set of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its first address.
    pub name: String,
    /// All of them, with interface and bits.
    pub addresses: Vec<String>,
    /// The node that holds it.
    pub holder: Option<String>,
    /// The node that it is going to.
    pub target: Option<String>,
    /// The node that it is pinned to.
    pub pinned: Option<String>,
    /// Whether more than one node holds it, after a merge.
    pub disputed: bool,
    /// Whether it is not the same in all files, and stays where it is.
    pub blocked: bool,
    /// At this node: `free`, `probing`, `adding`, `held` or `removing`.
    pub here: String,
    /// Who else claims it on the wire while it is held here, or answers while it is asked for.
    pub foreign: Option<String>,
}

impl Status {
    /// Whether every set is held by one node, nobody else claims one, all nodes agree about them,
    /// and nothing is wrong with any, nor is one gone.
    pub fn is_fine(&self) -> bool {
        let held = |set: &Set| set.holder.is_some() && !set.disputed && set.foreign.is_none();
        self.state == "run"
            && self.other_config.is_empty()
            && self.nodes.iter().all(|node| node.wrong.is_none())
            && self.sets.iter().all(held)
    }
}

/// Why a set is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The set.
    pub set: Set,
    /// Its last movement, if one was seen.
    pub last: Option<Entry>,
    /// The nodes, the best place for it first.
    pub candidates: Vec<Candidate>,
}

/// A node as a place for a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub node: String,
    /// `good`, `standby`, `drained`, `sick` or `unfit`.
    pub fitness: String,
    /// What is wrong with it, if a check says so.
    pub wrong: Option<String>,
    /// Its place in the order of preference, from 1; none if it does not prefer the set.
    pub preference: Option<u64>,
    /// How many sets it holds, and its share of the load.
    pub sets: u64,
    /// Its share of the load.
    pub weight: u32,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The oldest first.
    pub entries: Vec<Entry>,
}

/// What would move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatIf {
    /// Only sets that move, or that nobody could hold.
    pub moves: Vec<Move>,
}

/// A set that would move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The set.
    pub set: String,
    /// The node that holds it now.
    pub from: Option<String>,
    /// The node that would.
    pub to: Option<String>,
}

/// The request is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many sets this concerns now.
    pub sets: u64,
}

/// Text for another program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The text.
    pub text: String,
}

/// What is answered to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Explain`].
    Explanation(Explanation),
    /// To [`Request::History`].
    Log(Log),
    /// To [`Request::WhatIf`].
    WhatIf(WhatIf),
    /// To [`Request::Metrics`].
    Text(Text),
    /// To the others.
    Done(Done),
    /// To what could not be done.
    Failure(Failure),
}
