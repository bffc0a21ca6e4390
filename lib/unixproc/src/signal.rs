//! Signals as something to poll: a handler writes the signal's number into a pipe.
//!
//! Not signalfd: it needs the signals blocked, and children inherit that. SIGPIPE is ignored by
//! Rust's runtime before `main`, and restored in children by `std::process::Command`.

use std::io::{self, PipeReader, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use libc::c_int;

/// A signal that our programs act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Reload the configuration, reopen files.
    Hangup,
    /// Orderly stop.
    Terminate,
    /// Orderly stop, from the keyboard.
    Interrupt,
    /// Write the status to the log.
    User1,
    /// A child has ended.
    Child,
}

impl Signal {
    const ALL: [Signal; 5] = [
        Signal::Hangup,
        Signal::Terminate,
        Signal::Interrupt,
        Signal::User1,
        Signal::Child,
    ];

    fn number(self) -> c_int {
        match self {
            Signal::Hangup => libc::SIGHUP,
            Signal::Terminate => libc::SIGTERM,
            Signal::Interrupt => libc::SIGINT,
            Signal::User1 => libc::SIGUSR1,
            Signal::Child => libc::SIGCHLD,
        }
    }
}

/// What every daemon catches.
pub const DAEMON: [Signal; 4] = [
    Signal::Hangup,
    Signal::Terminate,
    Signal::Interrupt,
    Signal::User1,
];

/// The pipe's writing end, for the handler; -1 before the first [`Signals::install`].
static WRITER: AtomicI32 = AtomicI32::new(-1);

/// The signals that a program catches, in the order in which they came.
///
/// Its descriptor becomes readable when there is one; register it edge-triggered and then take
/// [`next`](Signals::next) until it gives `None`.
#[derive(Debug)]
pub struct Signals {
    reader: PipeReader,
}

impl Signals {
    /// Catches these signals from now on.
    ///
    /// To be called once, before threads and children. A signal that was ignored when the program
    /// started is caught as well, but for SIGHUP: nohup(1) means it.
    ///
    /// # Errors
    /// No descriptors are left; or a second call: there is one set of signals in a process.
    pub fn install(signals: &[Signal]) -> io::Result<Signals> {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(reader.as_raw_fd())?;
        set_nonblocking(writer.as_raw_fd())?;
        let installed =
            WRITER.compare_exchange(-1, writer.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst);
        if installed.is_err() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "signals are already caught",
            ));
        }
        // The handler may run until the process ends, so this end is never closed.
        let _ = writer.into_raw_fd();
        for &signal in signals {
            if signal != Signal::Hangup || !is_ignored(signal.number())? {
                catch(signal.number())?;
            }
        }
        Ok(Signals { reader })
    }

    /// The next signal that has come; `None` if there is none now.
    #[expect(
        clippy::should_implement_trait,
        reason = "an Iterator would promise an end"
    )]
    pub fn next(&mut self) -> Option<Signal> {
        loop {
            let mut number = [0];
            match self.reader.read(&mut number) {
                Ok(1) => {
                    let known = |signal: &Signal| signal.number() == c_int::from(number[0]);
                    return Signal::ALL.into_iter().find(known);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return None,
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

/// Runs in the middle of anything: only async-signal-safe calls, and errno is left as it was.
extern "C" fn handle(number: c_int) {
    // A full pipe already holds more news than anybody needs: the result does not matter.
    // SAFETY: write(2) is async-signal-safe, the byte lives across the call, and errno's address
    // is the running thread's own.
    unsafe {
        let errno = *libc::__errno_location();
        let byte = number as u8;
        libc::write(WRITER.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

fn catch(number: c_int) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid one (no flags, empty mask), and the handler lives
    // as long as the program.
    let result = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handle as extern "C" fn(c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
        libc::sigaction(number, &action, std::ptr::null_mut())
    };
    check(result)
}

fn is_ignored(number: c_int) -> io::Result<bool> {
    // SAFETY: only asks, into a struct of the right size.
    let (result, action) = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        (
            libc::sigaction(number, std::ptr::null(), &mut action),
            action,
        )
    };
    check(result)?;
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: fcntl on flags touches no memory; the caller owns the descriptor.
    let result = unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    check(result)
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because there is one set of signals in a process.
    #[test]
    fn signals_come_in_order_and_once() {
        let mut signals = Signals::install(&[Signal::User1, Signal::Hangup]).unwrap();
        assert_eq!(signals.next(), None);
        for signal in [Signal::User1, Signal::Hangup, Signal::User1] {
            // SAFETY: raise(3) of a signal that has a handler by now.
            assert_eq!(unsafe { libc::raise(signal.number()) }, 0);
        }
        assert_eq!(signals.next(), Some(Signal::User1));
        assert_eq!(signals.next(), Some(Signal::Hangup));
        assert_eq!(signals.next(), Some(Signal::User1));
        assert_eq!(signals.next(), None);
        assert!(Signals::install(&[]).is_err());
    }
}
