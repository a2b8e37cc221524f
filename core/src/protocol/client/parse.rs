//! Bytes to replies: one piece at a time, borrowed from what has arrived.
//!
//! The grammar is exactly what `docs/PROTOCOL.md` lets a server send. What departs from it is refused rather than guessed at: behind a
//! misunderstood reply, every later one would answer the wrong request.

use core::fmt;

use memchr::memchr;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while_m_n, take_while1};
use nom::character::complete::{char, digit1};
use nom::combinator::{all_consuming, cut, eof, map, map_opt, value, verify};
use nom::error::Error;
use nom::sequence::{preceded, separated_pair, terminated};
use nom::{Finish as _, IResult, Parser};

use crate::protocol::error::ErrorCode;
use crate::protocol::line::is_key_byte;
use crate::protocol::number::{signed, unsigned};
use crate::record::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::units::{Millis, Version};

/// What the next piece of a reply must be. An error is accepted in every place.
///
/// A list is read line by line, each with what it may be:
///
/// ```
/// use osprey_core::protocol::client::{Expect, Reply, ReplyLimits, Step, parse_reply};
///
/// let (mut input, limits) = (&b"CURSOR 0\r\nuser:1\r\nEND\r\n"[..], ReplyLimits::default());
/// let mut replies = Vec::new();
/// for expect in [Expect::Cursor, Expect::ScanItem, Expect::ScanItem] {
///     let Step::Complete { reply, consumed } = parse_reply(expect, input, &limits)? else { panic!("all is there") };
///     replies.push(reply);
///     input = &input[consumed..];
/// }
/// assert_eq!(replies, [Reply::Cursor(0), Reply::Key(b"user:1"), Reply::End]);
/// # Ok::<(), osprey_core::protocol::client::Malformed>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Of `PING`.
    Pong,
    /// Of `SET`: [`Reply::Stored`].
    Stored,
    /// Of `GET`: [`Reply::Value`] or [`Reply::NotFound`].
    Value,
    /// Of `DEL`.
    Deleted,
    /// Of `EXISTS`.
    Exists,
    /// Of `EXPIRE` and `PERSIST`: [`Reply::Changed`] or [`Reply::NotFound`].
    Changed,
    /// Of `TTL`, `INCR` and `DECR`.
    Integer,
    /// One of an `MGET`'s.
    Item,
    /// Of `MSET`.
    Count,
    /// The first line of a `SCAN`'s.
    Cursor,
    /// A later line of a `SCAN`'s: [`Reply::Key`] or [`Reply::End`]. A key called `END` looks like the end, and what stands behind it then
    /// like replies to other requests: `docs/PROTOCOL.md` says how to avoid that.
    ScanItem,
    /// A line of `STATS`: [`Reply::Stat`] or [`Reply::End`].
    Stat,
    /// Of `QUIT`.
    Bye,
}

impl Expect {
    /// What it looks like, for people.
    fn form(self) -> &'static str {
        match self {
            Self::Pong => "PONG",
            Self::Stored => "OK <version>",
            Self::Value => "VALUE <length> <version> <expiry>, payload' or 'NOT_FOUND",
            Self::Deleted => "DELETED 1' or 'DELETED 0",
            Self::Exists => "EXISTS 1' or 'EXISTS 0",
            Self::Changed => "OK' or 'NOT_FOUND",
            Self::Integer => "<number>",
            Self::Item => "VALUE <key> <length> <version> <expiry>, payload' or 'NOT_FOUND <key>",
            Self::Count => "OK <count>",
            Self::Cursor => "CURSOR <next>",
            Self::ScanItem => "<key>' or 'END",
            Self::Stat => "<name>=<value>' or 'END",
            Self::Bye => "BYE",
        }
    }
}

/// A value with what belongs to it.
///
/// ```
/// use osprey_core::protocol::client::{Expect, Found, Reply, ReplyLimits, Step, parse_reply};
/// use osprey_core::units::{Millis, Version};
///
/// let step = parse_reply(Expect::Value, b"VALUE 3 7 1000\r\nAda\r\n", &ReplyLimits::default())?;
/// let found = Found { value: b"Ada", version: Version(7), expiry: Some(Millis(1_000)) };
/// assert_eq!(step, Step::Complete { reply: Reply::Value(found), consumed: 21 });
/// # Ok::<(), osprey_core::protocol::client::Malformed>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The payload.
    pub value: &'a [u8],
    /// Its version.
    pub version: Version,
    /// When the key expires, if ever.
    pub expiry: Option<Millis>,
}

/// A piece of a reply, borrowed from the input.
///
/// ```
/// use osprey_core::protocol::client::{Expect, Reply, ReplyLimits, Step, parse_reply};
/// use osprey_core::protocol::error::ErrorCode;
///
/// // An error may come whatever is expected.
/// let step = parse_reply(Expect::Stored, b"ERR READONLY no space\r\n", &ReplyLimits::default())?;
/// let Step::Complete { reply: Reply::Error { code, message }, .. } = step else { panic!("it is one") };
/// assert_eq!((code, message), (ErrorCode::ReadOnly, &b"no space"[..]));
/// # Ok::<(), osprey_core::protocol::client::Malformed>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The server is there.
    Pong,
    /// The value has this version now.
    Stored(Version),
    /// The key's value.
    Value(Found<'a>),
    /// No such key.
    NotFound,
    /// Whether there was something to delete.
    Deleted(bool),
    /// Whether the key is there.
    Exists(bool),
    /// The expiry was changed.
    Changed,
    /// A number.
    Integer(i64),
    /// One key of an `MGET`, and its value if it is there.
    Item {
        /// The key.
        key: &'a [u8],
        /// What it has.
        found: Option<Found<'a>>,
    },
    /// So many keys were set.
    Count(u64),
    /// Where the next `SCAN` goes on; 0: it is over.
    Cursor(u64),
    /// A key.
    Key(&'a [u8]),
    /// A line of `STATS`.
    Stat {
        /// Its name.
        name: &'a [u8],
        /// What it is.
        value: &'a [u8],
    },
    /// The end of a list.
    End,
    /// The server closes the connection.
    Bye,
    /// The request was refused. After `MGET` and `SCAN` it stands for the whole reply.
    Error {
        /// Why.
        code: ErrorCode,
        /// For people.
        message: &'a [u8],
    },
}

/// Bounds of what a server may send.
///
/// ```
/// use osprey_core::protocol::client::{Expect, Malformed, ReplyLimits, parse_reply};
///
/// let limits = ReplyLimits { value_bytes_max: 1024, ..ReplyLimits::default() };
/// let step = parse_reply(Expect::Value, b"VALUE 1025 1 -1\r\n", &limits);
/// assert_eq!(step, Err(Malformed::ValueTooLong { bytes: 1025, limit: 1024 }), "before the value has come");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLimits {
    /// The longest line, bytes, without its end.
    pub line_bytes_max: usize,
    /// The longest value, bytes.
    pub value_bytes_max: usize,
}

impl Default for ReplyLimits {
    /// Lines of 128 KiB (a key of 64 KiB, and more), values of 1 GiB: the most that the format can hold.
    fn default() -> Self {
        Self { line_bytes_max: 128 << 10, value_bytes_max: VALUE_BYTES_MAX }
    }
}

/// What [`parse_reply`] found.
///
/// ```
/// use osprey_core::protocol::client::{Expect, Reply, ReplyLimits, Step, parse_reply};
///
/// let limits = ReplyLimits::default();
/// // Of a value it is known how much is missing.
/// assert_eq!(parse_reply(Expect::Value, b"VALUE 3 7 -1\r\nA", &limits), Ok(Step::Incomplete { at_least: 19 }));
/// assert_eq!(parse_reply(Expect::Pong, b"PONG\r\nPO", &limits), Ok(Step::Complete { reply: Reply::Pong, consumed: 6 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Not a whole piece yet.
    Incomplete {
        /// Input must be at least this long, bytes, before another try can succeed.
        at_least: usize,
    },
    /// A piece.
    Complete {
        /// What it says.
        reply: Reply<'a>,
        /// How long it is, bytes.
        consumed: usize,
    },
}

/// Why the bytes are no reply that was expected. What follows them can't be understood: the connection is of no more use.
///
/// ```
/// use osprey_core::protocol::client::{Expect, Malformed, ReplyLimits, parse_reply};
///
/// let error = parse_reply(Expect::Pong, b"HTTP/1.1 400 Bad Request\r\n", &ReplyLimits::default()).unwrap_err();
/// assert_eq!(error, Malformed::Form { expect: Expect::Pong, at: 0 });
/// assert_eq!(error.to_string(), "the server's reply is not 'PONG', from byte 0 on; is it an Osprey server?");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They don't have its form.
    Form {
        /// What was expected.
        expect: Expect,
        /// Where they depart from it: bytes from the beginning of the piece.
        at: usize,
    },
    /// A line is longer than [`ReplyLimits::line_bytes_max`].
    LineTooLong {
        /// The limit, bytes.
        limit: usize,
    },
    /// A value is longer than [`ReplyLimits::value_bytes_max`].
    ValueTooLong {
        /// How long, bytes.
        bytes: u64,
        /// The limit, bytes.
        limit: usize,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { expect, at } => {
                write!(f, "the server's reply is not '{}', from byte {at} on; is it an Osprey server?", expect.form())
            }
            Self::LineTooLong { limit } => {
                write!(f, "a line of the server's reply is longer than {limit} bytes; is it an Osprey server?")
            }
            Self::ValueTooLong { bytes, limit } => write!(f, "a value in the server's reply has {bytes} bytes, the limit is {limit}"),
        }
    }
}

impl core::error::Error for Malformed {}

/// Reads one piece of a reply from the beginning of `input`: all bytes from the server that no earlier piece has consumed.
/// Bounded: searches at most [`ReplyLimits::line_bytes_max`] bytes for the line's end, and doesn't look at a value's bytes. Allocates nothing.
///
/// # Errors
/// The bytes can't be a piece of the kind that is expected, or it is over a limit.
///
/// ```
/// use osprey_core::protocol::client::{Expect, Reply, ReplyLimits, Step, parse_reply};
///
/// let (limits, replies) = (ReplyLimits::default(), b"DELETED 1\r\n42\r\n");
/// let Step::Complete { reply, consumed } = parse_reply(Expect::Deleted, replies, &limits)? else { panic!("it is whole") };
/// assert_eq!(reply, Reply::Deleted(true));
/// let step = parse_reply(Expect::Integer, &replies[consumed..], &limits)?;
/// assert_eq!(step, Step::Complete { reply: Reply::Integer(42), consumed: 4 });
/// # Ok::<(), osprey_core::protocol::client::Malformed>(())
/// ```
pub fn parse_reply<'a>(expect: Expect, input: &'a [u8], limits: &ReplyLimits) -> Result<Step<'a>, Malformed> {
    let departs = |at| Malformed::Form { expect, at };
    // Within this the longest line has ended. Nothing behind it is looked at, so that nothing depends on how much has arrived.
    let window = limits.line_bytes_max.saturating_add(LINE_END.len());
    let Some(line_feed) = memchr(b'\n', input.get(..window).unwrap_or(input)) else {
        let too_long = input.len() >= window;
        return if too_long {
            Err(Malformed::LineTooLong { limit: limits.line_bytes_max })
        } else {
            Ok(Step::Incomplete { at_least: input.len() + 1 })
        };
    };
    let line = input.get(..line_feed).and_then(|line| line.strip_suffix(b"\r")).ok_or(departs(line_feed))?;
    // None of the rules is one that asks for more input: `finish` has an answer.
    let parsed = all_consuming(|line| head(expect, line)).parse(line).finish();
    let (_, head) = parsed.map_err(|error| departs(line.len() - error.input.len()))?;
    let begin = line_feed + 1;
    let (key, value_head) = match head {
        Head::Whole(reply) => return Ok(Step::Complete { reply, consumed: begin }),
        Head::Value(head) => (None, head),
        Head::Item(key, head) => (Some(key), head),
    };
    let ValueHead { bytes, version, expiry } = value_head;
    let too_long = Malformed::ValueTooLong { bytes, limit: limits.value_bytes_max };
    let len = usize::try_from(bytes).ok().filter(|&len| len <= limits.value_bytes_max).ok_or(too_long)?;
    let end = begin.saturating_add(len);
    let consumed = end.saturating_add(LINE_END.len());
    let Some((value, behind)) = input.get(begin..).and_then(|rest| rest.split_at_checked(len)) else {
        return Ok(Step::Incomplete { at_least: consumed });
    };
    match behind {
        [b'\r', b'\n', ..] => {
            let found = Found { value, version, expiry };
            let reply = key.map_or(Reply::Value(found), |key| Reply::Item { key, found: Some(found) });
            Ok(Step::Complete { reply, consumed })
        }
        [] | [b'\r'] => Ok(Step::Incomplete { at_least: consumed }),
        [b'\r', ..] => Err(departs(end + 1)),
        _ => Err(departs(end)),
    }
}

const LINE_END: &str = "\r\n";

/// The first line of a piece.
#[derive(Clone)]
enum Head<'a> {
    /// It is all of the piece.
    Whole(Reply<'a>),
    /// A value follows.
    Value(ValueHead),
    /// The value of this key follows.
    Item(&'a [u8], ValueHead),
}

/// What a line says of the value behind it.
#[derive(Clone)]
struct ValueHead {
    bytes: u64,
    version: Version,
    expiry: Option<Millis>,
}

type Parsed<'a, T> = IResult<&'a [u8], T>;

/// A part of the grammar.
trait Rule<'a, T>: Parser<&'a [u8], Output = T, Error = Error<&'a [u8]>> {}

impl<'a, T, P: Parser<&'a [u8], Output = T, Error = Error<&'a [u8]>>> Rule<'a, T> for P {}

fn head(expect: Expect, line: &[u8]) -> Parsed<'_, Head<'_>> {
    // Whatever is expected. A key may be called `ERR`, but has no space behind it; neither has a name of STATS.
    if line.starts_with(b"ERR ") {
        return whole(error).parse(line);
    }
    let not_found = value(Reply::NotFound, tag("NOT_FOUND"));
    // Only as all of the line: it may be the beginning of a key or a name.
    let end = value(Reply::End, terminated(tag("END"), eof));
    match expect {
        Expect::Pong => whole(value(Reply::Pong, tag("PONG"))).parse(line),
        Expect::Stored => whole(map(after("OK ", version), Reply::Stored)).parse(line),
        Expect::Value => alt((map(after("VALUE ", value_head), Head::Value), whole(not_found))).parse(line),
        Expect::Deleted => whole(map(after("DELETED ", flag), Reply::Deleted)).parse(line),
        Expect::Exists => whole(map(after("EXISTS ", flag), Reply::Exists)).parse(line),
        Expect::Changed => whole(alt((value(Reply::Changed, tag("OK")), not_found))).parse(line),
        Expect::Integer => whole(map(integer, Reply::Integer)).parse(line),
        Expect::Item => {
            let found = map(after("VALUE ", separated_pair(key, char(' '), value_head)), |(key, head)| Head::Item(key, head));
            let missing = map(after("NOT_FOUND ", key), |key| Reply::Item { key, found: None });
            alt((found, whole(missing))).parse(line)
        }
        Expect::Count => whole(map(after("OK ", positive), Reply::Count)).parse(line),
        Expect::Cursor => whole(map(after("CURSOR ", natural), Reply::Cursor)).parse(line),
        Expect::ScanItem => whole(alt((end, map(key, Reply::Key)))).parse(line),
        Expect::Stat => {
            let stat = map(separated_pair(name, char('='), text), |(name, value)| Reply::Stat { name, value });
            whole(alt((end, stat))).parse(line)
        }
        Expect::Bye => whole(value(Reply::Bye, tag("BYE"))).parse(line),
    }
}

/// A piece that is no more than its line.
fn whole<'a>(reply: impl Rule<'a, Reply<'a>>) -> impl Rule<'a, Head<'a>> {
    map(reply, Head::Whole)
}

/// What stands behind `word`. The word decides: other forms are not tried then, so that an error is told where it is.
fn after<'a, T>(word: &'static str, rule: impl Rule<'a, T>) -> impl Rule<'a, T> {
    preceded(tag(word), cut(rule))
}

/// `<length> <version> <expiry>`
fn value_head(input: &[u8]) -> Parsed<'_, ValueHead> {
    let (input, (bytes, _, version, _, expiry)) = (natural, char(' '), version, char(' '), expiry).parse(input)?;
    Ok((input, ValueHead { bytes, version, expiry }))
}

/// What is there has a version; only the message of `ERR VER` says 0.
fn version(input: &[u8]) -> Parsed<'_, Version> {
    map(positive, Version).parse(input)
}

/// A key's time is at least 1, as `PXAT` and `EX` are.
fn expiry(input: &[u8]) -> Parsed<'_, Option<Millis>> {
    let at = map(verify(map(positive, Millis), |&at| at <= Millis::MAX), Some);
    alt((value(None, tag("-1")), at)).parse(input)
}

/// `ERR <CODE> <message>`
fn error(input: &[u8]) -> Parsed<'_, Reply<'_>> {
    let code = map(take_while1(|byte: u8| byte.is_ascii_uppercase()), ErrorCode::from_word);
    map(preceded(tag("ERR "), separated_pair(code, char(' '), some_text)), |(code, message)| Reply::Error { code, message }).parse(input)
}

fn natural(input: &[u8]) -> Parsed<'_, u64> {
    map_opt(digit1, unsigned).parse(input)
}

fn positive(input: &[u8]) -> Parsed<'_, u64> {
    verify(natural, |&number| number > 0).parse(input)
}

fn integer(input: &[u8]) -> Parsed<'_, i64> {
    map_opt(take_while1(|byte: u8| byte == b'-' || byte.is_ascii_digit()), signed).parse(input)
}

fn flag(input: &[u8]) -> Parsed<'_, bool> {
    alt((value(false, char('0')), value(true, char('1')))).parse(input)
}

fn key(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while_m_n(1, KEY_BYTES_MAX, is_key_byte).parse(input)
}

/// Of a line of `STATS`.
fn name(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while1(|byte| is_key_byte(byte) && byte != b'=').parse(input)
}

/// For people: anything that doesn't disturb the line.
fn text(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while(|byte: u8| !byte.is_ascii_control()).parse(input)
}

/// One that says something.
fn some_text(input: &[u8]) -> Parsed<'_, &[u8]> {
    verify(text, |text: &[u8]| !text.is_empty()).parse(input)
}
