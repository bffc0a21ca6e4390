//! What files cost on their disk.

use std::fs::File;
use std::io;
use std::ops::Range;
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

/// Number of cachestat(2), the same on every architecture.
const CACHESTAT: libc::c_long = 451;

/// Whether all of these bytes of a file are in memory, so that to read them is to wait for no disk.
/// The kernel may drop them again at any time.
///
/// # Errors
/// The kernel does not tell: it is older than Linux 6.5, or a sandbox keeps it from telling.
pub fn is_cached(file: &File, bytes: Range<u64>) -> io::Result<bool> {
    if bytes.is_empty() {
        return Ok(true);
    }
    // struct cachestat_range and struct cachestat; the first of the counts is that of the pages in
    // memory.
    let range = [bytes.start, bytes.end - bytes.start];
    let mut counts = [0_u64; 5];
    // SAFETY: the kernel reads two and writes five 64-bit numbers, in arrays that outlive the call;
    // the descriptor is borrowed across it.
    let result = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            range.as_ptr(),
            counts.as_mut_ptr(),
            0,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a call without pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = u64::try_from(page).unwrap_or(4096).max(1);
    Ok(counts[0] > (bytes.end - 1) / page - bytes.start / page)
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

    #[test]
    fn what_is_in_memory_is_told() {
        let directory = std::env::current_exe().unwrap();
        let path = directory.with_file_name(format!("cached-{}", std::process::id()));
        fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        match is_cached(&file, 0..1 << 20) {
            Ok(cached) => assert!(cached, "it has just been written"),
            // An older kernel: there is nothing to be seen here.
            Err(error) => return assert_eq!(error.raw_os_error(), Some(libc::ENOSYS)),
        }
        assert!(is_cached(&file, 5..5).unwrap());
        // A hole has no pages in memory until it is read.
        file.set_len(2 << 20).unwrap();
        assert!(!is_cached(&file, 0..2 << 20).unwrap());
        assert!(!is_cached(&file, 1 << 20..(1 << 20) + 1).unwrap());
        assert!(is_cached(&file, 1..1 << 20).unwrap());
        fs::remove_file(&path).unwrap();
    }
}
