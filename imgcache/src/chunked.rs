//! The chunked coding (RFC 9112 section 7.1), read strictly: what two parsers could read in two
//! ways is refused.

use std::fmt;

/// Bound: bytes of sizes, extensions and trailers of one body, all together per chunk line.
const LINE_MAX: usize = 4096;

/// Bound: bytes of the trailer section.
const TRAILER_MAX: usize = 8192;

/// Reads one body.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    /// Bytes of the present chunk, read or to come.
    size: u64,
    /// Bytes of the present line, or of the trailers.
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size; how many there were.
    Size(u8),
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

/// A body that is not chunked as the standard has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkError;

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad chunked coding")
    }
}

impl std::error::Error for ChunkError {}

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks::new()
    }
}

impl Chunks {
    /// At the start of a body.
    pub fn new() -> Chunks {
        Chunks {
            state: State::Size(0),
            size: 0,
            line: 0,
        }
    }

    /// Whether the body has ended; what follows is not its own.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes and appends what is data to `output`; gives how many were taken, all of them
    /// unless the body has ended. Trailers are read and dropped.
    ///
    /// # Errors
    /// Anything that is not exactly the coding.
    pub fn decode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, ChunkError> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                let take = left.min(input.len() - at);
                output.extend_from_slice(&input[at..at + take]);
                at += take;
                self.size -= take as u64;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(input[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.line += 1;
        match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err(ChunkError);
                }
                let digit = char::from(byte).to_digit(16).ok_or(ChunkError)?;
                self.size = self.size.checked_mul(16).ok_or(ChunkError)? + u64::from(digit);
                Ok(State::Size(digits + 1))
            }
            (State::Size(1..), b';') => Ok(State::Extension),
            (State::Size(1..) | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, b'\t' | b' '..=b'~') if self.line <= LINE_MAX => {
                Ok(State::Extension)
            }
            (State::SizeLf, b'\n') => {
                self.line = 0;
                Ok(if self.size == 0 {
                    State::TrailerStart
                } else {
                    State::Data
                })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.line = 0;
                Ok(State::Size(0))
            }
            (State::TrailerStart, b'\r') => Ok(State::LastLf),
            (State::TrailerStart | State::Trailer, b'\t' | b' '..=b'~' | 0x80..)
                if self.line <= TRAILER_MAX =>
            {
                Ok(State::Trailer)
            }
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::LastLf, b'\n') => Ok(State::Done),
            _ => Err(ChunkError),
        }
    }
}

/// Appends a chunk; an empty one would end the body and is left out.
pub fn encode(data: &[u8], output: &mut Vec<u8>) {
    if !data.is_empty() {
        output.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        output.extend_from_slice(data);
        output.extend_from_slice(b"\r\n");
    }
}

/// What ends a body.
pub const LAST: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let (mut chunks, mut output, mut taken) = (Chunks::new(), Vec::new(), 0);
        for piece in input.chunks(step) {
            taken += chunks.decode(piece, &mut output)?;
            if chunks.is_done() {
                break;
            }
        }
        Ok((output, taken, chunks.is_done()))
    }

    #[test]
    fn bodies_come_out_however_they_arrive() {
        let body = b"5;a=\"b\"\r\nhello\r\n00A\r\n, wide wor\r\n2\r\nld\r\n0\r\nX: y\r\n\r\nGET /";
        for step in 1..=body.len() {
            let (output, taken, done) = decode(body, step).unwrap();
            assert_eq!(
                (output.as_slice(), taken, done),
                (&b"hello, wide world"[..], body.len() - 5, true)
            );
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for body in [
            &b"\r\n"[..],
            b"5\nhello",
            b"5 \r\nhello",
            b"0x5\r\n",
            b"+5\r\n",
            b"-1\r\n",
            b"5\r\nhelloX",
            b"5\r\nhello\n",
            b"5;\nhello",
            b"11111111111111111\r\n",
            b"5\r\r\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\n\n",
            b"g\r\n",
            b";a\r\n",
            b"5;\x00\r\n",
            b" 5\r\n",
        ] {
            assert_eq!(decode(body, 1), Err(ChunkError), "{}", body.escape_ascii());
        }
        let mut long = b"5;".to_vec();
        long.resize(5000, b'a');
        assert_eq!(decode(&long, 100), Err(ChunkError));
        assert!(!decode(b"5\r\nhel", 2).unwrap().2);
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut body = Vec::new();
        encode(b"", &mut body);
        encode(&[7; 300], &mut body);
        body.extend_from_slice(LAST);
        assert_eq!(decode(&body, 7).unwrap().0, [7; 300]);
    }
}
