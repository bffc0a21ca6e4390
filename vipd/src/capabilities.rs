//! What the program may do: CAP_NET_ADMIN and CAP_NET_RAW, and its children nothing.
//!
//! capabilities(7). A child of root gets all that the bounding set has, whatever its parent has
//! given up; so the bounding set is emptied, and the guardian gets its own by the ambient set.

use std::io;

use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs,
};

const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);

/// Gives up all capabilities but two, for this process; its children will have none.
///
/// # Errors
/// The kernel does not let it: one of the two is missing.
pub fn reduce() -> io::Result<()> {
    let mut own = capabilities(None)?;
    // What is to be inheritable must be in the bounding set when it becomes so.
    own.inheritable = KEPT;
    set_capabilities(None, own)?;
    if own.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            // A kernel that does not know one has nothing to take away.
            let _ = remove_capability_from_bounding_set(capability);
        }
        let root_is_nobody =
            CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
        set_capabilities_secure_bits(root_is_nobody)?;
    }
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: KEPT,
            permitted: KEPT,
            inheritable: KEPT,
        },
    )?;
    Ok(())
}

/// Does something during which children are born with CAP_NET_ADMIN.
///
/// # Errors
/// What it says itself, or the kernel does not let it.
pub fn lending<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    configure_capability_in_ambient_set(CapabilitySet::NET_ADMIN, true)?;
    let result = work();
    clear_ambient_capability_set()?;
    result
}
