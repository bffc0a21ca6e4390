//! The guardian: a second process of the same program that outlives vipd and removes what it held.
//!
//! It reads a pipe whose other end only vipd has. When vipd dies, however it dies, the kernel
//! closes that end, and the guardian purges the addresses before the survivors have asked the wire
//! for the third time. If both are killed, the addresses' lifetime is what is left.

use std::io::{self, ErrorKind, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use unixproc::log;
use unixproc::signal::{Signal, Signals};
use vipd::kernel::Kernel;

/// A guardian that does not live is started again so often.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

/// Work of the guardian's own process: waits for vipd's end, then purges.
///
/// # Errors
/// The kernel does not let it.
pub(crate) fn run() -> io::Result<()> {
    // Signals for the whole process group are vipd's; its end is what counts here.
    let _signals = Signals::install(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])?;
    let mut kernel = Kernel::open()?;
    let mut byte = [0];
    loop {
        match io::stdin().read(&mut byte) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let purged = kernel.purge()?;
    if purged > 0 {
        log::warning("guardian-purged", &[("addresses", &purged)]);
    }
    Ok(())
}

/// vipd's side: keeps a guardian running.
#[derive(Debug, Default)]
pub(crate) struct Guardian {
    child: Option<Child>,
    restart_at: Option<Instant>,
}

impl Guardian {
    /// Starts one if it is due.
    pub(crate) fn keep(&mut self, now: Instant) {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            log::warning("guardian-ended", &[("status", &status)]);
            self.child = None;
            self.restart_at = Some(now + RESTART_INTERVAL);
        }
        if self.child.is_some() || self.restart_at.is_some_and(|at| at > now) {
            return;
        }
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("--guardian")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        match command.spawn() {
            Ok(child) => {
                self.child = Some(child);
                self.restart_at = None;
            }
            Err(error) => {
                log::warning("guardian-not-started", &[("error", &error)]);
                self.restart_at = Some(now + RESTART_INTERVAL);
            }
        }
    }

    /// When [`keep`](Guardian::keep) is due.
    pub(crate) fn restart_at(&self) -> Option<Instant> {
        self.restart_at
    }
}
