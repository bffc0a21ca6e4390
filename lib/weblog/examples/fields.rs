//! How fast fields are found: `fields FILE...` prints lines per second of processor time, so that
//! other work on the machine counts for little.

use std::hint::black_box;
use std::time::Duration;

use weblog::format::{Field, Format, Parser};

const LEAST: Duration = Duration::from_secs(2);

fn main() {
    let mut log = Vec::new();
    for path in std::env::args_os().skip(1) {
        log.extend(std::fs::read(&path).expect("a readable log"));
    }
    let lines: Vec<&[u8]> = log.split_inclusive(|&byte| byte == b'\n').collect();
    let three = [Field::Host, Field::Url, Field::Status];
    let all = [
        Field::Host,
        Field::User,
        Field::Time,
        Field::Request,
        Field::Method,
        Field::Url,
        Field::Status,
        Field::Bytes,
        Field::Referer,
        Field::UserAgent,
    ];
    for (name, wanted) in [("three fields", &three[..]), ("all fields", &all)] {
        let parser = Parser::new(&Format::combined(), wanted);
        let (mut count, mut bad, begin) = (0_u64, 0_u64, processor_time());
        while processor_time() - begin < LEAST {
            for line in &lines {
                bad += u64::from(black_box(parser.parse(line)).is_err());
            }
            count += lines.len() as u64;
        }
        let rate = count as f64 / (processor_time() - begin).as_secs_f64();
        println!(
            "{name}: {:.2} million lines/s, {bad} of {count} not parsed",
            rate / 1e6
        );
    }
}

/// What this thread has had of a processor (proc(5), schedstat).
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    let spent = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(spent.expect("nanoseconds"))
}
