//! The words of a text, one after the other.
//!
//! What ends a word depends on what is read: a keyword ends at an `=`, a value does not
//! (`Port=4803`, but `File=/logs/a=b`). So the grammar says which of the two it wants.

use crate::error::{Error, Errors};
use crate::word::Word;

/// In what the files differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// A `;` ends a bare word and means nothing, as in Spread 5.
    pub semicolons: bool,
    /// A string may go on in the next line.
    pub multiline_strings: bool,
}

impl Dialect {
    /// spread.conf, of Spread 4 and 5.
    pub const SPREAD: Dialect = Dialect {
        semicolons: true,
        multiline_strings: false,
    };
    /// spreadlogd.conf.
    pub const SPREADLOGD: Dialect = Dialect {
        semicolons: false,
        multiline_strings: true,
    };
}

/// What comes next, blanks and comments aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A word, as [`Reader::word`] would read it.
    Word(Word),
    /// `{`
    Open,
    /// `}`
    Close,
    /// `=`, alone or at the beginning of a word.
    Equals,
    /// The end of the text.
    End,
}

/// Where a reader is in its text.
#[derive(Clone, Copy, Debug)]
struct Position {
    offset: usize,
    line: u32,
}

/// A text, read word by word.
#[derive(Debug)]
pub struct Reader<'a> {
    file: String,
    text: &'a str,
    dialect: Dialect,
    position: Position,
    /// Lines of the `{` that are still open.
    open: Vec<u32>,
    errors: Vec<Error>,
}

impl<'a> Reader<'a> {
    /// Reads `text`; `file` is its name in messages.
    pub fn new(file: &str, text: &'a str, dialect: Dialect) -> Reader<'a> {
        let position = Position { offset: 0, line: 1 };
        Reader {
            file: file.to_owned(),
            text,
            dialect,
            position,
            open: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The next keyword of the block that was opened last; `None` at its end, which is taken, or
    /// at the end of the text.
    ///
    /// What can be no keyword is noted as an error and passed over.
    pub fn keyword(&mut self) -> Option<Word> {
        loop {
            self.skip_blank();
            let line = self.position.line;
            let error = match self.first() {
                None => {
                    if let Some(line) = self.open.pop() {
                        let message = "missing '}' for this '{' at the end of the file";
                        self.errors.push(Error::new(line, message));
                    }
                    return None;
                }
                Some('}') if self.open.pop().is_some() => {
                    self.advance(1);
                    return None;
                }
                Some('}') => {
                    self.advance(1);
                    self.errors
                        .push(Error::new(line, "unexpected '}', no block is open"));
                    continue;
                }
                Some(c @ ('{' | '=' | '"' | '\'')) => {
                    Error::new(line, format!("expected a keyword, got {c:?}"))
                }
                Some(_) => {
                    let text = self.take_bare(true);
                    return Some(Word {
                        text,
                        line,
                        quoted: false,
                    });
                }
            };
            self.reject(error);
        }
    }

    /// The value of a keyword: an `=`, then a word.
    ///
    /// # Errors
    /// There is none.
    pub fn value(&mut self, keyword: &Word) -> Result<Word, Error> {
        if !self.equals() {
            return Err(keyword.error(format!(
                "expected '=' and a value behind \"{}\"",
                keyword.text
            )));
        }
        self.word(&keyword.text)
    }

    /// A word or string.
    ///
    /// # Errors
    /// A brace or the end of the text instead; the message says that `what` needs a value.
    pub fn word(&mut self, what: &str) -> Result<Word, Error> {
        self.skip_blank();
        let line = self.position.line;
        match self.first() {
            None => Err(Error::new(
                line,
                format!("{what} needs a value, got the end of the file"),
            )),
            Some(c @ ('{' | '}')) => {
                Err(Error::new(line, format!("{what} needs a value, got {c:?}")))
            }
            Some(quote @ ('"' | '\'')) => self.take_string(quote),
            Some(_) => Ok(Word {
                text: self.take_bare(false),
                line,
                quoted: false,
            }),
        }
    }

    /// Takes an `=` if it comes next.
    pub fn equals(&mut self) -> bool {
        self.skip_blank();
        let found = self.first() == Some('=');
        if found {
            self.advance(1);
        }
        found
    }

    /// Takes the `{` of a block; [`keyword`](Reader::keyword) or [`close`](Reader::close) takes its
    /// `}`.
    ///
    /// # Errors
    /// Something else comes next.
    pub fn open(&mut self, keyword: &Word) -> Result<(), Error> {
        self.skip_blank();
        if self.first() != Some('{') {
            return Err(keyword.error(format!("expected '{{' behind \"{}\"", keyword.text)));
        }
        self.open.push(self.position.line);
        self.advance(1);
        Ok(())
    }

    /// Takes the `}` of the block that was opened last, if it comes next.
    pub fn close(&mut self) -> bool {
        self.skip_blank();
        let found = self.first() == Some('}') && self.open.pop().is_some();
        if found {
            self.advance(1);
        }
        found
    }

    /// What comes next, without taking it.
    ///
    /// # Errors
    /// A string that does not end.
    pub fn peek(&mut self) -> Result<Next, Error> {
        self.skip_blank();
        match self.first() {
            None => Ok(Next::End),
            Some('{') => Ok(Next::Open),
            Some('}') => Ok(Next::Close),
            Some('=') => Ok(Next::Equals),
            Some(_) => {
                let before = self.position;
                let word = self.word("peek");
                self.position = before;
                word.map(Next::Word)
            }
        }
    }

    /// Notes an error, and passes over the rest of its statement: to the end of the line, and
    /// over a block that begins on it.
    pub fn reject(&mut self, error: Error) {
        self.note(error);
        let mut depth = 0;
        while let Some(c) = self.first() {
            match c {
                '#' => {
                    self.skip_comment();
                    continue;
                }
                '\n' if depth == 0 => return,
                '{' => depth += 1,
                '}' if depth == 0 => return,
                '}' => depth -= 1,
                _ => {}
            }
            self.advance(c.len_utf8());
        }
    }

    /// Notes an error in a statement that has been read to its end.
    pub fn note(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Whether an error was noted so far.
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Ends the reading: all errors that were noted, if any.
    ///
    /// # Errors
    /// There were some.
    pub fn finish(self) -> Result<(), Errors> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Errors::new(&self.file, self.errors))
        }
    }

    fn first(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position.offset..]
    }

    fn advance(&mut self, bytes: usize) {
        let taken = &self.rest()[..bytes];
        self.position.line += taken.bytes().filter(|&byte| byte == b'\n').count() as u32;
        self.position.offset += bytes;
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.first() {
            match c {
                '#' => self.skip_comment(),
                ';' if self.dialect.semicolons => self.advance(1),
                c if c.is_ascii_whitespace() => self.advance(1),
                _ => return,
            }
        }
    }

    fn skip_comment(&mut self) {
        let rest = self.rest();
        self.advance(rest.find('\n').unwrap_or(rest.len()));
    }

    /// Takes a bare word, of which there is at least the first character.
    fn take_bare(&mut self, keyword: bool) -> String {
        let ends = |c: char| match c {
            '#' | '{' | '}' => true,
            '=' => keyword,
            ';' => self.dialect.semicolons,
            c => c.is_ascii_whitespace(),
        };
        let rest = self.rest();
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let length = rest[first..]
            .find(ends)
            .map_or(rest.len(), |length| first + length);
        self.advance(length);
        rest[..length].to_owned()
    }

    fn take_string(&mut self, quote: char) -> Result<Word, Error> {
        let line = self.position.line;
        self.advance(1);
        let rest = self.rest();
        let end = if self.dialect.multiline_strings {
            rest.find(quote)
        } else {
            rest.find([quote, '\n'])
                .filter(|&end| rest[end..].starts_with(quote))
        };
        let Some(end) = end else {
            return Err(Error::new(
                line,
                format!("this string has no closing {quote}"),
            ));
        };
        self.advance(end + 1);
        Ok(Word {
            text: rest[..end].to_owned(),
            line,
            quoted: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `Key = value` statements and `Key { ... }` blocks into one line of text.
    fn outline(text: &str, dialect: Dialect) -> (String, Vec<String>) {
        fn block(reader: &mut Reader, out: &mut String) {
            while let Some(keyword) = reader.keyword() {
                if let Err(error) = statement(reader, &keyword, out) {
                    reader.reject(error);
                }
            }
        }
        fn statement(reader: &mut Reader, keyword: &Word, out: &mut String) -> Result<(), Error> {
            if reader.peek()? == Next::Open {
                reader.open(keyword)?;
                out.push_str(&format!("{}:{}{{", keyword.line, keyword.text));
                block(reader, out);
                out.push_str("} ");
                return Ok(());
            }
            let value = reader.value(keyword)?;
            out.push_str(&format!(
                "{}:{}={} ",
                keyword.line, keyword.text, value.text
            ));
            Ok(())
        }
        let mut reader = Reader::new("f", text, dialect);
        let mut out = String::new();
        block(&mut reader, &mut out);
        let errors = match reader.finish() {
            Ok(()) => Vec::new(),
            Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
        };
        (out.trim_end().to_owned(), errors)
    }

    fn good(text: &str) -> String {
        let (out, errors) = outline(text, Dialect::SPREADLOGD);
        assert_eq!(errors, [""; 0], "{text}");
        out
    }

    fn bad(text: &str) -> Vec<String> {
        outline(text, Dialect::SPREADLOGD).1
    }

    #[test]
    fn equals_with_or_without_blanks_and_kept_inside_values() {
        assert_eq!(
            good("Port = 4803\nPort=4803\nPort =4803\n"),
            "1:Port=4803 2:Port=4803 3:Port=4803"
        );
        assert_eq!(good("File=/logs/a=b"), "1:File=/logs/a=b");
        assert_eq!(good("File = = \n"), "1:File==");
    }

    #[test]
    fn strings_have_no_escapes_and_may_span_lines() {
        assert_eq!(good("A = \"x # y\" B='\"'\n"), "1:A=x # y 1:B=\"");
        assert_eq!(good("A = 'x\ny'\nB = z"), "1:A=x\ny 3:B=z");
        let (_, errors) = outline("A = 'x\ny'\n", Dialect::SPREAD);
        assert_eq!(errors[0], "f:1: this string has no closing '");
        assert_eq!(bad("A = \"x"), ["f:1: this string has no closing \""]);
    }

    #[test]
    fn blocks_nest_and_comments_vanish() {
        assert_eq!(
            good("# c\nSpread { # d\n Log { Group = g }\n}\nX=1#e"),
            "2:Spread{3:Log{3:Group=g } } 5:X=1"
        );
        assert_eq!(good(""), "");
        assert_eq!(good("A {}"), "1:A{}");
    }

    #[test]
    fn semicolons_are_blanks_in_spread_conf_only() {
        assert_eq!(outline("A = 1; B = 2;", Dialect::SPREAD).0, "1:A=1 1:B=2");
        assert_eq!(good("A = 1;\nB = 2"), "1:A=1; 2:B=2");
    }

    #[test]
    fn every_error_is_reported_with_its_line() {
        let text = "A 1\nB = 2\nC = {\nD\n}\n= E\n}\nF {\n";
        assert_eq!(
            bad(text),
            [
                "f:1: expected '=' and a value behind \"A\"",
                "f:3: C needs a value, got '{'",
                "f:6: expected a keyword, got '='",
                "f:7: unexpected '}', no block is open",
                "f:8: missing '}' for this '{' at the end of the file",
            ]
        );
        assert_eq!(outline(text, Dialect::SPREADLOGD).0, "2:B=2 8:F{}");
    }

    #[test]
    fn an_error_inside_a_block_does_not_end_it() {
        let (out, errors) = outline("S {\n X }\nT = 1\n", Dialect::SPREADLOGD);
        assert_eq!(out, "1:S{} 3:T=1");
        assert_eq!(errors, ["f:2: expected '=' and a value behind \"X\""]);
    }

    #[test]
    fn at_most_twenty_errors_are_listed() {
        let errors = bad(&"=\n".repeat(25));
        assert_eq!(errors.len(), 21);
        assert_eq!(errors[20], "f: 5 more errors");
    }

    #[test]
    fn peeking_takes_nothing() {
        let mut reader = Reader::new("f", "a=b {", Dialect::SPREAD);
        let word = Word {
            text: "a=b".into(),
            line: 1,
            quoted: false,
        };
        assert_eq!(reader.peek(), Ok(Next::Word(word.clone())));
        assert_eq!(reader.word("x"), Ok(word));
        assert_eq!(reader.peek(), Ok(Next::Open));
    }
}
