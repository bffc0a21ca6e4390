//! The sessions of this daemon.

use std::collections::BTreeMap;

use super::event::SessionId;
use super::name::PrivateName;

/// The private name is already connected here, or its disconnection is not ordered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnique;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) name: PrivateName,
    pub(crate) wants_membership: bool,
}

/// Sessions by number and by name.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    connected: BTreeMap<SessionId, Session>,
    /// Every name taken; without a session once that is closed, until its KILL is delivered.
    names: BTreeMap<PrivateName, Option<SessionId>>,
}

impl Sessions {
    pub(crate) fn connect(&mut self, id: SessionId, session: Session) -> Result<(), NotUnique> {
        if self.connected.contains_key(&id) || self.names.contains_key(&session.name) {
            return Err(NotUnique);
        }
        self.names.insert(session.name, Some(id));
        self.connected.insert(id, session);
        Ok(())
    }

    /// The session is gone; its name stays taken.
    pub(crate) fn disconnect(&mut self, id: SessionId) -> Option<Session> {
        let session = self.connected.remove(&id)?;
        self.names.insert(session.name, None);
        Some(session)
    }

    /// The KILL of a closed session is delivered.
    pub(crate) fn release(&mut self, name: PrivateName) {
        if self.names.get(&name) == Some(&None) {
            self.names.remove(&name);
        }
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.connected.get(&id)
    }

    /// The connected session of a name.
    pub(crate) fn find(&self, name: PrivateName) -> Option<(SessionId, Session)> {
        let id = (*self.names.get(&name)?)?;
        Some((id, *self.connected.get(&id)?))
    }

    pub(crate) fn len(&self) -> usize {
        self.connected.len()
    }
}
