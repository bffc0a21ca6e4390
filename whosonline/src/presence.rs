//! Who is online, and on which page: everything in constant time.
//!
//! Hits come in the order of time. So "sorted by time" is nothing but "appended": the users stand
//! in one list from the longest silent to the newest, and each page has a list of its users with
//! the newest in front. Both are threaded through the users themselves, by index. A hit unlinks
//! its user from both and links it anew at the new ends; expiry takes users off the old end of
//! the first. What the 2004 module did with three skip lists needs no search at all but that of a
//! user or page by name, in a hash table that is keyed against hostile names.

mod arrivals;
mod index;
mod pages;
mod texts;
mod users;

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hasher as _};

pub use arrivals::Arrivals;
use foldhash::quality::RandomState;
use index::NONE;
pub use pages::OTHER;
use pages::Pages;
pub(crate) use texts::is_same;
use users::{User, Users};

/// Longest name of a user, in bytes; a longer one is cut.
pub const USER_BYTES_MAX: usize = 255;

/// Longest name of a page, in bytes; a longer one is cut.
pub const PAGE_BYTES_MAX: usize = 2048;

/// Bounds on time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A user is online until so many seconds have passed since the last hit, this second
    /// included.
    pub window: u32,
    /// When so many users are online, a new one takes the place of the one that was silent
    /// longest.
    pub users_max: u32,
    /// When so many pages have users, those on others are on [`OTHER`].
    pub pages_max: u32,
}

/// The table of users and pages.
#[derive(Debug)]
pub struct Presence {
    limits: Limits,
    now: u32,
    hasher: RandomState,
    users: Users,
    pages: Pages,
    evicted: u64,
}

/// A user has loaded a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hit<'a> {
    /// When, in seconds; time does not go back.
    pub seen: u32,
    /// The user's name.
    pub user: Cow<'a, [u8]>,
    /// The page.
    pub page: Cow<'a, [u8]>,
}

/// The hashes of the names of a hit's user and page.
#[derive(Clone, Copy, Debug, Default)]
struct Hashes {
    user: u32,
    page: u32,
}

/// Somebody online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit<'a> {
    /// The user's name.
    pub user: &'a [u8],
    /// The last page.
    pub page: &'a [u8],
    /// Seconds since then.
    pub age: u32,
}

impl Presence {
    /// Nobody is online.
    pub fn new(limits: Limits) -> Presence {
        Presence {
            limits,
            now: 0,
            hasher: RandomState::default(),
            users: Users::new(),
            pages: Pages::new(limits.pages_max),
            evicted: 0,
        }
    }

    /// How many users are online.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// How many pages have users, [`OTHER`] not counted.
    pub fn page_count(&self) -> usize {
        self.pages.used()
    }

    /// Users that had to make room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The time, in seconds.
    pub fn now(&self) -> u32 {
        self.now
    }

    /// Lets time pass up to `now`, in seconds; it does not go back.
    #[inline]
    pub fn advance(&mut self, now: u32) {
        if now > self.now {
            self.now = now;
            self.expire();
        }
    }

    /// The time was wrong: it is `now`, and nobody was seen later than that.
    pub fn set_back(&mut self, now: u32) {
        self.now = now;
        self.users.set_back(now);
    }

    fn expire(&mut self) {
        let first = self.now.saturating_sub(self.limits.window);
        while let Some(user) = self.users.get(self.users.oldest())
            && user.seen < first
        {
            self.remove_oldest();
        }
    }

    /// A user has loaded a page, now.
    pub fn hit(&mut self, user: &[u8], page: &[u8]) {
        let (user, page) = (cut_name(user), cut_url(page));
        let hashes = Hashes {
            user: self.hash(user),
            page: self.hash(page),
        };
        self.apply(user, page, hashes, [NONE; 2]);
    }

    /// Users load pages, in the order of what is pushed.
    pub fn arrivals<'a>(&mut self) -> Arrivals<'_, 'a> {
        Arrivals::new(self)
    }

    /// Applies a hit; `guesses` are where the user and the page may be.
    #[inline]
    fn apply(&mut self, user: &[u8], url: &[u8], hashes: Hashes, guesses: [u32; 2]) {
        let [mut at, page] = guesses;
        if !self.users.is(at, user) {
            at = self.users.find(user, hashes.user);
        }
        if at == NONE {
            if self.users.len() >= self.limits.users_max as usize && self.users.len() > 0 {
                self.evicted += 1;
                self.remove_oldest();
            }
            at = self.users.add(user, hashes.user);
        } else {
            let (page, newest) = self.users.unlink(at);
            self.pages.leave(page, newest);
        }
        let page = self.pages.for_user(url, hashes.page, page);
        let page_older = self.pages.enter(page, at);
        self.users.link(at, page, page_older, self.now);
    }

    fn remove_oldest(&mut self) {
        let at = self.users.oldest();
        let user = self.users.get(at).expect("called only if there is one");
        let hash = self.hash(self.users.name(user));
        let (page, newest) = self.users.remove(at, hash);
        self.pages.leave(page, newest);
    }

    /// The users on a page, the newest first; the length tells how many.
    pub fn visits_on(&self, page: &[u8]) -> impl ExactSizeIterator<Item = Visit<'_>> {
        let page = self.pages.get(self.pages.find(page, self.hash(page)));
        OnPage {
            presence: self,
            url: page.map_or(&[], |page| &page.url),
            next: page.map_or(NONE, |page| page.newest),
            rest: page.map_or(0, |page| page.users as usize),
        }
    }

    /// All users, the one that was silent longest first.
    pub fn visits(&self) -> impl Iterator<Item = Visit<'_>> {
        let mut at = self.users.oldest();
        std::iter::from_fn(move || {
            let user = self.users.get(at)?;
            at = user.newer;
            Some(self.visit(user))
        })
    }

    /// Where a user is.
    pub fn find_user(&self, name: &[u8]) -> Option<Visit<'_>> {
        let at = self.users.find(name, self.hash(name));
        Some(self.visit(self.users.get(at)?))
    }

    /// The pages with most users, most first, and by name where they have equally many.
    pub fn top_pages(&self, count: usize) -> Vec<(&[u8], u32)> {
        let pages = self.pages.iter().map(|page| (&*page.url, page.users));
        let mut pages: Vec<_> = pages.collect();
        let order = |a: &(&[u8], u32), b: &(&[u8], u32)| b.1.cmp(&a.1).then(a.0.cmp(b.0));
        if pages.len() > count && count > 0 {
            pages.select_nth_unstable_by(count - 1, order);
        }
        pages.truncate(count);
        pages.sort_unstable_by(order);
        pages
    }

    /// Bytes of memory for users, without pages.
    pub fn user_bytes(&self) -> usize {
        self.users.bytes()
    }

    fn visit<'a>(&'a self, user: &'a User) -> Visit<'a> {
        let page = self.pages.get(user.page);
        self.visit_of(user, page.map_or(&[], |page| &page.url))
    }

    #[inline]
    fn visit_of<'a>(&'a self, user: &'a User, page: &'a [u8]) -> Visit<'a> {
        Visit {
            user: self.users.name(user),
            page,
            age: self.now - user.seen,
        }
    }

    /// Keyed, so that nobody outside can make names that meet.
    #[inline]
    fn hash(&self, name: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        (hasher.finish() >> 32) as u32
    }
}

/// The users on a page that are still to be told.
struct OnPage<'a> {
    presence: &'a Presence,
    url: &'a [u8],
    next: u32,
    rest: usize,
}

impl<'a> Iterator for OnPage<'a> {
    type Item = Visit<'a>;

    #[inline]
    fn next(&mut self) -> Option<Visit<'a>> {
        let user = self.presence.users.get(self.next)?;
        self.next = user.page_older;
        self.rest -= 1;
        Some(self.presence.visit_of(user, self.url))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest, Some(self.rest))
    }
}

impl ExactSizeIterator for OnPage<'_> {}

fn cut_name(name: &[u8]) -> &[u8] {
    &name[..name.len().min(USER_BYTES_MAX)]
}

fn cut_url(url: &[u8]) -> &[u8] {
    &url[..url.len().min(PAGE_BYTES_MAX)]
}

#[cfg(test)]
mod tests;
