//! What the words of a line can be, whatever its command: keys, versions, options.

use super::Limits;
use crate::protocol::error::{Excerpt, RequestError};
use crate::protocol::line::{Word, Words};
use crate::protocol::number::unsigned;
use crate::units::Version;

pub(crate) type Parsed<T> = Result<T, RequestError>;

/// A command's or option's word in upper case; longer words are no keyword.
#[inline]
pub(super) fn keyword(word: &[u8]) -> [u8; 7] {
    // Padded with what no word contains.
    let mut upper = [b' '; 7];
    if word.len() <= upper.len() {
        // Byte by byte: most are three, and to call memcpy for them takes longer.
        upper.iter_mut().zip(word).for_each(|(upper, byte)| *upper = byte.to_ascii_uppercase());
    }
    upper
}

/// A key, if it is one.
#[inline]
pub(super) fn check_key<'a>(limits: &Limits, Word { bytes: key, is_key }: Word<'a>) -> Parsed<&'a [u8]> {
    if key.len() > limits.key_bytes_max {
        return Err(RequestError::KeyTooLong { bytes: key.len(), limit: limits.key_bytes_max });
    }
    if is_key { Ok(key) } else { Err(RequestError::BadKey) }
}

/// The options of DEL and EXPIRE: `[VER n]` and nothing else.
pub(super) fn only_version(mut words: Words<'_>, command: &'static str, usage: &'static str) -> Parsed<Option<Version>> {
    let Some(word) = words.next() else { return Ok(None) };
    if &keyword(word) != b"VER    " {
        return Err(RequestError::UnknownOption(command, Excerpt::new(word)));
    }
    let version = words.next().ok_or(RequestError::BadOption("VER n"))?;
    end(words, usage)?;
    Ok(Some(parse_version(version)?))
}

pub(super) fn parse_version(word: &[u8]) -> Parsed<Version> {
    unsigned(word).map(Version).ok_or(RequestError::BadNumber("the version behind VER"))
}

/// An option that may be given once.
pub(super) fn once<T>(option: &mut Option<T>, value: T, name: &'static str) -> Parsed<()> {
    option.replace(value).map_or(Ok(()), |_| Err(RequestError::RepeatedOption(name)))
}

/// One of several options that exclude each other (and themselves).
pub(super) fn exclusive<T>(option: &mut Option<T>, value: T, names: &'static str) -> Parsed<()> {
    option.replace(value).map_or(Ok(()), |_| Err(RequestError::Conflict(names)))
}

/// The end of the line.
pub(super) fn end(mut words: Words<'_>, usage: &'static str) -> Parsed<()> {
    words.next().map_or(Ok(()), |_| Err(RequestError::Usage(usage)))
}
