//! Where clients connect: the daemon's own socket, Spread's at `/tmp/<port>`, TCP where the file
//! says so, and whatever the service manager passed in.

use std::fs;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use group::Address;
use groupd::control;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::Domain;
use unixproc::log;
use unixproc::socket::{self, SocketFile};

use crate::config::{Config, Settings};
use crate::stream::Stream;

/// Our own socket unless something else is said.
const SYSTEM_DIRECTORY: &str = "/run/groupd";
/// Its name in its directory.
const SOCKET_NAME: &str = "socket";
/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// One place where clients connect.
pub(crate) enum Listener {
    Unix {
        socket: UnixListener,
        /// Its name; absent where the socket is the service manager's.
        file: Option<SocketFile>,
    },
    Tcp(TcpListener),
}

/// All places where clients connect.
pub(crate) struct Endpoints {
    pub(crate) listeners: Vec<Listener>,
    /// Where the control socket belongs: beside the clients' socket.
    pub(crate) control: PathBuf,
}

impl Listener {
    /// Takes the next connection that waits; `WouldBlock` if there is none.
    pub(crate) fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Unix { socket, .. } => Ok(Stream::Unix(socket.accept()?.0)),
            Listener::Tcp(socket) => {
                let stream = socket.accept()?.0;
                let options = socket2::SockRef::from(&stream);
                options.set_tcp_nodelay(true)?;
                options.set_keepalive(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    /// Watches for connections.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Unix { socket, .. } => socket.register(registry, token, Interest::READABLE),
            Listener::Tcp(socket) => socket.register(registry, token, Interest::READABLE),
        }
    }

    /// Where it is, for the log.
    pub(crate) fn address(&self) -> String {
        match self {
            Listener::Unix {
                file: Some(file), ..
            } => file.path().display().to_string(),
            Listener::Unix { file: None, .. } => "passed-in".to_owned(),
            Listener::Tcp(socket) => socket
                .local_addr()
                .map_or_else(|_| "tcp".to_owned(), |address| address.to_string()),
        }
    }
}

impl Listener {
    /// The name of a Unix-domain socket that has one.
    fn unix_path(&self) -> Option<PathBuf> {
        match self {
            Listener::Unix { socket, .. } => {
                Some(socket.local_addr().ok()?.as_pathname()?.to_owned())
            }
            Listener::Tcp(_) => None,
        }
    }
}

impl Endpoints {
    /// Opens everything that the command line (`option`) and the file ask of daemon `me`.
    pub(crate) fn open(
        config: &Config,
        me: usize,
        option: Option<&str>,
        inherited: Vec<OwnedFd>,
    ) -> anyhow::Result<Endpoints> {
        let mut listeners = Vec::new();
        for fd in inherited {
            listeners.push(adopt(fd)?);
        }
        let settings = &config.settings;
        let passed_in = listeners.iter().find_map(Listener::unix_path);
        let control = match asked_for(option, settings)? {
            Some(Address::Tcp { host, port }) => {
                let mut addresses = (&*host, port).to_socket_addrs().context(host.clone())?;
                let v4 = addresses
                    .find(SocketAddr::is_ipv4)
                    .context("it has no IPv4 address")?;
                listeners.push(listen_tcp(v4)?);
                control::beside(&default_directory()?.join(SOCKET_NAME))
            }
            // The service manager has opened our socket in its place.
            _ if passed_in.is_some() => control::beside(&passed_in.unwrap_or_default()),
            Some(Address::Port(port)) => {
                let path = PathBuf::from(format!("/tmp/{port}"));
                listeners.push(listen_unix(&path, settings)?);
                control::beside(&path)
            }
            Some(Address::Path(path)) => {
                listeners.push(listen_unix(&path, settings)?);
                control::beside(&path)
            }
            None => {
                let path = default_directory()?.join(SOCKET_NAME);
                listeners.push(listen_unix(&path, settings)?);
                control::beside(&path)
            }
        };
        for address in config.tcp_addresses(me) {
            listeners.push(listen_tcp(SocketAddr::V4(address))?);
        }
        if settings.spread_socket {
            listeners.extend(spread_socket(config.layout(me).local, settings, &listeners));
        }
        Ok(Endpoints { listeners, control })
    }
}

/// The address asked for, if any: the option, the file, the environment.
fn asked_for(option: Option<&str>, settings: &Settings) -> anyhow::Result<Option<Address>> {
    let written = |text: &str| Ok(Some(text.parse()?));
    let variable = std::env::var("GROUPD_SOCKET").ok();
    match (option.filter(|text| !text.is_empty()), &settings.socket) {
        (Some(option), _) => written(option),
        (None, Some(address)) => Ok(Some(address.clone())),
        (None, None) => match variable.as_deref() {
            None | Some("") => Ok(None),
            Some(variable) => written(variable).context("GROUPD_SOCKET"),
        },
    }
}

/// `/run/groupd`, or the user's own directory for such things for who cannot write there.
fn default_directory() -> anyhow::Result<PathBuf> {
    let system = PathBuf::from(SYSTEM_DIRECTORY);
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(|base| Path::new(&base).join("groupd"));
    match (
        fs::create_dir_all(&system).and_then(|()| writable(&system)),
        own,
    ) {
        (Ok(()), _) => Ok(system),
        (Err(_), Some(own)) => {
            fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
            Ok(own)
        }
        (Err(error), None) => Err(error).context(
            "cannot make a socket in /run/groupd, and XDG_RUNTIME_DIR is not set: \
             say with --socket where clients connect",
        ),
    }
}

/// Whether this process can make files there: the mode alone does not say.
fn writable(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".groupd.{}", std::process::id()));
    fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe))
}

/// Spread's socket. What is there already, and is not left over from a daemon of ours, stays: its
/// owner may depend on it, and ours is not the only socket.
fn spread_socket(
    local: SocketAddrV4,
    settings: &Settings,
    others: &[Listener],
) -> Option<Listener> {
    let path = PathBuf::from(format!("/tmp/{}", local.port()));
    let is_there = |other: &Listener| other.unix_path().as_ref() == Some(&path);
    if others.iter().any(is_there) {
        return None;
    }
    match listen_unix(&path, settings) {
        Ok(listener) => Some(listener),
        Err(error) => {
            let reason = format!("{error:#}");
            log::notice(
                "spread-socket-skipped",
                &[("path", &path.display()), ("reason", &reason)],
            );
            None
        }
    }
}

fn listen_unix(path: &Path, settings: &Settings) -> anyhow::Result<Listener> {
    let name = || path.display().to_string();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(name)?;
    }
    let (socket, file) =
        socket::listen(path, mode(settings), group(settings)?, BACKLOG).with_context(name)?;
    Ok(Listener::Unix {
        socket: UnixListener::from_std(socket.into()),
        file: Some(file),
    })
}

/// The mode of the daemon's sockets.
pub(crate) fn mode(settings: &Settings) -> u32 {
    let default = if settings.socket_group.is_some() {
        0o660
    } else {
        0o666
    };
    settings.socket_mode.unwrap_or(default)
}

/// The group of the daemon's sockets, if the file names one.
fn group(settings: &Settings) -> anyhow::Result<Option<u32>> {
    let group = settings.socket_group.as_ref();
    group.map(|group| group_id(&group.text)).transpose()
}

/// Gives a socket to the group that the file names.
pub(crate) fn give_to_group(path: &Path, settings: &Settings) -> anyhow::Result<()> {
    match group(settings)? {
        None => Ok(()),
        group => chown(path, None, group).with_context(|| path.display().to_string()),
    }
}

fn listen_tcp(address: SocketAddr) -> anyhow::Result<Listener> {
    let open = || -> io::Result<Listener> {
        let socket = socket2::Socket::new(Domain::IPV4, socket2::Type::STREAM, None)?;
        // Connections of the last daemon may be in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener::Tcp(TcpListener::from_std(socket.into())))
    };
    open().with_context(|| format!("tcp {address}"))
}

/// Takes a socket that the service manager has opened.
fn adopt(fd: OwnedFd) -> anyhow::Result<Listener> {
    let socket = socket2::Socket::from(fd);
    socket.set_nonblocking(true)?;
    if socket.r#type()? != socket2::Type::STREAM {
        bail!("a socket passed by LISTEN_FDS is not a stream socket");
    }
    match socket.domain()? {
        Domain::UNIX => {
            let socket = UnixListener::from_std(OwnedFd::from(socket).into());
            Ok(Listener::Unix { socket, file: None })
        }
        _ => Ok(Listener::Tcp(TcpListener::from_std(socket.into()))),
    }
}

/// The number of a group, given by number or by name.
pub(crate) fn group_id(group: &str) -> anyhow::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let table = fs::read_to_string("/etc/group").context("/etc/group")?;
    table
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
        })
        .ok_or_else(|| anyhow!("SocketGroup: there is no group {group:?} in /etc/group"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_socket_has_the_mode_and_the_directory_that_it_asks_for() {
        let directory = std::env::temp_dir().join(format!("groupd-listen-{}", std::process::id()));
        let path = directory.join("deeper/socket");
        let settings = Settings {
            socket_mode: Some(0o600),
            ..Settings::default()
        };
        let first = listen_unix(&path, &settings).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let error = listen_unix(&path, &settings).err().unwrap();
        assert!(format!("{error:#}").ends_with("socket: another daemon listens there"));
        drop(first);
        assert!(!path.exists());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_socket_is_given_to_its_group() {
        let directory = std::env::temp_dir().join(format!("groupd-group-{}", std::process::id()));
        let path = directory.join("socket");
        // A group that this process is in, other than its own where there is one.
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
        let group: u32 = match groups.and_then(|groups| groups.split_whitespace().last()) {
            Some(group) => group.parse().unwrap(),
            None => fs::metadata("/proc/self").unwrap().gid(),
        };
        let settings = Settings {
            socket_group: Some(word(&group.to_string())),
            ..Settings::default()
        };
        let listener = listen_unix(&path, &settings).unwrap();
        let file = fs::metadata(&path).unwrap();
        assert_eq!(
            (file.gid(), file.permissions().mode() & 0o777),
            (group, 0o660)
        );
        drop(listener);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn spreads_socket_is_there_if_asked_for_and_nobody_elses_is_taken() {
        // A port that no other test uses; the name is fixed by the protocol.
        let local = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 61_803);
        let path = PathBuf::from("/tmp/61803");
        let settings = Settings::default();
        let ours = spread_socket(local, &settings, &[]).expect("a socket");
        assert!(UnixStream::connect(&path).is_ok());
        assert!(
            spread_socket(local, &settings, &[]).is_none(),
            "it is alive"
        );
        drop(ours);
        fs::write(&path, b"precious").unwrap();
        assert!(
            spread_socket(local, &settings, &[]).is_none(),
            "it is no socket"
        );
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
    }

    fn word(text: &str) -> conf::Word {
        conf::Word {
            text: text.to_owned(),
            line: 1,
            quoted: false,
        }
    }

    #[test]
    fn groups_by_number_and_by_name() {
        assert_eq!(group_id("1234").unwrap(), 1234);
        assert_eq!(group_id("root").unwrap(), 0);
        let error = group_id("no such group").unwrap_err().to_string();
        assert_eq!(
            error,
            "SocketGroup: there is no group \"no such group\" in /etc/group"
        );
    }
}
