//! Lines for a reader that may be slow: the stdin of a command, or stdout.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mio::unix::pipe::Sender;
use mio::{Interest, Registry, Token};
use unixproc::log;

use crate::queue::Queue;

/// A command that ended is started again after this time.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// What cannot be written is logged this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// What reads the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A command for the shell.
    Command(String),
    /// Whoever has our stdout.
    Stdout,
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reader::Command(command) => write!(f, "|{command}"),
            Reader::Stdout => f.write_str("-"),
        }
    }
}

/// A pipe and the lines that wait for it.
#[derive(Debug)]
pub(crate) struct LogPipe {
    reader: Reader,
    token: Token,
    /// None while the command does not run.
    sender: Option<Sender>,
    child: Option<Child>,
    /// Was told to end, because it does not read any more; has not been seen to end yet.
    former: Option<Child>,
    queue: Queue,
    restart_at: Option<Instant>,
    throttle: log::Throttle,
    /// Bytes of lines that came when too many waited.
    dropped_bytes: u64,
    failures: u64,
    dropped_throttle: log::Throttle,
}

/// What came of an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// So many bytes were taken.
    Bytes(usize),
    /// Nobody reads stdout any more.
    NobodyReads,
}

impl LogPipe {
    /// A pipe that is not opened yet; its events will have this token.
    pub(crate) fn new(reader: Reader, token: Token) -> LogPipe {
        LogPipe {
            reader,
            token,
            sender: None,
            child: None,
            former: None,
            queue: Queue::default(),
            restart_at: None,
            throttle: log::Throttle::new(REPORT_INTERVAL),
            dropped_bytes: 0,
            failures: 0,
            dropped_throttle: log::Throttle::new(REPORT_INTERVAL),
        }
    }

    /// Starts the command, or takes stdout.
    ///
    /// # Errors
    /// No processes or descriptors are left.
    pub(crate) fn open(&mut self, registry: &Registry) -> io::Result<()> {
        if self.sender.is_some() {
            return Ok(());
        }
        self.restart_at = None;
        let mut sender = match &self.reader {
            Reader::Stdout => Sender::from(io::stdout().as_fd().try_clone_to_owned()?),
            Reader::Command(command) => {
                // What watches this process must not be told things by its children.
                let mut child = Command::new("/bin/sh")
                    .args(["-c", command])
                    .stdin(Stdio::piped())
                    .env_remove("NOTIFY_SOCKET")
                    .env_remove("WATCHDOG_USEC")
                    .spawn()?;
                let stdin = child.stdin.take().map(OwnedFd::from);
                self.child = Some(child);
                Sender::from(stdin.ok_or(io::ErrorKind::BrokenPipe)?)
            }
        };
        // A terminal is shared with others, who would be surprised by reads that do not wait; and
        // regular files are always writable, so there is nothing to register.
        let terminal = self.reader == Reader::Stdout && io::stdout().is_terminal();
        if !terminal
            && registry
                .register(&mut sender, self.token, Interest::WRITABLE)
                .is_ok()
        {
            sender.set_nonblocking(true)?;
        }
        self.sender = Some(sender);
        Ok(())
    }

    /// Queues whole lines.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        self.queue.append(lines);
    }

    /// Does not queue these lines, because their reader is too slow, and says so.
    pub(crate) fn drop_lines(&mut self, lines: &[u8], now: Instant) {
        self.dropped_bytes += lines.len() as u64;
        if self.dropped_throttle.admit(now).is_some() {
            let fields: log::Fields = &[
                ("file", &self.reader),
                ("bytes", &self.dropped_bytes),
                ("queued-bytes", &self.queue.len()),
            ];
            log::error("lines-dropped", fields);
        }
    }

    /// How often the reader could not be started or was lost, since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// How many bytes of lines were dropped.
    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Writes what the reader takes now; starts a command that is due.
    pub(crate) fn write(&mut self, registry: &Registry, now: Instant) -> Written {
        let before = self.queue.len();
        if self.sender.is_none()
            && self.restart_at.is_none_or(|at| at <= now)
            && let Err(error) = self.open(registry)
        {
            log::error(
                "command-failed",
                &[("command", &self.reader), ("error", &error)],
            );
            self.failures += 1;
            self.restart_at = Some(now + RESTART_DELAY);
        }
        if self.restart_at.is_some_and(|at| now < at) {
            return Written::Bytes(0);
        }
        if let Err(error) = self.try_write() {
            if self.reader == Reader::Stdout && error.kind() == io::ErrorKind::BrokenPipe {
                return Written::NobodyReads;
            }
            if error.kind() != io::ErrorKind::BrokenPipe && self.throttle.admit(now).is_some() {
                log::error("write-failed", &[("file", &self.reader), ("error", &error)]);
            }
            self.lose_reader(now);
        } else {
            self.restart_at = None;
        }
        Written::Bytes(before.saturating_sub(self.queue.len()))
    }

    fn try_write(&mut self) -> io::Result<()> {
        let Some(sender) = &mut self.sender else {
            return Ok(());
        };
        while !self.queue.is_empty() {
            match sender.write(self.queue.unwritten()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.queue.consume(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(()),
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// A command that does not read has had a part of a line at most: the next one gets it whole.
    /// What stdout has taken stays there, on a disk that is full: the line goes on behind it.
    fn lose_reader(&mut self, now: Instant) {
        self.failures += 1;
        self.restart_at = Some(now + RESTART_DELAY);
        if self.reader == Reader::Stdout {
            return;
        }
        self.sender = None;
        self.queue.take_back_half_line();
        if let Some(mut child) = self.child.take() {
            // It fails if the command has ended, which is just as well.
            let _ = child.kill();
            self.former = Some(child);
        }
    }

    /// Looks whether the command has ended, after a SIGCHLD.
    pub(crate) fn reap(&mut self, now: Instant) {
        for slot in [&mut self.former, &mut self.child] {
            let Some(status) = slot
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten())
            else {
                continue;
            };
            *slot = None;
            log::warning(
                "command-ended",
                &[("command", &self.reader), ("status", &status)],
            );
        }
        if self.sender.is_some() && self.child.is_none() && self.reader != Reader::Stdout {
            self.lose_reader(now);
        }
    }

    /// Closes the pipe: a command reads its end, and is expected to end then. Gives its process.
    pub(crate) fn close(&mut self) -> Option<Child> {
        if let Some(sender) = self.sender.take()
            && self.reader == Reader::Stdout
        {
            // Others may go on to write to the same pipe.
            let _ = sender.set_nonblocking(false);
        }
        self.restart_at = None;
        if self.reader != Reader::Stdout {
            self.queue.take_back_half_line();
        }
        self.child.take()
    }

    /// What reads it.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whether it leads to this command.
    pub(crate) fn is_command(&self, command: &str) -> bool {
        matches!(&self.reader, Reader::Command(own) if own == command)
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.len()
    }

    /// When the command is to be started again, if it has ended.
    pub(crate) fn restart_at(&self) -> Option<Instant> {
        self.restart_at
    }
}
