//! The server's parser: bytes to commands, over arbitrary fragments.
//!
//! A request is a line, for `SET` and `MSET` followed by a payload whose length the line tells. The way of one through these files:
//!
//! ```text
//!  bytes ─▶ Parser::next ─▶ line ─▶ command_line ──────────────────────▶ Step::Request
//!               │                     │  └▶ with_payload ─▶ payload ────────────▲
//!               │                     └─ refused ─▶ Step::Reject
//!               └─▶ skip: what belonged to a refused request ─▶ Step::Skip
//! ```
//! Only when all of it is there is it a request. Nothing is copied or allocated, and the outcome is the same however the bytes were
//! split. After an error the stream stays in step: what belongs to the refused request is skipped, a payload without ever being held.

mod arguments;
mod command_line;
mod skip;
mod with_payload;

use memchr::memchr;

use super::command::{Command, Pairs};
use super::error::RequestError;
use super::line::{Word, is_key, without_cr};
use crate::museum::planted;
use command_line::{Follows, Line, Refused, parse_line};
use skip::{LineEnd, Skip, line_end};
use with_payload::may_have_payload;

/// Bounds of a request. Whatever is over one is answered with `ERR TOOLARGE`.
///
/// ```
/// use osprey_core::protocol::error::RequestError;
/// use osprey_core::protocol::request::{Limits, Parser, Step};
///
/// let limits = Limits { key_bytes_max: 8, value_bytes_max: 64, line_bytes_max: 80, words_max: 16 };
/// let step = Parser::default().next(&limits, b"SET key 65\r\n");
/// let error = RequestError::ValueTooLong { bytes: 65, limit: 64 };
/// assert_eq!(step, Step::Reject { error, consumed: 12, close: false }, "before the payload has come");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest key, bytes.
    pub key_bytes_max: usize,
    /// The longest value, bytes; all values of an `MSET` count as one.
    pub value_bytes_max: usize,
    /// The longest line, bytes, without its end.
    pub line_bytes_max: usize,
    /// The most words of a line.
    pub words_max: usize,
}

/// Whether a key that came in no line is one that might.
pub(crate) fn check_key(limits: &Limits, key: &[u8]) -> Result<(), RequestError> {
    arguments::check_key(limits, Word { bytes: key, is_key: is_key(key) }).map(|_| ())
}

/// What stands at the beginning of the input.
///
/// What a connection does with it:
///
/// ```
/// use osprey_core::engine;
/// use osprey_core::protocol::error::RequestError;
/// use osprey_core::protocol::request::{Parser, Step};
///
/// let limits = engine::Limits::default().request;
/// let (mut parser, mut input) = (Parser::default(), &b"DEL\r\nPING\r\nGET ke"[..]);
/// let mut seen = Vec::new();
/// let at_least = loop {
///     let consumed = match parser.next(&limits, input) {
///         Step::Request { command, consumed } => {
///             seen.push(format!("{command:?}"));
///             consumed
///         }
///         Step::Skip { consumed } => consumed,
///         Step::Reject { error, consumed, .. } => {
///             seen.push(error.to_string());
///             consumed
///         }
///         Step::Incomplete { at_least } => break at_least,
///     };
///     input = &input[consumed..];
/// };
/// assert_eq!(seen, [RequestError::Usage("DEL key [VER n]").to_string(), "Ping".to_owned()]);
/// assert_eq!((input, at_least), (&b"GET ke"[..], 7));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole, valid request. A caller that can't execute it now may ask for it again, by passing the same bytes.
    Request {
        /// The request.
        command: Command<'a>,
        /// How long it is, bytes.
        consumed: usize,
    },
    /// Bytes that need no answer: blank lines, what belonged to a refused request. There may be more behind them.
    Skip {
        /// How many; at least 1.
        consumed: usize,
    },
    /// Not a whole request yet.
    Incomplete {
        /// Input must be at least this long, bytes, before another call can find more.
        at_least: usize,
    },
    /// A request that is refused.
    Reject {
        /// The answer.
        error: RequestError,
        /// How many bytes are done with.
        consumed: usize,
        /// What follows can't be told from commands: answer, then close.
        close: bool,
    },
}

impl Step<'_> {
    /// How many bytes are done with.
    #[inline]
    pub(crate) fn consumed(&self) -> usize {
        match *self {
            Step::Request { consumed, .. } | Step::Skip { consumed } | Step::Reject { consumed, .. } => consumed,
            Step::Incomplete { .. } => 0,
        }
    }
}

/// The parser of one connection.
///
/// ```
/// use osprey_core::engine;
/// use osprey_core::protocol::command::Command;
/// use osprey_core::protocol::request::{Parser, Step};
///
/// let limits = engine::Limits::default().request;
/// let mut parser = Parser::default();
/// let input = b"GET one\r\nGET tw";
/// let Step::Request { command, consumed } = parser.next(&limits, input) else { panic!("it is whole") };
/// assert_eq!((command, consumed), (Command::Get { key: b"one" }, 9));
/// assert_eq!(parser.next(&limits, &input[consumed..]), Step::Incomplete { at_least: 7 });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Parser {
    /// What is still to be skipped of a refused request.
    skip: Option<Skip>,
    /// So much of the input was searched for a line end already.
    searched: usize,
    /// With less than this there is no whole request.
    wanted: usize,
}

impl Parser {
    /// What stands at the beginning of `input`: all bytes that were received and not consumed by an earlier call.
    ///
    /// Bounded: looks at one request, of which the bytes of an unfinished line that an earlier call has searched, and those of a payload, are not looked at again. Allocates nothing.
    pub fn next<'a>(&mut self, limits: &Limits, input: &'a [u8]) -> Step<'a> {
        if let Some(skip) = self.skip {
            let (step, left) = skip.step(input);
            self.skip = left;
            return step;
        }
        if input.len() < self.wanted {
            return Step::Incomplete { at_least: self.wanted };
        }
        let Some(line_len) = memchr(b'\n', input.get(self.searched..).unwrap_or_default()).map(|at| self.searched + at) else {
            // One more, for a CR that belongs to the line's end.
            if input.len() > limits.line_bytes_max.saturating_add(1) {
                return self.reject_long_line(limits, input, input.len());
            }
            self.searched = input.len();
            return Step::Incomplete { at_least: input.len() + 1 };
        };
        let line = without_cr(input.get(..line_len).unwrap_or_default());
        if line.len() > limits.line_bytes_max {
            return self.reject_long_line(limits, input, line_len);
        }
        let payload = line_len + 1;
        let step = match parse_line(limits, line) {
            None => Step::Skip { consumed: payload },
            Some(Ok(Line::Whole(command))) => Step::Request { command, consumed: payload },
            Some(Ok(Line::Set { key, len, options })) => self.payload(input, payload, len, |value| Command::Set { key, value, options }),
            Some(Ok(Line::Mset { words, pairs, len })) => {
                self.payload(input, payload, len, |payload| Command::Mset { pairs: Pairs::new(words, payload, pairs) })
            }
            Some(Err(Refused { error, follows })) => {
                if let Follows::Payload(len) = follows {
                    self.skip = Some(Skip::Payload(len));
                }
                Step::Reject { error, consumed: payload, close: matches!(follows, Follows::Unknown) }
            }
        };
        if let Step::Incomplete { at_least } = step {
            self.searched = line_len;
            self.wanted = at_least;
        } else {
            self.searched = 0;
            self.wanted = 0;
        }
        step
    }

    /// The command, if its payload of `len` bytes at `begin` and the line end behind it are there.
    #[inline]
    fn payload<'a>(&mut self, input: &'a [u8], begin: usize, len: usize, command: impl FnOnce(&'a [u8]) -> Command<'a>) -> Step<'a> {
        let end = begin.saturating_add(len);
        let Some((payload, behind)) = input.get(begin..).and_then(|rest| rest.split_at_checked(len)) else {
            return Step::Incomplete { at_least: end.saturating_add(1) };
        };
        match line_end(behind) {
            LineEnd::Here(bytes) => Step::Request { command: command(payload), consumed: end + bytes },
            LineEnd::Perhaps(bytes) => Step::Incomplete { at_least: end + bytes },
            LineEnd::Not => {
                self.skip = (!planted("out_of_step")).then_some(Skip::Line);
                Step::Reject { error: RequestError::PayloadEnd, consumed: end, close: false }
            }
        }
    }

    /// `line_len`: where the line's end is, or the end of what there is of it.
    fn reject_long_line(&mut self, limits: &Limits, input: &[u8], line_len: usize) -> Step<'static> {
        self.searched = 0;
        self.wanted = 0;
        // The same part of the line, whether or not the rest of it has arrived.
        let known = input.get(..=limits.line_bytes_max).unwrap_or(input);
        self.skip = Some(Skip::Line);
        Step::Reject { error: RequestError::LineTooLong(limits.line_bytes_max), consumed: line_len, close: may_have_payload(known) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_never_runs_as_commands_behind_a_line_too_long_to_tell() {
        let limits = Limits { key_bytes_max: 16, value_bytes_max: 64, line_bytes_max: 16, words_max: 16 };
        let closes = |line: &[u8]| {
            let step = Parser::default().next(&limits, line);
            let Step::Reject { error: RequestError::LineTooLong(16), close, .. } = step else { panic!("{step:?}") };
            close
        };
        assert!(closes(b"                    SET k 4\r\nPING\r\n"), "nothing of the command is within the limit");
        assert!(closes(b"               SET k 4\r\nPING\r\n"), "only its beginning is");
        assert!(closes(b"SET kkkkkkkkkkkkkkkkk 4\r\nPING\r\n"));
        assert!(!closes(b"GET kkkkkkkkkkkkkkkkk\r\nPING\r\n"));
        assert!(!closes(b"GETGETGETGETGETGETGETGET\r\nPING\r\n"));
    }
}
