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
    assert_eq!(
        (presence.user_count(), presence.visits_on(b"/x").len()),
        (1, 1)
    );
    presence.advance(6801);
    assert_eq!(presence.find_user(b"ann"), None);
    assert_eq!(
        (presence.user_count(), presence.visits_on(b"/x").len()),
        (0, 0)
    );
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

/// At most 64 bytes for each, and the text, at any number of users.
#[test]
fn a_user_costs_little() {
    let mut presence = Presence::new(Limits {
        users_max: 1_000_000,
        ..LIMITS
    });
    let mut text = 0;
    for number in 0..200_000_u32 {
        let name = format!("user{number}");
        presence.hit(name.as_bytes(), b"/x");
        text += name.len();
        if number > 1000 && number % 97 == 0 {
            let each = (presence.user_bytes() - text) as f64 / f64::from(number + 1);
            assert!(each <= 64.0, "{each} bytes for each of {number} users");
        }
    }
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
        prop_assert_eq!(presence.visits_on(page).len(), *count as usize);
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

    /// Users come, go and make room while hits are looked up together.
    #[test]
    fn hits_taken_together_are_as_one_by_one(
        steps in proptest::collection::vec((0..4u32, 0..40u8, 0..12u8), 1..300),
        pauses in proptest::collection::vec(proptest::bool::weighted(0.02), 300),
        window in 0..40u32,
        users_max in 1..40u32,
        pages_max in 0..12u32,
    ) {
        let limits = Limits { window, users_max, pages_max };
        let mut now = 10;
        let names: Vec<_> = steps.iter().map(|(pause, user, page)| {
            now += pause / 3;
            (now, [*user], [b'/', *page])
        }).collect();
        let hits: Vec<Hit<'_>> = names.iter().map(|(seen, user, page)| Hit {
            seen: *seen,
            user: user.into(),
            page: page.into(),
        }).collect();
        let [mut together, mut single] = [(); 2].map(|()| Presence::new(limits));
        let mut arrivals = together.arrivals();
        for (hit, pause) in hits.iter().zip(pauses) {
            arrivals.push(hit.clone());
            if pause {
                arrivals.finish();
                arrivals = together.arrivals();
            }
        }
        arrivals.finish();
        for hit in &hits {
            single.advance(hit.seen);
            single.hit(&hit.user, &hit.page);
        }
        prop_assert!(together.visits().eq(single.visits()));
        prop_assert_eq!(together.top_pages(20), single.top_pages(20));
        for (.., page) in &names {
            prop_assert!(together.visits_on(page).eq(single.visits_on(page)));
        }
        prop_assert_eq!(together.evicted(), single.evicted());
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
