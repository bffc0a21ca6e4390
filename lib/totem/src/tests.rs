//! Members on a small virtual network, one behaviour a test. Faults in bulk are the simulator's.

mod files;
mod membership;
mod network;
mod order;
mod patience;

pub(crate) use network::{config, start};
