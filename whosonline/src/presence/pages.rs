//! The pages that users are on.

use std::collections::VecDeque;

use super::index::{Index, NONE};
use super::texts::is_same;
use unixproc::memory::prefetch;

/// What pages are called that there is no room for.
pub const OTHER: &[u8] = b"(other)";

/// Index of [`OTHER`].
pub(super) const OTHER_PAGE: u32 = 0;

/// A page, and the newest end of the list of its users.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) url: Box<[u8]>,
    pub(super) users: u32,
    pub(super) newest: u32,
    hash: u32,
    /// Whether it stands in the queue of those that can be given up.
    is_queued: bool,
}

/// Pages, each known by an index.
///
/// A page that everybody has left keeps its place until another page needs it: most are soon
/// loaded again.
#[derive(Debug)]
pub(super) struct Pages {
    pages: Vec<Page>,
    by_url: Index,
    /// Pages with users, [`OTHER`] not counted, and the bound of this.
    used: usize,
    used_max: usize,
    /// Pages that everybody had left at some time, and perhaps not for ever.
    emptied: VecDeque<u32>,
}

impl Pages {
    pub(super) fn new(used_max: u32) -> Pages {
        Pages {
            pages: vec![Page::new(OTHER, 0)],
            by_url: Index::new(),
            used: 0,
            used_max: used_max as usize,
            emptied: VecDeque::new(),
        }
    }

    /// How many have users, [`OTHER`] not counted.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&Page> {
        self.pages.get(at as usize)
    }

    /// All that have users.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Page> {
        self.pages.iter().filter(|page| page.users > 0)
    }

    /// Asks for all that [`candidate`](Self::candidate) needs.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: u32) {
        self.by_url.prefetch(hash);
    }

    /// The first page with this hash, which is most often the one; it is asked for.
    #[inline]
    pub(super) fn candidate(&self, hash: u32) -> u32 {
        let at = self.by_url.candidate(hash);
        if let Some(page) = self.get(at) {
            prefetch(page);
        }
        at
    }

    /// Asks for a page's URL; gives its newest user.
    #[inline]
    pub(super) fn prefetch_around(&self, at: u32) -> Option<u32> {
        let page = self.get(at)?;
        prefetch(page.url.first()?);
        Some(page.newest)
    }

    /// The page with this URL; [`NONE`] if there is none.
    pub(super) fn find(&self, url: &[u8], hash: u32) -> u32 {
        if url == OTHER {
            return OTHER_PAGE;
        }
        self.by_url.find(hash, |at| self.is_at(at, url))
    }

    #[inline]
    fn is_at(&self, at: u32, url: &[u8]) -> bool {
        self.get(at).is_some_and(|page| is_same(&page.url, url))
    }

    /// The page with this URL, which may be `guess`; [`OTHER`] where there is no room for it.
    #[inline]
    pub(super) fn for_user(&mut self, url: &[u8], hash: u32, guess: u32) -> u32 {
        let mut at = guess;
        if !self.is_at(at, url) {
            at = self.find(url, hash);
        }
        let is_used = self.get(at).is_some_and(|page| page.users > 0);
        if is_used {
            return at;
        }
        if self.used >= self.used_max {
            return OTHER_PAGE;
        }
        if at == NONE { self.add(url, hash) } else { at }
    }

    /// Adds a page; fewer than the bound have users.
    fn add(&mut self, url: &[u8], hash: u32) -> u32 {
        let page = Page::new(url, hash);
        let at = if self.pages.len() <= self.used_max {
            self.pages.push(page);
            self.pages.len() as u32 - 1
        } else {
            let at = self.take_emptied();
            self.by_url.remove(self.pages[at as usize].hash, at);
            self.pages[at as usize] = page;
            at
        };
        self.by_url.insert(hash, at);
        at
    }

    /// The page that has been without users for longest, or nearly so.
    fn take_emptied(&mut self) -> u32 {
        loop {
            // Every page without users is in the queue.
            let at = self.emptied.pop_front().expect("a page without users");
            let page = &mut self.pages[at as usize];
            page.is_queued = false;
            if page.users == 0 {
                return at;
            }
        }
    }

    /// A user has come to a page; gives who was the newest there before.
    #[inline]
    pub(super) fn enter(&mut self, at: u32, user: u32) -> u32 {
        let page = &mut self.pages[at as usize];
        self.used += usize::from(page.users == 0 && at != OTHER_PAGE);
        page.users += 1;
        std::mem::replace(&mut page.newest, user)
    }

    /// A user has left a page; `newest` is who is the newest there now, if it was that user.
    #[inline]
    pub(super) fn leave(&mut self, at: u32, newest: Option<u32>) {
        let page = &mut self.pages[at as usize];
        page.users -= 1;
        if let Some(newest) = newest {
            page.newest = newest;
        }
        if page.users == 0 && at != OTHER_PAGE {
            self.used -= 1;
            if !page.is_queued {
                page.is_queued = true;
                self.emptied.push_back(at);
            }
        }
    }
}

impl Page {
    fn new(url: &[u8], hash: u32) -> Page {
        Page {
            url: url.into(),
            users: 0,
            newest: NONE,
            hash,
            is_queued: false,
        }
    }
}
