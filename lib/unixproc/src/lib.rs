//! How our programs behave as Unix processes, the same in each of them.
//!
//! - [`log`]: one event per line on stderr; [`exit`]: messages and exit codes;
//! - [`argv`] and `options`: GNU manners for programs that parse their options with argh and clap;
//! - [`signal`]: signals as a file descriptor; [`ready`]: systemd's notification socket;
//! - [`splice`]: bytes from a pipe into a file; [`disk`]: what files cost;
//! - [`socket`]: sockets to listen on; [`listen`]: sockets passed in;
//! - [`daemon`]: how a daemon comes up, with [`pidfile`] and [`background`] for the old way to run one;
//! - [`limit`]: how many descriptors there may be; [`priority`]: a place in the scheduler's line;
//! - [`packet`]: frames through a packet socket; [`memory`]: hints about memory.
//!
//! A daemon's `main` is [`exit::main`] around: parse options, [`log::init`], read the file,
//! [`daemon::Instance::begin`], open sockets, [`daemon::Instance::ready`], [`ready::Notify::ready`], loop.

pub mod argv;
pub mod background;
pub mod daemon;
pub mod disk;
pub mod exit;
pub mod limit;
pub mod listen;
pub mod log;
pub mod memory;
#[cfg(feature = "clap")]
pub mod options;
pub mod packet;
pub mod pidfile;
pub mod priority;
pub mod ready;
pub mod signal;
pub mod socket;
pub mod splice;
