//! Lines whose fields stand in a fixed order, with fixed text between them.
//!
//! A line is read from its left, and only up to the last wanted field. Where a field ends is told
//! by what follows it, with three exceptions that real logs need:
//! - the user is not quoted and may hold blanks, so it ends before ` [` of a time;
//! - a quoted field ends at a quote that no odd run of backslashes precedes, as Apache escapes
//!   quotes by one and a backslash by another;
//! - a list of addresses from a proxy has blanks after its commas.

use memchr::{memchr, memmem};

use super::description::Step;
use super::field::{Field, Fields, Outcome, Unparsed, split_request};

/// Bytes of `10/Oct/2000:13:55:36 -0700`.
const TIME_LENGTH: usize = 26;

/// What to do with a line, step by step.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// What stands before the first field.
    head: Vec<u8>,
    moves: Vec<Move>,
    /// A line that ends before this move's field is complete is not of the format.
    needed: usize,
}

#[derive(Clone, Debug)]
struct Move {
    end: End,
    store: Store,
    literal: Vec<u8>,
}

/// How the end of a field is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// At this byte, which begins the literal; the usual case.
    Byte(u8),
    /// At the literal, which is longer than a byte.
    Literal,
    /// At a blank that no comma precedes.
    Addresses,
    /// At ` [` that begins a time.
    User,
    /// At `]`, most often after 26 bytes.
    Time,
    /// At a quote that is not escaped.
    Quote,
    /// At the end of the line.
    Line,
}

/// Where a field goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Store {
    Skip,
    Field(usize),
    /// The request line: itself, its method, its target.
    Request([Option<usize>; 3]),
}

impl Program {
    pub(super) fn new(steps: &[Step], wanted: &[Field]) -> Program {
        let index = |field: &Field| wanted.iter().position(|one| one == field);
        let store = |step: &Step| match &step.field {
            None => Store::Skip,
            Some(Field::Request) => {
                let targets = [Field::Request, Field::Method, Field::Url].map(|f| index(&f));
                match targets {
                    [None, None, None] => Store::Skip,
                    targets => Store::Request(targets),
                }
            }
            Some(field) => index(field).map_or(Store::Skip, Store::Field),
        };
        let (head, steps) = steps.split_first().expect("a description has a first step");
        let mut moves: Vec<Move> = steps
            .iter()
            .map(|step| Move {
                end: end(step),
                store: store(step),
                literal: step.literal.clone(),
            })
            .collect();
        let last = moves.iter().rposition(|step| step.store != Store::Skip);
        let last = last.map_or(0, |last| last + 1);
        let status = steps
            .iter()
            .position(|step| step.field == Some(Field::Status));
        moves.truncate(last);
        let needed = status.map_or(last, |status| last.min(status + 1));
        Program {
            head: head.literal.clone(),
            moves,
            needed,
        }
    }

    pub(super) fn run<'a>(&self, line: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Unparsed> {
        let mut rest = line.strip_prefix(self.head.as_slice()).ok_or(Unparsed)?;
        for (index, step) in self.moves.iter().enumerate() {
            let Some(length) = step.length(rest) else {
                return self.cut(index, rest, fields);
            };
            step.store.put(&rest[..length], fields);
            let after = &rest[length..];
            rest = match strip_literal(after, &step.literal) {
                Some(rest) => rest,
                // The line may end here: Common is Combined without its end.
                None if step.literal.starts_with(after) => {
                    return self.cut(index + 1, &[], fields);
                }
                None => return Err(Unparsed),
            };
        }
        Ok(())
    }

    /// The line ends inside the field of this move, or before it if `rest` is empty.
    fn cut<'a>(
        &self,
        index: usize,
        rest: &'a [u8],
        fields: &mut Fields<'a>,
    ) -> Result<(), Unparsed> {
        if index == self.moves.len() {
            return Ok(());
        }
        // A status at the very end of the line is complete without what would follow it.
        let complete = self.moves[index].end != End::Quote && !rest.is_empty();
        if index + usize::from(complete) < self.needed {
            return Err(Unparsed);
        }
        if !rest.is_empty() {
            self.moves[index].store.put(rest, fields);
        }
        if index + usize::from(complete) < self.moves.len() {
            fields.outcome = Outcome::Cut;
        }
        Ok(())
    }
}

fn end(step: &Step) -> End {
    match (&step.field, step.literal.as_slice()) {
        (_, []) => End::Line,
        (_, [b'"', ..]) if step.quoted => End::Quote,
        (Some(Field::User), b" [") => End::User,
        (Some(Field::Time), [b']', ..]) => End::Time,
        (Some(Field::Host | Field::Named(_)), [b' ', ..]) => End::Addresses,
        (_, [byte]) => End::Byte(*byte),
        // A blank is never inside such a field: its first byte tells as much as all of them.
        (_, [b' ', ..]) => End::Byte(b' '),
        _ => End::Literal,
    }
}

impl Move {
    /// The length of the field at the start of `text`; none if it does not end.
    #[inline]
    fn length(&self, text: &[u8]) -> Option<usize> {
        match self.end {
            End::Byte(byte) => find_byte(byte, text),
            End::Literal => memmem::find(text, &self.literal),
            End::Addresses => addresses_length(text),
            End::User => user_length(text),
            End::Time => match text.get(TIME_LENGTH) {
                Some(b']') => Some(TIME_LENGTH),
                _ => memchr(b']', text),
            },
            End::Quote => quoted_length(text),
            End::Line => Some(text.len()),
        }
    }
}

impl Store {
    #[inline]
    fn put<'a>(&self, value: &'a [u8], fields: &mut Fields<'a>) {
        let present = (value != b"-").then_some(value);
        match self {
            Store::Skip => {}
            Store::Field(index) => fields.values[*index] = present,
            Store::Request([line, method, url]) => {
                let split = present.and_then(split_request);
                let values = [present, split.map(|s| s.0), split.map(|s| s.1)];
                for (index, value) in [line, method, url].into_iter().zip(values) {
                    if let Some(index) = index {
                        fields.values[*index] = value;
                    }
                }
            }
        }
    }
}

/// As `strip_prefix`; literals are short, and comparing them in place is much faster than a call.
#[inline]
fn strip_literal<'a>(text: &'a [u8], literal: &[u8]) -> Option<&'a [u8]> {
    match *literal {
        [a] => text.strip_prefix(&[a]),
        [a, b] => text.strip_prefix(&[a, b]),
        [a, b, c] => text.strip_prefix(&[a, b, c]),
        _ => text.strip_prefix(literal),
    }
}

/// As memchr, which is built for long texts; most fields end within the first bytes.
#[inline]
pub(super) fn find_byte(byte: u8, text: &[u8]) -> Option<usize> {
    const BLOCKS: usize = 6;
    let (blocks, rest) = text.as_chunks::<16>();
    for (index, block) in blocks.iter().take(BLOCKS).enumerate() {
        if let Some(at) = find_in_block(byte, block) {
            return Some(index * 16 + at);
        }
    }
    if blocks.len() > BLOCKS {
        let from = BLOCKS * 16;
        return memchr(byte, &text[from..]).map(|at| from + at);
    }
    match text.last_chunk() {
        // What this block has in common with the one before it is known to be something else.
        Some(last) => find_in_block(byte, last).map(|at| text.len() - last.len() + at),
        None => rest.iter().position(|&one| one == byte),
    }
}

/// Where a byte is first among 16, eight of them looked at together.
#[inline]
fn find_in_block(byte: u8, block: &[u8; 16]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let block = u128::from_le_bytes(*block);
    // A zero byte of `differs` is a match; the lowest one found this way is exact (Mycroft).
    let [low, high] = [block as u64, (block >> 64) as u64].map(|word| {
        let differs = word ^ (ONES * u64::from(byte));
        differs.wrapping_sub(ONES) & !differs & (ONES << 7)
    });
    if low | high == 0 {
        return None;
    }
    let (word, zeros) = if low == 0 { (8, high) } else { (0, low) };
    Some(word + zeros.trailing_zeros() as usize / 8)
}

fn addresses_length(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let blank = from + find_byte(b' ', &text[from..])?;
        if blank == 0 || text[blank - 1] != b',' {
            return Some(blank);
        }
        from = blank + 1;
    }
}

/// A user called `a [b` is told from the time by the bracket that closes 26 bytes later; a time
/// of another form begins at the first ` [`.
fn user_length(text: &[u8]) -> Option<usize> {
    let closes = |at: usize| text.get(at + 2 + TIME_LENGTH) == Some(&b']');
    // The first blank is the one, unless the name has blanks.
    if let Some(at) = find_byte(b' ', text)
        && text.get(at + 1) == Some(&b'[')
        && closes(at)
    {
        return Some(at);
    }
    let mut first = None;
    for at in memmem::find_iter(text, b" [") {
        if closes(at) {
            return Some(at);
        }
        first = first.or(Some(at));
    }
    first
}

fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let quote = from + find_byte(b'"', &text[from..])?;
        let backslashes = text[..quote]
            .iter()
            .rev()
            .take_while(|&&byte| byte == b'\\')
            .count();
        if backslashes % 2 == 0 {
            return Some(quote);
        }
        from = quote + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_byte_is_found_where_memchr_finds_it(
            text in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'!'), any::<u8>()], 0..140),
            begin in 0..140_usize,
            byte in prop_oneof![Just(b' '), Just(b'!'), Just(0xa0), any::<u8>()],
        ) {
            let text = &text[begin.min(text.len())..];
            prop_assert_eq!(find_byte(byte, text), memchr(byte, text));
        }
    }
}
