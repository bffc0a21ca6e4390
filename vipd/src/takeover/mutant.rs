//! Known bugs, to be planted one at a time: `VIP_MUTANT=name` runs the tests with one of them, and
//! the simulation must catch it (`tools/vip-mutants`). Outside of tests there are none.

/// Whether this bug is planted.
#[cfg(test)]
pub(super) fn planted(name: &str) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| std::env::var("VIP_MUTANT").ok());
    planted.as_deref() == Some(name)
}

/// Whether this bug is planted.
#[cfg(not(test))]
pub(super) const fn planted(_: &str) -> bool {
    false
}
