//! Who has confirmed, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use group::Name;
use purges::Fate;
use serde::Serialize;

/// The fate of every cache, over all messages of one purge.
#[derive(Debug, Default)]
pub(crate) struct Report {
    caches: BTreeMap<Name, Fate>,
}

/// A cache, as JSON has it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    cache: String,
    fate: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Report {
    /// Adds what has become of one message: the worst fate and the latest time
    /// count.
    pub(crate) fn add(&mut self, caches: &BTreeMap<Name, Fate>) {
        for (name, fate) in caches {
            let old = self
                .caches
                .entry(*name)
                .or_insert(Fate::Confirmed(Duration::ZERO, 0));
            if let (Fate::Confirmed(time, count), Fate::Confirmed(more, deleted)) =
                (&mut *old, fate)
            {
                *time = (*time).max(*more);
                *count += deleted;
            } else if !matches!(fate, Fate::Confirmed(..)) {
                *old = fate.clone();
            }
        }
    }

    /// Whether nobody is missing, and at least so many were there.
    pub(crate) fn is_good(&self, expect: usize) -> bool {
        let good = |fate: &Fate| matches!(fate, Fate::Confirmed(..) | Fate::Left);
        !self.caches.is_empty() && self.caches.len() >= expect && self.caches.values().all(good)
    }

    /// One line per cache.
    pub(crate) fn text(&self) -> String {
        if self.caches.is_empty() {
            return "no cache is in the group\n".to_owned();
        }
        let mut text = String::new();
        for (name, fate) in &self.caches {
            writeln!(text, "{name} {fate}").expect("a String takes all");
        }
        text
    }

    /// One object with a list of caches.
    pub(crate) fn json(&self) -> String {
        let line = |(name, fate): (&Name, &'_ Fate)| {
            let cache = name.to_string();
            let (milliseconds, deleted) = match fate {
                Fate::Confirmed(time, count) => (Some(time.as_secs_f64() * 1000.0), Some(*count)),
                _ => (None, None),
            };
            let fate_word = match fate {
                Fate::Confirmed(..) => "confirmed",
                Fate::Awaited => "unanswered",
                Fate::Left => "left",
                Fate::Gone => "gone",
                Fate::Failed(_) => "failed",
            };
            serde_json::to_value(Line {
                cache,
                fate: fate_word,
                milliseconds,
                deleted,
                error: match fate {
                    Fate::Failed(error) => Some(error),
                    _ => None,
                },
            })
            .expect("a line has text keys only")
        };
        let caches: Vec<serde_json::Value> = self.caches.iter().map(line).collect();
        format!("{}\n", serde_json::json!({ "caches": caches }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts() {
        let name: Name = "#ic1#web1".parse().unwrap();
        let confirmed = Fate::Confirmed(Duration::from_millis(2), 3);
        let mut report = Report::default();
        assert!(!report.is_good(0));
        report.add(&BTreeMap::from([(name, confirmed.clone())]));
        report.add(&BTreeMap::from([(name, confirmed.clone())]));
        assert!(report.is_good(1) && !report.is_good(2));
        assert_eq!(report.text(), "#ic1#web1 confirmed in 2.0 ms, 6 deleted\n");
        report.add(&BTreeMap::from([(name, Fate::Gone)]));
        report.add(&BTreeMap::from([(name, confirmed)]));
        assert!(!report.is_good(1));
        assert_eq!(
            report.json(),
            "{\"caches\":[{\"cache\":\"#ic1#web1\",\"fate\":\"gone\"}]}\n"
        );
    }
}
