//! How a daemon comes up: what all of them do between reading their configuration and their work.
//!
//! [`Instance::begin`] refuses what a second daemon must not do before anything is touched, and
//! [`Instance::ready`] tells those who wait that the program works. With the feature `clap`,
//! [`Options`] are the options of it.

use std::path::{Path, PathBuf};

use crate::background::{self, Background};
use crate::exit::{Failure, print};
use crate::log::{self, Level};
use crate::pidfile::Pidfile;
use crate::ready::Notify;
use crate::signal::{Signal, Signals};

/// The options that all daemons have.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct Options {
    /// Check the configuration and exit
    #[cfg_attr(feature = "clap", arg(short = 't', long))]
    pub check: bool,

    /// Hold FILE while running, with the process number in it
    #[cfg_attr(feature = "clap", arg(short, long, value_name = "FILE"))]
    pub pidfile: Option<PathBuf>,

    /// Go into the background when ready
    #[cfg_attr(feature = "clap", arg(long))]
    pub daemonize: bool,

    /// Log more (may be repeated)
    #[cfg_attr(feature = "clap", arg(short, long, action = clap::ArgAction::Count))]
    pub verbose: u8,

    /// Log warnings and errors only
    #[cfg_attr(feature = "clap", arg(short, long))]
    pub quiet: bool,
}

/// What the loop of a daemon has from its start on.
#[derive(Debug)]
pub struct Process {
    /// Caught from now on.
    pub signals: Signals,
    /// The service manager.
    pub notify: Notify,
}

/// A daemon that has its configuration, and at first does not work yet.
///
/// To be kept to the end: when this is dropped, the pid file is removed, and whoever waits for a
/// daemon in the background that never was [`ready`](Instance::ready) is told that it failed.
#[derive(Debug)]
pub struct Instance {
    pidfile: Option<Pidfile>,
    background: Option<Background>,
}

impl Options {
    /// Sets the log up; to be called before anything else.
    pub fn init_log(&self, program: &'static str) {
        log::init(program, Level::from_flags(self.verbose, self.quiet));
    }

    /// Begins as these options say; see [`Instance::begin`].
    ///
    /// # Errors
    /// As [`Instance::begin`].
    pub fn start(&self, caught: &[Signal]) -> Result<(Instance, Process), Failure> {
        Instance::begin(self.pidfile.as_deref(), self.daemonize, caught)
    }
}

impl Instance {
    /// Takes the pid file, goes into the background if that is wanted, and catches signals.
    ///
    /// To be called when the configuration is known to be right, and before threads, sockets and
    /// everything that a second daemon must not touch.
    ///
    /// # Errors
    /// Another daemon holds the pid file; the system refuses something.
    pub fn begin(
        pidfile: Option<&Path>,
        daemonize: bool,
        caught: &[Signal],
    ) -> Result<(Instance, Process), Failure> {
        let pidfile = pidfile.map(Pidfile::claim).transpose();
        let instance = Instance {
            pidfile: pidfile.map_err(Failure::failed)?,
            background: match daemonize {
                true => Some(background::detach().map_err(Failure::failed)?),
                false => None,
            },
        };
        let process = Process {
            signals: Signals::install(caught).map_err(Failure::failed)?,
            notify: Notify::from_env().map_err(Failure::failed)?,
        };
        Ok((instance, process))
    }

    /// The program does its work from now on: writes the pid file, and lets go of the starter.
    ///
    /// # Errors
    /// The pid file cannot be written.
    pub fn ready(&mut self) -> Result<(), Failure> {
        if let Some(pidfile) = &mut self.pidfile {
            pidfile.write().map_err(Failure::failed)?;
        }
        if let Some(background) = self.background.take() {
            background.ready().map_err(Failure::failed)?;
        }
        Ok(())
    }
}

/// What `--check` says of a configuration without mistakes; gives the exit code.
///
/// # Errors
/// As [`print()`].
pub fn configuration_ok() -> Result<u8, Failure> {
    print("configuration ok\n")
}
