//! Who is in the control group: what publishers and loggers must judge alike.

use std::collections::BTreeSet;

/// A session's private group, `#name#daemon`.
pub type SessionName = Box<[u8]>;

/// What private names of sequenced publishers begin with.
pub const PUBLISHER_MARK: u8 = b'~';

/// What private names of loggers begin with.
pub const LOGGER_MARK: u8 = b'=';

/// Whether a private group is a logger's.
pub(super) fn is_logger(session: &[u8]) -> bool {
    session.strip_prefix(b"#").unwrap_or(session).first() == Some(&LOGGER_MARK)
}

/// Whether a private group is a sequenced publisher's.
pub(super) fn is_publisher(session: &[u8]) -> bool {
    session.strip_prefix(b"#").unwrap_or(session).first() == Some(&PUBLISHER_MARK)
}

/// The loggers of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Loggers {
    sessions: Option<BTreeSet<SessionName>>,
}

impl Loggers {
    /// Takes a membership of the control group; gives whether it is a reset: the network has
    /// changed, or a logger has come or gone. The first one always is.
    pub(super) fn change(&mut self, members: &[SessionName], network: bool) -> bool {
        let sessions: BTreeSet<SessionName> = members
            .iter()
            .filter(|session| is_logger(session))
            .cloned()
            .collect();
        let same = self.sessions.as_ref() == Some(&sessions);
        self.sessions = Some(sessions);
        network || !same
    }

    /// The session is over.
    pub(super) fn clear(&mut self) {
        self.sessions = None;
    }

    /// The loggers, in order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &SessionName> {
        self.sessions.iter().flatten()
    }

    /// Whether a session is one of them.
    pub(super) fn contains(&self, session: &[u8]) -> bool {
        self.sessions
            .as_ref()
            .is_some_and(|sessions| sessions.contains(session))
    }
}
