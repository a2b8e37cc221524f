//! What a line says: its command with the arguments, or why it is refused.

use super::Limits;
use super::arguments::{Parsed, check_key, end, keyword, once, only_version};
use super::with_payload::{mset, set};
use crate::protocol::command::{Command, Keys, SetOptions};
use crate::protocol::error::{Excerpt, RequestError};
use crate::protocol::line::Words;
use crate::protocol::number::{signed, unsigned};

/// A line's command with its payload still to come.
pub(super) enum Line<'a> {
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
pub(super) struct Refused {
    pub(super) error: RequestError,
    pub(super) follows: Follows,
}

/// What stands behind a line that is refused.
pub(super) enum Follows {
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

/// `None`: a blank line.
#[inline]
pub(super) fn parse_line<'a>(limits: &Limits, line: &'a [u8]) -> Option<Result<Line<'a>, Refused>> {
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
            _ if name.eq_ignore_ascii_case(b"SNAPSHOT") => end(words, "SNAPSHOT").map(|()| Command::Snapshot),
            b"QUIT   " => end(words, "QUIT").map(|()| Command::Quit),
            // A web page that makes a browser post to this port must not get commands executed from its body.
            b"POST   " | b"HOST:  " => return Some(Err(Refused { error: RequestError::Http, follows: Follows::Unknown })),
            _ => Err(RequestError::UnknownCommand(Excerpt::new(name))),
        }
        .map(Line::Whole)
        .map_err(Refused::from),
    )
}

#[inline]
fn only_key<'a>(limits: &Limits, mut words: Words<'a>, usage: &'static str) -> Parsed<&'a [u8]> {
    let key = words.next_word().ok_or(RequestError::Usage(usage))?;
    end(words, usage)?;
    check_key(limits, key)
}

fn del<'a>(limits: &Limits, mut words: Words<'a>) -> Parsed<Command<'a>> {
    const USAGE: &str = "DEL key [VER n]";
    let key = words.next_word().ok_or(RequestError::Usage(USAGE))?;
    let version = only_version(words, "DEL", USAGE)?;
    Ok(Command::Del { key: check_key(limits, key)?, version })
}

fn expire<'a>(limits: &Limits, mut words: Words<'a>) -> Parsed<Command<'a>> {
    const USAGE: &str = "EXPIRE key ms [VER n]";
    let (Some(key), Some(ms)) = (words.next_word(), words.next()) else { return Err(RequestError::Usage(USAGE)) };
    let ms = signed(ms).ok_or(RequestError::BadNumber("the number of milliseconds"))?;
    let version = only_version(words, "EXPIRE", USAGE)?;
    Ok(Command::Expire { key: check_key(limits, key)?, ms, version })
}

fn add<'a>(limits: &Limits, mut words: Words<'a>, sign: i128, usage: &'static str) -> Parsed<Command<'a>> {
    let key = words.next_word().ok_or(RequestError::Usage(usage))?;
    let delta = words.next().map_or(Some(1), signed).ok_or(RequestError::BadNumber("the delta"))?;
    end(words, usage)?;
    Ok(Command::Add { key: check_key(limits, key)?, delta: sign * i128::from(delta) })
}

fn mget<'a>(limits: &Limits, words: Words<'a>) -> Parsed<Command<'a>> {
    let (mut rest, mut len) = (words, 0);
    while let Some(key) = rest.next_word() {
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
                let bytes = words.next_word().ok_or(RequestError::BadOption("PREFIX p"))?;
                once(&mut prefix, check_key(limits, bytes)?, "PREFIX")?;
            }
            _ => return Err(RequestError::UnknownOption("SCAN", Excerpt::new(word))),
        }
    }
    Ok(Command::Scan { cursor, count: count.unwrap_or(COUNT_DEFAULT), prefix: prefix.unwrap_or_default() })
}
