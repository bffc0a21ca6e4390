//! One vipd in a network namespace: whatever carries its tag there is its own.

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::kernel::Kernel;

/// Seen by all programs of a network namespace, whatever files they see.
const NAME: &str = "covey.vipd";

/// The place of the one vipd, or of whoever cleans up behind it; free when its process has ended.
#[derive(Debug)]
pub struct Alone {
    _name: UnixListener,
}

impl Alone {
    /// Takes the place.
    ///
    /// # Errors
    /// `AddrInUse` if a vipd runs here.
    pub fn take() -> io::Result<Alone> {
        let name = SocketAddr::from_abstract_name(NAME)?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Alone { _name: listener }),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                Err(io::Error::new(error.kind(), "another vipd runs here"))
            }
            Err(error) => Err(error),
        }
    }
}

/// Removes every address that a vipd has left behind; gives their number.
///
/// # Errors
/// `AddrInUse` if one runs here, which would bring them back; or what the kernel says.
pub fn purge() -> io::Result<usize> {
    let _alone = Alone::take()?;
    Kernel::open()?.purge()
}
