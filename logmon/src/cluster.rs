//! What programs say of themselves in the group `covey.status`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// The group that programs publish their status to, one line of JSON each.
pub(crate) const GROUP: &str = "covey.status";

/// Bound: programs that are shown; more are ignored.
const PROGRAMS_MAX: usize = 64;

/// Bound: fields of a program that are shown.
const FIELDS_MAX: usize = 16;

/// Longest value shown, in characters.
const VALUE_CHARS_MAX: usize = 100;

/// Who has said nothing for so long is gone: three statuses were missed.
const SILENCE_MAX: Duration = Duration::from_secs(16);

/// The last status of each program.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// By program and by what tells one from another.
    programs: BTreeMap<(String, String), (Instant, Map<String, Value>)>,
}

impl Cluster {
    /// Takes a status; what is none is ignored.
    pub(crate) fn take(&mut self, message: &[u8], now: Instant) {
        let Ok(Value::Object(status)) = serde_json::from_slice(message) else {
            return;
        };
        let mut shown = Map::new();
        for (key, value) in status.into_iter().take(FIELDS_MAX) {
            let value = match value {
                Value::Number(_) | Value::Bool(_) => value,
                Value::String(text) => text
                    .chars()
                    .take(VALUE_CHARS_MAX)
                    .collect::<String>()
                    .into(),
                Value::Array(list) => list.len().into(),
                Value::Null | Value::Object(_) => continue,
            };
            shown.insert(key.chars().take(VALUE_CHARS_MAX).collect(), value);
        }
        let word = |key: &str| shown.get(key).and_then(Value::as_str).map(str::to_owned);
        let Some(program) = word("program") else {
            return;
        };
        let own = ["host", "name", "group"].map(|key| word(key).unwrap_or_default());
        let key = (program, own.join(" "));
        if self.programs.contains_key(&key) || self.programs.len() < PROGRAMS_MAX {
            self.programs.insert(key, (now, shown));
        }
    }

    /// All programs that were heard lately; the others are forgotten.
    pub(crate) fn report(&mut self, now: Instant) -> Value {
        self.programs
            .retain(|_, (heard, _)| now.duration_since(*heard) < SILENCE_MAX);
        let programs = self
            .programs
            .values()
            .map(|(_, status)| Value::Object(status.clone()));
        json!(programs.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_each() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        for message in [
            r#"{"program":"whosonline","group":"a","users":1}"#,
            r#"{"program":"whosonline","group":"a","users":2,"x":{"y":1},"list":[1,2]}"#,
            r#"{"program":"vipd","host":"web1"}"#,
            "garbage",
            "[]",
            r#"{"users":3}"#,
        ] {
            cluster.take(message.as_bytes(), now);
        }
        let expected = json!([
            { "program": "vipd", "host": "web1" },
            { "program": "whosonline", "group": "a", "users": 2, "list": 2 },
        ]);
        assert_eq!(cluster.report(now + Duration::from_secs(15)), expected);
        assert_eq!(cluster.report(now + SILENCE_MAX), json!([]));
    }

    #[test]
    fn strangers_cannot_fill_it() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        for number in 0..1000 {
            let status = json!({ "program": "x", "name": number.to_string() + &"y".repeat(1000) });
            cluster.take(status.to_string().as_bytes(), now);
        }
        assert_eq!(cluster.report(now).as_array().unwrap().len(), PROGRAMS_MAX);
    }
}
