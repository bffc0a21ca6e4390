//! A place further ahead in the scheduler's line.

use std::io;

/// Asks for a nice value, as setpriority(2) does for this process: -20 is the most urgent.
///
/// Errors: without CAP_SYS_NICE or a limit (RLIMIT_NICE) that allows it the kernel refuses; the
/// process goes on as before.
pub fn set_nice(value: i32) -> io::Result<()> {
    // SAFETY: setpriority takes numbers only; 0 names this process.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_nicer_is_always_allowed() {
        // SAFETY: getpriority takes numbers only.
        let before = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        set_nice(before).expect("the value that it has");
    }
}
