//! What vipd and vipctl share; nobody else depends on it.

#![deny(unsafe_code)]

pub mod announce;
pub mod balance;
pub mod config;
pub mod control;
pub mod digest;
pub mod indices;
pub mod kernel;
pub mod netlink;
pub mod takeover;
