//! What a session of a kept log is called, and what a membership is.

use group::GroupId;
use weblog::stream::{LOGGER_MARK, ViewId};

/// `=`, which marks loggers, and what no other session of the daemon has: 10 bytes at most.
pub(super) fn session_name(index: usize) -> String {
    let mark = LOGGER_MARK as char;
    match index {
        0 => format!("{mark}{}", std::process::id()),
        index => format!("{mark}{:x}.{index:x}", std::process::id()),
    }
}

/// The bytes of a membership's identity.
pub(super) fn view_id(gid: GroupId) -> ViewId {
    let mut view = [0; 12];
    for (to, value) in view
        .chunks_exact_mut(4)
        .zip([gid.proc_id, gid.time, gid.index])
    {
        to.copy_from_slice(&value.to_be_bytes());
    }
    ViewId(view)
}
