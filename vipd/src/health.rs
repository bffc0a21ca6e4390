//! Whether this host is well: looks become a state by rise and fall, and the states of all checks
//! one word for the group.

use std::collections::BTreeMap;
use std::time::Instant;

/// What a look at something has shown: none if it is good, else what is wrong.
pub type Look = Option<String>;

/// All checks of a host.
#[derive(Debug, Default)]
pub struct Health {
    checks: BTreeMap<String, State>,
}

/// One check.
#[derive(Clone, Debug)]
struct State {
    rise: u32,
    fall: u32,
    /// Looks in a row that say otherwise than the state.
    against: u32,
    /// What is wrong; none if nothing is.
    wrong: Look,
    since: Instant,
    looks: u64,
}

/// One check, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOverview<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is wrong; none if nothing is.
    pub wrong: Option<&'a str>,
    /// Since when it is so.
    pub since: Instant,
    /// How often it was looked at.
    pub looks: u64,
}

impl Health {
    /// Adds a check, which is taken for good until it was looked at.
    pub fn add(&mut self, name: &str, rise: u32, fall: u32, now: Instant) {
        let state = State {
            rise,
            fall,
            against: 0,
            wrong: None,
            since: now,
            looks: 0,
        };
        self.checks.insert(name.to_owned(), state);
    }

    /// Goes on with what is known of a check, which may have another rise and fall now.
    pub fn inherit(&mut self, name: &str, from: &Health) {
        if let (Some(state), Some(known)) = (self.checks.get_mut(name), from.checks.get(name)) {
            let (rise, fall) = (state.rise, state.fall);
            *state = State {
                rise,
                fall,
                ..known.clone()
            };
        }
    }

    /// Takes a look; gives whether the state of its check has changed. A check that is not known is
    /// one that was taken out of the file meanwhile.
    pub fn take(&mut self, name: &str, look: Look, now: Instant) -> bool {
        let Some(state) = self.checks.get_mut(name) else {
            return false;
        };
        state.looks += 1;
        if look.is_some() == state.wrong.is_some() {
            state.against = 0;
            // The state is the same; what is wrong may be something else now.
            if look.is_some() {
                state.wrong = look;
            }
            return false;
        }
        state.against += 1;
        let needed = if look.is_some() {
            state.fall
        } else {
            state.rise
        };
        if state.against < needed {
            return false;
        }
        state.against = 0;
        state.wrong = look;
        state.since = now;
        true
    }

    /// What is wrong with the host, all of it; none if it is well.
    pub fn sick(&self) -> Option<String> {
        let wrong = self.checks.iter().filter_map(|(name, state)| {
            let wrong = state.wrong.as_deref()?;
            Some(format!("{name}: {wrong}"))
        });
        let wrong: Vec<String> = wrong.collect();
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }

    /// All checks, by name.
    pub fn overview(&self) -> impl Iterator<Item = CheckOverview<'_>> {
        self.checks.iter().map(|(name, state)| CheckOverview {
            name,
            wrong: state.wrong.as_deref(),
            since: state.since,
            looks: state.looks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rise_and_fall() {
        let now = Instant::now();
        let mut health = Health::default();
        health.add("web", 2, 3, now);
        let bad = || Some("refused".to_owned());
        // A good look between starts the count anew.
        let looks = [
            bad(),
            bad(),
            None,
            bad(),
            bad(),
            bad(),
            None,
            bad(),
            None,
            None,
        ];
        let changes: Vec<bool> = looks
            .into_iter()
            .map(|look| health.take("web", look, now))
            .collect();
        let at = |change| changes.iter().position(|&c| c == change);
        assert_eq!(changes.iter().filter(|&&change| change).count(), 2);
        assert_eq!(at(true), Some(5));
        assert!(changes[9]);
        assert_eq!(health.sick(), None);
    }

    #[test]
    fn what_is_known_is_inherited() {
        let now = Instant::now();
        let (mut before, mut after) = (Health::default(), Health::default());
        before.add("web", 9, 1, now);
        assert!(before.take("web", Some("refused".into()), now));
        after.add("web", 1, 9, now);
        after.add("new", 1, 1, now);
        for name in ["web", "new", "gone"] {
            after.inherit(name, &before);
        }
        assert_eq!(after.sick().as_deref(), Some("web: refused"));
        assert!(after.take("web", None, now));
        assert_eq!(after.sick(), None);
    }

    #[test]
    fn all_that_is_wrong_is_said() {
        let now = Instant::now();
        let mut health = Health::default();
        for name in ["b", "a", "c"] {
            health.add(name, 1, 1, now);
        }
        assert!(health.take("a", Some("x".into()), now));
        assert!(health.take("b", Some("y".into()), now));
        assert!(!health.take("gone", Some("z".into()), now));
        assert_eq!(health.sick().as_deref(), Some("a: x; b: y"));
        assert!(!health.take("a", Some("w".into()), now));
        assert_eq!(health.sick().as_deref(), Some("a: w; b: y"));
    }
}
