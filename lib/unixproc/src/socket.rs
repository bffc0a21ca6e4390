//! Unix-domain sockets that a daemon listens on, and their names in the file system.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The name of a listening socket. It is removed when this is dropped, if it is still that socket's:
/// somebody else's socket that has taken the place stays.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| identity(&there) == self.identity) {
            // Left behind it does no harm: the next daemon sees that nobody listens there.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Makes a non-blocking stream socket at `path` with these permissions, and listens on it.
///
/// A socket of this user on which nobody listens any more is replaced. The mode is never wider than
/// asked for, as nobody can connect before the socket listens.
///
/// # Errors
/// `AddrInUse` if a socket is there that is in use or another user's, `AlreadyExists` if it is no
/// socket, both with a word; otherwise what the system says.
pub fn listen(
    path: &Path,
    mode: u32,
    group: Option<u32>,
    backlog: i32,
) -> io::Result<(OwnedFd, SocketFile)> {
    remove_left_over(path, fs::metadata("/proc/self")?.uid())?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(&fs::symlink_metadata(path)?),
    };
    if group.is_some() {
        chown(path, None, group)?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    Ok((socket.into(), file))
}

/// Makes room at `path` if what is there is `me`'s, and nobody listens on it any more.
fn remove_left_over(path: &Path, me: u32) -> io::Result<()> {
    let refuse = |kind, what| Err(io::Error::new(kind, what));
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    if !there.file_type().is_socket() {
        let what = "there is something that is no socket";
        return refuse(io::ErrorKind::AlreadyExists, what);
    }
    if there.uid() != me {
        return refuse(
            io::ErrorKind::AddrInUse,
            "there is a socket of another user",
        );
    }
    // A daemon that hangs takes no connections: asking must not wait for it.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Ok, or a full backlog: somebody is there.
        _ => refuse(io::ErrorKind::AddrInUse, "another daemon listens there"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn scratch(test: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("covey-{test}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory.join("socket")
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let path = scratch("replace");
        let first = listen(&path, 0o600, None, 1).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = listen(&path, 0o600, None, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), "another daemon listens there");
        drop(first);
        assert!(!path.exists());

        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left over");
        drop(listen(&path, 0o600, None, 1).unwrap());

        fs::write(&path, b"precious").unwrap();
        let error = listen(&path, 0o600, None, 1).unwrap_err();
        assert_eq!(error.to_string(), "there is something that is no socket");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_socket_of_another_user_stays_though_nobody_listens() {
        let path = scratch("foreign");
        drop(UnixListener::bind(&path).unwrap());
        let owner = fs::metadata(&path).unwrap().uid();
        let error = remove_left_over(&path, owner + 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), "there is a socket of another user");
        assert!(path.exists());
        remove_left_over(&path, owner).unwrap();
        assert!(!path.exists());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_daemon_that_takes_no_connections_is_not_waited_for() {
        let path = scratch("hung");
        let (_hung, _file) = listen(&path, 0o600, None, 0).unwrap();
        let connect = || {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            client
                .connect(&SockAddr::unix(&path).unwrap())
                .map(|()| client)
        };
        let mut waiting = Vec::new();
        while let Ok(client) = connect() {
            waiting.push(client);
        }
        let error = listen(&path, 0o600, None, 1).unwrap_err();
        assert_eq!(error.to_string(), "another daemon listens there");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_socket_that_took_the_place_stays() {
        let path = scratch("place");
        let (_, ours) = listen(&path, 0o600, None, 1).unwrap();
        // Both exist at a time, so that they cannot share an inode.
        let other = path.with_file_name("other");
        let _theirs = UnixListener::bind(&other).unwrap();
        fs::rename(&other, &path).unwrap();
        drop(ours);
        assert!(path.exists());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
