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
    /// How many were open where the statement begins that is read now.
    depth: usize,
    /// Whether that statement has had its `=` or its block, so that another may follow.
    may_end: bool,
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
            depth: 0,
            may_end: false,
            errors: Vec::new(),
        }
    }

    /// The next keyword of the block that was opened last, with which a statement begins; `None`
    /// at the block's end, which is taken, or at the end of the text.
    ///
    /// What can be no keyword is noted as an error and passed over.
    pub fn keyword(&mut self) -> Option<Word> {
        while self.begin() {
            let line = self.position.line;
            match self.first() {
                Some(c @ ('{' | '=' | '"' | '\'')) => {
                    self.reject(Error::new(line, format!("expected a keyword, got {c:?}")));
                }
                _ => return Some(self.bare_word(true)),
            }
        }
        None
    }

    /// The next item of a block that holds names or values; otherwise as
    /// [`keyword`](Reader::keyword).
    ///
    /// `what` is said to need a value where a block or an endless string stands instead.
    pub fn item(&mut self, what: &str) -> Option<Word> {
        while self.begin() {
            match self.word(what) {
                Ok(word) => return Some(word),
                Err(error) => self.reject(error),
            }
        }
        None
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
            Some(_) => Ok(self.bare_word(false)),
        }
    }

    /// Takes an `=` if it comes next.
    pub fn equals(&mut self) -> bool {
        self.skip_blank();
        let found = self.first() == Some('=');
        if found {
            self.advance(1);
            self.may_end = true;
        }
        found
    }

    /// Takes the `{` of a block; [`keyword`](Reader::keyword) or [`item`](Reader::item) takes its
    /// `}`.
    ///
    /// # Errors
    /// Something else comes next.
    pub fn open(&mut self, keyword: &Word) -> Result<(), Error> {
        self.skip_blank();
        if self.first() != Some('{') {
            return Err(keyword.error(format!("expected '{{' behind \"{}\"", keyword.text)));
        }
        self.take_open();
        Ok(())
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

    /// Notes an error, and passes over the rest of its statement.
    ///
    /// That is the rest of a block that it has opened, and otherwise what stands on its line, up to
    /// what must be another statement, and a block that follows.
    pub fn reject(&mut self, error: Error) {
        self.note(error);
        if self.open.len() > self.depth {
            return self.skip_blocks();
        }
        while self.has_more_on_line() && self.first() != Some('}') {
            match self.first() {
                Some('{') => break,
                Some('=') => {
                    self.equals();
                    if self.has_more_on_line() && !self.rest().starts_with(['{', '}']) {
                        self.skip_word();
                    }
                }
                _ if self.is_at_statement() => return,
                _ => self.skip_word(),
            }
        }
        // No statement begins with a brace: this block is what was rejected, too.
        self.skip_blank();
        if self.first() == Some('{') {
            self.take_open();
            self.skip_blocks();
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

    /// Goes to the beginning of a statement or item; false at the end of its block, which is taken,
    /// or of the text.
    fn begin(&mut self) -> bool {
        loop {
            self.skip_blank();
            self.depth = self.open.len();
            self.may_end = false;
            match self.first() {
                None | Some('}') if self.depth > 0 => {
                    self.take_close();
                    self.depth = self.open.len();
                    return false;
                }
                None => return false,
                Some('}') => {
                    let line = self.position.line;
                    self.note(Error::new(line, "unexpected '}', no block is open"));
                    self.advance(1);
                }
                Some(_) => return true,
            }
        }
    }

    fn take_open(&mut self) {
        self.open.push(self.position.line);
        self.advance(1);
    }

    /// Takes the `}` of the block that was opened last; notes an error if the text ends instead.
    fn take_close(&mut self) {
        let opened = self.open.pop();
        self.may_end = true;
        match (self.first(), opened) {
            (None, Some(line)) => {
                let message = "missing '}' for this '{' at the end of the file";
                self.note(Error::new(line, message));
            }
            _ => self.advance(1),
        }
    }

    /// Passes over the rest of the blocks that this statement has opened.
    fn skip_blocks(&mut self) {
        while self.open.len() > self.depth {
            self.skip_blank();
            match self.first() {
                None | Some('}') => self.take_close(),
                Some('{') => self.take_open(),
                Some(_) => self.skip_word(),
            }
        }
    }

    /// Whether a word or brace follows before the line, or by a `;` the statement, is over.
    fn has_more_on_line(&mut self) -> bool {
        while let Some(c) = self.first() {
            match c {
                '#' => self.skip_comment(),
                '\n' => return false,
                ';' if self.dialect.semicolons => return false,
                c if c.is_ascii_whitespace() => self.advance(1),
                _ => return true,
            }
        }
        false
    }

    /// Whether the word that comes next begins a statement: it stands before an `=`, or before a
    /// `{` that cannot be one of the statement that is read now.
    fn is_at_statement(&mut self) -> bool {
        if self.rest().starts_with(['"', '\'']) {
            return false;
        }
        let before = self.position;
        self.bare_word(true);
        let assigned = self.has_more_on_line() && self.first() == Some('=');
        self.skip_blank();
        let opened = self.first() == Some('{');
        self.position = before;
        assigned || (opened && self.may_end)
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

    /// Goes to the end of the line.
    fn skip_comment(&mut self) {
        let rest = self.rest();
        self.advance(rest.find('\n').unwrap_or(rest.len()));
    }

    /// Passes over a word or string; one that does not end is taken to end with its line.
    fn skip_word(&mut self) {
        match self.first() {
            Some(quote @ ('"' | '\'')) if self.take_string(quote).is_err() => self.skip_comment(),
            Some('"' | '\'') => {}
            _ => _ = self.bare_word(false),
        }
    }

    /// Takes a bare word, of which there is at least the first character.
    fn bare_word(&mut self, keyword: bool) -> Word {
        let ends = |c: char| match c {
            '#' | '{' | '}' => true,
            '=' => keyword,
            ';' => self.dialect.semicolons,
            c => c.is_ascii_whitespace(),
        };
        let line = self.position.line;
        let rest = self.rest();
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let length = rest[first..]
            .find(ends)
            .map_or(rest.len(), |length| first + length);
        self.advance(length);
        Word {
            text: rest[..length].to_owned(),
            line,
            quoted: false,
        }
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
mod tests;
