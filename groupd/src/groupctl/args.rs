//! The command line of groupctl, and where it leads.

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand};
use group::{Address, ConnectError, GroupName, Name, Options, Service, Session};
use groupd::control;
use unixproc::exit::Failure;

/// Ask groupd, and use it by hand.
#[derive(Debug, Parser)]
#[command(
    name = "groupctl",
    version,
    after_help = "\
Examples, where daemons and clients see each other:
  groupctl status
  groupctl join example --membership
  echo hello | groupctl send example
See groupctl(8)."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which daemon is meant.
#[derive(Debug, Group)]
pub(crate) struct Place {
    /// Where groupd listens: a path, a port N (/tmp/N), or PORT@HOST (TCP)
    #[arg(short, long, value_name = "WHERE", global = true)]
    socket: Option<String>,

    /// Where groupd answers questions; otherwise beside the socket of its clients
    #[arg(long, value_name = "PATH", global = true)]
    control: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the view, the ring and the sessions
    Status(Status),
    /// List the groups that have members
    Groups(Groups),
    /// List the members of a group
    Members(Members),
    /// Join groups and print what they receive
    Join(Join),
    /// Send a message to a group or to a session (`#name#daemon`)
    Send(Send),
    /// Measure how many messages are ordered per second, and how fast
    Flood(Flood),
    /// Make a key that daemons share
    Keygen(Keygen),
}

#[derive(Debug, Group)]
pub(crate) struct Status {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Groups {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Members {
    /// Which group
    pub(crate) group: GroupName,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Join {
    /// Which groups
    #[arg(required = true, value_name = "GROUP")]
    pub(crate) groups: Vec<GroupName>,

    /// Print memberships, too
    #[arg(short, long)]
    pub(crate) membership: bool,

    /// Print JSON, an object per line
    #[arg(long)]
    pub(crate) json: bool,

    /// End after this many lines
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Group)]
pub(crate) struct Send {
    /// Where to
    pub(crate) group: Name,

    /// What; all of stdin if it is missing or `-`
    pub(crate) message: Option<String>,

    /// unreliable, reliable, fifo, causal, agreed or safe
    #[arg(long, value_name = "SERVICE", default_value_t = Service::Agreed)]
    pub(crate) service: Service,

    /// A number that the receivers understand
    #[arg(long = "type", value_name = "NUMBER", default_value_t = 0)]
    pub(crate) mess_type: u16,
}

#[derive(Debug, Group)]
pub(crate) struct Flood {
    /// Bytes of data in a message
    #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=131_072))]
    pub(crate) bytes: u32,

    /// Messages to send
    #[arg(short, long, value_name = "COUNT", default_value_t = 10_000)]
    pub(crate) messages: u32,

    /// Wait until so many members are in the group
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) members: u32,

    /// End when so many senders are done; as many as members unless given
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) senders: Option<u32>,

    /// Which group
    #[arg(short, long, default_value = "flood")]
    pub(crate) group: GroupName,

    /// unreliable, reliable, fifo, causal, agreed or safe
    #[arg(long, value_name = "SERVICE", default_value_t = Service::Agreed)]
    pub(crate) service: Service,

    /// Most own messages on their way
    #[arg(short, long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window: u32,

    /// Send nothing
    #[arg(long, conflicts_with = "send_only")]
    pub(crate) receive_only: bool,

    /// Do not join the group
    #[arg(long, conflicts_with_all = ["members", "senders"])]
    pub(crate) send_only: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Keygen {
    /// The file, which must not exist; - for stdout
    #[arg(default_value = "/etc/groupd/key")]
    pub(crate) file: PathBuf,
}

impl Place {
    /// Opens a session under a name that the daemon invents.
    pub(crate) fn connect(&self, membership: bool) -> Result<Session, Failure> {
        let mut options = Options::new(self.address()?);
        options.membership = membership;
        let address = options.address.clone();
        Session::connect(options).map_err(|error| {
            let hint = match &error {
                ConnectError::Unreachable(error) => hint(error.kind()),
                _ => "",
            };
            let message = format!("cannot connect to groupd at {address}: {error}{hint}");
            Failure::fatal(message)
        })
    }

    /// Where the daemon's control socket is.
    pub(crate) fn control(&self) -> Result<PathBuf, Failure> {
        if let Some(control) = &self.control {
            return Ok(control.clone());
        }
        let address = self.address()?;
        let Some(socket) = address.path() else {
            let message = format!("{address} has no control socket beside it; give --control PATH");
            return Err(Failure::usage(&message));
        };
        let beside = control::beside(&socket);
        match (address, Address::default().path()) {
            // /tmp/PORT may be the second socket of a daemon whose own one is elsewhere.
            (Address::Port(_), Some(own)) if !beside.exists() => Ok(control::beside(&own)),
            _ => Ok(beside),
        }
    }

    fn address(&self) -> Result<Address, Failure> {
        Address::find(self.socket.as_deref(), None).map_err(Failure::fatal)
    }
}

/// What to look at when nobody answers, behind the words of the system.
pub(crate) fn hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ", is groupd running?",
        ErrorKind::PermissionDenied => ", see SocketMode and SocketGroup in spread.conf(5)",
        _ => "",
    }
}
