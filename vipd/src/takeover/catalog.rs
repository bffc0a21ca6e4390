//! Members whose files differ: they tell each other their lists of sets, and go on with those that
//! are the same in all files.
//!
//! A list goes out in parts, by the first member of the view that has it. When all lists of a round
//! are there, each member knows which of its own sets is which of another's, and which sets are
//! disputed: those stay where they are.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Message, Part};
use crate::digest::Digest;
use crate::indices::{INDEX_LIMIT, Indices};

/// Bound: bytes of a part's sets.
const PART_BYTES: usize = 60_000;

/// Bound: parts of a list.
const PARTS_MAX: usize = 1000;

/// The digest of a list: what members compare.
pub(super) fn digest(sets: &[String]) -> u64 {
    let add = |digest: Digest, set: &String| digest.part(set.as_bytes());
    sets.iter().fold(Digest::new(), add).value()
}

/// A list as messages.
pub(super) fn messages(sets: &[String]) -> Vec<Message> {
    let mut parts: Vec<Vec<String>> = vec![Vec::new()];
    let mut bytes = 0;
    for set in sets {
        bytes += set.len() + 4;
        if bytes > PART_BYTES {
            parts.push(Vec::new());
            bytes = set.len() + 4;
        }
        parts.last_mut().expect("there is one").push(set.clone());
    }
    let config = digest(sets);
    let count = parts.len();
    let message = |(part, sets)| {
        Message::Sets(Part {
            config,
            part,
            parts: count,
            sets,
        })
    };
    parts.into_iter().enumerate().map(message).collect()
}

/// The lists of a round, as far as they are there.
#[derive(Debug, Default)]
pub(super) struct Lists {
    parts: BTreeMap<u64, Vec<Option<Vec<String>>>>,
}

impl Lists {
    /// Takes a part of a list.
    pub(super) fn take(&mut self, part: Part) {
        if !(1..=PARTS_MAX).contains(&part.parts) || part.sets.len() > INDEX_LIMIT {
            return;
        }
        let list = self.parts.entry(part.config);
        let list = list.or_insert_with(|| vec![None; part.parts]);
        if let Some(place) = list.get_mut(part.part) {
            place.get_or_insert(part.sets);
        }
    }

    /// A list, once it is whole; empty if it is not the one that its digest says.
    pub(super) fn get(&self, config: u64) -> Option<Vec<String>> {
        let parts = self.parts.get(&config)?;
        let parts: Option<Vec<&Vec<String>>> = parts.iter().map(Option::as_ref).collect();
        let sets: Vec<String> = parts?
            .into_iter()
            .flatten()
            .take(INDEX_LIMIT)
            .cloned()
            .collect();
        Some(if digest(&sets) == config {
            sets
        } else {
            Vec::new()
        })
    }
}

/// What a member makes of another list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Translation {
    /// The own index of each of the other's sets; none if there is no such set here.
    own: Vec<Option<usize>>,
}

impl Translation {
    pub(super) fn set(&self, set: usize) -> Option<usize> {
        self.own.get(set).copied().flatten()
    }

    pub(super) fn sets(&self, sets: &Indices) -> Indices {
        sets.iter().filter_map(|set| self.set(set)).collect()
    }
}

/// The own list beside those of others.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// By digest.
    pub(super) translations: BTreeMap<u64, Translation>,
    /// Sets of the own list that are not the same in all.
    pub(super) disputed: Indices,
    /// What differs, for people.
    pub(super) differences: Vec<String>,
}

/// Compares lists; `names` are the nodes that have each, by digest.
pub(super) fn compare(
    own: &[String],
    others: &BTreeMap<u64, Vec<String>>,
    names: &BTreeMap<u64, String>,
) -> Comparison {
    let mut comparison = Comparison::default();
    let places: BTreeMap<&str, usize> = own
        .iter()
        .enumerate()
        .map(|(at, set)| (name(set), at))
        .collect();
    for (config, list) in others {
        let whose = names.get(config).map_or("", String::as_str);
        let own_index = |set: &String| places.get(name(set)).copied();
        let mut found = BTreeSet::new();
        for set in list {
            match own_index(set) {
                None => {
                    let difference =
                        format!("{}: not in this file, but in that of {whose}", name(set));
                    comparison.differences.push(difference);
                }
                Some(at) => {
                    found.insert(at);
                    if own[at] != *set {
                        comparison.disputed.insert(at);
                        comparison.differences.push(format!(
                            "{}: addresses are {} here, {set} in the file of {whose}",
                            name(set),
                            own[at]
                        ));
                    }
                }
            }
        }
        for (at, set) in own.iter().enumerate().filter(|(at, _)| !found.contains(at)) {
            comparison.disputed.insert(at);
            let difference = format!("{}: not in the file of {whose}", name(set));
            comparison.differences.push(difference);
        }
        let own = list.iter().map(own_index).collect();
        comparison.translations.insert(*config, Translation { own });
    }
    comparison
}

/// A set's name: its first address, without the bits.
fn name(set: &str) -> &str {
    set.split(['/', ' ']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(sets: &[&str]) -> Vec<String> {
        sets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn differences_are_named_and_the_rest_is_translated() {
        let own = list(&["10.0.0.1/32", "10.0.0.2/32", "10.0.0.4/32"]);
        let other = list(&["10.0.0.2/24", "10.0.0.3/32", "10.0.0.4/32"]);
        let others = BTreeMap::from([(7, other)]);
        let names = BTreeMap::from([(7, "web2".to_owned())]);
        let comparison = compare(&own, &others, &names);
        assert_eq!(comparison.disputed, [0, 1].into_iter().collect());
        let translation = &comparison.translations[&7];
        assert_eq!(
            translation.sets(&Indices::all(4)),
            [1, 2].into_iter().collect()
        );
        assert_eq!(
            comparison.differences,
            [
                "10.0.0.2: addresses are 10.0.0.2/32 here, 10.0.0.2/24 in the file of web2",
                "10.0.0.3: not in this file, but in that of web2",
                "10.0.0.1: not in the file of web2",
            ]
        );
    }

    #[test]
    fn a_list_comes_in_parts_and_must_be_the_one_that_it_says() {
        let own: Vec<String> = (0..10_000)
            .map(|n| format!("10.0.{}.{}/32", n / 250, n % 250))
            .collect();
        let mut lists = Lists::default();
        let messages = messages(&own);
        assert!(messages.len() > 1);
        for message in messages.iter().rev() {
            assert_eq!(lists.get(digest(&own)), None);
            assert!(message.encode().len() < 131_072);
            let Message::Sets(part) = message.clone() else {
                panic!("{message:?}");
            };
            lists.take(part);
        }
        assert_eq!(lists.get(digest(&own)), Some(own));
        let part = |config, parts, sets: &[&str]| Part {
            config,
            part: 0,
            parts,
            sets: list(sets),
        };
        lists.take(part(5, 1, &["10.0.0.1/32"]));
        assert_eq!(lists.get(5), Some(Vec::new()));
        lists.take(part(6, usize::MAX, &[]));
        assert_eq!(lists.get(6), None);
    }
}
