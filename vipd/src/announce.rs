//! When the neighbours are told of an address.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// When an address is announced after its set was acquired. The one after more than a second is
/// for kernels that take nothing within a second of the last confirmation.
const SCHEDULE: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(1100),
    Duration::from_secs(3),
];

/// Afterwards, each so often.
const REFRESH: Duration = Duration::from_secs(60);

/// Bound: sets announced at a time after their first announcement; the others come 20 ms later.
const ROUND_MAX: usize = 10;

const PACE: Duration = Duration::from_millis(20);

/// When each held set is announced next.
#[derive(Debug, Default)]
pub struct Schedule {
    /// By set: how often it was announced, and when it is due again.
    due: BTreeMap<usize, (usize, Instant)>,
}

impl Schedule {
    /// Begins with a set, which is to be announced at once.
    pub fn begin(&mut self, set: usize, now: Instant) {
        self.due.insert(set, (0, now));
    }

    /// Ends with a set.
    pub fn end(&mut self, set: usize) {
        self.due.remove(&set);
    }

    /// When [`take_due`](Schedule::take_due) has something.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.values().map(|&(_, at)| at).min()
    }

    /// The sets to announce now: all that were never announced, and some of the others.
    pub fn take_due(&mut self, now: Instant) -> Vec<usize> {
        let (mut sets, mut repeated) = (Vec::new(), 0);
        for (&set, (count, at)) in &mut self.due {
            if *at > now {
                continue;
            }
            if *count > 0 {
                if repeated == ROUND_MAX {
                    *at = now + PACE;
                    continue;
                }
                repeated += 1;
            }
            *count += 1;
            *at = match SCHEDULE.get(*count) {
                Some(&offset) => *at + (offset - SCHEDULE[*count - 1]),
                // Not all of them at the same moment: up to 10 % earlier.
                None => now + REFRESH - Duration::from_millis(set as u64 * 97 % 6000),
            };
            sets.push(set);
        }
        sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5.18: the last of many does not wait for the second frame of the first.
    #[test]
    fn first_all_then_paced_then_rarely() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        for set in 0..100 {
            schedule.begin(set, start);
        }
        assert_eq!(schedule.take_due(start).len(), 100);
        assert_eq!(schedule.take_due(start).len(), 0);
        let mut sent = 0;
        let mut now = start;
        while schedule.next_due().unwrap() < start + Duration::from_secs(10) {
            now = schedule.next_due().unwrap().max(now);
            let sets = schedule.take_due(now).len();
            assert!(sets <= ROUND_MAX);
            sent += sets;
        }
        assert_eq!(sent, 400);
        assert!(schedule.next_due().unwrap() > start + Duration::from_secs(50));
        schedule.end(0);
        assert_eq!(schedule.due.len(), 99);
    }

    #[test]
    fn a_thousand_acquisitions_leave_one_entry() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        for number in 0..1000 {
            let now = start + Duration::from_secs(number);
            schedule.begin(7, now);
            schedule.begin(7, now);
            assert_eq!(schedule.take_due(now), [7]);
            assert_eq!(schedule.due.len(), 1);
            if number % 2 == 0 {
                schedule.end(7);
                assert_eq!(schedule.next_due(), None);
            }
        }
    }
}
