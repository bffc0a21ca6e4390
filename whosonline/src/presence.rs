//! Who is online, and on which page: everything in constant time.
//!
//! Hits come in the order of time. So "sorted by time" is nothing but "appended": the users stand
//! in one list from the longest silent to the newest, and each page has a list of its users with
//! the newest in front. Both are threaded through the users themselves, by index. A hit unlinks
//! its user from both and links it anew at the new ends; expiry takes users off the old end of
//! the first. What the 2004 module did with three skip lists needs no search at all but that of a
//! user or page by name, in a hash table that is keyed against hostile names.

mod index;
mod texts;

use std::borrow::Cow;
use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;
use index::{Index, NONE};
use texts::Texts;

/// Longest name of a user, in bytes; a longer one is cut.
pub const USER_BYTES_MAX: usize = 255;

/// Longest name of a page, in bytes; a longer one is cut.
pub const PAGE_BYTES_MAX: usize = 2048;

/// What pages are called that there is no room for.
pub const OTHER: &[u8] = b"(other)";

/// Index of [`OTHER`].
const OTHER_PAGE: u32 = 0;

/// Hits that [`Presence::hit_all`] looks up together.
pub const BATCH: usize = 32;

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
    users: Vec<User>,
    free_users: Vec<u32>,
    names: Texts,
    /// Index of each user, by name.
    by_name: Index,
    /// The user that was silent longest, and the newest one.
    oldest: u32,
    newest: u32,
    pages: Vec<Page>,
    free_pages: Vec<u32>,
    by_url: Index,
    /// Counts users that came or went: indices that were looked up before may be stale.
    user_changes: u64,
    evicted: u64,
}

/// 32 bytes, half a cache line.
#[derive(Clone, Copy, Debug)]
struct User {
    /// Neighbours in the list of all users.
    older: u32,
    newer: u32,
    /// Neighbours in the list of the page's users.
    page_older: u32,
    page_newer: u32,
    page: u32,
    seen: u32,
    /// Place and length of the name.
    name: u32,
    name_length: u8,
}

#[derive(Debug)]
struct Page {
    url: Box<[u8]>,
    hash: u32,
    users: u32,
    newest: u32,
}

/// A user has loaded a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<'a> {
    /// When, in seconds; time does not go back.
    pub seen: u32,
    /// The user's name.
    pub user: Cow<'a, [u8]>,
    /// The page.
    pub page: Cow<'a, [u8]>,
}

/// The hashes of the names of a hit's user and page.
#[derive(Clone, Copy, Debug)]
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
        let other = Page {
            url: OTHER.into(),
            hash: 0,
            users: 0,
            newest: NONE,
        };
        Presence {
            limits,
            now: 0,
            hasher: RandomState::default(),
            users: Vec::new(),
            free_users: Vec::new(),
            names: Texts::new(),
            by_name: Index::new(),
            oldest: NONE,
            newest: NONE,
            pages: vec![other],
            free_pages: Vec::new(),
            by_url: Index::new(),
            user_changes: 0,
            evicted: 0,
        }
    }

    /// How many users are online.
    pub fn user_count(&self) -> usize {
        self.by_name.len()
    }

    /// How many pages have users, [`OTHER`] not counted.
    pub fn page_count(&self) -> usize {
        self.by_url.len()
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
    pub fn advance(&mut self, now: u32) {
        self.now = self.now.max(now);
        while self.oldest != NONE
            && self.now - self.users[self.oldest as usize].seen > self.limits.window
        {
            self.remove(self.oldest);
        }
    }

    /// A user has loaded a page, now.
    pub fn hit(&mut self, user: &[u8], page: &[u8]) {
        let (user, page) = (cut_name(user), cut_url(page));
        let hashes = Hashes {
            user: self.hash(user),
            page: self.hash(page),
        };
        let found = self.find_name(user, hashes.user);
        self.apply(user, page, hashes, found, NONE);
    }

    /// Users have loaded pages, in this order.
    ///
    /// With many users most of the time is waiting for memory. So a handful of hits is looked up
    /// step by step, each step for all of them, before the first is applied: what does not depend
    /// on each other is waited for at once.
    pub fn hit_all(&mut self, hits: &[Hit<'_>]) {
        for hits in hits.chunks(BATCH) {
            let (mut users, mut pages) = ([0; BATCH], [0; BATCH]);
            for ((user, page), hit) in users.iter_mut().zip(&mut pages).zip(hits) {
                *user = self.hash(cut_name(&hit.user));
                *page = self.hash(cut_url(&hit.page));
            }
            let count = hits.len();
            let (mut found_users, mut found_pages) = ([NONE; BATCH], [NONE; BATCH]);
            self.by_name.candidates(&users[..count], &mut found_users);
            self.by_url.candidates(&pages[..count], &mut found_pages);
            self.read_ahead(&found_users[..count], &found_pages[..count]);
            let changes = self.user_changes;
            for (at, hit) in hits.iter().enumerate() {
                self.advance(hit.seen);
                let (user, page) = (cut_name(&hit.user), cut_url(&hit.page));
                let hashes = Hashes {
                    user: users[at],
                    page: pages[at],
                };
                let mut found = found_users[at];
                if self.user_changes != changes || found == NONE || !self.is_called(found, user) {
                    found = self.find_name(user, hashes.user);
                }
                self.apply(user, page, hashes, found, found_pages[at]);
            }
        }
    }

    /// Reads all that [`apply`](Self::apply) will need of these users and pages.
    fn read_ahead(&self, users: &[u32], pages: &[u32]) {
        let mut sum = 0;
        for user in users {
            sum ^= self.users.get(*user as usize).map_or(0, |user| user.page);
        }
        for page in pages {
            let page = self.pages.get(*page as usize);
            sum ^= page.map_or(0, |page| page.url.first().map_or(0, |&byte| byte.into()));
        }
        for user in users.iter().filter_map(|at| self.users.get(*at as usize)) {
            let neighbours = [user.older, user.newer, user.page_older, user.page_newer];
            for at in neighbours {
                sum ^= self.users.get(at as usize).map_or(0, |user| user.seen);
            }
            let name = self.names.get(user.name, user.name_length);
            sum ^= name.first().map_or(0, |&byte| byte.into());
        }
        for page in pages.iter().filter_map(|at| self.pages.get(*at as usize)) {
            let newest = self.users.get(page.newest as usize);
            sum ^= newest.map_or(0, |user| user.seen);
        }
        std::hint::black_box(sum);
    }

    /// Applies a hit of a user that was found or not; `page` is where the page may be.
    fn apply(&mut self, user: &[u8], url: &[u8], hashes: Hashes, found: u32, page: u32) {
        if found == NONE {
            let at = self.add_user(user, hashes.user);
            let page = self.page_for(url, hashes.page, page);
            return self.link(at, page);
        }
        let old = self.users[found as usize].page;
        self.unlink(found);
        let page = self.page_for(url, hashes.page, page);
        self.link(found, page);
        self.forget_if_empty(old);
    }

    /// How many users are on a page.
    pub fn users_on(&self, page: &[u8]) -> u32 {
        self.find_page(page)
            .map_or(0, |at| self.pages[at as usize].users)
    }

    /// The users on a page, the newest first.
    pub fn visits_on(&self, page: &[u8]) -> impl Iterator<Item = Visit<'_>> {
        let mut at = self
            .find_page(page)
            .map_or(NONE, |page| self.pages[page as usize].newest);
        std::iter::from_fn(move || {
            let user = self.users.get(at as usize)?;
            at = user.page_older;
            Some(self.visit(user))
        })
    }

    /// All users, the one that was silent longest first.
    pub fn visits(&self) -> impl Iterator<Item = Visit<'_>> {
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let user = self.users.get(at as usize)?;
            at = user.newer;
            Some(self.visit(user))
        })
    }

    /// Where a user is.
    pub fn find_user(&self, name: &[u8]) -> Option<Visit<'_>> {
        let at = self.find_name(name, self.hash(name));
        Some(self.visit(self.users.get(at as usize)?))
    }

    /// The pages with most users, most first, and by name where they have equally many.
    pub fn top_pages(&self, count: usize) -> Vec<(&[u8], u32)> {
        let used = self.pages.iter().filter(|page| page.users > 0);
        let mut pages: Vec<_> = used.map(|page| (&*page.url, page.users)).collect();
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
        self.users.capacity() * size_of::<User>()
            + self.free_users.capacity() * size_of::<u32>()
            + self.by_name.bytes()
            + self.names.bytes()
    }

    fn visit<'a>(&'a self, user: &'a User) -> Visit<'a> {
        Visit {
            user: self.names.get(user.name, user.name_length),
            page: &self.pages[user.page as usize].url,
            age: self.now - user.seen,
        }
    }

    /// Keyed, so that nobody outside can make names that meet.
    fn hash(&self, name: &[u8]) -> u32 {
        (self.hasher.hash_one(name) >> 32) as u32
    }

    fn is_called(&self, at: u32, name: &[u8]) -> bool {
        let user = &self.users[at as usize];
        is_same(self.names.get(user.name, user.name_length), name)
    }

    fn find_name(&self, name: &[u8], hash: u32) -> u32 {
        self.by_name.find(hash, |at| self.is_called(at, name))
    }

    fn find_page(&self, url: &[u8]) -> Option<u32> {
        let page = self.find_url(url, self.hash(url));
        (page != NONE).then_some(page)
    }

    fn find_url(&self, url: &[u8], hash: u32) -> u32 {
        if url == OTHER {
            return OTHER_PAGE;
        }
        self.by_url
            .find(hash, |at| is_same(&self.pages[at as usize].url, url))
    }

    /// A new user, in no list yet.
    fn add_user(&mut self, name: &[u8], hash: u32) -> u32 {
        if self.by_name.len() >= self.limits.users_max as usize && self.oldest != NONE {
            self.evicted += 1;
            self.remove(self.oldest);
        }
        self.user_changes += 1;
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
        let at = place(&mut self.users, &mut self.free_users, user);
        self.by_name.insert(hash, at);
        at
    }

    /// The page with this URL, which may be `guess`; a new one if there is room.
    fn page_for(&mut self, url: &[u8], hash: u32, guess: u32) -> u32 {
        // A page that has gone has no URL.
        let guessed = self.pages.get(guess as usize);
        if !url.is_empty() && guessed.is_some_and(|page| is_same(&page.url, url)) {
            return guess;
        }
        let found = self.find_url(url, hash);
        if found != NONE {
            return found;
        }
        if self.by_url.len() >= self.limits.pages_max as usize {
            return OTHER_PAGE;
        }
        let page = Page {
            url: url.into(),
            hash,
            users: 0,
            newest: NONE,
        };
        let at = place(&mut self.pages, &mut self.free_pages, page);
        self.by_url.insert(hash, at);
        at
    }

    /// Drops a page without users.
    fn forget_if_empty(&mut self, at: u32) {
        let page = &mut self.pages[at as usize];
        if at == OTHER_PAGE || page.users > 0 {
            return;
        }
        page.url = Box::default();
        self.by_url.remove(page.hash, at);
        self.free_pages.push(at);
    }

    /// Takes a user out of everything.
    fn remove(&mut self, at: u32) {
        self.user_changes += 1;
        let User {
            page,
            name,
            name_length,
            ..
        } = self.users[at as usize];
        self.unlink(at);
        self.forget_if_empty(page);
        let hash = self.hash(self.names.get(name, name_length));
        self.by_name.remove(hash, at);
        self.names.remove(name, name_length);
        self.free_users.push(at);
    }

    /// Puts a user that is in no list at the new end of both.
    fn link(&mut self, at: u32, page: u32) {
        let page_older = self.pages[page as usize].newest;
        let user = &mut self.users[at as usize];
        user.seen = self.now;
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
        let page = &mut self.pages[page as usize];
        page.newest = at;
        page.users += 1;
    }

    fn unlink(&mut self, at: u32) {
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
        match self.users.get_mut(page_newer as usize) {
            Some(user) => user.page_older = page_older,
            None => self.pages[page as usize].newest = page_older,
        }
        self.pages[page as usize].users -= 1;
    }
}

/// As `==`, without a call: names are short, and most often the same.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    a.len() == b.len()
        && a_rest.len() == b_rest.len()
        && a.iter().zip(b).all(|(a, b)| a == b)
        && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
}

fn cut_name(name: &[u8]) -> &[u8] {
    &name[..name.len().min(USER_BYTES_MAX)]
}

fn cut_url(url: &[u8]) -> &[u8] {
    &url[..url.len().min(PAGE_BYTES_MAX)]
}

/// Puts a value into a free place, or a new one.
fn place<T>(places: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(at) = free.pop() {
        places[at as usize] = value;
        return at;
    }
    texts::reserve(places, 1);
    places.push(value);
    (places.len() - 1) as u32
}

#[cfg(test)]
mod tests;
