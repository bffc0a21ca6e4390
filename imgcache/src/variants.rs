//! Which variant of an object a request selects (RFC 9111 section 4.1).

use crate::http::Headers;

/// Headers whose members mean the same in any case and order.
const UNORDERED: [&str; 2] = ["accept-encoding", "accept-language"];

/// The header lines that choose among variants, as they stand in this request: one spelling per
/// meaning, so equal texts mean the same variant. Empty if the response does not vary.
pub fn selecting(vary: &[String], request: &Headers) -> Vec<u8> {
    let mut text = Vec::new();
    for name in vary {
        let blankless = |word: &[u8]| -> Vec<u8> {
            let bytes = word.iter().filter(|byte| **byte != b' ');
            bytes.copied().collect()
        };
        let mut words: Vec<Vec<u8>> = request.words(name).map(blankless).collect();
        if UNORDERED.contains(&name.as_str()) {
            words
                .iter_mut()
                .for_each(|word| word.make_ascii_lowercase());
            words.sort();
        }
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        for word in words {
            text.extend_from_slice(&word);
            text.push(b',');
        }
        text.push(b'\n');
    }
    text
}

/// The names that `Vary` lists, lower case, sorted, each once.
pub fn vary(headers: &Headers) -> Vec<String> {
    let words = headers
        .words("vary")
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
    let mut names: Vec<String> = words.collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(name, *value);
        }
        headers
    }

    #[test]
    fn variants_are_told_apart_by_meaning() {
        let names = vary(&headers(&[("Vary", "Accept-Language, B"), ("Vary", "b")]));
        assert_eq!(names, ["accept-language", "b"]);
        let select = |lines: &[(&str, &str)]| selecting(&names, &headers(lines));
        assert_eq!(
            select(&[("Accept-Language", "en, de")]),
            select(&[("accept-language", "DE,  en"), ("C", "d")])
        );
        assert_ne!(
            select(&[("Accept-Language", "en, de;q=0.5")]),
            select(&[("Accept-Language", "en;q=0.5, de")])
        );
        assert_eq!(select(&[("B", "x"), ("B", "y")]), select(&[("B", "x, y")]));
        assert_ne!(select(&[("B", "x, y")]), select(&[("B", "y, x")]));
        assert_ne!(select(&[("B", "x")]), select(&[]));
    }
}
