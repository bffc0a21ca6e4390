//! `--daemonize`: into the background, and the caller's prompt comes back once we are ready.

use std::fs::File;
use std::io::{self, IsTerminal as _, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsRawFd, RawFd};

use crate::exit;

/// A process in the background whose starter still waits for it.
///
/// The starter's process ends with 0 at [`ready`](Background::ready), and with 1 if this is
/// dropped, or the process ends, before.
#[derive(Debug)]
pub struct Background {
    starter: PipeWriter,
}

/// Goes into the background: a new session, without a controlling terminal. Returns in the
/// background process only.
///
/// The working directory stays, so relative paths mean what they meant. To be called before
/// threads, sockets and locks, but after the configuration is read: its errors belong to the
/// caller's terminal and exit code.
///
/// # Errors
/// No more processes or descriptors.
pub fn detach() -> io::Result<Background> {
    let (mut reader, writer) = io::pipe()?;
    if fork()? == Side::Parent {
        drop(writer);
        let mut byte = [0];
        let ready = reader.read(&mut byte)? == 1;
        std::process::exit(i32::from(if ready { exit::DONE } else { exit::FAILED }));
    }
    drop(reader);
    // SAFETY: no memory is involved; it fails only for a leader of a process group, which a
    // process just forked is not.
    unsafe { libc::setsid() };
    // A session's leader that opens a terminal gets it as its controlling one; its child does not.
    if fork()? == Side::Parent {
        // SAFETY: ends this process at once; what its parent has buffered is not written twice.
        unsafe { libc::_exit(0) };
    }
    Ok(Background { starter: writer })
}

impl Background {
    /// Releases the starter, and lets go of stdin, stdout and a stderr that is a terminal.
    ///
    /// A stderr that is a file or a pipe goes on taking the log.
    ///
    /// # Errors
    /// /dev/null cannot be opened.
    pub fn ready(mut self) -> io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        replace(&null, io::stdin().as_raw_fd())?;
        replace(&null, io::stdout().as_raw_fd())?;
        if io::stderr().is_terminal() {
            replace(&null, io::stderr().as_raw_fd())?;
        }
        // The starter may have been killed meanwhile, which does not concern us.
        let _ = self.starter.write_all(&[1]);
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Side {
    Parent,
    Child,
}

fn fork() -> io::Result<Side> {
    // SAFETY: called before threads exist, as `detach` demands, so the child may go on as if
    // nothing had happened.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        _ => Ok(Side::Parent),
    }
}

fn replace(file: &File, fd: RawFd) -> io::Result<()> {
    // SAFETY: `fd` is one of the three standard ones, whose numbers keep their meaning.
    if unsafe { libc::dup2(file.as_raw_fd(), fd) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
