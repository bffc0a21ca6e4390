//! What clients and origins send to the cache: heads, chunks, dates, names.
#![no_main]

use imgcache::http::{read_request, read_response};
use imgcache::names::{FileName, Target, file_of, read_file_name};
use imgcache::{chunked, date};
use libfuzzer_sys::fuzz_target;

/// Decodes in pieces; the body must not depend on where they end.
fn unchunk(input: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), ()> {
    let (mut chunks, mut body, mut used) = (chunked::Chunks::new(), Vec::new(), 0);
    for piece in input.chunks(piece) {
        if chunks.is_done() {
            break;
        }
        used += chunks.decode(piece, &mut body).map_err(|_| ())?;
    }
    Ok((body, used, chunks.is_done()))
}

fn map_names(input: &[u8]) {
    let Ok(target) = Target::parse(input) else {
        return;
    };
    let Some(file) = file_of("www.example.com", &target) else {
        return;
    };
    assert!(file.starts_with("www.example.com/"));
    assert!(
        file.split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= 255)
    );
    match read_file_name(&file) {
        FileName::Object {
            target: Some(back), ..
        } => assert_eq!(back, target),
        FileName::Object { target: None, .. } => {}
        other => panic!("{file} is read as {other:?}"),
    }
}

fuzz_target!(|input: &[u8]| {
    if let Ok(Some((request, length))) = read_request(input) {
        assert!(length <= input.len());
        let mut again = Vec::new();
        request.headers.write(&mut again);
        // What is sent on must be heads' lines and nothing else.
        assert!(!again.windows(4).any(|four| four == b"\r\n\r\n"));
    }
    for method in ["GET", "HEAD"] {
        if let Ok(Some((_, length))) = read_response(input, method) {
            assert!(length <= input.len());
        }
    }
    if let Some((&piece, rest)) = input.split_first() {
        assert_eq!(
            unchunk(rest, usize::from(piece).max(1)),
            unchunk(rest, rest.len().max(1))
        );
    }
    if let Some(time) = date::parse(input, 1_700_000_000) {
        let _ = date::format(time);
    }
    let _ = read_file_name(&String::from_utf8_lossy(input));
    map_names(input);
});
