//! Hits on their way into the table.
//!
//! With many users most of the time would be waiting for memory. So a hit is not applied at once:
//! the memory that it needs is asked for in three steps (its entries in the tables, its user and
//! page, their neighbours), and between two steps the lines that follow are read. What is looked
//! up before its time is only a guess: others may come and go before it is used.

use super::index::NONE;
use super::{Hashes, Hit, Presence, cut_name, cut_url};

/// So many hits come between one step of a hit and its next.
const STRIDE: usize = 8;

/// Hits that come after a hit before it is applied.
const LAG: usize = 3 * STRIDE;

/// A power of two, so that a place in the ring takes no division.
const RING: usize = 4 * STRIDE;

/// Takes hits into a table in their order.
#[derive(Debug)]
pub struct Arrivals<'t, 'a> {
    presence: &'t mut Presence,
    ring: [Arrival<'a>; RING],
    /// How many have come so far.
    count: usize,
}

/// A hit on its way.
#[derive(Debug, Default)]
struct Arrival<'a> {
    hit: Hit<'a>,
    hashes: Hashes,
    /// Where the user and the page most likely are.
    guesses: [u32; 2],
}

impl<'t, 'a> Arrivals<'t, 'a> {
    pub(super) fn new(presence: &'t mut Presence) -> Arrivals<'t, 'a> {
        Arrivals {
            presence,
            ring: Default::default(),
            count: 0,
        }
    }

    /// A user has loaded a page.
    #[inline]
    pub fn push(&mut self, hit: Hit<'a>) {
        let hashes = Hashes {
            user: self.presence.hash(cut_name(&hit.user)),
            page: self.presence.hash(cut_url(&hit.page)),
        };
        self.presence.users.prefetch_entry(hashes.user);
        self.presence.pages.prefetch_entry(hashes.page);
        self.ring[self.count % RING] = Arrival {
            hit,
            hashes,
            guesses: [NONE; 2],
        };
        self.count += 1;
        self.step(self.count);
    }

    /// Applies those that are still on their way.
    pub fn finish(mut self) {
        for count in self.count + 1..=self.count + LAG {
            self.step(count);
        }
    }

    /// Does what is due when so many hits have come, or would have.
    fn step(&mut self, count: usize) {
        let due = |lag: usize| count.checked_sub(lag + 1).filter(|at| *at < self.count);
        let [first, second, last] = [STRIDE, 2 * STRIDE, LAG].map(due);
        if let Some(at) = first {
            self.look_up(at);
        }
        if let Some(at) = second {
            self.look_around(at);
        }
        if let Some(at) = last {
            self.apply(at);
        }
    }

    #[inline]
    fn look_up(&mut self, at: usize) {
        let arrival = &mut self.ring[at % RING];
        arrival.guesses = [
            self.presence.users.candidate(arrival.hashes.user),
            self.presence.pages.candidate(arrival.hashes.page),
        ];
    }

    #[inline]
    fn look_around(&mut self, at: usize) {
        let [user, page] = self.ring[at % RING].guesses;
        self.presence.users.prefetch_around(user);
        if let Some(newest) = self.presence.pages.prefetch_around(page) {
            self.presence.users.prefetch(newest);
        }
    }

    #[inline]
    fn apply(&mut self, at: usize) {
        let Arrival {
            hit,
            hashes,
            guesses,
        } = &self.ring[at % RING];
        self.presence.advance(hit.seen);
        let (user, page) = (cut_name(&hit.user), cut_url(&hit.page));
        self.presence.apply(user, page, *hashes, *guesses);
    }
}
