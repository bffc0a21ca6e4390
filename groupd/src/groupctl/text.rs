//! Bytes of other people as text that cannot steer a terminal.

/// The bytes with control characters and what is no UTF-8 written as `\n`, `\x1b` and so on.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                _ if character.is_control() => text.extend(character.escape_default()),
                _ => text.push(character),
            }
        }
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("größe 1\n".as_bytes()), "größe 1\\n");
        assert_eq!(printable(b"\x1b[2J\xff\\n\0"), "\\u{1b}[2J\\xff\\\\n\\u{0}");
        assert!(!printable(&(0..=255).collect::<Vec<u8>>()).contains(char::is_control));
    }

    #[test]
    fn hex_has_two_digits_each() {
        assert_eq!(hex(&[0, 0x0f, 0xff]), "000fff");
    }
}
