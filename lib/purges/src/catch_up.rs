//! Purges that were missed, from the memory of others. No I/O.
//!
//! Each cache remembers the purges that it has heard, see [`PurgeLog`]. One that was away asks:
//! `replay ago MILLISECONDS` to another's private group, and is answered with the type of its
//! message: a line `log short`, if that goes further back than the log, else `log end` or
//! `log more INDEX`, and purges, a command per line. After `more` it asks on with
//! `replay at INDEX`: one message at a time is under way, so a replay takes no more of the bus than
//! a message per round trip. A purge that is carried out twice does no harm.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use group::Name;

/// Bound: purges that are remembered.
const LOG_MAX: usize = 65_536;

/// Bound: bytes of them.
const LOG_BYTES_MAX: usize = 8 << 20;

/// Bytes of purges in one answer.
const ANSWER_BYTES: usize = 64 << 10;

/// The clocks of two caches agree this well about when a message came.
const EDGE: Duration = Duration::from_secs(2);

/// Who does not answer within this time is taken for one whose log is short.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// The purges that were heard lately.
#[derive(Debug)]
pub struct PurgeLog {
    /// When, and the command; the oldest first.
    entries: VecDeque<(Instant, String)>,
    bytes: usize,
    /// Index of the first entry.
    first: u64,
    /// All that was heard since then is here.
    complete_since: Instant,
}

impl PurgeLog {
    /// Nothing was heard before `now`.
    pub fn new(now: Instant) -> PurgeLog {
        PurgeLog {
            entries: VecDeque::new(),
            bytes: 0,
            first: 0,
            complete_since: now,
        }
    }

    /// Remembers a command, as it stands on the bus.
    pub fn push(&mut self, command: String, now: Instant) {
        self.bytes += command.len();
        self.entries.push_back((now, command));
        while self.entries.len() > LOG_MAX || self.bytes > LOG_BYTES_MAX {
            let Some((at, command)) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= command.len();
            self.first += 1;
            self.complete_since = at;
        }
    }

    /// The commands that were heard after this time, and how often.
    fn heard_after(&self, since: Instant) -> HashMap<String, usize> {
        let from = self.entries.partition_point(|(at, _)| *at < since);
        let mut heard = HashMap::new();
        for (_, command) in self.entries.iter().skip(from) {
            *heard.entry(command.clone()).or_default() += 1;
        }
        heard
    }

    /// Answers a question; none if it is none.
    pub fn answer(&self, question: &str, now: Instant) -> Option<String> {
        let mut words = question.split_ascii_whitespace();
        let (Some("replay"), Some(how), Some(number), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return None;
        };
        let number: u64 = number.parse().ok()?;
        let from = match how {
            "ago" => {
                let since = now.checked_sub(Duration::from_millis(number));
                let since = since.filter(|since| *since > self.complete_since);
                let Some(since) = since else {
                    return Some("log short\n".to_owned());
                };
                self.entries.partition_point(|(at, _)| *at < since)
            }
            "at" => match number.checked_sub(self.first) {
                Some(from) => usize::try_from(from).ok()?,
                None => return Some("log short\n".to_owned()),
            },
            _ => return None,
        };
        Some(self.page(from))
    }

    fn page(&self, from: usize) -> String {
        let (mut text, mut next) = (String::new(), from);
        for (_, command) in self.entries.iter().skip(from) {
            if !text.is_empty() && text.len() + command.len() > ANSWER_BYTES {
                return format!("log more {}\n{text}", self.first + next as u64);
            }
            text.push_str(command);
            text.push('\n');
            next += 1;
        }
        format!("log end\n{text}")
    }
}

/// Asking others for what was missed.
#[derive(Debug)]
pub struct CatchUp {
    /// From each list one has to answer in full.
    sources: VecDeque<VecDeque<Name>>,
    /// When purges began to be missed.
    since: Instant,
    /// The question under way: to whom, its type, until when.
    asked: Option<(Name, u16, Instant)>,
    /// What to ask next, where an answer goes on.
    next: Option<u64>,
    failed: bool,
    /// What was heard by ourselves in the time that is asked about: each source tells it once more.
    heard: HashMap<String, usize>,
    /// The same, less what the present source has told.
    untold: HashMap<String, usize>,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub enum Replayed {
    /// These purges, without the word `purge`.
    Commands(Vec<String>),
    /// Nothing for us.
    Nothing,
}

impl CatchUp {
    /// From each of these lists of caches one has to tell what it heard since then; what stands in
    /// our own log is not told to the caller.
    pub fn new(sources: Vec<Vec<Name>>, since: Instant, log: &PurgeLog) -> CatchUp {
        // What came at the edge may be told or not: it is rather carried out twice.
        let heard = log.heard_after(since + EDGE);
        CatchUp {
            untold: heard.clone(),
            heard,
            sources: sources.into_iter().map(VecDeque::from).collect(),
            since,
            asked: None,
            next: None,
            failed: false,
        }
    }

    /// Whether it is over: then whether all that was missed has been told.
    pub fn outcome(&self) -> Option<bool> {
        match self.failed {
            true => Some(false),
            false => self.sources.is_empty().then_some(true),
        }
    }

    /// The next question, if it is time for one: to whom, and its type, which is `number`.
    pub fn poll_question(&mut self, number: u16, now: Instant) -> Option<(Name, String)> {
        if let Some((_, _, deadline)) = self.asked
            && now >= deadline
        {
            self.give_up();
        }
        if self.asked.is_some() || self.failed {
            return None;
        }
        let name = *self.sources.front()?.front()?;
        self.asked = Some((name, number, now + ANSWER_TIME));
        let question = match self.next {
            Some(index) => format!("replay at {index}\n"),
            None => {
                let ago = now.duration_since(self.since).as_millis();
                format!("replay ago {ago}\n")
            }
        };
        Some((name, question))
    }

    /// The one that is asked does not know: the next one of its list is asked.
    fn give_up(&mut self) {
        (self.asked, self.next) = (None, None);
        self.untold.clone_from(&self.heard);
        let Some(list) = self.sources.front_mut() else {
            return;
        };
        list.pop_front();
        self.failed |= list.is_empty();
    }

    /// Takes an answer.
    pub fn handle_answer(&mut self, sender: &Name, number: u16, text: &str) -> Replayed {
        let expected = self
            .asked
            .is_some_and(|(name, own, _)| name == *sender && own == number);
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        if !expected || !head.starts_with("log ") {
            return Replayed::Nothing;
        }
        self.asked = None;
        let mut untold = std::mem::take(&mut self.untold);
        let is_new = |line: &&str| match untold.get_mut(*line) {
            Some(count @ 1..) => {
                *count -= 1;
                false
            }
            _ => true,
        };
        let new: Vec<String> = lines.filter(is_new).map(str::to_owned).collect();
        self.untold = untold;
        if head == "log end" {
            self.untold.clone_from(&self.heard);
            self.next = None;
            self.sources.pop_front();
        } else if let Some(index) = head.strip_prefix("log more ")
            && let Ok(index) = index.parse()
        {
            self.next = Some(index);
        } else {
            self.give_up();
            return Replayed::Nothing;
        }
        Replayed::Commands(new)
    }

    /// These are the members now: who has gone cannot answer.
    pub fn handle_members(&mut self, members: &[Name]) {
        if self
            .asked
            .is_some_and(|(name, ..)| !members.contains(&name))
        {
            (self.asked, self.next) = (None, None);
            self.untold.clone_from(&self.heard);
        }
        for list in &mut self.sources {
            list.retain(|name| members.contains(name));
        }
        // Those that went without a word may have known what nobody else knows.
        self.failed |= self.sources.iter().any(VecDeque::is_empty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Asks a log until it has told all.
    fn replay(log: &PurgeLog, since: Instant, now: Instant) -> Option<Vec<String>> {
        let peer = name("#ic1#a");
        let mut catch_up = CatchUp::new(vec![vec![peer]], since, &PurgeLog::new(since));
        let mut commands = Vec::new();
        for number in 0.. {
            match catch_up.outcome() {
                Some(true) => return Some(commands),
                Some(false) => return None,
                None => {}
            }
            let (to, question) = catch_up.poll_question(number, now).unwrap();
            assert_eq!(to, peer);
            let answer = log.answer(&question, now).unwrap();
            assert!(answer.len() <= ANSWER_BYTES + 9000);
            if let Replayed::Commands(more) = catch_up.handle_answer(&peer, number, &answer) {
                commands.extend(more);
            }
        }
        None
    }

    #[test]
    fn what_was_missed_is_told_page_by_page() {
        let start = Instant::now();
        let mut log = PurgeLog::new(start);
        let command = |index: u64| format!("/{index}/{}", "x".repeat(100));
        for index in 0..3000 {
            log.push(command(index), start + second(1 + index));
        }
        let now = start + second(3001);
        let missed = replay(&log, start + second(1001), now).unwrap();
        assert_eq!(missed, (1000..3000).map(command).collect::<Vec<_>>());
        assert_eq!(replay(&log, now, now), Some(vec![]));
        assert_eq!(replay(&log, start, now), None, "before the log began");
    }

    #[test]
    fn a_full_log_knows_that_it_is_short() {
        let start = Instant::now();
        let mut log = PurgeLog::new(start);
        for index in 0..=LOG_MAX as u64 {
            log.push(format!("/{index}"), start + second(index + 1));
        }
        let now = start + second(LOG_MAX as u64 + 2);
        assert_eq!(replay(&log, start + second(1), now), None);
        assert_eq!(replay(&log, start + second(2), now).unwrap().len(), LOG_MAX);
        assert_eq!(log.answer("replay at 0", now).unwrap(), "log short\n");
        for bad in [
            "",
            "replay",
            "replay ago",
            "replay ago x",
            "replay ago 1 2",
            "purge /x",
        ] {
            assert_eq!(log.answer(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn another_one_is_asked_where_the_first_does_not_know() {
        let now = Instant::now();
        let peers = ["#ic1#a", "#ic2#b", "#ic3#c"].map(name);
        let mut catch_up = CatchUp::new(vec![peers.to_vec()], now, &PurgeLog::new(now));
        assert_eq!(catch_up.poll_question(1, now).unwrap().0, peers[0]);
        assert_eq!(catch_up.poll_question(2, now), None, "one at a time");
        assert_eq!(
            catch_up.handle_answer(&peers[1], 1, "log end\n"),
            Replayed::Nothing
        );
        catch_up.handle_answer(&peers[0], 1, "log short\n");
        assert_eq!(catch_up.poll_question(3, now).unwrap().0, peers[1]);
        // It does not answer in time, and the last one leaves.
        let later = now + ANSWER_TIME;
        assert_eq!(catch_up.poll_question(4, later).unwrap().0, peers[2]);
        assert_eq!(catch_up.outcome(), None);
        catch_up.handle_members(&peers[..2]);
        assert_eq!(catch_up.outcome(), Some(false));
    }

    #[test]
    fn what_was_heard_is_not_done_again() {
        let start = Instant::now();
        let at = |seconds| start + second(seconds);
        let (mut own, mut other) = (PurgeLog::new(start), PurgeLog::new(start));
        for (command, seconds) in [("/edge", 10), ("/a", 13), ("--all", 14), ("/a", 15)] {
            own.push(command.to_owned(), at(seconds));
            other.push(command.to_owned(), at(seconds));
        }
        // Here the two lose sight of each other.
        for (command, seconds) in [("/a", 20), ("/b", 21)] {
            other.push(command.to_owned(), at(seconds));
        }
        let peers = [name("#ic1#a"), name("#ic2#b")];
        let sources = peers.iter().map(|&peer| vec![peer]).collect();
        let mut catch_up = CatchUp::new(sources, at(9), &own);
        for (number, peer) in (1..).zip(peers) {
            let (_, question) = catch_up.poll_question(number, at(30)).unwrap();
            let answer = other.answer(&question, at(30)).unwrap();
            let Replayed::Commands(new) = catch_up.handle_answer(&peer, number, &answer) else {
                panic!("{answer}");
            };
            assert_eq!(new, ["/edge", "/a", "/b"]);
        }
        assert_eq!(catch_up.outcome(), Some(true));
    }

    #[test]
    fn every_side_must_answer() {
        let now = Instant::now();
        let (one, two) = (name("#ic1#a"), name("#ic2#b"));
        let mut catch_up = CatchUp::new(vec![vec![one], vec![two]], now, &PurgeLog::new(now));
        catch_up.poll_question(1, now);
        catch_up.handle_answer(&one, 1, "log end\n/x\n");
        assert_eq!(catch_up.outcome(), None);
        assert_eq!(catch_up.poll_question(2, now).unwrap().0, two);
        let answer = catch_up.handle_answer(&two, 2, "log end\n/y\n");
        assert_eq!(answer, Replayed::Commands(vec!["/y".to_owned()]));
        assert_eq!(catch_up.outcome(), Some(true));
    }
}
