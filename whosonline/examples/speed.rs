//! How fast the table is: parse and update in lines, and questions, per second of processor time.
//!
//! `speed USERS` makes lines like those of the sample log, of 240 bytes on average, with pages and
//! users by Zipf's law from a seed. In hot order users come as Zipf has them; in cold order each
//! comes once in turn, which is the worst for every cache. Lines are given in messages of 128 kB,
//! as they come from the bus.

use std::hint::black_box;
use std::time::Duration;

use weblog::format::{Field, Format};
use whosonline::hits::{Hits, Rules};
use whosonline::presence::Limits;
use whosonline::table::Table;

const LINES: usize = 1_000_000;
const PAGES: usize = 5000;
const QUESTIONS: usize = 2_000_000;
const MESSAGE_BYTES: usize = 131_072;

const REFERERS: [&str; 4] = [
    "-",
    "http://semicomplete.com/presentations/logstash-monitorama-2013/",
    "-",
    "http://www.google.com/search?q=xdotool",
];

const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) \
     Chrome/32.0.1700.77 Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/",
    "Mozilla/5.0 (Windows NT 6.1; WOW64; rv:27.0) Gecko/20100101 Firefox/27.0",
];

/// A small generator of numbers (Vigna, splitmix64): the same seed, the same lines.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A rank below `count`, with a frequency of about one by its number.
    fn zipf(&mut self, count: usize) -> usize {
        ((count as f64 + 1.0).powf(self.next()) - 1.0) as usize
    }
}

fn main() {
    let users = std::env::args().nth(1);
    let users = users
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000_usize);
    for (order, hot) in [("hot", true), ("cold", false)] {
        let mut random = Random(7);
        let mut log = Vec::with_capacity(LINES * 250);
        for index in 0..LINES {
            // 7919 is prime to any number of users that is asked for.
            let user = match hot {
                true => random.zipf(users),
                false => index * 7919 % users,
            };
            log.extend(line(index, user, random.zipf(PAGES)).bytes());
        }
        measure(order, users, &log);
    }
}

fn line(index: usize, user: usize, page: usize) -> String {
    let second = index / 5000;
    format!(
        "83.149.9.{} - user{user} [17/May/2015:10:{:02}:{:02} +0000] \
         \"GET /presentations/page-{page}/index.html HTTP/1.1\" 200 {} \"{}\" \"{}\"\n",
        index % 256,
        second / 60 % 60,
        second % 60,
        index % 200_000,
        REFERERS[index % 4],
        AGENTS[index / 4 % 4],
    )
}

fn measure(order: &str, users: usize, log: &[u8]) {
    let mut hits = Hits::new(Rules {
        format: Format::combined(),
        user: Field::User,
        anonymous: false,
        status: (200, 399),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        skipped_suffixes: "css,gif,ico,jpeg,jpg,js,png,svg,webp,woff,woff2"
            .split(',')
            .map(str::to_owned)
            .collect(),
        query: false,
    });
    let mut table = Table::new(Limits {
        window: 1800,
        users_max: 20_000_000,
        pages_max: 100_000,
    });
    let messages = messages(log);
    let mut pass = |table: &mut Table| {
        let begin = processor_time();
        for message in &messages {
            table.take_lines(&mut hits, message);
        }
        LINES as f64 / (processor_time() - begin).as_secs_f64() / 1e6
    };
    // The first passes fill the table; the last ones are what a running daemon does.
    for _ in 0..users / LINES + 1 {
        pass(&mut table);
    }
    let mut rates = [0; 5].map(|_| pass(&mut table));
    rates.sort_by(f64::total_cmp);
    let presence = table.presence();
    let text: usize = presence.visits().map(|visit| visit.user.len()).sum();
    let count = presence.user_count();
    println!(
        "{order}: {:.2} million lines/s of {} bytes with {count} users on {} pages, {:.0} bytes \
         for each user and its text",
        rates[2],
        log.len() / LINES,
        presence.page_count(),
        (presence.user_bytes() - text) as f64 / count as f64,
    );
    let mut random = Random(8);
    let pages: Vec<String> = (0..1024)
        .map(|_| format!("/presentations/page-{}/index.html", random.zipf(PAGES)))
        .collect();
    let begin = processor_time();
    let mut listed = Vec::with_capacity(30);
    for index in 0..QUESTIONS {
        let page = pages[index % pages.len()].as_bytes();
        listed.clear();
        let visits = presence.visits_on(page);
        let users = visits.len();
        listed.extend(visits.take(30).map(|visit| (visit.user, visit.age)));
        black_box((users, &listed));
    }
    let rate = QUESTIONS as f64 / (processor_time() - begin).as_secs_f64() / 1e6;
    println!("{order}: {rate:.2} million top-30 of a page/s");
}

/// The log in pieces of whole lines.
fn messages(log: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    let mut rest = log;
    while rest.len() > MESSAGE_BYTES {
        let end = memchr::memrchr(b'\n', &rest[..MESSAGE_BYTES]).expect("a line is shorter") + 1;
        messages.push(&rest[..end]);
        rest = &rest[end..];
    }
    messages.push(rest);
    messages
}

/// What this thread has had of a processor (proc(5), schedstat).
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    let spent = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(spent.expect("nanoseconds"))
}
