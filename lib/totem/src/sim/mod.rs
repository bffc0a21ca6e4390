//! The simulator: members with their groups and clients on a simulated network, under one clock
//! and one seed, and a judge of what they show.
//!
//! A [scenario](scenario::Scenario) is drawn from the seed. The [world](world::run) runs it:
//! storms of [faults], and calms in which the members must come together and everything must
//! arrive. The [oracle] reads the [trace] while it grows; the [group oracle](group_oracle) sees
//! what the sessions see. The members are the real ones; they exchange sealed bytes through the
//! [network].

pub mod faults;
pub mod group_oracle;
pub mod network;
pub mod oracle;
pub mod random;
pub mod scenario;
#[cfg(test)]
mod tests;
pub mod totals;
pub mod trace;
pub mod world;
