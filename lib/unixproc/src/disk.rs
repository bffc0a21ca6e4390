//! What files cost on their disk.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Bytes that may still be written to the file system of this file by its user.
///
/// # Errors
/// As fstatvfs(3).
pub fn free_bytes(file: impl AsFd) -> io::Result<u64> {
    let mut status = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the struct is as large as the call expects, and all zeroes are a valid one.
    let (result, status) = unsafe {
        let result = libc::fstatvfs(file.as_fd().as_raw_fd(), status.as_mut_ptr());
        (result, status.assume_init())
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Gives the room of a part of a file back to the file system; reading it gives zeroes from now on.
/// The file keeps its length.
///
/// # Errors
/// As fallocate(2): not every file system can.
pub fn punch_hole(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let range = |number: u64| i64::try_from(number).map_err(|_| io::ErrorKind::InvalidInput);
    let (offset, length) = (range(offset)?, range(length)?);
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: a system call on integers; the descriptor is borrowed across it.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_hole_costs_nothing() {
        // Beside the program: a file system that holds programs can do it.
        let directory = std::env::current_exe().unwrap();
        let path = directory.with_file_name(format!("hole-{}", std::process::id()));
        fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.sync_all().unwrap();
        let before = file.metadata().unwrap();
        assert!(free_bytes(&file).unwrap() > 0);
        punch_hole(&file, 0, 1 << 19).unwrap();
        let after = file.metadata().unwrap();
        assert_eq!(after.len(), 1 << 20);
        assert!(after.blocks() < before.blocks());
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes[(1 << 19) - 1], bytes[1 << 19]), (0, b'x'));
        fs::remove_file(&path).unwrap();
    }
}
