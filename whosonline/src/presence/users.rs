//! The users that are online, each in two lists.

use super::index::{Index, NONE};
use super::pages::OTHER_PAGE;
use super::texts::{self, Texts, is_same};
use unixproc::memory::prefetch;

/// A user: 32 bytes, never in two lines of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct User {
    /// Neighbours in the list of all users.
    older: u32,
    pub(super) newer: u32,
    /// Neighbours in the list of the page's users.
    pub(super) page_older: u32,
    page_newer: u32,
    /// [`NONE`] when the user is gone.
    pub(super) page: u32,
    pub(super) seen: u32,
    /// Place and length of the name.
    name: u32,
    name_length: u8,
}

/// Users, each known by an index.
#[derive(Debug)]
pub(super) struct Users {
    users: Vec<User>,
    free: Vec<u32>,
    names: Texts,
    by_name: Index,
    /// The user that was silent longest, and the newest one.
    oldest: u32,
    newest: u32,
}

/// The page that a user was on, and who is the newest there now if it was that user.
pub(super) type Left = (u32, Option<u32>);

impl Users {
    pub(super) fn new() -> Users {
        Users {
            users: Vec::new(),
            free: Vec::new(),
            names: Texts::new(),
            by_name: Index::new(),
            oldest: NONE,
            newest: NONE,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn oldest(&self) -> u32 {
        self.oldest
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.users.capacity() * size_of::<User>()
            + self.free.capacity() * size_of::<u32>()
            + self.by_name.bytes()
            + self.names.bytes()
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&User> {
        self.users.get(at as usize)
    }

    #[inline]
    pub(super) fn name(&self, user: &User) -> &[u8] {
        self.names.get(user.name, user.name_length)
    }

    /// Whether this is a user, and has this name.
    #[inline]
    pub(super) fn is(&self, at: u32, name: &[u8]) -> bool {
        let user = self.get(at);
        user.is_some_and(|user| user.page != NONE && is_same(self.name(user), name))
    }

    /// The user with this name; [`NONE`] if there is none.
    pub(super) fn find(&self, name: &[u8], hash: u32) -> u32 {
        self.by_name.find(hash, |at| self.is(at, name))
    }

    /// Asks for all that [`candidate`](Self::candidate) needs.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: u32) {
        self.by_name.prefetch(hash);
    }

    /// The first user with this hash, which is most often the one; it is asked for.
    #[inline]
    pub(super) fn candidate(&self, hash: u32) -> u32 {
        let at = self.by_name.candidate(hash);
        self.prefetch(at);
        at
    }

    #[inline]
    pub(super) fn prefetch(&self, at: u32) {
        if let Some(user) = self.get(at) {
            prefetch(user);
        }
    }

    /// Asks for all that moving a user needs.
    #[inline]
    pub(super) fn prefetch_around(&self, at: u32) {
        if let Some(user) = self.get(at) {
            for at in [user.older, user.newer, user.page_older, user.page_newer] {
                self.prefetch(at);
            }
            if let Some(byte) = self.name(user).first() {
                prefetch(byte);
            }
        }
    }

    /// A new user, in no list yet.
    pub(super) fn add(&mut self, name: &[u8], hash: u32) -> u32 {
        let user = User {
            older: NONE,
            newer: NONE,
            page_older: NONE,
            page_newer: NONE,
            page: OTHER_PAGE,
            seen: 0,
            name: self.names.insert(name),
            name_length: name.len() as u8,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.users[at as usize] = user;
                at
            }
            None => {
                texts::reserve(&mut self.users, 1);
                self.users.push(user);
                self.users.len() as u32 - 1
            }
        };
        self.by_name.insert(hash, at);
        at
    }

    /// Takes a user out of everything; `hash` is that of the name.
    pub(super) fn remove(&mut self, at: u32, hash: u32) -> Left {
        let left = self.unlink(at);
        let user = &mut self.users[at as usize];
        user.page = NONE;
        self.names.remove(user.name, user.name_length);
        self.by_name.remove(hash, at);
        self.free.push(at);
        left
    }

    /// Puts a user that is in no list at the new end of both.
    #[inline]
    pub(super) fn link(&mut self, at: u32, page: u32, page_older: u32, seen: u32) {
        let user = &mut self.users[at as usize];
        user.seen = seen;
        user.page = page;
        user.older = self.newest;
        user.newer = NONE;
        user.page_older = page_older;
        user.page_newer = NONE;
        match self.users.get_mut(self.newest as usize) {
            Some(newest) => newest.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
        if let Some(older) = self.users.get_mut(page_older as usize) {
            older.page_newer = at;
        }
    }

    /// Takes a user out of both lists.
    #[inline]
    pub(super) fn unlink(&mut self, at: u32) -> Left {
        let User {
            page,
            older,
            newer,
            page_older,
            page_newer,
            ..
        } = self.users[at as usize];
        match self.users.get_mut(older as usize) {
            Some(user) => user.newer = newer,
            None => self.oldest = newer,
        }
        match self.users.get_mut(newer as usize) {
            Some(user) => user.older = older,
            None => self.newest = older,
        }
        if let Some(user) = self.users.get_mut(page_older as usize) {
            user.page_newer = page_newer;
        }
        let newest = match self.users.get_mut(page_newer as usize) {
            Some(user) => {
                user.page_older = page_older;
                None
            }
            None => Some(page_older),
        };
        (page, newest)
    }

    /// Nobody was seen later than this.
    pub(super) fn set_back(&mut self, now: u32) {
        for user in &mut self.users {
            user.seen = user.seen.min(now);
        }
    }
}
