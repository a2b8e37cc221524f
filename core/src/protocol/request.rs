//! The server's parser: bytes to commands, over arbitrary fragments.
//!
//! A request is a line, for `SET` and `MSET` followed by a payload whose length the line tells. So: find the line's end, take
//! the line apart, take the payload, and only when all of it is there. Nothing is copied or allocated, and the outcome is the same
//! however the bytes were split. After an error the stream stays in step: what belongs to the refused request is
//! skipped, a payload without ever being held.

use memchr::memchr;

use super::command::{Command, Keys, Pairs, Presence, SetExpiry, SetOptions};
use super::error::{Excerpt, RequestError};
use super::line::{Words, is_key, without_cr};
use super::number::{signed, unsigned};
use crate::museum::planted;
use crate::units::{Millis, Version};

/// Bounds of a request. Whatever is over one is answered with `ERR TOOLARGE`.
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

/// What stands at the beginning of the input.
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

/// What is still to be skipped of a refused request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Skip {
    #[default]
    Nothing,
    /// A payload of so many bytes, and its line end.
    Payload(u64),
    /// Everything up to the next LF.
    Line,
}

/// The parser of one connection.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    skip: Skip,
    /// So much of the input was searched for a line end already.
    searched: usize,
    /// With less than this there is no whole request.
    wanted: usize,
}

/// A line's command with its payload still to come.
enum Line<'a> {
    /// A command without payload.
    Whole(Command<'a>),
    Set {
        key: &'a [u8],
        len: usize,
        options: SetOptions,
    },
    Mset {
        words: Words<'a>,
        pairs: usize,
        len: usize,
    },
}

/// Why a line was refused, and what else belongs to its request.
struct Refused {
    error: RequestError,
    follows: Follows,
}

enum Follows {
    Nothing,
    /// A payload that is skipped.
    Payload(u64),
    /// Nobody knows.
    Unknown,
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        Self { error, follows: Follows::Nothing }
    }
}

impl Parser {
    /// What stands at the beginning of `input`: all bytes that were received and not consumed by an earlier call.
    pub fn next<'a>(&mut self, limits: &Limits, input: &'a [u8]) -> Step<'a> {
        if self.skip != Skip::Nothing {
            return self.skip(input);
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
                    self.skip = Skip::Payload(len);
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
                self.skip = if planted("out_of_step") { Skip::Nothing } else { Skip::Line };
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
        // A command that isn't known whole may be one with a payload, too.
        let carries_payload = Words(known)
            .next()
            .is_none_or(|word| matches!(&keyword(word), b"SET    " | b"MSET   ") || (word.len() <= "MSET".len() && known.ends_with(word)));
        self.skip = Skip::Line;
        Step::Reject { error: RequestError::LineTooLong(limits.line_bytes_max), consumed: line_len, close: carries_payload }
    }

    fn skip(&mut self, input: &[u8]) -> Step<'static> {
        let consumed = match self.skip {
            Skip::Nothing => 0,
            Skip::Payload(0) => match line_end(input) {
                LineEnd::Here(bytes) => {
                    self.skip = Skip::Nothing;
                    bytes
                }
                LineEnd::Perhaps(at_least) => return Step::Incomplete { at_least },
                LineEnd::Not => {
                    self.skip = Skip::Line;
                    return self.skip(input);
                }
            },
            Skip::Payload(left) => {
                let consumed = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                self.skip = Skip::Payload(left - consumed as u64);
                consumed
            }
            Skip::Line => match memchr(b'\n', input) {
                Some(at) => {
                    self.skip = Skip::Nothing;
                    at + 1
                }
                None => input.len(),
            },
        };
        if consumed == 0 { Step::Incomplete { at_least: 1 } } else { Step::Skip { consumed } }
    }
}

enum LineEnd {
    /// Of so many bytes.
    Here(usize),
    /// So many bytes must be there to tell.
    Perhaps(usize),
    Not,
}

/// Whether a line end stands at the beginning.
#[inline]
fn line_end(input: &[u8]) -> LineEnd {
    match input {
        [b'\r', b'\n', ..] => LineEnd::Here(2),
        [b'\n', ..] => LineEnd::Here(1),
        [] => LineEnd::Perhaps(1),
        [b'\r'] => LineEnd::Perhaps(2),
        _ => LineEnd::Not,
    }
}

/// A command's or option's word in upper case; longer words are no keyword.
#[inline]
fn keyword(word: &[u8]) -> [u8; 7] {
    // Padded with what no word contains.
    let mut upper = [b' '; 7];
    if let Some(room) = upper.get_mut(..word.len()) {
        room.copy_from_slice(word);
        upper.make_ascii_uppercase();
    }
    upper
}

/// `None`: a blank line.
#[inline]
fn parse_line<'a>(limits: &Limits, line: &'a [u8]) -> Option<Result<Line<'a>, Refused>> {
    let mut words = Words(line);
    let name = words.next()?;
    Some(
        match &keyword(name) {
            b"GET    " => only_key(limits, words, "GET key").map(|key| Command::Get { key }),
            b"SET    " => return Some(set(limits, words)),
            b"DEL    " => del(limits, words),
            b"EXISTS " => only_key(limits, words, "EXISTS key").map(|key| Command::Exists { key }),
            b"EXPIRE " => expire(limits, words),
            b"PERSIST" => only_key(limits, words, "PERSIST key").map(|key| Command::Persist { key }),
            b"TTL    " => only_key(limits, words, "TTL key").map(|key| Command::Ttl { key }),
            b"INCR   " => add(limits, words, 1, "INCR key [delta]"),
            b"DECR   " => add(limits, words, -1, "DECR key [delta]"),
            b"MGET   " => mget(limits, words),
            b"MSET   " => return Some(mset(limits, words)),
            b"SCAN   " => scan(limits, words),
            b"PING   " => end(words, "PING").map(|()| Command::Ping),
            b"STATS  " => end(words, "STATS").map(|()| Command::Stats),
            b"QUIT   " => end(words, "QUIT").map(|()| Command::Quit),
            // A web page that makes a browser post to this port must not get commands executed from its body.
            b"POST   " | b"HOST:  " => return Some(Err(Refused { error: RequestError::Http, follows: Follows::Unknown })),
            _ => Err(RequestError::UnknownCommand(Excerpt::new(name))),
        }
        .map(Line::Whole)
        .map_err(Refused::from),
    )
}

type Parsed<T> = Result<T, RequestError>;

fn end(mut words: Words<'_>, usage: &'static str) -> Parsed<()> {
    words.next().map_or(Ok(()), |_| Err(RequestError::Usage(usage)))
}

#[inline]
fn check_key<'a>(limits: &Limits, key: &'a [u8]) -> Parsed<&'a [u8]> {
    if key.len() > limits.key_bytes_max {
        return Err(RequestError::KeyTooLong { bytes: key.len(), limit: limits.key_bytes_max });
    }
    if is_key(key) { Ok(key) } else { Err(RequestError::BadKey) }
}

#[inline]
fn only_key<'a>(limits: &Limits, mut words: Words<'a>, usage: &'static str) -> Parsed<&'a [u8]> {
    let key = words.next().ok_or(RequestError::Usage(usage))?;
    end(words, usage)?;
    check_key(limits, key)
}

/// The options of DEL and EXPIRE: `[VER n]` and nothing else.
fn only_version(mut words: Words<'_>, command: &'static str, usage: &'static str) -> Parsed<Option<Version>> {
    let Some(word) = words.next() else { return Ok(None) };
    if &keyword(word) != b"VER    " {
        return Err(RequestError::UnknownOption(command, Excerpt::new(word)));
    }
    let version = words.next().ok_or(RequestError::BadOption("VER n"))?;
    end(words, usage)?;
    Ok(Some(parse_version(version)?))
}

fn parse_version(word: &[u8]) -> Parsed<Version> {
    unsigned(word).map(Version).ok_or(RequestError::BadNumber("the version behind VER"))
}

fn del<'a>(limits: &Limits, mut words: Words<'a>) -> Parsed<Command<'a>> {
    const USAGE: &str = "DEL key [VER n]";
    let key = words.next().ok_or(RequestError::Usage(USAGE))?;
    let version = only_version(words, "DEL", USAGE)?;
    Ok(Command::Del { key: check_key(limits, key)?, version })
}

fn expire<'a>(limits: &Limits, mut words: Words<'a>) -> Parsed<Command<'a>> {
    const USAGE: &str = "EXPIRE key ms [VER n]";
    let (Some(key), Some(ms)) = (words.next(), words.next()) else { return Err(RequestError::Usage(USAGE)) };
    let ms = signed(ms).ok_or(RequestError::BadNumber("the number of milliseconds"))?;
    let version = only_version(words, "EXPIRE", USAGE)?;
    Ok(Command::Expire { key: check_key(limits, key)?, ms, version })
}

fn add<'a>(limits: &Limits, mut words: Words<'a>, sign: i128, usage: &'static str) -> Parsed<Command<'a>> {
    let key = words.next().ok_or(RequestError::Usage(usage))?;
    let delta = words.next().map_or(Some(1), signed).ok_or(RequestError::BadNumber("the delta"))?;
    end(words, usage)?;
    Ok(Command::Add { key: check_key(limits, key)?, delta: sign * i128::from(delta) })
}

fn mget<'a>(limits: &Limits, words: Words<'a>) -> Parsed<Command<'a>> {
    let mut len = 0;
    for key in words {
        len += 1;
        if len >= limits.words_max {
            return Err(RequestError::TooManyWords(limits.words_max));
        }
        check_key(limits, key)?;
    }
    if len == 0 {
        return Err(RequestError::Usage("MGET key..."));
    }
    Ok(Command::Mget { keys: Keys::new(words, len) })
}

fn scan<'a>(limits: &Limits, mut words: Words<'a>) -> Parsed<Command<'a>> {
    const USAGE: &str = "SCAN cursor [COUNT n] [PREFIX p]";
    const COUNT_DEFAULT: u64 = 10;
    let cursor = words.next().ok_or(RequestError::Usage(USAGE))?;
    let cursor = unsigned(cursor).ok_or(RequestError::BadNumber("the cursor"))?;
    let (mut count, mut prefix) = (None, None);
    while let Some(word) = words.next() {
        match &keyword(word) {
            b"COUNT  " => {
                let number = words.next().ok_or(RequestError::BadOption("COUNT n"))?;
                let number = unsigned(number).filter(|&number| number > 0).ok_or(RequestError::BadNumber("COUNT, at least 1,"))?;
                once(&mut count, number, "COUNT")?;
            }
            b"PREFIX " => {
                let bytes = words.next().ok_or(RequestError::BadOption("PREFIX p"))?;
                once(&mut prefix, check_key(limits, bytes)?, "PREFIX")?;
            }
            _ => return Err(RequestError::UnknownOption("SCAN", Excerpt::new(word))),
        }
    }
    Ok(Command::Scan { cursor, count: count.unwrap_or(COUNT_DEFAULT), prefix: prefix.unwrap_or_default() })
}

fn once<T>(option: &mut Option<T>, value: T, name: &'static str) -> Parsed<()> {
    option.replace(value).map_or(Ok(()), |_| Err(RequestError::RepeatedOption(name)))
}

const UNKNOWN_LENGTH: Refused = Refused { error: RequestError::BadLength, follows: Follows::Unknown };

#[inline]
fn set<'a>(limits: &Limits, mut words: Words<'a>) -> Result<Line<'a>, Refused> {
    let (Some(key), Some(len)) = (words.next(), words.next()) else { return Err(UNKNOWN_LENGTH) };
    let len = unsigned(len).ok_or(UNKNOWN_LENGTH)?;
    set_line(limits, key, len, words).map_err(|error| Refused { error, follows: Follows::Payload(len) })
}

#[inline]
fn set_line<'a>(limits: &Limits, key: &'a [u8], len: u64, words: Words<'a>) -> Parsed<Line<'a>> {
    let key = check_key(limits, key)?;
    let options = set_options(words)?;
    Ok(Line::Set { key, len: check_len(limits, len)?, options })
}

fn check_len(limits: &Limits, bytes: u64) -> Parsed<usize> {
    let limit = limits.value_bytes_max;
    usize::try_from(bytes).ok().filter(|&len| len <= limit).ok_or(RequestError::ValueTooLong { bytes, limit })
}

#[inline]
fn set_options(mut words: Words<'_>) -> Parsed<SetOptions> {
    const EXPIRY: &str = "EX, PXAT and KEEPTTL";
    let (mut expiry, mut presence, mut version) = (None, None, None);
    while let Some(word) = words.next() {
        match &keyword(word) {
            b"EX     " => {
                let ms = milliseconds(&mut words, "EX ms", "the milliseconds behind EX, at least 1,")?;
                exclusive(&mut expiry, SetExpiry::In(ms), EXPIRY)?;
            }
            b"PXAT   " => {
                let ms = milliseconds(&mut words, "PXAT ms", "the Unix time in milliseconds behind PXAT, at least 1,")?;
                exclusive(&mut expiry, SetExpiry::At(Millis(ms)), EXPIRY)?;
            }
            b"KEEPTTL" => exclusive(&mut expiry, SetExpiry::Keep, EXPIRY)?,
            b"NX     " => exclusive(&mut presence, Presence::Absent, "NX and XX")?,
            b"XX     " => exclusive(&mut presence, Presence::Present, "NX and XX")?,
            b"VER    " => {
                let number = words.next().ok_or(RequestError::BadOption("VER n"))?;
                once(&mut version, parse_version(number)?, "VER")?;
            }
            _ => return Err(RequestError::UnknownOption("SET", Excerpt::new(word))),
        }
    }
    Ok(SetOptions { expiry: expiry.unwrap_or_default(), presence: presence.unwrap_or_default(), version })
}

/// One of several options that exclude each other (and themselves).
fn exclusive<T>(option: &mut Option<T>, value: T, names: &'static str) -> Parsed<()> {
    option.replace(value).map_or(Ok(()), |_| Err(RequestError::Conflict(names)))
}

/// A number of milliseconds that must be positive, and as an expiry within i64.
fn milliseconds(words: &mut Words<'_>, form: &'static str, what: &'static str) -> Parsed<u64> {
    let word = words.next().ok_or(RequestError::BadOption(form))?;
    let ms = signed(word).filter(|&ms| ms > 0).ok_or(RequestError::BadNumber(what))?;
    u64::try_from(ms).map_err(|_| RequestError::BadNumber(what))
}

fn mset<'a>(limits: &Limits, words: Words<'a>) -> Result<Line<'a>, Refused> {
    // First the lengths, all of them: whatever else is wrong, the payload must be skipped.
    let (mut pairs, mut payload) = (0_usize, 0_u64);
    let mut rest = words;
    while rest.next().is_some() {
        let len = rest.next().and_then(unsigned).ok_or(UNKNOWN_LENGTH)?;
        payload = payload.checked_add(len).ok_or(UNKNOWN_LENGTH)?;
        pairs += 1;
    }
    if pairs == 0 {
        return Err(UNKNOWN_LENGTH);
    }
    mset_line(limits, words, pairs, payload).map_err(|error| Refused { error, follows: Follows::Payload(payload) })
}

fn mset_line<'a>(limits: &Limits, words: Words<'a>, pairs: usize, payload: u64) -> Parsed<Line<'a>> {
    if pairs.saturating_mul(2) >= limits.words_max {
        return Err(RequestError::TooManyWords(limits.words_max));
    }
    words.step_by(2).try_for_each(|key| check_key(limits, key).map(|_| ()))?;
    Ok(Line::Mset { words, pairs, len: check_len(limits, payload)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_never_runs_as_commands_behind_a_line_too_long_to_tell() {
        let limits = Limits { key_bytes_max: 16, value_bytes_max: 64, line_bytes_max: 16, words_max: 16 };
        let closes = |line: &[u8]| match Parser::default().next(&limits, line) {
            Step::Reject { error: RequestError::LineTooLong(16), close, .. } => close,
            step => panic!("{step:?}"),
        };
        assert!(closes(b"                    SET k 4\r\nPING\r\n"), "nothing of the command is within the limit");
        assert!(closes(b"               SET k 4\r\nPING\r\n"), "only its beginning is");
        assert!(closes(b"SET kkkkkkkkkkkkkkkkk 4\r\nPING\r\n"));
        assert!(!closes(b"GET kkkkkkkkkkkkkkkkk\r\nPING\r\n"));
        assert!(!closes(b"GETGETGETGETGETGETGETGET\r\nPING\r\n"));
    }
}
