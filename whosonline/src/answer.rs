//! Answers in JSON, the same over the socket and over HTTP.

use serde_json::{Value, json};
use subscriber::Position;

use crate::hits::HitCounts;
use crate::presence::Visit;
use crate::table::Table;

/// Most users or pages in an answer.
pub const LISTED_MAX: usize = 1000;

/// Users listed where the question does not say how many.
pub const LISTED: usize = 30;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// How many users are online.
    Count,
    /// How many and which are on this page, newest first.
    Page(Vec<u8>, usize),
    /// The pages with most users.
    Top(usize),
    /// Where this user is.
    User(Vec<u8>),
}

impl Question {
    /// Reads a line of the socket: `count`, `page /x 30`, `top 20`, `user NAME`; the numbers may
    /// be left out.
    ///
    /// Errors: what is wrong.
    pub fn parse(line: &[u8]) -> Result<Question, &'static str> {
        let line = line.trim_ascii();
        let (word, rest) = match line.iter().position(|&byte| byte == b' ') {
            Some(blank) => (&line[..blank], line[blank + 1..].trim_ascii()),
            None => (line, &b""[..]),
        };
        match word {
            b"count" if rest.is_empty() => Ok(Question::Count),
            b"top" if rest.is_empty() => Ok(Question::Top(LISTED)),
            b"top" => number(rest).map(Question::Top).ok_or("top takes a number"),
            b"user" if !rest.is_empty() => Ok(Question::User(rest.to_vec())),
            b"page" if !rest.is_empty() => {
                let blank = rest.iter().rposition(|&byte| byte == b' ');
                let last = blank.and_then(|blank| Some((blank, number(&rest[blank + 1..])?)));
                Ok(match last {
                    Some((blank, count)) => {
                        Question::Page(rest[..blank].trim_ascii_end().to_vec(), count)
                    }
                    None => Question::Page(rest.to_vec(), LISTED),
                })
            }
            _ => Err("ask: count, page URL [N], top [N], user NAME"),
        }
    }
}

/// At most [`LISTED_MAX`]; none if it is no number.
fn number(text: &[u8]) -> Option<usize> {
    let number: usize = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(number.min(LISTED_MAX))
}

/// Which answer it is: all who give one for the same place give the same.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The place in the order of the log.
    pub position: Position,
    /// The lineage of the table.
    pub lineage: u64,
}

/// Answers a question; `place` is none while the table is not the one that others have.
pub fn answer(question: &Question, table: &Table, place: Option<Place>) -> Value {
    let presence = table.presence();
    let mut answer = match question {
        Question::Count => json!({ "users": presence.user_count() }),
        Question::Page(url, count) => {
            let visits = presence.visits_on(url);
            let users = visits.len();
            let visits = visits.take(*count);
            json!({
                "users": visits.map(|visit| visit_of(&visit)).collect::<Vec<_>>(),
                "count": users,
                "online": presence.user_count(),
            })
        }
        Question::Top(count) => {
            let pages = presence.top_pages(*count).into_iter();
            let pages = pages.map(|(url, users)| json!({ "page": text(url), "users": users }));
            json!({ "pages": pages.collect::<Vec<_>>(), "online": presence.user_count() })
        }
        Question::User(name) => match presence.find_user(name) {
            Some(visit) => json!({
                "user": text(visit.user), "page": text(visit.page), "age": visit.age,
            }),
            None => json!({ "user": text(name), "page": null, "age": null }),
        },
    };
    answer["position"] = position(place);
    answer["time"] = json!(table.time());
    answer["complete"] = json!(table.is_complete());
    answer
}

/// The answer to what is no question.
pub fn refusal(why: &str, place: Option<Place>) -> Value {
    json!({ "error": why, "position": position(place) })
}

fn position(place: Option<Place>) -> Value {
    place.map_or(Value::Null, |Place { position, lineage }| {
        json!({
            "membership": position.membership.map(|gid| gid.to_string()),
            "messages": position.messages,
            "table": format!("{lineage:016x}"),
        })
    })
}

fn visit_of(visit: &Visit<'_>) -> Value {
    json!({ "user": text(visit.user), "age": visit.age })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All counts in the text format of Prometheus.
pub fn metrics(table: &Table, counts: HitCounts, holding: bool) -> String {
    let presence = table.presence();
    let rows: [(&str, &str, u64); 7] = [
        ("users", "gauge", presence.user_count() as u64),
        ("pages", "gauge", presence.page_count() as u64),
        ("holding", "gauge", u64::from(holding)),
        ("evicted_users_total", "counter", presence.evicted()),
        ("lines_total", "counter", counts.lines),
        ("unparsed_lines_total", "counter", counts.unparsed),
        ("hits_total", "counter", counts.hits),
    ];
    let row = |(name, kind, value): (&str, &str, u64)| {
        format!("# TYPE whosonline_{name} {kind}\nwhosonline_{name} {value}\n")
    };
    rows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let page = |url: &str, count| Ok(Question::Page(url.into(), count));
        for (line, question) in [
            ("count", Ok(Question::Count)),
            (" count \r", Ok(Question::Count)),
            ("page /x", page("/x", 30)),
            ("page /x 7", page("/x", 7)),
            ("page /x y 7", page("/x y", 7)),
            ("page 7", page("7", 30)),
            ("page /x 1000000", page("/x", 1000)),
            ("top", Ok(Question::Top(30))),
            ("top 20", Ok(Question::Top(20))),
            ("user two words", Ok(Question::User(b"two words".to_vec()))),
            ("top x", Err("top takes a number")),
        ] {
            assert_eq!(Question::parse(line.as_bytes()), question, "{line}");
        }
        for line in ["", "page", "user", "count x", "\0", "quit"] {
            assert!(Question::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
