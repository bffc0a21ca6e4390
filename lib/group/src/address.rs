//! Where a daemon listens, as people write it.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where groupd listens unless told otherwise.
const SYSTEM_SOCKET: &str = "/run/groupd/socket";

/// The port of Spread, meant by an empty address.
const SPREAD_PORT: u16 = 4803;

/// Where a daemon listens for clients.
///
/// Written as a path (it has a `/`), as a bare port as libspread has it, or as `PORT@HOST`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix-domain socket.
    Path(PathBuf),
    /// `/tmp/PORT`, and where that is absent the default socket.
    Port(u16),
    /// TCP; every address of the host is tried.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

impl Address {
    /// Finds the address that a program should use.
    ///
    /// In this order: `option` from the command line, `file` from its configuration,
    /// `GROUPD_SOCKET`, the default socket. Empty values count as absent.
    ///
    /// Errors: the first value present is not an address.
    pub fn find(option: Option<&str>, file: Option<&str>) -> Result<Address, AddressError> {
        let variable =
            env::var_os("GROUPD_SOCKET").map(|value| value.to_string_lossy().into_owned());
        [option, file, variable.as_deref()]
            .into_iter()
            .flatten()
            .find(|value| !value.is_empty())
            .map_or_else(|| Ok(Address::default()), str::parse)
    }

    /// The socket's path, with a port resolved as libspread does; none for TCP.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Address::Path(path) => Some(path.clone()),
            Address::Port(port) => {
                let path = PathBuf::from(format!("/tmp/{port}"));
                Some(if path.exists() {
                    path
                } else {
                    default_socket()
                })
            }
            Address::Tcp { .. } => None,
        }
    }
}

impl Default for Address {
    /// The default socket, whatever the environment says.
    fn default() -> Address {
        Address::Path(default_socket())
    }
}

/// The default socket: `/run/groupd/socket`, or `$XDG_RUNTIME_DIR/groupd/socket` where only that
/// one exists.
fn default_socket() -> PathBuf {
    let system = PathBuf::from(SYSTEM_SOCKET);
    let own = env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("groupd/socket"));
    match own {
        Some(own) if !system.exists() && own.exists() => own,
        _ => system,
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        if text.is_empty() {
            return Ok(Address::Port(SPREAD_PORT));
        }
        if text.contains('/') {
            return Ok(Address::Path(text.into()));
        }
        let (port, host) = match text.split_once('@') {
            Some((port, host)) => (port, Some(host)),
            None => (text, None),
        };
        // u16 would also parse a leading "+".
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().map_err(|_| AddressError(text.into()))?;
        match host {
            _ if !digits => Err(AddressError(text.into())),
            None => Ok(Address::Port(port)),
            Some("") => Err(AddressError(text.into())),
            Some(host) => Ok(Address::Tcp {
                host: host.into(),
                port,
            }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => write!(f, "{}", path.display()),
            Address::Port(port) => write!(f, "{port}"),
            Address::Tcp { host, port } => write!(f, "{port}@{host}"),
        }
    }
}

/// A text that is no address (SP_ILLEGAL_SPREAD).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl AddressError {
    /// The code of the C library: ILLEGAL_SPREAD.
    pub fn code(&self) -> i32 {
        -1
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a daemon's address must be a path with a '/', a port, or PORT@HOST, got \"{}\"",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_ports_or_port_at_host() {
        let tcp = |host: &str| Address::Tcp {
            host: host.into(),
            port: 4803,
        };
        assert_eq!("/run/x".parse(), Ok(Address::Path("/run/x".into())));
        assert_eq!(
            "./4803@host".parse(),
            Ok(Address::Path("./4803@host".into()))
        );
        assert_eq!("4803".parse(), Ok(Address::Port(4803)));
        assert_eq!("".parse(), Ok(Address::Port(4803)));
        assert_eq!("4803@localhost".parse(), Ok(tcp("localhost")));
        assert_eq!("4803@::1".parse(), Ok(tcp("::1")));
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "localhost",
            "65536",
            "4803@",
            "@host",
            "+4803",
            "48o3",
            "host@4803",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(
                error.to_string().ends_with(&format!("got \"{text}\"")),
                "{error}"
            );
            assert_eq!(error.code(), -1);
        }
    }

    #[test]
    fn addresses_read_back_as_they_are_written() {
        for text in ["/run/x", "4803", "4803@localhost"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_option_wins_over_the_file() {
        assert_eq!(Address::find(Some("1"), Some("2")), Ok(Address::Port(1)));
        assert_eq!(Address::find(None, Some("2")), Ok(Address::Port(2)));
        assert_eq!(Address::find(Some(""), Some("2")), Ok(Address::Port(2)));
    }
}
