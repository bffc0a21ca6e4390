//! A client's session with its daemon.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::address::Address;
use crate::connecting::Connecting;
use crate::error::{ConnectError, ReceiveError, SendError};
use crate::event::Event;
use crate::handshake::{Accepted, Version};
use crate::name::{GroupName, NAME_LENGTH, Name, PrivateName};
use crate::output::Output;
use crate::wire::{
    ByteOrder, Delivery, FrameDecoder, GROUPS_MAX, HEADER_LENGTH, Header, Hint, Kind, Limits,
    PAYLOAD_MAX, encode_message,
};

/// Bytes asked for in one read: hundreds of small messages for one system call.
const READ_BYTES: usize = 256 << 10;

/// How a session is opened, and opened again.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the daemon listens.
    pub address: Address,
    /// The private name; none leaves it to the daemon.
    pub name: Option<PrivateName>,
    /// Whether to get membership messages, transitional signals and self-leaves.
    pub membership: bool,
    /// How long connecting and the handshake may take together.
    pub timeout: Duration,
    /// Most bytes that wait to be written. A single message always fits.
    pub output_bytes_max: usize,
}

impl Options {
    /// Options for a daemon: an invented name, no memberships, 5 s, 1 MiB.
    pub fn new(address: Address) -> Options {
        Options {
            address,
            name: None,
            membership: false,
            timeout: Duration::from_secs(5),
            output_bytes_max: 1 << 20,
        }
    }
}

/// A connection to a daemon.
///
/// It blocks until [`set_nonblocking`](Self::set_nonblocking) is called. A session that blocks
/// writes each request at once, and waits while the daemon takes no more; a program that only
/// sends must still receive now and then if it is a member of anything, or the daemon will end its
/// session.
///
/// One that does not block keeps what the daemon does not take, up to
/// [`Options::output_bytes_max`], then answers [`SendError::Full`]. In the program's loop:
/// register the descriptor; when it is readable, call [`try_receive`](Self::try_receive) until
/// there is nothing; when [`wants_write`](Self::wants_write), wait until it is writable and call
/// [`flush`](Self::flush). Call `try_receive` once after connecting, too: what came with the
/// handshake is not announced by the descriptor.
#[derive(Debug)]
pub struct Session {
    options: Options,
    socket: Socket,
    private_group: Name,
    version: Version,
    nonblocking: bool,
    decoder: FrameDecoder,
    scratch: Box<[u8]>,
    output: Output,
    /// The groups to join again after a reconnect.
    joined: BTreeSet<GroupName>,
}

impl Session {
    /// Opens a session, as SP_connect.
    ///
    /// Errors: see [`ConnectError`]; nothing is left open.
    pub fn connect(options: Options) -> Result<Session, ConnectError> {
        Connecting::begin(options, Instant::now())?.wait()
    }

    /// A session that does not block, from a connection after its handshake.
    pub(crate) fn new(options: Options, socket: Socket, accepted: Accepted) -> Session {
        let mut decoder = FrameDecoder::for_deliveries(Limits::CLIENT);
        decoder.feed(&accepted.leftover);
        Session {
            socket,
            private_group: accepted.private_group,
            version: accepted.version,
            nonblocking: true,
            decoder,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            output: Output::new(options.output_bytes_max),
            joined: BTreeSet::new(),
            options,
        }
    }

    /// Opens the session anew with the same options and joins the same groups.
    ///
    /// What was queued or received and not taken is dropped. Blocks for up to
    /// [`Options::timeout`] in either mode; [`Link`](crate::Link) does not. The descriptor
    /// changes: register it again.
    ///
    /// Errors: as [`connect`](Self::connect); the old connection stays, as useless as it was.
    pub fn reconnect(&mut self) -> Result<(), ConnectError> {
        let mut session = Session::connect(self.options.clone())?;
        let mut joins = Vec::new();
        for group in &self.joined {
            joins.extend_from_slice(&request(Kind::JOIN_MESS, session.private_group, group));
        }
        let socket = &session.socket;
        socket.set_write_timeout(Some(self.options.timeout))?;
        write_all(socket, &joins)?;
        socket.set_write_timeout(None)?;
        session.set_nonblocking(self.nonblocking)?;
        session.joined = std::mem::take(&mut self.joined);
        *self = session;
        Ok(())
    }

    /// Ends the session in order, as SP_disconnect: what was sent before is still delivered.
    ///
    /// Waits up to [`Options::timeout`] for the daemon to close. Dropping a session ends it as
    /// well, but on TCP the last messages may be lost if unread ones had arrived.
    ///
    /// Errors: the connection was lost before all was written.
    pub fn disconnect(mut self) -> Result<(), SendError> {
        let kill = request(Kind::KILL_MESS, self.private_group, &self.private_group);
        self.output.tail().extend_from_slice(&kill);
        self.finish().map_err(SendError::Lost)
    }

    fn finish(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + self.options.timeout;
        self.socket.set_nonblocking(false)?;
        self.socket.set_write_timeout(Some(remaining(deadline)?))?;
        self.output.write_to(&self.socket)?;
        self.socket.shutdown(Shutdown::Write)?;
        // Closing with unread input would reset a TCP connection, and with it what was just sent.
        while let Ok(left) = remaining(deadline) {
            self.socket.set_read_timeout(Some(left))?;
            if matches!((&self.socket).read(&mut self.scratch), Ok(0) | Err(_)) {
                break;
            }
        }
        Ok(())
    }

    /// Joins a group, as SP_join. With memberships, the answer is a membership with this session
    /// in it; joining twice is no error and has no answer.
    pub fn join(&mut self, group: GroupName) -> Result<(), SendError> {
        self.queue_raw(&request(Kind::JOIN_MESS, self.private_group, &group))?;
        self.joined.insert(group);
        self.flush()
    }

    /// Leaves a group, as SP_leave. With memberships, the answer is a self-leave; leaving a group
    /// that the session is not in has no answer.
    pub fn leave(&mut self, group: GroupName) -> Result<(), SendError> {
        self.queue_raw(&request(Kind::LEAVE_MESS, self.private_group, &group))?;
        self.joined.remove(&group);
        self.flush()
    }

    /// Sends data to groups and private groups, as SP_multicast; the session need not be a member.
    ///
    /// `mess_type` is passed on as it is. At most 100 destinations, and 143,952 bytes of data plus
    /// 32 per destination.
    ///
    /// Errors: see [`SendError`].
    pub fn multicast(
        &mut self,
        delivery: impl Into<Delivery>,
        groups: &[impl AsRef<Name>],
        mess_type: u16,
        data: &[u8],
    ) -> Result<(), SendError> {
        self.queue(delivery, groups, mess_type, data)?;
        self.flush()
    }

    /// Queues a message without writing it: many of them go out by one [`flush`](Self::flush).
    ///
    /// When the queue is full, it is written first. Errors: as [`multicast`](Self::multicast).
    pub fn queue(
        &mut self,
        delivery: impl Into<Delivery>,
        groups: &[impl AsRef<Name>],
        mess_type: u16,
        data: &[u8],
    ) -> Result<(), SendError> {
        if groups.len() > GROUPS_MAX {
            return Err(SendError::TooManyGroups);
        }
        let payload = data.len() + NAME_LENGTH * groups.len();
        if payload > PAYLOAD_MAX {
            return Err(SendError::TooLong);
        }
        self.make_room(HEADER_LENGTH + payload)?;
        let header = Header {
            kind: delivery.into().kind(),
            order: ByteOrder::NATIVE,
            name: self.private_group,
            group_count: groups.len() as u32,
            hint: Hint::new(mess_type, ByteOrder::NATIVE),
            data_length: data.len() as u32,
        };
        let fields = groups.iter().map(|group| group.as_ref().to_field());
        encode_message(self.output.tail(), &header, fields, data);
        Ok(())
    }

    /// Writes what is queued: all of it if the session blocks, else what the daemon takes now.
    ///
    /// Errors: the connection is lost.
    pub fn flush(&mut self) -> Result<(), SendError> {
        match self.output.write_to(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result.map_err(SendError::Lost),
        }
    }

    /// Whether anything is queued: wait until the session is writable, then flush.
    pub fn wants_write(&self) -> bool {
        self.output.queued_bytes() > 0
    }

    /// Waits for the next event, as SP_receive.
    ///
    /// Errors: see [`ReceiveError`]; `WouldBlock` if the session does not block or the time set by
    /// [`set_receive_timeout`](Self::set_receive_timeout) is over.
    pub fn receive(&mut self) -> Result<Event, ReceiveError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Event::from_frame(frame)?);
            }
            match (&self.socket).read(&mut self.scratch) {
                Ok(0) => return Err(ReceiveError::Closed),
                Ok(count) => self.decoder.feed(&self.scratch[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Err(ReceiveError::WouldBlock),
                    io::ErrorKind::ConnectionReset => return Err(ReceiveError::Closed),
                    _ => return Err(ReceiveError::Lost(error)),
                },
            }
        }
    }

    /// Takes the next event if there is one.
    ///
    /// None: nothing has arrived. A session that blocks is not read from here: only events that
    /// came along with the last received one are found.
    ///
    /// Errors: as [`receive`](Self::receive), never `WouldBlock`.
    pub fn try_receive(&mut self) -> Result<Option<Event>, ReceiveError> {
        if !self.nonblocking {
            let frame = self.decoder.next_frame()?;
            return Ok(frame.map(Event::from_frame).transpose()?);
        }
        match self.receive() {
            Ok(event) => Ok(Some(event)),
            Err(ReceiveError::WouldBlock) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets whether calls wait for the daemon.
    pub fn set_nonblocking(&mut self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)?;
        self.nonblocking = nonblocking;
        Ok(())
    }

    /// Bounds how long [`receive`](Self::receive) waits for bytes; none for ever. A reconnect
    /// resets it.
    pub fn set_receive_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// The session's own group, `#name#daemon`: its identity, until it reconnects.
    pub fn private_group(&self) -> Name {
        self.private_group
    }

    /// The daemon's version.
    pub fn daemon_version(&self) -> Version {
        self.version
    }

    /// Queues a request, written or not.
    fn queue_raw(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.make_room(bytes.len())?;
        self.output.tail().extend_from_slice(bytes);
        Ok(())
    }

    /// Bound: the queue. The policy is to write first, and to refuse what still has no room.
    fn make_room(&mut self, length: usize) -> Result<(), SendError> {
        if self.output.has_room(length) {
            return Ok(());
        }
        self.flush()?;
        if self.output.has_room(length) {
            Ok(())
        } else {
            Err(SendError::Full)
        }
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Session {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A join, leave or kill: a header and one name.
fn request(
    kind: Kind,
    sender: Name,
    group: &impl AsRef<Name>,
) -> [u8; HEADER_LENGTH + NAME_LENGTH] {
    let header = Header {
        kind,
        order: ByteOrder::NATIVE,
        name: sender,
        group_count: 1,
        hint: Hint::new(0, ByteOrder::NATIVE),
        data_length: 0,
    };
    let mut bytes = [0; HEADER_LENGTH + NAME_LENGTH];
    bytes[..HEADER_LENGTH].copy_from_slice(&header.encode());
    bytes[HEADER_LENGTH..].copy_from_slice(&group.as_ref().to_field());
    bytes
}

fn write_all(mut socket: &Socket, bytes: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut socket, bytes)
}

/// What is left until `deadline`; never zero, which would mean no timeout at all.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}
