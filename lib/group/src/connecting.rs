//! A session that is being opened: resolver, connection, handshake, none of them waited for.

use std::io::{self, Read as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};
use std::vec;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::Socket;

use crate::address::Address;
use crate::error::ConnectError;
use crate::handshake::{Accepted, ClientHandshake, ClientStep};
use crate::output::Output;
use crate::session::{Options, Session};
use crate::transport;

/// A path where too many wait to be accepted is asked again after this time.
const FULL_INTERVAL: Duration = Duration::from_millis(10);

/// Bound: bytes of a handshake that wait to be written. There are never more than 90.
const OUTPUT_BYTES_MAX: usize = 256;

/// The addresses of a host that have not been tried.
type Addresses = vec::IntoIter<SocketAddr>;

/// A session that is being opened, without waiting for anything.
///
/// In the program's loop: register the descriptor for reading and writing, and call
/// [`progress`](Self::progress) when it has an event and when [`wake_at`](Self::wake_at) has come.
/// It does no harm to call it at other times. [`Link`](crate::Link) does all that.
#[derive(Debug)]
pub struct Connecting {
    options: Options,
    /// While the resolver is asked, a socket that is closed at its end when there is an answer.
    socket: Socket,
    stage: Stage,
    /// When it is given up; none while the resolver is asked, which takes the time that it takes.
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    /// A thread asks for the addresses of a host.
    Resolving(Receiver<io::Result<Addresses>>),
    /// One of the addresses has been asked, and has until then.
    Asked { until: Instant, others: Addresses },
    /// A path takes a connection at once. Where too many wait to be accepted it is asked again, as
    /// no event tells when there is room.
    Path { path: PathBuf, ask_at: Instant },
    /// The daemon has been reached.
    Handshake {
        handshake: ClientHandshake,
        output: Output,
    },
}

/// What came of going on with an attempt.
#[derive(Debug)]
pub enum Progress {
    /// Wait for an event of the descriptor, or until [`Connecting::wake_at`].
    Pending(Connecting),
    /// The same, but the descriptor is another one: register it.
    NewDescriptor(Connecting),
    /// A session that does not block, with the descriptor of the attempt.
    Connected(Session),
}

enum Step {
    Wait,
    Again,
    NewDescriptor,
    Accepted(Accepted),
}

impl Connecting {
    /// Begins to open a session.
    ///
    /// Errors: it is clear at once that there will be none.
    pub fn begin(options: Options, now: Instant) -> Result<Connecting, ConnectError> {
        let deadline = now + options.timeout;
        let (socket, stage) = match (&options.address, options.address.path()) {
            (Address::Tcp { host, port }, _) => match host.parse() {
                Ok(address) => {
                    let addresses = vec![SocketAddr::new(address, *port)];
                    ask_next(addresses.into_iter(), now, deadline)?
                }
                Err(_) => resolve(host.clone(), *port)?,
            },
            (_, Some(path)) => {
                let ask_at = now;
                (transport::open_unix()?, Stage::Path { path, ask_at })
            }
            (_, None) => unreachable!("only TCP addresses have no path"),
        };
        let resolving = matches!(stage, Stage::Resolving(_));
        Ok(Connecting {
            options,
            socket,
            stage,
            deadline: (!resolving).then_some(deadline),
        })
    }

    /// Goes on as far as is possible without waiting.
    ///
    /// Errors: there will be no session.
    pub fn progress(mut self, now: Instant) -> Result<Progress, ConnectError> {
        loop {
            match self.step(now)? {
                Step::Wait if self.deadline.is_some_and(|at| at <= now) => {
                    return Err(timed_out().into());
                }
                Step::Wait => return Ok(Progress::Pending(self)),
                Step::Again => {}
                // What the new descriptor has already is told when it is registered.
                Step::NewDescriptor => return Ok(Progress::NewDescriptor(self)),
                Step::Accepted(accepted) => {
                    let session = Session::new(self.options, self.socket, accepted);
                    return Ok(Progress::Connected(session));
                }
            }
        }
    }

    /// When [`progress`](Self::progress) is due, unless the descriptor has an event before.
    pub fn wake_at(&self) -> Option<Instant> {
        let due = match &self.stage {
            Stage::Asked { until, .. } => Some(*until),
            Stage::Path { ask_at, .. } => Some(*ask_at),
            Stage::Resolving(_) | Stage::Handshake { .. } => None,
        };
        [due, self.deadline].into_iter().flatten().min()
    }

    /// Registers the descriptor for all that concerns it.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&self.as_raw_fd()), token, interest)
    }

    /// Waits for the session, which then blocks.
    pub(crate) fn wait(mut self) -> Result<Session, ConnectError> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(1);
        self.register(poll.registry(), Token(0))?;
        loop {
            let now = Instant::now();
            self = match self.progress(now)? {
                Progress::Pending(connecting) => connecting,
                Progress::NewDescriptor(connecting) => {
                    connecting.register(poll.registry(), Token(0))?;
                    connecting
                }
                Progress::Connected(mut session) => {
                    session.set_nonblocking(false)?;
                    return Ok(session);
                }
            };
            let timeout = self.wake_at().map(|at| at.saturating_duration_since(now));
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
    }

    fn step(&mut self, now: Instant) -> Result<Step, ConnectError> {
        match &mut self.stage {
            Stage::Resolving(answer) => match answer.try_recv() {
                Err(TryRecvError::Empty) => Ok(Step::Wait),
                Err(TryRecvError::Disconnected) => {
                    Err(io::Error::other("the resolver has failed").into())
                }
                Ok(addresses) => self.ask(addresses?, now, now + self.options.timeout),
            },
            Stage::Asked { until, others } => match transport::is_connected(&self.socket) {
                Ok(true) => Ok(self.greet()),
                Ok(false) if now < *until => Ok(Step::Wait),
                Ok(false) if others.len() == 0 => Err(timed_out().into()),
                Err(error) if others.len() == 0 => Err(error.into()),
                _ => {
                    let others = std::mem::take(others);
                    self.ask(others, now, self.deadline.unwrap_or(now))
                }
            },
            Stage::Path { ask_at, .. } if now < *ask_at => Ok(Step::Wait),
            Stage::Path { path, ask_at } => {
                if transport::connect_unix(&self.socket, path)? {
                    return Ok(self.greet());
                }
                *ask_at = now + FULL_INTERVAL;
                Ok(Step::Wait)
            }
            Stage::Handshake { handshake, output } => talk(&self.socket, handshake, output),
        }
    }

    fn ask(
        &mut self,
        addresses: Addresses,
        now: Instant,
        deadline: Instant,
    ) -> Result<Step, ConnectError> {
        (self.socket, self.stage) = ask_next(addresses, now, deadline)?;
        self.deadline = Some(deadline);
        Ok(Step::NewDescriptor)
    }

    fn greet(&mut self) -> Step {
        let (handshake, greeting) =
            ClientHandshake::new(self.options.name, self.options.membership);
        let mut output = Output::new(OUTPUT_BYTES_MAX);
        output.tail().extend_from_slice(&greeting);
        self.stage = Stage::Handshake { handshake, output };
        Step::Again
    }
}

impl AsFd for Connecting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Connecting {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// Asks the first address that can be asked; each has the same share of the time.
fn ask_next(mut others: Addresses, now: Instant, deadline: Instant) -> io::Result<(Socket, Stage)> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    while let Some(address) = others.next() {
        match transport::connect_tcp(address) {
            Ok(socket) => {
                let share = deadline.saturating_duration_since(now) / (others.len() as u32 + 1);
                let until = now + share;
                return Ok((socket, Stage::Asked { until, others }));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Asks the resolver in a thread, as it cannot be asked without waiting.
fn resolve(host: String, port: u16) -> io::Result<(Socket, Stage)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (sender, answer) = mpsc::channel();
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs();
            // Nobody listens any more if the attempt has been given up.
            let _ = sender.send(addresses);
            drop(theirs);
        })?;
    Ok((ours.into(), Stage::Resolving(answer)))
}

/// Writes and reads what there is of a handshake.
fn talk(
    mut socket: &Socket,
    handshake: &mut ClientHandshake,
    output: &mut Output,
) -> Result<Step, ConnectError> {
    match output.write_to(socket) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
        _ => {}
    }
    let mut buffer = [0; 1024];
    let count = match socket.read(&mut buffer) {
        Ok(0) => return Err(ConnectError::Closed),
        Ok(count) => count,
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(Step::Wait),
            io::ErrorKind::Interrupted => return Ok(Step::Again),
            _ => return Err(error.into()),
        },
    };
    match handshake.feed(&buffer[..count]) {
        ClientStep::NeedMore => Ok(Step::Again),
        ClientStep::Send(bytes) => {
            output.tail().extend_from_slice(&bytes);
            Ok(Step::Again)
        }
        ClientStep::Accepted(accepted) => Ok(Step::Accepted(accepted)),
        ClientStep::Rejected(reject) => Err(ConnectError::Rejected(reject)),
        ClientStep::Nonsense => Err(ConnectError::Nonsense),
    }
}
