//! The part that most formats share, `%h %l %u [%t] "%r" %>s `, split in one go.
//!
//! Nearly all lines that servers write have it in its plainest form: one address, no identity, a
//! user without blanks, a time of 26 bytes, a request without a quote, a status of three digits.
//! A line that differs is left to the moves, which know everything that may stand there.

use super::field::{Fields, split_request};
use super::find::{find_byte, find_near_byte};
use super::text::{End, Move, Store};

/// How the fields end, and what follows each.
const MOVES: [(End, &[u8]); 6] = [
    (End::Addresses, b" "),
    (End::Byte(b' '), b" "),
    (End::User, b" ["),
    (End::Time, b"] \""),
    (End::Quote, b"\" "),
    (End::Byte(b' '), b" "),
];

/// Where the fields go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    /// The first of the moves.
    pub(super) first: usize,
    /// Host, identity, user, time and status.
    fields: [usize; 5],
    /// Request, method and target.
    request: [usize; 3],
}

impl Usual {
    /// How many moves these are.
    pub(super) const COUNT: usize = MOVES.len();

    /// Finds the usual moves among these.
    pub(super) fn among(moves: &[Move]) -> Option<Usual> {
        let is_usual = |moves: &[Move]| moves.iter().map(Move::kind).eq(MOVES);
        let first = moves.windows(MOVES.len()).position(is_usual)?;
        let place = |index: usize| match moves[first + index].store {
            Store::Field(place) => place,
            Store::Skip | Store::Request(_) => Fields::NOWHERE,
        };
        let request = match moves[first + 4].store {
            Store::Request(places) => places.map(|place| place.unwrap_or(Fields::NOWHERE)),
            Store::Skip | Store::Field(_) => [Fields::NOWHERE; 3],
        };
        Some(Usual {
            first,
            fields: [0, 1, 2, 3, 5].map(place),
            request,
        })
    }

    /// Takes the fields at the start of a text, and gives what follows the blank after them; none,
    /// and nothing is taken, where they are not in their plainest form.
    #[inline(always)]
    pub(super) fn take<'a>(&self, text: &'a [u8], fields: &mut Fields<'a>) -> Option<&'a [u8]> {
        let (host, rest) = split_at_blank(text)?;
        // A blank after a comma is part of a list of addresses.
        if host.last() == Some(&b',') {
            return None;
        }
        let (b"- ", rest) = rest.split_first_chunk()? else {
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
        if !status.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let present = |value: &'a [u8]| (value != b"-").then_some(value);
        let found = [present(host), None, present(user), Some(time), Some(status)];
        for (place, value) in self.fields.into_iter().zip(found) {
            fields.values[place] = value;
        }
        if self.request != [Fields::NOWHERE; 3] {
            let (method, target) = split_request(request).unzip();
            let found = [present(request), method, target];
            for (place, value) in self.request.into_iter().zip(found) {
                fields.values[place] = value;
            }
        }
        Some(rest)
    }
}

#[inline(always)]
fn split_at_blank(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = find_near_byte(b' ', text)?;
    Some((&text[..blank], &text[blank + 1..]))
}
