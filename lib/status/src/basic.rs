//! Basic authentication (RFC 7617): a password in a header.

/// The password of an Authorization header, what follows the first colon.
pub(crate) fn password(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, token) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = base64(token.trim_ascii())?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// Decodes base64 (RFC 4648, section 4), with or without its padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|&byte| byte != b'=')? + 1;
    let mut out = Vec::with_capacity(end * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for &digit in &text[..end] {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_rfc_4648() {
        for (text, decoded) in [
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(decoded.as_bytes()));
        }
        assert_eq!(base64(b"Zm9*"), None);
    }

    #[test]
    fn the_password_follows_the_first_colon() {
        // Aladdin:open sesame, of RFC 7617; and x:a:b.
        let aladdin = password(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(aladdin.as_deref(), Some(&b"open sesame"[..]));
        assert_eq!(password(b"basic eDphOmI=").as_deref(), Some(&b"a:b"[..]));
        for value in [
            "",
            "Basic",
            "Basic ====",
            "Basic Zm9v",
            "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ] {
            assert_eq!(password(value.as_bytes()), None, "{value}");
        }
    }
}
