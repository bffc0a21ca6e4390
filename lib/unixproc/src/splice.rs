//! Bytes from a pipe into a file without passing through this process.
//!
//! What splice(2) has moved is in the file's page cache, and what it has not moved is still in the
//! pipe: a process that is killed holds nothing. Only Linux has it.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Moves up to `length` bytes that are in a pipe into a file, at this offset; gives how many.
///
/// It does not wait for bytes to come: `WouldBlock` if the pipe is empty. 0 is the end of the pipe.
///
/// # Errors
/// As splice(2): `InvalidInput` if one is no pipe, or the file system cannot do it; `StorageFull`
/// and others as write(2), with nothing lost from the pipe.
pub fn splice(pipe: impl AsFd, file: &File, offset: u64, length: usize) -> io::Result<usize> {
    let mut offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (from, to) = (pipe.as_fd().as_raw_fd(), file.as_raw_fd());
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: both descriptors are borrowed across the call, the pipe's offset is null as it must
    // be, and the file's offset is read and written in a variable that outlives the call.
    let count = unsafe {
        let none = std::ptr::null_mut();
        libc::splice(from, none, to, &raw mut offset, length, flags)
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Makes a pipe hold this many bytes; gives how many it holds now.
///
/// # Errors
/// No pipe; `PermissionDenied` above the limit for users (/proc/sys/fs/pipe-max-size).
pub fn set_pipe_size(pipe: impl AsFd, bytes: usize) -> io::Result<usize> {
    let bytes = c_int::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: fcntl with an integer touches no memory; the descriptor is borrowed.
    let size = unsafe { libc::fcntl(pipe.as_fd().as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
    usize::try_from(size).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;

    use super::*;

    #[test]
    fn bytes_go_from_the_pipe_to_their_place_in_the_file() {
        let path = std::env::temp_dir().join(format!("covey-splice-{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.open(&path).unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        assert!(set_pipe_size(&reader, 1 << 17).unwrap() >= 1 << 17);
        let empty = splice(&reader, &file, 0, 100).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        writer.write_all(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(splice(&reader, &file, 3, 8).unwrap(), 8);
        assert_eq!(fs::read(&path).unwrap(), b"\0\0\0one\ntwo\n");
        drop(writer);
        assert_eq!(splice(&reader, &file, 11, 100).unwrap(), 6);
        assert_eq!(splice(&reader, &file, 17, 100).unwrap(), 0);
        assert_eq!(fs::read(&path).unwrap(), b"\0\0\0one\ntwo\nthree\n");
        let no_pipe = splice(&file, &file, 0, 1).unwrap_err();
        assert_eq!(no_pipe.kind(), io::ErrorKind::InvalidInput);
        fs::remove_file(&path).unwrap();
    }
}
