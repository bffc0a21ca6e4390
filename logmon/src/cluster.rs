//! What programs say of themselves in the group `covey.status`, and on which daemons of the bus
//! they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use group::Name;
use group::name::split_private_group;
use serde_json::{Map, Value, json};

/// Bound: programs that are shown; more are ignored.
const PROGRAMS_MAX: usize = 64;

/// Bound: daemons of the bus that are shown; more are ignored.
const DAEMONS_MAX: usize = 128;

/// Bound: fields of a program that are shown.
const FIELDS_MAX: usize = 24;

/// Longest value shown, in characters.
const VALUE_CHARS_MAX: usize = 100;

/// Who has said nothing for so long is gone: three statuses were missed.
const SILENCE_MAX: Duration = Duration::from_secs(16);

/// The last status of each program, and the daemons that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// By what tells one from another: a program that was started again is the same one.
    programs: BTreeMap<Key, Program>,
    /// When somebody on this daemon has sent something.
    daemons: BTreeMap<String, Instant>,
    /// The daemons of the members of each group that this session is in, as the bus tells them.
    members: BTreeMap<Name, BTreeSet<String>>,
    /// What those who look know of the programs and daemons.
    sent: Known,
}

/// Programs and daemons.
#[derive(Debug, Default, PartialEq)]
struct Known {
    programs: BTreeMap<Key, Map<String, Value>>,
    daemons: BTreeSet<String>,
}

/// The program, what it calls itself, and its daemon.
type Key = (String, String, String);

#[derive(Debug)]
struct Program {
    heard: Instant,
    status: Map<String, Value>,
}

impl Cluster {
    /// Somebody has sent something: its daemon is a member of the bus.
    pub(crate) fn hear(&mut self, sender: &Name, now: Instant) {
        let Some(daemon) = daemon_of(sender) else {
            return;
        };
        if self.daemons.contains_key(&daemon) || self.daemons.len() < DAEMONS_MAX {
            self.daemons.insert(daemon, now);
        }
    }

    /// The bus tells the members of a group: their daemons are members of the bus.
    pub(crate) fn set_members(&mut self, group: Name, members: &[Name]) {
        let daemons = members.iter().filter_map(daemon_of).take(DAEMONS_MAX);
        let daemons: BTreeSet<String> = daemons.collect();
        // Who has gone with the last view is not a member for having been heard before.
        if let Some(before) = self.members.insert(group, daemons) {
            let is_member = |daemon: &String| self.members.values().any(|set| set.contains(daemon));
            let gone = before.into_iter().filter(|daemon| !is_member(daemon));
            for daemon in gone.collect::<Vec<_>>() {
                self.daemons.remove(&daemon);
            }
        }
    }

    /// The bus is lost: nobody knows who is on it.
    pub(crate) fn forget_members(&mut self) {
        self.members.clear();
        self.daemons.clear();
    }

    /// Takes a status; what is none is ignored.
    pub(crate) fn take(&mut self, sender: &Name, message: &[u8], now: Instant) {
        self.hear(sender, now);
        let Ok(Value::Object(status)) = serde_json::from_slice(message) else {
            return;
        };
        let mut shown = Map::new();
        for (key, value) in status.into_iter().take(FIELDS_MAX) {
            let value = match value {
                Value::Number(_) | Value::Bool(_) => value,
                Value::String(text) => cut(&text).into(),
                Value::Array(list) => names(&list).into(),
                Value::Null | Value::Object(_) => continue,
            };
            shown.insert(cut(&key), value);
        }
        let word = |key: &str| shown.get(key).and_then(Value::as_str).map(str::to_owned);
        let Some(program) = word("program") else {
            return;
        };
        let own = ["host", "name", "group"].map(|key| word(key).unwrap_or_default());
        let key = (
            program,
            own.join(" "),
            daemon_of(sender).unwrap_or_default(),
        );
        let known = self.programs.get(&key);
        if known.is_none() && self.programs.len() >= PROGRAMS_MAX {
            return;
        }
        let before = known.map_or((0, 0), |known| lookups(&known.status));
        if let Some(rate) = hit_rate(before, lookups(&shown)) {
            shown.insert("hit_rate".to_owned(), json!(rate));
        } else if let Some(rate) = known.and_then(|known| known.status.get("hit_rate")) {
            shown.insert("hit_rate".to_owned(), rate.clone());
        }
        let program = Program {
            heard: now,
            status: shown,
        };
        self.programs.insert(key, program);
    }

    /// What has changed since it was asked for last; none if nothing has. Who was silent for too
    /// long is forgotten.
    ///
    /// Programs that are new or say something new are in `programs`, each with an `id`; those of
    /// whom nothing is heard any more in `gone`, by their ids; `daemons` are all of them, if one
    /// came or went.
    pub(crate) fn changes(&mut self, now: Instant) -> Option<Value> {
        let known = self.known(now);
        let before = std::mem::replace(&mut self.sent, known);
        if self.sent == before {
            return None;
        }
        let mut changes = json!({});
        if self.sent.daemons != before.daemons {
            changes["daemons"] = json!(self.sent.daemons);
        }
        let is_new = |(key, status): &(&Key, &Map<String, Value>)| {
            before.programs.get(*key) != Some(*status)
        };
        let new = self.sent.programs.iter().filter(is_new).map(program);
        changes["programs"] = new.collect();
        let gone = before.programs.keys();
        let gone = gone.filter(|key| !self.sent.programs.contains_key(*key));
        changes["gone"] = gone.map(id).collect();
        Some(changes)
    }

    /// All that has been told of, for somebody who begins to look.
    pub(crate) fn sent(&self) -> Value {
        let programs: Vec<Value> = self.sent.programs.iter().map(program).collect();
        json!({ "daemons": self.sent.daemons, "programs": programs })
    }

    fn known(&mut self, now: Instant) -> Known {
        let is_alive = |heard: &Instant| now.duration_since(*heard) < SILENCE_MAX;
        self.programs.retain(|_, program| is_alive(&program.heard));
        self.daemons.retain(|_, heard| is_alive(heard));
        let programs = self.programs.iter();
        let members = self.members.values().flatten();
        Known {
            programs: programs
                .map(|(key, program)| (key.clone(), program.status.clone()))
                .collect(),
            daemons: members.chain(self.daemons.keys()).cloned().collect(),
        }
    }
}

/// What tells a program from all others, as browsers have it.
fn id(key: &Key) -> Value {
    let (program, own, daemon) = key;
    json!(format!("{program}\n{own}\n{daemon}"))
}

fn program((key, status): (&Key, &Map<String, Value>)) -> Value {
    let mut status = status.clone();
    status.insert("id".to_owned(), id(key));
    status.insert("daemon".to_owned(), key.2.as_str().into());
    Value::Object(status)
}

/// The daemon of a session; none for what is no session's private group.
fn daemon_of(sender: &Name) -> Option<String> {
    let (_, daemon) = split_private_group(sender)?;
    Some(daemon.to_string())
}

/// The words of a list, one after the other; of what does not fit, how many they are.
fn names(list: &[Value]) -> String {
    let mut text = String::new();
    for (index, word) in list.iter().enumerate() {
        let word = word
            .as_str()
            .map_or_else(|| word.to_string(), str::to_owned);
        let rest = list.len() - index;
        if text.len() + word.len() > VALUE_CHARS_MAX - 20 {
            return cut(&format!("{text} and {rest} more"));
        }
        let comma = if text.is_empty() { "" } else { ", " };
        text = format!("{text}{comma}{word}");
    }
    text
}

fn cut(text: &str) -> String {
    text.chars().take(VALUE_CHARS_MAX).collect()
}

/// A cache's hits and misses so far.
fn lookups(status: &Map<String, Value>) -> (u64, u64) {
    let number = |key| status.get(key).and_then(Value::as_u64).unwrap_or(0);
    (number("hits"), number("misses"))
}

/// The part of lookups since the status before that were hits, in percent; none if there were none.
fn hit_rate(before: (u64, u64), now: (u64, u64)) -> Option<u64> {
    // A cache that was started again counts from 0 again.
    let before = if now < before { (0, 0) } else { before };
    let hits = now.0.saturating_sub(before.0) as f64;
    let all = hits + now.1.saturating_sub(before.1) as f64;
    (all > 0.0).then(|| (hits * 100.0 / all).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).unwrap()
    }

    /// All that is known, without the ids.
    fn report(cluster: &mut Cluster, now: Instant) -> Value {
        cluster.changes(now);
        let mut all = cluster.sent();
        for program in all["programs"].as_array_mut().unwrap() {
            program.as_object_mut().unwrap().remove("id");
        }
        all
    }

    #[test]
    fn the_last_word_of_each() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        for (sender, message) in [
            ("#wo1#web1", r#"{"program":"whosonline","users":1}"#),
            (
                "#wo1#web1",
                r#"{"program":"whosonline","users":2,"x":{"y":1},"list":[1,2]}"#,
            ),
            ("#vi1#web2", r#"{"program":"vipd","host":"web2"}"#),
            ("#a#web3", "garbage"),
            ("#b#web3", "[]"),
            ("#c#web3", r#"{"users":3}"#),
            ("#d#web3", r#"{"program":3}"#),
        ] {
            cluster.take(&name(sender), message.as_bytes(), now);
        }
        let expected = json!({
            "daemons": ["web1", "web2", "web3"],
            "programs": [
                { "program": "vipd", "host": "web2", "daemon": "web2" },
                { "program": "whosonline", "users": 2, "list": "1, 2", "daemon": "web1" },
            ],
        });
        assert_eq!(
            report(&mut cluster, now + Duration::from_secs(15)),
            expected
        );
        let nothing = json!({ "daemons": [], "programs": [] });
        assert_eq!(report(&mut cluster, now + SILENCE_MAX), nothing);
    }

    #[test]
    fn only_changes_are_told() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        let mut tell = |name: &str, users: u64, seconds| {
            let (sender, at) = (self::name(name), now + Duration::from_secs(seconds));
            let status = json!({ "program": "whosonline", "name": name, "users": users });
            cluster.take(&sender, status.to_string().as_bytes(), at);
            cluster.changes(at)
        };
        let one = |name: &str, daemon: &str, users: u64| {
            let id = format!("whosonline\n {name} \n{daemon}");
            let (program, name) = ("whosonline", name);
            json!({ "program": program, "name": name, "users": users, "daemon": daemon, "id": id })
        };
        let first = json!({ "daemons": ["w1"], "programs": [one("#a#w1", "w1", 1)], "gone": [] });
        assert_eq!(tell("#a#w1", 1, 0), Some(first));
        assert_eq!(tell("#a#w1", 1, 1), None);
        let second =
            json!({ "daemons": ["w1", "w2"], "programs": [one("#b#w2", "w2", 1)], "gone": [] });
        assert_eq!(tell("#b#w2", 1, 2), Some(second));
        let third = json!({ "programs": [one("#b#w2", "w2", 5)], "gone": [] });
        assert_eq!(tell("#b#w2", 5, 3), Some(third));
        let last =
            json!({ "daemons": ["w2"], "programs": [], "gone": ["whosonline\n #a#w1 \nw1"] });
        assert_eq!(tell("#b#w2", 5, 17), Some(last));
        assert_eq!(cluster.sent()["programs"], json!([one("#b#w2", "w2", 5)]));
    }

    #[test]
    fn the_bus_tells_its_members() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        let (web, statuses) = (name("web"), name(status::STATUS_GROUP));
        cluster.hear(&name("#x#web9"), now);
        cluster.set_members(web, &["#lp1#web1", "#wo1#web2"].map(name));
        cluster.set_members(statuses, &["#lm1#web2", "#lm2#web3"].map(name));
        let daemons = |cluster: &mut Cluster, at| report(cluster, at)["daemons"].clone();
        assert_eq!(
            daemons(&mut cluster, now),
            json!(["web1", "web2", "web3", "web9"])
        );
        // A member that is silent is one; who was only heard is forgotten.
        let later = now + SILENCE_MAX;
        assert_eq!(
            daemons(&mut cluster, later),
            json!(["web1", "web2", "web3"])
        );
        cluster.hear(&name("#lp1#web1"), later);
        cluster.set_members(web, &[name("#wo1#web2")]);
        assert_eq!(daemons(&mut cluster, later), json!(["web2", "web3"]));
        cluster.forget_members();
        assert_eq!(daemons(&mut cluster, later), json!([]));
    }

    #[test]
    fn holders_are_shown_by_name() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        let sets: Vec<String> = (0..100).map(|number| format!("set{number}")).collect();
        let status = json!({ "program": "vipd", "holds": ["web", "mail"], "uncovered_sets": sets });
        cluster.take(&name("#v#h"), status.to_string().as_bytes(), now);
        let shown = &report(&mut cluster, now)["programs"][0];
        assert_eq!(shown["holds"], "web, mail");
        let uncovered = shown["uncovered_sets"].as_str().unwrap();
        assert!(uncovered.starts_with("set0, set1, ") && uncovered.ends_with(" more"));
        assert!(uncovered.chars().count() <= VALUE_CHARS_MAX);
    }

    #[test]
    fn hit_rates_are_of_the_last_lookups() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        let mut rate = |hits: u64, misses: u64| {
            let status = json!({ "program": "imgcache", "hits": hits, "misses": misses });
            cluster.take(&name("#ic1#h"), status.to_string().as_bytes(), now);
            report(&mut cluster, now)["programs"][0]["hit_rate"].clone()
        };
        assert_eq!(rate(0, 0), Value::Null);
        assert_eq!(rate(50, 50), 50);
        assert_eq!(rate(140, 60), 90);
        assert_eq!(rate(140, 60), 90);
        // Started again.
        assert_eq!(rate(1, 3), 25);
        assert_eq!(rate(u64::MAX, u64::MAX), 50);
    }

    #[test]
    fn strangers_cannot_fill_it() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        for number in 0..1000 {
            let status = json!({ "program": "x", "name": "y".repeat(1000) });
            let sender = name(&format!("#s{number}#host{number}"));
            cluster.take(&sender, status.to_string().as_bytes(), now);
        }
        let report = report(&mut cluster, now);
        assert_eq!(report["programs"].as_array().unwrap().len(), PROGRAMS_MAX);
        assert_eq!(report["daemons"].as_array().unwrap().len(), DAEMONS_MAX);
    }
}
