//! Log lines: every format's parser, and the way from a cutter to an assembler.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weblog::format::{Clock, Field, Format, Parser};
use weblog::stream::{Assembler, Cutter, Limits};

static PARSERS: LazyLock<Vec<Parser>> = LazyLock::new(|| {
    let wanted = [
        Field::Host,
        Field::Time,
        Field::Url,
        Field::Status,
        Field::UserAgent,
    ];
    [
        "common",
        "combined",
        "vhost_combined",
        "json",
        "%v %h \"%r\" %>s %D",
    ]
    .iter()
    .map(|text| {
        let format = Format::parse(text).expect("a format");
        let wanted: Vec<Field> = wanted
            .iter()
            .filter(|field| format.has(field))
            .cloned()
            .collect();
        Parser::new(&format, &wanted)
    })
    .collect()
});

/// What the assembler gives is what the cutter took, with a newline at the end.
fn travel(input: &[u8], limits: Limits) {
    let mut cutter = Cutter::new(limits);
    let mut assembler = Assembler::default();
    let mut lines = Vec::new();
    cutter.push(input);
    cutter.finish();
    while let Some(message) = cutter.poll_message() {
        assert!(message.data.len() <= limits.message_bytes);
        assembler.receive(b"#a#b", &message.data, |bytes| {
            lines.extend_from_slice(bytes)
        });
    }
    assembler.flush(|bytes| lines.extend_from_slice(bytes));
    let mut expected = input.to_vec();
    if !input.is_empty() && !input.ends_with(b"\n") {
        expected.push(b'\n');
    }
    assert!(
        lines == expected,
        "{} bytes became {}",
        expected.len(),
        lines.len()
    );
}

/// The first line describes all of them.
fn describe(input: &[u8]) {
    let mut lines = input.split_inclusive(|&byte| byte == b'\n');
    let description = lines.next().unwrap_or_default().trim_ascii_end();
    let Ok(format) = Format::parse(&String::from_utf8_lossy(description)) else {
        return;
    };
    let parser = Parser::new(&format, &[Field::Time, Field::Host, Field::Status]);
    let mut clock = Clock::default();
    for line in lines {
        if let Ok(fields) = parser.parse(line)
            && let Some(time) = fields.get(0)
        {
            let _ = clock.read(&time);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        for parser in PARSERS.iter() {
            let Ok(fields) = parser.parse(line) else {
                continue;
            };
            for index in 0..5 {
                let _ = (fields.get(index), fields.number(index));
            }
        }
    }
    describe(input);
    travel(input, Limits::BATCHED);
    // Long enough to be cut into several messages, and no longer than a line may be.
    if let Some(&times) = input.first().filter(|&&byte| byte >= 240) {
        let bytes = 25_000 * usize::from(times - 239);
        travel(&input.repeat(bytes / input.len() + 1), Limits::BATCHED);
    }
});
