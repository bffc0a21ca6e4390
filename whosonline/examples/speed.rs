//! How fast the table is: parse and update in lines, and questions, per second of processor time.
//!
//! `speed USERS` makes lines like those of the sample log, with pages and users by Zipf's law
//! from a seed. In hot order users come as Zipf has them; in cold order each comes once in turn.

use std::hint::black_box;
use std::time::Duration;

use weblog::format::{Field, Format};
use whosonline::hits::{Hits, Rules};
use whosonline::presence::{Limits, Presence};

const LINES: usize = 1_000_000;
const PAGES: usize = 5000;
const QUESTIONS: usize = 1_000_000;

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
    let users = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000);
    for (order, hot) in [("hot", true), ("cold", false)] {
        let mut random = Random(7);
        let mut log = Vec::with_capacity(LINES * 240);
        for index in 0..LINES {
            let user = if hot {
                random.zipf(users)
            } else {
                index * 7919 % users
            };
            log.extend(line(index, user, random.zipf(PAGES)).bytes());
        }
        measure(order, users, &log);
    }
}

fn line(index: usize, user: usize, page: usize) -> String {
    let second = index / 5000;
    format!(
        "83.149.9.{} - user{user} [17/May/2015:10:{:02}:{:02} +0000] \"GET /presentations/page-{page}/index.html HTTP/1.1\" 200 {} \"http://semicomplete.com/presentations/logstash-monitorama-2013/\" \"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77 Safari/537.36\"\n",
        index % 256,
        second / 60 % 60,
        second % 60,
        index % 200_000,
    )
}

fn measure(order: &str, users: usize, log: &[u8]) {
    let mut hits = Hits::new(Rules {
        format: Format::combined(),
        user: Field::User,
        anonymous: false,
        status: (200, 399),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        skipped_suffixes: vec!["css".to_owned(), "png".to_owned()],
        query: false,
    });
    let limits = Limits {
        window: 1800,
        users_max: 20_000_000,
        pages_max: 100_000,
    };
    let mut presence = Presence::new(limits);
    let lines: Vec<&[u8]> = log.split_inclusive(|&byte| byte == b'\n').collect();
    let mut pass = |presence: &mut Presence| {
        let begin = processor_time();
        for line in &lines {
            let (stamp, hit) = hits.read(line);
            presence.advance(stamp.map_or(0, |stamp| stamp as u32));
            if let Some(hit) = hit {
                presence.hit(&hit.user, &hit.page);
            }
        }
        lines.len() as f64 / (processor_time() - begin).as_secs_f64() / 1e6
    };
    // The first passes fill the table; the last is what a running daemon does.
    for _ in 0..users / LINES + 1 {
        pass(&mut presence);
    }
    let rate = pass(&mut presence);
    let begin = processor_time();
    for index in 0..QUESTIONS {
        let page = if index % 2 == 0 {
            "/presentations/page-0/index.html"
        } else {
            "/presentations/page-9/index.html"
        };
        black_box(
            presence
                .visits_on(page.as_bytes())
                .take(30)
                .map(|v| v.age)
                .sum::<u32>(),
        );
    }
    let questions = QUESTIONS as f64 / (processor_time() - begin).as_secs_f64() / 1e6;
    println!(
        "{order}: {:.2} million lines/s with {} users on {} pages; {questions:.2} million top-30/s",
        rate,
        presence.user_count(),
        presence.page_count(),
    );
}

/// What this thread has had of a processor (proc(5), schedstat).
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    let spent = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(spent.expect("nanoseconds"))
}
