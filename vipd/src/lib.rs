//! What vipd and vipctl share; nobody else depends on it.

#![forbid(unsafe_code)]

pub mod alone;
pub mod announce;
pub mod balance;
pub mod capabilities;
pub mod checks;
pub mod config;
pub mod control;
pub mod digest;
pub mod frames;
pub mod health;
pub mod history;
pub mod hooks;
pub mod indices;
pub mod kernel;
pub mod neighbours;
pub mod netlink;
pub mod page;
pub mod restore;
pub mod takeover;
