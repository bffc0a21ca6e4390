//! Requests and answers on vipd's control socket: one JSON object per line, each way.

use serde::{Deserialize, Serialize};
pub use status::Failure;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Asks for a [`Status`].
    Status,
    /// Asks for a [`WhatIf`].
    WhatIf {
        /// Nodes that would be gone.
        down: Vec<String>,
    },
    /// Gives up all sets to other nodes, or takes a share again; answered by [`Done`].
    Drain {
        /// Whether to give them up.
        on: bool,
    },
    /// Makes the loads even now; answered by [`Done`].
    Balance,
    /// Announces what is held again; answered by [`Done`].
    Announce,
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
    /// The nodes in the view; empty but in state `run`.
    pub nodes: Vec<Node>,
    /// Nodes whose file has other addresses; while there are any, nothing is dealt.
    pub other_config: Vec<String>,
    /// All sets, in their one order.
    pub sets: Vec<Set>,
    /// Messages of the group that were not understood.
    pub ignored_messages: u64,
}

/// A node in the view.
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
    /// Whether more than one node holds it, after a merge.
    pub disputed: bool,
    /// At this node: `free`, `probing`, `adding`, `held` or `removing`.
    pub here: String,
}

impl Status {
    /// Whether every set is held by one node and all nodes agree about them.
    pub fn is_fine(&self) -> bool {
        let held = |set: &Set| set.holder.is_some() && !set.disputed;
        self.state == "run" && self.other_config.is_empty() && self.sets.iter().all(held)
    }
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

/// What is answered to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::WhatIf`].
    WhatIf(WhatIf),
    /// To the others.
    Done(Done),
    /// To what could not be done.
    Failure(Failure),
}
