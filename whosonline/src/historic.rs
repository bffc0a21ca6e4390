//! The protocol of the 2004 module, byte for byte, without I/O.
//!
//! All numbers are big-endian. A request is the length of a URL in 2 bytes, and the URL. The
//! answer is users online, users on this URL, and how many follow, in 4 bytes each; then for each,
//! newest first and at most 30, the user in 8 bytes, the age in seconds in 4, and 4 bytes of
//! padding, which are zero here. A user is what the name says as a decimal number, as strtoul
//! reads it: 0 for a name that is none.

use crate::presence::Presence;

/// Most users in an answer.
pub const USERS_MAX: usize = 30;

/// The URL of the first request in `input` and the request's length, if it is all there.
pub fn request(input: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = input.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    Some((rest.get(..length)?, 2 + length))
}

/// Appends the answer about a URL.
pub fn answer(presence: &Presence, url: &[u8], output: &mut Vec<u8>) {
    let visits = presence.visits_on(url);
    let users = visits.len();
    let counts = [presence.user_count(), users, users.min(USERS_MAX)].map(|count| count as u32);
    output.extend(counts.into_iter().flat_map(u32::to_be_bytes));
    for visit in visits.take(USERS_MAX) {
        output.extend_from_slice(&number(visit.user).to_be_bytes());
        output.extend_from_slice(&visit.age.to_be_bytes());
        output.extend_from_slice(&[0; 4]);
    }
}

/// The number that a name begins with; the largest one where it is larger.
fn number(name: &[u8]) -> u64 {
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::Limits;

    #[test]
    fn the_bytes_of_2004() {
        let mut presence = Presence::new(Limits {
            window: 1800,
            users_max: 100,
            pages_max: 100,
        });
        presence.advance(10);
        presence.hit(b"258", b"/x");
        presence.hit(b"bob", b"/y");
        presence.advance(13);
        let mut output = Vec::new();
        answer(&presence, b"/x", &mut output);
        let expected: [u8; 28] = [
            0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 0, 0, 0, 0,
        ];
        assert_eq!(output, expected);
        output.clear();
        answer(&presence, b"/none", &mut output);
        assert_eq!(output, [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn requests_come_in_pieces() {
        let mut input = Vec::new();
        let mut urls = Vec::new();
        for byte in b"\0\x02/x\0\0\0\x01/" {
            input.push(*byte);
            if let Some((url, length)) = request(&input) {
                urls.push(url.to_vec());
                input.drain(..length);
            }
        }
        assert_eq!(urls, [b"/x".to_vec(), b"".to_vec(), b"/".to_vec()]);
        assert_eq!(input, b"");
    }

    #[test]
    fn numbers_as_strtoul_reads_them() {
        assert_eq!(number(b"42abc"), 42);
        assert_eq!(number(b"ann"), 0);
        assert_eq!(number(b"99999999999999999999"), u64::MAX);
    }
}
