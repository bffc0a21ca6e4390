//! Who is online, and on which page: everything in constant time.
//!
//! Hits come in the order of time. So "sorted by time" is nothing but "appended": the users stand
//! in one list from the longest silent to the newest, and each page has a list of its users with
//! the newest in front. Both are threaded through the users themselves, by index. A hit unlinks
//! its user from both and links it anew at the new ends; expiry takes users off the old end of
//! the first. What the 2004 module did with three skip lists needs no search at all but that of a
//! user or page by name, in a hash table that is keyed against hostile names.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use hashbrown::HashTable;

/// Longest name of a user, in bytes; a longer one is cut.
pub const USER_BYTES_MAX: usize = 255;

/// Longest name of a page, in bytes; a longer one is cut.
pub const PAGE_BYTES_MAX: usize = 2048;

/// What pages are called that there is no room for.
pub const OTHER: &[u8] = b"(other)";

/// Index of [`OTHER`].
const OTHER_PAGE: u32 = 0;

/// No user: the end of a list.
const NONE: u32 = u32::MAX;

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
    /// Index of each user, by name.
    by_name: HashTable<u32>,
    /// The user that was silent longest, and the newest one.
    oldest: u32,
    newest: u32,
    pages: Vec<Page>,
    free_pages: Vec<u32>,
    by_url: HashTable<u32>,
    evicted: u64,
}

/// 40 bytes, and those of the name.
#[derive(Debug)]
struct User {
    name: Box<[u8]>,
    seen: u32,
    page: u32,
    /// Neighbours in the list of all users.
    older: u32,
    newer: u32,
    /// Neighbours in the list of the page's users.
    page_older: u32,
    page_newer: u32,
}

#[derive(Debug)]
struct Page {
    url: Box<[u8]>,
    users: u32,
    newest: u32,
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
            users: 0,
            newest: NONE,
        };
        Presence {
            limits,
            now: 0,
            hasher: RandomState::new(),
            users: Vec::new(),
            free_users: Vec::new(),
            by_name: HashTable::new(),
            oldest: NONE,
            newest: NONE,
            pages: vec![other],
            free_pages: Vec::new(),
            by_url: HashTable::new(),
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
        let name = &user[..user.len().min(USER_BYTES_MAX)];
        let hash = self.hasher.hash_one(name);
        let found = self
            .by_name
            .find(hash, |&at| *self.users[at as usize].name == *name)
            .copied();
        let page = &page[..page.len().min(PAGE_BYTES_MAX)];
        match found {
            // Most hits but the first of a page go to another page; reloads need no search.
            Some(at) if *self.pages[self.users[at as usize].page as usize].url == *page => {
                let page = self.users[at as usize].page;
                self.unlink(at);
                self.link(at, page);
            }
            Some(at) => {
                let old = self.users[at as usize].page;
                self.unlink(at);
                let new = self.page_for(page);
                self.link(at, new);
                self.forget_if_empty(old);
            }
            None => {
                let at = self.add_user(name, hash);
                let page = self.page_for(page);
                self.link(at, page);
            }
        }
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
        let hash = self.hasher.hash_one(name);
        let at = self
            .by_name
            .find(hash, |&at| *self.users[at as usize].name == *name)?;
        Some(self.visit(&self.users[*at as usize]))
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

    fn visit<'a>(&'a self, user: &'a User) -> Visit<'a> {
        Visit {
            user: &user.name,
            page: &self.pages[user.page as usize].url,
            age: self.now - user.seen,
        }
    }

    fn find_page(&self, page: &[u8]) -> Option<u32> {
        if page == OTHER {
            return Some(OTHER_PAGE);
        }
        let hash = self.hasher.hash_one(page);
        self.by_url
            .find(hash, |&at| *self.pages[at as usize].url == *page)
            .copied()
    }

    /// A new user, in no list yet.
    fn add_user(&mut self, name: &[u8], hash: u64) -> u32 {
        if self.by_name.len() >= self.limits.users_max as usize && self.oldest != NONE {
            self.evicted += 1;
            self.remove(self.oldest);
        }
        let user = User {
            name: name.into(),
            seen: 0,
            page: OTHER_PAGE,
            older: NONE,
            newer: NONE,
            page_older: NONE,
            page_newer: NONE,
        };
        let at = place(&mut self.users, &mut self.free_users, user);
        let (users, hasher) = (&self.users, &self.hasher);
        self.by_name
            .insert_unique(hash, at, |&at| hasher.hash_one(&*users[at as usize].name));
        at
    }

    /// The page of this URL, made if there is room.
    fn page_for(&mut self, url: &[u8]) -> u32 {
        if let Some(at) = self.find_page(url) {
            return at;
        }
        if self.by_url.len() >= self.limits.pages_max as usize {
            return OTHER_PAGE;
        }
        let page = Page {
            url: url.into(),
            users: 0,
            newest: NONE,
        };
        let at = place(&mut self.pages, &mut self.free_pages, page);
        let (pages, hasher) = (&self.pages, &self.hasher);
        let hash = hasher.hash_one(url);
        self.by_url
            .insert_unique(hash, at, |&at| hasher.hash_one(&*pages[at as usize].url));
        at
    }

    /// Drops a page without users.
    fn forget_if_empty(&mut self, at: u32) {
        if at == OTHER_PAGE || self.pages[at as usize].users > 0 {
            return;
        }
        let url = std::mem::take(&mut self.pages[at as usize].url);
        if let Ok(entry) = self
            .by_url
            .find_entry(self.hasher.hash_one(&*url), |&one| one == at)
        {
            entry.remove();
        }
        self.free_pages.push(at);
    }

    /// Takes a user out of everything.
    fn remove(&mut self, at: u32) {
        let page = self.users[at as usize].page;
        self.unlink(at);
        self.forget_if_empty(page);
        let name = std::mem::take(&mut self.users[at as usize].name);
        if let Ok(entry) = self
            .by_name
            .find_entry(self.hasher.hash_one(&*name), |&one| one == at)
        {
            entry.remove();
        }
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

/// Puts a value into a free place, or a new one.
///
/// Room grows by an eighth, not to the double: most of the memory is here.
fn place<T>(places: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(at) = free.pop() {
        places[at as usize] = value;
        return at;
    }
    if places.len() == places.capacity() {
        places.reserve_exact((places.len() / 8).max(64));
    }
    places.push(value);
    (places.len() - 1) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        window: 1800,
        users_max: 1000,
        pages_max: 1000,
    };

    #[test]
    fn online_for_1800_seconds_and_not_for_1801() {
        let mut presence = Presence::new(LIMITS);
        presence.advance(5000);
        presence.hit(b"ann", b"/x");
        presence.advance(6800);
        assert_eq!(presence.find_user(b"ann").unwrap().age, 1800);
        assert_eq!((presence.user_count(), presence.users_on(b"/x")), (1, 1));
        presence.advance(6801);
        assert_eq!(presence.find_user(b"ann"), None);
        assert_eq!((presence.user_count(), presence.users_on(b"/x")), (0, 0));
        assert_eq!(presence.page_count(), 0);
    }

    #[test]
    fn time_does_not_go_back() {
        let mut presence = Presence::new(LIMITS);
        presence.advance(100);
        presence.advance(50);
        presence.hit(b"ann", b"/x");
        presence.advance(107);
        assert_eq!(presence.find_user(b"ann").unwrap().age, 7);
    }

    #[test]
    fn a_page_lists_its_newest_first() {
        let mut presence = Presence::new(LIMITS);
        for (second, user) in ["ann", "bob", "cy", "ann"].into_iter().enumerate() {
            presence.advance(second as u32);
            presence.hit(user.as_bytes(), b"/x");
        }
        let visits: Vec<_> = presence.visits_on(b"/x").map(|v| (v.user, v.age)).collect();
        assert_eq!(visits, [(&b"ann"[..], 0), (b"cy", 1), (b"bob", 2)]);
    }

    #[test]
    fn a_user_costs_little() {
        assert!(size_of::<User>() <= 40);
    }

    /// The same by searching through everything.
    #[derive(Default)]
    struct Naive {
        now: u32,
        order: u64,
        users: BTreeMap<Vec<u8>, (u32, u64, Vec<u8>)>,
    }

    impl Naive {
        fn advance(&mut self, now: u32, limits: Limits) {
            self.now = self.now.max(now);
            self.users
                .retain(|_, (seen, ..)| self.now <= *seen + limits.window);
        }

        fn hit(&mut self, user: &[u8], page: &[u8], limits: Limits) {
            self.order += 1;
            if !self.users.contains_key(user) && self.users.len() == limits.users_max as usize {
                let oldest = self.users.iter().min_by_key(|(_, (_, order, _))| *order);
                let oldest = oldest.unwrap().0.clone();
                self.users.remove(&oldest);
            }
            self.users.remove(user);
            let mut pages: Vec<_> = self.users.values().map(|(.., page)| &page[..]).collect();
            pages.retain(|page| *page != OTHER);
            pages.sort();
            pages.dedup();
            // A user that leaves the last place on its page makes room only after it has gone.
            let room = pages.len() < limits.pages_max as usize || pages.contains(&page);
            let page = if room { page } else { OTHER };
            self.users
                .insert(user.to_vec(), (self.now, self.order, page.to_vec()));
        }

        fn on(&self, page: &[u8]) -> Vec<(Vec<u8>, u32)> {
            let on = self.users.iter().filter(|(_, (.., p))| p == page);
            let mut on: Vec<_> = on.collect();
            on.sort_by_key(|(_, (_, order, _))| std::cmp::Reverse(*order));
            on.into_iter()
                .map(|(user, (seen, ..))| (user.clone(), self.now - seen))
                .collect()
        }
    }

    fn agrees(presence: &Presence, naive: &Naive) -> Result<(), TestCaseError> {
        prop_assert_eq!(presence.user_count(), naive.users.len());
        let mut counts = BTreeMap::<&[u8], u32>::new();
        for (user, (seen, _, page)) in &naive.users {
            let visit = presence.find_user(user).unwrap();
            prop_assert_eq!((visit.page, visit.age), (&page[..], naive.now - seen));
            *counts.entry(page).or_default() += 1;
        }
        for (page, count) in &counts {
            prop_assert_eq!(presence.users_on(page), *count);
            let visits = presence.visits_on(page).map(|v| (v.user.to_vec(), v.age));
            prop_assert_eq!(visits.collect::<Vec<_>>(), naive.on(page));
        }
        let mut top: Vec<_> = counts.into_iter().collect();
        top.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        top.truncate(3);
        prop_assert_eq!(presence.top_pages(3), top);
        Ok(())
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_naive_model(
            steps in proptest::collection::vec((0..4u32, 0..12u8, 0..8u8), 1..200),
            window in 0..12u32,
            users_max in 1..12u32,
        ) {
            let limits = Limits { window, users_max, pages_max: 1000 };
            let (mut presence, mut naive) = (Presence::new(limits), Naive::default());
            let mut now = 10;
            for (pause, user, page) in steps {
                now += pause;
                presence.advance(now);
                naive.advance(now, limits);
                presence.hit(&[user], &[b'/', page]);
                naive.hit(&[user], &[b'/', page], limits);
                agrees(&presence, &naive)?;
            }
        }

        #[test]
        fn pages_without_room_are_other(
            hits in proptest::collection::vec((0..9u8, 0..9u8), 1..100),
            pages_max in 0..5u32,
        ) {
            let limits = Limits { pages_max, ..LIMITS };
            let mut presence = Presence::new(limits);
            let mut users = std::collections::BTreeSet::new();
            for (user, page) in hits {
                presence.hit(&[user], &[b'/', page]);
                users.insert(user);
                prop_assert!(presence.page_count() <= pages_max as usize);
                let sum: u32 = presence.top_pages(100).iter().map(|(_, users)| users).sum();
                prop_assert_eq!(sum as usize, users.len());
            }
        }
    }
}
