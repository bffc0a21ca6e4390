//! The part that most formats share, `%h %l %u [%t] "%r" %>s `, split in one go.
//!
//! Nearly all lines that servers write have it in its plainest form: one address, no identity, a
//! user without blanks, a time of 26 bytes, a request without a quote, a status of three digits.
//! A line that differs is left to the moves, which know everything that may stand there.

use super::find::{find_byte, find_near_byte};

/// How many fields there are.
pub(super) const COUNT: usize = 6;

/// Host, identity, user, time, request and status at the start of a text, and what follows the
/// blank after them; none where they are not in their plainest form.
#[inline]
pub(super) fn split(text: &[u8]) -> Option<([&[u8]; COUNT], &[u8])> {
    let (host, rest) = split_at_blank(text)?;
    // A blank after a comma is part of a list of addresses.
    if host.last() == Some(&b',') {
        return None;
    }
    let ([identity @ b'-', b' '], rest) = rest.split_first_chunk()? else {
        return None;
    };
    let (user, rest) = split_at_blank(rest)?;
    let (bracketed, rest) = rest.split_first_chunk::<30>()?;
    let [b'[', time @ .., b']', b' ', b'"'] = bracketed else {
        return None;
    };
    let (request, rest) = rest.split_at(find_byte(b'"', rest)?);
    if request.last() == Some(&b'\\') {
        return None;
    }
    let ([b'"', b' ', status @ .., b' '], rest) = rest.split_first_chunk::<6>()? else {
        return None;
    };
    let values = [
        host,
        std::slice::from_ref(identity),
        user,
        time.as_slice(),
        request,
        status.as_slice(),
    ];
    status
        .iter()
        .all(u8::is_ascii_digit)
        .then_some((values, rest))
}

#[inline]
fn split_at_blank(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = find_near_byte(b' ', text)?;
    Some((&text[..blank], &text[blank + 1..]))
}
