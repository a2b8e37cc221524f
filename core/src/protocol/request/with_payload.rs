//! The lines of `SET` and `MSET`, behind which a payload follows: also behind a line that is refused, as long as its length can be read.

use super::Limits;
use super::arguments::{Parsed, check_key, exclusive, keyword, once, parse_version};
use super::command_line::{Follows, Line, Refused};
use crate::protocol::command::{Presence, SetExpiry, SetOptions};
use crate::protocol::error::{Excerpt, RequestError};
use crate::protocol::line::{Word, Words};
use crate::protocol::number::unsigned;
use crate::units::Millis;

const UNKNOWN_LENGTH: Refused = Refused { error: RequestError::BadLength, follows: Follows::Unknown };

#[inline]
pub(super) fn set<'a>(limits: &Limits, mut words: Words<'a>) -> Result<Line<'a>, Refused> {
    let (Some(key), Some(len)) = (words.next_word(), words.next()) else { return Err(UNKNOWN_LENGTH) };
    let len = unsigned(len).ok_or(UNKNOWN_LENGTH)?;
    set_line(limits, key, len, words).map_err(|error| Refused { error, follows: Follows::Payload(len) })
}

#[inline]
fn set_line<'a>(limits: &Limits, key: Word<'a>, len: u64, words: Words<'a>) -> Parsed<Line<'a>> {
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

/// A time to expire, relative or absolute.
fn milliseconds(words: &mut Words<'_>, form: &'static str, what: &'static str) -> Parsed<u64> {
    let word = words.next().ok_or(RequestError::BadOption(form))?;
    unsigned(word).filter(|ms| (1..=Millis::MAX.0).contains(ms)).ok_or(RequestError::BadNumber(what))
}

pub(super) fn mset<'a>(limits: &Limits, words: Words<'a>) -> Result<Line<'a>, Refused> {
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
    let mut rest = words;
    while let Some(key) = rest.next_word() {
        check_key(limits, key)?;
        rest.next();
    }
    Ok(Line::Mset { words, pairs, len: check_len(limits, payload)? })
}

/// Whether a line of which only the beginning is known may be followed by a payload: a command that isn't known whole may be one with a payload, too.
pub(super) fn may_have_payload(known: &[u8]) -> bool {
    Words(known)
        .next()
        .is_none_or(|word| matches!(&keyword(word), b"SET    " | b"MSET   ") || (word.len() <= "MSET".len() && known.ends_with(word)))
}
