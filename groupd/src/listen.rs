//! Where clients connect: the daemon's own socket, Spread's at `/tmp/<port>`, TCP where the file
//! says so, and whatever the service manager passed in.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use group::Address;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::Domain;
use unixproc::log;

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
        /// To be removed at the end; absent where the socket is the service manager's.
        path: Option<PathBuf>,
    },
    Tcp(TcpListener),
}

/// All places where clients connect.
pub(crate) struct Endpoints {
    pub(crate) listeners: Vec<Listener>,
    /// Where the control socket belongs: beside the clients' socket.
    pub(crate) directory: PathBuf,
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
                path: Some(path), ..
            } => path.display().to_string(),
            Listener::Unix { path: None, .. } => "passed-in".to_owned(),
            Listener::Tcp(socket) => socket
                .local_addr()
                .map_or_else(|_| "tcp".to_owned(), |address| address.to_string()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix {
            path: Some(path), ..
        } = self
        {
            // Left behind it does no harm: the next daemon sees that nobody listens there.
            drop(fs::remove_file(path));
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
        let has_unix = listeners
            .iter()
            .any(|listener| matches!(listener, Listener::Unix { .. }));
        let mut directory = PathBuf::from(SYSTEM_DIRECTORY);
        match asked_for(option, settings)? {
            Some(Address::Tcp { host, port }) => {
                let mut addresses = (&*host, port).to_socket_addrs().context(host.clone())?;
                let v4 = addresses
                    .find(SocketAddr::is_ipv4)
                    .context("it has no IPv4 address")?;
                listeners.push(listen_tcp(v4)?);
            }
            // The service manager has opened our socket in its place.
            _ if has_unix => {}
            Some(address) => {
                let path = match address {
                    Address::Port(port) => PathBuf::from(format!("/tmp/{port}")),
                    Address::Path(path) => path,
                    Address::Tcp { .. } => unreachable!("matched above"),
                };
                listeners.push(listen_unix(&path, settings)?);
                directory = path.parent().unwrap_or(Path::new("/")).to_owned();
            }
            None => {
                directory = default_directory()?;
                listeners.push(listen_unix(&directory.join(SOCKET_NAME), settings)?);
            }
        }
        for address in config.tcp_addresses(me) {
            listeners.push(listen_tcp(SocketAddr::V4(address))?);
        }
        if settings.spread_socket {
            listeners.extend(spread_socket(config.layout(me).local, settings, &listeners));
        }
        Ok(Endpoints {
            listeners,
            directory,
        })
    }
}

/// The address asked for, if any: the option, the file, the environment.
fn asked_for(option: Option<&str>, settings: &Settings) -> anyhow::Result<Option<Address>> {
    let variable = std::env::var("GROUPD_SOCKET").ok();
    let value = [option, settings.socket.as_deref(), variable.as_deref()]
        .into_iter()
        .flatten()
        .find(|value| !value.is_empty());
    Ok(value.map(str::parse).transpose()?)
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
    let same = |other: &Listener| matches!(other, Listener::Unix { path: Some(there), .. } if *there == path);
    if others.iter().any(same) {
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
    remove_left_over(path).with_context(name)?;
    // Nobody but this user can connect between here and the end of this function.
    let socket = socket2::Socket::new(Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&socket2::SockAddr::unix(path).with_context(name)?)
        .with_context(name)?;
    let listener = Listener::Unix {
        socket: UnixListener::from_std(OwnedFd::from(socket.try_clone()?).into()),
        path: Some(path.to_owned()),
    };
    give_to_group(path, settings)?;
    fs::set_permissions(path, Permissions::from_mode(mode(settings))).with_context(name)?;
    socket.listen(BACKLOG).with_context(name)?;
    Ok(listener)
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

/// Gives a socket to the group that the file names.
pub(crate) fn give_to_group(path: &Path, settings: &Settings) -> anyhow::Result<()> {
    let Some(group) = &settings.socket_group else {
        return Ok(());
    };
    chown(path, None, Some(group_id(group)?)).with_context(|| path.display().to_string())
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
            Ok(Listener::Unix { socket, path: None })
        }
        _ => Ok(Listener::Tcp(TcpListener::from_std(socket.into()))),
    }
}

/// Makes room for a socket: removes one of this user's that nobody listens on any more.
fn remove_left_over(path: &Path) -> anyhow::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    if !there.file_type().is_socket() {
        bail!("there is something that is no socket");
    }
    if there.uid() != fs::metadata("/proc/self")?.uid() {
        bail!("there is a socket of another user");
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path)?;
            Ok(())
        }
        // Ok, or a full backlog: somebody is there.
        _ => bail!("another daemon listens there"),
    }
}

/// The number of a group, given by number or by name.
fn group_id(group: &str) -> anyhow::Result<u32> {
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
    use super::*;

    #[test]
    fn only_a_dead_socket_is_replaced() {
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

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left over");
        drop(listen_unix(&path, &settings).unwrap());

        fs::write(&path, b"precious").unwrap();
        let error = listen_unix(&path, &settings).err().unwrap();
        assert!(format!("{error:#}").ends_with("something that is no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_dir_all(&directory).unwrap();
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
