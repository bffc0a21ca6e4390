//! Sockets that the service manager has opened for us (sd_listen_fds(3)).

use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that is passed, SD_LISTEN_FDS_START.
const FIRST: RawFd = 3;

/// Bound: more than this in `LISTEN_FDS` is a mistake.
const COUNT_MAX: RawFd = 1024;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the sockets passed by `LISTEN_FDS`, in their order, closed on exec; empty where
/// `LISTEN_PID` does not name this process.
///
/// To be called before anything is opened: a descriptor of that number is taken for what the
/// variable says it is. A second call gives none. The caller finds out by its address what each
/// socket is for.
///
/// # Errors
/// The variable does not tell the truth: no such descriptor, or no number.
pub fn inherited() -> io::Result<Vec<OwnedFd>> {
    let pid = env::var("LISTEN_PID").ok();
    let count = env::var("LISTEN_FDS").ok();
    let Some(count) = passed(pid.as_deref(), count.as_deref())? else {
        return Ok(Vec::new());
    };
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    (FIRST..FIRST + count).map(take).collect()
}

/// How many descriptors the two variables announce to this process; none if it is not meant.
fn passed(pid: Option<&str>, count: Option<&str>) -> io::Result<Option<RawFd>> {
    if pid.and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(None);
    }
    let Some(text) = count else { return Ok(None) };
    match text.parse() {
        Ok(count) if (0..=COUNT_MAX).contains(&count) => Ok(Some(count)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("LISTEN_FDS must be 0 to {COUNT_MAX}, got {text:?}"),
        )),
    }
}

fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: sets a flag of a descriptor number; an unknown one is refused with EBADF.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        let error = io::Error::last_os_error();
        return Err(io::Error::new(
            error.kind(),
            format!("LISTEN_FDS names descriptor {fd}: {error}"),
        ));
    }
    // SAFETY: it is open, as fcntl has just shown; it was passed to this process to own, and it is
    // taken once, as TAKEN sees to.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_us_is_taken() {
        let own = std::process::id().to_string();
        assert_eq!(passed(Some(&own), Some("2")).unwrap(), Some(2));
        assert_eq!(passed(Some("1"), Some("2")).unwrap(), None);
        assert_eq!(passed(None, Some("2")).unwrap(), None);
        assert_eq!(passed(Some(&own), None).unwrap(), None);
        assert_eq!(
            passed(Some(&own), Some("-1")).unwrap_err().to_string(),
            "LISTEN_FDS must be 0 to 1024, got \"-1\""
        );
    }

    #[test]
    fn a_lie_is_an_error() {
        let error = take(987_654).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("LISTEN_FDS names descriptor 987654: ")
        );
    }
}
