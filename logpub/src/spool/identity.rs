//! What a lane is: a small text file in its directory.
//!
//! ```text
//! stream 00112233445566778899aabbccddeeff
//! boot 2ca9e1b4-...
//! input 12:34567
//! group www
//! ```
//!
//! `boot` and `input` say whose bytes these are: a process whose stdin is the same pipe in the same
//! boot of the machine goes on where the last one stopped, in the middle of a line if need be.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use group::GroupName;
use weblog::stream::StreamId;

/// Bound: bytes of an identity that are read.
const TEXT_BYTES_MAX: u64 = 4096;

/// Who writes into a lane; what is empty is like nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// This start of the machine.
    pub(crate) boot: String,
    /// Device and inode of a pipe or socket, which is the same for whoever inherits it.
    pub(crate) input: String,
}

impl Origin {
    /// Where the bytes of an input come from. One that is neither pipe nor socket has no name: the
    /// same file may be read twice.
    ///
    /// # Errors
    /// The input is closed.
    pub(crate) fn of(input: impl AsFd) -> io::Result<Origin> {
        let metadata = File::from(input.as_fd().try_clone_to_owned()?).metadata()?;
        let lasting = metadata.file_type().is_fifo() || metadata.file_type().is_socket();
        Ok(Origin {
            boot: boot(),
            input: match lasting {
                true => format!("{}:{}", metadata.dev(), metadata.ino()),
                false => String::new(),
            },
        })
    }

    /// Whether bytes from here continue a lane of that origin.
    pub(crate) fn continues(&self, lane: &Origin) -> bool {
        !self.boot.is_empty() && !self.input.is_empty() && self == lane
    }
}

/// Bytes that nobody can foresee.
///
/// # Errors
/// There are none.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The start of the machine; empty where the kernel does not say.
pub(crate) fn boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// What stands in a lane's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) stream: StreamId,
    pub(crate) origin: Origin,
    pub(crate) group: GroupName,
}

impl Identity {
    /// A new lane.
    ///
    /// # Errors
    /// There is no randomness.
    pub(crate) fn new(origin: Origin, group: GroupName) -> io::Result<Identity> {
        Ok(Identity {
            stream: StreamId(random()?),
            origin,
            group,
        })
    }

    /// The name of the lane's directory: the stream.
    pub(crate) fn name(&self) -> String {
        hex(self.stream)
    }

    /// The text of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Origin { boot, input } = &self.origin;
        let mut text =
            format!("stream {}\nboot {boot}\ninput {input}\ngroup ", self.name()).into_bytes();
        text.extend_from_slice(self.group.name().as_bytes());
        text.push(b'\n');
        text
    }

    /// Reads the file of a lane.
    ///
    /// # Errors
    /// It cannot be read; `InvalidData` if it is something else.
    pub(crate) fn load(file: &File) -> io::Result<Identity> {
        let mut text = Vec::new();
        file.take(TEXT_BYTES_MAX).read_to_end(&mut text)?;
        Identity::decode(&text).ok_or_else(|| {
            let message = "not a lane: stream, boot, input, group";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    fn decode(text: &[u8]) -> Option<Identity> {
        let mut lines = text.strip_suffix(b"\n")?.split(|&byte| byte == b'\n');
        let mut value = |key: &[u8]| lines.next()?.strip_prefix(key)?.strip_prefix(b" ");
        let word = |bytes: &[u8]| Some(std::str::from_utf8(bytes).ok()?.to_owned());
        let identity = Identity {
            stream: unhex(value(b"stream")?)?,
            origin: Origin {
                boot: word(value(b"boot")?)?,
                input: word(value(b"input")?)?,
            },
            group: GroupName::new(value(b"group")?).ok()?,
        };
        lines.next().is_none().then_some(identity)
    }
}

/// A stream as it is written everywhere.
pub(crate) fn hex(stream: StreamId) -> String {
    stream.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a lane may be called so.
pub(super) fn is_name(name: &str) -> bool {
    unhex(name.as_bytes()).is_some()
}

fn unhex(text: &[u8]) -> Option<StreamId> {
    let number = u128::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()?;
    // One text for each stream: no sign, no capitals, no missing zeroes.
    let stream = StreamId(number.to_be_bytes());
    (hex(stream).as_bytes() == text).then_some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let origin = Origin {
            boot: "2ca9e1b4".to_owned(),
            input: "12:345".to_owned(),
        };
        Identity::new(origin, "www".parse().unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let identity = identity();
        let text = identity.encode();
        assert_eq!(Identity::decode(&text), Some(identity.clone()));
        for length in 0..text.len() {
            assert_eq!(Identity::decode(&text[..length]), None);
        }
        for index in 0..text.len() {
            for value in [0, b'\n', b' ', b'0', 0xff] {
                let mut changed = text.clone();
                changed[index] = value;
                if let Some(other) = Identity::decode(&changed) {
                    assert_eq!(other.encode(), changed);
                }
            }
        }
    }

    #[test]
    fn only_the_same_pipe_of_the_same_boot_goes_on() {
        let origin = identity().origin;
        assert!(origin.continues(&origin));
        let mut other = origin.clone();
        other.boot = "another".to_owned();
        assert!(!origin.continues(&other));
        let file = Origin::default();
        assert!(!file.continues(&file));
        let (reader, writer) = io::pipe().unwrap();
        assert_eq!(Origin::of(&reader).unwrap(), Origin::of(&writer).unwrap());
        assert_ne!(Origin::of(&reader).unwrap().input, "");
        let file = File::open("/dev/null").unwrap();
        assert_eq!(Origin::of(file).unwrap().input, "");
    }
}
