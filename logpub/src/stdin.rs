//! The input behind a web server's pipe.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use mio::unix::pipe::Receiver;
use mio::{Interest, Registry, Token};

use crate::publisher::Input;

/// Stdin, whatever it is, read without waiting.
#[derive(Debug)]
pub(crate) struct Stdin {
    receiver: Receiver,
    /// Regular files and the like can always be read, and cannot be polled.
    polled: bool,
    readable: bool,
    terminal: bool,
}

impl Stdin {
    /// Prepares stdin; its events have this token.
    ///
    /// # Errors
    /// It is closed.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Stdin> {
        let terminal = io::stdin().is_terminal();
        let descriptor = match terminal {
            // A terminal's mode is shared with other programs: it is opened anew for our own.
            true => File::open("/dev/stdin")?.into(),
            false => io::stdin().as_fd().try_clone_to_owned()?,
        };
        let mut receiver = Receiver::from(descriptor);
        let polled = registry
            .register(&mut receiver, token, Interest::READABLE)
            .is_ok();
        if polled {
            // A pipe's reading end is ours alone, or that of a logpub before or after us.
            receiver.set_nonblocking(true)?;
        }
        Ok(Stdin {
            receiver,
            polled,
            readable: true,
            terminal,
        })
    }

    /// Whether a person types the input.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether there may be something to read.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable
    }

    /// Takes note of an event.
    pub(crate) fn handle_event(&mut self) {
        self.readable = true;
    }

    /// The descriptor, for whoever takes bytes without reading them.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    /// There is nothing until the next event.
    pub(crate) fn wait(&mut self) {
        self.readable = false;
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// As read(2), but for what only means to try again.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Input> {
        loop {
            match self.receiver.read(buffer) {
                Ok(0) => return Ok(Input::End),
                Ok(count) => return Ok(Input::Bytes(count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.polled => {
                    self.readable = false;
                    return Ok(Input::Nothing);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
