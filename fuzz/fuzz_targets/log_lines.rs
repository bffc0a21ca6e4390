//! Log lines: every format's parser, and the way from a cutter to an assembler.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weblog::format::{Field, Format, Parser};
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
    let _ = Format::parse(&String::from_utf8_lossy(input));
    travel(input, Limits::BATCHED);
    // Long enough to be cut into several messages, and no longer than a line may be.
    if let Some(&times) = input.first().filter(|&&byte| byte >= 240) {
        let bytes = 25_000 * usize::from(times - 239);
        travel(&input.repeat(bytes / input.len() + 1), Limits::BATCHED);
    }
});
