//! Purges: one rule for all races.
//!
//! Each purge gets a number. A fill notes the number when its request to the origin is written,
//! and what it stores carries it. An object is joined, stored, refreshed or served only while no
//! higher-numbered purge matches it. So it does not matter in which order things happen, and a
//! purge of many objects is in force at once, before the files are gone.
//!
//! No I/O: the caller writes [`Rules::text`] to disk.

use std::collections::{HashMap, VecDeque};

use purges::{Purge, Subject, Target, What};

/// Bound: purges of single URLs that are remembered. What was asked for before the oldest one that
/// is forgotten must be validated before its next use.
const EXACT_MAX: usize = 65_536;

/// Bound: purges of many objects that are in force until they have been swept. What was asked for
/// before the oldest one that is forgotten is purged.
const BROAD_MAX: usize = 256;

/// What the purges say about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Valid,
    /// It is to be validated before it is used.
    Stale,
    /// It must not be used.
    Purged,
}

/// A purge of one target, by its number.
#[derive(Clone, Debug)]
struct Exact {
    number: u64,
    site: Option<String>,
    soft: bool,
}

/// All purges that are in force.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    last: u64,
    /// Objects below this number are to be validated.
    stale_below: u64,
    /// Objects below this number are purged.
    purged_below: u64,
    exact: HashMap<Target, Vec<Exact>>,
    /// Numbers and targets of `exact`, oldest first.
    order: VecDeque<(u64, Target)>,
    broad: VecDeque<(u64, Purge)>,
}

impl Rules {
    /// Reads what [`text`](Self::text) and [`line()`] have written. A line that makes no sense is the
    /// torn end of a file, and is left out. Lines need not stand in the order of their numbers:
    /// several threads write them.
    pub fn read(text: &str) -> Rules {
        let mut rules = Rules::default();
        let (mut purges, mut swept) = (Vec::new(), 0);
        for line in text.lines() {
            let Some((word, rest)) = line.split_once(' ') else {
                continue;
            };
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            match word {
                "last" => rules.last = rules.last.max(number(rest)),
                "stale-below" => rules.stale_below = rules.stale_below.max(number(rest)),
                "purged-below" => rules.purged_below = rules.purged_below.max(number(rest)),
                "swept" => swept = swept.max(number(rest)),
                _ => {
                    if let (number @ 1.., Ok(purge)) = (number(word), Purge::parse(rest)) {
                        purges.push((number, purge));
                    }
                }
            }
            rules.last = rules
                .last
                .max(number(word))
                .max(rules.stale_below)
                .max(rules.purged_below);
        }
        purges.sort_by_key(|(number, _)| *number);
        purges
            .into_iter()
            .for_each(|(number, purge)| rules.insert(number, purge));
        rules.forget_swept(swept);
        rules
    }

    /// All of it as text, to begin a new file with.
    pub fn text(&self) -> String {
        // Objects carry numbers: none is given twice, whatever is forgotten.
        let mut text = format!(
            "last {}\nstale-below {}\npurged-below {}\n",
            self.last, self.stale_below, self.purged_below
        );
        let mut lines: Vec<(u64, String)> = self
            .broad
            .iter()
            .map(|(number, purge)| (*number, line(*number, purge)))
            .collect();
        for (target, exact) in &self.exact {
            for one in exact {
                let what = What::Exact(target.clone());
                let purge = Purge {
                    site: one.site.clone(),
                    what,
                    soft: one.soft,
                };
                lines.push((one.number, line(one.number, &purge)));
            }
        }
        lines.sort();
        text.extend(lines.into_iter().map(|(_, line)| line));
        text
    }

    /// The number of the last purge.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Puts a purge in force; gives its number.
    pub fn add(&mut self, purge: Purge) -> u64 {
        self.last += 1;
        self.insert(self.last, purge);
        self.last
    }

    fn insert(&mut self, number: u64, purge: Purge) {
        self.last = self.last.max(number);
        let What::Exact(target) = purge.what else {
            self.broad.push_back((number, purge));
            if self.broad.len() > BROAD_MAX
                && let Some((number, _)) = self.broad.pop_front()
            {
                self.purged_below = self.purged_below.max(number);
            }
            return;
        };
        let list = self.exact.entry(target.clone()).or_default();
        // A later purge that says at least as much replaces the earlier one.
        list.retain(|old| old.site != purge.site || (purge.soft && !old.soft));
        list.push(Exact {
            number,
            site: purge.site,
            soft: purge.soft,
        });
        self.order.push_back((number, target));
        if self.order.len() > EXACT_MAX
            && let Some((number, target)) = self.order.pop_front()
        {
            self.forget_exact(number, &target);
        }
    }

    fn forget_exact(&mut self, number: u64, target: &Target) {
        let Some(list) = self.exact.get_mut(target) else {
            return;
        };
        let before = list.len();
        list.retain(|old| old.number != number);
        if list.len() < before {
            self.stale_below = self.stale_below.max(number);
        }
        if list.is_empty() {
            self.exact.remove(target);
        }
    }

    /// The files of all purges of many objects up to this number are gone, and that they are gone
    /// is on disk.
    pub fn forget_swept(&mut self, number: u64) {
        self.broad.retain(|(other, _)| *other > number);
    }

    /// The number up to which there is something to sweep; none if there is nothing.
    pub fn to_sweep(&self) -> Option<u64> {
        self.broad.back().map(|(number, _)| *number)
    }

    /// What the purges say about an object.
    pub fn judge(&self, subject: &Subject) -> Verdict {
        if subject.number >= self.last {
            return Verdict::Valid;
        }
        if subject.number < self.purged_below {
            return Verdict::Purged;
        }
        let mut verdict = match subject.number < self.stale_below {
            true => Verdict::Stale,
            false => Verdict::Valid,
        };
        let exact = self.exact.get(subject.target).into_iter().flatten();
        let exact = exact.filter(|one| one.site.as_deref().is_none_or(|site| site == subject.site));
        let broad = self
            .broad
            .iter()
            .rev()
            .take_while(|(number, _)| *number > subject.number);
        let broad = broad.filter(|(_, purge)| purge.matches(subject));
        let found = exact
            .map(|one| (one.number, one.soft))
            .chain(broad.map(|(number, purge)| (*number, purge.soft)));
        for (number, soft) in found {
            if number > subject.number {
                verdict = match soft {
                    true => Verdict::Stale,
                    false => return Verdict::Purged,
                };
            }
        }
        verdict
    }
}

/// A purge as it stands in the file of rules.
pub fn line(number: u64, purge: &Purge) -> String {
    format!("{number} {purge}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(text: &str) -> Purge {
        Purge::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn judge(rules: &Rules, url: &str, number: u64) -> Verdict {
        let (site, path) = url["http://".len()..].split_at(5);
        let target = Target::parse(path.as_bytes()).unwrap();
        let tags = ["t".to_owned()];
        rules.judge(&Subject {
            site,
            target: &target,
            tags: &tags,
            number,
        })
    }

    #[test]
    fn a_purge_holds_for_what_was_asked_for_before_it() {
        let mut rules = Rules::default();
        assert_eq!(judge(&rules, "http://a.org/x", 0), Verdict::Valid);
        let number = rules.add(purge("/x"));
        assert_eq!(judge(&rules, "http://a.org/x", number - 1), Verdict::Purged);
        assert_eq!(judge(&rules, "http://a.org/x", number), Verdict::Valid);
        assert_eq!(judge(&rules, "http://a.org/x?", number - 1), Verdict::Valid);
        let number = rules.add(purge("--soft http://b.org/y"));
        assert_eq!(judge(&rules, "http://b.org/y", number - 1), Verdict::Stale);
        assert_eq!(judge(&rules, "http://a.org/y", number - 1), Verdict::Valid);
    }

    #[test]
    fn a_later_soft_purge_does_not_weaken_an_earlier_one() {
        let mut rules = Rules::default();
        rules.add(purge("/x"));
        rules.add(purge("--soft /x"));
        assert_eq!(judge(&rules, "http://a.org/x", 0), Verdict::Purged);
        assert_eq!(judge(&rules, "http://a.org/x", 1), Verdict::Stale);
    }

    #[test]
    fn patterns_and_tags() {
        let mut rules = Rules::default();
        rules.add(purge("/news/*.gif"));
        assert_eq!(
            judge(&rules, "http://a.org/news/1/b.gif", 0),
            Verdict::Purged
        );
        assert_eq!(
            judge(&rules, "http://a.org/news/1/b.gift", 0),
            Verdict::Valid
        );
        rules.add(purge("/q?*"));
        assert_eq!(judge(&rules, "http://a.org/q", 0), Verdict::Purged);
        assert_eq!(judge(&rules, "http://a.org/q?a", 0), Verdict::Purged);
        assert_eq!(judge(&rules, "http://a.org/qa", 0), Verdict::Valid);
        rules.add(purge("--tag t"));
        assert_eq!(judge(&rules, "http://a.org/qa", 2), Verdict::Purged);
        assert_eq!(rules.to_sweep(), Some(3));
        rules.forget_swept(3);
        assert_eq!((rules.to_sweep(), rules.last()), (None, 3));
    }

    #[test]
    fn rules_survive_a_restart_and_a_torn_end() {
        let mut rules = Rules::default();
        for text in ["/x", "--soft --site a.org /y", "/n/*", "--tag t"] {
            rules.add(purge(text));
        }
        let mut text = rules.text();
        text.push_str(&line(5, &purge("/z")));
        text.push_str("6 --si");
        let read = Rules::read(&text);
        // The torn line may have been answered by nobody, but its number is taken.
        assert_eq!(read.last(), 6);
        assert_eq!(judge(&read, "http://a.org/z", 4), Verdict::Purged);
        assert_eq!(judge(&read, "http://b.org/n/x", 2), Verdict::Purged);
        assert_eq!(Rules::read(&read.text()).text(), read.text());
    }

    #[test]
    fn no_number_is_given_twice() {
        let mut rules = Rules::default();
        rules.add(purge("/n/*"));
        rules.forget_swept(1);
        // Two restarts: the first one still finds the line in its file.
        let mut rules = Rules::read(&Rules::read(&rules.text()).text());
        assert_eq!(rules.add(purge("/n/*")), 2);
        assert_eq!(judge(&rules, "http://a.org/n/x", 1), Verdict::Purged);
    }

    #[test]
    fn lines_may_be_written_in_any_order() {
        let lines = ["1 /x", "2 --soft /x", "3 /n/*", "4 /x", "5 --tag t"];
        let mut backwards = lines;
        backwards.reverse();
        let read = Rules::read(&backwards.join("\n"));
        assert_eq!(read.text(), Rules::read(&lines.join("\n")).text());
        assert_eq!(judge(&read, "http://a.org/x", 3), Verdict::Purged);
        assert_eq!(read.to_sweep(), Some(5));
    }

    #[test]
    fn what_is_forgotten_errs_on_the_safe_side() {
        let mut rules = Rules::default();
        for index in 0..=BROAD_MAX {
            rules.add(purge(&format!("/{index}/*")));
        }
        assert_eq!(judge(&rules, "http://a.org/other", 0), Verdict::Purged);
        assert_eq!(judge(&rules, "http://a.org/other", 1), Verdict::Valid);
        let mut rules = Rules::default();
        for index in 0..=EXACT_MAX {
            rules.add(purge(&format!("/{index}")));
        }
        assert_eq!(judge(&rules, "http://a.org/other", 0), Verdict::Stale);
        assert_eq!(judge(&rules, "http://a.org/other", 1), Verdict::Valid);
    }
}
