//! The client's half: requests to bytes, and bytes to replies.
//!
//! Replies come in the order of the requests and don't say what they answer, so the reader says for each piece what it
//! [expects](Expect). Lists (`MGET`, `SCAN`, `STATS`) are read piece by piece, so that no reply has to be in memory whole.
//!
//! ```
//! use osprey_core::protocol::client::{self, Expect, Reply, ReplyLimits, Step};
//! use osprey_core::protocol::command::SetOptions;
//! use osprey_core::units::Version;
//!
//! let mut request = Vec::new();
//! client::set(&mut request, b"mykey", b"hello", &SetOptions::default()).unwrap();
//! assert_eq!(request, b"SET mykey 5\r\nhello\r\n");
//!
//! let step = client::parse_reply(Expect::Stored, b"OK 1\r\n", &ReplyLimits::default());
//! assert_eq!(step, Ok(Step::Complete { reply: Reply::Stored(Version(1)), consumed: 6 }));
//! ```

use alloc::vec::Vec;
use core::fmt;

use memchr::memchr;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::combinator::{all_consuming, map, map_opt, opt, rest, value};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser as _};

use super::command::{Presence, SetExpiry, SetOptions};
use super::error::ErrorCode;
use super::line::{is_key, without_cr};
use super::number::{signed, unsigned};
use crate::record::KEY_BYTES_MAX;
use crate::units::{Millis, Version};

/// Why a request can't be written. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A key (or prefix) that would break the request's line: longer than 65,535 bytes, or with a byte 0x00–0x20 or 0x7F in it; a key that is empty.
    Key,
    /// A list of keys without any.
    NoKeys,
    /// No memory.
    OutOfMemory,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "a key has 1 to 65535 bytes, none of them a space or control character",
            Self::NoKeys => "at least one key is needed",
            Self::OutOfMemory => "no memory for the request",
        })
    }
}

impl core::error::Error for EncodeError {}

type Encoded = Result<(), EncodeError>;

/// Builds one request; what a failed one has appended is taken back.
struct Request<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
    state: Encoded,
}

impl<'a> Request<'a> {
    fn new(out: &'a mut Vec<u8>, command: &str) -> Self {
        let begin = out.len();
        Self { out, begin, state: Ok(()) }.bytes(command.as_bytes())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        if self.state.is_ok() {
            match self.out.try_reserve(bytes.len()) {
                Ok(()) => self.out.extend_from_slice(bytes),
                Err(_) => self.state = Err(EncodeError::OutOfMemory),
            }
        }
        self
    }

    fn word(self, word: &[u8]) -> Self {
        self.bytes(b" ").bytes(word)
    }

    fn number(self, number: impl itoa::Integer) -> Self {
        self.word(itoa::Buffer::new().format(number).as_bytes())
    }

    fn key(mut self, key: &[u8]) -> Self {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !is_key(key) {
            self.state = self.state.and(Err(EncodeError::Key));
        }
        self.word(key)
    }

    fn version(self, version: Option<Version>) -> Self {
        match version {
            Some(version) => self.word(b"VER").number(version.0),
            None => self,
        }
    }

    fn line_end(self) -> Self {
        self.bytes(b"\r\n")
    }

    fn end(self) -> Encoded {
        let Self { out, begin, state } = self.line_end();
        if state.is_err() {
            out.truncate(begin);
        }
        state
    }
}

/// Appends `PING`.
///
/// # Errors
/// This and the other functions for requests: see [`EncodeError`].
pub fn ping(out: &mut Vec<u8>) -> Encoded {
    Request::new(out, "PING").end()
}

/// Appends a `GET`; expect [`Expect::Value`].
pub fn get(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    Request::new(out, "GET").key(key).end()
}

/// Appends a `SET` with its payload; expect [`Expect::Stored`].
pub fn set(out: &mut Vec<u8>, key: &[u8], value: &[u8], options: &SetOptions) -> Encoded {
    let request = Request::new(out, "SET").key(key).number(value.len());
    let request = match options.expiry {
        SetExpiry::Clear => request,
        SetExpiry::In(ms) => request.word(b"EX").number(ms),
        SetExpiry::At(at) => request.word(b"PXAT").number(at.0),
        SetExpiry::Keep => request.word(b"KEEPTTL"),
    };
    let request = match options.presence {
        Presence::Any => request,
        Presence::Absent => request.word(b"NX"),
        Presence::Present => request.word(b"XX"),
    };
    request.version(options.version).line_end().bytes(value).end()
}

/// Appends a `DEL`; expect [`Expect::Deleted`].
pub fn del(out: &mut Vec<u8>, key: &[u8], version: Option<Version>) -> Encoded {
    Request::new(out, "DEL").key(key).version(version).end()
}

/// Appends an `EXISTS`; expect [`Expect::Exists`].
pub fn exists(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    Request::new(out, "EXISTS").key(key).end()
}

/// Appends an `EXPIRE`; expect [`Expect::Changed`].
pub fn expire(out: &mut Vec<u8>, key: &[u8], ms: i64, version: Option<Version>) -> Encoded {
    Request::new(out, "EXPIRE").key(key).number(ms).version(version).end()
}

/// Appends a `PERSIST`; expect [`Expect::Changed`].
pub fn persist(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    Request::new(out, "PERSIST").key(key).end()
}

/// Appends a `TTL`; expect [`Expect::Integer`].
pub fn ttl(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    Request::new(out, "TTL").key(key).end()
}

/// Appends an `INCR`; expect [`Expect::Integer`].
pub fn incr(out: &mut Vec<u8>, key: &[u8], delta: i64) -> Encoded {
    Request::new(out, "INCR").key(key).number(delta).end()
}

/// Appends a `DECR`; expect [`Expect::Integer`].
pub fn decr(out: &mut Vec<u8>, key: &[u8], delta: i64) -> Encoded {
    Request::new(out, "DECR").key(key).number(delta).end()
}

/// Appends an `MGET`; expect an [`Expect::Item`] for each key, or one error for all.
pub fn mget<'k>(out: &mut Vec<u8>, keys: impl IntoIterator<Item = &'k [u8]>) -> Encoded {
    let mut none = true;
    let mut request = Request::new(out, "MGET");
    for key in keys {
        none = false;
        request = request.key(key);
    }
    if none {
        request.state = Err(EncodeError::NoKeys);
    }
    request.end()
}

/// Appends an `MSET` with its payloads; expect [`Expect::Count`].
pub fn mset<'k>(out: &mut Vec<u8>, pairs: impl IntoIterator<Item = (&'k [u8], &'k [u8])> + Clone) -> Encoded {
    let mut none = true;
    let mut request = Request::new(out, "MSET");
    for (key, value) in pairs.clone() {
        none = false;
        request = request.key(key).number(value.len());
    }
    if none {
        request.state = Err(EncodeError::NoKeys);
    }
    request = request.line_end();
    for (_, value) in pairs {
        request = request.bytes(value);
    }
    request.end()
}

/// Appends a `SCAN`; expect [`Expect::Cursor`], then [`Expect::ScanItem`]s up to [`Reply::End`]. An empty prefix stands for none.
pub fn scan(out: &mut Vec<u8>, cursor: u64, count: Option<u64>, prefix: &[u8]) -> Encoded {
    let mut request = Request::new(out, "SCAN").number(cursor);
    if let Some(count) = count {
        request = request.word(b"COUNT").number(count);
    }
    if !prefix.is_empty() {
        request = request.word(b"PREFIX").key(prefix);
    }
    request.end()
}

/// Appends `STATS`; expect [`Expect::Stat`]s up to [`Reply::End`].
pub fn stats(out: &mut Vec<u8>) -> Encoded {
    Request::new(out, "STATS").end()
}

/// Appends `QUIT`; expect [`Expect::Bye`].
pub fn quit(out: &mut Vec<u8>) -> Encoded {
    Request::new(out, "QUIT").end()
}

/// What the next piece of a reply must be. An error is accepted in every place.
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
    /// A later line of a `SCAN`'s: [`Reply::Key`] or [`Reply::End`].
    ScanItem,
    /// A line of `STATS`: [`Reply::Stat`] or [`Reply::End`].
    Stat,
    /// Of `QUIT`.
    Bye,
}

/// A value with what belongs to it.
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
        Self { line_bytes_max: 128 << 10, value_bytes_max: crate::record::VALUE_BYTES_MAX }
    }
}

/// What [`parse_reply`] found.
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

/// The bytes are no such reply: the connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server's reply does not have the expected form; is it an Osprey server?")
    }
}

impl core::error::Error for Malformed {}

/// Reads one piece of a reply from the beginning of `input`.
///
/// # Errors
/// The bytes can't be a piece of the kind that is expected, or it is over a limit.
pub fn parse_reply<'a>(expect: Expect, input: &'a [u8], limits: &ReplyLimits) -> Result<Step<'a>, Malformed> {
    let Some(line_len) = memchr(b'\n', input) else {
        let too_long = input.len() > limits.line_bytes_max.saturating_add(1);
        return if too_long { Err(Malformed) } else { Ok(Step::Incomplete { at_least: input.len() + 1 }) };
    };
    let line = without_cr(input.get(..line_len).unwrap_or_default());
    if line.len() > limits.line_bytes_max {
        return Err(Malformed);
    }
    let (_, head) = all_consuming(|line| head(expect, line)).parse(line).map_err(|_: nom::Err<()>| Malformed)?;
    let begin = line_len + 1;
    let (key, len, version, expiry) = match head {
        Head::Whole(reply) => return Ok(Step::Complete { reply, consumed: begin }),
        Head::Value { key, len, version, expiry } => (key, len, version, expiry),
    };
    let len = usize::try_from(len).ok().filter(|&len| len <= limits.value_bytes_max).ok_or(Malformed)?;
    let Some((value, behind)) = input.get(begin..).and_then(|rest| rest.split_at_checked(len)) else {
        return Ok(Step::Incomplete { at_least: begin.saturating_add(len).saturating_add(2) });
    };
    let found = Found { value, version, expiry };
    match behind {
        [b'\r', b'\n', ..] => {
            let reply = key.map_or(Reply::Value(found), |key| Reply::Item { key, found: Some(found) });
            Ok(Step::Complete { reply, consumed: begin + len + 2 })
        }
        [] | [b'\r'] => Ok(Step::Incomplete { at_least: begin + len + 2 }),
        _ => Err(Malformed),
    }
}

/// The first line of a piece.
#[derive(Clone)]
enum Head<'a> {
    Whole(Reply<'a>),
    /// A value follows.
    Value {
        key: Option<&'a [u8]>,
        len: u64,
        version: Version,
        expiry: Option<Millis>,
    },
}

type Parsed<'a, T> = IResult<&'a [u8], T, ()>;

fn word(input: &[u8]) -> Parsed<'_, &[u8]> {
    preceded(opt(tag(" ")), take_while1(|byte| byte != b' ')).parse(input)
}

fn number(input: &[u8]) -> Parsed<'_, u64> {
    map_opt(word, unsigned).parse(input)
}

fn flag(input: &[u8]) -> Parsed<'_, bool> {
    map_opt(number, |number| (number <= 1).then_some(number == 1)).parse(input)
}

fn expiry(input: &[u8]) -> Parsed<'_, Option<Millis>> {
    map_opt(word, |word| match word {
        b"-1" => Some(None),
        word => unsigned(word).map(|ms| Some(Millis(ms))),
    })
    .parse(input)
}

fn error(input: &[u8]) -> Parsed<'_, Reply<'_>> {
    let (input, code) = preceded(tag("ERR "), word).parse(input)?;
    let (input, message) = preceded(opt(tag(" ")), rest).parse(input)?;
    Ok((input, Reply::Error { code: ErrorCode::from_word(code), message }))
}

fn value_head(input: &[u8]) -> Parsed<'_, Head<'_>> {
    let (input, (_, len, version, expiry)) = (tag("VALUE"), number, number, expiry).parse(input)?;
    Ok((input, Head::Value { key: None, len, version: Version(version), expiry }))
}

fn item_head(input: &[u8]) -> Parsed<'_, Head<'_>> {
    let (input, (_, key, len, version, expiry)) = (tag("VALUE"), word, number, number, expiry).parse(input)?;
    Ok((input, Head::Value { key: Some(key), len, version: Version(version), expiry }))
}

fn head(expect: Expect, line: &[u8]) -> Parsed<'_, Head<'_>> {
    // A key may be called `ERR`, but has no space in it; a name of STATS has a `=`.
    if line.starts_with(b"ERR ") {
        return map(error, Head::Whole).parse(line);
    }
    match expect {
        Expect::Value => alt((value_head, value(Head::Whole(Reply::NotFound), tag("NOT_FOUND")))).parse(line),
        Expect::Item => {
            let missing = map(preceded(tag("NOT_FOUND"), word), |key| Head::Whole(Reply::Item { key, found: None }));
            alt((item_head, missing)).parse(line)
        }
        expect => map(|line| whole(expect, line), Head::Whole).parse(line),
    }
}

/// Replies of one line.
fn whole(expect: Expect, line: &[u8]) -> Parsed<'_, Reply<'_>> {
    match expect {
        Expect::Pong => value(Reply::Pong, tag("PONG")).parse(line),
        Expect::Stored => map(preceded(tag("OK"), number), |version| Reply::Stored(Version(version))).parse(line),
        Expect::Deleted => map(preceded(tag("DELETED"), flag), Reply::Deleted).parse(line),
        Expect::Exists => map(preceded(tag("EXISTS"), flag), Reply::Exists).parse(line),
        Expect::Changed => alt((value(Reply::Changed, tag("OK")), value(Reply::NotFound, tag("NOT_FOUND")))).parse(line),
        Expect::Integer => map(map_opt(word, signed), Reply::Integer).parse(line),
        Expect::Count => map(preceded(tag("OK"), number), Reply::Count).parse(line),
        Expect::Cursor => map(preceded(tag("CURSOR"), number), Reply::Cursor).parse(line),
        Expect::ScanItem => map(word, |key| if key == b"END" { Reply::End } else { Reply::Key(key) }).parse(line),
        Expect::Stat if line == b"END" => value(Reply::End, rest).parse(line),
        Expect::Stat => {
            let name = take_while1(|byte| byte != b'=');
            map((terminated(name, tag("=")), rest), |(name, value)| Reply::Stat { name, value }).parse(line)
        }
        Expect::Bye => value(Reply::Bye, tag("BYE")).parse(line),
        Expect::Value | Expect::Item => Err(nom::Err::Error(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_limit_is_malformed_whether_or_not_its_end_has_arrived() {
        let limits = ReplyLimits { line_bytes_max: 4, value_bytes_max: 4 };
        for (stream, expected) in [
            (&b"1234\r\n"[..], Ok(Step::Complete { reply: Reply::Integer(1234), consumed: 6 })),
            (b"12345\r\n", Err(Malformed)),
            (b"12345\n", Err(Malformed)),
            (b"12345\r", Err(Malformed)),
        ] {
            assert_eq!(parse_reply(Expect::Integer, stream, &limits), expected);
        }
    }
}
