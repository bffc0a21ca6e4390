//! Lines whose fields stand in a fixed order, with fixed text between them.
//!
//! A line is read from its left, and only up to the last wanted field. Where a field ends is told
//! by what follows it, with three exceptions that real logs need:
//! - the user is not quoted and may hold blanks, so it ends before ` [` of a time;
//! - a quoted field ends at a quote that no odd run of backslashes precedes, as Apache escapes
//!   quotes by one and a backslash by another;
//! - a time may be written with blanks, and its description tells how many;
//! - a list of addresses from a proxy has blanks after its commas.

use memchr::{memchr, memchr_iter, memmem};

use super::description::Step;
use super::field::{Field, Fields, Outcome, Unparsed, split_request};
use super::find::{find_byte, find_near_byte};
use super::usual::Usual;

/// Bytes of `10/Oct/2000:13:55:36 -0700`.
const TIME_LENGTH: usize = 26;

/// What to do with a line, step by step.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// What stands before the first field.
    head: Literal,
    moves: Vec<Move>,
    usual: Option<Usual>,
    /// A line that ends before this move's field is complete is not of the format.
    needed: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Move {
    end: End,
    pub(super) store: Store,
    literal: Literal,
}

/// Fixed text between fields; most often it is short enough to be compared as one number.
#[derive(Clone, Debug)]
struct Literal {
    text: Vec<u8>,
    /// The first bytes of the text, if there are no more, and which bytes of the four those are.
    word: u32,
    mask: u32,
}

/// How the end of a field is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
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
    /// At a blank that so many others precede.
    Blank(usize),
    /// At a quote that is not escaped.
    Quote,
    /// At the end of the line.
    Line,
}

/// Where a field goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Store {
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
                literal: Literal::new(&step.literal),
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
            head: Literal::new(&head.literal),
            usual: Usual::among(&moves),
            moves,
            needed,
        }
    }

    #[inline]
    pub(super) fn run<'a>(&self, line: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Unparsed> {
        let rest = self.head.strip_from(line).ok_or(Unparsed)?;
        if let Some(usual) = &self.usual
            && usual.first == 0
            && let Some(rest) = usual.take(rest, fields)
        {
            return match self.moves.len() {
                Usual::COUNT => Ok(()),
                _ => self.run_from(Usual::COUNT, rest, fields),
            };
        }
        self.run_from(0, rest, fields)
    }

    /// Makes the moves from this one on.
    fn run_from<'a>(
        &self,
        mut index: usize,
        mut rest: &'a [u8],
        fields: &mut Fields<'a>,
    ) -> Result<(), Unparsed> {
        while let Some(step) = self.moves.get(index) {
            if let Some(usual) = &self.usual
                && usual.first == index
                && index > 0
                && let Some(after) = usual.take(rest, fields)
            {
                index += Usual::COUNT;
                rest = after;
                continue;
            }
            let Some(length) = step.length(rest) else {
                return self.cut(index, rest, fields);
            };
            step.store.put(&rest[..length], fields);
            let after = &rest[length..];
            rest = match step.literal.strip_from(after) {
                Some(rest) => rest,
                // The line may end here: Common is Combined without its end.
                None if step.literal.text.starts_with(after) => {
                    return self.cut(index + 1, &[], fields);
                }
                None => return Err(Unparsed),
            };
            index += 1;
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
        (_, [b' ', ..]) if step.blanks > 0 => End::Blank(step.blanks),
        (Some(Field::Host | Field::Named(_)), [b' ', ..]) => End::Addresses,
        (_, [byte]) => End::Byte(*byte),
        // A blank is never inside such a field: its first byte tells as much as all of them.
        (_, [b' ', ..]) => End::Byte(b' '),
        _ => End::Literal,
    }
}

impl Move {
    /// How the field ends, and what follows it.
    pub(super) fn kind(&self) -> (End, &[u8]) {
        (self.end, &self.literal.text)
    }

    /// The length of the field at the start of `text`; none if it does not end.
    #[inline]
    fn length(&self, text: &[u8]) -> Option<usize> {
        match self.end {
            End::Byte(byte) => find_near_byte(byte, text),
            End::Literal => memmem::find(text, &self.literal.text),
            End::Addresses => addresses_length(text),
            End::User => user_length(text),
            End::Time => match text.get(TIME_LENGTH) {
                Some(b']') => Some(TIME_LENGTH),
                _ => memchr(b']', text),
            },
            End::Blank(before) => memchr_iter(b' ', text).nth(before),
            End::Quote => quoted_length(text),
            End::Line => Some(text.len()),
        }
    }
}

impl Literal {
    fn new(text: &[u8]) -> Literal {
        let mut bytes = [[0; 4]; 2];
        if text.len() <= 4 {
            bytes[0][..text.len()].copy_from_slice(text);
            bytes[1][..text.len()].fill(u8::MAX);
        }
        let [word, mask] = bytes.map(u32::from_le_bytes);
        Literal {
            text: text.to_vec(),
            word,
            mask,
        }
    }

    /// What follows the literal at the start of `text`; none if it does not start with it.
    #[inline]
    fn strip_from<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        match text.first_chunk() {
            Some(first) if self.text.len() <= first.len() => {
                let is_it = u32::from_le_bytes(*first) & self.mask == self.word;
                is_it.then(|| &text[self.text.len()..])
            }
            _ => text.strip_prefix(self.text.as_slice()),
        }
    }
}

impl Store {
    #[inline]
    fn put<'a>(&self, value: &'a [u8], fields: &mut Fields<'a>) {
        let present = |value: &'a [u8]| (value != b"-").then_some(value);
        match self {
            Store::Skip => {}
            Store::Field(index) => fields.values[*index] = present(value),
            Store::Request([line, method, url]) => {
                let present = present(value);
                if let Some(index) = line {
                    fields.values[*index] = present;
                }
                let split = present.and_then(split_request);
                if let Some(index) = method {
                    fields.values[*index] = split.map(|split| split.0);
                }
                if let Some(index) = url {
                    fields.values[*index] = split.map(|split| split.1);
                }
            }
        }
    }
}

fn addresses_length(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let blank = from + find_near_byte(b' ', &text[from..])?;
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
    if let Some(at) = find_near_byte(b' ', text)
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

    use super::super::description;
    use super::*;

    const LINE: &[u8] = b"1.2.3.4 - ann [10/Oct/2000:13:55:36 -0700] \"GET /x HTTP/1.1\" 200 17 \
        \"http://r/\" \"A \\\"b\\\"\"";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        /// Whatever a line is like, going the usual moves at once makes no difference.
        #[test]
        fn the_usual_moves_are_the_moves(
            changes in proptest::collection::vec(
                (any::<proptest::sample::Index>(), 0..3_usize, r#"[-a0 ,"\\\\\[\]]{0,4}"#), 0..4),
            end in any::<proptest::sample::Index>(),
            cut in any::<bool>(),
            wanted in 0..4_usize,
        ) {
            let mut line = LINE.to_vec();
            for (at, removed, text) in changes {
                let at = at.index(line.len());
                let until = (at + removed).min(line.len());
                line.splice(at..until, text.bytes());
            }
            if cut {
                line.truncate(end.index(line.len() + 1));
            }
            let wanted = [
                &[Field::Host, Field::Url, Field::Status][..],
                &[Field::User, Field::Time, Field::Request, Field::Bytes],
                &[Field::Method, Field::UserAgent],
                &[Field::Url],
            ][wanted];
            let steps = description::parse(super::super::COMBINED).unwrap();
            let program = Program::new(&steps, wanted);
            prop_assert_eq!(program.usual.is_some(), wanted != [Field::Url]);
            let one_by_one = Program { usual: None, ..program.clone() };
            let [at_once, one_by_one] = [&program, &one_by_one].map(|program| {
                let mut fields = Fields::default();
                let result = program.run(&line, &mut fields);
                let wanted = fields.values[..wanted.len()].to_vec();
                (result, fields.outcome, wanted)
            });
            prop_assert_eq!(at_once.0, one_by_one.0);
            // What was found before a mistake is of no use.
            if at_once.0.is_ok() {
                prop_assert_eq!((at_once.1, at_once.2), (one_by_one.1, one_by_one.2));
            }
        }
    }
}
