//! What the system lets this process have.

/// Raises the number of descriptors that this process may have open, as far as the system allows
/// and at most to `wanted`, as setrlimit(2) does; says how many it may have now.
pub fn raise_descriptors(wanted: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: fills the struct that it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        // Cannot happen; what every system allows.
        return 1024;
    }
    let raised = libc::rlimit {
        rlim_cur: wanted.clamp(limit.rlim_cur, limit.rlim_max),
        ..limit
    };
    // SAFETY: reads the struct that it is given.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } {
        0 => raised.rlim_cur,
        _ => limit.rlim_cur,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_lowered() {
        let now = raise_descriptors(0);
        assert!(now > 0);
        assert_eq!(raise_descriptors(1), now);
    }
}
